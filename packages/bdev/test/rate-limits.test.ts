import { IoType, Status, noRateLimits } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { newRig, start } from './kit.js';

describe('rate limits', () => {
  it('let so many requests through in a second, in their order, and the rest later', () => {
    const { world, registry, bdev } = newRig();
    bdev.rateLimits = { ...noRateLimits, iosPerSecond: 1000 };
    const descriptor = registry.open(bdev, { writable: true, ioTimeoutMs: 100 });
    const addr = registry.buffers.get(512);
    const outcomes = Array.from({ length: 3000 }, () => start(descriptor, IoType.Read, 0, 1, { addr }));
    const done = (): number => outcomes.filter(({ status }) => status === Status.Ok).length;
    world.pass(1000);
    // The burst that an idle device may do at once, and a tick of the clock, are added.
    expect(done()).toBeGreaterThanOrEqual(990);
    expect(done()).toBeLessThanOrEqual(1030);
    expect(outcomes.findIndex(({ status }) => status === null)).toBe(done());
    // The time limit of waiting I/Os has not started.
    world.pass(2100);
    expect(done()).toBe(3000);
    expect(bdev.stats.timeouts).toBe(0);
    expect(world.timerCount).toBe(0);
  });

  it('count bytes of reads, of writes, and of both', () => {
    const { world, registry, bdev } = newRig();
    const descriptor = registry.open(bdev, { writable: true });
    const addr = registry.buffers.get(512);
    const inOneSecond = (type: IoType): number => {
      const outcomes = Array.from({ length: 400 }, () => start(descriptor, type, 0, 1, { addr }));
      world.pass(1000);
      const done = outcomes.filter(({ status }) => status === Status.Ok).length;
      bdev.rateLimits = noRateLimits;
      world.settle();
      expect(outcomes.every(({ status }) => status === Status.Ok)).toBe(true);
      return done;
    };
    bdev.rateLimits = { ...noRateLimits, readBytesPerSecond: 51_200 };
    expect(inOneSecond(IoType.Read)).toBeLessThanOrEqual(105);
    bdev.rateLimits = { ...noRateLimits, readBytesPerSecond: 51_200 };
    expect(inOneSecond(IoType.Write)).toBe(400);
    bdev.rateLimits = { ...noRateLimits, writeBytesPerSecond: 51_200 };
    expect(inOneSecond(IoType.Write)).toBeLessThanOrEqual(105);
    bdev.rateLimits = { ...noRateLimits, bytesPerSecond: 51_200 };
    expect(inOneSecond(IoType.Write)).toBeLessThanOrEqual(105);
  });

  it('hold no flush back', () => {
    const { world, registry, bdev } = newRig();
    bdev.rateLimits = { ...noRateLimits, iosPerSecond: 1 };
    const descriptor = registry.open(bdev, { writable: true });
    const addr = registry.buffers.get(512);
    const reads = Array.from({ length: 2 }, () => start(descriptor, IoType.Read, 0, 1, { addr }));
    const flush = start(descriptor, IoType.Flush);
    world.settle();
    expect([reads[0]!.status, reads[1]!.status, flush.status]).toEqual([Status.Ok, null, Status.Ok]);
  });

  it('end with the device: I/Os that wait are told that it is gone', async () => {
    const { world, registry, bdev } = newRig();
    bdev.rateLimits = { ...noRateLimits, iosPerSecond: 1 };
    const descriptor = registry.open(bdev, { onEvent: ({ type }) => type === 'remove' && descriptor.close() });
    const addr = registry.buffers.get(512);
    const reads = Array.from({ length: 3 }, () => start(descriptor, IoType.Read, 0, 1, { addr }));
    world.settle();
    const removed = registry.unregister(bdev);
    world.settle();
    expect(reads.map(({ status }) => status)).toEqual([Status.Ok, Status.NoDevice, Status.NoDevice]);
    await removed;
  });

  it('end for an I/O that is not wanted any more; the others keep their order', () => {
    const { world, registry, bdev } = newRig();
    bdev.rateLimits = { ...noRateLimits, iosPerSecond: 1 };
    const [gone, stays] = [registry.open(bdev), registry.open(bdev)];
    const addr = registry.buffers.get(512);
    const ended: number[] = [];
    const reads = Array.from({ length: 7 }, (_, i) =>
      start(i % 2 === 0 ? stays : gone, IoType.Read, i, 1, { addr, onDone: () => ended.push(i) }),
    );
    world.settle();
    bdev.cancelHeld(({ descriptor }) => descriptor === gone);
    world.settle();
    expect(ended).toEqual([0, 1, 3, 5]);
    world.pass(5000);
    expect(ended).toEqual([0, 1, 3, 5, 2, 4, 6]);
    const { Ok, Cancelled } = Status;
    expect(reads.map(({ status }) => status)).toEqual([Ok, Cancelled, Ok, Cancelled, Ok, Cancelled, Ok]);
    gone.close();
  });

  it('ask again what was true before a wait: a device that has shrunk', () => {
    const { world, registry, bdev } = newRig();
    bdev.rateLimits = { ...noRateLimits, iosPerSecond: 1 };
    const descriptor = registry.open(bdev);
    const addr = registry.buffers.get(512);
    const last = bdev.numBlocks - 1;
    const reads = Array.from({ length: 2 }, () => start(descriptor, IoType.Read, last, 1, { addr }));
    world.settle();
    bdev.resize(last);
    world.pass(3000);
    expect(reads.map(({ status }) => status)).toEqual([Status.Ok, Status.Invalid]);
  });
});

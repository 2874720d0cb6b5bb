import { BlockClient, IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { newRig, settled, start } from './kit.js';

describe('a deadline', () => {
  it('tells the owner ETIMEDOUT, and survives the late completion', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 100 });
    const addr = registry.buffers.get(512);
    const late = start(descriptor, IoType.Read, 0, 1, { addr });
    world.pass(99);
    expect(late.status).toBeNull();
    world.pass(2);
    expect(late.status).toBe(Status.TimedOut);
    expect([bdev.outstanding, bdev.stats.timeouts, bdev.stats.inFlight]).toEqual([0, 1, 0]);

    // The buffer is put, but is not handed out while the device may still write to it; nor is the I/O object.
    registry.buffers.put(addr);
    const others: number[] = [];
    for (let other = registry.buffers.get(512); other >= 0; other = registry.buffers.get(512)) others.push(other);
    expect(others).not.toContain(addr);
    const next = start(descriptor, IoType.Flush);
    expect(next.io).not.toBe(late.io);
    driver.finish(driver.held[0]!);
    driver.finishAll();
    expect(registry.buffers.get(512)).toBe(addr);
    expect(next.status).toBe(Status.Ok);
    expect(registry.ios.outstanding).toBe(0);
    expect(start(descriptor, IoType.Flush).status).toBeNull();
  });

  it('does not fire for what is done in time', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 100 });
    const outcomes = Array.from({ length: 50 }, () => {
      const outcome = start(descriptor, IoType.Flush);
      world.pass(60);
      driver.finishAll();
      return outcome;
    });
    world.pass(1000);
    expect(outcomes.every(({ status }) => status === Status.Ok)).toBe(true);
    expect(bdev.stats.timeouts).toBe(0);
    expect(world.timerCount).toBe(0);
  });

  it('does not fire for what a device has done while the process did not run, and does a little later for the rest', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 100 });
    const outcomes = [start(descriptor, IoType.Flush), start(descriptor, IoType.Flush)];
    world.stall(60_000);
    // Timers come first.
    world.pass(1);
    driver.finish(driver.held[0]!);
    world.pass(10);
    expect(outcomes.map(({ status }) => status)).toEqual([Status.Ok, null]);
    // It is not put off again.
    world.stall(60_000);
    world.pass(1);
    expect(outcomes.map(({ status }) => status)).toEqual([Status.Ok, Status.TimedOut]);
    driver.finishAll();
  });

  it('is each descriptor’s own', () => {
    const { world, registry, bdev } = newRig({}, (d) => (d.isManual = true));
    const patient = start(registry.open(bdev), IoType.Flush);
    const slow = start(registry.open(bdev, { ioTimeoutMs: 10_000 }), IoType.Flush);
    const quick = start(registry.open(bdev, { ioTimeoutMs: 10 }), IoType.Flush);
    world.pass(45);
    expect([patient.status, slow.status, quick.status]).toEqual([null, null, Status.TimedOut]);
    world.pass(40_000);
    expect([patient.status, slow.status]).toEqual([null, Status.TimedOut]);
  });

  it('is later for what may take a healthy device longer, and the descriptor is told', () => {
    const { world, registry, driver, bdev } = newRig({ numBlocks: 1_000_000 }, (d) => (d.isManual = true));
    const events: string[] = [];
    const descriptor = registry.open(bdev, { writable: true, ioTimeoutMs: 10, onEvent: ({ type }) => events.push(type) });
    const read = start(descriptor, IoType.Read, 0, 1, { addr: world.memory.zeroAddr });
    const flush = start(descriptor, IoType.Flush);
    const zeroes = start(descriptor, IoType.WriteZeroes, 0, 300_000);
    const statuses = () => [read.status, flush.status, zeroes.status];
    world.pass(12);
    expect(statuses()).toEqual([Status.TimedOut, null, null]);
    expect([events, bdev.abandoned]).toEqual([['timeout'], 1]);
    world.pass(22);
    expect(statuses()).toEqual([Status.TimedOut, null, Status.TimedOut]);
    world.pass(12);
    expect(statuses()).toEqual([Status.TimedOut, Status.TimedOut, Status.TimedOut]);
    driver.finishAll();
    expect([bdev.abandoned, registry.ios.outstanding]).toEqual([0, 0]);
  });

  it('is put off as long as the descriptor’s owner wants, who is asked about a flush as early as about a read', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const asked: [IoType, number][] = [];
    let moreMs = 5;
    const onOverdue = ({ type, submittedAt }: BdevIo): number => {
      asked.push([type, world.now() - submittedAt]);
      return moreMs;
    };
    const descriptor = registry.open(bdev, { ioTimeoutMs: 10, onOverdue });
    const flush = start(descriptor, IoType.Flush);
    world.pass(22);
    expect([flush.status, asked]).toEqual([
      null,
      [
        [IoType.Flush, 10],
        [IoType.Flush, 15],
        [IoType.Flush, 20],
      ],
    ]);
    moreMs = 0;
    world.pass(5);
    expect([flush.status, asked.length]).toEqual([Status.TimedOut, 4]);
    driver.finishAll();
  });

  it('comes at once for all that is in flight through a descriptor that is not to wait any longer', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 1000 });
    const patient = start(registry.open(bdev, { ioTimeoutMs: 1000 }), IoType.Flush);
    const outcomes = [start(descriptor, IoType.Flush), start(descriptor, IoType.Flush)];
    descriptor.expire();
    world.pass(2);
    expect([patient, ...outcomes].map(({ status }) => status)).toEqual([null, Status.TimedOut, Status.TimedOut]);
    driver.finishAll();
    expect([patient.status, registry.ios.outstanding]).toEqual([Status.Ok, 0]);
  });

  it('of a device is not waited for a second time by BlockClient', async () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 10, onOverdue: () => 0 });
    const failed = expect(new BlockClient(descriptor).flush()).rejects.toMatchObject({ errno: 110 });
    await Promise.resolve();
    // The descriptor may by now wait for as long as it takes.
    descriptor.ioTimeoutMs = 0;
    world.pass(20);
    await failed;
    expect(driver.log).toEqual(['flush']);
  });

  it('ends a split request, whose parts come back when they may', () => {
    const { world, registry, driver, bdev } = newRig(
      { numBlocks: 200, optimalIoBoundary: 1, splitOnBoundary: true },
      (d) => (d.isManual = true),
    );
    const addr = world.memory.allocRegion(200 * 512);
    const outcome = start(registry.open(bdev, { ioTimeoutMs: 10 }), IoType.Read, 0, 200, { addr });
    driver.finish(driver.held[0]!);
    world.pass(20);
    expect(outcome.status).toBe(Status.TimedOut);
    const made = driver.calls.length;
    driver.finishAll();
    expect(driver.calls.length).toBe(made);
    expect(registry.ios.outstanding).toBe(0);
  });

  it('ends emulated requests and those that wait for resources', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) =>
      Object.assign(d, { isManual: true, unsupported: [IoType.WriteZeroes] }),
    );
    const descriptor = registry.open(bdev, { writable: true, ioTimeoutMs: 10 });
    const fua = { addr: world.memory.zeroAddr, flags: IoFlag.ForceUnitAccess };
    const zeroes = start(descriptor, IoType.WriteZeroes, 0, 60);
    const write = start(descriptor, IoType.Write, 0, 1, fua);
    const starved = start(descriptor, IoType.Flush);
    driver.finish(driver.held[2]!, Status.NoMemory);
    world.pass(45);
    expect([zeroes, write, starved].map(({ status }) => status)).toEqual([110, 110, 110]);
    driver.finishAll();
    world.pass(1000);
    driver.finishAll();
    expect(driver.log.filter((call) => call === 'flush').length).toBeLessThanOrEqual(2);
    expect(registry.ios.outstanding).toBe(0);
  });

  it('ends what is made of a part, too: a forced write of zeroes that is emulated does not go on', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) =>
      Object.assign(d, { isManual: true, unsupported: [IoType.WriteZeroes] }),
    );
    const descriptor = registry.open(bdev, { writable: true, ioTimeoutMs: 10 });
    const forced = { addr: world.memory.zeroAddr, flags: IoFlag.ForceUnitAccess };
    const zeroes = [start(descriptor, IoType.WriteZeroes, 0, 8, forced), start(descriptor, IoType.WriteZeroes, 8, 8, forced)];
    const [slow, starved] = driver.held;
    world.pass(9.5);
    // The time is just short of the deadline, so that the deadline comes before the next attempt.
    driver.finish(starved!, Status.NoMemory);
    world.pass(0.6);
    expect(zeroes.map(({ status }) => status)).toEqual([Status.TimedOut, Status.TimedOut]);
    const made = driver.calls.length;
    driver.finish(slow!);
    world.pass(100);
    expect(driver.calls.length).toBe(made);
    driver.finishAll();
    expect(registry.ios.outstanding).toBe(0);
  });

  it('ends what the device is out of resources for, and the device is not asked again', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 10 });
    const starved = start(descriptor, IoType.Flush);
    while (starved.status === null) {
      for (const io of [...driver.held]) driver.finish(io, Status.NoMemory);
      // The time is just short of the next attempt, so that the I/O waits when the deadline comes.
      world.pass(0.9);
    }
    expect([starved.status, driver.held]).toEqual([Status.TimedOut, []]);
    const asked = driver.calls.length;
    world.pass(100);
    expect(driver.calls.length).toBe(asked);
    expect(registry.ios.outstanding).toBe(0);
  });

  it('does not let its owner use the I/O again while the device has it', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 10 });
    const { io } = start(descriptor, IoType.Flush);
    world.pass(20);
    expect(() => descriptor.submit(io)).toThrow(/in flight/);
    driver.finishAll();
  });

  it('lets the device be removed while the I/O is stuck', async () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { ioTimeoutMs: 10 });
    const stuck = start(descriptor, IoType.Flush);
    world.pass(45);
    descriptor.close();
    await settled(world, registry.unregister(bdev));
    expect([stuck.status, driver.destroyed]).toEqual([Status.TimedOut, 1]);
    driver.finishAll();
    expect(registry.ios.outstanding).toBe(0);
  });

  it('reaches the users of BlockClient as an error with its code', async () => {
    const { world, registry, bdev } = newRig({}, (d) => (d.isManual = true));
    const read = new BlockClient(registry.open(bdev, { ioTimeoutMs: 10 })).read(0, 1);
    const failed = expect(read).rejects.toMatchObject({ code: 'ERR_BDEV_IO', errno: 110 });
    await Promise.resolve();
    world.pass(20);
    await failed;
  });
});

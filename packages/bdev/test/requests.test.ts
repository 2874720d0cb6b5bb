import { BdevError, BlockClient, IoFlag, IoType, Status } from '@raidkit/bdev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectSame, newRig, pattern, settled, start } from './kit.js';

describe('a request', () => {
  it('is answered in a later turn, with the driver completing inside submit or after', () => {
    for (const isManual of [false, true]) {
      const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = isManual));
      const descriptor = registry.open(bdev, { writable: true });
      const outcome = start(descriptor, IoType.Write, 0, 1, { addr: world.memory.zeroAddr });
      expect(outcome.status).toBeNull();
      driver.finishAll();
      world.settle();
      expect(outcome.status).toBe(Status.Ok);
      expect(registry.ios.outstanding).toBe(0);
    }
  });

  it('is refused outside the device, without data, or where the type is not supported', () => {
    const { world, registry, driver, bdev } = newRig({ numBlocks: 10 }, (d) => (d.unsupported = [IoType.Unmap]));
    const descriptor = registry.open(bdev, { writable: true });
    const addr = world.memory.zeroAddr;
    const bad = [
      [10, 1],
      [9, 2],
      [-1, 1],
      [0, 0],
      [0.5, 1],
      [0, 1.5],
      [Number.NaN, 1],
      [0, -1],
      [2 ** 53, 1],
    ] as const;
    const outcomes = bad.map(([offset, count]) => start(descriptor, IoType.Write, offset, count, { addr }));
    outcomes.push(start(descriptor, IoType.Read, 0, 1));
    expect(outcomes.every(({ status }) => status === null)).toBe(true);
    const unmap = start(descriptor, IoType.Unmap, 0, 1);
    world.settle();
    for (const { status } of outcomes) expect(status).toBe(Status.Invalid);
    expect(unmap.status).toBe(Status.NotSupported);
    expect(driver.calls).toEqual([]);
    expect(registry.ios.outstanding).toBe(0);
  });

  it('may only read a read-only device', () => {
    const { world, registry, bdev } = newRig({ isReadOnly: true });
    expect(() => registry.open(bdev, { writable: true })).toThrow(/read-only/);
    const descriptor = registry.open(bdev);
    const addr = world.memory.zeroAddr;
    const status = (type: IoType) => {
      const outcome = start(descriptor, type, 0, 1, { addr });
      world.settle();
      return outcome.status;
    };
    expect([IoType.Write, IoType.Unmap, IoType.WriteZeroes].map(status)).toEqual([1, 1, 1]);
    expect([IoType.Flush, IoType.Reset].map(status)).toEqual([0, 0]);
  });

  it('to flush a device that has no flush is answered without it: what was written is on stable media', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.unsupported = [IoType.Flush]));
    expect(bdev.supports(IoType.Flush)).toBe(false);
    const outcome = start(registry.open(bdev), IoType.Flush);
    expect(outcome.status).toBeNull();
    world.settle();
    expect(outcome.status).toBe(Status.Ok);
    expect(driver.calls).toEqual([]);
    expect(registry.ios.outstanding).toBe(0);
  });

  it('is refused on a closed descriptor', () => {
    const { registry, bdev } = newRig();
    const descriptor = registry.open(bdev);
    descriptor.close();
    descriptor.close();
    expect(() => start(descriptor, IoType.Flush)).toThrow(expect.objectContaining({ code: 'ERR_BDEV_CLOSED' }) as Error);
  });

  it('may be completed once only', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev);
    const outcome = start(descriptor, IoType.Flush);
    const [io] = driver.held;
    driver.finish(io!);
    expect(() => io!.complete(Status.Ok)).toThrow();
    driver.isManual = false;
    const second = start(descriptor, IoType.Flush);
    expect(() => second.io.complete(Status.Ok)).toThrow(/twice/);
    world.settle();
    expect([outcome.status, second.status]).toEqual([0, 0]);
  });

  it('is never given back while in flight', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const { io } = start(registry.open(bdev), IoType.Flush);
    expect(() => registry.ios.put(io)).toThrow(/in flight/);
    driver.finishAll();
    world.settle();
  });

  it('that makes its owner throw does not keep the others from being told', () => {
    const { world, registry, bdev } = newRig();
    const descriptor = registry.open(bdev);
    const bomb = () => {
      throw new Error('owner');
    };
    start(descriptor, IoType.Flush, 0, 1, { onDone: bomb });
    const other = start(descriptor, IoType.Flush);
    expect(() => world.settle()).toThrow('owner');
    world.settle();
    expect(other.status).toBe(Status.Ok);
  });
});

describe('splitting', () => {
  const shape = fc.record({
    boundary: fc.integer({ min: 0, max: 24 }),
    splitOnBoundary: fc.boolean(),
    unit: fc.integer({ min: 1, max: 24 }),
    splitOnWriteUnit: fc.boolean(),
    hasForceUnitAccess: fc.boolean(),
    unsupported: fc.subarray([IoType.WriteZeroes, IoType.Flush]),
    isManual: fc.boolean(),
  });
  const op = fc.record({
    kind: fc.constantFrom('read', 'write', 'zero'),
    offset: fc.nat(199),
    count: fc.integer({ min: 1, max: 200 }),
    fua: fc.boolean(),
    seed: fc.nat(255),
  });

  it('never lets a driver see what it cannot take, and changes no byte', async () => {
    await fc.assert(
      fc.asyncProperty(shape, fc.array(op, { minLength: 1, maxLength: 12 }), async (limits, steps) => {
        const { boundary, splitOnBoundary, unit, splitOnWriteUnit, hasForceUnitAccess, unsupported, isManual } = limits;
        const blockSize = 512;
        const { world, registry, driver, bdev } = newRig(
          { numBlocks: 200, blockSize, optimalIoBoundary: boundary, splitOnBoundary, writeUnitSize: unit, splitOnWriteUnit },
          (d) => Object.assign(d, { hasForceUnitAccess, unsupported, isManual }),
        );
        const client = new BlockClient(registry.open(bdev, { writable: true }));
        const model = new Uint8Array(200 * blockSize);
        const run = async <T>(promise: Promise<T>): Promise<T> => {
          if (!isManual) return settled(world, promise);
          let isOver = false;
          const watched = promise.finally(() => (isOver = true));
          // The last part is completed first, because parts may end in any order.
          while (!(isOver as boolean)) {
            const io = driver.held.at(-1);
            if (io !== undefined) driver.finish(io);
            world.settle();
            await new Promise((resolve) => setImmediate(resolve));
          }
          return watched;
        };
        for (const { kind, offset, count: wanted, fua, seed } of steps) {
          const count = Math.min(wanted, 200 - offset);
          const slice = [offset * blockSize, (offset + count) * blockSize] as const;
          if (kind === 'read') expectSame(await run(client.read(offset, count)), model.slice(...slice));
          if (kind === 'write') {
            model.set(pattern(count * blockSize, seed), slice[0]);
            await run(client.write(offset, pattern(count * blockSize, seed), { fua }));
          }
          if (kind === 'zero') {
            model.fill(0, ...slice);
            await run(client.writeZeroes(offset, count, { fua }));
          }
        }
        expectSame(driver.bytes, model);
        const within = (limit: number, { offsetBlocks, numBlocks }: { offsetBlocks: number; numBlocks: number }) =>
          Math.floor(offsetBlocks / limit) === Math.floor((offsetBlocks + numBlocks - 1) / limit);
        for (const call of driver.calls) {
          expect(driver.supports(call.type)).toBe(true);
          if (!hasForceUnitAccess) expect(call.flags & IoFlag.ForceUnitAccess).toBe(0);
          const isWrite = call.type === IoType.Write;
          const splitsWrites = isWrite && splitOnWriteUnit;
          if (splitsWrites) expect(within(unit, call)).toBe(true);
          else if (splitOnBoundary && boundary > 0 && (isWrite || call.type === IoType.Read))
            expect(within(boundary, call)).toBe(true);
        }
        expect(registry.ios.outstanding).toBe(0);
        expect(bdev.outstanding).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  it('keeps a bounded number of parts in flight', () => {
    const { world, registry, driver, bdev } = newRig(
      { numBlocks: 1000, optimalIoBoundary: 1, splitOnBoundary: true },
      (d) => (d.isManual = true),
    );
    const addr = world.memory.allocRegion(1000 * 512);
    const outcome = start(registry.open(bdev), IoType.Read, 0, 1000, { addr });
    expect(driver.held.length).toBe(64);
    while (driver.held.length > 0) {
      driver.finish(driver.held[0]!);
      expect(driver.held.length).toBeLessThanOrEqual(64);
    }
    expect(outcome.status).toBe(Status.Ok);
    expect(driver.calls.length).toBe(1000);
  });

  it('reports the first failure, after all parts in flight have ended', () => {
    const { world, registry, driver, bdev } = newRig(
      { optimalIoBoundary: 1, splitOnBoundary: true },
      (d) => (d.isManual = true),
    );
    const addr = world.memory.allocRegion(64 * 512);
    const outcome = start(registry.open(bdev), IoType.Read, 0, 64, { addr });
    driver.finish(driver.held[10]!, Status.NoSpace);
    driver.finish(driver.held[5]!, Status.IoError);
    expect(outcome.status).toBeNull();
    driver.finishAll();
    expect(outcome.status).toBe(Status.NoSpace);
  });

  it('makes no more parts once one has failed', () => {
    const { world, registry, driver, bdev } = newRig(
      { numBlocks: 200, optimalIoBoundary: 1, splitOnBoundary: true },
      (d) => (d.isManual = true),
    );
    const addr = world.memory.allocRegion(200 * 512);
    const outcome = start(registry.open(bdev), IoType.Read, 0, 200, { addr });
    driver.finish(driver.held[0]!, Status.IoError);
    driver.finishAll();
    expect(outcome.status).toBe(Status.IoError);
    expect(driver.calls.length).toBe(64);
  });
});

describe('forced unit access', () => {
  const fua = { flags: IoFlag.ForceUnitAccess };

  it('is a write and then a flush, where the driver has none', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const outcome = start(registry.open(bdev, { writable: true }), IoType.Write, 3, 2, { addr: world.memory.zeroAddr, ...fua });
    expect(driver.log).toEqual(['write 3+2']);
    driver.finishAll();
    expect(driver.log).toEqual(['write 3+2', 'flush']);
    expect(outcome.status).toBe(Status.Ok);
  });

  it('is not acknowledged before the flush, and fails with it', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { writable: true });
    const outcome = start(descriptor, IoType.Write, 3, 2, { addr: world.memory.zeroAddr, ...fua });
    driver.finish(driver.held[0]!);
    world.settle();
    expect(outcome.status).toBeNull();
    driver.finish(driver.held[0]!, Status.IoError);
    expect(outcome.status).toBe(Status.IoError);
    const failed = start(descriptor, IoType.Write, 3, 2, { addr: world.memory.zeroAddr, ...fua });
    driver.finish(driver.held[0]!, Status.NoSpace);
    world.settle();
    expect(failed.status).toBe(Status.NoSpace);
    expect(driver.log).toEqual(['write 3+2', 'flush', 'write 3+2']);
  });

  it('is left to a driver that has it, and to a driver without a cache', () => {
    for (const [setUp, log] of [
      [{ hasForceUnitAccess: true }, ['write 0+1 f1', 'zeroes 0+1 f1']],
      [{ unsupported: [IoType.Flush] as IoType[] }, ['write 0+1', 'zeroes 0+1']],
    ] as const) {
      const { world, registry, driver, bdev } = newRig({}, (d) => Object.assign(d, setUp));
      const descriptor = registry.open(bdev, { writable: true });
      const write = start(descriptor, IoType.Write, 0, 1, { addr: world.memory.zeroAddr, ...fua });
      const zeroes = start(descriptor, IoType.WriteZeroes, 0, 1, fua);
      world.settle();
      expect([write.status, zeroes.status]).toEqual([0, 0]);
      expect(driver.log).toEqual(log);
    }
  });
});

describe('write zeroes without the driver’s help', () => {
  it('are writes from the page of zeros, whole units at a time, stopped by a failure', () => {
    const { world, registry, driver, bdev } = newRig(
      { numBlocks: 5000, writeUnitSize: 24 },
      (d) => (d.unsupported = [IoType.WriteZeroes]),
    );
    driver.bytes.fill(0xee);
    const descriptor = registry.open(bdev, { writable: true });
    const most = world.memory.zeroBytes / 512;
    const outcome = start(descriptor, IoType.WriteZeroes, 5, 4000);
    world.settle();
    expect(outcome.status).toBe(Status.Ok);
    expect(driver.bytes.subarray(5 * 512, 4005 * 512).every((byte) => byte === 0)).toBe(true);
    expect(driver.bytes.filter((byte) => byte === 0xee).length).toBe(1000 * 512);
    for (const { offsetBlocks, numBlocks, type } of driver.calls.slice(0, -1)) {
      expect(type).toBe(IoType.Write);
      expect(numBlocks).toBeLessThanOrEqual(most);
      expect((offsetBlocks + numBlocks) % 24).toBe(0);
    }
    driver.calls.length = 0;
    driver.answers.push(Status.Ok, Status.NoSpace);
    const failed = start(descriptor, IoType.WriteZeroes, 0, 5000);
    world.settle();
    expect(failed.status).toBe(Status.NoSpace);
    expect(driver.calls.length).toBe(2);
  });

  it('are not supported where writes are not', () => {
    const { bdev } = newRig({}, (d) => (d.unsupported = [IoType.Write, IoType.WriteZeroes]));
    expect(bdev.supports(IoType.WriteZeroes)).toBe(false);
  });
});

describe('a driver out of resources', () => {
  it('is asked again, after a completion or a while, and the owner is not told', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev);
    const first = start(descriptor, IoType.Flush);
    const second = start(descriptor, IoType.Read, 0, 1, { addr: world.memory.allocRegion(512) });
    driver.finish(driver.held[1]!, Status.NoMemory);
    const third = start(descriptor, IoType.Flush);
    expect(driver.held.length).toBe(1);
    driver.finish(driver.held[0]!);
    expect(first.status).toBe(Status.Ok);
    expect(driver.log).toEqual(['flush', 'read 0+1', 'read 0+1', 'flush']);
    driver.finish(driver.held[0]!, Status.NoMemory);
    driver.finish(driver.held[0]!, Status.NoMemory);
    expect([second.status, third.status, driver.held.length]).toEqual([null, null, 0]);
    world.pass(5);
    driver.finishAll();
    expect([second.status, third.status]).toEqual([0, 0]);
    expect(bdev.stats.retries).toBe(3);
  });

  it('is asked again while another I/O is stuck in it', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev);
    start(descriptor, IoType.Flush);
    const refused = start(descriptor, IoType.Reset);
    driver.finish(driver.held[1]!, Status.NoMemory);
    world.pass(1000);
    driver.finish(driver.held[1]!);
    expect(refused.status).toBe(Status.Ok);
  });

  it('that goes away answers ENODEV', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev);
    const outcome = start(descriptor, IoType.Flush);
    void registry.unregister(bdev);
    driver.finish(driver.held[0]!, Status.NoMemory);
    world.settle();
    expect(outcome.status).toBe(Status.NoDevice);
  });

  it('in the middle of a split request loses no part', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (refusals) => {
        const { world, registry, driver, bdev } = newRig({ optimalIoBoundary: 3, splitOnBoundary: true });
        driver.answers.push(...refusals.map((isRefused) => (isRefused ? Status.NoMemory : Status.Ok)));
        const addr = world.memory.allocRegion(64 * 512);
        world.memory.u8.set(pattern(64 * 512, 3), addr);
        const outcome = start(registry.open(bdev, { writable: true }), IoType.Write, 0, 64, { addr });
        world.pass(1000);
        expect(outcome.status).toBe(Status.Ok);
        expectSame(driver.bytes, pattern(64 * 512, 3));
        expect(registry.ios.outstanding).toBe(0);
      }),
    );
  });
});

describe('BlockClient', () => {
  it('names device and range in its errors', async () => {
    const { world, registry, driver, bdev } = newRig();
    const client = new BlockClient(registry.open(bdev, { writable: true }));
    driver.answers.push(Status.IoError);
    const error: unknown = await settled(world, client.read(3, 2)).catch((reason: unknown) => reason);
    expect(BdevError.is(error)).toBe(true);
    expect(error).toMatchObject({ code: 'ERR_BDEV_IO', errno: 5, message: 'bdev m0: read of 2 blocks at block 3: EIO' });
    await expect(client.read(63, 2)).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID' });
    await expect(client.read(0.5, 1)).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID' });
    await expect(client.write(0, new Uint8Array(100))).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID' });
  });

  it('stops waiting when its signal is aborted, and leaks nothing', async () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const client = new BlockClient(registry.open(bdev, { writable: true }));
    const controller = new AbortController();
    const { signal } = controller;
    const calls = [client.read(0, 4, { signal }), client.write(0, pattern(512, 1), { signal }), client.flush({ signal })];
    await Promise.resolve();
    controller.abort(new Error('enough'));
    for (const call of await Promise.allSettled(calls)) expect(call).toMatchObject({ reason: { message: 'enough' } });
    driver.finishAll();
    await settled(world, Promise.resolve());
    await new Promise((resolve) => setImmediate(resolve));
    expect(registry.ios.outstanding).toBe(0);
    await expect(client.read(0, 1, { signal })).rejects.toThrow('enough');
  });

  it('waits for buffers when there are none', async () => {
    const { world, registry, bdev } = newRig();
    const client = new BlockClient(registry.open(bdev, { writable: true }));
    const taken: number[] = [];
    for (let addr = registry.buffers.get(512); addr >= 0; addr = registry.buffers.get(512)) taken.push(addr);
    let isDone = false;
    const read = client.read(0, 1).then(() => (isDone = true));
    await settled(world, Promise.resolve());
    expect(isDone).toBe(false);
    registry.buffers.put(taken.pop()!);
    await settled(world, read);
    for (const addr of taken) registry.buffers.put(addr);
  });
});

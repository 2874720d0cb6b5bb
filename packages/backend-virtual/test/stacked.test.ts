import { IoType } from '@raidkit/bdev';
import type { Bdev, BdevError, BdevRegistry } from '@raidkit/bdev';
import {
  createDelayBdev,
  createErrorBdev,
  createMallocBdev,
  createNullBdev,
  createPassthruBdev,
  injectError,
  pendingCount,
  resizeNullBdev,
} from '@raidkit/backend-virtual';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteModel, expectBytes, newRegistry, openClient, pattern, submitRaw, turns } from './kit.js';

const noDelay = { avgReadUs: 0, p99ReadUs: 0, avgWriteUs: 0, p99WriteUs: 0 };
const kinds = ['passthru', 'delay', 'error'] as const;
type Kind = (typeof kinds)[number];

function stack(registry: BdevRegistry, kind: Kind, baseBdevName: string, uuid?: string): Promise<Bdev> {
  const options = { baseBdevName, name: `up-${baseBdevName}`, ...(uuid === undefined ? {} : { uuid }) };
  if (kind === 'passthru') return createPassthruBdev(registry, options);
  if (kind === 'delay') return createDelayBdev(registry, { ...options, ...noDelay });
  return createErrorBdev(registry, options);
}

const base = (registry: BdevRegistry) => createMallocBdev(registry, { name: 'B', blockSize: 512, numBlocks: 4096 });

describe.each(kinds)('%s bdev', (kind) => {
  it('claims its base, and gives it back when it is removed', async () => {
    const registry = newRegistry();
    const below = await base(registry);
    const up = await stack(registry, kind, 'B');
    expect(below.claimedBy).toBe(`${kind} ${up.name}`);
    await expect(stack(registry, kind, 'B')).rejects.toMatchObject({ code: 'ERR_BDEV_CLAIMED', errno: 1 });
    await registry.unregister(up);
    expect(below.claimedBy).toBeNull();
    expect(below.descriptors.size).toBe(0);
    await stack(registry, kind, 'B');
  });

  it('leaves the base alone when it cannot be made', async () => {
    const registry = newRegistry();
    await expect(stack(registry, kind, 'B')).rejects.toMatchObject({ code: 'ERR_BDEV_NOT_FOUND', errno: 19 });
    const below = await base(registry);
    const taken = await createNullBdev(registry, { name: kind === 'error' ? 'EE_B' : 'up-B', blockSize: 512, numBlocks: 8 });
    await expect(stack(registry, kind, 'B')).rejects.toMatchObject({ code: 'ERR_BDEV_EXISTS', errno: 17 });
    await registry.unregister(taken);
    await expect(stack(registry, kind, 'B', 'no uuid')).rejects.toMatchObject({ errno: 22 });
    expect(below.descriptors.size).toBe(0);
    const reader = openClient(registry, below);
    await expect(stack(registry, kind, 'B')).rejects.toMatchObject({ errno: 1 });
    expect([...below.descriptors]).toEqual([reader.descriptor]);
  });

  it('has the uuid it is given, else the same one each time', async () => {
    const registry = newRegistry();
    await createMallocBdev(registry, { name: 'B', uuid: '00000000-0000-0000-0000-000000000007', blockSize: 512, numBlocks: 8 });
    const first = await stack(registry, kind, 'B');
    await registry.unregister(first);
    const second = await stack(registry, kind, 'B', '00000000-0000-0000-0000-000000000000');
    expect(second.uuid).toBe(first.uuid);
    expect(second.uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    await registry.unregister(second);
    const given = await stack(registry, kind, 'B', '00000000-0000-0000-0000-0000000000AB');
    expect(given.uuid).toBe('00000000-0000-0000-0000-0000000000ab');
    expect((given.driver.configCall?.()?.params as { uuid: string }).uuid).toBe(given.uuid);
  });

  it('follows its base in size and limits', async () => {
    const registry = newRegistry();
    const below = await createNullBdev(registry, { name: 'B', blockSize: 4096, numBlocks: 100 });
    const up = await stack(registry, kind, 'B');
    expect([up.blockSize, up.numBlocks]).toEqual([4096, 100]);
    expect(Object.values(IoType).map((type) => up.supports(type))).toEqual(
      Object.values(IoType).map((type) => below.supports(type)),
    );
    const events: unknown[] = [];
    const client = openClient(registry, up, (event) => events.push(event));
    resizeNullBdev(below, 150);
    expect(events).toEqual([{ type: 'resize', numBlocks: 150 }]);
    await client.write(149, pattern(4096, 1));
  });

  it('is removed with its base, after its I/O', async () => {
    const registry = newRegistry();
    const below = await base(registry);
    const up = await stack(registry, kind, 'B');
    const top = await createPassthruBdev(registry, { baseBdevName: up.name, name: 'top' });
    const events: string[] = [];
    const client = openClient(registry, top, (event) => {
      events.push(event.type);
      void Promise.allSettled(writes).then(() => client.descriptor.close());
    });
    const writes = Array.from({ length: 20 }, (_, i) => client.write(i, pattern(512, i)));
    await turns(1);
    await registry.unregister(below);
    expect(events).toEqual(['remove']);
    const results = await Promise.allSettled(writes);
    for (const result of results) if (result.status === 'rejected') expect((result.reason as BdevError).errno).toBe(19);
    expect(results.some((result) => result.status === 'fulfilled')).toBe(true);
    expect(registry.list()).toEqual([]);
    expect(registry.ios.outstanding).toBe(0);
  });

  it('passes on every request unchanged', async () => {
    const op = fc.record({
      kind: fc.constantFrom('read', 'write', 'unmap', 'zero', 'flush', 'reset'),
      offset: fc.nat(4000),
      count: fc.integer({ min: 1, max: 96 }),
      seed: fc.nat(255),
      fua: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(op, { maxLength: 25 }), async (steps) => {
        const registry = newRegistry();
        await base(registry);
        const client = openClient(registry, await stack(registry, kind, 'B'));
        const model = new ByteModel(4096, 512);
        for (const { kind: what, offset, count, seed, fua } of steps) {
          if (what === 'read') expectBytes(await client.read(offset, count), model.read(offset, count));
          if (what === 'flush') await client.flush();
          if (what === 'reset') expect(await submitRaw(client, IoType.Reset, 0, 0, -1)).toBe(0);
          if (what === 'write') {
            model.write(offset, pattern(count * 512, seed));
            await client.write(offset, pattern(count * 512, seed), { fua });
          }
          if (what === 'unmap' || what === 'zero') {
            model.zero(offset, count);
            await (what === 'unmap' ? client.unmap(offset, count) : client.writeZeroes(offset, count, { fua }));
          }
        }
        expectBytes(await client.read(0, 4096), model.bytes);
        expect(registry.ios.outstanding).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it('holds on to the base while an abandoned write may still reach it', async () => {
    const registry = newRegistry();
    const below = await base(registry);
    const stuck = await createErrorBdev(registry, { baseBdevName: 'B' });
    const up = await stack(registry, kind, 'EE_B');
    const descriptor = registry.open(up, { writable: true, ioTimeoutMs: 5 });
    injectError(stuck, { ioType: 'write', errorType: 'pending' });
    const addr = registry.buffers.get(512);
    const timedOut = await submitRaw({ descriptor } as never, IoType.Write, 0, 1, addr);
    expect(timedOut).toBe(110);
    registry.buffers.put(addr);
    descriptor.close();
    await registry.unregister(up);
    expect(stuck.claimedBy).toBe(`${kind} ${up.name}`);
    injectError(stuck, { ioType: 'clear' });
    await turns();
    expect(stuck.claimedBy).toBeNull();
    expect(pendingCount(stuck)).toBe(0);
    await registry.unregister(below);
    expect(registry.ios.outstanding).toBe(0);
  });
});

describe('passthru bdev', () => {
  it('shows and saves itself as SPDK does', async () => {
    const registry = newRegistry();
    await base(registry);
    const uuid = '00000000-0000-0000-0000-000000000001';
    const { driver } = await createPassthruBdev(registry, { baseBdevName: 'B', name: 'P1', uuid });
    expect(driver.productName).toBe('passthru');
    expect(JSON.stringify(driver.driverSpecific?.())).toBe('{"passthru":{"name":"P1","base_bdev_name":"B"}}');
    expect(JSON.stringify(driver.configCall?.())).toBe(
      `{"method":"bdev_passthru_create","params":{"base_bdev_name":"B","name":"P1","uuid":"${uuid}"}}`,
    );
  });
});

describe('delay bdev', () => {
  it('holds completions back, one in a hundred for longer', async () => {
    const registry = newRegistry();
    await base(registry);
    const delays: number[] = [];
    const { runtime } = registry;
    const setTimer = runtime.setTimer.bind(runtime);
    runtime.setTimer = (fn, ms) => {
      delays.push(ms);
      return setTimer(fn, 0);
    };
    const latencies = { avgReadUs: 1000, p99ReadUs: 20_000, avgWriteUs: 2000, p99WriteUs: 30_000 };
    const client = openClient(registry, await createDelayBdev(registry, { baseBdevName: 'B', name: 'D', ...latencies }));
    for (let i = 0; i < 200; i++) await client.read(0, 1);
    expect([1, 20].map((ms) => delays.filter((delay) => delay === ms).length)).toEqual([198, 2]);
    delays.length = 0;
    for (let i = 0; i < 50; i++) await client.write(0, pattern(512, i));
    for (let i = 0; i < 50; i++) await client.writeZeroes(0, 1);
    expect([2, 30].map((ms) => delays.filter((delay) => delay === ms).length)).toEqual([99, 1]);
    delays.length = 0;
    await client.flush();
    await client.unmap(0, 1);
    expect(delays).toEqual([]);
  });

  it('is done when the time has passed, not before', async () => {
    const registry = newRegistry();
    const below = await base(registry);
    const timers: (() => void)[] = [];
    registry.runtime.setTimer = (fn) => {
      timers.push(fn);
      return {};
    };
    const slow = { avgReadUs: 0, p99ReadUs: 0, avgWriteUs: 15_000, p99WriteUs: 15_000 };
    const client = openClient(registry, await createDelayBdev(registry, { baseBdevName: 'B', name: 'D', ...slow }));
    let done = 0;
    const writes = [client.write(0, pattern(512, 1)), client.write(1, pattern(512, 1))];
    for (const write of writes) void write.then(() => done++);
    await turns(20);
    expect([timers.length, done, below.outstanding, client.descriptor.bdev.outstanding]).toEqual([2, 0, 0, 2]);
    for (const fire of timers) fire();
    await Promise.all(writes);
  });

  it('shows and saves itself as SPDK does, and refuses impossible times', async () => {
    const registry = newRegistry();
    await base(registry);
    const uuid = '00000000-0000-0000-0000-000000000002';
    const create = (avgReadUs: number, p99ReadUs: number) =>
      createDelayBdev(registry, { baseBdevName: 'B', name: 'D', uuid, avgReadUs, p99ReadUs, avgWriteUs: 3, p99WriteUs: 4 });
    for (const [avg, p99] of [
      [2, 1],
      [-1, 5],
      [Number.NaN, 5],
      [1, Infinity],
    ] as const) {
      await expect(create(avg, p99)).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID', errno: 22 });
    }
    const { driver } = await create(1, 2);
    const values =
      `{"name":"D","base_bdev_name":"B","uuid":"${uuid}","avg_read_latency":1,"p99_read_latency":2,` +
      '"avg_write_latency":3,"p99_write_latency":4}';
    expect(driver.productName).toBe('delay');
    expect(JSON.stringify(driver.driverSpecific?.())).toBe(`{"delay":${values}}`);
    expect(JSON.stringify(driver.configCall?.())).toBe(`{"method":"bdev_delay_create","params":${values}}`);
  });
});

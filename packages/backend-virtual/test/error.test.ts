import { IoType, Status } from '@raidkit/bdev';
import type { Bdev, BdevRegistry, BlockClient } from '@raidkit/bdev';
import { createErrorBdev, createMallocBdev, injectError, pendingCount, releasePending } from '@raidkit/backend-virtual';
import type { InjectOptions } from '@raidkit/backend-virtual';
import { describe, expect, it } from 'vitest';
import { expectBytes, newRegistry, openClient, pattern, submitRaw, turns } from './kit.js';

interface Rig {
  registry: BdevRegistry;
  base: Bdev;
  bdev: Bdev;
  client: BlockClient;
}

async function rig(): Promise<Rig> {
  const registry = newRegistry();
  const base = await createMallocBdev(registry, { name: 'B', blockSize: 512, numBlocks: 128 });
  const bdev = await createErrorBdev(registry, { baseBdevName: 'B' });
  return { registry, base, bdev, client: openClient(registry, bdev) };
}

const failed = { code: 'ERR_BDEV_IO', errno: Status.IoError };

describe('error bdev', () => {
  it('is named after its base, and honours its uuid', async () => {
    const registry = newRegistry();
    await createMallocBdev(registry, { name: 'B', blockSize: 512, numBlocks: 128 });
    const uuid = '00000000-0000-0000-0000-000000000003';
    const { name, driver, uuid: got } = await createErrorBdev(registry, { baseBdevName: 'B', uuid });
    expect([name, got, driver.productName]).toEqual(['EE_B', uuid, 'Error Injection Disk']);
    expect(JSON.stringify(driver.driverSpecific?.())).toBe('{"error_disk":{"base_bdev":"B"}}');
    expect(JSON.stringify(driver.configCall?.())).toBe(
      `{"method":"bdev_error_create","params":{"base_name":"B","uuid":"${uuid}"}}`,
    );
  });

  it('fails as many I/Os of a type as it was told to, and no others', async () => {
    const { client, bdev } = await rig();
    const attempt: Record<string, () => Promise<unknown>> = {
      read: () => client.read(0, 1),
      write: () => client.write(0, pattern(512, 1)),
      unmap: () => client.unmap(0, 1),
      flush: () => client.flush(),
    };
    for (const ioType of ['read', 'write', 'unmap', 'flush'] as const) {
      injectError(bdev, { ioType, errorType: 'failure', num: 2 });
      for (const other of Object.keys(attempt)) if (other !== ioType) await attempt[other]!();
      await expect(attempt[ioType]!()).rejects.toMatchObject(failed);
      await expect(attempt[ioType]!()).rejects.toMatchObject(failed);
      await attempt[ioType]!();
    }
    injectError(bdev, { ioType: 'reset', errorType: 'failure' });
    expect(await submitRaw(client, IoType.Reset, 0, 0, -1)).toBe(Status.IoError);
    expect(await submitRaw(client, IoType.Reset, 0, 0, -1)).toBe(Status.Ok);
  });

  it('fails a write before it changes anything; write zeroes count as writes', async () => {
    const { client, bdev } = await rig();
    await client.write(0, pattern(1024, 1));
    injectError(bdev, { ioType: 'write', errorType: 'failure', num: 2 });
    await expect(client.write(0, pattern(512, 2))).rejects.toMatchObject(failed);
    await expect(client.writeZeroes(0, 1)).rejects.toMatchObject(failed);
    await client.writeZeroes(1, 1);
    expectBytes(await client.read(0, 1), pattern(1024, 1).slice(0, 512));
  });

  it('hits all types, each as often as it was told to', async () => {
    const { client, bdev } = await rig();
    injectError(bdev, { ioType: 'all', errorType: 'failure', num: 1 });
    await expect(client.read(0, 1)).rejects.toMatchObject(failed);
    await expect(client.write(0, pattern(512, 1))).rejects.toMatchObject(failed);
    await expect(client.flush()).rejects.toMatchObject(failed);
    await expect(client.unmap(0, 1)).rejects.toMatchObject(failed);
    expect(await submitRaw(client, IoType.Reset, 0, 0, -1)).toBe(Status.IoError);
    await client.read(0, 1);
  });

  it('is retried when it is out of resources, and no caller sees that', async () => {
    const { client, bdev } = await rig();
    injectError(bdev, { ioType: 'all', errorType: 'nomem', num: 7 });
    await Promise.all(Array.from({ length: 10 }, (_, i) => client.write(i, pattern(512, i))));
    for (let i = 0; i < 10; i++) expectBytes(await client.read(i, 1), pattern(512, i));
    expect(bdev.stats.retries).toBe(14);
  });

  it.each(['clear', 'release', 'removal'] as const)('holds stuck I/O until %s', async (how) => {
    const { client, bdev, registry, base } = await rig();
    injectError(bdev, { ioType: 'read', errorType: 'pending', num: 2 });
    let ended = 0;
    const stuck = [client.read(0, 1), client.read(1, 1)];
    for (const one of stuck) one.catch(() => ended++);
    await client.read(2, 1);
    await turns(20);
    expect([pendingCount(bdev), ended, bdev.outstanding]).toEqual([2, 0, 2]);
    if (how === 'clear') injectError(bdev, { ioType: 'clear' });
    if (how === 'release') releasePending(bdev);
    if (how === 'removal') {
      injectError(bdev, { ioType: 'all', errorType: 'pending', num: 1000 });
      const removed = registry.unregister(bdev);
      await Promise.allSettled(stuck);
      client.descriptor.close();
      await removed;
    }
    for (const one of stuck) await expect(one).rejects.toMatchObject(failed);
    await turns();
    expect(registry.ios.outstanding).toBe(0);
    if (how === 'removal') expect(base.claimedBy).toBeNull();
    else await client.read(0, 1);
  });

  it('is retried into a device that is going away, and still ends', async () => {
    const { client, bdev, registry } = await rig();
    injectError(bdev, { ioType: 'write', errorType: 'nomem', num: 1_000_000 });
    const write = client.write(0, pattern(512, 1));
    await turns();
    // The write waits to be tried again; it must not get stuck then.
    injectError(bdev, { ioType: 'write', errorType: 'pending' });
    const removed = registry.unregister(bdev);
    await Promise.allSettled([write]);
    client.descriptor.close();
    await removed;
    expect(registry.get('EE_B')).toBeUndefined();
  });

  it('ends the injections on clear', async () => {
    const { client, bdev } = await rig();
    injectError(bdev, { ioType: 'all', errorType: 'failure', num: 100 });
    injectError(bdev, { ioType: 'clear' });
    await client.read(0, 1);
    await client.write(0, pattern(512, 1));
  });

  it('hits only from a queue depth on', async () => {
    const { client, bdev } = await rig();
    injectError(bdev, { ioType: 'read', errorType: 'failure', num: 100, queueDepth: 2 });
    await client.read(0, 1);
    const results = await Promise.allSettled([client.read(0, 1), client.read(1, 1), client.read(2, 1), client.read(3, 1)]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected']);
  });

  it('changes one byte of what is read, not of what is stored', async () => {
    const { client, bdev } = await rig();
    const data = pattern(2048, 5);
    await client.write(0, data);
    injectError(bdev, { ioType: 'read', errorType: 'corrupt_data', corruptOffset: 1025, corruptValue: 0x0f });
    const bad = data.slice();
    bad[1025]! ^= 0x0f;
    expectBytes(await client.read(0, 4), bad);
    expectBytes(await client.read(0, 4), data);
  });

  it('changes one byte of what is stored, not of the writer’s buffer', async () => {
    const { client, bdev, registry } = await rig();
    const data = pattern(2048, 6);
    const bad = data.slice();
    bad[600]! ^= 0xff;
    const addr = registry.buffers.get(2048);
    const { u8 } = registry.runtime.memory;
    u8.set(data, addr);
    injectError(bdev, { ioType: 'write', errorType: 'corrupt_data', corruptOffset: 600, num: 2 });
    expect(await submitRaw(client, IoType.Write, 8, 4, addr)).toBe(Status.Ok);
    expect(u8.slice(addr, addr + 2048)).toEqual(data);
    registry.buffers.put(addr);
    expectBytes(await client.read(8, 4), bad);
    await client.writeZeroes(8, 4);
    const zeros = new Uint8Array(2048);
    zeros[600] = 0xff;
    expectBytes(await client.read(8, 4), zeros);
    await client.write(8, data);
    expectBytes(await client.read(8, 4), data);
    injectError(bdev, { ioType: 'write', errorType: 'corrupt_data', corruptOffset: 512 });
    await client.write(8, data.slice(0, 512));
    expectBytes(await client.read(8, 4), data);
  });

  it('refuses nonsense', async () => {
    const { bdev, base } = await rig();
    const nonsense: InjectOptions[] = [
      { ioType: 'read' },
      { ioType: 'read', errorType: 'failure', num: -1 },
      { ioType: 'read', errorType: 'failure', num: 1.5 },
      { ioType: 'read', errorType: 'failure', queueDepth: -1 },
      { ioType: 'read', errorType: 'corrupt_data', corruptOffset: -1 },
      { ioType: 'read', errorType: 'corrupt_data', corruptValue: 0 },
      { ioType: 'read', errorType: 'corrupt_data', corruptValue: 256 },
    ];
    for (const options of nonsense) {
      expect(() => injectError(bdev, options)).toThrow(
        expect.objectContaining({ code: 'ERR_BDEV_INVALID', errno: 22 }) as Error,
      );
    }
    expect(() => injectError(base, { ioType: 'clear' })).toThrow(expect.objectContaining({ errno: 19 }) as Error);
  });
});

import { totalmem } from 'node:os';
import { IoType, Status } from '@raidkit/bdev';
import { createMallocBdev, maxMallocBytes } from '@raidkit/backend-virtual';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteModel, KiB, expectBytes, newRegistry, openClient, pattern } from './kit.js';

type Op = { kind: 'read' | 'write' | 'unmap' | 'zero'; offset: number; count: number; seed: number } | { kind: 'flush' };

describe('malloc bdev', () => {
  it('behaves as an array of bytes', async () => {
    const range = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), length: fc.integer({ min: 1, max: 700 }) });
    const op = fc.record({ kind: fc.constantFrom('read', 'write', 'unmap', 'zero', 'flush'), range, seed: fc.nat(255) });
    const shape = fc.record({
      blockSize: fc.constantFrom(512, 4096),
      // The size is more than two of the 1 MiB pieces in which memory is allocated.
      numBlocks: fc.constantFrom(3, 600, 5000),
      optimalIoBoundary: fc.constantFrom(0, 7, 128),
    });
    await fc.assert(
      fc.asyncProperty(shape, fc.array(op, { maxLength: 30 }), async (options, steps) => {
        const registry = newRegistry();
        const bdev = await createMallocBdev(registry, options);
        const client = openClient(registry, bdev);
        const model = new ByteModel(options.numBlocks, options.blockSize);
        for (const step of steps) {
          const offset = Math.floor(step.range.at * (options.numBlocks - 1));
          const count = Math.min(step.range.length, options.numBlocks - offset);
          const one = { ...step, offset, count } as Op;
          if (one.kind === 'read') expectBytes(await client.read(offset, count), model.read(offset, count));
          if (one.kind === 'flush') await client.flush();
          if (one.kind === 'write') {
            const data = pattern(count * options.blockSize, one.seed);
            model.write(offset, data);
            await client.write(offset, data);
          }
          if (one.kind === 'unmap' || one.kind === 'zero') {
            model.zero(offset, count);
            await (one.kind === 'unmap' ? client.unmap(offset, count) : client.writeZeroes(offset, count));
          }
        }
        expectBytes(await client.read(0, options.numBlocks), model.bytes);
        client.descriptor.close();
        await registry.unregister(bdev);
        expect(registry.ios.outstanding).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  it('hands out names of its own, never the same twice', async () => {
    const registry = newRegistry();
    const options = { blockSize: 512, numBlocks: 8 };
    const first = await createMallocBdev(registry, options);
    await createMallocBdev(registry, { ...options, name: 'Malloc1' });
    const third = await createMallocBdev(registry, options);
    expect([first.name, third.name]).toEqual(['Malloc0', 'Malloc2']);
    await registry.unregister(first);
    expect((await createMallocBdev(registry, options)).name).toBe('Malloc3');
    expect(new Set(registry.list().map((bdev) => bdev.uuid)).size).toBe(3);
  });

  it('is saved as the call that makes it again', async () => {
    const registry = newRegistry();
    const uuid = '00000000-0000-0000-0000-00000000000A';
    const options = { name: 'M1', uuid, blockSize: 512, numBlocks: 65_536, physicalBlockSize: 4096, optimalIoBoundary: 8 };
    const { driver } = await createMallocBdev(registry, options);
    expect(JSON.stringify(driver.configCall?.())).toBe(
      '{"method":"bdev_malloc_create","params":{"name":"M1","num_blocks":65536,"block_size":512,"physical_block_size":4096,' +
        '"uuid":"00000000-0000-0000-0000-00000000000a","optimal_io_boundary":8,"md_size":0,"dif_type":0,' +
        '"dif_is_head_of_md":false,"dif_pi_format":0,"numa_id":-1}}',
    );
    expect(driver.productName).toBe('Malloc disk');
    expect(driver.driverSpecific?.()).toEqual({});
  });

  it('refuses sizes that it cannot have, and says so', async () => {
    const registry = newRegistry();
    const create = (blockSize: number, numBlocks: number) => createMallocBdev(registry, { name: 'X', blockSize, numBlocks });
    const most = Math.min(maxMallocBytes, totalmem());
    await expect(create(4096, most / 4096 + 1)).rejects.toMatchObject({
      errno: Status.NoMemory,
      message: expect.stringContaining('malloc bdev X') as string,
    });
    await expect(create(512, 0)).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID', errno: 22 });
    await expect(create(512, -5)).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID', errno: 22 });
    await expect(create(520, 8)).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID', errno: 22 });
    await expect(create(512, Number.NaN)).rejects.toMatchObject({ code: 'ERR_BDEV_INVALID', errno: 22 });
    await expect(createMallocBdev(registry, { blockSize: 512, numBlocks: 8, uuid: 'xyz' })).rejects.toMatchObject({
      errno: 22,
    });
    expect(registry.list()).toEqual([]);
    await create(512, 8);
    await expect(create(512, 8)).rejects.toMatchObject({ code: 'ERR_BDEV_EXISTS', errno: 17 });
  });

  it('takes memory only for what is written, and gives it back on unmap', async () => {
    const registry = newRegistry();
    const bdev = await createMallocBdev(registry, { blockSize: 4096, numBlocks: (512 * KiB * KiB) / 4096 });
    const client = openClient(registry, bdev);
    const used = () => process.memoryUsage().arrayBuffers;
    const before = used();
    await client.read(0, 1024);
    await client.unmap(0, bdev.numBlocks);
    await client.writeZeroes(0, bdev.numBlocks);
    expect(used() - before).toBeLessThan(32 * KiB * KiB);
    await client.write(70_000, pattern(4096, 1));
    expectBytes(await client.read(70_000, 1), pattern(4096, 1));
    await client.unmap(0, bdev.numBlocks);
    expectBytes(await client.read(70_000, 1), new Uint8Array(4096));
  });

  it('supports every type of I/O', async () => {
    const bdev = await createMallocBdev(newRegistry(), { blockSize: 512, numBlocks: 8 });
    for (const type of Object.values(IoType)) expect(bdev.supports(type)).toBe(true);
  });
});

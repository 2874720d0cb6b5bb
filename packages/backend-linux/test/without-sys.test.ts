import * as fs from 'node:fs';
import { IoType } from '@raidkit/bdev';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Bench, MiB, can, expectBytes, pattern } from './kit.js';

// The variable must be set before the kit is loaded.
vi.hoisted(() => void vi.stubEnv('RAIDKIT_NO_FFI', '1'));
afterAll(() => void vi.unstubAllEnvs());

describe('without system calls of our own', () => {
  it('files work, unlocked, and are never deallocated', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    const bdev = await bench.open({ path, fallocate: true });
    expect(bench.log).toMatchObject([{ level: 'warn', fields: { path, reason: 'RAIDKIT_NO_FFI is set' } }]);
    expect([bdev.supports(IoType.Unmap), bdev.supports(IoType.WriteZeroes)]).toEqual([false, true]);
    const client = bench.client(bdev);
    await client.write(0, pattern(MiB, 1));
    await client.writeZeroes(1, 100);
    await client.flush();
    expectBytes(await client.read(0, 2048), pattern(MiB, 1).fill(0, 512, 101 * 512));
    expect(fs.statSync(path).blocks).toBe(2048);
    await expect(bench.open({ name: 'd1', path })).rejects.toMatchObject({ errno: 16 });
  });

  it.runIf(can('loop'))('block devices work and have their size', async () => {
    await using bench = new Bench();
    for (const blockSize of [512, 4096]) {
      const device = bench.loop(`disk${blockSize}`, 3 * MiB, blockSize);
      const bdev = await bench.open({ path: device, directIo: 'require' });
      expect([bdev.blockSize, bdev.numBlocks]).toEqual([blockSize, (3 * MiB) / blockSize]);
      const client = bench.client(bdev);
      await client.write(5, pattern(blockSize, 1), { fua: true });
      expectBytes(await client.read(5, 1), pattern(blockSize, 1));
      await bench.closeAll();
    }
  });
});

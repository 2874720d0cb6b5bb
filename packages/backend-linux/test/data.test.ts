import * as fs from 'node:fs';
import { IoFlag, IoType, Status } from '@raidkit/bdev';
import type { Bdev, BlockClient } from '@raidkit/bdev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Bench, FaultyEngine, KiB, MiB, can, expectBytes, pattern, submitRaw } from './kit.js';

const op = fc.record({
  kind: fc.constantFrom('read', 'write', 'unmap', 'zero', 'zeroKeep', 'flush'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.integer({ min: 1, max: 300 }),
  seed: fc.nat(255),
  fua: fc.boolean(),
});
type Op = typeof op extends fc.Arbitrary<infer T> ? T : never;

/** Carries out the steps on device and model, and compares. `unmapZeroes`: what has been unmapped reads as zeros. */
async function against(client: BlockClient, steps: Op[], model: Uint8Array, unmapZeroes: boolean): Promise<void> {
  const { blockSize, numBlocks } = client;
  for (const { kind, at, length, seed, fua } of steps) {
    const offset = Math.floor(at * (numBlocks - 1));
    const count = Math.min(length, numBlocks - offset);
    const [start, end] = [offset * blockSize, (offset + count) * blockSize];
    if (kind === 'read') expectBytes(await client.read(offset, count), model.slice(start, end));
    if (kind === 'flush') await client.flush();
    if (kind === 'write') {
      const data = pattern(end - start, seed);
      model.set(data, start);
      await client.write(offset, data, { fua });
    }
    if (kind === 'zero') await client.writeZeroes(offset, count, { fua });
    if (kind === 'zeroKeep')
      expect(await submitRaw(client, IoType.WriteZeroes, offset, count, -1, IoFlag.NoUnmap)).toBe(Status.Ok);
    if (kind === 'zero' || kind === 'zeroKeep') model.fill(0, start, end);
    if (kind === 'unmap' && client.descriptor.bdev.supports(IoType.Unmap)) {
      await client.unmap(offset, count);
      if (unmapZeroes) model.fill(0, start, end);
      else model.set(await client.read(offset, count), start);
    }
  }
  expectBytes(await client.read(0, numBlocks), model);
}

const shapes = fc.record({
  blockSize: fc.constantFrom(512, 4096, 16_384),
  fallocate: fc.boolean(),
  directIo: fc.constantFrom('auto' as const, 'never' as const),
  shortBytes: fc.constantFrom(Infinity, 5000, 4096, 70_000),
});

describe('data', () => {
  it('on a file is what was written, whatever the mode and however short the system’s answers', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.array(op, { maxLength: 25 }), async ({ shortBytes, ...options }, steps) => {
        await using bench = new Bench();
        const bytes = 400 * options.blockSize;
        // With O_DIRECT the engine must ask the system for whole blocks.
        const alignedBytes = options.directIo === 'never' ? shortBytes : Math.ceil(shortBytes / 4096) * 4096;
        const engine = Object.assign(new FaultyEngine(bench.runtime), { shortBytes: alignedBytes });
        const path = bench.file('data', bytes);
        const bdev = await bench.open({ path, ...options, engine });
        expect([bdev.blockSize, bdev.numBlocks]).toEqual([options.blockSize, 400]);
        const model = new Uint8Array(bytes);
        await against(bench.client(bdev), steps, model, true);
        await bench.closeAll();
        expectBytes(fs.readFileSync(path), model);
        expect(bench.registry.ios.outstanding).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  it.runIf(can('loop'))('on a block device is what was written', async () => {
    await using bench = new Bench();
    const devices = [bench.loop('b512', 400 * 512), bench.loop('b4096', 400 * 4096, 4096)] as const;
    const options = fc.record({
      fallocate: fc.boolean(),
      directIo: fc.constantFrom('require' as const, 'never' as const),
      is4Kn: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(options, fc.array(op, { maxLength: 20 }), async ({ is4Kn, ...rest }, steps) => {
        const bdev = await bench.open({ path: devices[is4Kn ? 1 : 0], ...rest });
        expect([bdev.blockSize, bdev.numBlocks]).toEqual([is4Kn ? 4096 : 512, 400]);
        expect(bdev.supports(IoType.Unmap)).toBe(rest.fallocate);
        const client = bench.client(bdev);
        await against(client, steps, await client.read(0, 400), false);
        await bench.closeAll();
      }),
      { numRuns: 30 },
    );
  });

  it('of many requests at a time does not mix', async () => {
    await using bench = new Bench();
    for (const directIo of ['auto', 'never'] as const) {
      const bdev = await bench.open({ path: bench.file(directIo, 4 * MiB), directIo });
      const client = bench.client(bdev);
      const writes = Array.from({ length: 200 }, (_, i) => client.write(i * 40, pattern(40 * 512, i)));
      await Promise.all(writes);
      const reads = await Promise.all(writes.map((_, i) => client.read(i * 40, 40)));
      for (const [i, data] of reads.entries()) expectBytes(data, pattern(40 * 512, i));
      await bench.closeAll();
    }
  });
});

describe('giving space back', () => {
  async function allocated(bench: Bench): Promise<{ bdev: Bdev; client: BlockClient; kib: () => number }> {
    const path = bench.file('data', MiB);
    const bdev = await bench.open({ path, fallocate: true });
    const client = bench.client(bdev);
    await client.write(0, pattern(MiB, 1));
    await client.flush();
    return { bdev, client, kib: () => fs.statSync(path).blocks / 2 };
  }

  it('happens on unmap and on write zeroes, but not where a hole is not wanted', async () => {
    await using bench = new Bench();
    const { client, kib } = await allocated(bench);
    expect(kib()).toBe(1024);
    await client.unmap(0, 512);
    expect(kib()).toBe(768);
    await client.writeZeroes(512, 512);
    expect(kib()).toBe(512);
    expect(await submitRaw(client, IoType.WriteZeroes, 1024, 512, -1, IoFlag.NoUnmap)).toBe(Status.Ok);
    expect(kib()).toBe(512);
    const data = pattern(MiB, 1).fill(0, 0, 768 * KiB);
    expectBytes(await client.read(0, 2048), data);
  });

  it('goes on until all of a range is done that is longer than one piece', async () => {
    await using bench = new Bench();
    // The device has at most 256 MiB; nothing is written between its ends.
    const path = bench.file('data', 513 * MiB);
    const client = bench.client(await bench.open({ path, fallocate: true }));
    const { numBlocks } = client;
    const last = numBlocks - 8;
    for (const work of [() => client.writeZeroes(0, numBlocks), () => client.unmap(0, numBlocks)]) {
      for (const at of [0, last]) await client.write(at, pattern(4096, 1));
      await work();
      for (const at of [0, last]) expectBytes(await client.read(at, 8), new Uint8Array(4096));
    }
  });

  it('is not offered unless asked for', async () => {
    await using bench = new Bench();
    const bdev = await bench.open({ path: bench.file('data', MiB) });
    expect([bdev.supports(IoType.Unmap), bdev.driver.supports(IoType.WriteZeroes)]).toEqual([false, false]);
    const client = bench.client(bdev);
    await client.write(0, pattern(MiB, 1));
    await client.writeZeroes(1, 2000);
    expectBytes(await client.read(0, 2048), pattern(MiB, 1).fill(0, 512, 2001 * 512));
    await expect(client.unmap(0, 1)).rejects.toMatchObject({ errno: Status.NotSupported });
  });

  it.each([
    { refused: ['punchHole'], used: ['punchHole', 'writeZeroes', 'writeZeroes'] },
    { refused: ['punchHole', 'writeZeroes'], used: ['punchHole', 'writeZeroes', 'write', 'write'] },
  ])('is replaced by writing where $refused cannot be done, and not tried again', async ({ refused, used }) => {
    await using bench = new Bench();
    const engine = new FaultyEngine(bench.runtime);
    const bdev = await bench.open({ path: bench.file('data', MiB), fallocate: true, engine });
    const client = bench.client(bdev);
    await client.write(0, pattern(MiB, 1));
    for (const kind of refused) engine.answers.set(kind, [-95, -95, -95]);
    engine.calls.length = 0;
    await client.writeZeroes(100, 100);
    await client.writeZeroes(300, 100);
    expect(engine.calls).toEqual(used);
    const data = pattern(MiB, 1)
      .fill(0, 100 * 512, 200 * 512)
      .fill(0, 300 * 512, 400 * 512);
    expectBytes(await client.read(0, 2048), data);
    expect(await submitRaw(client, IoType.Unmap, 0, 1)).toBe(Status.NotSupported);
  });

  it('that fails for another reason is an error', async () => {
    await using bench = new Bench();
    const engine = new FaultyEngine(bench.runtime);
    const bdev = await bench.open({ path: bench.file('data', MiB), fallocate: true, engine });
    const client = bench.client(bdev);
    engine.answers.set('punchHole', [-5, -28]);
    await expect(client.writeZeroes(0, 8)).rejects.toMatchObject({ errno: Status.IoError });
    await expect(client.unmap(0, 8)).rejects.toMatchObject({ errno: Status.NoSpace });
    await client.unmap(0, 8);
  });
});

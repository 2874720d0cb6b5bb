import { IoType } from '@raidkit/bdev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cmd, flag } from './client.js';
import type { Style } from './client.js';
import { KiB, assertNoLeak, expectBytes, newRig, pattern, seeded } from './kit.js';
import { connectWire } from './wire.js';

/** Cuts `0…size` at chance places into ranges that do not overlap. */
function disjointRanges(size: number, count: number, random: () => number): [number, number][] {
  const cuts = Array.from({ length: count - 1 }, () => Math.floor(random() * size));
  const edges = [...new Set([0, ...cuts, size])].sort((a, b) => a - b);
  return edges.slice(1).map((end, i): [number, number] => [edges[i]!, end]);
}

function shuffled<T>(list: T[], random: () => number): T[] {
  return list
    .map((item): [number, T] => [random(), item])
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

describe('any byte range, from several connections at once', () => {
  const shape = fc.record({
    seed: fc.integer(),
    blockSize: fc.constantFrom(512, 4096, 16_384),
    style: fc.constantFrom<Style>('simple', 'structured', 'extended'),
    isGreedy: fc.boolean(),
    hasFua: fc.boolean(),
    hasZeroes: fc.boolean(),
  });

  it('never loses a byte of what lies beside what is written', async () => {
    await fc.assert(
      fc.asyncProperty(shape, async ({ seed, blockSize, style, isGreedy, hasFua, hasZeroes }) => {
        const random = seeded(seed);
        const size = 24 * blockSize;
        const rig = newRig({ device: { blockSize, numBlocks: 24 } });
        rig.driver.chance = random;
        if (!hasZeroes) rig.driver.unsupported = [IoType.WriteZeroes];
        const { u8 } = rig.registry.runtime.memory;
        const chunk = (available: number): number => Math.ceil(random() * available);
        const wires = [0, 1, 2].map(() => connectWire(rig.server, { memory: u8, chunk, isGreedy }));
        for (const { client } of wires) await client.open('disk', style);
        const model = Buffer.alloc(size);
        for (let wave = 0; wave < 4; wave++) {
          const before = Buffer.from(model);
          const ranges = disjointRanges(size, 2 + Math.floor(random() * 60), random);
          const changes = ranges.map(([start, end]) => {
            const kind = random();
            const { client } = wires[Math.floor(random() * 3)]!;
            const flags = hasFua && random() < 0.3 ? flag.fua : 0;
            if (kind < 0.6) {
              const data = pattern(end - start, Math.floor(random() * 1e9));
              data.copy(model, start);
              return () => client.pwrite(start, data, flags);
            }
            if (kind < 0.85) {
              model.fill(0, start, end);
              return () => client.request(cmd.writeZeroes, start, end - start, flags);
            }
            const first = Math.ceil(start / blockSize) * blockSize;
            const last = Math.floor(end / blockSize) * blockSize;
            if (first < last) model.fill(0, first, last);
            return () => client.request(cmd.trim, start, end - start, flags);
          });
          const reads = Array.from({ length: 10 }, () => async () => {
            const start = Math.floor(random() * size);
            const length = 1 + Math.floor(random() * (size - start));
            const reply = await wires[Math.floor(random() * 3)]!.client.pread(start, length);
            for (let i = 0; i < length; i++) {
              const byte = reply.data[i];
              if (byte !== before[start + i] && byte !== model[start + i])
                throw new Error(`byte ${start + i} is neither old nor new`);
            }
            return reply;
          });
          const replies = await Promise.all(shuffled([...changes, ...reads], random).map((start) => start()));
          for (const { errno } of replies) expect(errno).toBe(0);
          expectBytes(rig.driver.bytes, model);
          expectBytes((await wires[0]!.client.pread(0, size)).data, model);
        }
        await rig.server.close();
        assertNoLeak(rig);
      }),
      { numRuns: 40 },
    );
  });

  it('one byte at a time into one block', async () => {
    const rig = newRig({ device: { blockSize: 4096, numBlocks: 4 } });
    rig.driver.chance = seeded(1);
    const { u8 } = rig.registry.runtime.memory;
    const wires = [0, 1, 2, 3].map(() => connectWire(rig.server, { memory: u8 }));
    for (const { client } of wires) await client.open();
    const data = pattern(600, 8);
    const writes = Array.from(data, (_byte, i) => wires[i % 4]!.client.pwrite(4000 + i, data.subarray(i, i + 1)));
    for (const { errno } of await Promise.all(writes)) expect(errno).toBe(0);
    expectBytes(rig.driver.bytes.subarray(4000, 4600), data);
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('one byte at a time into one block, through several exports of one device', async () => {
    const rig = newRig({ device: { blockSize: 4096, numBlocks: 4 } });
    rig.server.addExport({ name: 'again', bdev: rig.bdev });
    rig.driver.chance = seeded(2);
    const { u8 } = rig.registry.runtime.memory;
    const wires = [0, 1, 2, 3].map(() => connectWire(rig.server, { memory: u8 }));
    for (const [index, { client }] of wires.entries()) await client.open(index % 2 === 0 ? 'disk' : 'again');
    const data = pattern(600, 9);
    const writes = Array.from(data, (_byte, i) => wires[i % 4]!.client.pwrite(4000 + i, data.subarray(i, i + 1)));
    for (const { errno } of await Promise.all(writes)) expect(errno).toBe(0);
    expectBytes(rig.driver.bytes.subarray(4000, 4600), data);
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('whole-block writes do not get lost in a read-modify-write beside them', async () => {
    const rig = newRig({ device: { blockSize: 4096, numBlocks: 4 } });
    const { u8 } = rig.registry.runtime.memory;
    const a = connectWire(rig.server, { memory: u8 });
    const b = connectWire(rig.server, { memory: u8 });
    await a.client.open();
    await b.client.open();
    for (let round = 0; round < 30; round++) {
      rig.driver.chance = seeded(round);
      const whole = pattern(8192, round);
      const part = Buffer.alloc(10, round + 100);
      const requests = [() => a.client.pwrite(0, whole), () => b.client.pwrite(4090, part)];
      await Promise.all(shuffled(requests, seeded(round + 1)).map((start) => start()));
      const partLast = Buffer.from(whole);
      part.copy(partLast, 4090);
      const is = rig.driver.bytes.subarray(0, 8192);
      if (!is.equals(whole) && !is.equals(partLast)) throw new Error('neither order of the two writes explains the bytes');
    }
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('aligned requests go to the device as they are', async () => {
    const rig = newRig({ device: { blockSize: 4096, numBlocks: 1024 } });
    const { client } = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
    await client.open();
    await client.pwrite(8192, pattern(64 * KiB, 1));
    await client.pread(8192, 64 * KiB);
    expect(rig.driver.calls).toEqual([
      { type: IoType.Write, offsetBlocks: 2, numBlocks: 16, flags: 0 },
      { type: IoType.Read, offsetBlocks: 2, numBlocks: 16, flags: 0 },
    ]);
    await rig.server.close();
  });

  it('long writes are cut at multiples of the write unit', async () => {
    const rig = newRig({ device: { blockSize: 4096, numBlocks: 4096, writeUnitSize: 48 } });
    const { client } = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
    await client.open();
    const data = pattern(48 * 4096 * 20, 1);
    await client.pwrite(0, data);
    expect(rig.driver.calls.length).toBeLessThanOrEqual(4);
    for (const { offsetBlocks, numBlocks } of rig.driver.calls) expect([offsetBlocks % 48, numBlocks % 48]).toEqual([0, 0]);
    expectBytes(rig.driver.bytes.subarray(0, data.length), data);
    await rig.server.close();
  });
});

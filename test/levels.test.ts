import type { BlockClient } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import type { RaidArray } from '@raidkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { placesOf, volumeBlocks } from './support/address-map.js';
import type { LevelName, Shape } from './support/address-map.js';
import { BlockModel, taggedBlocks, tagsOf } from './support/block-model.js';
import { plugIn } from './support/ram-disk.js';
import type { RamDisk } from './support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume } from './support/rig.js';
import type { Rig } from './support/rig.js';

interface Geometry {
  blockSize: number;
  stripKb: number;
  /** Blocks of each member beyond the reserved area. */
  capacities: number[];
}

interface Request {
  kind: 'read' | 'write' | 'unmap' | 'zero' | 'flush';
  at: number;
  length: number;
}

const levels: LevelName[] = ['raid0', 'raid1', 'raid5f', 'concat'];

function geometries(level: LevelName): fc.Arbitrary<Geometry> {
  const least = { raid0: 1, raid1: 2, raid5f: 3, concat: 1 }[level];
  return fc
    .record({
      blockSize: fc.constantFrom(512, 4096),
      stripKb: level === 'raid1' ? fc.constant(0) : fc.constantFrom(4, 8, 64, 256, 1024),
      members: fc.integer({ min: least, max: 8 }),
      strips: fc.integer({ min: 1, max: 5 }),
      ragged: fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 8, maxLength: 8 }),
    })
    .map(({ blockSize, stripKb, members, strips, ragged }) => {
      const strip = Math.max(1, (stripKb * 1024) / blockSize);
      const base = level === 'raid1' ? strips * 40 : strip * Math.min(strips, Math.max(1, Math.floor(512 / stripKb)));
      const extra = (slot: number): number =>
        level === 'raid1' ? ragged[slot]! : Math.floor((ragged[slot]! / 201) * 2 * strip);
      return { blockSize, stripKb, capacities: Array.from({ length: members }, (_, slot) => base + extra(slot)) };
    });
}

const requests = fc.array(
  fc.array(
    fc.record({
      kind: fc.constantFrom<Request['kind'][]>('read', 'write', 'write', 'write', 'unmap', 'zero', 'flush'),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
      // Mostly short requests; sometimes one as long as the volume.
      length: fc.double({ min: 0, max: 0.999, noNaN: true }).map((x) => x ** 4),
    }),
    { minLength: 1, maxLength: 8 },
  ),
  { minLength: 1, maxLength: 12 },
);

/** A small number, another one each time, the same ones in each run. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

async function build(level: LevelName, geometry: Geometry): Promise<{ rig: Rig; disks: RamDisk[]; shape: Shape }> {
  const { blockSize, stripKb, capacities } = geometry;
  const rig = newRig({ memoryBytes: 128 << 20 });
  const disks: RamDisk[] = [];
  const turns = dice(capacities.length * 1000 + stripKb);
  for (const [index, capacity] of capacities.entries()) {
    const bytes = new Uint8Array((1 << 20) + capacity * blockSize);
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, blockSize });
    disk.delayTurns = () => turns(4);
    disks.push(disk);
  }
  const baseBdevs = capacities.map((_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level, baseBdevs, stripSizeKb: stripKb, superblock: true });
  return { rig, disks, shape: { level, strip: (stripKb * 1024) / blockSize, capacities } };
}

/** Runs batches of concurrent requests, and checks every read against the model. */
async function runAgainstModel(client: BlockClient, model: BlockModel, batches: Request[][], level: LevelName): Promise<void> {
  const { blockSize } = client;
  let tag = 0;
  for (const batch of batches) {
    const writes: { offset: number; count: number; tag: number; mayKeep: boolean }[] = [];
    const work: Promise<void>[] = [];
    for (const { kind, at, length } of batch) {
      const offset = Math.floor(at * model.numBlocks);
      const count = 1 + Math.floor(length * (model.numBlocks - offset));
      if (kind === 'read') {
        work.push(
          client.read(offset, count).then((data) => {
            tagsOf(data, offset, blockSize, 'read').forEach((found, i) => model.check(offset + i, found, 'read'));
          }),
        );
      } else if (kind === 'flush') {
        work.push(client.flush());
      } else if (kind === 'write') {
        tag++;
        model.submitted(offset, count, tag);
        writes.push({ offset, count, tag, mayKeep: false });
        work.push(client.write(offset, taggedBlocks(offset, count, tag, blockSize)));
      } else {
        model.submitted(offset, count, 0);
        // What is unmapped may keep its contents at the ends of stripes; elsewhere it reads as zeros.
        writes.push({ offset, count, tag: 0, mayKeep: kind === 'unmap' && level === 'raid5f' });
        work.push(kind === 'zero' ? client.writeZeroes(offset, count) : client.unmap(offset, count));
      }
    }
    await Promise.all(work);
    model.batchDone(writes);
    await settle(client, model);
  }
}

async function settle(client: BlockClient, model: BlockModel): Promise<void> {
  const data = await client.read(0, model.numBlocks);
  tagsOf(data, 0, client.blockSize, 'at rest').forEach((tag, block) => model.settle(block, tag, 'at rest'));
}

/** Every block that was ever written lies where the table says, on every member that should have it. */
async function expectPlaces(client: BlockClient, disks: RamDisk[], shape: Shape, array: RaidArray): Promise<void> {
  const { blockSize } = client;
  const start = (1 << 20) / blockSize;
  const data = await client.read(0, client.numBlocks);
  for (let block = 0; block < client.numBlocks; block++) {
    const wanted = data.subarray(block * blockSize, (block + 1) * blockSize);
    for (const place of placesOf(shape, block)) {
      if (isUnwritten(array, place.block)) continue;
      const at = (start + place.block) * blockSize;
      const found = disks[place.slot]!.bytes.subarray(at, at + blockSize);
      if (!Buffer.from(found).equals(wanted)) {
        throw new Error(`array block ${block} is not at block ${place.block} of slot ${place.slot}`);
      }
    }
  }
}

function isUnwritten(array: RaidArray, memberBlock: number): boolean {
  return array.bitmap?.has(RegionState.Unwritten, memberBlock, 1) ?? false;
}

/** In every column of the data area that was ever written the members' exclusive or is zero. */
function expectParity(disks: RamDisk[], array: RaidArray): void {
  const sum = new Uint32Array((array.slots[0]!.dataSize * array.blockSize) / 4);
  for (const { bytes } of disks) {
    const words = new Uint32Array(bytes.buffer, 1 << 20, sum.length);
    for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! ^ words[i]!;
  }
  const bad = sum.findIndex((word, i) => word !== 0 && !isUnwritten(array, Math.floor((i * 4) / array.blockSize)));
  if (bad >= 0) throw new Error(`parity is wrong at byte ${bad * 4} of the data area`);
}

describe.each(levels)('%s', (level) => {
  it('agrees with a plain byte array under concurrent, overlapping requests, and puts every block in its place', async () => {
    await fc.assert(
      fc.asyncProperty(geometries(level), requests, async (geometry, batches) => {
        const { rig, disks, shape } = await build(level, geometry);
        const client = openVolume(rig, 'a');
        expect(client.numBlocks).toBe(volumeBlocks(shape));
        await runAgainstModel(client, new BlockModel(client.numBlocks), batches, level);
        const array = arrayOf(rig, 'a');
        await expectPlaces(client, disks, shape, array);
        if (level === 'raid5f') expectParity(disks, array);
        client.descriptor.close();
        await rig.arrays.stop();
        expect(rig.registry.ios.outstanding).toBe(0);
        expect(rig.arrays.iosOutstanding).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});

describe.each(['raid1', 'raid5f'] as const)('%s without a member', (level) => {
  it('agrees with a plain byte array while degraded, and again after the member is rebuilt', async () => {
    await fc.assert(
      fc.asyncProperty(
        geometries(level),
        requests,
        requests,
        requests,
        fc.nat(7),
        fc.boolean(),
        async (geometry, before, during, after, who, isWiped) => {
          const { rig, disks, shape } = await build(level, geometry);
          const slot = who % geometry.capacities.length;
          const client = openVolume(rig, 'a');
          const model = new BlockModel(client.numBlocks);
          await runAgainstModel(client, model, before, level);
          await rig.arrays.removeBaseBdev(`m${slot}`);
          await settle(client, model);
          await runAgainstModel(client, model, during, level);
          const array = arrayOf(rig, 'a');
          const removed = disks[slot]!;
          // If it was wiped, it is rebuilt completely; otherwise it gets the writes that it has missed.
          if (isWiped) removed.bytes.fill(0xee);
          await rig.arrays.addBaseBdev('a', `m${slot}`);
          expect(array.slots[slot]!.isRebuilding).toBe(true);
          await runAgainstModel(client, model, after, level);
          await array.processEnded;
          expect(array.numInSync).toBe(array.numSlots);
          await settle(client, model);
          await expectPlaces(client, disks, shape, array);
          if (level === 'raid5f') expectParity(disks, array);
          client.descriptor.close();
          await rig.arrays.stop();
          expect(rig.registry.ios.outstanding).toBe(0);
          expect(rig.arrays.iosOutstanding).toBe(0);
        },
      ),
      { numRuns: 40 },
    );
  });
});

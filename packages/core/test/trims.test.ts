import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RaidArray } from '../src/array/array.js';
// Not through the front door: which of two requests was first the levels of this repository settle by themselves.
import { Discards } from '../src/bitmap/discards.js';
import type { RaidIo } from '../src/level/raid-io.js';
import { RegionStates } from '../src/bitmap/region-state.js';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const MiB = 1 << 20;

/** Whether it writes a page of the write-intent bitmap. */
function isPageWrite({ type, offsetBlocks }: BdevIo): boolean {
  return type === IoType.Write && offsetBlocks >= (128 * 1024) / 512 && offsetBlocks < (256 * 1024) / 512;
}

const levels: [string, number, number][] = [
  ['raid1', 2, 1],
  ['raid5f', 3, 2],
];

describe.each(levels)('%s', (level, members, dataMembers) => {
  const regionBlocks = (dataMembers * MiB) / 512;

  it('takes a region for unwritten once all of it was unmapped: on record, passed over by a rebuild, zeros to its readers', async () => {
    const { rig, disks, volume } = await build(level, members, { mebibytes: 4 });
    await volume.write(0, blocks(4 * regionBlocks, 7));
    // The regions are unmapped in pieces, in any order; one block of the last region is left.
    await volume.unmap(regionBlocks, regionBlocks / 2);
    await volume.unmap(2 * regionBlocks, regionBlocks);
    await volume.unmap(1.5 * regionBlocks, regionBlocks / 2);
    await volume.unmap(3 * regionBlocks, regionBlocks - 1);
    const { bitmap } = arrayOf(rig, 'a');
    // The region that was unmapped last may become clean one round later than the others.
    const isSettled = (): boolean => bitmap!.count(RegionState.Unwritten) === 2 && bitmap!.count(RegionState.Dirty) === 0;
    await until(isSettled, 'two regions are on record, and all have been idle');
    expect([...bitmap!.states]).toEqual([RegionState.Clean, RegionState.Unwritten, RegionState.Unwritten, RegionState.Clean]);
    const empty = await volume.read(regionBlocks, 2 * regionBlocks);
    expect(empty.every((byte) => byte === 0)).toBe(true);

    // A new member gets two regions of four, whatever it holds.
    await rig.arrays.removeBaseBdev('m1');
    const bytes = new Uint8Array(5 * MiB).fill(0xee);
    const { disk } = await plugIn(rig.registry, { name: 'new', uuid: memberUuid(9), bytes });
    await rig.arrays.addBaseBdev('a', 'new');
    await arrayOf(rig, 'a').processEnded;

    expect(disk.bytes.subarray(2 * MiB, 4 * MiB).every((byte) => byte === 0xee)).toBe(true);
    await rig.arrays.removeBaseBdev(level === 'raid1' ? 'm0' : 'm2');
    await volume.write(regionBlocks + 100, blocks(1, 9));
    const back = await volume.read(0, 4 * regionBlocks);
    const expected = new Uint8Array(4 * regionBlocks * 512);
    expected.fill(7, 0, regionBlocks * 512);
    expected.fill(9, (regionBlocks + 100) * 512, (regionBlocks + 101) * 512);
    // The last region was unmapped only in part, and may keep its contents.
    const last = 3 * regionBlocks * 512;
    expect(Buffer.from(back.subarray(0, last)).equals(Buffer.from(expected.subarray(0, last)))).toBe(true);

    // This is recorded: a start from the members' metadata knows it, too.
    volume.descriptor.close();
    await rig.arrays.stop();
    const again = newRig();
    for (const [name, uuid, image] of [
      ['m0', 0, disks[0]!],
      ['new', 9, disk],
      ['m2', 2, disks[2]],
    ] as const) {
      if (image !== undefined) await plugIn(again.registry, { name, uuid: memberUuid(uuid), bytes: image.bytes.slice() });
    }
    await again.registry.waitForExamine();
    if (again.registry.get('a') === undefined) await again.arrays.startDegraded('a');
    expect(arrayOf(again, 'a').bitmap!.count(RegionState.Unwritten)).toBe(1);
    const reread = await openVolume(again, 'a').read(2 * regionBlocks, regionBlocks);
    expect(reread.every((byte) => byte === 0)).toBe(true);
  });

  it('writes nothing when what was never written is unmapped', async () => {
    const { rig, disks, volume } = await build(level, members, { mebibytes: 4 });
    await volume.write(regionBlocks, blocks(1, 7));
    for (const disk of disks) disk.log.length = 0;
    await volume.unmap(0, regionBlocks);
    await volume.unmap(2 * regionBlocks, 2 * regionBlocks);
    for (const disk of disks) expect(disk.log).toEqual([]);
    // With a written region in between, only that region is zeroed.
    await volume.unmap(0, volume.numBlocks);
    expect(arrayOf(rig, 'a').bitmap!.count(RegionState.Unwritten)).toBe(3);
    for (const disk of disks) expect(disk.log).toEqual([expect.stringMatching(/^zero \d+\+2048$/)]);
    expect((await volume.read(0, volume.numBlocks)).every((byte) => byte === 0)).toBe(true);
  });
});

it('write zeroes is data: SPDK would read what the members hold', async () => {
  const { rig, volume } = await build('raid1', 2);
  await volume.write(0, blocks(4096, 7));
  await volume.writeZeroes(0, 2048);
  await volume.unmap(2048, 2048);
  const { bitmap } = arrayOf(rig, 'a');
  await until(() => bitmap!.count(RegionState.Unwritten) > 0, 'both have been idle');
  expect([...bitmap!.states]).toEqual([RegionState.Clean, RegionState.Unwritten]);
});

it('a region is not unwritten before a page has said so: not when one is on its way that says something else', async () => {
  const { rig, disks, volume } = await build('raid1', 3, { mebibytes: 1 });
  await rig.arrays.removeBaseBdev('m2');
  await volume.write(0, blocks(16, 7));
  await volume.unmap(0, volume.numBlocks);
  const array = arrayOf(rig, 'a');
  const { held } = disks[0]!;
  disks[0]!.fault = (io) => (isPageWrite(io) ? null : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm2');
  await until(() => held.length === 1, 'the map is on its way to the new member');
  await until(() => array.bitmap!.count(RegionState.Dirty) === 0, 'the region is idle');
  disks[0]!.finish(held.shift()!, Status.Ok);
  await until(() => held.length === 1, 'the next page is on its way');
  expect(array.bitmap!.count(RegionState.Unwritten)).toBe(0);
  disks[0]!.fault = () => Status.Ok;
  disks[0]!.finish(held.shift()!, Status.Ok);
  await until(() => array.bitmap!.count(RegionState.Unwritten) === 1, 'it is on record');
  await array.processEnded;
});

it('a region stays dirty if its page cannot be written, and is tried again', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 1 });
  await volume.write(0, blocks(16, 7));
  await volume.unmap(0, volume.numBlocks);
  const { bitmap } = arrayOf(rig, 'a');
  let refused = 0;
  const refuse = (io: BdevIo): Status => {
    if (!isPageWrite(io)) return Status.Ok;
    refused++;
    return Status.IoError;
  };
  for (const disk of disks) disk.fault = refuse;
  await until(() => refused > 0, 'a page is refused');
  expect(bitmap!.count(RegionState.Unwritten)).toBe(0);
  for (const disk of disks) disk.fault = () => Status.Ok;
  await until(() => bitmap!.count(RegionState.Unwritten) === 1, 'it is on record');
});

describe('what users have unmapped', () => {
  const regionBlocks = 8;
  const array = { stripe: () => ({ arrayBlocks: 1, memberBlocks: 1 }), numBlocks: 2 * regionBlocks } as unknown as RaidArray;

  /** Two regions, of which these are unwritten. */
  function statesOf(mostGroups: number, unwritten: readonly number[]): RegionStates {
    const states = new RegionStates(2, regionBlocks, mostGroups);
    for (const region of [0, 1]) if (!unwritten.includes(region)) states.set(region, RegionState.Dirty);
    return states;
  }

  interface Request {
    isUnmap: boolean;
    from: number;
    length: number;
    begin: number;
    end: number;
    isGood: boolean;
  }

  const request = fc.record({
    isUnmap: fc.boolean(),
    from: fc.integer({ min: 0, max: 15 }),
    length: fc.integer({ min: 1, max: 16 }),
    begin: fc.double({ min: 0, max: 1, noNaN: true }),
    end: fc.double({ min: 0, max: 1, noNaN: true }),
    isGood: fc.boolean(),
  });

  it.each([2, 1])('is never more than what no write has touched since the unmap began: %i groups', (mostGroups) => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 12 }), fc.subarray([0, 1]), (drawn, unwritten) => {
        const requests: Request[] = drawn.map((one) => ({ ...one, end: one.begin + one.end }));
        const states = statesOf(mostGroups, unwritten);
        const trims = new Discards(array, states);
        const ios = new Map<Request, RaidIo>();
        const moments = requests.flatMap((one) => [
          { at: one.begin, one, isEnd: false },
          { at: one.end, one, isEnd: true },
        ]);
        moments.sort((a, b) => a.at - b.at || Number(a.isEnd) - Number(b.isEnd));
        const last = (one: Request): number => Math.min(one.from + one.length, 16) - 1;
        const touches = (one: Request, region: number): boolean =>
          one.from < (region + 1) * regionBlocks && last(one) >= region * regionBlocks;
        for (const { one, isEnd } of moments) {
          if (!isEnd && one.isUnmap) {
            const io = {
              trimmedOffset: one.from,
              trimmedBlocks: last(one) + 1 - one.from,
              status: one.isGood ? Status.Ok : Status.IoError,
              begunAt: trims.now(),
            };
            ios.set(one, io as unknown as RaidIo);
          }
          const touched = [0, 1].filter((region) => touches(one, region));
          // Between its begin and its end a write has its region's bit set.
          if (!one.isUnmap && (isEnd || one.length % 2 === 0))
            for (const region of touched) states.set(region, RegionState.Dirty);
          if (!isEnd) continue;
          for (const group of new Set(touched.map((region) => states.groupOf(region)))) {
            if (one.isUnmap) trims.unmapped(group, ios.get(one)!);
            else trims.wrote(group);
          }
        }
        for (const region of [0, 1]) {
          if (!trims.isWhole(region) || states.states[region] === RegionState.Unwritten) continue;
          const writes = requests.filter((one) => !one.isUnmap && touches(one, region));
          for (let block = region * regionBlocks; block < (region + 1) * regionBlocks; block++) {
            const isCovered = requests.some(
              (one) =>
                one.isUnmap &&
                one.isGood &&
                one.from <= block &&
                block <= last(one) &&
                writes.every(({ end }) => end <= one.begin),
            );
            expect(isCovered, `block ${block}`).toBe(true);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('is known when pieces meet, in any order', () => {
    const trims = new Discards(array, statesOf(2, []));
    for (const [from, to] of [
      [0, 3],
      [3, 6],
      [6, 9],
    ] as const) {
      expect(trims.isWhole(0)).toBe(false);
      const io = {
        trimmedOffset: from,
        trimmedBlocks: to - from,
        status: Status.Ok,
        begunAt: trims.now(),
      } as unknown as RaidIo;
      for (const region of [0, 1]) if (from < (region + 1) * 8 && to > region * 8) trims.unmapped(region, io);
    }
    expect(trims.isWhole(0)).toBe(true);
    expect(trims.isWhole(1)).toBe(false);
  });

  it('goes on behind a region of the group that was never written', () => {
    const states = new RegionStates(4, regionBlocks, 1);
    for (const region of [0, 2, 3]) states.set(region, RegionState.Dirty);
    const larger = { stripe: () => ({ arrayBlocks: 1, memberBlocks: 1 }), numBlocks: 32 };
    const trims = new Discards(larger as unknown as RaidArray, states);
    for (const [from, to] of [
      [16, 32],
      [0, 8],
    ] as const) {
      trims.unmapped(0, {
        trimmedOffset: from,
        trimmedBlocks: to - from,
        status: Status.Ok,
        begunAt: trims.now(),
      } as unknown as RaidIo);
    }
    expect([0, 2, 3].every((region) => trims.isWhole(region))).toBe(true);
    // The first write there changes what is known of all of the group.
    trims.wrote(0);
    states.set(1, RegionState.Dirty);
    expect([0, 1, 2, 3].some((region) => trims.isWhole(region))).toBe(false);
  });
});

import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BlockClient } from '@raidkit/bdev';
import { healthOf } from '@raidkit/core';
import { CutMode, Fate } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { blocks, build, bytesOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { SparseMachine } from '../../../test/support/sparse-machine.js';

/** First block of a member's data area, and blocks of a strip and of a region of the map. */
const dataAt = 2048;
const strip = 32;
const region = 2048;
/** Data chunks of a stripe: both levels here have two. */
const chunks = 2;
const levels = [
  ['raid5f', 3],
  ['raid6', 4],
] as const;

interface Crashed {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

/** Whether this writes the blocks of these stripes on its member. */
function writesStripes({ offsetBlocks, numBlocks, type }: BdevIo, first: number, count = 1): boolean {
  const isWrite = type === IoType.Write || type === IoType.WriteZeroes;
  const from = offsetBlocks - dataAt;
  return isWrite && from < (first + count) * strip && from + numBlocks > first * strip;
}

/**
 * A complete array after a crash, with its resync under way: members hold 1 in the first stripe of each region and nothing
 * elsewhere, and parity there is wrong on all members that have it. `fault` is that of each disk from the start on.
 */
async function crashed(
  level: string,
  members: number,
  fault: (index: number) => RamDisk['fault'],
  integrity = false,
): Promise<Crashed> {
  const { disks: before, rig: earlier, volume } = await build(level, members, { mebibytes: 3, integrity });
  for (const stripe of firstStripes) await volume.write(stripe * chunks * strip, blocks(chunks * strip, 1));
  await volume.flush();
  const { level: parity } = arrayOf(earlier, 'a');
  const images = before.map(({ bytes }) => bytes.slice());
  for (const stripe of firstStripes)
    for (const slot of parity!.redundantSlots!(stripe))
      images[slot]!.fill(0x77, (dataAt + stripe * strip) * 512, (dataAt + (stripe + 1) * strip) * 512);
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries()) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, fault: fault(index) });
    disks.push(disk);
  }
  await rig.registry.waitForExamine();
  return { rig, disks, volume: openVolume(rig, 'a') };
}

/** The first stripe of each region. */
const firstStripes = [0, region / strip, (2 * region) / strip];

async function readsRight(volume: BlockClient): Promise<void> {
  for (const stripe of firstStripes) {
    const seen = await bytesOf(volume, stripe * chunks * strip, chunks * strip);
    expect(new Set(seen)).toEqual(new Set([1]));
  }
}

describe.concurrent.each(levels)('a %s after a crash', (level, members) => {
  it.each(['removed', 'failed'])('keeps a member that is to be %s until parity is right, or by force', async (what) => {
    let isOut = true;
    // The resync ends with an error, and is tried again after a while.
    const fault: RamDisk['fault'] = (io) => (isOut && writesStripes(io, 0, Infinity) ? Status.IoError : Status.Ok);
    const leave = async ({ rig }: Crashed, index: number, force = false): Promise<void> => {
      if (what === 'removed') await rig.arrays.removeBaseBdev(`m${index}`, { force });
      else await rig.arrays.failMember('a', index, 'it is to go', { force });
    };
    const one = await crashed(level, members, () => fault);
    const array = arrayOf(one.rig, 'a');
    await expect(leave(one, 1)).rejects.toMatchObject({ code: 'ERR_RAID_BUSY', errno: Status.Busy });
    await until(() => array.history.length > 0, 'the resync has ended');
    await expect(leave(one, 1)).rejects.toThrow(/cannot do without m1 of slot 1 yet.*Wait for it, or use force/);
    expect(array.numInSync).toBe(members);
    isOut = false;
    await until(() => !array.isIrreplaceable(array.slotAt(1)), 'redundancy is consistent');
    await leave(one, 1);
    expect(array.slotAt(1).isInSync).toBe(false);
    await readsRight(one.volume);

    isOut = true;
    const other = await crashed(level, members, () => fault);
    await leave(other, 1, true);
    expect(arrayOf(other.rig, 'a').slotAt(1).isInSync).toBe(false);
  });
});

it('a member stays if redundancy becomes inconsistent while the others are flushed before it is removed', async () => {
  const { disks, rig, volume } = await build('raid5f', 3, { mebibytes: 3 });
  await volume.write(0, blocks(chunks * strip, 1));
  const array = arrayOf(rig, 'a');
  let isFlushed = false;
  disks[0]!.fault = (io) => {
    if (io.type === IoType.Flush && !isFlushed) {
      isFlushed = true;
      array.consistency.markInconsistent(0, strip);
    }
    return Status.Ok;
  };
  await expect(rig.arrays.removeBaseBdev('m1')).rejects.toMatchObject({ code: 'ERR_RAID_BUSY' });
  expect(isFlushed).toBe(true);
  expect(array.numInSync).toBe(3);
  await until(() => array.consistency.isSettled, 'the resync has ended');
  await rig.arrays.removeBaseBdev('m1');
  expect(array.numInSync).toBe(2);
});

it('an array that goes offline without a member lets go of it as before: nothing is recorded, and nothing lost', async () => {
  const { rig, volume } = await build('raid5f', 3, { mebibytes: 3 });
  await volume.write(0, blocks(chunks * strip, 1));
  await rig.arrays.removeBaseBdev('m2');
  const array = arrayOf(rig, 'a');
  array.consistency.markInconsistent(0, strip);
  volume.descriptor.close();
  await rig.arrays.removeBaseBdev('m1');
  expect(array.state).toBe('offline');
  expect(array.slotAt(1).isConfigured).toBe(false);
});

describe.concurrent.each(levels)('a %s of which writes of the resync fail', (level, members) => {
  it('loses no member and no block if all devices fail them for a moment', async () => {
    let isOut = true;
    let hasFailed = false;
    // What was done before is not on stable media yet.
    const fault: RamDisk['fault'] = (io) => {
      const isRefused = isOut && (writesStripes(io, firstStripes[1]!, Infinity) || (hasFailed && io.type === IoType.Flush));
      hasFailed ||= isRefused;
      return isRefused ? Status.IoError : Status.Ok;
    };
    const { rig, volume } = await crashed(level, members, () => fault);
    const array = arrayOf(rig, 'a');
    await until(() => array.history.length > 0, 'the resync has ended');
    isOut = false;
    expect(array.history[0]!.error).not.toBe(null);
    expect(array.numInSync).toBe(members);
    expect(array.bitmap!.regionsToResync).toBeGreaterThan(1);
    expect(healthOf(array)).toEqual({
      health: 'resyncing',
      reason: expect.stringContaining('a write of the resync failed on slot') as string,
    });
    await readsRight(volume);
    await until(() => array.consistency.isSettled && array.process === null, 'the resync was tried again');
    expect(healthOf(array)).toEqual({ health: 'optimal', reason: null });
    await rig.arrays.removeBaseBdev('m0');
    await readsRight(volume);
  }, 30_000);

  it.each(['parity', 'data'])(
    'goes past %s that one member refuses again, and loses no more with it',
    async (what) => {
      const { level: parity } = arrayOf((await build(level, members)).rig, 'a');
      const redundant = parity!.redundantSlots!(firstStripes[1]!);
      const refusing = Array.from({ length: members }, (_, slot) => slot).find(
        (slot) => redundant.includes(slot) === (what === 'parity'),
      )!;
      const fault = (index: number): RamDisk['fault'] =>
        index === refusing ? (io) => (writesStripes(io, firstStripes[1]!) ? Status.IoError : Status.Ok) : () => Status.Ok;
      const { rig, volume } = await crashed(level, members, fault);
      const array = arrayOf(rig, 'a');
      await until(() => array.history.length > 1, 'the resync was tried again');
      expect(array.numInSync).toBe(members);
      expect(array.bitmap!.regionsToResync).toBe(1);
      expect(healthOf(array).reason).toContain(`slot ${refusing} (m${refusing})`);
      await readsRight(volume);
      // The acknowledged write must be on enough members: one that has missed it goes.
      await volume.write(firstStripes[1]! * chunks * strip, blocks(chunks * strip, 1));
      expect(array.numInSync).toBe(members - 1);
      await readsRight(volume);
      await volume.flush();
    },
    30_000,
  );

  it.each(level === 'raid6' ? ['parity', 'data'] : ['parity'])(
    'keeps a member that can neither read a block of %s nor take it',
    async (what) => {
      const { level: parity } = arrayOf((await build(level, members)).rig, 'a');
      // Parity of the first stripe is wrong; the second one is only in doubt, so that its data can be reconstructed if both agree.
      const stripe = what === 'parity' ? 0 : 1;
      const redundant = parity!.redundantSlots!(stripe);
      const bad = Array.from({ length: members }, (_, slot) => slot).find(
        (slot) => redundant.includes(slot) === (what === 'parity'),
      )!;
      const block = dataAt + stripe * strip;
      const fails = ({ numBlocks, offsetBlocks, type }: BdevIo): boolean =>
        type !== IoType.Flush && offsetBlocks <= block && block < offsetBlocks + numBlocks;
      const fault = (index: number): RamDisk['fault'] =>
        index === bad ? (io) => (fails(io) ? Status.IoError : Status.Ok) : () => Status.Ok;
      const { rig, volume } = await crashed(level, members, fault);
      const array = arrayOf(rig, 'a');
      await until(() => array.history.length > 1, 'the resync was tried again');
      expect(array.numInSync).toBe(members);
      // The others have been compared, and nothing was given up for the one that was not.
      expect(array.bitmap!.regionsToResync).toBe(1);
      expect(array.badBlocks.isEmpty).toBe(true);
      await readsRight(volume);
      expect(new Set(await bytesOf(volume, chunks * strip, chunks * strip))).toEqual(new Set([0]));
    },
    30_000,
  );

  it('fails a member that can neither read a block of parity nor take it, if the blocks have checksums', async () => {
    const [bad] = arrayOf((await build(level, members)).rig, 'a').level!.redundantSlots!(0);
    const fails = ({ numBlocks, offsetBlocks, type }: BdevIo): boolean =>
      type !== IoType.Flush && offsetBlocks <= dataAt && dataAt < offsetBlocks + numBlocks;
    const fault = (index: number): RamDisk['fault'] =>
      index === bad ? (io) => (fails(io) ? Status.IoError : Status.Ok) : () => Status.Ok;
    const { rig } = await crashed(level, members, fault, true);
    const array = arrayOf(rig, 'a');
    await until(() => array.history.length > 0, 'the resync has ended');
    expect(array.slots[bad!]!.isInSync).toBe(false);
  });

  it('removes members at once for a write of a user that fails on them, which can be read', async () => {
    const most = members - chunks;
    const fault = (index: number): RamDisk['fault'] =>
      index < most ? (io) => (writesStripes(io, 0, Infinity) ? Status.IoError : Status.Ok) : () => Status.Ok;
    const { rig, volume } = await crashed(level, members, fault);
    const array = arrayOf(rig, 'a');
    await until(() => array.history.length > 0, 'the resync has ended');
    expect(array.numInSync).toBe(members);
    await readsRight(volume);
    await volume.write(0, blocks(chunks * strip, 2));
    expect(array.numInSync).toBe(chunks);
    expect(new Set(await bytesOf(volume, 0, chunks * strip))).toEqual(new Set([2]));
  }, 30_000);

  it('loses none of them to a repair either, which ends with the error', async () => {
    let isOut = true;
    const fault: RamDisk['fault'] = (io) => (isOut && writesStripes(io, 0, Infinity) ? Status.IoError : Status.Ok);
    const { rig, volume } = await crashed(level, members, () => fault);
    const array = arrayOf(rig, 'a');
    await until(() => array.history.length > 0, 'the resync has ended');
    rig.arrays.startSync('a', 'repair');
    await until(() => array.history.length > 1, 'the repair has ended');
    expect(array.history[0]).toMatchObject({ type: 'repair', error: expect.stringContaining('EIO') as string });
    expect(array.numInSync).toBe(members);
    isOut = false;
    await readsRight(volume);
  }, 30_000);
});

it('a read of a raid6 that cannot make parity agree fails, and no members are lost for it', async () => {
  let isOut = true;
  const fault: RamDisk['fault'] = (io) => (isOut && writesStripes(io, 0, Infinity) ? Status.IoError : Status.Ok);
  const { rig, volume } = await crashed('raid6', 4, () => fault);
  const array = arrayOf(rig, 'a');
  expect(await bytesOf(volume, 0, 1)).toEqual(['EIO']);
  isOut = false;
  expect(array.numInSync).toBe(4);
  await readsRight(volume);
  await until(() => array.consistency.isSettled && array.process === null, 'the resync was tried again');
  expect(array.numInSync).toBe(4);
}, 30_000);

it('a read of a raid6 that both parities refuse for good takes their members, once resyncs have gone past all else', async () => {
  const machine = new SparseMachine(Array<number>(4).fill(4 << 20));
  await machine.boot();
  await machine.create('raid6', ['m0', 'm1', 'm2', 'm3']);
  const parities = machine.array.level!.redundantSlots!(0).map((slot) => machine.disks[slot]!);
  const isOfFirst = ({ offsetBlocks, type }: BdevIo): boolean =>
    (type === IoType.Write || type === IoType.WriteZeroes) &&
    offsetBlocks >= dataAt &&
    offsetBlocks < dataAt + machine.array.stripe().memberBlocks;
  let volume = machine.openVolume();
  const count = machine.array.stripe().arrayBlocks;
  await machine.until(volume.write(0, blocks(2 * count, 1)));
  // A crash leaves both parities of the first stripe as they were before this write.
  for (const disk of parities) disk.onSubmit = (io) => (isOfFirst(io) ? Fate.Drop : undefined);
  volume.write(0, blocks(count, 2)).catch(() => undefined);
  await machine.sleep(100);
  machine.cut(CutMode.KeepAll);
  for (const disk of parities) {
    const kept = new Uint8Array(512);
    disk.media.read(kept, 0, dataAt * 512, 512);
    disk.onSubmit = (io) => {
      if (!isOfFirst(io)) return undefined;
      // A write that fails may be done in part; these leave the first block as it is.
      machine.world.after(5, () => disk.media.write(dataAt * 512, kept, 0, 512));
      return Fate.Fail;
    };
  }
  await machine.boot();
  volume = machine.openVolume();
  await expect(machine.until(volume.read(0, 1))).rejects.toThrow(/EIO/);
  expect(machine.array.numInSync).toBe(4);
  await machine.sleep(20_000);
  await expect(machine.until(volume.read(0, 1))).rejects.toThrow(/EIO/);
  expect(machine.array.numInSync).toBe(4);
  await machine.sleep(200_000);
  expect((await machine.until(volume.read(0, 1)))[0]).toBe(2);
  expect(machine.array.numInSync).toBe(2);
  expect((await machine.until(volume.read(count, 1)))[0]).toBe(1);
  machine.cut(CutMode.KeepAll);
});

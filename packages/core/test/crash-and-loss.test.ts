import { IoType, Status } from '@raidkit/bdev';
import { parseSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
/** First block of a member's data area. */
const dataOffset = 2048;
/** Blocks of a strip. */
const strip = 32;

type Disks = Record<number, RamDisk>;

/** Copies of the disks, as a crash leaves them, in a process of its own. */
async function restart(disks: Disks, faults: Record<number, RamDisk['fault']> = {}): Promise<{ rig: Rig; disks: Disks }> {
  const rig = newRig();
  const plugged: Disks = {};
  for (const index of Object.keys(disks).map(Number)) {
    const { disk } = await plugIn(rig.registry, {
      name: `m${index}`,
      uuid: memberUuid(index),
      bytes: disks[index]!.bytes.slice(),
      ...(faults[index] === undefined ? {} : { fault: faults[index] }),
    });
    plugged[index] = disk;
  }
  await rig.registry.waitForExamine();
  return { rig, disks: plugged };
}

/** Runs so many turns that everything that can happen has happened. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const firstBytes = async (rig: Rig, offsets: readonly number[]): Promise<number[]> => {
  const volume = openVolume(rig, 'a');
  const bytes: number[] = [];
  for (const offset of offsets) bytes.push((await volume.read(offset, 1))[0]!);
  volume.descriptor.close();
  return bytes;
};

describe('a crash in the round that makes a rebuilt member current', () => {
  /** All but the new member m9 has its superblock, and a write is on m0 and not on its parity. */
  async function crashed(): Promise<Disks> {
    const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
    await volume.write(0, blocks(1024, 1));
    await rig.arrays.removeBaseBdev('m1');
    const { disk: target } = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(3 * MiB) });
    const array = arrayOf(rig, 'a');
    target.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 0 && array.slots[1]!.isInSync ? null : Status.Ok);
    await rig.arrays.addBaseBdev('a', 'm9');
    await until(() => target.held.length > 0, 'the superblock in which it is a member is being written');
    await until(
      () => superblockOf(disks[0]!).members[1]?.state === superblockOf(disks[0]!).members[0]?.state,
      'the others have it',
    );
    disks[2]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataOffset ? null : Status.Ok);
    void volume.write(0, blocks(1, 2)).catch(() => undefined);
    await until(() => disks[2]!.held.length > 0, 'the parity is held back');
    await turns();
    expect(disks[0]!.bytes[dataOffset * 512]).toBe(2);
    return { 0: disks[0]!, 2: disks[2]!, 9: target };
  }

  it('costs nothing if that member is lost in it: until then every write is journaled', async () => {
    const { 0: first, 2: last } = await crashed();
    const { rig } = await restart({ 0: first!, 2: last! });
    if (rig.arrays.get('a')?.state !== 'online') await rig.arrays.startDegraded('a');
    expect(arrayOf(rig, 'a').consistency.isAllInSync).toBe(true);
    expect(await firstBytes(rig, [0, strip, 2 * strip])).toEqual([2, 1, 1]);
  });

  it('is no reason to believe the journal if another member is lost in it', async () => {
    const { 2: last, 9: target } = await crashed();
    const { rig } = await restart({ 2: last!, 9: target! });
    await expect(rig.arrays.startDegraded('a')).rejects.toThrow(/not stopped cleanly/);
  });
});

describe('an array that was not stopped cleanly', () => {
  const isWrite = (type: number): boolean => type === IoType.Write || type === IoType.WriteZeroes;

  async function crashed(): Promise<Disks> {
    const { disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
    await volume.write(0, blocks(1024, 1));
    return Object.fromEntries(disks.map((disk, index) => [index, disk]));
  }

  it('is not started without a member that cannot be written to, which stays a member', async () => {
    const faults: Record<string, RamDisk['fault']> = {
      'all writes': ({ type }) => (isWrite(type) ? Status.IoError : Status.Ok),
      'the superblock': ({ type, offsetBlocks }) => (isWrite(type) && offsetBlocks === 0 ? Status.IoError : Status.Ok),
      'lack of space': ({ type }) => (isWrite(type) ? Status.NoSpace : Status.Ok),
    };
    for (const [what, fault] of Object.entries(faults)) {
      const { rig, disks } = await restart(await crashed(), { 1: fault });
      const array = arrayOf(rig, 'a');
      expect(array.state, what).toBe('configuring');
      expect(array.startError, what).toMatch(/not stopped cleanly, and a member that its resync needs fails/);
      await expect(rig.arrays.startDegraded('a'), what).rejects.toMatchObject({ code: 'ERR_RAID_METADATA' });
      for (const disk of Object.values(disks)) {
        const { members } = superblockOf(disk);
        expect(members[1]!.state, what).toBe(members[0]!.state);
      }
      // Once the member works again, the array starts with all members.
      disks[1]!.fault = () => Status.Ok;
      await rig.arrays.startDegraded('a');
      expect(arrayOf(rig, 'a').numInSync, what).toBe(3);
      expect(await firstBytes(rig, [0, strip, 2 * strip]), what).toEqual([1, 1, 1]);
    }
  });

  it('is started without it by force', async () => {
    const { rig } = await restart(await crashed(), { 1: ({ type }) => (isWrite(type) ? Status.IoError : Status.Ok) });
    await rig.arrays.startDegraded('a', { force: true });
    expect(arrayOf(rig, 'a').numInSync).toBe(2);
    await expect(firstBytes(rig, [strip])).rejects.toThrow(/EIO/);
  });

  it('lets go of a member whose flush failed in a start once it can do without it, and fails flushes until then', async () => {
    let failures = 0;
    const { rig, disks } = await restart(await crashed(), {
      1: ({ type }) => (type === IoType.Flush && failures++ === 0 ? Status.IoError : Status.Ok),
    });
    expect(failures).toBeGreaterThan(0);
    expect(arrayOf(rig, 'a').state).toBe('configuring');
    // The resync is held in its first read.
    disks[0]!.fault = ({ type, offsetBlocks }) => (type === IoType.Read && offsetBlocks >= dataOffset ? null : Status.Ok);
    await rig.arrays.startDegraded('a');
    const array = arrayOf(rig, 'a');
    const volume = openVolume(rig, 'a');
    await until(() => disks[0]!.held.length > 0, 'the resync is under way');
    await expect(volume.flush()).rejects.toThrow(/EIO/);
    expect(array.numInSync).toBe(3);
    disks[0]!.fault = () => Status.Ok;
    for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
    await until(() => array.numInSync === 2, 'the member is failed');
    await volume.flush();
    expect(array.consistency.isAllInSync).toBe(true);
    expect([...(await volume.read(0, 3 * strip))].every((byte) => byte === 1)).toBe(true);
  });

  it('has a journal for an absent member also if a flush failed in a start before', async () => {
    for (const [level, slots] of [
      ['raid5f', 3],
      ['raid6', 4],
    ] as const) {
      const { rig, disks, volume } = await build(level, slots, { mebibytes: 2 });
      await volume.write(0, blocks(1024, 1));
      await rig.arrays.removeBaseBdev('m0');
      await volume.write(0, blocks(2 * strip, 2));
      const there = Object.fromEntries(Object.entries(disks).filter(([index]) => index !== '0'));
      let failures = 0;
      const again = await restart(there, {
        1: ({ type }) => (type === IoType.Flush && failures++ === 0 ? Status.IoError : Status.Ok),
      });
      expect(arrayOf(again.rig, 'a').state, level).toBe('configuring');
      expect(failures, level).toBeGreaterThan(0);
      // The resync that a raid6 can do, after which it removes the member, is held in its first read.
      again.disks[2]!.fault = ({ type }) =>
        arrayOf(again.rig, 'a').process !== null && type === IoType.Read ? null : Status.Ok;
      await again.rig.arrays.startDegraded('a');
      await expect(openVolume(again.rig, 'a').flush(), level).rejects.toThrow(/EIO/);
      const crashed = await restart(again.disks);
      expect(arrayOf(crashed.rig, 'a').startError, level).toBe(null);
      expect(arrayOf(crashed.rig, 'a').numInSync, level).toBe(slots - 1);
      expect(await firstBytes(crashed.rig, [0, strip, 2 * strip, 3 * strip]), level).toEqual([2, 2, 1, 1]);
    }
  });
});

it('one round of metadata follows another, also if one is asked for in the turn in which another has ended', async () => {
  const { rig, disks } = await build('raid1', 2);
  const { memory } = rig.registry.runtime;
  const numbers: number[] = [];
  for (const disk of disks) disk.delayTurns = () => 2;
  disks[0]!.fault = ({ type, offsetBlocks, addr }) => {
    if (type !== IoType.Write || offsetBlocks !== 0) return Status.Ok;
    const parsed = parseSuperblock(memory.u8.slice(addr, addr + 16_896));
    if (parsed.ok) numbers.push(parsed.superblock.seqNumber);
    return Status.Ok;
  };
  const { metadata } = arrayOf(rig, 'a');
  const first = metadata.update();
  const third = first.then(() => metadata.update());
  const second = metadata.update();
  await Promise.all([first, second, third]);
  expect(numbers).toHaveLength(2);
  expect(new Set(numbers).size).toBe(2);
});

it('a block that a rebuild could not work out is no reason to give it up when a client reads it', async () => {
  const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 4 });
  // Stripe 0: chunk 0 on m0, chunk 1 on m1, parity on m2.
  await volume.write(0, blocks(64, 1));
  await volume.write(volume.numBlocks - 64, blocks(64, 3));
  const array = arrayOf(rig, 'a');
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(8, blocks(1, 1));
  await volume.write(volume.numBlocks - 64, blocks(64, 3));
  const isBad = (offset: number, count: number): boolean => offset <= dataOffset + 5 && dataOffset + 5 < offset + count;
  disks[0]!.fault = ({ type, offsetBlocks, numBlocks }) =>
    type === IoType.Read && isBad(offsetBlocks, numBlocks) ? Status.IoError : Status.Ok;
  // The process is held before its last window.
  disks[1]!.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks > dataOffset + 2048 ? null : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => disks[1]!.held.length > 0 && (array.process?.offsetBlocks ?? 0) > 0, 'the first window is filled');
  expect(array.badBlocks.has(1, 5, 1)).toBe(true);
  await expect(volume.read(strip + 5, 1)).rejects.toThrow(/EIO/);
  expect(array.slots[1]!.isRemoving).toBe(false);
  disks[1]!.fault = () => Status.Ok;
  for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.Ok);
  await until(() => array.numInSync === 3, 'the rebuild is complete');
  expect(array.badBlocks.has(1, 5, 1)).toBe(true);
  expect((await volume.read(strip + 4, 1))[0]).toBe(1);
});

it('a member whose last flush fails is on record as out when the array has stopped', async () => {
  for (const level of ['raid1', 'raid5f']) {
    for (const failing of [1, 2, 3, 4]) {
      const { rig, disks, volume } = await build(level, 3);
      await volume.write(0, blocks(64, 1));
      volume.descriptor.close();
      let flushes = 0;
      disks[1]!.fault = ({ type }) => (type === IoType.Flush && ++flushes === failing ? Status.IoError : Status.Ok);
      await rig.arrays.stop();
      if (flushes < failing) continue;
      const { members } = superblockOf(disks[0]!);
      expect(members[1]!.state, `${level}, flush ${failing}`).not.toBe(members[0]!.state);
    }
  }
});

it('says of a member that could not be written to which array, slot and device it was', async () => {
  const { rig, disks, volume } = await build('raid5f', 3);
  await volume.write(0, blocks(64, 1));
  disks[0]!.fault = ({ type }) => (type === IoType.Write ? Status.IoError : Status.Ok);
  disks[2]!.fault = disks[0]!.fault;
  await expect(rig.arrays.removeBaseBdev('m1')).rejects.toMatchObject({
    name: 'RaidError',
    code: 'ERR_RAID_METADATA',
    message: /array a slot \d: .* m\d/,
  });
});

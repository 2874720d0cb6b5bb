import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { describe, expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const MiB = 1 << 20;

/** Fails I/O of one type on the data area, from this block of it on. */
function failData(disk: RamDisk, type: number, from = 0, count = Infinity): void {
  disk.fault = (io: BdevIo) => {
    const at = io.offsetBlocks - 2048;
    return io.type === type && at + io.numBlocks > from && at < from + count && at >= 0 ? Status.IoError : Status.Ok;
  };
}

describe.each([
  ['raid1', 3],
  ['raid5f', 4],
] as const)('%s', (level, members) => {
  it('serves a read that one member cannot, and gives it the blocks again', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(96, 7));
    const [bad] = disks;
    let reads = 0;
    bad!.fault = (io) => {
      const isBad = io.type === IoType.Read && io.offsetBlocks >= 2048 && reads++ < 1;
      return isBad ? Status.IoError : Status.Ok;
    };
    for (let round = 0; round < 4; round++) expect(await volume.read(0, 96)).toEqual(blocks(96, 7));
    const [slot] = arrayOf(rig, 'a').slots;
    await until(() => slot!.errors.repaired > 0, 'the blocks are rewritten');
    expect(slot!.errors.read).toBe(1);
    expect(slot!.isInSync).toBe(true);
  });

  it('acknowledges a write that missed a member only when the survivors’ superblocks say so', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(8, 1));
    const before = superblockOf(disks[1]!).seqNumber;
    failData(disks[0]!, IoType.Write);
    // Survivors write the superblock slowly: the write is not acknowledged before that.
    let isAcked = false;
    for (const disk of disks.slice(1))
      disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 0 ? null : Status.Ok);
    const written = volume.write(0, blocks(8, 2)).then(() => {
      isAcked = true;
    });
    await until(() => disks.slice(1).every(({ held }) => held.length > 0), 'the superblocks are under way');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isAcked).toBe(false);
    for (const disk of disks.slice(1)) {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    }
    await written;
    for (const disk of disks.slice(1)) {
      const { members: entries, seqNumber } = superblockOf(disk);
      expect(seqNumber).toBeGreaterThan(before);
      expect(entries.map(({ state }) => state)).toEqual([2, ...entries.slice(1).map(() => 1)]);
      expect(disk.log.at(-1)).toBe('flush');
    }
    expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
    expect(await volume.read(0, 8)).toEqual(blocks(8, 2));
    expect(rig.events.filter(({ type }) => type === 'memberFailed')).toHaveLength(1);
  });

  it('finds silent corruption with a check, and mends it with a repair', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(1024, 3));
    const array = arrayOf(rig, 'a');
    // This is the second copy of a mirror, or the parity of the first stripe of a raid5f: data is read from neither.
    const victim = disks[level === 'raid1' ? 1 : 3]!;
    victim.bytes[MiB + 5000]! ^= 0xff;
    rig.arrays.startSync('a', 'check');
    await array.processEnded;
    expect(array.history[0]).toMatchObject({ type: 'check', error: null });
    expect(array.history[0]!.mismatchBlocks).toBeGreaterThan(0);
    expect(victim.bytes[MiB + 5000]).not.toBe(level === 'raid1' ? 3 : 3 ^ 3 ^ 3);
    rig.arrays.startSync('a', 'repair');
    await array.processEnded;
    rig.arrays.startSync('a', 'check');
    await array.processEnded;
    expect(array.history[0]).toMatchObject({ type: 'check', mismatchBlocks: 0 });
    expect(await volume.read(0, 1024)).toEqual(blocks(1024, 3));
  });

  it('a member that cannot be read while it is being filled does no harm', async () => {
    const { rig, disks, volume } = await build(level, members, { mebibytes: 4 });
    await volume.write(0, blocks(volume.numBlocks / 2, 3));
    await rig.arrays.removeBaseBdev('m1');
    // The disk takes writes up to the last window, and cannot read them.
    const target = disks[1]!;
    target.fault = (io) => {
      if (io.type === IoType.Read && io.offsetBlocks >= 2048) return Status.IoError;
      return io.type === IoType.Write && io.offsetBlocks >= 2048 + 2048 ? null : Status.Ok;
    };
    rig.arrays.setProcessOptions({ windowSizeKb: 256 });
    await rig.arrays.addBaseBdev('a', 'm1');
    await until(() => (arrayOf(rig, 'a').process?.offsetBlocks ?? 0) > 256, 'a part is filled');
    for (let at = 0; at < 256; at += 16) {
      await volume.write(at + 3, blocks(5, 4));
      expect(await volume.read(at, 3)).toEqual(blocks(3, 3));
    }
    target.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
    for (const io of target.held.splice(0)) target.finish(io, Status.Ok);
    await arrayOf(rig, 'a').processEnded;
    // A mirror does not need to read the target.
    if (level === 'raid5f') expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
  });

  it('never throws out the members that it needs', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(8, 1));
    for (const disk of disks) failData(disk, IoType.Write);
    await expect(volume.write(0, blocks(8, 2))).rejects.toMatchObject({ errno: 5 });
    const array = arrayOf(rig, 'a');
    expect(array.state).toBe('online');
    expect(array.numInSync).toBeGreaterThanOrEqual(array.minOperational);
  });

  it('reads zeros where nothing was ever written, whatever the members hold', async () => {
    const rig = newRig();
    for (let index = 0; index < members; index++) {
      const bytes = new Uint8Array(3 * MiB).fill(0xa0 + index);
      bytes.fill(0, 0, MiB);
      await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    }
    const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
    await rig.arrays.create({
      name: 'a',
      level,
      baseBdevs: Array.from({ length: members }, (_, i) => `m${i}`),
      superblock: true,
      ...strip,
    });
    const volume = openVolume(rig, 'a');
    await volume.write(100, blocks(1, 9));
    const data = await volume.read(0, volume.numBlocks);
    expect(data.subarray(100 * 512, 101 * 512)).toEqual(blocks(1, 9));
    data.fill(0, 100 * 512, 101 * 512);
    expect(data.every((byte) => byte === 0)).toBe(true);
    expect(arrayOf(rig, 'a').bitmap!.count(RegionState.Dirty)).toBe(1);
  });

  it('gives a member that comes back only what it missed', async () => {
    const { rig, disks, volume } = await build(level, members, { mebibytes: 8 });
    await volume.write(0, blocks(4096, 1));
    await rig.arrays.removeBaseBdev('m1');
    await volume.write(10, blocks(8, 2));
    disks[1]!.log.length = 0;
    await rig.arrays.addBaseBdev('a', 'm1');
    const array = arrayOf(rig, 'a');
    await array.processEnded;
    expect(array.numInSync).toBe(members);
    await rig.arrays.removeBaseBdev(level === 'raid1' ? 'm0' : 'm2');
    expect((await volume.read(0, 4096)).subarray(10 * 512, 18 * 512)).toEqual(blocks(8, 2));
  });

  it('gives a new device all that was ever written, also where the map is clean', async () => {
    const { rig: first, disks, volume: written } = await build(level, members, { mebibytes: 8 });
    await written.write(0, blocks(4096, 1));
    written.descriptor.close();
    await first.arrays.stop();
    const rig = newRig();
    for (const [index, { bytes }] of disks.entries())
      if (index !== 1) await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    await rig.arrays.startDegraded('a');
    const { bitmap } = arrayOf(rig, 'a');
    expect(bitmap!.count(RegionState.Clean)).toBeGreaterThan(0);
    await plugIn(rig.registry, { name: 'new', uuid: memberUuid(9), bytes: new Uint8Array(9 * MiB).fill(0xee) });
    await rig.arrays.addBaseBdev('a', 'new');
    await until(() => arrayOf(rig, 'a').numInSync === members, 'it is filled');
    await rig.arrays.removeBaseBdev(level === 'raid1' ? 'm0' : 'm2');
    expect([...new Set(await openVolume(rig, 'a').read(0, 4096))]).toEqual([1]);
  });

  it('grows when all its members have grown', async () => {
    const { rig, disks, volume } = await build(level, members);
    const before = volume.numBlocks;
    const array = arrayOf(rig, 'a');
    for (const slot of array.slots) {
      const bdev = slot.descriptor!.bdev;
      bdev.resize(disks[slot.index]!.grow(2 * MiB));
      if (slot.index < members - 1) expect(volume.numBlocks).toBe(before);
    }
    await until(() => volume.numBlocks > before, 'the volume has grown');
    expect(volume.numBlocks).toBe(before * 2);
    const tail = await volume.read(before, before);
    expect(tail.every((byte) => byte === 0)).toBe(true);
    await volume.write(volume.numBlocks - 8, blocks(8, 4));
    expect(await volume.read(volume.numBlocks - 8, 8)).toEqual(blocks(8, 4));
    // After a crash only what was being written is in doubt, in the new part too.
    const { bitmap } = array;
    expect(bitmap!.states.length).toBe(4);
    const again = newRig();
    for (const [index, disk] of disks.entries())
      await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disk.bytes.slice() });
    await again.registry.waitForExamine();
    const back = arrayOf(again, 'a');
    expect(back.bitmap!.regionsToResync).toBe(1);
    expect(back.bitmap!.count(RegionState.Unwritten)).toBe(3);
    await back.processEnded;
    const reread = openVolume(again, 'a');
    expect(await reread.read(reread.numBlocks - 8, 8)).toEqual(blocks(8, 4));
    expect((await reread.read(before, before - 8)).every((byte) => byte === 0)).toBe(true);
  });
});

describe('raid0', () => {
  it('goes offline when a member vanishes, and comes back by itself with it', async () => {
    const { rig, disks, volume } = await build('raid0', 2);
    await volume.write(0, blocks(128, 5));
    await volume.flush();
    volume.descriptor.close();
    const member = rig.registry.get('m1')!;
    await rig.registry.unregister(member);
    expect(arrayOf(rig, 'a').state).toBe('offline');
    await plugIn(rig.registry, { name: 'other name', uuid: memberUuid(1), bytes: disks[1]!.bytes });
    await rig.registry.waitForExamine();
    await until(() => rig.arrays.get('a')?.state === 'online', 'the array is online again');
    expect(await openVolume(rig, 'a').read(0, 128)).toEqual(blocks(128, 5));
  });

  it('believes no flush after one that failed', async () => {
    const { disks, volume } = await build('raid0', 2);
    await volume.write(0, blocks(8, 1));
    disks[0]!.fault = (io) => (io.type === IoType.Flush ? Status.IoError : Status.Ok);
    await expect(volume.flush()).rejects.toMatchObject({ errno: 5 });
    disks[0]!.fault = () => Status.Ok;
    await expect(volume.flush()).rejects.toMatchObject({ errno: 5 });
  });
});

it('an array that was not stopped cleanly is resynchronised, and only where it was being written', async () => {
  const { disks, volume } = await build('raid1', 2, { mebibytes: 8 });
  await volume.write(0, blocks(8, 1));
  // The process is killed: the members stay as they are, and one of them has half of a later write.
  const images = disks.map(({ bytes }) => bytes.slice());
  images[1]!.fill(0x77, MiB + 512, MiB + 1024);
  const again = newRig();
  const plugged = [];
  for (const [index, bytes] of images.entries())
    plugged.push(await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes }));
  await again.registry.waitForExamine();
  const array = arrayOf(again, 'a');
  expect(array.bitmap!.regionsToResync).toBe(1);
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'resync', error: null });
  expect(array.bitmap!.regionsToResync).toBe(0);
  expect(Buffer.from(images[0]!.subarray(MiB)).equals(images[1]!.subarray(MiB))).toBe(true);
  const read = plugged[1]!.disk.log.filter(
    (entry) => entry.startsWith('read ') && Number(entry.split(/[ +]/)[1]) >= 2048 + 2048,
  );
  expect(read).toEqual([]);
});

it('a member that joins while regions are made clean does not have them on record as such before the others are flushed', async () => {
  const { rig, disks, volume } = await build('raid1', 3);
  await rig.arrays.removeBaseBdev('m2');
  await volume.write(0, blocks(8, 1));
  disks[0]!.fault = (io) => (io.type === IoType.Flush ? null : Status.Ok);
  await until(() => disks[0]!.held.length > 0, 'the region is idle, and members are flushed for it');
  disks[0]!.fault = () => Status.Ok;
  const array = arrayOf(rig, 'a');
  await rig.arrays.addBaseBdev('a', 'm2');
  await until(() => array.process !== null || array.numInSync === 3, 'the map is written to the new member');
  // The power fails: the write may be in the cache of one member only.
  const again = newRig();
  for (const index of [0, 1])
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disks[index]!.bytes.slice() });
  await again.registry.waitForExamine();
  if (again.registry.get('a') === undefined) await again.arrays.startDegraded('a');
  const back = arrayOf(again, 'a');
  await back.processEnded;
  expect(back.history.map(({ type }) => type)).toContain('resync');
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await array.processEnded;
});

it('raid5f refuses to start without a member after an unclean stop, and says what is at stake; forced, it invents nothing', async () => {
  const { disks, volume } = await build('raid5f', 3);
  await volume.write(0, blocks(64, 1));
  const again = newRig();
  for (const index of [0, 2])
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disks[index]!.bytes.slice() });
  await again.registry.waitForExamine();
  await expect(again.arrays.startDegraded('a')).rejects.toThrow(/was not stopped cleanly, and slot 1 is missing: in 1 regions/);
  expect(again.registry.get('a')).toBeUndefined();
  await again.arrays.startDegraded('a', { force: true });
  const forced = openVolume(again, 'a');
  expect(await forced.read(0, 32)).toEqual(blocks(32, 1));
  await expect(forced.read(32, 1)).rejects.toThrow();
  again.arrays.trustRedundancy('a');
  expect(await forced.read(0, 64)).toEqual(blocks(64, 1));
});

it('zeros of a growth that failed do not land on what is written after the next one', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 1.5 });
  const before = volume.numBlocks;
  const array = arrayOf(rig, 'a');
  await volume.write(before - 1, blocks(1, 1));
  const isNew = (io: BdevIo): boolean => io.type !== IoType.Read && io.offsetBlocks >= 2048 + before;
  let kept = 0;
  let refusals = 0;
  disks[0]!.fault = (io) => (isNew(io) && kept++ === 0 ? null : Status.Ok);
  disks[1]!.fault = (io) => (isNew(io) && refusals++ === 0 ? Status.IoError : Status.Ok);
  for (const { descriptor, index } of array.slots) descriptor!.bdev.resize(disks[index]!.grow(2 * MiB));
  await until(() => disks[0]!.held.length === 1 && refusals > 0, 'one is refused, and the other one takes its time');
  await new Promise((resolve) => setTimeout(resolve, 50));
  for (const { descriptor, index } of array.slots) descriptor!.bdev.resize(disks[index]!.grow(MiB));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const hasGrown = volume.numBlocks > before;
  if (hasGrown) await volume.write(before, blocks(8, 9));
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await until(() => volume.numBlocks > before, 'the volume has grown');
  if (!hasGrown) await volume.write(before, blocks(8, 9));
  for (const { bytes } of disks) expect(bytes.subarray(MiB + before * 512, MiB + (before + 8) * 512)).toEqual(blocks(8, 9));
});

it('a member that comes in the middle of a growth has zeros in the new part too', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 1.5 });
  const before = volume.numBlocks;
  const array = arrayOf(rig, 'a');
  await volume.write(before - 1, blocks(1, 1));
  await plugIn(rig.registry, { name: 'new', uuid: memberUuid(5), bytes: new Uint8Array(3 * MiB).fill(0xee) });
  disks[0]!.fault = (io) => (io.type !== IoType.Read && io.offsetBlocks >= 2048 + before ? null : Status.Ok);
  for (const { descriptor, index } of array.slots) descriptor!.bdev.resize(disks[index]!.grow(2 * MiB));
  await until(() => disks[0]!.held.length > 0, 'it grows');
  await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
  await until(() => array.slots[1]!.name === 'new' && array.process === null, 'it is replaced');
  disks[0]!.fault = () => Status.Ok;
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await until(() => volume.numBlocks > before, 'the volume has grown');
  await rig.arrays.removeBaseBdev('m0');
  const tail = await volume.read(before, volume.numBlocks - before);
  expect(tail.every((byte) => byte === 0)).toBe(true);
});

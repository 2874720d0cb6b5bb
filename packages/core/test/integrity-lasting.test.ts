import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { encodeSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const dataAt = 2048;
/** Where the pages of sums begin: behind the data, of which there are 510 blocks of 4 KiB. */
const pagesAt = (dataAt + 510 * 8) * 512;

async function startFrom(
  images: ReadonlyMap<number, Uint8Array>,
): Promise<{ rig: Rig; disks: RamDisk[]; volume: BlockClient }> {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images)
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk);
  await rig.registry.waitForExamine();
  if (arrayOf(rig, 'a').state !== 'online' && images.size < arrayOf(rig, 'a').numSlots) await rig.arrays.startDegraded('a', {});
  await until(() => arrayOf(rig, 'a').state === 'online', 'online');
  return { rig, disks, volume: openVolume(rig, 'a') };
}

async function stop(rig: Rig, volume: BlockClient): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
}

const imagesOf = (disks: readonly RamDisk[]): Map<number, Uint8Array> => new Map(disks.map(({ bytes }, i) => [i, bytes]));

it('keeps what a degraded array holds readable when another program ran it before, however often it starts', async () => {
  const built = await build('raid5f', 3, { integrity: true });
  await built.volume.write(0, blocks(192, 1));
  await stop(built.rig, built.volume);
  const images = new Map<number, Uint8Array>();
  for (const [index, disk] of built.disks.slice(0, 2).entries()) {
    const superblock = superblockOf(disk);
    const bytes = disk.bytes.slice();
    bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    images.set(index, bytes);
  }
  // Nothing is read before all regions are clean.
  const first = await startFrom(images);
  await stop(first.rig, first.volume);
  const second = await startFrom(imagesOf(first.disks));
  expect(new Set(await second.volume.read(0, 192))).toEqual(new Set([1]));
  expect(arrayOf(second.rig, 'a').slots.map(({ errors }) => errors.checksum)).toEqual([0, 0, 0]);
  await stop(second.rig, second.volume);
});

it('has the checksums of a region on its members before they count', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  await volume.write(0, blocks(64, 6));
  const { bitmap } = arrayOf(rig, 'a');
  let written = 0;
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => {
      if (type === IoType.Write && offsetBlocks < dataAt && bitmap!.count(RegionState.Dirty) === 0) written++;
      return Status.Ok;
    };
  await until(() => written >= disks.length, 'the region is on record as clean');
  // The power fails: nothing is stopped in order.
  const after = await startFrom(imagesOf(disks));
  expect(arrayOf(after.rig, 'a').process).toBeNull();
  expect(arrayOf(after.rig, 'a').history).toEqual([]);
  expect(new Set(await after.volume.read(0, 64))).toEqual(new Set([6]));
  expect(arrayOf(after.rig, 'a').slots.map(({ errors }) => errors.checksum)).toEqual([0, 0]);
  await stop(after.rig, after.volume);
  await stop(rig, volume);
});

it('keeps a checksum that was made anew, when the array stops in order and the other copy has left', async () => {
  const built = await build('raid1', 2, { integrity: true });
  await built.volume.write(0, blocks(64, 5));
  await stop(built.rig, built.volume);
  const images = imagesOf(built.disks);
  // The first record of the first page is damaged: nothing says what its blocks should be.
  images.get(0)!.fill(0xee, pagesAt, pagesAt + 512);
  const { rig, disks, volume } = await startFrom(images);
  rig.arrays.startSync('a', 'check');
  await arrayOf(rig, 'a').processEnded;
  rig.arrays.startSync('a', 'check');
  await arrayOf(rig, 'a').processEnded;
  expect(arrayOf(rig, 'a').history[0]).toMatchObject({ type: 'check', error: null, unreadableBlocks: 0 });
  expect(arrayOf(rig, 'a').slots[0]!.errors.checksum).toBeGreaterThan(0);
  await rig.arrays.removeBaseBdev('m1');
  // A flush that fails drops the page: the stop is the last to write it.
  disks[0]!.fault = (io) => {
    if (io.type !== IoType.Flush) return Status.Ok;
    disks[0]!.bytes.fill(0xee, pagesAt, pagesAt + 512);
    return Status.IoError;
  };
  await expect(volume.flush()).rejects.toThrow('EIO');
  disks[0]!.fault = () => Status.Ok;
  await stop(rig, volume);
  const alone = await startFrom(new Map([[0, disks[0]!.bytes]]));
  expect(new Set(await alone.volume.read(0, 64))).toEqual(new Set([5]));
  await stop(alone.rig, alone.volume);
});

it('does not hold against data what a failed flush has left of older checksums', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true, mebibytes: 12, checksumCacheBytes: 8192 });
  const [disk] = disks as [RamDisk];
  const end = (dataAt + volume.numBlocks) * 512;
  await rig.arrays.removeBaseBdev('m1');
  // There is room for two pages: their sums go to the device when others are wanted.
  const elsewhere = async (fill: number): Promise<void> => {
    for (const at of [8000, 12_000, 16_000, 20_000]) await volume.write(at, blocks(8, fill));
  };
  await volume.write(0, blocks(64, 1));
  await elsewhere(8);
  await volume.flush();
  const kept = disk.bytes.slice(end);
  await volume.write(0, blocks(64, 2));
  await volume.flush();
  await elsewhere(9);
  expect(Buffer.from(kept).equals(disk.bytes.subarray(end))).toBe(false);
  disk.fault = (io) => {
    if (io.type !== IoType.Flush) return Status.Ok;
    disk.bytes.set(kept, end);
    return Status.IoError;
  };
  await expect(volume.flush()).rejects.toThrow('EIO');
  disk.fault = () => Status.Ok;
  await elsewhere(9);
  expect(new Set(await volume.read(0, 64))).toEqual(new Set([2]));
  expect(arrayOf(rig, 'a').slots[0]!.errors.checksum).toBe(0);
  await stop(rig, volume);
});

it('does not take for good what was damaged, because a failed flush has taken its checksum', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true, mebibytes: 12, checksumCacheBytes: 8192 });
  const [disk] = disks as [RamDisk];
  const end = dataAt + volume.numBlocks;
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(0, blocks(64, 1));
  // There is room for two pages: the first one goes to the device.
  for (const at of [8000, 12_000, 16_000, 20_000]) await volume.write(at, blocks(8, 8));
  disk.bytes[dataAt * 512]! ^= 4;
  let reads = 0;
  disk.fault = (io) => {
    if (io.type === IoType.Flush) return Status.IoError;
    if (io.type === IoType.Read && io.offsetBlocks === dataAt) reads++;
    // The page is wanted again for another look at what does not match.
    return io.type === IoType.Read && io.offsetBlocks === end && reads > 1 ? null : Status.Ok;
  };
  const answer = volume.read(0, 8).catch((error: unknown) => error);
  await until(() => disk.held.length === 1, 'another look');
  await expect(volume.flush()).rejects.toThrow('EIO');
  disk.fault = () => Status.Ok;
  disk.finish(disk.held[0]!, Status.Ok);
  expect(String(await answer)).toContain('EIO');
  await expect(volume.read(0, 8)).rejects.toThrow('EIO');
  expect(new Set(await volume.read(8, 56))).toEqual(new Set([1]));
  await stop(rig, volume);
});

it.each([1, 2])(
  'loses nothing because the page with the checksums of the only copy could not be read %i times',
  async (times) => {
    const built = await build('raid1', 2, { integrity: true });
    await built.volume.write(0, blocks(64, 5));
    await built.rig.arrays.removeBaseBdev('m1');
    await stop(built.rig, built.volume);
    // Regions that have never been written have sums in the page too, so that it is written once it was read.
    const { rig, disks, volume } = await startFrom(new Map([[0, built.disks[0]!.bytes]]));
    const [disk] = disks as [RamDisk];
    let left = times;
    disk.fault = (io) =>
      io.type === IoType.Read && io.offsetBlocks === pagesAt / 512 && left-- > 0 ? Status.IoError : Status.Ok;
    expect(new Set(await volume.read(0, 64))).toEqual(new Set([5]));
    expect(left).toBeLessThan(0);
    expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
    await stop(rig, volume);
  },
);

it('lists no block that has another checksum than those that are damaged', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  await volume.write(0, blocks(64, 5));
  await rig.arrays.removeBaseBdev('m1');
  disks[0]!.bytes[(dataAt + 4) * 512]! ^= 4;
  // As when what has two checksums could not be read, and a part of the first has been written.
  array.badBlocks.noteDamage(0, 1, 15);
  await array.recordDamage(0, 64);
  expect(array.badBlocks.list()).toEqual([{ slot: 0, offsetBlocks: 1, numBlocks: 7 }]);
  expect(new Set(await volume.read(8, 56))).toEqual(new Set([5]));
  await stop(rig, volume);
});

it.each(['later', 'at once'])('lists damage that only a write has met, when the array stops %s', async (when) => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  await volume.write(0, blocks(64, 6));
  await rig.arrays.removeBaseBdev('m1');
  const [disk] = disks as [RamDisk];
  for (const at of [5, 21]) disk.bytes[(dataAt + at) * 512 + 7]! ^= 4;
  const areListed = ({ badBlocks }: typeof array): boolean => [5, 21].every((at) => badBlocks.has(0, at, 1));
  // A part of what has one checksum: what else there is of it is not what it was.
  await Promise.all([0, 16].map((at) => volume.write(at, blocks(1, 7))));
  if (when === 'later') await until(() => areListed(array), 'it is listed');
  await stop(rig, volume);
  const again = await startFrom(new Map([[0, disk.bytes]]));
  expect(areListed(arrayOf(again.rig, 'a'))).toBe(true);
  // This holds whatever happens to the checksums.
  await again.rig.arrays.disableIntegrity('a');
  await expect(again.volume.read(5, 1)).rejects.toThrow('EIO');
  expect(new Set(await again.volume.read(24, 40))).toEqual(new Set([6]));
  await stop(again.rig, again.volume);
});

it('lists or heals damage that only writes have met, also where more is damaged than waits to be healed', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  await volume.write(0, blocks(2048, 6));
  const places = Array.from({ length: 200 }, (_, index) => 8 * index);
  const [first, second] = disks as [RamDisk, RamDisk];
  const writeParts = (): Promise<unknown> => Promise.all(places.map((at) => volume.write(at, blocks(1, 7))));
  const damage = (disk: RamDisk): void => {
    for (const at of places) disk.bytes[(dataAt + at + 5) * 512 + 7]! ^= 4;
  };
  damage(second);
  await writeParts();
  await until(() => array.badBlocks.isEmpty, 'the other copy has healed all of it');
  await until(() => array.slots[1]!.errors.repaired === 8 * places.length, 'each block was given anew, once');
  expect(places.every((at) => second.bytes[(dataAt + at + 5) * 512 + 7] === 6)).toBe(true);
  await rig.arrays.removeBaseBdev('m1');
  damage(first);
  // A part of what has one checksum, and the rest is not known.
  await writeParts();
  await until(() => array.badBlocks.countOf(0) === 7 * places.length && array.badBlocks.isSettled, 'all of it is listed');
  // The process is killed.
  const again = await startFrom(new Map([[0, first.bytes]]));
  await arrayOf(again.rig, 'a').processEnded;
  await again.rig.arrays.disableIntegrity('a');
  for (const at of places) {
    await expect(again.volume.read(at + 5, 1)).rejects.toThrow('EIO');
    expect(new Set(await again.volume.read(at, 1))).toEqual(new Set([7]));
  }
  expect(new Set(await again.volume.read(1600, 448))).toEqual(new Set([6]));
  await stop(again.rig, again.volume);
  await stop(rig, volume);
});

it('lists what it knows of damage on a member that has left, when checksums are turned off', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  await volume.write(0, blocks(64, 6));
  const [, disk] = disks as [RamDisk, RamDisk];
  await until(() => array.bitmap!.isSettled(0, 64), 'the region is clean');
  disk.bytes[dataAt * 512 + 7]! ^= 4;
  // Its contents cannot be reconstructed.
  disk.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks >= dataAt ? Status.IoError : Status.Ok);
  array.slotAt(0).readPreference = 'write-mostly';
  await volume.read(0, 8);
  await until(() => array.numInSync === 1, 'it is failed');
  disk.fault = () => Status.Ok;
  await rig.arrays.disableIntegrity('a');
  expect(array.badBlocks.list()).toEqual([{ slot: 1, offsetBlocks: 0, numBlocks: 8 }]);
  // It comes back as it was, and is given what it has missed.
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => array.numInSync === 2 && array.process === null, 'it is filled');
  expect(array.badBlocks.isEmpty).toBe(true);
  await rig.arrays.removeBaseBdev('m0');
  expect(new Set(await volume.read(0, 64))).toEqual(new Set([6]));
  await stop(rig, volume);
});

it('heals what waits for that when a slot is taken away, though others have its number then', async () => {
  const { rig, disks, volume } = await build('raid1', 3, { integrity: true });
  const array = arrayOf(rig, 'a');
  await volume.write(0, blocks(512, 6));
  await rig.arrays.removeBaseBdev('m1');
  const [, , disk] = disks as [RamDisk, RamDisk, RamDisk];
  const places = Array.from({ length: 20 }, (_, index) => 8 * index);
  for (const at of places) disk.bytes[(dataAt + at + 5) * 512 + 7]! ^= 4;
  // The first one is being healed when the volume is held for the change.
  disk.fault = ({ numBlocks, offsetBlocks, type }) =>
    type === IoType.Write && offsetBlocks >= dataAt && numBlocks === 8 ? null : Status.Ok;
  const written = Promise.all(places.map((at) => volume.write(at, blocks(1, 7))));
  await until(() => disk.held.length > 0, 'one is being healed');
  await written;
  const changed = rig.arrays.removeSlot('a', 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await changed;
  await until(() => array.badBlocks.isEmpty && !array.isRepairing, 'all of it is healed');
  expect(array.slots[1]!.errors.repaired).toBe(8 * places.length);
  expect(places.every((at) => disk.bytes[(dataAt + at + 5) * 512 + 7] === 6)).toBe(true);
  await stop(rig, volume);
});

it('knows as much of the damage of a member as before, when its successor could not take its place', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  await volume.write(0, blocks(64, 6));
  await until(() => array.bitmap!.isSettled(0, 64), 'the region is clean');
  await rig.arrays.removeBaseBdev('m1');
  const [disk] = disks as [RamDisk, RamDisk];
  const { disk: successor } = await plugIn(rig.registry, {
    name: 'new',
    uuid: memberUuid(9),
    bytes: new Uint8Array(disk.bytes.length),
  });
  successor.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks === 0 ? Status.IoError : Status.Ok);
  // The state is that after a write of a part of it whose repair was dropped.
  array.badBlocks.noteDamage(0, 8, 8);
  await rig.arrays.replaceBaseBdev('a', 'm0', 'new');
  await until(() => array.history.some(({ type }) => type === 'replace'), 'the replacement has ended');
  expect(array.slots[0]).toMatchObject({ name: 'm0' });
  expect(array.badBlocks.damagedIn(0, 0, 64)).toEqual([{ start: 8, end: 16 }]);
  await stop(rig, volume);
});

it('fails no member because another one holds all memory from which checksums are written', async () => {
  const { rig, disks, volume } = await build('raid1', 3, { integrity: true, mebibytes: 72 });
  const [disk] = disks as [RamDisk];
  // There is one page more than are written at a time.
  for (let page = 0; page < 33; page++) await volume.write(page * 480 * 8, blocks(8, 1));
  const end = dataAt + volume.numBlocks;
  rig.arrays.setMemberOptions({ ioTimeoutMs: 300 });
  disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= end ? null : Status.Ok);
  // The stop writes them, and makes their regions clean.
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(disk.held.length).toBe(32);
  expect(rig.events.filter(({ type }) => type === 'memberFailed')).toEqual([expect.objectContaining({ slot: 0 })]);
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
});

/** Blocks of the volume, each of which says its number; members' blocks of the same range. */
const numbered = Uint8Array.from({ length: 256 * 512 }, (_, at) => (at >> 9) % 251);

/** The number that each of these blocks says, or `EIO`; so many from the first on. */
async function numbersOf(volume: BlockClient, count = 256): Promise<(number | string)[]> {
  const seen: (number | string)[] = [];
  for (let block = 0; block < count; block++)
    seen.push(
      await volume.read(block, 1).then(
        (bytes) => bytes[77]!,
        () => 'EIO',
      ),
    );
  return seen;
}

/** After a crash, when all that is in doubt has been resynchronised. */
async function afterCrash(disks: readonly RamDisk[], count = 256): Promise<(number | string)[]> {
  const after = await startFrom(new Map(disks.map(({ bytes }, index) => [index, bytes.slice()])));
  await arrayOf(after.rig, 'a').processEnded;
  const seen = await numbersOf(after.volume, count);
  await stop(after.rig, after.volume);
  return seen;
}

const isMap = (block: number): boolean => block >= 256 && block < 512;

it.each([
  ['raid1', 2, 0],
  ['raid10', 4, 0],
  // Parity says nothing of it then, as others of its stripe were being written.
  ['raid5f', 3, 8],
  ['raid6', 4, 0],
] as const)(
  '%s of %i gives after a crash what it has read around damage in a region that is being written',
  async (level, members, lost) => {
    const { rig, disks, volume } = await build(level, members, { integrity: true });
    const array = arrayOf(rig, 'a');
    if (level === 'raid1') array.slotAt(1).readPreference = 'write-mostly';
    await volume.write(0, numbered);
    await volume.flush();
    // Data, of which copies and parity are made anew.
    const disk = disks[level === 'raid6' ? 1 : 0]!;
    disk.bytes[(dataAt + 8) * 512 + 77]! ^= 4;
    disk.fault = ({ offsetBlocks, type }) =>
      type === IoType.Write && offsetBlocks >= dataAt && offsetBlocks < pagesAt / 512 ? null : Status.Ok;
    const expected = Array.from(numbered.filter((_, at) => at % 512 === 77));
    for (let block = 0; array.slots.every(({ errors }) => errors.checksum === 0); block++)
      expect((await volume.read(block, 1))[77]).toBe(expected[block]);
    const found = await afterCrash(disks);
    expect(found.filter((number) => number === 'EIO')).toHaveLength(lost);
    expect(found.filter((number, block) => number !== 'EIO' && number !== expected[block])).toEqual([]);
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    await until(() => array.badBlocks.isEmpty && array.badBlocks.isRecorded && !array.isRepairing, 'it is healed');
    expect(await afterCrash(disks)).toEqual(expected);
    await stop(rig, volume);
  },
);

it('answers no second read that goes around damage while that comes onto the list for the first', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  array.slotAt(1).readPreference = 'write-mostly';
  await volume.write(0, numbered);
  await volume.flush();
  let isListHeld = false;
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => {
      const isData = offsetBlocks >= dataAt && offsetBlocks < pagesAt / 512;
      const isList = offsetBlocks >= 512 && offsetBlocks < 768;
      return type === IoType.Write && (isData || (isListHeld && isList)) ? null : Status.Ok;
    };
  // The first one is being healed, so that nothing holds reads of the second one back, which waits to be.
  for (const block of [8, 48]) disks[0]!.bytes[(dataAt + block) * 512 + 77]! ^= 4;
  expect((await volume.read(8, 1))[77]).toBe(8);
  await until(() => disks[0]!.held.length > 0 && array.badBlocks.isRecorded, 'it is on the list, and is being healed');
  isListHeld = true;
  const answers: number[] = [];
  const read = (): Promise<number> => volume.read(48, 1).then((bytes) => answers.push(bytes[77]!));
  const reads = [read()];
  await until(() => disks.some(({ held }) => held.some(({ offsetBlocks }) => offsetBlocks < 768)), 'the list is being written');
  reads.push(read());
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(answers).toEqual([]);
  for (const disk of disks) {
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  }
  await Promise.all(reads);
  expect(answers).toEqual([48, 48]);
  await stop(rig, volume);
});

it.each(['clean', 'dirty'])('has what was read around damage on record while a region is made %s', async (state) => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  const [first, second] = disks as [RamDisk, RamDisk];
  array.slotAt(1).readPreference = 'write-mostly';
  await volume.write(0, numbered);
  if (state === 'dirty') await until(() => array.bitmap!.isSettled(0, 64), 'the region is clean');
  const held = state === 'dirty' ? [second] : [first, second];
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => {
      const isHeal = disk === first && offsetBlocks >= dataAt && offsetBlocks < dataAt + 64;
      return type === IoType.Write && (isHeal || (held.includes(disk) && isMap(offsetBlocks))) ? null : Status.Ok;
    };
  const written = state === 'dirty' ? volume.write(512, blocks(8, 1)) : Promise.resolve();
  await until(() => held.every((disk) => disk.held.length > 0), 'the map is being written');
  first.bytes[(dataAt + 8) * 512 + 77]! ^= 4;
  expect((await volume.read(8, 1))[77]).toBe(8);
  expect(await afterCrash(disks, 16)).toEqual(Array.from({ length: 16 }, (_, block) => block));
  for (const disk of disks) disk.fault = () => Status.Ok;
  for (const disk of disks) for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await written;
  await stop(rig, volume);
});

it('heals what has come onto the list because it was read around, also where more was read than waits to be healed', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  array.slotAt(1).readPreference = 'write-mostly';
  await volume.write(0, blocks(800, 6));
  const places = Array.from({ length: 100 }, (_, index) => 8 * index);
  const [disk] = disks as [RamDisk];
  for (const at of places) disk.bytes[(dataAt + at) * 512 + 7]! ^= 4;
  disk.fault = ({ numBlocks, offsetBlocks, type }) =>
    type === IoType.Write && offsetBlocks >= dataAt && numBlocks === 8 ? null : Status.Ok;
  expect(await volume.read(0, 1)).toEqual(blocks(1, 6));
  await until(() => disk.held.length > 0, 'the first is being healed');
  await Promise.all(places.slice(1).map((at) => volume.read(at, 8)));
  expect(array.badBlocks.countOf(0)).toBe(800);
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await until(() => array.badBlocks.isEmpty && !array.isRepairing, 'all of it is healed');
  expect(places.every((at) => disk.bytes[(dataAt + at) * 512 + 7] === 6)).toBe(true);
  await stop(rig, volume);
});

it('has on record what a rebuild has read around in a region that is being written', async () => {
  const { rig, disks, volume } = await build('raid1', 3, { integrity: true });
  const array = arrayOf(rig, 'a');
  await rig.arrays.removeBaseBdev('m2');
  await volume.write(0, numbered);
  disks[0]!.bytes[(dataAt + 8) * 512 + 77]! ^= 4;
  await rig.arrays.addBaseBdev('a', 'm2');
  await until(() => array.numInSync === 3 && array.process === null, 'it is filled');
  expect(array.slots.map(({ errors }) => errors.checksum > 0)).toEqual([true, false, false]);
  expect(await afterCrash(disks)).toEqual(Array.from(numbered.filter((_, at) => at % 512 === 77)));
  await stop(rig, volume);
});

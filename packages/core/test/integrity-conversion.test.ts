import { IoType, Status } from '@raidkit/bdev';
import { encodeSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const KiB = 1024;
const dataAt = 2048;
/** Room for the pages of 2 MiB, and less than a stripe more. */
const room = 12 * KiB;
const levels = [
  ['raid1', 2],
  ['raid10', 4],
  ['raid5f', 3],
  ['raid6', 4],
] as const;

async function startFrom(images: readonly (Uint8Array | null)[], cachePages = 4): Promise<Built> {
  const rig = newRig({ checksumCacheBytes: cachePages * 4 * KiB });
  const disks: RamDisk[] = [];
  for (const [index, image] of images.entries()) {
    if (image === null) continue;
    disks[index] = (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: image.slice() })).disk;
  }
  await rig.registry.waitForExamine();
  if (images.includes(null)) await rig.arrays.startDegraded('a');
  await until(() => rig.arrays.get('a')?.state === 'online', 'online');
  return { rig, disks, volume: openVolume(rig, 'a') };
}

const imagesOf = ({ disks }: Built): Uint8Array[] => disks.map(({ bytes }) => bytes.slice());
const errorsOf = ({ rig }: Built): number => arrayOf(rig, 'a').slots.reduce((sum, { errors }) => sum + errors.checksum, 0);

async function stop({ rig, volume }: Built): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
}

/** An array without checksums, with data at its beginning and its end. */
async function plain(level: string, members: number): Promise<Built> {
  const built = await build(level, members, { checksumCacheBytes: 16 * KiB });
  const { volume } = built;
  await volume.write(0, blocks(512, 1));
  await volume.write(volume.numBlocks - 512, blocks(512, 2));
  return built;
}

function enlarge({ rig, disks }: Built, moreBytes: number): Promise<void> {
  disks.forEach((disk, index) => rig.registry.get(`m${index}`)!.resize(disk.grow(moreBytes)));
  return arrayOf(rig, 'a').resizing;
}

async function isConverted({ rig }: Built): Promise<void> {
  const array = arrayOf(rig, 'a');
  await until(() => array.sums?.isComplete === true && array.process === null, 'all has checksums');
}

/** As {@link plain}, with room for checksums, and of which no region is dirty. */
async function withRoom(level: string, members: number): Promise<Built & { size: number }> {
  const built = await plain(level, members);
  const size = built.volume.numBlocks;
  expect(await built.rig.arrays.enableIntegrity('a', { whenRoom: true })).toBe(false);
  await stop(built);
  const images = imagesOf(built).map((bytes) => {
    const larger = new Uint8Array(bytes.length + room).fill(0xee);
    larger.set(bytes);
    return larger;
  });
  return { ...(await startFrom(images)), size };
}

async function expectData({ volume }: Built, sizeBefore: number): Promise<void> {
  const isAll = async (at: number, count: number, byte: number): Promise<void> =>
    expect(new Set(await volume.read(at, count))).toEqual(new Set([byte]));
  await isAll(0, 512, 1);
  await isAll(sizeBefore - 512, 512, 2);
  await isAll(512, 512, 0);
}

/** A disk changes what it has of the first and of the last data: a check finds it, and heals it. */
async function expectProven(built: Built, sizeBefore: number): Promise<void> {
  const { rig, disks } = built;
  const before = errorsOf(built);
  const [disk] = disks as [RamDisk];
  const found = [1, 2].map((byte) => {
    for (let at = dataAt * 512; at < disk.bytes.length; at += 512)
      if (disk.bytes.subarray(at, at + 512).every((found) => found === byte)) return at;
    return -1;
  });
  for (const at of found) if (at >= 0) disk.bytes[at + 77]! ^= 4;
  rig.arrays.startSync('a', 'check');
  await arrayOf(rig, 'a').processEnded;
  expect(arrayOf(rig, 'a').history[0]).toMatchObject({ error: null, mismatchBlocks: 0, lostBlocks: 0 });
  expect(errorsOf(built) - before).toBeGreaterThanOrEqual(found.filter((at) => at >= 0).length);
  await expectData(built, sizeBefore);
}

it.each(levels)(
  '%s of %i gets checksums while it is up, as soon as its members have room, and gives them up',
  async (level, members) => {
    const built = await plain(level, members);
    const { rig, volume } = built;
    const array = arrayOf(rig, 'a');
    const before = volume.numBlocks;
    await expect(rig.arrays.enableIntegrity('a')).rejects.toThrow(/m0 \(slot 0\) lacks \d+ blocks.*Larger members have/);
    expect(await rig.arrays.enableIntegrity('a', { whenRoom: true })).toBe(false);
    // Only half of the room is added: the array does not use that for data.
    await enlarge(built, 4 * KiB);
    expect(volume.numBlocks).toBe(before);
    await enlarge(built, room);
    await until(() => array.hasIntegrity, 'it has checksums');
    await isConverted(built);
    expect(array.history[0]).toMatchObject({ type: 'sum', error: null, mismatchBlocks: 0 });
    const size = volume.numBlocks;
    await expectData(built, before);
    expect(errorsOf(built)).toBe(0);
    await expectProven(built, before);
    await stop(built);
    const again = await startFrom(imagesOf(built));
    expect(arrayOf(again.rig, 'a').history).toEqual([]);
    await expectProven(again, before);
    await again.rig.arrays.disableIntegrity('a');
    const after = arrayOf(again.rig, 'a');
    expect(after.hasIntegrity).toBe(false);
    await expectData(again, before);
    await again.volume.write(0, blocks(512, 1));
    await after.resizing;
    // The room of the checksums is used for data again.
    await enlarge(again, 128 * KiB);
    expect(again.volume.numBlocks).toBeGreaterThan(size);
    await stop(again);
    const last = await startFrom(imagesOf(again));
    expect(arrayOf(last.rig, 'a').hasIntegrity).toBe(false);
    await expectData(last, before);
    await stop(last);
  },
);

/** What the disks have at each step of a record, or of a page of checksums, while something is done. */
async function atEachStep({ disks }: Built, images: Uint8Array[][], work: () => Promise<void>): Promise<void> {
  const disk = disks[1]!;
  disk.fault = ({ offsetBlocks, type }) => {
    const isStep = type === IoType.Flush || (type === IoType.Write && (offsetBlocks < dataAt || offsetBlocks >= dataAt + 4000));
    if (isStep) images.push(disks.map(({ bytes }) => bytes.slice()));
    return Status.Ok;
  };
  await work();
  disk.fault = () => Status.Ok;
}

it.each([
  ['raid1', 2],
  ['raid5f', 3],
] as const)('%s of %i believes nothing that was not summed, whenever the power fails', async (level, members) => {
  const built = await withRoom(level, members);
  const { rig, size, volume } = built;
  await isConverted(built);
  const images: Uint8Array[][] = [];
  await atEachStep(built, images, async () => {
    await rig.arrays.disableIntegrity('a');
    // What was behind the data is there still, for another key.
    for (const round of [1, 2]) {
      await volume.write(0, blocks(512, 3));
      await rig.arrays.enableIntegrity('a', { whenRoom: true });
      await enlarge(built, room);
      await until(() => arrayOf(rig, 'a').hasIntegrity, 'it has checksums');
      await volume.write(0, blocks(256, 1));
      await volume.write(256, blocks(256, 1));
      await isConverted(built);
      if (round === 1) await rig.arrays.disableIntegrity('a');
    }
  });
  expect(images.length).toBeGreaterThan(20);
  const seen = { with: 0, partly: 0, without: 0 };
  // Only some of them are tried, evenly distributed, because each takes a whole start.
  for (const image of images.filter((_, index) => index % 6 === 1)) {
    const after = await startFrom(image);
    const { sums } = arrayOf(after.rig, 'a');
    seen[sums === null ? 'without' : sums.isComplete ? 'with' : 'partly']++;
    const first = new Set(await after.volume.read(0, 512));
    expect([...first].every((byte) => byte === 1 || byte === 3)).toBe(true);
    expect(new Set(await after.volume.read(size - 512, 512))).toEqual(new Set([2]));
    if (sums !== null) await isConverted(after);
    await arrayOf(after.rig, 'a').processEnded;
    await after.volume.write(0, blocks(512, 1));
    after.rig.arrays.startSync('a', 'check');
    await arrayOf(after.rig, 'a').processEnded;
    expect(arrayOf(after.rig, 'a').history[0]).toMatchObject({ error: null, mismatchBlocks: 0, lostBlocks: 0 });
    expect(errorsOf(after)).toBe(0);
    if (sums !== null) await expectProven(after, size);
    await stop(after);
  }
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
  await stop(built);
});

it('believes no checksum of a member that was away when they were turned off', async () => {
  const built = await withRoom('raid1', 2);
  const { rig, size, volume } = built;
  await isConverted(built);
  await rig.arrays.removeBaseBdev('m1');
  await expect(rig.arrays.enableIntegrity('a')).rejects.toThrow(/has checksums already/);
  await rig.arrays.disableIntegrity('a');
  await volume.write(0, blocks(512, 7));
  await stop(built);
  // Both are there at the next start: the one that was away says that it has checksums.
  const again = await startFrom(imagesOf(built));
  expect(arrayOf(again.rig, 'a').hasIntegrity).toBe(false);
  await again.rig.arrays.addBaseBdev('a', 'm1').catch(() => undefined);
  await until(() => arrayOf(again.rig, 'a').numInSync === 2 && arrayOf(again.rig, 'a').process === null, 'it is filled');
  // The former checksums are still behind the data of both.
  await again.rig.arrays.enableIntegrity('a', { whenRoom: true });
  await enlarge(again, room);
  await isConverted(again);
  expect(new Set(await again.volume.read(0, 512))).toEqual(new Set([7]));
  expect(new Set(await again.volume.read(size - 512, 512))).toEqual(new Set([2]));
  await again.rig.arrays.removeBaseBdev('m0');
  expect(new Set(await again.volume.read(0, 512))).toEqual(new Set([7]));
  expect(errorsOf(again)).toBe(0);
  await stop(again);
});

it('gives what a disk returns once, and not again, no checksum', async () => {
  const built = await plain('raid1', 2);
  const { rig, disks, volume } = built;
  const [disk] = disks as [RamDisk];
  let reads = 0;
  await rig.arrays.enableIntegrity('a', { whenRoom: true });
  disk.fault = ({ numBlocks, offsetBlocks, type }) => {
    // Data is read twice before it gets a checksum.
    if (type !== IoType.Read || offsetBlocks !== dataAt || numBlocks < 64 || ++reads !== 2) return Status.Ok;
    const at = offsetBlocks * 512;
    disk.bytes[at + 77]! ^= 4;
    // The block is restored before it is read again.
    setImmediate(() => (disk.bytes[at + 77]! ^= 4));
    return Status.Ok;
  };
  await enlarge(built, room);
  await isConverted(built);
  expect(reads).toBeGreaterThan(2);
  disk.fault = () => Status.Ok;
  await rig.arrays.removeBaseBdev('m1');
  expect(new Set(await volume.read(0, 512))).toEqual(new Set([1]));
  expect(errorsOf(built)).toBe(0);
  await stop(built);
});

it('waits for a member that leaves, and knows what it lacks when it is back', async () => {
  const built = await plain('raid1', 2);
  const { rig, disks, volume } = built;
  const array = arrayOf(rig, 'a');
  await volume.write(1024, blocks(1024, 4));
  const size = volume.numBlocks;
  rig.arrays.setProcessOptions({ windowSizeKb: 64 });
  await rig.arrays.enableIntegrity('a', { whenRoom: true });
  // The other member is being read.
  const [disk] = disks as [RamDisk, RamDisk];
  disk.fault = ({ offsetBlocks, type }) => (type === IoType.Read && offsetBlocks >= dataAt + 1024 ? null : Status.Ok);
  await enlarge(built, room);
  await until(() => disk.held.length > 0, 'it is summed');
  expect(array.describe()).toMatchObject({ integrity: true });
  expect(array.sums).toMatchObject({ isComplete: false });
  await rig.arrays.removeBaseBdev('m1');
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'sum', error: expect.any(String) as string });
  await volume.write(0, blocks(64, 1));
  await rig.arrays.addBaseBdev('a', 'm1');
  await isConverted(built);
  await rig.arrays.removeBaseBdev('m0');
  expect(new Set(await volume.read(0, 512))).toEqual(new Set([1]));
  expect(new Set(await volume.read(1024, 1024))).toEqual(new Set([4]));
  expect(new Set(await volume.read(size - 512, 512))).toEqual(new Set([2]));
  expect(errorsOf(built)).toBe(0);
  await stop(built);
});

it('does not wait for a member whose slot is taken away', async () => {
  const built = await plain('raid1', 3);
  const { rig, disks, volume } = built;
  const array = arrayOf(rig, 'a');
  await rig.arrays.enableIntegrity('a', { whenRoom: true });
  const [disk] = disks as [RamDisk];
  disk.fault = ({ offsetBlocks, type }) => (type === IoType.Read && offsetBlocks >= dataAt ? null : Status.Ok);
  await enlarge(built, room);
  await until(() => disk.held.length > 0, 'it is summed');
  await rig.arrays.removeBaseBdev('m2');
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await array.processEnded;
  expect(array.sums).toMatchObject({ isComplete: false });
  await rig.arrays.removeSlot('a', 2);
  await array.processEnded;
  expect(array.sums?.isComplete).toBe(true);
  expect(new Set(await volume.read(0, 512))).toEqual(new Set([1]));
  await stop(built);
});

it('goes on where it was, and makes everything anew after another program ran the array', async () => {
  const built = await plain('raid1', 2);
  const { rig, disks, volume } = built;
  const size = volume.numBlocks;
  await volume.write(0, blocks(size, 1));
  await volume.write(size - 512, blocks(512, 2));
  rig.arrays.setProcessOptions({ windowSizeKb: 64 });
  await rig.arrays.enableIntegrity('a', { whenRoom: true });
  const [, disk] = disks as [RamDisk, RamDisk];
  disk.fault = ({ offsetBlocks, type }) => (type === IoType.Read && offsetBlocks >= dataAt + 2048 ? null : Status.Ok);
  await enlarge(built, room);
  await until(() => disk.held.length > 0, 'it is summed in part');
  const deleted = rig.arrays.delete('a');
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  volume.descriptor.close();
  await deleted;
  const images = imagesOf(built);
  await rig.arrays.stop();
  const again = await startFrom(images);
  expect(arrayOf(again.rig, 'a').sums).toMatchObject({ isComplete: false });
  await isConverted(again);
  expect(errorsOf(again)).toBe(0);
  await stop(again);
  // By SPDK's rules: the other program adds one, writes, and knows of no checksums.
  const theirs = again.disks.map((other, index) => {
    const bytes = images[index]!.slice().fill(9, dataAt * 512, (dataAt + 64) * 512);
    other.bytes = bytes;
    const superblock = superblockOf(other);
    bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    return bytes;
  });
  const third = await startFrom(theirs);
  await isConverted(third);
  expect(new Set(await third.volume.read(0, 64))).toEqual(new Set([9]));
  expect(new Set(await third.volume.read(64, 448))).toEqual(new Set([1]));
  third.rig.arrays.startSync('a', 'check');
  await arrayOf(third.rig, 'a').processEnded;
  expect(arrayOf(third.rig, 'a').history[0]).toMatchObject({ error: null, mismatchBlocks: 0, lostBlocks: 0 });
  expect(errorsOf(third)).toBe(0);
  await stop(third);
});

it.each(['goes on', 'is deleted'])(
  'a member that does not answer is waited for no longer than elsewhere, and the array %s',
  async (what) => {
    const built = await plain('raid1', 2);
    const { rig, disks, volume } = built;
    const array = arrayOf(rig, 'a');
    rig.arrays.setMemberOptions({ ioTimeoutMs: 300 });
    await rig.arrays.enableIntegrity('a', { whenRoom: true });
    const [, disk] = disks as [RamDisk, RamDisk];
    disk.fault = ({ offsetBlocks, type }) => (type === IoType.Read && offsetBlocks >= dataAt ? null : Status.Ok);
    await enlarge(built, room);
    await until(() => disk.held.length > 0, 'it is summed');
    if (what === 'is deleted') {
      volume.descriptor.close();
      await rig.arrays.delete('a');
    } else {
      await until(() => array.numInSync === 1 && array.process === null, 'it is out');
      expect(new Set(await volume.read(0, 512))).toEqual(new Set([1]));
      expect(array.sums).toMatchObject({ isComplete: false });
      await rig.arrays.disableIntegrity('a');
      expect(new Set(await volume.read(0, 512))).toEqual(new Set([1]));
      volume.descriptor.close();
    }
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    await rig.arrays.stop();
    expect(rig.registry.ios.outstanding).toBe(0);
  },
);

it('keeps what only checksums know of damage when they are turned off', async () => {
  const built = await withRoom('raid1', 2);
  const { rig, disks, volume } = built;
  await isConverted(built);
  await rig.arrays.removeBaseBdev('m1');
  const [disk] = disks as [RamDisk];
  disk.bytes[dataAt * 512 + 77]! ^= 4;
  // A client's read detects it, and has not been answered.
  const found = volume.read(0, 8).catch(() => 'EIO');
  await rig.arrays.disableIntegrity('a');
  expect(await found).toBe('EIO');
  expect(arrayOf(rig, 'a').badBlocks.countOf(0)).toBe(8);
  await expect(volume.read(0, 1)).rejects.toThrow(/EIO/);
  await volume.write(0, blocks(8, 1));
  expect(new Set(await volume.read(0, 512))).toEqual(new Set([1]));
  await stop(built);
});

it('has no header without checksums before the damage that they know of is on the list, whatever has it written', async () => {
  const built = await withRoom('raid1', 2);
  const { rig, disks } = built;
  await isConverted(built);
  const array = arrayOf(rig, 'a');
  const [disk] = disks as [RamDisk];
  const haveSums = async (): Promise<boolean[]> => {
    const { descriptor } = array.slotAt(0);
    const headers = await array.extension!.readHeaders(descriptor!, array.uuid);
    return headers.map(({ sums }) => sums !== null);
  };
  disk.bytes[dataAt * 512 + 77]! ^= 4;
  array.badBlocks.noteDamage(0, 0, 8);
  disk.fault = ({ offsetBlocks, type }) => (type === IoType.Read && offsetBlocks === dataAt ? null : Status.Ok);
  const off = rig.arrays.disableIntegrity('a');
  await until(() => disk.held.length > 0, 'the damage is looked at once more');
  await array.metadata.update();
  expect(await haveSums()).toEqual([true, true]);
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await off;
  expect(array.badBlocks.isSettled).toBe(true);
  expect(await haveSums()).toContain(false);
  await stop(built);
});

it('keeps checksums that cannot be given up on record', async () => {
  const built = await withRoom('raid1', 2);
  const { rig, disks, volume } = built;
  await isConverted(built);
  const array = arrayOf(rig, 'a');
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks < dataAt ? Status.IoError : Status.Ok);
  await expect(rig.arrays.disableIntegrity('a')).rejects.toThrow(/could not be written/);
  for (const disk of disks) disk.fault = () => Status.Ok;
  expect(array.hasIntegrity).toBe(true);
  expect(array.sums).toMatchObject({ isEnding: false, isComplete: true });
  disks[0]!.bytes[dataAt * 512 + 77]! ^= 4;
  disks[1]!.bytes[dataAt * 512 + 77]! ^= 4;
  await expect(volume.read(0, 1)).rejects.toThrow(/EIO/);
  await stop(built);
});

it('is not given checksums that are not wanted any more', async () => {
  const built = await plain('raid1', 2);
  const { rig } = built;
  const array = arrayOf(rig, 'a');
  await rig.arrays.enableIntegrity('a', { whenRoom: true });
  await enlarge(built, room);
  // There is room, and they are about to be turned on.
  await rig.arrays.disableIntegrity('a');
  await array.resizing;
  await array.resizing;
  expect(array).toMatchObject({ hasIntegrity: false, wantsIntegrity: false });
  await stop(built);
});

it('keeps checksums that can neither be recorded nor given up, and records them later', async () => {
  const built = await plain('raid1', 2);
  const { rig, disks } = built;
  const array = arrayOf(rig, 'a');
  await rig.arrays.enableIntegrity('a', { whenRoom: true });
  const free = (status: number): void => {
    for (const disk of disks) for (const io of disk.held.splice(0)) disk.finish(io, status);
  };
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks < dataAt ? null : Status.Ok);
  void enlarge(built, room);
  // Records from before that are not held.
  await until(() => {
    if (!array.hasIntegrity) free(Status.Ok);
    return array.hasIntegrity && disks.every(({ held }) => held.length > 0);
  }, 'it is about to be recorded that it has checksums');
  rig.arrays.startSync('a', 'check');
  for (const disk of disks) disk.fault = () => Status.Ok;
  free(Status.IoError);
  await array.resizing;
  expect(array.sums).toMatchObject({ isEnding: false, isOffRecord: false });
  await stop(built);
  const again = await startFrom(imagesOf(built));
  expect(arrayOf(again.rig, 'a').hasIntegrity).toBe(true);
  await isConverted(again);
  await stop(again);
});

it('waits for room that growth has taken meanwhile, if it was asked to', async () => {
  const built = await plain('raid1', 2);
  const { rig } = built;
  const array = arrayOf(rig, 'a');
  // There is room when it is asked for, and growth has begun.
  const on = rig.arrays.enableIntegrity('a', { whenRoom: true });
  await enlarge(built, 128 * KiB);
  expect(await on).toBe(false);
  expect(array).toMatchObject({ hasIntegrity: false, wantsIntegrity: true });
  await enlarge(built, room);
  await isConverted(built);
  await stop(built);
});

it('gives after a crash what was read around damage before it is on record that its checksum counts', async () => {
  const built = await withRoom('raid1', 2);
  const { rig, disks, volume } = built;
  const array = arrayOf(rig, 'a');
  const [first, second] = disks as [RamDisk, RamDisk];
  await isConverted(built);
  await rig.arrays.disableIntegrity('a');
  rig.arrays.setProcessOptions({ windowSizeKb: 16 });
  // The first window does not complete, and no later one is recorded before it.
  second.fault = ({ offsetBlocks, type }) => (type === IoType.Read && offsetBlocks === dataAt ? null : Status.Ok);
  await rig.arrays.enableIntegrity('a', { whenRoom: true });
  await enlarge(built, room);
  await until(() => second.held.length > 0, 'it is summed');
  await volume.write(1024, blocks(8, 7));
  await until(() => array.bitmap!.isSettled(1024, 8), 'the region is clean');
  expect(array.sums!.summedTo).toBe(0);
  array.slotAt(1).readPreference = 'write-mostly';
  // The block is not repaired.
  first.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks === dataAt + 1024 ? null : Status.Ok);
  first.bytes[(dataAt + 1024) * 512 + 77]! ^= 4;
  expect((await volume.read(1024, 1))[77]).toBe(7);
  expect(array.slots[0]!.errors.checksum).toBeGreaterThan(0);
  const after = await startFrom(imagesOf(built));
  await isConverted(after);
  expect(new Set(await after.volume.read(1024, 8))).toEqual(new Set([7]));
  await stop(after);
  for (const disk of disks) disk.fault = () => Status.Ok;
  for (const disk of disks) for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await stop(built);
});

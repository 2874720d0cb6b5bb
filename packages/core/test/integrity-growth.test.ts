import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { encodeSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const KiB = 1024;
const MiB = 1 << 20;
const dataAt = 2048;
const levels = [
  ['raid1', 2],
  ['raid10', 4],
  ['raid5f', 3],
  ['raid6', 4],
] as const;

/** `said`: gets what is logged as an error. */
async function startFrom(images: readonly Uint8Array[], moreBytes = 0, said: string[] = [], cachePages = 4): Promise<Built> {
  const nothing = (): void => undefined;
  const log = { debug: nothing, info: nothing, warn: nothing, error: (_: object, message: string) => void said.push(message) };
  const rig = newRig({ checksumCacheBytes: cachePages * 4 * KiB, log });
  const disks: RamDisk[] = [];
  for (const [index, image] of images.entries()) {
    const bytes = new Uint8Array(image.length + moreBytes).fill(0xee);
    bytes.set(image);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.registry.waitForExamine();
  await until(() => rig.arrays.get('a')?.state === 'online', 'online');
  return { rig, disks, volume: openVolume(rig, 'a') };
}

async function stop({ rig, volume }: Built): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
}

/** An array of which no region is dirty, with data at its beginning and its end. */
async function used(level: string, members: number, cachePages = 4, mebibytes = 2): Promise<Built> {
  const built = await build(level, members, { integrity: true, checksumCacheBytes: 16 * KiB, mebibytes });
  const { volume } = built;
  await volume.write(0, blocks(512, 1));
  await volume.write(volume.numBlocks - 512, blocks(512, 2));
  await stop(built);
  const images = built.disks.map(({ bytes }) => bytes);
  return startFrom(images, 0, [], cachePages);
}

function grow({ rig, disks }: Built, moreBytes: number): Promise<void> {
  disks.forEach((disk, index) => rig.registry.get(`m${index}`)!.resize(disk.grow(moreBytes)));
  return arrayOf(rig, 'a').resizing;
}

const errorsOf = ({ rig }: Built): number => arrayOf(rig, 'a').slots.reduce((sum, { errors }) => sum + errors.checksum, 0);

/** What was written before the array had grown from this size is there, all of it has checksums, and none is wrong. */
async function expectWhole(built: Built, sizeBefore: number): Promise<void> {
  const { rig, disks, volume } = built;
  const array = arrayOf(rig, 'a');
  const isAll = async (at: number, count: number, byte: number): Promise<void> =>
    expect(new Set(await volume.read(at, count))).toEqual(new Set([byte]));
  await array.processEnded;
  const before = errorsOf(built);
  await isAll(0, 512, 1);
  await isAll(sizeBefore - 512, 512, 2);
  if (volume.numBlocks > sizeBefore) await isAll(sizeBefore, Math.min(1024, volume.numBlocks - sizeBefore), 0);
  expect(errorsOf(built)).toBe(before);
  // A disk changes what it has of the first and of the last of them: that could not be told without checksums.
  const [disk] = disks as [RamDisk];
  const found = [...[1, 2].keys()].map((index) => {
    for (let at = dataAt * 512; at < disk.bytes.length; at += 512)
      if (disk.bytes.subarray(at, at + 512).every((byte) => byte === index + 1)) return at;
    return -1;
  });
  // Of a mirror, also what the array has had since it grew, beside what it had.
  if (array.module.level === 'raid1') found.push((dataAt + sizeBefore) * 512);
  for (const at of found) if (at >= 0) disk.bytes[at + 77]! ^= 4;
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ error: null, mismatchBlocks: 0, lostBlocks: 0 });
  expect(errorsOf(built) - before).toBeGreaterThanOrEqual(found.filter((at) => at >= 0).length);
  await isAll(0, 512, 1);
  await isAll(sizeBefore - 512, 512, 2);
}

it.each(levels)('%s of %i with integrity grows with its members, while it is up and at its start', async (level, members) => {
  const built = await used(level, members);
  const { volume } = built;
  const sizes = [volume.numBlocks];
  await grow(built, 2 * MiB);
  sizes.push(volume.numBlocks);
  expect(sizes[1]).toBeGreaterThan(1.9 * sizes[0]!);
  await expectWhole(built, sizes[0]!);
  await volume.write(sizes[1]! - 64, blocks(64, 5));
  await stop(built);
  const again = await startFrom(
    built.disks.map(({ bytes }) => bytes),
    MiB,
  );
  await until(() => again.volume.numBlocks > sizes[1]!, 'it has grown');
  await arrayOf(again.rig, 'a').resizing;
  await expectWhole(again, sizes[0]!);
  expect(new Set(await again.volume.read(sizes[1]! - 64, 64))).toEqual(new Set([5]));
  await stop(again);
});

it('grows when the last member has made way for a larger one', async () => {
  const built = await used('raid1', 2);
  const { rig, volume, disks } = built;
  const before = volume.numBlocks;
  for (const index of [0, 1]) {
    const bytes = new Uint8Array(6 * MiB).fill(0xee);
    const { disk } = await plugIn(rig.registry, { name: `n${index}`, uuid: memberUuid(10 + index), bytes });
    expect(volume.numBlocks).toBe(before);
    await rig.arrays.replaceBaseBdev('a', `m${index}`, `n${index}`);
    await until(() => arrayOf(rig, 'a').slots[index]!.name === `n${index}` && arrayOf(rig, 'a').process === null, 'replaced');
    disks[index] = disk;
  }
  await until(() => volume.numBlocks > 2 * before, 'it has grown');
  await expectWhole(built, before);
  await stop(built);
});

it.each([
  ['is clean', false],
  ['is being written', true],
])('loses nothing when the power fails at any step of its growth, and its last region %s', async (_state, isWritten) => {
  const built = await used('raid1', 2);
  const { disks, volume } = built;
  const before = volume.numBlocks;
  // The last region is there in part, and may be written to, as pages move.
  if (isWritten) await volume.write(before - 512, blocks(512, 2));
  const images: Uint8Array[][] = [];
  const [, disk] = disks as [RamDisk, RamDisk];
  disk.fault = ({ offsetBlocks, type }) => {
    // The records are in front of the data; the other member is ahead of this one, or behind.
    const isStep = type === IoType.Flush || (type === IoType.Write && offsetBlocks < dataAt);
    if (isStep) images.push(disks.map(({ bytes }) => bytes.slice()));
    return Status.Ok;
  };
  const grown = grow(built, 2 * MiB);
  if (isWritten) await volume.write(before - 256, blocks(256, 2));
  await grown;
  disk.fault = () => Status.Ok;
  expect(volume.numBlocks).toBeGreaterThan(before);
  expect(images.length).toBeGreaterThan(12);
  // Disks are larger at once: what was of the old size is so at its next start.
  for (const image of images) {
    const after = await startFrom(image);
    await until(() => after.volume.numBlocks === volume.numBlocks, 'it has grown');
    await expectWhole(after, before);
    await stop(after);
  }
  await stop(built);
});

// Headers lie at block 128 and behind, superblocks in front of them, and the map behind.
it.each([
  ['its headers name the new place', 128],
  ['its headers name the old place', 256],
])('writes checksums to both places as long as a round has not ended: %s', async (_which, refusedBefore) => {
  const built = await used('raid1', 2);
  const { disks, rig, volume } = built;
  const before = volume.numBlocks;
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) =>
      type === IoType.Write && offsetBlocks < refusedBefore ? Status.NoSpace : Status.Ok;
  await grow(built, 2 * MiB);
  expect(volume.numBlocks).toBe(before);
  // What is written now counts at either place.
  await volume.write(1024, blocks(64, 7));
  volume.descriptor.close();
  await rig.arrays.stop();
  const images = disks.map(({ bytes }) => bytes.slice());
  for (const order of [images, [...images].reverse()]) {
    const alone = newRig();
    const index = images.indexOf(order[0]!);
    await plugIn(alone.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: order[0]!.slice() });
    await alone.registry.waitForExamine();
    await alone.arrays.startDegraded('a', {});
    await until(() => arrayOf(alone, 'a').state === 'online', 'online');
    const one: BlockClient = openVolume(alone, 'a');
    expect(new Set(await one.read(0, 512))).toEqual(new Set([1]));
    expect(new Set(await one.read(1024, 64))).toEqual(new Set([7]));
    expect(arrayOf(alone, 'a').slots[index]!.errors.checksum).toBe(0);
    one.descriptor.close();
    await alone.arrays.stop();
  }
  const again = await startFrom(images);
  await until(() => again.volume.numBlocks > before, 'it has grown');
  await expectWhole(again, before);
  await stop(again);
});

it('keeps its size, and says how much is missing, when members have grown by less than its checksums take', async () => {
  const { disks } = await used('raid1', 2);
  const said: string[] = [];
  const built = await startFrom(
    disks.map(({ bytes }) => bytes),
    0,
    said,
  );
  const { volume } = built;
  const before = volume.numBlocks;
  await grow(built, 4 * KiB);
  expect(volume.numBlocks).toBe(before);
  // Of 512 blocks of 4 KiB two are pages; behind them there must be two more. There is one.
  expect(said[0]).toEqual(expect.stringContaining(`${514 * 4 * KiB} bytes behind its data offset (m0 lacks ${4 * KiB})`));
  await grow(built, 4 * KiB);
  expect(volume.numBlocks).toBeGreaterThan(before);
  await expectWhole(built, before);
  await stop(built);
});

it('does not move its checksums onto pages of a growth that has failed', async () => {
  // Two pages; the zeros in the rest of its last region have their checksums in a third one.
  const built = await used('raid1', 2, 4, (961 * 4 * KiB) / MiB);
  const { disks, volume } = built;
  const before = volume.numBlocks;
  expect(before).toBe(959 * 8);
  // These blocks hold the write-intent bitmap.
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) =>
      type === IoType.Write && offsetBlocks >= 256 && offsetBlocks < dataAt ? Status.NoSpace : Status.Ok;
  await grow(built, 2 * MiB);
  expect(volume.numBlocks).toBe(before);
  for (const disk of disks) disk.fault = () => Status.Ok;
  // There is room for the new place behind the two pages, but not behind the third one.
  await grow(built, 8 * KiB);
  expect(volume.numBlocks).toBeGreaterThan(before);
  await stop(built);
  const again = await startFrom(disks.map(({ bytes }) => bytes));
  const array = arrayOf(again.rig, 'a');
  await array.resizing;
  again.rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(errorsOf(again)).toBe(0);
  await expectWhole(again, before);
  await stop(again);
});

it('asks a device that comes while it grows for the room of what it grows to', async () => {
  const built = await used('raid1', 2, 2);
  const { disks, rig, volume } = built;
  const before = volume.numBlocks;
  const array = arrayOf(rig, 'a');
  const [disk] = disks as [RamDisk];
  // Its pages have moved, and its data area is about to grow.
  disk.fault = ({ offsetBlocks, type }) => {
    const isIt = type === IoType.Read && offsetBlocks >= dataAt + before && array.sums?.areaAt !== before;
    return isIt && array.sums?.movesTo === null && disk.held.length === 0 ? null : Status.Ok;
  };
  const grown = grow(built, 2 * MiB);
  await until(() => disk.held.length > 0, 'a page is being read');
  await rig.arrays.removeBaseBdev('m1');
  // Three pages are needed then, and there is room for two.
  const bytes = new Uint8Array(5 * MiB - 4 * KiB);
  await plugIn(rig.registry, { name: 'm8', uuid: memberUuid(8), bytes });
  await expect(rig.arrays.addBaseBdev('a', 'm8')).rejects.toThrow(/10232 blocks, but 10240 are needed/);
  const { disk: other } = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(5 * MiB) });
  disks[1] = other;
  await rig.arrays.addBaseBdev('a', 'm9');
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await grown;
  await until(() => array.numInSync === 2 && volume.numBlocks > before, 'it has grown');
  await expectWhole(built, before);
  await stop(built);
});

it('writes its zeros again when a member has lost a flush meanwhile', async () => {
  const built = await used('raid1', 2);
  const { disks, rig, volume } = built;
  const array = arrayOf(rig, 'a');
  const before = volume.numBlocks;
  const [disk] = disks as [RamDisk];
  await rig.arrays.removeBaseBdev('m1');
  const target = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(3 * MiB) });
  target.disk.fault = ({ offsetBlocks, type }) =>
    type === IoType.Write && offsetBlocks === dataAt && target.disk.held.length === 0 ? null : Status.Ok;
  await rig.arrays.addBaseBdev('a', 'm9');
  await until(() => target.disk.held.length > 0, 'it is being filled');
  const zeros = (): string[] => disk.log.filter((entry) => entry.startsWith(`zero ${dataAt + before}+`));
  // The write-intent bitmap is written when they are there.
  disk.fault = ({ offsetBlocks, type }) =>
    type === IoType.Write && offsetBlocks >= 256 && offsetBlocks < dataAt && zeros().length > 0 && disk.held.length === 0
      ? null
      : Status.Ok;
  disk.log.length = 0;
  rig.registry.get('m0')!.resize(disk.grow(2 * MiB));
  target.bdev.resize(target.disk.grow(2 * MiB));
  await until(() => disk.held.length > 0, 'the map is being written');
  expect(zeros().length).toBe(1);
  disk.fault = ({ type }) => (type === IoType.Flush ? Status.IoError : Status.Ok);
  await expect(volume.flush()).rejects.toThrow();
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await until(() => volume.numBlocks > before, 'it has grown');
  expect(zeros().length).toBe(2);
  target.disk.fault = () => Status.Ok;
  for (const io of target.disk.held.splice(0)) target.disk.finish(io, Status.Ok);
  await until(() => array.numInSync === 2 && array.process === null, 'filled');
  await stop(built);
});

it('goes on without checksums when another program has grown the array after it grew', async () => {
  const built = await used('raid1', 2);
  await grow(built, MiB);
  const { numBlocks } = built.volume;
  await expectWhole(built, 510 * 8);
  await stop(built);
  const images = built.disks.map((disk) => {
    const superblock = superblockOf(disk);
    const bytes = disk.bytes.slice();
    const dataSizeBlocks = bytes.length / 512 - dataAt;
    const slots = superblock.members.map((slot) => ({ ...slot, dataSizeBlocks }));
    bytes.set(
      encodeSuperblock({ ...superblock, members: slots, raidSizeBlocks: dataSizeBlocks, seqNumber: superblock.seqNumber + 1 }),
    );
    return bytes;
  });
  const again = await startFrom(images);
  expect(again.volume.numBlocks).toBeGreaterThan(numBlocks);
  expect(arrayOf(again.rig, 'a').hasIntegrity).toBe(false);
  expect(new Set(await again.volume.read(0, 512))).toEqual(new Set([1]));
  await stop(again);
});

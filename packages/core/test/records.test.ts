import { BlockClient, IoType, Status } from '@raidkit/bdev';
import { encodeSuperblock, parseSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { BdevIo } from '@raidkit/bdev';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

it('an array whose superblock its own parser would refuse is not created, and nothing is written', async () => {
  const rig = newRig();
  const disks: RamDisk[] = [];
  // Behind its superblock the second one has less than a strip.
  for (const [index, bytes] of [8 * MiB, MiB + 512 * 1024, 8 * MiB].entries()) {
    disks.push(
      (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(bytes).fill(0xdb) }))
        .disk,
    );
  }
  const options = { name: 'a', level: 'concat', stripSizeKb: 1024, baseBdevs: ['m0', 'm1', 'm2'], superblock: true };
  await expect(rig.arrays.create(options)).rejects.toThrow(
    /cannot be recorded on its members: members\[1\]\.dataSizeBlocks is 0; it must be from 1/,
  );
  for (const disk of disks) expect(disk.bytes.every((byte) => byte === 0xdb)).toBe(true);
  expect(rig.arrays.list().length).toBe(0);
  // Without superblocks nothing has to be read again.
  await rig.arrays.create({ ...options, superblock: false });
});

it.each(['raid0', 'raid1'])('%s: what no header could be read of is not forgotten', async (level) => {
  const { rig, disks, volume } = await build(level, 2);
  const { lineage } = arrayOf(rig, 'a').metadata;
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig();
  let isBad = true;
  const headersAt = (64 * 1024) / 512;
  const headersEnd = (112 * 1024) / 512;
  for (const [index, { bytes }] of disks.entries()) {
    await plugIn(again.registry, {
      name: `m${index}`,
      uuid: memberUuid(index),
      bytes: bytes.slice(),
      fault: ({ type, offsetBlocks }) =>
        isBad && type === IoType.Read && offsetBlocks >= headersAt && offsetBlocks < headersEnd ? Status.IoError : Status.Ok,
    });
  }
  await again.registry.waitForExamine();
  const array = arrayOf(again, 'a');
  expect(array.state).toBe('configuring');
  expect(array.startError).toMatch(/EIO/);
  isBad = false;
  await again.arrays.startDegraded('a');
  expect(arrayOf(again, 'a').metadata.lineage).toBe(lineage);
});

/** Blocks of the two places of headers, and of the first pages of the map. */
const headerPlaces = [
  [128, 192],
  [192, 256],
] as const;

const isIn = ([from, to]: readonly [number, number], { offsetBlocks }: BdevIo): boolean =>
  offsetBlocks >= from && offsetBlocks < to;

/** A mirror that was killed. It has this many regions that were written; each was a write of the map. */
async function killedMirror(regions: number): Promise<Uint8Array[]> {
  const { disks, volume } = await build('raid1', 2, { mebibytes: 8 });
  for (let region = 0; region < regions; region++) await volume.write(region * 2048, blocks(8, 7), { fua: true });
  return disks.map(({ bytes }) => bytes.slice());
}

async function plugAllIn(rig: Rig, images: readonly Uint8Array[], fault: RamDisk['fault']): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, fault })).disk);
  await rig.registry.waitForExamine();
  return disks;
}

it.each([2, 3])(
  'a start by force past headers that cannot be read, and not be written, costs none of %d regions',
  async (regions) => {
    const images = await killedMirror(regions);
    const rig = newRig();
    const disks = await plugAllIn(rig, images, (io) =>
      headerPlaces.some((place) => isIn(place, io)) ? Status.IoError : Status.Ok,
    );
    await expect(rig.arrays.startDegraded('a', { force: true })).rejects.toThrow();
    const again = newRig();
    await plugAllIn(
      again,
      disks.map(({ bytes }) => bytes.slice()),
      () => Status.Ok,
    );
    for (let region = 0; region < regions; region++)
      expect(await openVolume(again, 'a').read(region * 2048, 8)).toEqual(blocks(8, 7));
  },
);

it('a start by force that can neither read nor write the map forgets nothing that headers and lists say beside it', async () => {
  const before = await build('raid10', 4);
  await before.volume.write(0, blocks(64, 7), { fua: true });
  // A level that has its data where its options say cannot be started without them.
  const { badBlocks, metadata } = arrayOf(before.rig, 'a');
  badBlocks.add(1, 900, 2);
  await metadata.update();
  const rig = newRig();
  const images = before.disks.map(({ bytes }) => bytes.slice());
  const disks = await plugAllIn(rig, images, (io) => (isIn([256, 512], io) ? Status.IoError : Status.Ok));
  await expect(rig.arrays.startDegraded('a', { force: true })).rejects.toThrow();
  const again = newRig({ assembly: { start: 'manual' } });
  await plugAllIn(
    again,
    disks.map(({ bytes }) => bytes.slice()),
    () => Status.Ok,
  );
  await again.arrays.startDegraded('a', { readOnly: true });
  expect(await new BlockClient(again.registry.open('a')).read(0, 64)).toEqual(blocks(64, 7));
  expect(arrayOf(again, 'a').badBlocks.list()).toEqual([{ slot: 1, offsetBlocks: 900, numBlocks: 2 }]);
});

it('a header that cannot be read beside one that is torn is not taken for none, and stays', async () => {
  const images = await killedMirror(3);
  for (const bytes of images) {
    // SPDK ran it: one more in the number; of the older header nothing is left.
    const parsed = parseSuperblock(bytes.subarray(0, 4096));
    if (!parsed.ok) throw new Error(parsed.message);
    bytes.set(encodeSuperblock({ ...parsed.superblock, seqNumber: parsed.superblock.seqNumber + 1 }), 0);
  }
  const generationAt = ([from]: readonly [number, number]): bigint =>
    new DataView(images[0]?.buffer ?? new ArrayBuffer(0)).getBigUint64(from * 512 + 16, true);
  const [newer, older] =
    generationAt(headerPlaces[0]) > generationAt(headerPlaces[1]) ? headerPlaces : [headerPlaces[1], headerPlaces[0]];
  for (const bytes of images) bytes.fill(0xee, older[0] * 512, (older[0] + 1) * 512);
  const before = images.map((bytes) => bytes.slice(newer[0] * 512, newer[1] * 512));
  const rig = newRig();
  const disks = await plugAllIn(rig, images, (io) => (io.type === IoType.Read && isIn(newer, io) ? Status.IoError : Status.Ok));
  expect(arrayOf(rig, 'a').state).toBe('configuring');
  expect(disks.map(({ bytes }) => bytes.slice(newer[0] * 512, newer[1] * 512))).toEqual(before);
});

it('what only SPDK has run starts, where headers of ours would be and cannot be read', async () => {
  const { disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 7), { fua: true });
  const images = disks.map((disk) => {
    const bytes = disk.bytes.slice();
    bytes.fill(0, headerPlaces[0][0] * 512, MiB);
    bytes.set(encodeSuperblock({ ...superblockOf(disk), seqNumber: 7 }));
    return bytes;
  });
  const rig = newRig();
  await plugAllIn(rig, images, (io) => (io.type === IoType.Read && isIn(headerPlaces[1], io) ? Status.IoError : Status.Ok));
  expect(arrayOf(rig, 'a').startError).toBeNull();
  expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, 7));
});

it('a name that no superblock may have is refused, and not failed members', async () => {
  const rig = newRig();
  for (let index = 0; index < 2; index++)
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
  const create = rig.arrays.create({ name: 'a\u0085b', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  await expect(create).rejects.toThrow(/control characters/);
});

it('an array whose sequence number cannot grow is refused, and its members are not failed', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig();
  const last = Number.MAX_SAFE_INTEGER - 1;
  const images = disks.map((disk) => {
    const bytes = disk.bytes.slice();
    bytes.set(encodeSuperblock({ ...superblockOf(disk), seqNumber: last }));
    return bytes;
  });
  for (const [index, bytes] of images.entries())
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await again.registry.waitForExamine();
  const array = arrayOf(again, 'a');
  expect(array.state).toBe('configuring');
  expect(array.startError).toMatch(/cannot be recorded on its members: seqNumber is 9007199254740992/);
  for (const bytes of images)
    expect(parseSuperblock(bytes.subarray(0, 1024))).toMatchObject({ ok: true, superblock: { seqNumber: last } });
  await again.arrays.startDegraded('a', { readOnly: true });
  expect(arrayOf(again, 'a').numInSync).toBe(2);
});

it.each(['raid0', 'raid1', 'raid5f', 'concat'])('%s: members that never take a flush count as write-through', async (level) => {
  const rig = newRig();
  for (let index = 0; index < 3; index++) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
    disk.fault = ({ type }) => (type === IoType.Flush ? Status.Invalid : Status.Ok);
  }
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', 'm1', 'm2'], superblock: true, ...strip });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(64, 7));
  await volume.flush();
  await volume.write(0, blocks(64, 8), { fua: true });
  await volume.flush();
  expect(arrayOf(rig, 'a').numInSync).toBe(3);
  expect(await volume.read(0, 64)).toEqual(blocks(64, 8));
});

it('a member that has taken flushes is failed for one that it refuses', async () => {
  const { rig, disks, volume } = await build('raid1', 3);
  await volume.write(0, blocks(64, 7));
  disks[2]!.fault = ({ type }) => (type === IoType.Flush ? Status.Invalid : Status.Ok);
  await volume.flush();
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
});

it.each(['raid0', 'raid1', 'raid5f', 'concat'])('%s: members that have no flush count as write-through', async (level) => {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (let index = 0; index < 3; index++) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
    // The last one has a cache.
    disk.hasFlush = index === 2;
    disks.push(disk);
  }
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', 'm1', 'm2'], superblock: true, ...strip });
  const volume = openVolume(rig, 'a');
  expect(arrayOf(rig, 'a').numInSync).toBe(3);
  const flushes = () => disks[2]!.log.filter((call) => call === 'flush').length;
  await volume.write(0, blocks(64, 7));
  const before = flushes();
  await volume.flush();
  expect(flushes()).toBe(before + 1);
  await volume.write(0, blocks(64, 8), { fua: true });
  expect(flushes()).toBe(before + (level === 'raid0' || level === 'concat' ? 1 : 2));
  expect(disks.slice(0, 2).some((disk) => disk.log.includes('flush'))).toBe(false);
  expect(arrayOf(rig, 'a').numInSync).toBe(3);
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig();
  for (const [index, { bytes }] of disks.entries())
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await again.registry.waitForExamine();
  expect(arrayOf(again, 'a').numInSync).toBe(3);
  expect(await openVolume(again, 'a').read(0, 64)).toEqual(blocks(64, 8));
});

it('the errors of a member are not those of the device that takes its place', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  let isBad = true;
  disks[0]!.fault = ({ type, offsetBlocks }) => {
    if (!isBad || type !== IoType.Read || offsetBlocks < MiB / 512) return Status.Ok;
    isBad = false;
    return Status.IoError;
  };
  const [slot] = arrayOf(rig, 'a').slots;
  // Reads are spread over the members.
  while (slot!.errors.read === 0) await volume.read(0, 8);
  await rig.arrays.removeBaseBdev('m0');
  expect(slot!.errors.read).toBe(1);
  await plugIn(rig.registry, { name: 'm2', uuid: memberUuid(2), bytes: new Uint8Array(3 * MiB) });
  await rig.arrays.addBaseBdev('a', 'm2');
  expect(slot!.errors).toEqual({ read: 0, write: 0, repaired: 0, checksum: 0 });
});

it('a last copy that could not take a page of the map is started again', async () => {
  // More regions than one page has room for: what is written next goes to another page.
  const options = { regions: { leastBytes: 4096, zeroBytes: 4096 } };
  const rig = newRig(options);
  const disks: RamDisk[] = [];
  for (const index of [0, 1]) {
    const bytes = new Uint8Array(66 * MiB);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  await rig.arrays.removeBaseBdev('m1');
  const [disk] = disks;
  const volume = openVolume(rig, 'a');
  disk!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks < 2048 ? Status.IoError : Status.Ok);
  await expect(volume.write(0, blocks(8, 6))).rejects.toThrow('EIO');
  disk!.fault = () => Status.Ok;
  const last = volume.numBlocks - 8;
  await volume.write(last, blocks(8, 7));
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig(options);
  await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: disk!.bytes.slice() });
  await again.registry.waitForExamine();
  await again.arrays.startDegraded('a');
  expect((await openVolume(again, 'a').read(last, 1))[0]).toBe(7);
});

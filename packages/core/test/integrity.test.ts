import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { RegionState, thirdPartyCodes } from '@raidkit/core';
import type { CopiesModule } from '@raidkit/core/level';
import { raid1 } from '@raidkit/raid1';
import { encodeSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
/** First block of a member's data area, and blocks that have one checksum. */
const dataAt = 2048;
const together = 8;

/** What a disk has is found by its bytes: no two writes of a test have the same one. */
function blockOf({ bytes }: RamDisk, fill: number): number {
  for (let at = dataAt * 512; at < bytes.length; at += 512) {
    if (bytes.subarray(at, at + 512).every((byte) => byte === fill)) return at / 512;
  }
  return -1;
}

/** A bit of the block turns over, and the disk says nothing of it. */
function rot(disk: RamDisk, block: number): void {
  disk.bytes[block * 512 + 77]! ^= 4;
}

const errorsOf = (rig: Rig): number[] => arrayOf(rig, 'a').slots.map(({ errors }) => errors.checksum);

/** Starts the array from copies of the disks, as they are: after `stop` as after a crash. */
async function startFrom(images: readonly Uint8Array[]): Promise<{ rig: Rig; disks: RamDisk[]; volume: BlockClient }> {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk);
  await rig.registry.waitForExamine();
  await until(() => rig.arrays.get('a')?.state === 'online', 'online');
  return { rig, disks, volume: openVolume(rig, 'a') };
}

async function stop(rig: Rig, volume: BlockClient): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
}

async function sync(rig: Rig, type: 'check' | 'resync'): Promise<ReturnType<typeof arrayOf>['history'][number]> {
  if (type === 'check') rig.arrays.startSync('a', type);
  await arrayOf(rig, 'a').processEnded;
  return arrayOf(rig, 'a').history[0]!;
}

describe.each([
  ['raid1', 2],
  ['raid5f', 3],
  ['raid6', 4],
] as const)('%s of %i with integrity', (level, members) => {
  it('answers from redundancy what a disk has changed, and heals it', async () => {
    const { rig, disks, volume } = await build(level, members, { integrity: true });
    const count = 256;
    const data = blocks(count, 0);
    for (let block = 0; block < count; block++) data.fill(1 + (block % 250), block * 512, (block + 1) * 512);
    await volume.write(0, data);
    const [disk] = disks as [RamDisk];
    const rotten = [dataAt + 20, ...[60, 111].map((fill) => blockOf(disk, fill)).filter((block) => block > dataAt + 32)];
    for (const block of rotten) rot(disk, block);
    const before = disk.bytes.slice();
    for (let round = 0; round < 4; round++) expect(Buffer.from(await volume.read(0, count)).equals(data)).toBe(true);
    // A check finds what has not been read.
    const record = await sync(rig, 'check');
    expect(record).toMatchObject({ error: null, mismatchBlocks: 0, lostBlocks: 0 });
    await until(() => rotten.every((block) => disk.bytes[block * 512 + 77] !== before[block * 512 + 77]), 'healed');
    const errors = errorsOf(rig);
    expect(errors[0]).toBe(rotten.length);
    expect(errors.slice(1).every((other) => other === 0)).toBe(true);
    expect(rig.events).toContainEqual(expect.objectContaining({ type: 'checksumError', slot: 0, member: 'm0' }));
    expect(await sync(rig, 'check')).toMatchObject({ error: null, unreadableBlocks: 0 });
    await stop(rig, volume);
    const again = await startFrom(disks.map(({ bytes }) => bytes));
    expect(errorsOf(again.rig)).toEqual(errors);
    expect(Buffer.from(await again.volume.read(0, count)).equals(data)).toBe(true);
    await stop(again.rig, again.volume);
  });

  it('believes nothing of its checksums where a crash came into writes', async () => {
    const built = await build(level, members, { integrity: true });
    await built.volume.write(0, blocks(192, 1));
    await stop(built.rig, built.volume);
    const second = await startFrom(built.disks.map(({ bytes }) => bytes));
    await second.volume.write(0, blocks(192, 2));
    // The power fails, so that nothing more is written.
    const images = second.disks.map(({ bytes }) => bytes.slice());
    const third = await startFrom(images);
    expect(new Set(await third.volume.read(0, 192))).toEqual(new Set([2]));
    await sync(third.rig, 'resync');
    expect(errorsOf(third.rig)).toEqual(Array.from({ length: members }, () => 0));
    // From the resync on there are some again.
    const found = blockOf(third.disks[0]!, 2);
    rot(third.disks[0]!, found);
    expect(await sync(third.rig, 'check')).toMatchObject({ error: null, mismatchBlocks: 0 });
    expect(third.disks[0]!.bytes[found * 512 + 77]).toBe(2);
    await stop(second.rig, second.volume);
    await stop(third.rig, third.volume);
  });

  it('keeps the checksums of a member that was filled, and of one that took another’s place', async () => {
    const built = await build(level, members, { integrity: true });
    await built.volume.write(0, blocks(320, 1));
    await stop(built.rig, built.volume);
    // Nothing is dirty any more.
    const { rig, disks, volume } = await startFrom(built.disks.map(({ bytes }) => bytes));
    await rig.arrays.removeBaseBdev('m0');
    const spare = async (index: number): Promise<RamDisk> => {
      const bytes = new Uint8Array(3 * MiB).fill(0xee);
      return (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk;
    };
    const filled = await spare(10);
    await rig.arrays.addBaseBdev('a', 'm10');
    await until(() => arrayOf(rig, 'a').slots[0]!.isInSync && arrayOf(rig, 'a').process === null, 'filled');
    const taken = await spare(11);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'm11');
    await until(() => arrayOf(rig, 'a').slots[1]!.name === 'm11' && arrayOf(rig, 'a').process === null, 'replaced');
    // The power fails at once.
    const now = [filled, taken, ...disks.slice(2)];
    const uuids = [10, 11, ...disks.slice(2).map((_, index) => index + 2)];
    const other = newRig();
    for (const [index, { bytes }] of now.entries())
      await plugIn(other.registry, { name: `m${uuids[index]!}`, uuid: memberUuid(uuids[index]!), bytes: bytes.slice() });
    await other.registry.waitForExamine();
    await until(() => other.arrays.get('a')?.state === 'online', 'online');
    const after = openVolume(other, 'a');
    await sync(other, 'resync');
    expect(await sync(other, 'check')).toMatchObject({ error: null, unreadableBlocks: 0 });
    expect(errorsOf(other)).toEqual(Array.from({ length: members }, () => 0));
    expect(new Set(await after.read(0, 320))).toEqual(new Set([1]));
    await stop(other, after);
    await stop(rig, volume);
  });

  it('has none of before when another program ran the array, and makes them anew', async () => {
    const { rig, disks, volume } = await build(level, members, { integrity: true });
    await volume.write(0, blocks(192, 1));
    await stop(rig, volume);
    const images = disks.map((disk) => {
      const superblock = superblockOf(disk);
      const bytes = disk.bytes.slice();
      bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
      return bytes;
    });
    // What the other program has written, in the same way on all copies; parity of equal bytes is whatever it was.
    if (level === 'raid1') for (const bytes of images) bytes.fill(9, dataAt * 512, (dataAt + 8) * 512);
    const again = await startFrom(images);
    expect((await again.volume.read(0, 1))[0]).toBe(level === 'raid1' ? 9 : 1);
    await sync(again.rig, 'resync');
    expect(errorsOf(again.rig)).toEqual(Array.from({ length: members }, () => 0));
    const found = blockOf(again.disks[0]!, 1);
    rot(again.disks[0]!, found);
    expect(await sync(again.rig, 'check')).toMatchObject({ error: null, mismatchBlocks: 0 });
    expect(again.disks[0]!.bytes[found * 512 + 77]).toBe(1);
    expect(errorsOf(again.rig)[0]).toBeGreaterThan(0);
    await stop(again.rig, again.volume);
  });
});

it('answers EIO for what all copies have changed, and for nothing beside it, until it is written', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  await volume.write(0, blocks(64, 5));
  for (const disk of disks) rot(disk, dataAt + 20);
  const seen: (number | string)[] = [];
  for (let block = 0; block < 64; block += 4)
    seen.push(
      await volume.read(block, 4).then(
        ([byte]) => byte!,
        () => 'EIO',
      ),
    );
  expect(seen).toEqual(Array.from({ length: 16 }, (_, at) => (at === 4 || at === 5 ? 'EIO' : 5)));
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
  await volume.write(16, blocks(together, 6));
  expect((await volume.read(20, 1))[0]).toBe(6);
  await stop(rig, volume);
});

describe.each([
  ['raid1', 2],
  ['raid10', 4],
  ['raid5f', 3],
  ['raid6', 4],
] as const)('%s of %i, of which no member has a block any more', (level, members) => {
  const isLost = (volume: BlockClient): Promise<boolean> =>
    volume.read(0, together).then(
      ([byte]) => {
        expect(byte).toBe('it was read');
        return false;
      },
      () => true,
    );

  /** A block is changed on every member while the array is stopped. */
  async function lose(): Promise<{ rig: Rig; disks: RamDisk[]; volume: BlockClient }> {
    const built = await build(level, members, { integrity: true });
    await built.volume.write(0, blocks(512, 5));
    await stop(built.rig, built.volume);
    for (const disk of built.disks) rot(disk, dataAt + 4);
    return startFrom(built.disks.map(({ bytes }) => bytes));
  }

  it.each([
    ['a read has', async (_rig: Rig, volume: BlockClient) => expect(await isLost(volume)).toBe(true)],
    ['a check has', async (rig: Rig) => expect((await sync(rig, 'check')).lostBlocks).toBeGreaterThan(0)],
  ] as const)('answers EIO until it is written, whenever the power fails, once %s found it', async (_who, find) => {
    const found = await lose();
    await find(found.rig, found.volume);
    // It is not read once more before its region is being written.
    const { rig, disks, volume } = await startFrom(found.disks.map(({ bytes }) => bytes));
    await volume.write(256, blocks(64, 6));
    const second = await startFrom(disks.map(({ bytes }) => bytes));
    expect(await isLost(second.volume)).toBe(true);
    await sync(second.rig, 'resync');
    expect(await isLost(second.volume)).toBe(true);
    expect(new Set(await second.volume.read(256, 64))).toEqual(new Set([6]));
    await second.volume.write(0, blocks(256, 7));
    await second.volume.flush();
    const third = await startFrom(second.disks.map(({ bytes }) => bytes));
    await sync(third.rig, 'resync');
    expect(new Set(await third.volume.read(0, 256))).toEqual(new Set([7]));
    expect(await sync(third.rig, 'check')).toMatchObject({ error: null, unreadableBlocks: 0 });
    for (const one of [found, { rig, volume }, second, third]) await stop(one.rig, one.volume);
  });

  it('answers EIO also where its region was being written when it was found, and the power fails with the answer', async () => {
    const built = await build(level, members, { integrity: true });
    await built.volume.write(0, blocks(512, 5));
    for (const disk of built.disks) rot(disk, dataAt + 4);
    expect(await isLost(built.volume)).toBe(true);
    const second = await startFrom(built.disks.map(({ bytes }) => bytes));
    expect(await isLost(second.volume)).toBe(true);
    for (const one of [built, second]) await stop(one.rig, one.volume);
  });
});

it('has on record what one copy has lost before its region is written, as long as it is not healed', async () => {
  const built = await build('raid1', 2, { integrity: true });
  await built.volume.write(0, blocks(512, 5));
  await stop(built.rig, built.volume);
  rot(built.disks[0]!, dataAt + 4);
  const { rig, disks, volume } = await startFrom(built.disks.map(({ bytes }) => bytes));
  const [disk, other] = disks as [RamDisk, RamDisk];
  // The user gets an answer; what heals the block waits for its own.
  let reads = 0;
  other.fault = (io) => {
    const isHealing = io.type === IoType.Read && io.offsetBlocks === dataAt && errorsOf(rig)[0]! > 0 && reads++ > 0;
    return isHealing ? null : Status.Ok;
  };
  while (errorsOf(rig)[0] === 0) expect(new Set(await volume.read(0, together))).toEqual(new Set([5]));
  await until(() => other.held.length === 1, 'being healed');
  expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
  await volume.write(256, blocks(64, 6));
  const alone = newRig();
  await plugIn(alone.registry, { name: 'm0', uuid: memberUuid(0), bytes: disk.bytes.slice() });
  await alone.registry.waitForExamine();
  await alone.arrays.startDegraded('a', {});
  await until(() => arrayOf(alone, 'a').state === 'online', 'online');
  const after = openVolume(alone, 'a');
  await expect(after.read(0, together)).rejects.toThrow('EIO');
  expect(new Set(await after.read(256, 64))).toEqual(new Set([6]));
  other.fault = () => Status.Ok;
  other.finish(other.held[0]!, Status.Ok);
  await until(() => arrayOf(rig, 'a').badBlocks.size === 0, 'healed');
  await stop(rig, volume);
  await stop(alone, after);
});

it('loses nothing for good that the only copy can read a while later', async () => {
  const built = await build('raid1', 2, { integrity: true });
  await built.volume.write(0, blocks(512, 5));
  await built.rig.arrays.removeBaseBdev('m1');
  await stop(built.rig, built.volume);
  const { rig, disks, volume } = await startFrom([built.disks[0]!.bytes]);
  const [disk] = disks as [RamDisk];
  // The block is read twice, and not again.
  let left = 2;
  disk.fault = (io) => {
    const lies = io.type === IoType.Read && io.offsetBlocks === dataAt && left > 0;
    if (!lies) return Status.Ok;
    left--;
    rot(disk, dataAt + 4);
    disk.finish(io, Status.Ok);
    rot(disk, dataAt + 4);
    return null;
  };
  await expect(volume.read(0, together)).rejects.toThrow('EIO');
  expect(new Set(await volume.read(0, together))).toEqual(new Set([5]));
  expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
  disk.held.length = 0;
  await stop(rig, volume);
});

it('gives a copy again what was lost beside a write of less than a block, before the other one is gone', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  await volume.write(0, blocks(64, 5));
  disks[1]!.fault = (io) => (io.type === IoType.Read && io.offsetBlocks === dataAt ? Status.IoError : Status.Ok);
  await volume.write(2, blocks(1, 6));
  disks[1]!.fault = () => Status.Ok;
  await until(() => arrayOf(rig, 'a').slots[1]!.errors.repaired === together, 'healed');
  await rig.arrays.removeBaseBdev('m0');
  expect([...(await volume.read(0, 4)).filter((_, at) => at % 512 === 0)]).toEqual([5, 5, 6, 5]);
  await stop(rig, volume);
});

it.each([
  ['raid1', 2],
  ['raid5f', 3],
  ['raid6', 4],
] as const)(
  '%s gives a member again what a page of checksums has lost, before another member is gone',
  async (level, count) => {
    const built = await build(level, count, { integrity: true });
    await built.volume.write(0, blocks(1024, 5));
    await stop(built.rig, built.volume);
    const { rig, disks, volume } = await startFrom(built.disks.map(({ bytes }) => bytes));
    const { dataOffset, dataSize } = arrayOf(rig, 'a').slots[0]!;
    const pageAt = dataOffset + dataSize;
    let isLost = true;
    disks[0]!.fault = ({ type, offsetBlocks }) => {
      if (offsetBlocks !== pageAt) return Status.Ok;
      if (type === IoType.Write) isLost = false;
      return isLost && type === IoType.Read ? Status.IoError : Status.Ok;
    };
    // The page is read for this write, and written with the checksums that it has then.
    await volume.write(0, blocks(together, 6));
    await until(() => errorsOf(rig)[0]! > 0 && !arrayOf(rig, 'a').isRepairing, 'repaired');
    expect(isLost).toBe(false);
    await rig.arrays.removeBaseBdev('m1');
    expect(new Set(await volume.read(0, together))).toEqual(new Set([6]));
    expect(new Set(await volume.read(together, 1024 - together))).toEqual(new Set([5]));
    expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
    await stop(rig, volume);
  },
);

describe('a mirror that loses a copy before it could repair what the other one lacks of its checksums', () => {
  /** The page of m0 cannot be read, and m1 leaves while the first repair reads it. */
  async function loseCopy(): Promise<{ rig: Rig; disks: RamDisk[]; volume: BlockClient }> {
    const built = await build('raid1', 2, { integrity: true });
    await built.volume.write(0, blocks(1024, 5));
    await stop(built.rig, built.volume);
    const { rig, disks, volume } = await startFrom(built.disks.map(({ bytes }) => bytes));
    const array = arrayOf(rig, 'a');
    const { dataOffset, dataSize } = array.slots[0]!;
    disks[0]!.fault = ({ type, offsetBlocks }) =>
      type === IoType.Read && offsetBlocks === dataOffset + dataSize ? Status.IoError : Status.Ok;
    disks[1]!.fault = ({ type, offsetBlocks }) =>
      type === IoType.Read && offsetBlocks >= dataOffset && offsetBlocks < dataOffset + dataSize ? null : Status.Ok;
    const reads = Array.from({ length: 4 }, () => volume.read(0, together).catch(() => null));
    await until(() => errorsOf(rig)[0]! > 0 && array.isRepairing, 'a repair has begun');
    const removed = rig.arrays.removeBaseBdev('m1');
    await until(() => array.slots[1]!.isRemoving, 'it is leaving');
    disks[1]!.fault = () => Status.Ok;
    for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.NoDevice);
    await Promise.all([removed, ...reads]);
    await until(() => !array.isRepairing, 'it has been given up');
    expect(array.numInSync).toBe(1);
    return { rig, disks, volume };
  }

  it('has lost nothing when the page can be read again', async () => {
    const { rig, disks, volume } = await loseCopy();
    await expect(volume.read(0, together)).rejects.toThrow('EIO');
    disks[0]!.fault = () => Status.Ok;
    expect(new Set(await volume.read(0, 1024))).toEqual(new Set([5]));
    expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
    await stop(rig, volume);
  });

  it('lists the blocks before a region of them is written, because a crash would hide that they are unproven', async () => {
    const { rig, disks, volume } = await loseCopy();
    expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
    await volume.write(0, blocks(together, 6));
    expect(arrayOf(rig, 'a').badBlocks.has(0, together, 1024 - together)).toBe(true);
    const again = await startFrom([disks[0]!.bytes]);
    expect(new Set(await again.volume.read(0, together))).toEqual(new Set([6]));
    await expect(again.volume.read(together, together)).rejects.toThrow('EIO');
    await stop(again.rig, again.volume);
    await stop(rig, volume);
  });
});

/** A mirror's only copy, which cannot read its page of checksums for now. */
async function startWithoutPage(): Promise<{ rig: Rig; disk: RamDisk; volume: BlockClient }> {
  const built = await build('raid1', 2, { integrity: true });
  await built.volume.write(0, blocks(512, 5));
  await built.rig.arrays.removeBaseBdev('m1');
  await stop(built.rig, built.volume);
  const { rig, disks, volume } = await startFrom([built.disks[0]!.bytes]);
  const { dataOffset, dataSize } = arrayOf(rig, 'a').slots[0]!;
  const [disk] = disks as [RamDisk];
  disk.fault = ({ offsetBlocks, type }) =>
    type === IoType.Read && offsetBlocks === dataOffset + dataSize ? Status.IoError : Status.Ok;
  return { rig, disk, volume };
}

it('gives nothing up for a page of checksums that the only copy cannot read for a while', async () => {
  const { rig, disk, volume } = await startWithoutPage();
  await expect(volume.read(0, together)).rejects.toThrow('EIO');
  await until(() => !arrayOf(rig, 'a').isRepairing, 'no repair');
  disk.fault = () => Status.Ok;
  expect(arrayOf(rig, 'a').badBlocks.isEmpty).toBe(true);
  // The write reads the page again.
  await volume.write(0, blocks(together, 6));
  expect(new Set(await volume.read(together, 512 - together))).toEqual(new Set([5]));
  expect(errorsOf(rig)).toEqual([0, 0]);
  await stop(rig, volume);
});

it('keeps on the device what the only copy could not read of its checksums, if nothing else is written', async () => {
  const { rig, disk, volume } = await startWithoutPage();
  await expect(volume.read(0, 512)).rejects.toThrow('EIO');
  await stop(rig, volume);
  const again = await startFrom([disk.bytes]);
  expect(new Set(await again.volume.read(0, 512))).toEqual(new Set([5]));
  rot(again.disks[0]!, dataAt + together);
  await expect(again.volume.read(together, together)).rejects.toThrow('EIO');
  await stop(again.rig, again.volume);
});

it('proves what a member has read that is failed before its page of checksums is there', async () => {
  const rig = newRig({ checksumCacheBytes: 1 });
  const disks: RamDisk[] = [];
  for (const index of [0, 1]) {
    const bytes = new Uint8Array(17 * MiB);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true, integrity: true });
  const volume = openVolume(rig, 'a');
  // The pages of later blocks take the place of those of the first ones. All regions stay dirty.
  for (const at of [0, 12_000, 20_000, 24_000]) await volume.write(at, blocks(64, 5));
  for (let reads = 0; reads < 2; reads++) await volume.read(24_000, together);
  const [slot] = arrayOf(rig, 'a').slots;
  const { dataOffset, dataSize } = slot!;
  rot(disks[0]!, dataOffset);
  rig.arrays.setMemberOptions({ ioTimeoutMs: 300 });
  disks[0]!.fault = ({ offsetBlocks, type }) =>
    type === IoType.Read && offsetBlocks === dataOffset + dataSize ? null : Status.Ok;
  for (let reads = 0; reads < 2; reads++) expect(new Set(await volume.read(0, together))).toEqual(new Set([5]));
  expect(slot!.isInSync).toBe(false);
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await stop(rig, volume);
});

it('flushes what it has repaired, since nothing else would', async () => {
  const built = await build('raid1', 2, { integrity: true });
  await built.volume.write(0, blocks(512, 5));
  await stop(built.rig, built.volume);
  // Its regions are clean.
  const { rig, disks, volume } = await startFrom(built.disks.map(({ bytes }) => bytes));
  const [disk] = disks as [RamDisk];
  rot(disk, dataAt + 4);
  const seen: string[] = [];
  disk.fault = ({ offsetBlocks, type }) => {
    if (type === IoType.Flush) seen.push('flush');
    if (type === IoType.Write && offsetBlocks >= dataAt) seen.push('write');
    return Status.Ok;
  };
  for (let round = 0; round < 4; round++) expect(new Set(await volume.read(0, together))).toEqual(new Set([5]));
  await until(() => arrayOf(rig, 'a').slots[0]!.errors.repaired > 0 && !arrayOf(rig, 'a').isRepairing, 'repaired');
  expect(seen).toContain('write');
  expect(seen.at(-1)).toBe('flush');
  await stop(rig, volume);
});

it('finds writes that were lost, or went to another place', async () => {
  const { rig, disks, volume } = await build('raid5f', 3, { integrity: true });
  await volume.write(0, blocks(128, 1));
  let lies = 0;
  disks[0]!.fault = (io) => {
    if (io.type !== IoType.Write || io.offsetBlocks < dataAt || io.offsetBlocks >= dataAt + 4000 || lies > 0) return Status.Ok;
    lies++;
    io.offsetBlocks += 64;
    return Status.Ok;
  };
  await volume.write(0, blocks(128, 2));
  expect(lies).toBe(1);
  for (let round = 0; round < 3; round++) expect(new Set(await volume.read(0, 128))).toEqual(new Set([2]));
  expect(await sync(rig, 'check')).toMatchObject({ error: null, lostBlocks: 0 });
  expect(errorsOf(rig)).toEqual([expect.any(Number), 0, 0]);
  expect(errorsOf(rig)[0]).toBeGreaterThan(0);
  await stop(rig, volume);
});

it('answers that a read has timed out if a part of it has, whatever becomes of the others', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true });
  await volume.write(0, blocks(32, 1));
  await volume.flush();
  rig.arrays.setMemberOptions({ ioTimeoutMs: 300 });
  let hung: RamDisk | null = null;
  for (const disk of disks)
    disk.fault = (io) => {
      if (io.type !== IoType.Read || io.offsetBlocks < dataAt || io.offsetBlocks > dataAt + together) return Status.Ok;
      hung ??= disk;
      if (hung !== disk) return Status.Ok;
      // The blocks around the read's ends cannot be read; what it asks for itself is not answered.
      return io.offsetBlocks === dataAt + 1 ? null : Status.IoError;
    };
  // Had another member been read instead, the device might write over that yet.
  const { buffers, ios } = rig.registry;
  const io = Object.assign(ios.get(), { type: IoType.Read, offsetBlocks: 1, numBlocks: together, addr: buffers.get(4096) });
  const status = await new Promise((resolve) => {
    io.owner = { onIoDone: (done) => resolve(done.status) };
    volume.descriptor.submit(io);
  });
  expect(status).toBe(Status.TimedOut);
  buffers.put(io.addr);
  ios.put(io);
  for (const disk of disks) for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  expect(new Set(await volume.read(1, together))).toEqual(new Set([1]));
  await stop(rig, volume);
});

it('reads nothing outside the data of a member, whatever a level says', async () => {
  let isLying = false;
  const lying: CopiesModule = {
    ...raid1,
    level: 'lying',
    aliases: [],
    code: thirdPartyCodes.first,
    start: (context) =>
      Object.assign(raid1.start(context), {
        routeRead(offsetBlocks: number, _numBlocks: number, route: { slot: number; offsetBlocks: number }): boolean {
          route.slot = 0;
          route.offsetBlocks = isLying ? context.geometry.numBlocks - 1 : offsetBlocks;
          return true;
        },
      }),
  };
  const rig = newRig();
  rig.arrays.modules.register(lying);
  for (let index = 0; index < 2; index++)
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
  await rig.arrays.create({ name: 'a', level: 'lying', baseBdevs: ['m0', 'm1'], superblock: true, integrity: true });
  await arrayOf(rig, 'a').processEnded;
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(16, 1));
  isLying = true;
  expect(new Set(await volume.read(0, 16))).toEqual(new Set([1]));
  isLying = false;
  await stop(rig, volume);
});

it('reserves room for checksums, of a member that joins later too', async () => {
  const { rig, volume } = await build('raid1', 2, { integrity: true });
  const array = arrayOf(rig, 'a');
  expect(array.describe()).toMatchObject({ integrity: true });
  // Of 2 MiB behind the data offset, 512 blocks of 4 KiB: two pages for 510 of them.
  expect(volume.numBlocks).toBe(510 * together);
  await rig.arrays.removeBaseBdev('m1');
  const bytes = new Uint8Array((dataAt + 510 * together) * 512);
  await plugIn(rig.registry, { name: 'small', uuid: memberUuid(7), bytes });
  await expect(rig.arrays.addBaseBdev('a', 'small')).rejects.toThrow(`${dataAt + 512 * together} are needed`);
  expect(array.bitmap?.count(RegionState.Dirty)).toBe(0);
  await stop(rig, volume);
});

it('goes on with checksums, and without the member, if a device has lost the room for them', async () => {
  const built = await build('raid1', 2, { integrity: true });
  await built.volume.write(0, blocks(64, 5));
  await stop(built.rig, built.volume);
  const rig = newRig();
  for (const [index, { bytes }] of built.disks.entries()) {
    // The member has room for its data, and for one of two pages.
    const left = index === 1 ? (dataAt + 511 * together) * 512 : bytes.length;
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice(0, left) });
  }
  await rig.registry.waitForExamine();
  await rig.arrays.startDegraded('a', {});
  const array = arrayOf(rig, 'a');
  expect(array.slots.map(({ name }) => name)).toEqual(['m0', null]);
  expect(array.describe()).toMatchObject({ integrity: true });
  const volume = openVolume(rig, 'a');
  expect(new Set(await volume.read(0, 64))).toEqual(new Set([5]));
  await stop(rig, volume);
});

it.each([
  ['raid1', { superblock: false }, /superblocks/],
  ['raid5f', { superblock: true, stripSizeKb: 2 }, /strips \(strip_size_kb\) of 4 KiB/],
])('refuses integrity: %s with %o', async (level, options, message) => {
  const rig = newRig();
  for (let index = 0; index < 3; index++)
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
  const creation = rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', 'm1', 'm2'], integrity: true, ...options });
  await expect(creation).rejects.toThrow(message);
});

it.each(['unmap', 'writeZeroes'] as const)('reads no page of checksums of which %s leaves nothing', async (what) => {
  const { rig, disks, volume } = await build('raid1', 2, { integrity: true, mebibytes: 12, checksumCacheBytes: 16_384 });
  const [disk] = disks as [RamDisk, RamDisk];
  const page = 480 * 8;
  // No region is given zeros for its first write any more.
  for (let at = 0; at < volume.numBlocks; at += 1024) await volume.write(at, blocks(8, 1));
  let reads = 0;
  disk.fault = ({ offsetBlocks, type }) => {
    if (type === IoType.Read && offsetBlocks >= dataAt + volume.numBlocks) reads++;
    return Status.Ok;
  };
  await volume[what](0, volume.numBlocks);
  expect(reads).toBe(0);
  await volume.write(0, blocks(8, 3));
  await volume.write(volume.numBlocks - 8, blocks(8, 3));
  reads = 0;
  // The first and the last one are of other blocks, too.
  await volume[what](8, volume.numBlocks - 16);
  expect(reads).toBeLessThanOrEqual(2);
  await rig.arrays.removeBaseBdev('m1');
  for (const at of [0, volume.numBlocks - 8, 2 * page]) disk.bytes[(dataAt + at) * 512 + 7]! ^= 4;
  // A read of all blocks of a page is verified by it. Of what is unmapped there are zeros on mirrors.
  const io = rig.registry.ios.get();
  Object.assign(io, { type: IoType.Read, offsetBlocks: page, numBlocks: 3 * page });
  io.addr = rig.registry.runtime.memory.allocRegion(3 * page * 512);
  await new Promise<void>((resolve) => {
    io.owner = { onIoDone: () => resolve() };
    volume.descriptor.submit(io);
  });
  expect(io.status).toBe(Status.IoError);
  rig.registry.runtime.memory.freeRegion(io.addr);
  rig.registry.ios.put(io);
  await expect(volume.read(0, 8)).rejects.toThrow('EIO');
  await expect(volume.read(volume.numBlocks - 8, 8)).rejects.toThrow('EIO');
  expect(new Set(await volume.read(2 * page + 8, page))).toEqual(new Set([0]));
  await stop(rig, volume);
});

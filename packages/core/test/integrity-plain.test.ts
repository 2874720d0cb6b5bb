import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import type { PlainModule } from '@raidkit/core/level';
import { raid0 } from '@raidkit/raid0';
import { encodeSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks, build, bytesOf, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
/** First block of a member's data area, and blocks that have one checksum. */
const dataAt = 2048;
const together = 8;
/** Where the pages of sums begin: behind the data, of which there are 508 blocks of 4 KiB, whole strips. */
const pagesAt = dataAt + 508 * together;

function rot(disk: RamDisk, block: number): void {
  disk.bytes[block * 512 + 77]! ^= 4;
}

const errorsOf = (rig: Rig): number[] => arrayOf(rig, 'a').slots.map(({ errors }) => errors.checksum);

interface Started {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

/** Starts the array from copies of the disks, as they are: after `stop` as after a crash. */
async function startFrom(disks: readonly RamDisk[], options: Parameters<typeof newRig>[0] = {}): Promise<Started> {
  const rig = newRig(options);
  const copies: RamDisk[] = [];
  for (const [index, { bytes }] of disks.entries())
    copies.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk);
  await rig.registry.waitForExamine();
  await until(() => rig.arrays.get('a')?.state === 'online', 'online');
  return { rig, disks: copies, volume: openVolume(rig, 'a') };
}

async function stop({ rig, volume }: Started): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
}

async function check(rig: Rig): Promise<ReturnType<typeof arrayOf>['history'][number]> {
  rig.arrays.startSync('a', 'check');
  await arrayOf(rig, 'a').processEnded;
  return arrayOf(rig, 'a').history[0]!;
}

describe.each([
  ['raid0', 3],
  ['concat', 2],
] as const)('%s of %i with integrity', (level, members) => {
  const make = (): Promise<Started> => build(level, members, { integrity: true });

  it('answers EIO for exactly the blocks that a disk has changed, until they are written', async () => {
    const { rig, disks, volume } = await make();
    expect(arrayOf(rig, 'a').describe()).toMatchObject({ integrity: true });
    await volume.write(0, blocks(64, 5));
    rot(disks[0]!, dataAt + 12);
    const wanted = Array.from({ length: 64 }, (_, at) => (at >= 8 && at < 16 ? 'EIO' : 5));
    expect(await bytesOf(volume, 0, 64)).toEqual(wanted);
    // The result is the same however often the block is read, and it is read once more before it is listed.
    expect(errorsOf(rig)[0]).toBe(1);
    expect(rig.events).toContainEqual(expect.objectContaining({ type: 'checksumError', slot: 0, member: 'm0' }));
    // The power fails at the moment of the answer, while the region is being written.
    const after = await startFrom(disks);
    expect(await bytesOf(after.volume, 0, 64)).toEqual(wanted);
    await arrayOf(after.rig, 'a').processEnded;
    expect(await bytesOf(after.volume, 0, 64)).toEqual(wanted);
    await after.volume.write(8, blocks(together, 6));
    expect((await after.volume.read(12, 1))[0]).toBe(6);
    expect(arrayOf(after.rig, 'a').badBlocks.size).toBe(0);
    await stop(after);
    const last = await startFrom(after.disks);
    expect((await last.volume.read(12, 1))[0]).toBe(6);
    await stop(last);
    await stop({ rig, disks, volume });
  });

  it('holds nothing against data that was flushed before a crash, and sums it anew', async () => {
    const built = await make();
    await built.volume.write(0, blocks(256, 1));
    await stop(built);
    const second = await startFrom(built.disks);
    expect(arrayOf(second.rig, 'a').process).toBeNull();
    expect(arrayOf(second.rig, 'a').history).toEqual([]);
    await second.volume.write(0, blocks(256, 2));
    await second.volume.flush();
    const third = await startFrom(second.disks);
    expect(new Set(await third.volume.read(0, 256))).toEqual(new Set([2]));
    await arrayOf(third.rig, 'a').processEnded;
    const [record] = arrayOf(third.rig, 'a').history;
    expect(record).toMatchObject({ type: 'resum', error: null, lostBlocks: 0 });
    expect(record!.unprovenBlocks).toBeGreaterThan(0);
    expect(errorsOf(third.rig).every((errors) => errors === 0)).toBe(true);
    // From then on there are some again, which the stop keeps.
    rot(third.disks[0]!, dataAt + 12);
    expect(await bytesOf(third.volume, 8, 9)).toEqual([...Array.from({ length: 8 }, () => 'EIO'), 2]);
    await third.volume.write(8, blocks(together, 2));
    await stop(third);
    const fourth = await startFrom(third.disks);
    expect(arrayOf(fourth.rig, 'a').process).toBeNull();
    expect(arrayOf(fourth.rig, 'a').history).toEqual([]);
    rot(fourth.disks[0]!, dataAt + 20);
    expect(await bytesOf(fourth.volume, 12, 5)).toEqual([2, 2, 2, 2, 'EIO']);
    for (const one of [second, fourth]) await stop(one);
  });

  it('lists what a check finds, which is not forgotten when its region is written', async () => {
    const built = await make();
    await built.volume.write(0, blocks(256, 1));
    await stop(built);
    const { rig, disks, volume } = await startFrom(built.disks);
    expect(await check(rig)).toMatchObject({ error: null, lostBlocks: 0, mismatchBlocks: 0 });
    rot(disks[0]!, dataAt + 4);
    expect(await check(rig)).toMatchObject({
      error: '8 blocks cannot be read, and there is no redundancy',
      lostBlocks: 8,
      unreadable: [{ slot: 0, memberOffsetBlocks: 0, numBlocks: 8, isLost: true }],
    });
    expect(arrayOf(rig, 'a').badBlocks.list()).toEqual([{ slot: 0, offsetBlocks: 0, numBlocks: 8 }]);
    await volume.write(64, blocks(64, 3));
    const after = await startFrom(disks);
    expect(await bytesOf(after.volume, 7, 2)).toEqual(['EIO', 1]);
    await arrayOf(after.rig, 'a').processEnded;
    expect(await bytesOf(after.volume, 7, 2)).toEqual(['EIO', 1]);
    await stop({ rig, disks, volume });
    await stop(after);
  });

  it('has the bit of a region on its members before its first write, and the checksums before the bit goes', async () => {
    const { rig, disks, volume } = await make();
    const { bitmap } = arrayOf(rig, 'a');
    const seen: string[] = [];
    disks[0]!.fault = ({ offsetBlocks, type }) => {
      if (type === IoType.Write && offsetBlocks >= 256 && offsetBlocks < 512) seen.push('map');
      else if (type === IoType.Write && offsetBlocks >= pagesAt) seen.push('sums');
      else if (type === IoType.Write && offsetBlocks >= dataAt) seen.push('data');
      return Status.Ok;
    };
    await volume.write(0, blocks(8, 6));
    expect(seen).toEqual(['map', 'data']);
    await until(() => bitmap!.count(RegionState.Dirty) === 0 && seen.length >= 4, 'clean');
    expect(seen).toEqual(['map', 'data', 'sums', 'map']);
    disks[0]!.fault = () => Status.Ok;
    const after = await startFrom(disks);
    expect(arrayOf(after.rig, 'a').process).toBeNull();
    expect(new Set(await after.volume.read(0, 8))).toEqual(new Set([6]));
    rot(after.disks[0]!, dataAt + 4);
    await expect(after.volume.read(0, 8)).rejects.toThrow('EIO');
    await stop(after);
    await stop({ rig, disks, volume });
  });

  it('writes nothing where a user gets an error because the bit could not be set', async () => {
    const { rig, disks, volume } = await make();
    disks[1]!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks < dataAt ? Status.IoError : Status.Ok);
    await expect(volume.write(0, blocks(8, 6))).rejects.toThrow('EIO');
    await expect(volume.write(0, blocks(8, 6), { fua: true })).rejects.toThrow('EIO');
    disks[1]!.fault = () => Status.Ok;
    // The other member, whose block it is, never heard of it.
    expect(arrayOf(rig, 'a').slots.map(({ errors }) => errors.write)).toEqual(Array.from(disks, () => 0));
    expect(new Set(await volume.read(0, 8))).toEqual(new Set([0]));
    await volume.write(0, blocks(8, 7));
    expect(new Set(await volume.read(0, 8))).toEqual(new Set([7]));
    // A write that failed has lost nothing else.
    await volume.flush();
    expect(arrayOf(rig, 'a').lostFlushes).toBe(0);
    // A flush that failed may have lost others.
    disks[1]!.fault = ({ type }) => (type === IoType.Flush ? Status.IoError : Status.Ok);
    await expect(volume.write(volume.numBlocks - 8, blocks(8, 7))).rejects.toThrow('EIO');
    disks[1]!.fault = () => Status.Ok;
    await expect(volume.flush()).rejects.toThrow('EIO');
    await stop({ rig, disks, volume });
  });

  it('starts again with a member that could not take a page of the map and has stayed', async () => {
    // More regions than one page has room for: what is written next goes to another page.
    const options = { regions: { leastBytes: 4096, zeroBytes: 4096 } };
    const rig = newRig(options);
    const disks: RamDisk[] = [];
    for (let index = 0; index < members; index++) {
      const bytes = new Uint8Array(66 * MiB);
      disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
    }
    const baseBdevs = disks.map((_, index) => `m${index}`);
    await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, integrity: true, stripSizeKb: 16 });
    const volume = openVolume(rig, 'a');
    disks[1]!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks < dataAt ? Status.IoError : Status.Ok);
    await expect(volume.write(0, blocks(8, 6))).rejects.toThrow('EIO');
    disks[1]!.fault = () => Status.Ok;
    const last = volume.numBlocks - 8;
    await volume.write(last, blocks(8, 7));
    await stop({ rig, disks, volume });
    // Its newest header would say that what it lacks was lost afterwards: without it the others' word counts.
    const { bytes } = disks[1]!;
    const generationAt = (block: number): bigint => new DataView(bytes.buffer).getBigUint64(block * 512 + 16, true);
    const newest = generationAt(128) > generationAt(192) ? 128 : 192;
    bytes.fill(0, newest * 512, (newest + 64) * 512);
    const again = await startFrom(disks, options);
    expect((await again.volume.read(last, 1))[0]).toBe(7);
    await stop(again);
  });

  it('ends a write that waits for its bit while the array is stopped', async () => {
    const { rig, disks, volume } = await make();
    disks[1]!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks < dataAt ? null : Status.Ok);
    const written = volume.write(0, blocks(64, 6));
    await until(() => disks[1]!.held.length > 0, 'it waits');
    const stopped = rig.arrays.stop();
    await until(() => arrayOf(rig, 'a').state === 'offline', 'it stops');
    disks[1]!.fault = () => Status.Ok;
    for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.Ok);
    await written;
    volume.descriptor.close();
    await stopped;
    const again = await startFrom(disks);
    expect(arrayOf(again.rig, 'a').process).toBeNull();
    expect(new Set(await again.volume.read(0, 64))).toEqual(new Set([6]));
    await stop(again);
  });

  it('gives what is on the disks where nothing was ever written, before and after a crash', async () => {
    const { rig, disks, volume } = await make();
    for (const disk of disks) disk.bytes.fill(0xdb, dataAt * 512, pagesAt * 512);
    const most = volume.numBlocks;
    expect((await volume.read(40, 1))[0]).toBe(0xdb);
    await volume.write(8, blocks(8, 1));
    expect((await volume.read(16, 1))[0]).toBe(0xdb);
    const after = await startFrom(disks);
    expect(await bytesOf(after.volume, 7, 10)).toEqual([0xdb, 1, 1, 1, 1, 1, 1, 1, 1, 0xdb]);
    await arrayOf(after.rig, 'a').processEnded;
    expect(await bytesOf(after.volume, 7, 10)).toEqual([0xdb, 1, 1, 1, 1, 1, 1, 1, 1, 0xdb]);
    expect((await after.volume.read(most - 1, 1))[0]).toBe(0xdb);
    await stop(after);
    await stop({ rig, disks, volume });
  });

  it('has none of before when another program ran the array, and sums what is there', async () => {
    const built = await make();
    await built.volume.write(0, blocks(256, 1));
    await stop(built);
    for (const disk of built.disks) {
      const superblock = superblockOf(disk);
      disk.bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    }
    built.disks[0]!.bytes.fill(9, dataAt * 512, (dataAt + 8) * 512);
    const again = await startFrom(built.disks);
    expect((await again.volume.read(0, 1))[0]).toBe(9);
    await arrayOf(again.rig, 'a').processEnded;
    expect(arrayOf(again.rig, 'a').history[0]).toMatchObject({ type: 'resum', error: null });
    expect(errorsOf(again.rig).every((errors) => errors === 0)).toBe(true);
    rot(again.disks[0]!, dataAt + 4);
    expect(await bytesOf(again.volume, 7, 2)).toEqual(['EIO', 1]);
    await stop(again);
  });

  it('has checksums of what another program has added', async () => {
    const built = await make();
    await built.volume.write(0, blocks(256, 1));
    await stop(built);
    const more = 64;
    for (const disk of built.disks) {
      const superblock = superblockOf(disk);
      // The last member of a concat alone needs to be larger, and all are.
      const grown = superblock.members.map((member) => ({ ...member, dataSizeBlocks: member.dataSizeBlocks + more }));
      const raidSizeBlocks = superblock.raidSizeBlocks + more * members;
      disk.grow(MiB);
      disk.bytes.set(encodeSuperblock({ ...superblock, raidSizeBlocks, members: grown, seqNumber: superblock.seqNumber + 1 }));
    }
    const again = await startFrom(built.disks);
    const array = arrayOf(again.rig, 'a');
    await until(() => array.process === null && array.history.length > 0, 'all has checksums');
    expect(array.history).toMatchObject([{ type: 'resum', error: null }]);
    expect(array.sums).toMatchObject({ isComplete: true });
    const last = again.volume.numBlocks - 1;
    rot(again.disks[members - 1]!, dataAt + 508 * together + more - 1);
    expect(await bytesOf(again.volume, last, 1)).toEqual(['EIO']);
    await stop(again);
  });

  it('keeps its size, and its members', async () => {
    const { rig, disks, volume } = await make();
    const { numBlocks } = volume;
    for (const [index, disk] of disks.entries()) rig.registry.get(`m${index}`)!.resize(disk.grow(4 * MiB));
    await arrayOf(rig, 'a').resizing;
    expect(volume.descriptor.bdev.numBlocks).toBe(numBlocks);
    await plugIn(rig.registry, { name: 'more', uuid: memberUuid(9), bytes: new Uint8Array(3 * MiB) });
    await expect(rig.arrays.growBaseBdev('a', 'more')).rejects.toThrow(
      level === 'concat' ? 'create another array, and copy' : /cannot have/,
    );
    expect(() => rig.arrays.startSync('a', 'repair')).toThrow(`level ${level} has no redundancy to repair from`);
    await stop({ rig, disks, volume });
  });
});

it('knows which members’ blocks a level writes that says nothing of it', async () => {
  const mirrored: PlainModule = {
    ...raid0,
    level: 'backwards',
    aliases: [],
    code: 0x1234,
    start: (context) => {
      const level = raid0.start(context);
      // Where a block lies is the level's own business: here the last one comes first.
      const at = (offset: number, count: number): number => context.geometry.memberBlocks[0]! - offset - count;
      return {
        resize: (capacities, current) => {
          const geometry = level.resize(capacities, current);
          return { ...geometry, optimalIoBoundary: 8, splitOnBoundary: true, numBlocks: geometry.memberBlocks[0]! };
        },
        submitRw: (request) => {
          const { addr, numBlocks, offsetBlocks } = request;
          for (let slot = 0; slot < context.numSlots; slot++) {
            if (request.kind === 'read' && slot === 0) request.readPart(slot, at(offsetBlocks, numBlocks), numBlocks, addr);
            if (request.kind === 'write') request.writePart(slot, at(offsetBlocks, numBlocks), numBlocks, addr);
          }
        },
        submitNullPayload: (request) => request.fail(Status.NotSupported),
      };
    },
  };
  const start = async (images: readonly Uint8Array[], isNew: boolean): Promise<Started> => {
    const rig = newRig();
    rig.arrays.modules.register(mirrored);
    const disks: RamDisk[] = [];
    for (const [index, bytes] of images.entries())
      disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk);
    const how = { name: 'a', level: 'backwards', baseBdevs: ['m0', 'm1'], superblock: true, integrity: true, stripSizeKb: 16 };
    if (isNew) await rig.arrays.create(how);
    await rig.registry.waitForExamine();
    await until(() => rig.arrays.get('a')?.state === 'online', 'online');
    return { rig, disks, volume: openVolume(rig, 'a') };
  };
  const first = await start([new Uint8Array(3 * MiB), new Uint8Array(3 * MiB)], true);
  await first.volume.write(0, blocks(64, 1));
  await stop(first);
  const images = first.disks.map(({ bytes }) => bytes);
  const second = await start(images, false);
  await second.volume.write(0, blocks(64, 2));
  const third = await start(
    second.disks.map(({ bytes }) => bytes),
    false,
  );
  expect(new Set(await third.volume.read(0, 64))).toEqual(new Set([2]));
  await arrayOf(third.rig, 'a').processEnded;
  expect(arrayOf(third.rig, 'a').history[0]).toMatchObject({ type: 'resum', error: null });
  rot(third.disks[0]!, pagesAt - 4);
  expect(await bytesOf(third.volume, 7, 2)).toEqual(['EIO', 2]);
  for (const one of [second, third]) await stop(one);
});

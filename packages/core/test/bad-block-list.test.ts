import { IoType, Status } from '@raidkit/bdev';
import { healthOf } from '@raidkit/core';
import { expect, it } from 'vitest';
import { blocks, build, bytesOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const dataOffset = 2048;
/** The offsets of the two copies of the list, in blocks. */
const listPlaces = [512, 640] as const;
const placeBlocks = 128;

/** What the last copy of a mirror holds, in slot 1: blocks of 7, but block 5, which could not be read when it was filled. */
async function lastCopy({ isBad = true }: { isBad?: boolean } = {}): Promise<Uint8Array> {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 4 });
  await volume.write(0, blocks(2048, 7));
  await rig.arrays.removeBaseBdev('m1');
  disks[0]!.fault = ({ type, offsetBlocks, numBlocks }) => {
    const isIn = offsetBlocks <= dataOffset + 5 && dataOffset + 5 < offsetBlocks + numBlocks;
    return isBad && type === IoType.Read && isIn ? Status.IoError : Status.Ok;
  };
  const bytes = new Uint8Array(5 * MiB).fill(0xee);
  const { disk } = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes });
  await rig.arrays.addBaseBdev('a', 'm9');
  const array = arrayOf(rig, 'a');
  await until(() => array.numInSync === 2 && array.process === null, 'rebuilt');
  await rig.arrays.removeBaseBdev('m0');
  volume.descriptor.close();
  await rig.arrays.stop();
  return disk.bytes.slice();
}

/** That disk alone, in a new process. Reads of the list's places fail until they are written. */
async function found(bytes: Uint8Array, unreadable: readonly number[] = listPlaces): Promise<{ rig: Rig; disk: RamDisk }> {
  const rig = newRig();
  const left = new Set(unreadable);
  const { disk } = await plugIn(rig.registry, {
    name: 'm9',
    uuid: memberUuid(9),
    bytes,
    fault: ({ type, offsetBlocks, numBlocks }) => {
      const hit = [...left].filter((place) => offsetBlocks < place + placeBlocks && place < offsetBlocks + numBlocks);
      if (type === IoType.Read) return hit.length > 0 ? Status.IoError : Status.Ok;
      for (const place of type === IoType.Write ? hit : []) left.delete(place);
      return Status.Ok;
    },
  });
  await rig.registry.waitForExamine();
  if (arrayOf(rig, 'a').state !== 'online') await rig.arrays.startDegraded('a').catch(() => undefined);
  return { rig, disk };
}

it('a list of bad blocks that cannot be read is not taken for an empty one, not even by force', async () => {
  const { rig, disk } = await found(await lastCopy());
  expect(arrayOf(rig, 'a').state).toBe('configuring');
  await expect(rig.arrays.startDegraded('a')).rejects.toThrow(
    /the list of bad blocks cannot be read, and nothing else records which blocks of slot 1 are bad\. Start with force/,
  );
  await rig.arrays.startDegraded('a', { force: true });
  const volume = openVolume(rig, 'a');
  expect(await bytesOf(volume, 4, 3)).toEqual(['EIO', 'EIO', 'EIO']);
  // What was never written reads as zeros, as ever, also beside a first write.
  expect(await bytesOf(volume, 4000, 1)).toEqual([0]);
  await volume.write(5000, blocks(1, 3));
  expect(await bytesOf(volume, 4999, 3)).toEqual([0, 3, 0]);
  await volume.write(5, blocks(1, 8), { fua: true });
  expect(await bytesOf(volume, 4, 3)).toEqual(['EIO', 8, 'EIO']);
  expect(healthOf(arrayOf(rig, 'a')).reason).toMatch(/^bad blocks: \d+ of slot 1/);
  // After a crash the place of the newest list is enough, and no other one is.
  const newest = arrayOf(rig, 'a').badBlocks.header.generation % 2;
  const again = await found(disk.bytes.slice(), [listPlaces[1 - newest]!]);
  expect(await bytesOf(openVolume(again.rig, 'a'), 4, 3)).toEqual(['EIO', 8, 'EIO']);
  const without = await found(disk.bytes.slice(), [listPlaces[newest]!]);
  expect(arrayOf(without.rig, 'a').state).toBe('configuring');
});

it('a list of bad blocks that is damaged on the last copy is not taken for an empty one', async () => {
  const bytes = await lastCopy();
  for (const place of listPlaces) bytes[place * 512 + 70]! ^= 1;
  const { rig } = await found(bytes, []);
  await expect(rig.arrays.startDegraded('a')).rejects.toThrow(/the list of bad blocks is lost, .* slot 1 /);
  await rig.arrays.startDegraded('a', { force: true });
  expect(await bytesOf(openVolume(rig, 'a'), 4, 3)).toEqual(['EIO', 'EIO', 'EIO']);
});

it('a list of bad blocks that cannot be read costs nothing where the header says that there are none', async () => {
  const { rig } = await found(await lastCopy({ isBad: false }));
  expect(await bytesOf(openVolume(rig, 'a'), 4, 3)).toEqual([7, 7, 7]);
  expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
});

it('a list without blocks that is lost is not taken for the one before it, and is not counted from anew', async () => {
  const before = await lastCopy();
  const written = await found(before.slice(), []);
  const volume = openVolume(written.rig, 'a');
  await volume.write(5, blocks(1, 8), { fua: true });
  const { generation } = arrayOf(written.rig, 'a').badBlocks.header;
  volume.descriptor.close();
  await written.rig.arrays.stop();
  // The write of its newest list was lost; or nothing of it can be read.
  const at = listPlaces[generation % 2]! * 512;
  const lost = written.disk.bytes.slice();
  lost.set(before.subarray(at, at + placeBlocks * 512), at);
  for (const [bytes, unreadable] of [
    [lost, []],
    [written.disk.bytes, listPlaces],
  ] as const) {
    const { rig } = await found(bytes.slice(), unreadable);
    expect(await bytesOf(openVolume(rig, 'a'), 4, 3)).toEqual([7, 8, 7]);
    const { badBlocks } = arrayOf(rig, 'a');
    expect(badBlocks.size).toBe(0);
    // Otherwise the old list would be newer than the next one.
    expect(badBlocks.header.generation).toBeGreaterThanOrEqual(generation);
  }
});

it('a write for which the list of bad blocks has no room fails alone', async () => {
  const { rig, volume } = await build('raid1', 2, { mebibytes: 10 });
  await volume.write(0, blocks(4096, 7));
  await rig.arrays.removeBaseBdev('m0');
  const array = arrayOf(rig, 'a');
  const { mostBadRanges } = array.extension!;
  array.badBlocks.add(1, 0, 3000);
  for (let i = 1; i < mostBadRanges; i++) array.badBlocks.add(1, 10_000 + 2 * i, 1);
  await array.metadata.update();
  await expect(volume.write(100, blocks(1, 8), { fua: true })).rejects.toThrow(/ENOSPC/);
  expect(await bytesOf(volume, 99, 3)).toEqual(['EIO', 'EIO', 'EIO']);
  // The list has room for a range that touches the edge of a listed one.
  await volume.write(0, blocks(8, 9), { fua: true });
  await volume.flush();
  expect(await bytesOf(volume, 7, 2)).toEqual([9, 'EIO']);
  expect(array.state).toBe('online');
});

it('a write of a bad block that ends while the array stops is answered when the list is on record', async () => {
  const { rig, disk } = await found(await lastCopy(), []);
  const volume = openVolume(rig, 'a');
  disk.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks === dataOffset + 5 ? null : Status.Ok);
  const image = volume.write(5, blocks(1, 8), { fua: true }).then(() => disk.bytes.slice());
  await until(() => disk.held.length === 1, 'the write is on the way');
  const array = arrayOf(rig, 'a');
  const stopped = rig.arrays.stop();
  await until(() => array.state === 'offline', 'the array stops');
  disk.finish(disk.held.pop()!, Status.Ok);
  // The power fails at the moment of the answer.
  const again = await found(await image, []);
  expect(await bytesOf(openVolume(again.rig, 'a'), 4, 3)).toEqual([7, 8, 7]);
  volume.descriptor.close();
  await stopped;
});

import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import type { CreateArrayOptions, ReadOptions } from '@raidkit/core';
import { encodeSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/* Which of several copies are read: the default, round-robin, members that are preferred and such that are only written. */

const MiB = 1 << 20;
const firstDataBlock = 2048;

interface Built {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

async function plugInAll(rig: Rig, images: readonly Uint8Array[]): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  await rig.registry.waitForExamine();
  return disks;
}

/** An array of all disks that has been written to; what has been read until then does not count. */
async function build(count: number, options: Partial<CreateArrayOptions> = {}): Promise<Built> {
  const rig = newRig();
  const disks = await plugInAll(
    rig,
    Array.from({ length: count }, () => new Uint8Array(3 * MiB)),
  );
  const baseBdevs = disks.map((_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs, superblock: true, ...options });
  const volume = openVolume(rig, 'a');
  await volume.write(0, new Uint8Array(64 * 512).fill(1));
  for (const disk of disks) disk.log.length = 0;
  return { rig, disks, volume };
}

/** How often the array's data has been read on each disk. */
function readsOf(disks: readonly RamDisk[]): number[] {
  return disks.map(
    ({ log }) => log.filter((line) => /^read (\d+)/.test(line) && Number(line.split(/[ +]/)[1]) >= firstDataBlock).length,
  );
}

async function read(volume: BlockClient, times: number): Promise<void> {
  for (let i = 0; i < times; i++) expect(await volume.read(0, 1)).toEqual(new Uint8Array(512).fill(1));
}

const shapes: [string, Partial<CreateArrayOptions>, number][] = [
  ['raid1', {}, 3],
  ['raid10', { level: 'raid10', stripSizeKb: 16, options: { copies: 3 } }, 3],
];

it.each(shapes)('%s reads the copy of the member that is being read least', async (_, options, count) => {
  const { disks, volume } = await build(count, options);
  for (const disk of disks) disk.fault = (io) => (io.type === IoType.Read ? null : Status.Ok);
  const reads = [16, 1, 2, 1].map((numBlocks) => volume.read(0, numBlocks));
  await until(() => readsOf(disks).every((times) => times > 0), 'all are read');
  // The first takes 16 blocks, the second 1, the third 2, and the fourth goes where there is 1.
  expect(readsOf(disks)).toEqual([1, 2, 1]);
  for (const disk of disks) for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await Promise.all(reads);
});

it.each(shapes)('%s reads one member after another', async (_, options, count) => {
  const { disks, volume } = await build(count, { ...options, reads: { policy: 'round-robin' } });
  await read(volume, 9);
  expect(readsOf(disks)).toEqual([3, 3, 3]);
});

it.each(shapes)('%s reads a member that is preferred, as long as it answers', async (_, options, count) => {
  const { disks, rig, volume } = await build(count, options);
  await rig.arrays.setReads('a', { members: { m2: 'prefer' } });
  await read(volume, 4);
  expect(readsOf(disks)).toEqual([0, 0, 4]);
  await rig.arrays.removeBaseBdev('m2');
  await read(volume, 2);
  expect(readsOf(disks)).toEqual([2, 0, 4]);
});

it.each(shapes)('%s reads a write-mostly member when no other one can answer', async (_, options, count) => {
  const reads: ReadOptions = { policy: 'round-robin', members: { m0: 'write-mostly' } };
  const { disks, rig, volume } = await build(count, { ...options, reads });
  await read(volume, 4);
  expect(readsOf(disks)).toEqual([0, 2, 2]);
  await volume.write(0, new Uint8Array(512).fill(1));
  expect(disks[0]!.log.some((line) => line.startsWith('write'))).toBe(true);
  disks[1]!.fault = (io) => (io.type === IoType.Read ? Status.IoError : Status.Ok);
  disks[2]!.fault = disks[1]!.fault;
  await volume.read(8, 8);
  expect(readsOf(disks)[0]).toBeGreaterThan(0);
  await rig.arrays.setReads('a', { members: { m0: 'normal' } });
  const before = readsOf(disks)[0]!;
  await volume.read(32, 8);
  await volume.read(32, 8);
  expect(readsOf(disks)[0]).toBeGreaterThan(before);
});

it('is kept on the members, also when SPDK has run the array; and is the member’s', async () => {
  const { disks, rig, volume } = await build(3);
  volume.descriptor.close();
  await rig.arrays.setReads('a', { policy: 'round-robin', members: { m0: 'write-mostly', m1: 'prefer' } });
  await rig.arrays.stop();
  for (const bySpdk of [0, 1]) {
    const again = newRig();
    const images = disks.map((disk) => {
      const bytes = disk.bytes.slice();
      const superblock = superblockOf(disk);
      bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + bySpdk }));
      return bytes;
    });
    await plugInAll(again, images);
    const array = arrayOf(again, 'a');
    expect(array.readPolicy).toBe('round-robin');
    expect(array.slots.map(({ readPreference }) => readPreference)).toEqual(['write-mostly', 'prefer', 'normal']);
    // The member is put back into its slot, and then another device.
    await again.arrays.removeBaseBdev('m0');
    await again.arrays.addBaseBdev('a', 'm0');
    await until(() => array.numInSync === 3, 'it is back');
    expect(array.slots[0]!.readPreference).toBe('write-mostly');
    await again.arrays.removeBaseBdev('m0');
    await plugIn(again.registry, { name: 'other', uuid: memberUuid(9), bytes: new Uint8Array(3 * MiB) });
    await again.arrays.addBaseBdev('a', 'other');
    expect(array.slots.map(({ readPreference }) => readPreference)).toEqual(['normal', 'prefer', 'normal']);
    await until(() => array.numInSync === 3, 'the other one is filled');
    await again.arrays.stop();
  }
});

it('is in the call that makes an array without superblocks again', async () => {
  const { rig } = await build(3, { superblock: false, reads: { members: { m1: 'prefer' } } });
  await rig.arrays.setReads('a', { policy: 'round-robin', members: { m2: 'write-mostly' } });
  expect(arrayOf(rig, 'a').describeConfig()?.params).toMatchObject({
    read_policy: 'round-robin',
    prefer: ['m1'],
    write_mostly: ['m2'],
  });
});

it('refuses what it cannot do, and changes nothing then', async () => {
  const { disks, rig } = await build(3);
  const set = (reads: ReadOptions, name = 'a'): Promise<void> => rig.arrays.setReads(name, reads);
  await expect(set({ members: { m7: 'prefer' } })).rejects.toThrow(/no member m7/);
  await expect(set({ policy: 'nearest' as never })).rejects.toThrow(/least-outstanding or round-robin, not nearest/);
  await expect(set({ members: { m0: 'never' as never } })).rejects.toThrow(/normal, prefer, write-mostly, and not never/);
  const other = { name: 'b', level: 'raid5f', stripSizeKb: 4, baseBdevs: ['x', 'y', 'z'], superblock: true };
  await expect(rig.arrays.create({ ...other, reads: { policy: 'round-robin' } })).rejects.toThrow(/no copies to choose from/);
  const stranger = { name: 'b', level: 'raid1', baseBdevs: ['x', 'y'], reads: { members: { z: 'prefer' } } } as const;
  await expect(rig.arrays.create(stranger)).rejects.toThrow(/z cannot be preferred/);
  for (const disk of disks) disk.fault = (io) => (io.type === IoType.Write ? Status.IoError : Status.Ok);
  await expect(set({ policy: 'round-robin', members: { m0: 'prefer' } })).rejects.toThrow(/could not be written/);
  expect(arrayOf(rig, 'a').readPolicy).toBe('least-outstanding');
  expect(arrayOf(rig, 'a').slots[0]!.readPreference).toBe('normal');
});

import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/* A rebuild target is queued while another background process runs; superblock updates continue meanwhile. */

const MiB = 1 << 20;
const firstDataBlock = 2048;

async function plugInAll(rig: Rig, images: ReadonlyMap<number, Uint8Array>): Promise<Map<number, RamDisk>> {
  const disks = new Map<number, RamDisk>();
  for (const [index, bytes] of images) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
    disks.set(index, disk);
  }
  await rig.registry.waitForExamine();
  return disks;
}

const imagesOf = (disks: ReadonlyMap<number, RamDisk>): Map<number, Uint8Array> =>
  new Map([...disks].map(([index, { bytes }]) => [index, bytes]));

it('after a crash before its turn a new device is filled with everything', async () => {
  const blank = new Map([0, 1, 2, 3].map((index) => [index, new Uint8Array(3 * MiB)]));
  const first = newRig();
  const made = await plugInAll(first, blank);
  await first.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1', 'm2'], superblock: true });
  const volume = openVolume(first, 'a');
  await volume.write(0, blocks(64, 1));
  volume.descriptor.close();
  // After a stop everything is clean: nothing but the device's own past says that it lacks it.
  await first.arrays.stop();

  const rig = newRig();
  const disks = await plugInAll(rig, imagesOf(made));
  const slow = disks.get(0)!;
  slow.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= firstDataBlock ? null : Status.Ok);
  rig.arrays.startSync('a', 'check');
  await until(() => slow.held.length > 0, 'a check runs');
  await rig.arrays.removeBaseBdev('m2');
  await rig.arrays.addBaseBdev('a', 'm3');
  // A superblock update happens for another reason, before the rebuild has started.
  await rig.arrays.failMember('a', 1, 'for the test');
  expect(superblockOf(disks.get(3)!).members[2]).toMatchObject({ uuid: memberUuid(3) });
  const crashed = imagesOf(disks);
  crashed.delete(1);
  crashed.delete(2);

  const next = newRig();
  const found = await plugInAll(next, crashed);
  await until(() => next.arrays.get('a')?.state === 'online', 'it is up');
  await until(() => arrayOf(next, 'a').numInSync === 2, 'the new device is filled');
  const dataAt = firstDataBlock * 512;
  expect(found.get(3)!.bytes.subarray(dataAt, dataAt + 64 * 512)).toEqual(blocks(64, 1));
  await next.arrays.stop();
  slow.fault = () => Status.Ok;
  for (const io of slow.held.splice(0)) slow.finish(io, Status.Ok);
  await rig.arrays.stop();
});

it('after a crash in the middle of its rebuild a new device is filled with everything', async () => {
  const first = newRig();
  const made = await plugInAll(first, new Map([0, 1].map((index) => [index, new Uint8Array(3 * MiB)])));
  await first.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  const volume = openVolume(first, 'a');
  await volume.write(0, blocks(64, 1));
  volume.descriptor.close();
  await first.arrays.stop();
  made.delete(1);

  const rig = newRig();
  const disks = await plugInAll(rig, imagesOf(made).set(3, new Uint8Array(3 * MiB)));
  await rig.arrays.startDegraded('a');
  const target = disks.get(3)!;
  target.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= firstDataBlock ? null : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm3');
  await until(() => target.held.length > 0, 'it is being filled');

  const next = newRig();
  const found = await plugInAll(next, imagesOf(disks));
  if (next.arrays.get('a')?.state !== 'online') await next.arrays.startDegraded('a');
  if (arrayOf(next, 'a').slots[1]!.name !== 'm3') await next.arrays.addBaseBdev('a', 'm3');
  await until(() => arrayOf(next, 'a').numInSync === 2, 'it is filled');
  const dataAt = firstDataBlock * 512;
  expect([...new Set(found.get(3)!.bytes.subarray(dataAt, dataAt + 64 * 512))]).toEqual([1]);
  await next.arrays.stop();
  target.fault = () => Status.Ok;
  for (const io of target.held.splice(0)) target.finish(io, Status.Ok);
  await rig.arrays.stop();
});

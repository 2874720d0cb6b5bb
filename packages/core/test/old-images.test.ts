import { IoType, Status } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { putTogether } from '../../../test/support/put-together.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const MiB = 1 << 20;

/** What was written has been made clean, and is on record. */
async function whenClean({ rig }: Pick<Built, 'rig'>): Promise<void> {
  const { bitmap } = arrayOf(rig, 'a');
  // Regions are clean in memory first; the round ends with their pages, and the header that says that all have them.
  await until(() => bitmap!.count(RegionState.Dirty) === 0 && bitmap!.isIdle, 'all is clean, on record');
}

it.each([
  ['raid1', 0],
  ['raid1', 1],
  ['raid5f', 0],
  ['raid5f', 2],
] as const)('%s: an old image of m%i, of the same run, is not taken for current at the next start', async (level, index) => {
  const built = await build(level, level === 'raid1' ? 2 : 3);
  const { rig, disks, volume } = built;
  await volume.write(0, blocks(64, 1));
  await volume.flush();
  const old = disks[index]!.bytes.slice();
  await whenClean(built);
  // Two values, so that parity changes too.
  const wanted = Buffer.concat([blocks(32, 2), blocks(32, 4)]);
  await volume.write(0, wanted);
  await volume.flush();
  volume.descriptor.close();
  await rig.arrays.stop();
  const images = disks.map(({ bytes }, slot) => (slot === index ? old : bytes));
  for (const order of [undefined, images.map((_, slot) => slot).reverse()]) {
    const { rig: again } = await putTogether(images, order === undefined ? {} : { order });
    const array = arrayOf(again, 'a');
    for (let round = 0; round < 4; round++) expect(Buffer.compare(await openVolume(again, 'a').read(0, 64), wanted)).toBe(0);
    await until(() => array.process === null && array.numInSync === array.numSlots, 'it is filled anew');
    await again.arrays.removeBaseBdev(index === 0 ? 'm1' : 'm0');
    expect(Buffer.compare(await openVolume(again, 'a').read(0, 64), wanted)).toBe(0);
  }
});

it('nor is it after a crash, once it is on record what all had', async () => {
  const built = await build('raid1', 2);
  await built.volume.write(0, blocks(64, 1));
  const old = built.disks[0]!.bytes.slice();
  await whenClean(built);
  await built.volume.write(0, blocks(64, 2));
  await whenClean(built);
  const { rig } = await putTogether([old, built.disks[1]!.bytes]);
  const array = arrayOf(rig, 'a');
  for (let round = 0; round < 4; round++) expect(await openVolume(rig, 'a').read(0, 64)).toEqual(blocks(64, 2));
  await until(() => array.process === null && array.numInSync === 2, 'it is filled anew');
});

it('an old image of a member that comes back while the array is up is filled from the start; the member itself is given what it missed', async () => {
  for (const isOld of [true, false]) {
    const built = await build('raid1', 2, { mebibytes: 4 });
    const { rig, disks, volume } = built;
    await volume.write(0, blocks(8, 1));
    await volume.flush();
    const old = disks[1]!.bytes.slice();
    await volume.write(0, blocks(8, 2));
    await whenClean(built);
    await rig.registry.unregister(rig.registry.get('m1')!);
    await volume.write(4096, blocks(8, 3));
    const { disk } = await plugIn(rig.registry, { name: 'm1', uuid: memberUuid(1), bytes: isOld ? old : disks[1]!.bytes });
    await rig.registry.waitForExamine();
    await until(() => arrayOf(rig, 'a').numInSync === 2, 'it is back');
    await arrayOf(rig, 'a').processEnded;
    // The first MiB of data is not what it missed.
    const isFilled = disk.log.some((entry) => /^write [23]\d{3}\+/.test(entry) && Number(entry.slice(6, 10)) >= 2048);
    expect(isFilled).toBe(isOld);
    await rig.arrays.removeBaseBdev('m0');
    expect(await volume.read(0, 8)).toEqual(blocks(8, 2));
    expect(await volume.read(4096, 8)).toEqual(blocks(8, 3));
  }
});

it('an old image that waits to be filled from the start, and leaves, is filled from the start when it returns', async () => {
  const built = await build('raid1', 3, { mebibytes: 4 });
  const { rig, disks, volume } = built;
  await volume.write(0, blocks(8, 1));
  await volume.flush();
  const old = disks[1]!.bytes.slice();
  await volume.write(0, blocks(8, 2));
  await whenClean(built);
  await rig.registry.unregister(rig.registry.get('m1')!);
  await volume.write(4096, blocks(8, 3));
  const array = arrayOf(rig, 'a');
  const plugInOld = (): Promise<unknown> =>
    plugIn(rig.registry, { name: 'm1', uuid: memberUuid(1), bytes: old.slice() }).then(() => rig.registry.waitForExamine());
  const [first] = disks as [Built['disks'][0]];
  // The rebuild cannot begin.
  first.fault = ({ type, offsetBlocks }) => (type === IoType.Read && offsetBlocks >= 2048 ? null : Status.Ok);
  rig.arrays.startSync('a', 'check');
  await until(() => first.held.length > 0, 'a check runs');
  await plugInOld();
  expect(array.slots[1]!.isRebuilding).toBe(true);
  await rig.registry.unregister(rig.registry.get('m1')!);
  await plugInOld();
  first.fault = () => Status.Ok;
  for (const io of first.held.splice(0)) first.finish(io, Status.Ok);
  await until(() => array.numInSync === 3 && array.process === null, 'it is back');
  for (const name of ['m0', 'm2']) await rig.arrays.removeBaseBdev(name);
  expect(await volume.read(0, 8)).toEqual(blocks(8, 2));
  expect(await volume.read(4096, 8)).toEqual(blocks(8, 3));
});

it('an old image of a member that left before the last start is filled from the start', async () => {
  const built = await build('raid1', 2, { mebibytes: 4 });
  const { rig, disks, volume } = built;
  await volume.write(0, blocks(8, 1));
  const old = disks[1]!.bytes.slice();
  await volume.write(0, blocks(8, 2));
  await whenClean(built);
  await rig.registry.unregister(rig.registry.get('m1')!);
  volume.descriptor.close();
  await rig.arrays.stop();
  const { rig: again } = await putTogether([disks[0]!.bytes, old]);
  await until(() => arrayOf(again, 'a').numInSync === 2, 'it is filled');
  await again.arrays.removeBaseBdev('m0');
  expect(await openVolume(again, 'a').read(0, 8)).toEqual(blocks(8, 2));
});

it.each(['raid0', 'concat'])('%s: an old image of a member is refused, or taken by force', async (level) => {
  const { rig, disks, volume } = await build(level, 2);
  await volume.write(0, blocks(64, 1));
  volume.descriptor.close();
  await rig.arrays.stop();
  const old = disks[1]!.bytes.slice();
  const second = await putTogether(disks.map(({ bytes }) => bytes));
  await second.rig.arrays.stop();
  const { rig: again } = await putTogether([second.disks[0]!.bytes, old]);
  expect(arrayOf(again, 'a').startError).toMatch(/slot 1: m1 is stale/);
  await expect(again.arrays.startDegraded('a')).rejects.toThrow(/cannot rebuild it/);
  await again.arrays.startDegraded('a', { force: true });
  expect(await openVolume(again, 'a').read(0, 64)).toEqual(blocks(64, 1));
});

it.each([64, 96])('one bad sector in the good member’s header at %i KiB does not let an old image pass', async (kib) => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  volume.descriptor.close();
  await rig.arrays.stop();
  const old = disks[0]!.bytes.slice();
  const second = await putTogether(disks.map(({ bytes }) => bytes));
  const half = openVolume(second.rig, 'a');
  await half.write(0, blocks(8, 2));
  half.descriptor.close();
  await second.rig.arrays.stop();
  const again = newRig();
  await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: old });
  const { disk } = await plugIn(again.registry, { name: 'm9', uuid: memberUuid(9), bytes: second.disks[1]!.bytes.slice() });
  await again.registry.unregister(again.registry.get('m9')!);
  const { Bdev } = await import('@raidkit/bdev');
  disk.fault = (io) =>
    io.type === IoType.Read && io.offsetBlocks <= kib * 2 && kib * 2 < io.offsetBlocks + io.numBlocks
      ? Status.IoError
      : Status.Ok;
  await again.registry.register(
    new Bdev({ name: 'm1', uuid: memberUuid(1), blockSize: 512, numBlocks: (3 * MiB) / 512, driver: disk }),
  );
  await again.registry.waitForExamine();
  for (let round = 0; round < 4; round++) expect(await openVolume(again, 'a').read(0, 8)).toEqual(blocks(8, 2));
});

import type { Bdev } from '@raidkit/bdev';
import { seqStep } from '@raidkit/core';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { putTogether, withoutExtension } from '../../../test/support/put-together.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

/** The array's disks after a clean stop; each strip of the first 64 KiB has its number in it. */
async function imagesOf(level: string, members: number): Promise<Uint8Array[]> {
  const { rig, disks, volume } = await build(level, members);
  for (let strip = 0; strip < 4; strip++) await volume.write(strip * 32, blocks(32, 1 + strip));
  volume.descriptor.close();
  await rig.arrays.stop();
  return disks.map(({ bytes }) => bytes);
}

function plugInBlank(rig: Rig, index: number): Promise<{ bdev: Bdev; disk: RamDisk }> {
  return plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
}

for (const madeBy of ['raidkit', 'SPDK'] as const) {
  for (const [level, members] of [
    ['raid0', 3],
    ['concat', 3],
    ['raid1', 2],
    ['raid5f', 3],
  ] as const) {
    it.each(Array.from({ length: members }, (_, absent) => absent))(
      `a blank disk is not taken for the absent member %i of a ${level} that was last run by ${madeBy}`,
      async (absent) => {
        const images = (await imagesOf(level, members)).map((bytes, index) => {
          if (index === absent) return null;
          return madeBy === 'SPDK' ? withoutExtension(bytes) : bytes;
        });
        const { rig, disks } = await putTogether(images);
        const before = disks.map((disk) => disk?.bytes.slice());
        await plugInBlank(rig, 9);
        await expect(rig.arrays.addBaseBdev('a', 'm9')).rejects.toThrow(
          new RegExp(`waits for slot ${absent} .*m9 .* is not one of its current members`),
        );
        expect(arrayOf(rig, 'a').state).toBe('configuring');
        expect(rig.registry.get('m9')!.claimedBy).toBeNull();
        for (const [index, disk] of disks.entries())
          if (disk !== null) expect(Buffer.compare(disk.bytes, before[index]!)).toBe(0);
      },
    );
  }
}

it('a blank disk is filled once the array has been started without the absent member', async () => {
  const images = await imagesOf('raid1', 2);
  const { rig } = await putTogether([null, withoutExtension(images[1]!)]);
  await rig.arrays.startDegraded('a');
  const { disk } = await plugInBlank(rig, 9);
  await rig.arrays.addBaseBdev('a', 'm9');
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'it is filled');
  expect(disk.bytes.slice(MiB, MiB + 128 * 512)).toEqual(images[1]!.slice(MiB, MiB + 128 * 512));
});

it('the member that an array waits for can be added by hand, another one of its members cannot', async () => {
  const images = await imagesOf('raid0', 2);
  const { rig } = await putTogether([images[0]!, null]);
  // Another user had claimed the device when it appeared, so that it was not examined.
  const registered = plugIn(rig.registry, { name: 'm1', uuid: memberUuid(1), bytes: images[1]!.slice() });
  const other = rig.registry.open('m1', { writable: true });
  other.claim('another user');
  await registered;
  await expect(rig.arrays.addBaseBdev('a', 'm1')).rejects.toThrow(/claimed by another user/);
  other.close();
  await rig.arrays.addBaseBdev('a', 'm1');
  expect(await openVolume(rig, 'a').read(32, 32)).toEqual(blocks(32, 2));
});

it('a member whose place was taken is not taken back, by adding or replacing, until it is wiped', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  await rig.arrays.removeBaseBdev('m1');
  await plugInBlank(rig, 9);
  await rig.arrays.addBaseBdev('a', 'm9');
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'm9 is filled');
  await volume.write(0, blocks(8, 2));
  const former = disks[1]!.bytes.slice();
  await expect(rig.arrays.replaceBaseBdev('a', 'm0', 'm1')).rejects.toThrow(/m1 was removed from the array/);
  await rig.arrays.removeBaseBdev('m0');
  await expect(rig.arrays.addBaseBdev('a', 'm1')).rejects.toMatchObject({ code: 'ERR_RAID_SUPERBLOCK_FOUND', errno: 17 });
  expect(Buffer.compare(disks[1]!.bytes, former)).toBe(0);
  await rig.arrays.wipe('m1');
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'm1 is filled');
  expect(disks[1]!.bytes[MiB]).toBe(2);
});

it('the target of a rebuild that a crash cut short before the others knew of it is filled like any device', async () => {
  const { rig, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  await rig.arrays.removeBaseBdev('m1');
  const { bdev, disk } = await plugInBlank(rig, 9);
  // What the first part of the first update of a rebuild leaves: only the target has the record, which does not count it in.
  const record = arrayOf(rig, 'a').metadata.snapshot();
  const slots = record.slots.map((slot, index) => (index === 1 ? { ...slot, uuid: bdev.uuid } : slot));
  const descriptor = rig.registry.open(bdev, { writable: true });
  await spdkSuperblockStore.write(descriptor, { ...record, slots, seqNumber: record.seqNumber + seqStep });
  descriptor.close();
  await rig.arrays.addBaseBdev('a', 'm9');
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'm9 is filled');
  expect(disk.bytes[MiB]).toBe(1);
});

it.each(['add', 'replace'])('a member that comes back under another uuid keeps what it holds: %s', async (how) => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  await volume.flush();
  const bytes = disks[1]!.bytes.slice();
  await rig.registry.unregister(rig.registry.get('m1')!);
  await volume.write(0, blocks(8, 2));
  await plugIn(rig.registry, { name: 'x', uuid: memberUuid(77), bytes });
  const before = bytes.slice();
  const added = how === 'add' ? rig.arrays.addBaseBdev('a', 'x') : rig.arrays.replaceBaseBdev('a', 'm0', 'x');
  await expect(added).rejects.toMatchObject({ code: 'ERR_RAID_SUPERBLOCK_FOUND' });
  expect(Buffer.compare(bytes, before)).toBe(0);
});

it('a member goes back to its own place while that is empty', async () => {
  const { rig } = await build('raid5f', 4);
  await rig.arrays.removeBaseBdev('m2');
  await rig.arrays.addBaseBdev('a', 'm2');
  await until(() => arrayOf(rig, 'a').numInSync === 4, 'm2 is filled');
  expect(arrayOf(rig, 'a').slots[2]!.name).toBe('m2');
});

it('force at creation does not let later members lose what they carry', async () => {
  const rig = newRig();
  for (const index of [0, 1]) await plugInBlank(rig, index);
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true, force: true });
  for (const index of [2, 3]) await plugInBlank(rig, index);
  await rig.arrays.create({ name: 'b', level: 'raid1', baseBdevs: ['m2', 'm3'], superblock: true });
  await rig.arrays.delete('b');
  await rig.arrays.removeBaseBdev('m1');
  await expect(rig.arrays.addBaseBdev('a', 'm2')).rejects.toThrow(/has the superblock of array b/);
});

it('a copy of a mirror is not started by itself while the other one may know better', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  await volume.flush();
  // m0 is pulled out; what is written then is on m1 alone, and m0 says that all are current.
  const stale = disks[0]!.bytes.slice();
  await rig.registry.unregister(rig.registry.get('m0')!);
  await volume.write(0, blocks(8, 2));
  await volume.flush();
  const { rig: again } = await putTogether([stale, null], { assembly: { degradedStartMs: 20 } });
  const array = arrayOf(again, 'a');
  await until(() => array.startError !== null, 'it has waited for long enough');
  expect(array.startError).toMatch(/slot 1 may have been used without the others/);
  expect(array.state).toBe('configuring');
  // The other member appears late.
  await plugIn(again.registry, { name: 'm1', uuid: memberUuid(1), bytes: disks[1]!.bytes.slice() });
  await until(() => again.registry.get('a') !== undefined && arrayOf(again, 'a').numInSync === 2, 'both are there');
  expect(await openVolume(again, 'a').read(0, 8)).toEqual(blocks(8, 2));
});

/** Two arrays of one name: of three copies that were destroyed while m2 was away, and a new one of m0 and m1. */
async function twoOfOneName(): Promise<Uint8Array[]> {
  const { rig, disks, volume } = await build('raid1', 3);
  await volume.write(0, blocks(8, 1));
  volume.descriptor.close();
  await rig.registry.unregister(rig.registry.get('m2')!);
  await rig.arrays.delete('a', { clearSuperblock: true });
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  const second = openVolume(rig, 'a');
  await second.write(0, blocks(8, 2));
  second.descriptor.close();
  await rig.arrays.stop();
  return disks.map(({ bytes }) => bytes);
}

it.each([[[0, 1, 2]], [[2, 0, 1]], [[0, 2, 1]]])(
  'a complete array has its name, whichever of that name was seen first: %j',
  async (order) => {
    const images = await twoOfOneName();
    const { rig } = await putTogether(images, { order, assembly: { degradedStartMs: 20 } });
    expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, 2));
    const ghost = rig.arrays.list('configuring');
    expect(ghost.map(({ name, recordedName }) => [/^a-[0-9a-f]{8}$/.test(name), recordedName])).toEqual([[true, 'a']]);
    expect(arrayOf(rig, ghost[0]!.name)).toBe(ghost[0]);
    await rig.arrays.delete(ghost[0]!.name, { clearSuperblock: true });
    expect(rig.arrays.list().map(({ name }) => name)).toEqual(['a']);
  },
);

it('of two incomplete arrays of one name none is started by itself', async () => {
  const made = async (from: number): Promise<Uint8Array[]> => {
    const rig = newRig();
    const indexes = [from, from + 1, from + 2];
    const disks = [];
    for (const index of indexes) disks.push((await plugInBlank(rig, index)).disk);
    await rig.arrays.create({
      name: 'a',
      level: 'raid5f',
      baseBdevs: indexes.map((index) => `m${index}`),
      stripSizeKb: 16,
      superblock: true,
    });
    await rig.arrays.stop();
    return disks.map(({ bytes }) => bytes);
  };
  const images = [...(await made(0)), ...(await made(3))];
  // The wait is long enough for all of them to be examined.
  const { rig } = await putTogether(
    images.map((bytes, index) => (index % 3 === 1 ? null : bytes)),
    { order: [0, 3, 2, 5], assembly: { degradedStartMs: 2000 } },
  );
  await until(() => rig.arrays.list().every(({ startError }) => startError !== null), 'both have waited for long enough');
  expect(rig.arrays.list().map(({ state, startError }) => [state, (startError ?? '').includes('has the name a too')])).toEqual([
    ['configuring', true],
    ['configuring', true],
  ]);
  // The second array is complete, so that it has the name.
  await plugIn(rig.registry, { name: 'm4', uuid: memberUuid(4), bytes: images[4]! });
  await rig.registry.waitForExamine();
  expect(arrayOf(rig, 'a').state).toBe('online');
  expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual(['m3', 'm4', 'm5']);
});

it('an array whose name a device has comes up under another one, and keeps its own on record', async () => {
  const images = await imagesOf('raid1', 2);
  const rig = newRig();
  await plugIn(rig.registry, { name: 'a', uuid: memberUuid(7), bytes: new Uint8Array(MiB) });
  for (const index of [0, 1]) await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: images[index]! });
  await rig.registry.waitForExamine();
  const [array] = rig.arrays.list('online');
  expect(array?.name).toMatch(/^a-/);
  const volume = openVolume(rig, array!.name);
  expect(await volume.read(0, 8)).toEqual(blocks(8, 1));
  volume.descriptor.close();
  await rig.arrays.stop();
  const { rig: again } = await putTogether(images);
  expect(arrayOf(again, 'a').state).toBe('online');
});

it.each(['raid0', 'concat', 'raid1', 'raid5f'])(
  'two members of a %s that appear under each other’s uuid are refused, and nothing is written to them',
  async (level) => {
    const images = await imagesOf(level, 3);
    const { rig, disks } = await putTogether([images[1]!, images[0]!, images[2]!]);
    const array = arrayOf(rig, 'a');
    expect([array.state, array.slots.map(({ name }) => name)]).toEqual(['configuring', [null, null, 'm2']]);
    expect(array.startError).toMatch(
      new RegExp(`m[01] has the uuid ${memberUuid(0).slice(0, -1)}[01], of slot [01], but the header on it says member`),
    );
    expect(Buffer.compare(disks[0]!.bytes, images[1]!)).toBe(0);
    // With their own uuids they are accepted.
    const { rig: again } = await putTogether(images);
    for (let strip = 0; strip < 4; strip++)
      expect(await openVolume(again, 'a').read(strip * 32, 32)).toEqual(blocks(32, 1 + strip));
  },
);

it('a member that appears under the uuid of one that is out is not rebuilt into its place', async () => {
  const { rig, disks, volume } = await build('raid1', 3);
  await volume.write(0, blocks(8, 1));
  await rig.arrays.removeBaseBdev('m2');
  await rig.registry.unregister(rig.registry.get('m2')!);
  await rig.registry.unregister(rig.registry.get('m1')!);
  const wrong = disks[1]!.bytes.slice();
  const { disk } = await plugIn(rig.registry, { name: 'm2', uuid: memberUuid(2), bytes: wrong.slice() });
  await rig.registry.waitForExamine();
  expect(arrayOf(rig, 'a').slots[2]!.descriptor).toBeNull();
  expect(Buffer.compare(disk.bytes, wrong)).toBe(0);
});

it('a superblock that does not name the device it is on makes no array, and ends none that waits', async () => {
  const images = await imagesOf('raid1', 2);
  const { rig } = await putTogether([images[0]!, null]);
  const before = arrayOf(rig, 'a');
  // A client's own device, to which it has written what another one of the array has, and a newer one.
  await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: images[1]!.slice() });
  await rig.registry.waitForExamine();
  expect(arrayOf(rig, 'a')).toBe(before);
  const alone = newRig();
  await plugIn(alone.registry, { name: 'm9', uuid: memberUuid(9), bytes: images[1]!.slice() });
  await alone.registry.waitForExamine();
  expect(alone.arrays.list()).toEqual([]);
  expect(alone.registry.get('m9')!.claimedBy).toBeNull();
});

it('a device that is not to be examined is taken by nothing that is written on it, until a person adds it', async () => {
  const images = await imagesOf('raid1', 2);
  const rig = newRig({ mayExamine: ({ name }) => name !== 'm1' });
  for (const index of [0, 1])
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: images[index]!.slice() });
  await rig.registry.waitForExamine();
  expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual(['m0', null]);
  await rig.arrays.addBaseBdev('a', 'm1');
  expect(arrayOf(rig, 'a').state).toBe('online');
});

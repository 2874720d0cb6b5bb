import { healthOf, seqStep } from '@raidkit/core';
import type { ArrayRecord } from '@raidkit/core';
import { encodeSuperblock, spdkSuperblockStore } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { putTogether, withoutExtension } from '../../../test/support/put-together.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

// A forged disk: it has the array's uuid, a member's uuid, and a higher sequence number than the members.

const MiB = 1 << 20;

/** The disks of a raid1 of two after a clean stop, with 1 in their first blocks, and what is on record. */
async function madeMirror(): Promise<{ images: [Uint8Array, Uint8Array]; record: ArrayRecord }> {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  volume.descriptor.close();
  const record = arrayOf(rig, 'a').metadata.snapshot();
  await rig.arrays.stop();
  return { images: [disks[0]!.bytes, disks[1]!.bytes], record };
}

/** These bytes with a superblock that says that m1 alone is current, and knows better than all members. */
async function forge(record: ArrayRecord, bytes: Uint8Array): Promise<Uint8Array> {
  const rig = newRig({ mayExamine: () => false });
  const { bdev, disk } = await plugIn(rig.registry, { name: 'forged', uuid: memberUuid(1), bytes: bytes.slice() });
  const slots = record.slots.map((slot, index): ArrayRecord['slots'][number] =>
    index === 0 ? { ...slot, state: 'failed' } : slot,
  );
  const descriptor = rig.registry.open(bdev, { writable: true });
  await spdkSuperblockStore.write(descriptor, { ...record, slots, seqNumber: record.seqNumber + 100 * seqStep });
  descriptor.close();
  return disk.bytes;
}

function junk(): Uint8Array {
  return new Uint8Array(3 * MiB).fill(0xee);
}

function reasonOf(rig: Rig): string {
  return healthOf(arrayOf(rig, 'a')).reason ?? '';
}

const patient = { assembly: { absentWaitMs: 2000 } };

for (const [what, first, isTakenAway] of [
  ['a disk of junk', junk, false],
  ['an old image of a member', null, true],
] as const) {
  it.each([[[0, 1]], [[1, 0]]])(`${what} with a higher sequence number does not become the array: %j`, async (order) => {
    const { images, record } = await madeMirror();
    const forged = await forge(record, first?.() ?? images[1]);
    const { rig, disks } = await putTogether([images[0], forged], { order, ...patient });
    expect(arrayOf(rig, 'a').state).toBe('configuring');
    expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual(['m0', null]);
    expect(reasonOf(rig)).toMatch(/m1 .* has a newer state .* do not know it.* Close it, or, .* bdev_raid_add_base_bdev/);
    expect(Buffer.compare(disks[0]!.bytes, images[0])).toBe(0);
    expect(Buffer.compare(disks[1]!.bytes, forged)).toBe(0);
    // Perhaps it was a member, and has lost its headers: what the others have is not taken for the newest either.
    await expect(rig.arrays.startDegraded('a')).rejects.toThrow(/m1 .* do not know it.*or start with force/);
    if (isTakenAway) await rig.registry.unregister(rig.registry.get('m1')!);
    await rig.arrays.startDegraded('a', { force: !isTakenAway });
    expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, 1));
    expect(Buffer.compare(disks[1]!.bytes, forged)).toBe(0);
  });
}

it.each([
  [2, [0, 1]],
  [2, [1, 0]],
  [3, [0, 1]],
  [3, [1, 0]],
])(
  'a disk of junk with %i of three slots and a higher number leaves out none that may have gone on: %j',
  async (slots, order) => {
    const { rig, disks, volume } = await build('raid1', 3);
    await volume.write(0, blocks(8, 1));
    volume.descriptor.close();
    const record = arrayOf(rig, 'a').metadata.snapshot();
    await rig.arrays.stop();
    const forging = newRig({ mayExamine: () => false });
    const forged = await plugIn(forging.registry, { name: 'forged', uuid: memberUuid(1), bytes: junk() });
    const descriptor = forging.registry.open(forged.bdev, { writable: true });
    const seqNumber = record.seqNumber + 100 * seqStep;
    await spdkSuperblockStore.write(descriptor, { ...record, slots: record.slots.slice(0, slots), seqNumber });
    descriptor.close();
    // Member 2 has everything, and is not there.
    const { rig: again } = await putTogether([disks[0]!.bytes, forged.disk.bytes], { order, ...patient });
    expect(arrayOf(again, 'a').state).toBe('configuring');
    expect(arrayOf(again, 'a').numSlots).toBe(3);
  },
);

it('a member is not filled anew by an array that was started from a disk that it does not know', async () => {
  const { images, record } = await madeMirror();
  const { rig, disks } = await putTogether([null, await forge(record, junk())]);
  await until(() => arrayOf(rig, 'a').state === 'online', 'the disk alone is what it says');
  const { disk } = await plugIn(rig.registry, { name: 'm0', uuid: memberUuid(0), bytes: images[0].slice() });
  await rig.registry.waitForExamine();
  expect(arrayOf(rig, 'a').numInSync).toBe(1);
  expect(Buffer.compare(disk.bytes, images[0])).toBe(0);
  expect(reasonOf(rig)).toMatch(/m0 .* headers of another array with this uuid/);
  // An operator discards its data.
  await rig.arrays.addBaseBdev('a', 'm0');
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'it is filled');
  expect(disk.bytes[MiB]).toBe(disks[1]!.bytes[MiB]);
  expect(healthOf(arrayOf(rig, 'a'))).toEqual({ health: 'optimal', reason: null });
});

it('a person may say that it is the disk that counts', async () => {
  const { images, record } = await madeMirror();
  const { rig } = await putTogether([images[0], await forge(record, junk())], patient);
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(rig, 'a').state === 'online', 'it is started from m1');
  expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, 0xee));
  // The data of the other device is discarded.
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'm0 is filled');
});

it.each([[[0, 1]], [[1, 0]]])('of two arrays with one uuid neither is started by itself: %j', async (order) => {
  const halves: Uint8Array[] = [];
  for (const fill of [1, 2]) {
    const rig = newRig();
    const disks = [];
    for (const index of [0, 1])
      disks.push(
        (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) })).disk,
      );
    const uuid = '5d190000-0000-4000-8000-0000000000aa';
    await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true, uuid });
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(8, fill));
    volume.descriptor.close();
    // So that each counts only itself in.
    await rig.arrays.removeBaseBdev(fill === 1 ? 'm1' : 'm0');
    await rig.arrays.stop();
    halves.push(disks[fill - 1]!.bytes);
  }
  const { rig } = await putTogether([halves[0]!, halves[1]!], { order, assembly: { absentWaitMs: 500 } });
  const array = arrayOf(rig, 'a');
  await until(() => array.startError !== null, 'it has been tried');
  expect(array.startError).toMatch(/headers of another array with this uuid/);
  await expect(rig.arrays.startDegraded('a')).rejects.toThrow(/start with force/);
  await rig.arrays.startDegraded('a', { force: true });
  const [first] = order;
  expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, (first ?? 0) + 1));
});

it.each([[[0, 1, 2]], [[0, 2, 1]], [[1, 0, 2]], [[1, 2, 0]], [[2, 0, 1]], [[2, 1, 0]]])(
  'a member without headers that knows the newest, one that agrees, and an old one come to rest: %j',
  async (order) => {
    const { rig, disks, volume } = await build('raid1', 3);
    await volume.write(0, blocks(8, 1));
    await volume.flush();
    const old = disks[0]!.bytes.slice();
    await rig.arrays.removeBaseBdev('m0');
    await volume.write(0, blocks(8, 2));
    volume.descriptor.close();
    await rig.arrays.stop();
    const behind = disks[1]!.bytes.slice();
    const { rig: again, disks: after } = await putTogether([null, behind, disks[2]!.bytes]);
    await until(() => arrayOf(again, 'a').state === 'online', 'both are up once more');
    await again.arrays.stop();
    const blind = after[2]!.bytes.slice();
    blind.fill(0, 64 << 10, 256 << 10);
    const { rig: last } = await putTogether([old, behind, blind], { order, assembly: { absentWaitMs: 100 } });
    await until(() => last.arrays.get('a')?.state === 'online', 'it is up');
    await last.registry.waitForExamine();
    expect(await openVolume(last, 'a').read(0, 8)).toEqual(blocks(8, 2));
  },
);

const shared = '5d190000-0000-4000-8000-0000000000aa';

/** A raid1 with the uuid that all of these have, over these disks, with this byte in its first blocks; and its disks after a stop. */
async function mirrorOver(
  indices: readonly number[],
  options: { fill: number; rounds?: number; without?: readonly number[] },
): Promise<RamDisk[]> {
  const { fill, rounds = 0, without = [] } = options;
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const index of indices)
    disks.push(
      (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) })).disk,
    );
  const baseBdevs = indices.map((index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs, superblock: true, uuid: shared });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(8, fill));
  volume.descriptor.close();
  for (const index of without) await rig.arrays.removeBaseBdev(`m${index}`);
  for (let round = 0; round < rounds; round++) await arrayOf(rig, 'a').metadata.update();
  await rig.arrays.stop();
  return disks;
}

for (const [what, indices, rounds, without] of [
  ['an older one', [5, 6], 0, []],
  ['a newer one', [5, 6], 9, []],
  ['a newer one that counts one of them out', [5, 0], 9, [0]],
] as const) {
  it.each([[[0, 1, 5]], [[0, 5, 1]], [[5, 0, 1]]])(
    `a disk that is no member, of ${what}, neither stops a complete array nor becomes it: %j`,
    async (order) => {
      const [m0, m1] = await mirrorOver([0, 1], { fill: 1, rounds: 4 });
      const [m5] = await mirrorOver(indices, { fill: 9, rounds, without });
      const images = [m0!.bytes, m1!.bytes, null, null, null, m5!.bytes];
      const { rig, disks } = await putTogether(images, { order, assembly: { absentWaitMs: 100 } });
      await until(() => arrayOf(rig, 'a').state === 'online', 'it is started');
      expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual(['m0', 'm1']);
      expect(healthOf(arrayOf(rig, 'a'))).toEqual({ health: 'optimal', reason: null });
      expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, 1));
      expect(Buffer.compare(disks[5]!.bytes, m5!.bytes)).toBe(0);
    },
  );
}

it('members that are found while a disk that is none of them is being started replace it all the same', async () => {
  const disks = await mirrorOver([0, 1], { fill: 1, rounds: 4 });
  const [m5] = await mirrorOver([5, 0], { fill: 9, rounds: 9, without: [0] });
  const rig = newRig();
  const { disk } = await plugIn(rig.registry, {
    name: 'm5',
    uuid: memberUuid(5),
    bytes: m5!.bytes,
    fault: () => (rig.arrays.get('a')?.isStarting === true && rig.registry.get('m1') === undefined ? null : 0),
  });
  await until(() => disk.held.length > 0, 'it is being started');
  for (const [index, { bytes }] of disks.entries())
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  expect(arrayOf(rig, 'a').isStarting).toBe(true);
  for (const io of disk.held.splice(0)) disk.finish(io, 0);
  await until(() => rig.arrays.get('a')?.state === 'online', 'it is started');
  expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual(['m0', 'm1']);
});

it.each([[[0, 1, 2]], [[2, 0, 1]]])(
  'a member of another lineage that counts out those that know one another does not become the array: %j',
  async (order) => {
    const [m0, m1] = await mirrorOver([0, 1, 2], { fill: 1 });
    const [m2] = await mirrorOver([2, 0, 1], { fill: 9, rounds: 9, without: [0, 1] });
    const images = [m0!.bytes, m1!.bytes, m2!.bytes];
    const { rig, disks } = await putTogether(images, { order, assembly: { absentWaitMs: 100 } });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(arrayOf(rig, 'a').state).toBe('configuring');
    for (const [index, disk] of disks.entries()) expect(Buffer.compare(disk!.bytes, images[index]!)).toBe(0);
  },
);

/** A raid1 of three without m2, with 2 in its first blocks, after SPDK ran it; m2 still has 1 there, and its headers. */
async function ranBySpdkWithoutM2(): Promise<[Uint8Array, Uint8Array, Uint8Array]> {
  const { rig, disks, volume } = await build('raid1', 3);
  await volume.write(0, blocks(8, 1));
  await rig.arrays.removeBaseBdev('m2');
  const m2 = disks[2]!.bytes.slice();
  await volume.write(0, blocks(8, 2));
  volume.descriptor.close();
  await rig.arrays.stop();
  const [m0, m1] = disks.map((disk) => {
    const bytes = disk.bytes.slice();
    const superblock = superblockOf(disk);
    bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    return bytes;
  });
  return [m0!, m1!, m2];
}

it('a start that is killed while it replaces what was recorded before SPDK ran leaves members that know each other', async () => {
  const [m0, m1, m2] = await ranBySpdkWithoutM2();
  const rig = newRig({ mayExamine: ({ name }) => name === 'm0' || name === 'm1' });
  const moments: [Uint8Array, Uint8Array][] = [];
  const disks: RamDisk[] = [];
  const inFront = 2048;
  for (const [index, bytes] of [m0, m1].entries()) {
    const { disk } = await plugIn(rig.registry, {
      name: `m${index}`,
      uuid: memberUuid(index),
      bytes: bytes.slice(),
      fault: (io) => {
        const [one, other] = disks;
        if (one !== undefined && other !== undefined && io.type !== 0 && io.offsetBlocks < inFront)
          moments.push([one.bytes.slice(), other.bytes.slice()]);
        return 0;
      },
    });
    disks.push(disk);
  }
  await until(() => arrayOf(rig, 'a').state === 'online', 'it is started');
  expect(moments.length).toBeGreaterThan(10);
  for (const [one, other] of moments.filter((_, index) => index % 3 === 0)) {
    const { rig: next } = await putTogether([one, other, m2], { order: [2, 0, 1], assembly: { absentWaitMs: 0 } });
    // The stale device is a known member, and is rebuilt from those that continued.
    await until(() => arrayOf(next, 'a').numInSync === 3, 'all are current');
    expect(await openVolume(next, 'a').read(0, 8)).toEqual(blocks(8, 2));
  }
});

it.each([[[0, 1, 2]], [[2, 0, 1]], [[0, 2, 1]]])(
  'members that agree and have lost their headers are not given up for a stale one that has its own: %j',
  async (order) => {
    const [m0, m1, m2] = await ranBySpdkWithoutM2();
    const assembly = { absentWaitMs: 100 };
    let images = [withoutExtension(m0), withoutExtension(m1), m2];
    // At the next boot it meets headers of another lineage.
    for (let boot = 0; boot < 2; boot++) {
      const { rig, disks } = await putTogether(images, { order, assembly });
      await until(() => arrayOf(rig, 'a').state === 'online', 'it is started');
      expect(arrayOf(rig, 'a').slots.map(({ isInSync, name }) => isInSync && name)).toEqual(['m0', 'm1', false]);
      const volume = openVolume(rig, 'a');
      expect(await volume.read(0, 8)).toEqual(blocks(8, 2));
      volume.descriptor.close();
      expect(Buffer.compare(disks[2]!.bytes, m2)).toBe(0);
      expect(reasonOf(rig)).toMatch(/m2 .* do not know it/);
      await rig.arrays.stop();
      images = disks.map((disk) => disk!.bytes);
    }
  },
);

import type { SuperblockStore } from '@raidkit/core';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, readAll, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
/** The largest block: one holds all of the superblock. */
const blockSize = 65_536;

/** The members have only superblocks, as other programs write them. */
const spdkStore = { ...spdkSuperblockStore, extension: undefined };
/** As it was up to raidkit 0.1: arrays were created that have no room for the records. */
const earlierStore = {
  ...spdkSuperblockStore,
  ...(spdkSuperblockStore.extension && { extension: { ...spdkSuperblockStore.extension, mostBlockBytes: blockSize } }),
};

/** A process that finds these disks, `m0`, `m1` …; those that are left out are null. */
async function withDisks(
  images: readonly (Uint8Array | null)[],
  store: SuperblockStore = spdkSuperblockStore,
): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig({ store });
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries()) {
    if (bytes === null) continue;
    const plugged = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice(), blockSize });
    disks.push(plugged.disk);
  }
  await rig.registry.waitForExamine();
  return { rig, disks };
}

/** An earlier owner has left different bytes on each of them. */
const used = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, index) => new Uint8Array(4 * MiB).fill(0x31 + index));

const levels = [
  ['raid0', 2],
  ['concat', 2],
  ['raid1', 2],
  ['raid10', 4],
  ['raid5f', 3],
  ['raid6', 4],
] as const;

async function create(rig: Rig, level: string, members: number): Promise<void> {
  const baseBdevs = Array.from({ length: members }, (_, index) => `m${index}`);
  const strip = level === 'raid1' ? {} : { stripSizeKb: 128 };
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, ...strip });
}

function idle(rig: Rig): Promise<void> {
  return until(() => arrayOf(rig, 'a').process === null && arrayOf(rig, 'a').consistency.isAllInSync, 'all is in sync');
}

it.each(levels)(
  '%s with superblocks is not created over blocks of 64 KiB, and its devices stay as they are',
  async (level, members) => {
    const { rig, disks } = await withDisks(used(members));
    await expect(create(rig, level, members)).rejects.toMatchObject({
      code: 'ERR_RAID_INVALID',
      message: expect.stringMatching(
        /m0 has 65536-byte blocks.*4096 bytes at most \(block_size\).*without superblocks$/,
      ) as string,
    });
    used(members).forEach((bytes, index) => expect(Buffer.compare(disks[index]?.bytes ?? bytes.subarray(0, 0), bytes)).toBe(0));
    expect(rig.arrays.get('a')).toBeUndefined();
  },
);

it('an array that waits for its other members is refused the first one whose blocks are too large', async () => {
  const { rig, disks } = await withDisks(used(1));
  await expect(create(rig, 'raid1', 2)).rejects.toMatchObject({ code: 'ERR_RAID_INVALID' });
  expect(Buffer.compare(disks[0]?.bytes ?? new Uint8Array(), used(1)[0] ?? new Uint8Array())).toBe(0);
  expect(rig.arrays.get('a')).toBeUndefined();
});

const makers = [
  ['raidkit up to 0.1', earlierStore],
  ['others', spdkStore],
] as const;

it.each(makers.flatMap(([maker, store]) => levels.map(([level, members]) => ({ level, members, maker, store }))))(
  '$level over blocks of 64 KiB, made by $maker: what was written is there after a restart, and redundancy agrees',
  async ({ level, members, store }) => {
    const { rig, disks } = await withDisks(used(members), store);
    await create(rig, level, members);
    const volume = openVolume(rig, 'a');
    const bytes = new Uint8Array(volume.numBlocks * blockSize);
    for (let block = 0; block < volume.numBlocks; block++) bytes.fill(block + 1, block * blockSize, (block + 1) * blockSize);
    await volume.write(0, bytes);
    await volume.write(3, bytes.subarray(0, blockSize));
    bytes.copyWithin(3 * blockSize, 0, blockSize);
    await volume.flush();
    volume.descriptor.close();
    await rig.arrays.stop();
    const images = disks.map((disk) => disk.bytes);
    const { rig: again } = await withDisks(images);
    expect(Buffer.compare(await readAll(openVolume(again, 'a')), bytes)).toBe(0);
    if (level === 'raid0' || level === 'concat') return;
    await idle(again);
    again.arrays.startSync('a', 'check');
    await until(() => arrayOf(again, 'a').history.some(({ type }) => type === 'check'), 'the check has ended');
    expect(arrayOf(again, 'a').history.find(({ type }) => type === 'check')).toMatchObject({ error: null, mismatchBlocks: 0 });
  },
);

it.each([
  ['raid1', 2],
  ['raid5f', 3],
] as const)(
  '%s over blocks of 64 KiB is made to agree after a crash, as nothing says where it was written',
  async (level, members) => {
    const { rig, disks } = await withDisks(used(members), earlierStore);
    await create(rig, level, members);
    await idle(rig);
    // This write reached only one member.
    const images = disks.map((disk) => disk.bytes.slice());
    images[1]!.fill(0x77, 2 * MiB, 2 * MiB + blockSize);
    const { rig: again, disks: found } = await withDisks(images);
    await idle(again);
    expect(arrayOf(again, 'a').history.map(({ type }) => type)).toContain('resync');
    const stripe = found.map(({ bytes }) => bytes.subarray(2 * MiB, 2 * MiB + blockSize));
    const parity = new Uint8Array(blockSize).map((_, at) => stripe.reduce((sum, bytes) => sum ^ (bytes[at] ?? 0), 0));
    expect(parity.every((byte) => byte === 0)).toBe(true);
  },
);

it('parity over blocks of 64 KiB is not believed without a member, unless a person says so', async () => {
  const { rig, disks } = await withDisks(used(3), earlierStore);
  await create(rig, 'raid5f', 3);
  await idle(rig);
  const volume = openVolume(rig, 'a');
  await volume.write(0, new Uint8Array(4 * blockSize).fill(9));
  volume.descriptor.close();
  await rig.arrays.stop();
  const { rig: again } = await withDisks([null, disks[1]!.bytes, disks[2]!.bytes]);
  await expect(again.arrays.startDegraded('a')).rejects.toThrow(/^array a has blocks of 65536 bytes.*start with force/);
  await again.arrays.startDegraded('a', { force: true });
  const there = openVolume(again, 'a');
  await expect(there.read(0, 4)).rejects.toThrow();
  again.arrays.trustRedundancy('a');
  expect((await there.read(0, 4)).every((byte) => byte === 9)).toBe(true);
});

it('parity over blocks of 64 KiB is not begun without a member: what it lacks could not be told', async () => {
  const { rig } = await withDisks(used(3), earlierStore);
  const creation = rig.arrays.create({
    name: 'a',
    level: 'raid5f',
    stripSizeKb: 128,
    baseBdevs: ['m0', 'm1', null],
    superblock: true,
  });
  await expect(creation).rejects.toThrow(/^array a has blocks of 65536 bytes/);
});

it.each([{ fresh: 0 }, { fresh: 1 }])(
  'superblocks over blocks of 64 KiB that a power cut has torn on all members, sector $fresh new, count as they were before',
  async ({ fresh }) => {
    const { rig, disks } = await withDisks(used(5), earlierStore);
    await create(rig, 'raid1', 5);
    await idle(rig);
    const volume = openVolume(rig, 'a');
    await volume.write(0, new Uint8Array(blockSize).fill(9), { fua: true });
    volume.descriptor.close();
    const before = disks.map((disk) => disk.bytes.slice());
    // Those of the round of a member that leaves differ in both sectors.
    await rig.arrays.removeBaseBdev('m4');
    const images = before.map((image, index) => {
      if (index < 4) image.set(disks[index]!.bytes.subarray(fresh * 512, (fresh + 1) * 512), fresh * 512);
      return image;
    });
    const { rig: again } = await withDisks(images);
    expect(arrayOf(again, 'a').state).toBe('online');
    expect(arrayOf(again, 'a').numInSync).toBe(5);
    expect((await openVolume(again, 'a').read(0, 1)).every((byte) => byte === 9)).toBe(true);
  },
);

it('an array over blocks of 64 KiB that exists takes a member back, and another one in its place', async () => {
  const { rig: before, disks } = await withDisks(used(2), earlierStore);
  await create(before, 'raid1', 2);
  await idle(before);
  await before.arrays.stop();
  const { rig, disks: found } = await withDisks([...disks.map(({ bytes }) => bytes), used(3)[2] ?? null]);
  const volume = openVolume(rig, 'a');
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(0, new Uint8Array(MiB).fill(7));
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'm1 is filled');
  await rig.arrays.replaceBaseBdev('a', 'm0', 'm2');
  await until(() => arrayOf(rig, 'a').slots[0]?.name === 'm2', 'm2 has taken the place of m0');
  await idle(rig);
  volume.descriptor.close();
  await rig.arrays.stop();
  const [, m1, m2] = found;
  const { rig: again } = await withDisks([null, m1?.bytes ?? null, m2?.bytes ?? null]);
  expect(arrayOf(again, 'a').numInSync).toBe(2);
  expect(new Set(await openVolume(again, 'a').read(0, MiB / blockSize))).toEqual(new Set([7]));
});

import { RegionState } from '@raidkit/core';
import { parseSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { putTogether } from '../../../test/support/put-together.js';
import { arrayOf, openVolume } from '../../../test/support/rig.js';

const KiB = 1024;
const secondAt = 32 * KiB;
const pagesAt = 128 * KiB;
/** Bytes of a superblock of three slots, in whole sectors. */
const superblockBytes = 512;

/** What the disks hold when the power fails while regions are dirty. */
async function crashed(level: string): Promise<Built & { images: Uint8Array[]; early: Uint8Array[] }> {
  const built = await build(level, level === 'raid6' ? 4 : 3);
  const early = built.disks.map(({ bytes }) => bytes.slice());
  await arrayOf(built.rig, 'a').metadata.update();
  await built.volume.write(0, blocks(64, 7), { fua: true });
  // Headers say now that all members have these pages.
  await arrayOf(built.rig, 'a').metadata.update();
  if (level !== 'raid0') expect(arrayOf(built.rig, 'a').bitmap!.count(RegionState.Dirty)).toBeGreaterThan(0);
  return { ...built, images: built.disks.map(({ bytes }) => bytes.slice()), early };
}

/** The array starts by itself, with all its members as they are. */
async function startsWhole(images: Uint8Array[]): Promise<void> {
  const { rig } = await putTogether(images);
  const array = arrayOf(rig, 'a');
  expect(array.state, String(array.startError)).toBe('online');
  expect(rig.events.filter(({ type }) => type === 'memberRemoved' || type === 'memberFailed')).toEqual([]);
  expect(array.numInSync).toBe(array.numSlots);
  expect(array.process?.type ?? 'none').not.toBe('rebuild');
  expect(await openVolume(rig, 'a').read(0, 64)).toEqual(blocks(64, 7));
}

function turn(image: Uint8Array, at: number, mask: number): void {
  image[at] = image[at]! ^ mask;
}

it.each(['raid0', 'raid1', 'raid5f', 'raid6'])(
  '%s: a member that has lost the write of its superblock is still a member, also after a crash',
  async (level) => {
    const { early, images } = await crashed(level);
    for (const at of [0, secondAt]) images[1]!.set(early[1]!.subarray(at, at + superblockBytes), at);
    await startsWhole(images);
  },
);

it.each(['raid1', 'raid5f', 'raid6'])(
  '%s: nor does a bit of its write-intent bitmap that turns over make a member an old image',
  async (level) => {
    const built = await crashed(level);
    // In one of the two cases the newer copy is damaged, and the other one is older, and valid.
    for (const place of [0, 1]) {
      const images = built.images.map((image) => image.slice());
      turn(images[1]!, pagesAt + place * 4 * KiB + 100, 4);
      await startsWhole(images);
    }
  },
);

it.each([
  ['its signature', 3],
  ['its checksum', 17],
  ['its length', 12],
  ['the array’s uuid', 30],
  ['its number', 130],
  ['the number of slots', 255],
  ['a member', 260],
])('a superblock of which a bit of %s has turned over is read from its second copy', async (_, at) => {
  const { images } = await crashed('raid5f');
  for (const mask of [1, 0x80]) {
    const turned = images.map((image) => image.slice());
    turn(turned[0]!, at, mask);
    expect(parseSuperblock(turned[0]!.subarray(0, superblockBytes)).ok).toBe(false);
    await startsWhole(turned);
  }
});

it('what another program wrote of a superblock, and was torn, is not taken for bits that turned over', async () => {
  const { disks, rig, volume } = await build('raid1', 3);
  volume.descriptor.close();
  await rig.arrays.stop();
  const images = disks.map(({ bytes }) => bytes.slice());
  // Another program that runs the array adds one, and may come upon a checksum that is nearly the one before.
  turn(images[0]!, 128, 1);
  turn(images[0]!, 16, 3);
  const { rig: again } = await putTogether(images);
  expect(arrayOf(again, 'a').slots[0]!.hasDevice).toBe(false);
});

it.each([
  ['zeros', (image: Uint8Array) => image.fill(0, 0, superblockBytes)],
  ['the damaged superblock of another array', (image: Uint8Array) => image.fill(0x5a, 24, 40)],
])('%s in the place of the first superblock are not taken for turned bits', async (_, overwrite) => {
  const { disks, rig, volume } = await build('raid1', 2);
  volume.descriptor.close();
  await rig.arrays.stop();
  const images = disks.map(({ bytes }) => overwrite(bytes.slice()));
  const { rig: again } = await putTogether(images);
  expect(again.arrays.list()).toEqual([]);
});

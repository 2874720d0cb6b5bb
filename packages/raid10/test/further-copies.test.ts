import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import type { CreateArrayOptions } from '@raidkit/core';
import { afterEach, describe, expect, it } from 'vitest';
import { extensionLayout, parseHeader } from '../../superblock/src/extension.js';
import { superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, readAll, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/* Tests of copies that are added to and removed from an online raid10: slots behind those that data is striped over. */

const MiB = 1 << 20;
const memberBytes = MiB + 256 * 1024;

type Image = Pick<RamDisk, 'bytes'>;

interface Built {
  rig: Rig;
  /** `m0` and on: members first. */
  disks: RamDisk[];
  volume: BlockClient;
}

const volumes = new Map<Rig, BlockClient>();

async function stop(rig: Rig): Promise<void> {
  volumes.get(rig)?.descriptor.close();
  volumes.delete(rig);
  await rig.arrays.stop();
}

afterEach(async () => {
  for (const rig of [...volumes.keys()]) await stop(rig);
});

function open(rig: Rig): BlockClient {
  const volume = openVolume(rig, 'a');
  volumes.set(rig, volume);
  return volume;
}

async function plug(rig: Rig, index: number, bytes: Uint8Array): Promise<RamDisk> {
  const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  return disk;
}

/** Filled with {@link contents}. */
async function build(members: number, options: Partial<CreateArrayOptions> = {}, more = 2): Promise<Built> {
  const rig = newRig({ memoryBytes: 8 << 20 });
  const disks: RamDisk[] = [];
  for (let index = 0; index < members + more; index++) disks.push(await plug(rig, index, new Uint8Array(memberBytes)));
  const baseBdevs = disks.slice(0, members).map((_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level: 'raid10', stripSizeKb: 4, baseBdevs, superblock: true, ...options });
  const volume = open(rig);
  await volume.write(0, contents(volume, 1));
  return { rig, disks, volume };
}

function contents({ numBlocks }: BlockClient, seed: number): Uint8Array {
  const words = new Uint32Array((numBlocks * 512) / 4);
  for (let index = 0; index < words.length; index++) words[index] = Math.imul(index + 1, 2654435761) ^ seed;
  return new Uint8Array(words.buffer);
}

async function expectContents(volume: BlockClient, seed: number): Promise<void> {
  expect(Buffer.compare(await readAll(volume), contents(volume, seed))).toBe(0);
}

/** Returns a new process with copies of these disks. */
async function again(images: readonly Image[], which: readonly number[]): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig({ memoryBytes: 8 << 20 });
  const disks: RamDisk[] = [];
  for (const index of which) disks.push(await plug(rig, index, images[index]!.bytes.slice()));
  await rig.registry.waitForExamine();
  return { rig, disks };
}

/** Returns the contents of an array of only these disks. */
async function expectOn(images: readonly Image[], which: readonly number[], seed: number): Promise<void> {
  const { rig } = await again(images, which);
  if (arrayOf(rig, 'a').state !== 'online') await rig.arrays.startDegraded('a');
  await settled(rig);
  await expectContents(open(rig), seed);
  expect(arrayOf(rig, 'a').slots.map((slot) => slot.errors.checksum)).toEqual(arrayOf(rig, 'a').slots.map(() => 0));
  await stop(rig);
}

const namesOf = (rig: Rig): (string | null)[] => arrayOf(rig, 'a').slots.map(({ name }) => name);

async function settled(rig: Rig): Promise<void> {
  const array = arrayOf(rig, 'a');
  await until(() => array.process === null, 'nothing is under way');
  await array.processEnded;
}

async function filled(rig: Rig): Promise<void> {
  const array = arrayOf(rig, 'a');
  await until(() => array.numInSync === array.numSlots && array.process === null, 'all copies are there');
  await array.processEnded;
}

async function grow(rig: Rig, index: number): Promise<void> {
  await rig.arrays.growBaseBdev('a', `m${index}`);
  await filled(rig);
}

async function compared(
  rig: Rig,
  type: 'check' | 'repair' = 'check',
): Promise<{ mismatchBlocks: number; repairedBlocks: number }> {
  rig.arrays.startSync('a', type);
  await settled(rig);
  const [record] = arrayOf(rig, 'a').history;
  expect(record).toMatchObject({ type, error: null });
  return record!;
}

const plainAndSummed = [{ integrity: false }, { integrity: true }];

it.each(plainAndSummed)('groups get a copy each, in turn, which have all that these have: %j', async (options) => {
  const { rig, disks, volume } = await build(4, options);
  const { numBlocks } = volume;
  await rig.arrays.growBaseBdev('a', 'm4');
  expect(arrayOf(rig, 'a')).toMatchObject({ numSlots: 5, numInSync: 4 });
  // This is during its rebuild.
  await volume.write(0, contents(volume, 2));
  await filled(rig);
  expect(arrayOf(rig, 'a').level?.copyGroups).toEqual([
    [0, 1, 4],
    [2, 3],
  ]);
  await grow(rig, 5);
  expect(arrayOf(rig, 'a').level?.copyGroups).toEqual([
    [0, 1, 4],
    [2, 3, 5],
  ]);
  expect(arrayOf(rig, 'a').level?.describe?.()).toEqual({
    layout: 'near',
    copies: 2,
    further_copies: 2,
    groups: '0+1+4, 2+3+5',
  });
  expect(volume.numBlocks).toBe(numBlocks);
  expect(arrayOf(rig, 'a')).toMatchObject({ canLose: 2, options: { striped: 4 } });
  expect((await compared(rig)).mismatchBlocks).toBe(0);
  await expectContents(volume, 2);
  // Any two members of a group may be removed.
  await rig.arrays.removeBaseBdev('m0');
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(0, contents(volume, 3));
  expect(arrayOf(rig, 'a').canDoWithout(arrayOf(rig, 'a').slotAt(4))).toBe(false);
  await expectContents(volume, 3);
  for (const index of [0, 1]) {
    await rig.arrays.addBaseBdev('a', `m${index}`);
    await settled(rig);
  }
  await stop(rig);
  for (const which of [
    [4, 5],
    [0, 5],
    [4, 2],
  ])
    await expectOn(disks, which, 3);
  const { rig: next } = await again(disks, [0, 1, 4]);
  await expect(next.arrays.startDegraded('a')).rejects.toMatchObject({ code: 'ERR_RAID_TOO_FEW_MEMBERS' });
  await next.arrays.stop();
});

it('of three copies the majority is believed, and of further ones as of the others', async () => {
  const { rig, disks } = await build(4);
  await grow(rig, 4);
  await grow(rig, 5);
  for (const wrong of [0, 4]) {
    disks[wrong]!.bytes.fill(9, MiB + 4096, MiB + 4096 + 512);
    expect((await compared(rig)).mismatchBlocks).toBeGreaterThan(0);
    expect((await compared(rig, 'repair')).repairedBlocks).toBe(1);
    expect((await compared(rig)).mismatchBlocks).toBe(0);
    await expectContents(volumes.get(rig)!, 1);
  }
});

it('what cannot be read is read elsewhere, and given anew, on a further copy too', async () => {
  const { rig, disks, volume } = await build(4);
  await grow(rig, 4);
  await rig.arrays.setReads('a', { members: { m4: 'prefer' } });
  const at = MiB / 512 + 3;
  let isBad = true;
  disks[4]!.fault = ({ numBlocks, offsetBlocks, type }) => {
    if (at < offsetBlocks || at >= offsetBlocks + numBlocks) return Status.Ok;
    if (type === IoType.Write) isBad = false;
    return isBad && type === IoType.Read ? Status.IoError : Status.Ok;
  };
  await expectContents(volume, 1);
  await until(() => !isBad, 'it is repaired');
  await volume.writeZeroes(0, volume.numBlocks);
  expect((await compared(rig)).mismatchBlocks).toBe(0);
  expect((await readAll(volume)).every((byte) => byte === 0)).toBe(true);
});

describe('a slot goes, and the last one takes its place unless those behind it can come nearer', () => {
  it.each<[number, string[]]>([
    [4, ['m0', 'm1', 'm2', 'm3']],
    [0, ['m4', 'm1', 'm2', 'm3']],
    [1, ['m0', 'm4', 'm2', 'm3']],
  ])('slot %i of five', async (index, left) => {
    for (const options of plainAndSummed) {
      const { rig, disks, volume } = await build(5, { ...options, options: { striped: 4 } }, 0);
      const writing = volume.write(0, contents(volume, 2));
      await rig.arrays.removeSlot('a', index);
      await writing;
      expect(namesOf(rig)).toEqual(left);
      expect(arrayOf(rig, 'a')).toMatchObject({ numSlots: 4, numInSync: 4, numOperational: 4, canLose: 1 });
      expect(() => superblockOf(disks[index]!)).toThrow();
      expect((await compared(rig)).mismatchBlocks).toBe(0);
      await expectContents(volume, 2);
      await volume.write(0, contents(volume, 3));
      await stop(rig);
      for (const [a, b] of [
        [0, 2],
        [1, 3],
      ] as const)
        await expectOn(
          disks,
          [left[a]!, left[b]!].map((name) => Number(name.slice(1))),
          3,
        );
    }
  });

  it('and what is known to be damaged stays so, of whom it is known', async () => {
    const { rig, disks, volume } = await build(5, { integrity: true, options: { striped: 4 } }, 0);
    const array = arrayOf(rig, 'a');
    disks[3]!.bytes[array.slotAt(3).dataOffset * 512 + 77]! ^= 4;
    array.badBlocks.noteDamage(3, 0, 8);
    await rig.arrays.removeSlot('a', 0);
    expect(namesOf(rig)).toEqual(['m4', 'm1', 'm2', 'm3']);
    await rig.arrays.disableIntegrity('a');
    expect(array.badBlocks.list()).toEqual([{ slot: 3, offsetBlocks: 0, numBlocks: 8 }]);
    await expectContents(volume, 1);
  });

  it('of one group any slot, as of a mirror', async () => {
    const { rig, volume } = await build(2);
    await grow(rig, 2);
    await grow(rig, 3);
    await rig.arrays.removeSlot('a', 0);
    expect(namesOf(rig)).toEqual(['m1', 'm2', 'm3']);
    await rig.arrays.removeSlot('a', 1);
    expect(namesOf(rig)).toEqual(['m1', 'm3']);
    await expectContents(volume, 1);
    await expect(rig.arrays.removeSlot('a', 1)).rejects.toThrow(/takes 2 to 255 members, not 1/);
  });

  it('and no other one: with its member nothing happens', async () => {
    const { rig, volume } = await build(6, { options: { striped: 4 } }, 1);
    await grow(rig, 6);
    // The groups are 0+1+4+6 and 2+3+5.
    for (const index of [2, 3, 5])
      await expect(rig.arrays.removeSlot('a', index)).rejects.toThrow(
        `slot ${index} cannot be removed, because data of other members would move; each of these can be: 0, 1, 4, 6`,
      );
    expect(namesOf(rig)).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6']);
    expect(arrayOf(rig, 'a').numInSync).toBe(7);
    await rig.arrays.removeSlot('a', 4);
    expect(namesOf(rig)).toEqual(['m0', 'm1', 'm2', 'm3', 'm6', 'm5']);
    await rig.arrays.removeSlot('a', 2);
    expect(namesOf(rig)).toEqual(['m0', 'm1', 'm5', 'm3', 'm6']);
    await rig.arrays.removeBaseBdev('m6');
    await rig.arrays.removeSlot('a', 4);
    await expect(rig.arrays.removeSlot('a', 0)).rejects.toThrow(
      /no slot can be removed: level raid10 does not support 3 members with the options \{"striped":4\}/,
    );
    await expectContents(volume, 1);
    expect((await compared(rig)).mismatchBlocks).toBe(0);
  });
});

it('refuses a further copy where slots do not come in groups, and where it is not on record how many strips are dealt to', async () => {
  for (const [members, options] of [
    [5, {}],
    [4, { layout: 'offset' }],
    [4, { copies: 3 }],
  ] as const) {
    const { rig } = await build(members, { options });
    const name = `m${members}`;
    await expect(rig.arrays.growBaseBdev('a', name)).rejects.toThrow(
      /its layout depends on the number of members.*One of layout near, with a multiple of \d members, can have/,
    );
    expect(arrayOf(rig, 'a').options).toEqual(options);
    expect(rig.registry.get(name)!.claimedBy).toBeNull();
    await expect(rig.arrays.removeSlot('a', 0)).rejects.toThrow(/no slot can be removed|depends on the number/);
    expect(arrayOf(rig, 'a').numInSync).toBe(members);
    await stop(rig);
  }
  const { rig, disks, volume } = await build(4);
  arrayOf(rig, 'a').options = {};
  await arrayOf(rig, 'a').metadata.update();
  await expect(rig.arrays.growBaseBdev('a', 'm4')).rejects.toThrow(/depends on the number of members/);
  await expectContents(volume, 1);
  await stop(rig);
  const { rig: next } = await again(disks, [0, 1, 2, 3, 4]);
  expect(arrayOf(next, 'a').options).toEqual({});
  await expect(next.arrays.growBaseBdev('a', 'm4')).rejects.toThrow(/depends on the number of members/);
  await expectContents(open(next), 1);
});

it('is created with further copies, and made again without superblocks', async () => {
  await expect(build(4, { options: { striped: 5 } })).rejects.toThrow(/does not support 4 members/);
  await expect(build(4, { options: { striped: 3 } })).rejects.toThrow(/does not support 4 members/);
  await expect(build(5, { options: { striped: 4, layout: 'offset' } })).rejects.toThrow(/does not support 5 members/);
  await expect(build(5, { options: { copies: 3, striped: 2 } })).rejects.toThrow(/does not support 5 members/);
  const { rig, disks } = await build(4, { superblock: false });
  await grow(rig, 4);
  const [saved] = rig.arrays.list().map((array) => array.options);
  expect(saved).toEqual({ striped: 4 });
  await stop(rig);
  const { rig: next } = await again(disks, [0, 1, 2, 3, 4]);
  const baseBdevs = [null, 'm1', 'm2', 'm3', 'm4'].map((name, index) => name ?? `m${index}`);
  await next.arrays.create({ name: 'a', level: 'raid10', stripSizeKb: 4, baseBdevs, superblock: false, options: saved! });
  await next.arrays.removeBaseBdev('m0');
  await next.arrays.removeBaseBdev('m1');
  await expectContents(open(next), 1);
});

it('is not started with fewer slots than strips are dealt to', async () => {
  const { rig, disks } = await build(4);
  arrayOf(rig, 'a').options = { striped: 6 };
  await arrayOf(rig, 'a').metadata.update();
  await stop(rig);
  const { rig: next } = await again(disks, [0, 1, 2, 3]);
  await expect(next.arrays.startDegraded('a', { force: true })).rejects.toThrow(
    /no layout of 4 slots with the options \{"striped":6\}/,
  );
  await next.arrays.stop();
});

/** Of the two places of a member's header, the one that was written before the other. */
function wipeOlderHeader(bytes: Uint8Array): void {
  const { headerAt, headerBytes } = extensionLayout;
  const places = headerAt.map((at) => bytes.subarray(at, at + headerBytes));
  places.sort((a, b) => (parseHeader(a)?.generation ?? 0) - (parseHeader(b)?.generation ?? 0));
  places[0]?.fill(0);
}

/** Returns copies of all disks before each write of a first block of a superblock or header, while `work` is done. */
async function pictures(disks: readonly RamDisk[], work: () => Promise<unknown>): Promise<Image[][]> {
  const taken: Image[][] = [];
  const places = new Set([0, ...extensionLayout.headerAt.map((at) => at / 512)]);
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => {
      if (type === IoType.Write && places.has(offsetBlocks)) taken.push(disks.map(({ bytes }) => ({ bytes: bytes.slice() })));
      return Status.Ok;
    };
  await work();
  for (const disk of disks) disk.fault = () => Status.Ok;
  return taken;
}

describe('a round that is cut short, at whichever write, leaves what there was or what there is', () => {
  it.each(plainAndSummed)('%j', async (options) => {
    const { rig, disks } = await build(4, options, 1);
    await stop(rig);
    // Its regions are clean.
    const { rig: next, disks: copies } = await again(disks, [0, 1, 2, 3, 4]);
    const taken = await pictures(copies, async () => {
      await next.arrays.growBaseBdev('a', 'm4');
      await filled(next);
      await next.arrays.removeSlot('a', 0);
    });
    expect(namesOf(next)).toEqual(['m4', 'm1', 'm2', 'm3']);
    await stop(next);
    expect(taken.length).toBeGreaterThan(40);
    for (const [index, images] of taken.entries()) {
      if (index % 2 === Number(options.integrity)) continue;
      if (Math.floor(index / 8) % 2 === 1) for (const { bytes } of images) wipeOlderHeader(bytes);
      // With all of them, and without one that is no longer, or not yet, a member; or without one that has a copy at any time.
      await expectOn(
        images,
        [
          [0, 1, 2, 3, 4],
          [1, 2, 3, 4],
          [0, 1, 2, 3],
          [0, 1, 3, 4],
        ][Math.floor(index / 2) % 4]!,
        1,
      );
    }
  });
});

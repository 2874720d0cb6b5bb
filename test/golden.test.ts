import { describe, expect, it } from 'vitest';
import { decodeByTable, isAcceptable } from '../packages/superblock/test/codec-oracle.js';
import { placesOf, volumeBlocks } from './support/address-map.js';
import type { Shape } from './support/address-map.js';
import { build } from './support/array-on-disks.js';
import { arrayContent, goldenSets, memberImage } from './support/golden.js';
import type { GoldenSet } from './support/golden.js';
import { fillPattern } from './support/pattern.js';
import { plugIn } from './support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, readAll, until } from './support/rig.js';
import type { Rig } from './support/rig.js';

async function plugInMembers(rig: Rig, set: GoldenSet, indexes: readonly number[]): Promise<void> {
  for (const index of indexes) {
    const { uuid } = set.members[index]!;
    await plugIn(rig.registry, { name: `D${index}`, uuid, bytes: memberImage(set, index), blockSize: set.blockSize });
  }
  await rig.registry.waitForExamine();
}

async function expectContents(rig: Rig, set: GoldenSet): Promise<void> {
  const array = rig.arrays.get(set.name)!;
  expect(array.startError).toBeNull();
  expect(array.state).toBe('online');
  expect(array.uuid).toBe(set.uuid);
  const volume = openVolume(rig, set.name);
  expect(volume.numBlocks * set.blockSize).toBe(set.arrayBytesNow);
  const isSame = Buffer.from(await readAll(volume)).equals(arrayContent(set));
  expect(isSame).toBe(true);
  volume.descriptor.close();
}

async function expectNothingLeft(rig: Rig): Promise<void> {
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
  expect(rig.arrays.iosOutstanding).toBe(0);
}

function permutations(items: readonly number[]): number[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((first) => permutations(items.filter((item) => item !== first)).map((rest) => [first, ...rest]));
}

const sets = goldenSets();
const startable = sets.filter(({ set }) => set !== 'raid5f-3-two-removed');

describe('arrays made by SPDK', () => {
  it.each(startable.map((set) => [set.folder, set] as const))('%s assembles and reads back', async (_, set) => {
    const rig = newRig();
    await plugInMembers(rig, set, [...set.membersForAssembly].reverse());
    await expectContents(rig, set);
    await expectNothingLeft(rig);
  });

  const small = startable.filter(({ arrayBytes }) => arrayBytes <= 8 << 20);
  it.each(small.map((set) => [set.folder, set] as const))('%s assembles in every order', async (_, set) => {
    for (const order of permutations(set.membersForAssembly)) {
      const rig = newRig();
      await plugInMembers(rig, set, order);
      await expectContents(rig, set);
      await expectNothingLeft(rig);
    }
  });

  const redundant = startable.filter(({ folder }) => ['raid1-2x16m-512-seed', 'raid5f-4x16m-512-64k-seed'].includes(folder));
  it.each(redundant.map((set) => [set.folder, set] as const))('%s reads back with any member missing', async (_, set) => {
    for (const missing of set.membersForAssembly) {
      const rig = newRig();
      await plugInMembers(
        rig,
        set,
        set.membersForAssembly.filter((index) => index !== missing),
      );
      expect(rig.arrays.get(set.name)!.state).toBe('configuring');
      await rig.arrays.startDegraded(set.name);
      await expectContents(rig, set);
      await expectNothingLeft(rig);
    }
  });

  it('a member that missed writes is never read as current, in any order of arrival', async () => {
    const stale = startable.filter(({ members, membersForAssembly }) => members.length > membersForAssembly.length);
    expect(stale.map(({ folder }) => folder)).toEqual([
      'raid1-2-rebuilt-head',
      'raid1-2-removed-seed',
      'raid5f-4-removed-seed',
    ]);
    for (const set of stale) {
      for (const order of permutations(set.members.map((_, index) => index))) {
        const rig = newRig();
        await plugInMembers(rig, set, order);
        await rig.arrays.get(set.name)!.processEnded;
        await expectContents(rig, set);
        await expectNothingLeft(rig);
      }
    }
  });

  it('raid5f-3-two-removed-head is refused, alone and with its stale members', async () => {
    const set = sets.find((candidate) => candidate.set === 'raid5f-3-two-removed')!;
    for (const order of [[0], [0, 1], [1, 0], [0, 1, 2], [2, 1, 0], [1, 2, 0]]) {
      const rig = newRig();
      await plugInMembers(rig, set, order);
      const array = rig.arrays.get(set.name)!;
      expect(array.state).toBe('configuring');
      expect(array.startError).toMatch(/too few members are in sync by its superblock: 1 of 3 members are not enough/);
      await expect(rig.arrays.startDegraded(set.name)).rejects.toMatchObject({ code: 'ERR_RAID_TOO_FEW_MEMBERS' });
      expect(rig.registry.get(set.name)).toBeUndefined();
      await expectNothingLeft(rig);
    }
  });
});

/** The volume as SPDK serves it: by the superblocks' fields and the level's address map, both written down once more for tests. */
function servedBySpdk(images: readonly Uint8Array[]): Uint8Array {
  const superblocks = images.map((bytes) => {
    expect(isAcceptable(bytes)).toBe(true);
    return decodeByTable(bytes);
  });
  const [first] = superblocks;
  const { blockSize, level, members, raidSizeBlocks, stripSizeBlocks } = first!;
  expect(superblocks.every(({ seqNumber }) => seqNumber === first!.seqNumber)).toBe(true);
  const inSlots = members.toSorted((a, b) => a.slot - b.slot);
  const shape: Shape = {
    level: level === 0 ? 'raid0' : 'concat',
    strip: stripSizeBlocks,
    capacities: inSlots.map(({ dataSizeBlocks }) => dataSizeBlocks),
  };
  expect(volumeBlocks(shape)).toBe(raidSizeBlocks);
  const imageOf = new Map(images.map((bytes, index) => [memberUuid(index), bytes]));
  for (const { dataOffsetBlocks, dataSizeBlocks, uuid } of inSlots)
    expect((dataOffsetBlocks + dataSizeBlocks) * blockSize).toBeLessThanOrEqual(imageOf.get(uuid)!.length);
  const bytes = new Uint8Array(raidSizeBlocks * blockSize);
  for (let block = 0; block < raidSizeBlocks; block++) {
    const [place] = placesOf(shape, block);
    const { dataOffsetBlocks, uuid } = inSlots[place!.slot]!;
    const image = imageOf.get(uuid)!;
    const at = (dataOffsetBlocks + place!.block) * blockSize;
    bytes.set(image.subarray(at, at + blockSize), block * blockSize);
  }
  return bytes;
}

describe('arrays without redundancy that have checksums, as SPDK serves them', () => {
  it.each([
    ['raid0', 3, 'at its creation'],
    ['raid0', 2, 'while it was up'],
    ['concat', 3, 'at its creation'],
    ['concat', 2, 'while it was up'],
  ] as const)('%s of %i that got them %s', async (level, members, when) => {
    const isLater = when === 'while it was up';
    const { disks, rig, volume } = await build(level, members, { integrity: !isLater, mebibytes: 1 });
    const content = new Uint8Array(volume.numBlocks * 512);
    fillPattern(content, 0, 1);
    await volume.write(0, content);
    const images = (): Uint8Array[] => disks.map(({ bytes }) => bytes.slice());
    if (isLater) {
      // Room for their pages, and less than a strip more.
      disks.forEach((disk, index) => rig.registry.get(`m${index}`)!.resize(disk.grow(12 * 1024)));
      await arrayOf(rig, 'a').resizing;
      await rig.arrays.enableIntegrity('a');
      // This holds also before existing data has checksums.
      expect(Buffer.from(servedBySpdk(images())).equals(content)).toBe(true);
      await until(() => !arrayOf(rig, 'a').isUnproven && arrayOf(rig, 'a').process === null, 'all has checksums');
    }
    const changed = content.subarray(100 * 512, 300 * 512);
    fillPattern(changed, 100, 2);
    await volume.write(100, changed);
    expect(arrayOf(rig, 'a').hasIntegrity).toBe(true);
    expect(Buffer.from(servedBySpdk(images())).equals(content)).toBe(true);
    if (isLater) {
      await rig.arrays.disableIntegrity('a');
      expect(Buffer.from(servedBySpdk(images())).equals(content)).toBe(true);
    }
    volume.descriptor.close();
    await expectNothingLeft(rig);
    expect(Buffer.from(servedBySpdk(images())).equals(content)).toBe(true);
  });
});

import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { blocks, build, bytesOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/** Where a member has headers, and pages of the map. Blocks. */
const headersAt = [128, 256] as const;
const pagesAt = [256, 512] as const;
const regionBlocks = 2048;

type Place = readonly [from: number, to: number];

function isWriteTo([from, to]: Place, { offsetBlocks, type }: BdevIo): boolean {
  return type === IoType.Write && offsetBlocks >= from && offsetBlocks < to;
}

/** Starts a mirror, until the first write of each member to these places is torn by the power's failing. */
async function torn(images: readonly Uint8Array[], place: Place): Promise<Uint8Array[]> {
  const rig = newRig();
  const copies = images.map((bytes) => bytes.slice());
  let count = 0;
  for (const [index, bytes] of copies.entries()) {
    const tear = (io: BdevIo): number | null => {
      if (!isWriteTo(place, io)) return Status.Ok;
      count++;
      // The result is neither the old nor the new contents: bitmaps of this size fit into one sector.
      bytes.fill(0xee, io.offsetBlocks * 512, (io.offsetBlocks + 1) * 512);
      return null;
    };
    void plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, fault: tear });
  }
  await until(() => count === images.length, 'the power fails');
  return copies;
}

/** The mirror, started from m1 alone. */
async function startedFrom(bytes: Uint8Array): Promise<Rig> {
  const rig = newRig();
  await plugIn(rig.registry, { name: 'm1', uuid: memberUuid(1), bytes: bytes.slice() });
  await rig.arrays.startDegraded('a');
  return rig;
}

it('a page of the map that one member has alone, and two crashes, cost no page that all have', async () => {
  const { disks, volume } = await build('raid1', 2, { mebibytes: 8 });
  await volume.write(0, blocks(8, 1));
  await volume.write(regionBlocks, blocks(8, 7));
  await volume.flush();
  disks[1]!.fault = (io) => (isWriteTo(pagesAt, io) ? null : Status.Ok);
  void volume.write(2 * regionBlocks, blocks(8, 9)).catch(() => undefined);
  await until(() => disks[1]!.held.length === 1, 'the page is on the way to m1');
  const [, image] = await torn(
    disks.map(({ bytes }) => bytes),
    pagesAt,
  );
  const rig = await startedFrom(image!);
  expect(await openVolume(rig, 'a').read(regionBlocks, 8)).toEqual(blocks(8, 7));
});

it('a header that one member has alone, and two crashes, cost no header that all have', async () => {
  const { rig: first, disks, volume } = await build('raid1', 2, { mebibytes: 8 });
  await volume.write(0, blocks(8, 1));
  volume.descriptor.close();
  await first.arrays.stop();
  // A start writes a header with its round, and another one when all have its superblock.
  const second = newRig();
  const images = disks.map(({ bytes }) => bytes.slice());
  let headers = 0;
  for (const [index, bytes] of images.entries()) {
    const hold = (io: BdevIo): number | null => (index === 1 && isWriteTo(headersAt, io) && ++headers === 2 ? null : Status.Ok);
    void plugIn(second.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, fault: hold });
  }
  await until(() => headers === 2, 'the second header is on the way to m1');
  const [, image] = await torn(images, headersAt);
  const rig = await startedFrom(image!);
  const before = arrayOf(second, 'a').incarnation;
  // The unwritten regions are still known.
  expect(arrayOf(rig, 'a').incarnation).toBe(before);
});

/** Places of superblocks, both copies. Blocks. */
const superblocksAt = [0, 128] as const;

/** Starts a mirror, until the power fails while these members' superblocks are on the way. */
async function withoutSuperblocks(images: readonly Uint8Array[], members: readonly number[]): Promise<Uint8Array[]> {
  const rig = newRig();
  const copies = images.map((bytes) => bytes.slice());
  let count = 0;
  for (const [index, bytes] of copies.entries()) {
    const hold = (io: BdevIo): number | null => {
      if (!members.includes(index) || !isWriteTo(superblocksAt, io)) return Status.Ok;
      count++;
      return null;
    };
    void plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, fault: hold });
  }
  await until(() => count === members.length, 'superblocks are on the way');
  const isNew = (index: number): boolean =>
    Buffer.compare(copies[index]!.subarray(0, 512), images[index]!.subarray(0, 512)) !== 0;
  await until(() => images.every((_, index) => members.includes(index) || isNew(index)), 'the others have theirs');
  return copies.map((bytes) => bytes.slice());
}

it('a superblock that one member has alone, and crashes of starts, cost no header that goes with what the others have', async () => {
  const { rig: first, disks, volume } = await build('raid1', 2, { mebibytes: 8 });
  await volume.write(0, blocks(8, 7));
  const { incarnation } = arrayOf(first, 'a');
  volume.descriptor.close();
  await first.arrays.stop();
  let images = await withoutSuperblocks(
    disks.map(({ bytes }) => bytes),
    [1],
  );
  for (let crash = 0; crash < 2; crash++) images = await withoutSuperblocks(images, [0, 1]);
  const rig = await startedFrom(images[1]!);
  expect(arrayOf(rig, 'a').incarnation).toBe(incarnation);
  expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, 7));
});

describe.each(['raid1', 'raid5f'] as const)('a %s of which rounds fail on all members, one after the other,', (level) => {
  /** Writes to these places fail, and leave there what `leaves` says, while three rounds are tried. */
  async function afterFailedRounds(place: Place, leaves: (io: BdevIo, bytes: Uint8Array) => void) {
    const { rig, disks, volume } = await build(level, 3, { mebibytes: 8 });
    await volume.write(0, blocks(8, 1));
    await volume.write(regionBlocks * 2, blocks(8, 7));
    await volume.flush();
    disks.forEach((disk) => {
      disk.fault = (io) => {
        if (!isWriteTo(place, io)) return Status.Ok;
        leaves(io, disk.bytes);
        return Status.IoError;
      };
    });
    const { metadata, incarnation } = arrayOf(rig, 'a');
    for (let round = 0; round < 3; round++)
      await expect(metadata.update()).rejects.toThrow(/could not be written to any member/);
    const again = newRig();
    for (const [index, disk] of disks.entries())
      await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disk.bytes.slice() });
    await again.registry.waitForExamine();
    expect(arrayOf(again, 'a').incarnation).toBe(incarnation);
    expect(await openVolume(again, 'a').read(regionBlocks * 2, 8)).toEqual(blocks(8, 7));
  }

  const tear = ({ offsetBlocks }: BdevIo, bytes: Uint8Array): void => {
    bytes.fill(0xee, offsetBlocks * 512, (offsetBlocks + 1) * 512);
  };

  it('keeps the header that all have when headers are torn', async () => {
    await afterFailedRounds(headersAt, tear);
  });

  it('keeps a header that goes with superblocks which were not written', async () => {
    await afterFailedRounds(superblocksAt, () => undefined);
  });
});

const dataOffset = 2048;
/** Where a member has lists of bad blocks, and of what is in doubt. Blocks. */
const badBlocksAt = [512, 768] as const;
const doubtAt = [768, 832] as const;

/** The members of these disks, the first of which is of that slot, as they are, in another process. */
async function crashed(disks: readonly RamDisk[], slot = 0): Promise<Rig> {
  const rig = newRig();
  for (const [index, { bytes }] of disks.entries())
    await plugIn(rig.registry, { name: `m${slot + index}`, uuid: memberUuid(slot + index), bytes: bytes.slice() });
  await rig.registry.waitForExamine();
  if (arrayOf(rig, 'a').state !== 'online') await rig.arrays.startDegraded('a');
  return rig;
}

/** From now on writes to these places fail, and leave there what is neither old nor new. */
function failTorn(disks: readonly RamDisk[], place: Place): void {
  for (const disk of disks)
    disk.fault = (io) => {
      if (!isWriteTo(place, io)) return Status.Ok;
      disk.bytes.fill(0xee, io.offsetBlocks * 512, (io.offsetBlocks + 1) * 512);
      return Status.IoError;
    };
}

describe('of records that fail on all members, one after the other, the last one that all had stays:', () => {
  it.each(['raid1', 'raid5f'] as const)('pages of the map of a %s', async (level) => {
    const { disks, volume } = await build(level, 3, { mebibytes: 8 });
    await volume.write(0, blocks(8, 1));
    await volume.flush();
    // Whatever members hold where nothing was written.
    for (const { bytes } of disks) bytes.fill(0xdd, (dataOffset + regionBlocks) * 512);
    failTorn(disks, pagesAt);
    for (let round = 0; round < 3; round++) await expect(volume.write(4 * regionBlocks, blocks(8, 9))).rejects.toThrow(/EIO/);
    const again = await crashed(disks);
    const read = openVolume(again, 'a');
    expect([...(await bytesOf(read, 0, 1)), ...(await bytesOf(read, 6 * regionBlocks, 1))]).toEqual([1, 0]);
  });

  it('lists of bad blocks', async () => {
    const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 4 });
    await volume.write(0, blocks(16, 7));
    const array = arrayOf(rig, 'a');
    for (const block of [5, 9]) for (const slot of [0, 1]) array.badBlocks.add(slot, block, 1);
    await array.metadata.update();
    failTorn(disks, badBlocksAt);
    for (let round = 0; round < 3; round++) await expect(volume.write(5, blocks(1, 8))).rejects.toThrow(/EIO/);
    const again = await crashed(disks);
    expect(await bytesOf(openVolume(again, 'a'), 8, 2)).toEqual([7, 'EIO']);
  });

  it('lists of what is in doubt', async () => {
    const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 4 });
    await volume.write(0, blocks(512, 7));
    await rig.arrays.removeBaseBdev('m0');
    await volume.write(0, blocks(8, 7));
    const { consistency, journal } = arrayOf(rig, 'a');
    // Of stripe 1 the absent member has the first chunk. A write has failed there on more members than can be lost.
    consistency.markInconsistent(32, 8);
    await until(() => journal?.doubt.isCurrent === true, 'it is on record');
    for (const { bytes } of disks) bytes.fill(9, (dataOffset + 32) * 512, (dataOffset + 40) * 512);
    failTorn(disks, doubtAt);
    for (let round = 0; round < 3; round++) {
      consistency.markInconsistent(128 + 16 * round, 8);
      await expect(journal?.doubt.save()).rejects.toThrow(/EIO/);
    }
    const again = await crashed(disks.slice(1), 1);
    expect(await bytesOf(openVolume(again, 'a'), 64, 1)).toEqual(['EIO']);
  });
});

it('a list of bad blocks that a lost flush keeps from being shorter is not written over the one on record', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 4 });
  await volume.write(0, blocks(16, 7));
  await rig.arrays.removeBaseBdev('m1');
  const [disk] = disks;
  const array = arrayOf(rig, 'a');
  for (const block of [5, 9]) array.badBlocks.add(0, block, 1);
  await array.metadata.update();
  disk!.fault = ({ type }) => (type === IoType.Flush ? Status.IoError : Status.Ok);
  await expect(volume.flush()).rejects.toThrow(/EIO/);
  // The power fails while the next list is written.
  let isTorn = false;
  disk!.fault = (io) => {
    if (isTorn || isWriteTo(badBlocksAt, io)) {
      if (!isTorn) disk!.bytes.fill(0xee, io.offsetBlocks * 512, (io.offsetBlocks + 1) * 512);
      isTorn = true;
      return null;
    }
    return Status.Ok;
  };
  void volume.write(5, blocks(1, 8)).catch(() => undefined);
  await until(() => isTorn, 'the power fails');
  const again = await crashed([disk!]);
  expect(await bytesOf(openVolume(again, 'a'), 8, 2)).toEqual([7, 'EIO']);
});

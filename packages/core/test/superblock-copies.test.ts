import { IoType, Status } from '@raidkit/bdev';
import { encodeSuperblock, parseSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const secondAt = 32 * 1024;
/** Of an array of five members: two sectors. */
const superblockBytes = 256 + 5 * 64;

async function assemble(images: readonly Uint8Array[]): Promise<Rig> {
  const rig = newRig();
  for (const [index, bytes] of images.entries())
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
  await rig.registry.waitForExamine();
  return rig;
}

/** The image of a member on which the write of the first copy was cut short: the sectors named are from after it. */
function torn(before: Uint8Array, after: Uint8Array, newSectors: readonly number[]): Uint8Array {
  const image = before.slice();
  for (const sector of newSectors) image.set(after.subarray(sector * 512, (sector + 1) * 512), sector * 512);
  return image;
}

/** An array of five with a block of data, as it was before a round of superblocks and after it, without one member there. */
async function roundOf(level: string): Promise<{ before: Uint8Array[]; after: Uint8Array[]; rig: Rig; disks: RamDisk[] }> {
  const { rig, disks, volume } = await build(level, 5);
  await volume.write(0, blocks(8, 7), { fua: true });
  volume.descriptor.close();
  const before = disks.map((disk) => disk.bytes.slice());
  // The round of a member that leaves differs in both sectors from the one before; its own superblock stays.
  if (level === 'raid1') await rig.arrays.removeBaseBdev('m4');
  else await arrayOf(rig, 'a').metadata.update();
  return { before, after: disks.map((disk) => disk.bytes.slice()), rig, disks };
}

it.each([{ sectors: [0] }, { sectors: [1] }])(
  'a mirror whose superblocks are all torn, sectors $sectors new, starts from what they were before',
  async ({ sectors }) => {
    const { before, after } = await roundOf('raid1');
    const images = before.map((image, index) => (index === 4 ? image : torn(image, after[index]!, sectors)));
    for (const image of images.slice(0, 4))
      expect(parseSuperblock(image.subarray(0, 1024))).toMatchObject({ ok: false, reason: 'damaged' });
    const rig = await assemble(images);
    expect(arrayOf(rig, 'a').state).toBe('online');
    expect(arrayOf(rig, 'a').numInSync).toBe(5);
    expect(await openVolume(rig, 'a').read(0, 8)).toEqual(blocks(8, 7));
  },
);

it.each(['raid0', 'raid1'])('%s starts with one superblock torn and the others new', async (level) => {
  const { rig, disks, volume } = await build(level, 5);
  await volume.write(0, blocks(8, 7), { fua: true });
  disks[2]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 0 ? null : Status.Ok);
  const before = disks[2]!.bytes.slice(0, superblockBytes);
  const counts = disks.map((disk) => copiesWritten(disk));
  void arrayOf(rig, 'a')
    .metadata.update()
    .catch(() => undefined);
  await until(
    () => disks[2]!.held.length === 1 && disks.every((disk, index) => index === 2 || copiesWritten(disk) > counts[index]!),
    'the others have theirs',
  );
  const images = disks.map((disk) => disk.bytes.slice());
  // Its first sector is the new one; the rest matches neither.
  images[2]!.set(before);
  images[2]!.set(images[0]!.subarray(0, 512));
  images[2]!.fill(0xee, 512, superblockBytes);
  const again = await assemble(images);
  expect(arrayOf(again, 'a').state).toBe('online');
  expect(arrayOf(again, 'a').numInSync).toBe(5);
  expect(await openVolume(again, 'a').read(0, 8)).toEqual(blocks(8, 7));
});

/** How often the second copy has been written and flushed. */
function copiesWritten(disk: RamDisk): number {
  return disk.log.filter((call, index) => call === 'flush' && disk.log[index - 1] === `write ${secondAt / 512}+2`).length;
}

it('the second copy is written when the first is on stable media, and before the round is over', async () => {
  const { rig, disks } = await roundOf('raid0');
  const from = disks[0]!.log.length;
  await arrayOf(rig, 'a').metadata.update();
  const log = disks[0]!.log.slice(from);
  const first = log.indexOf('write 0+2');
  expect(log.slice(first, first + 4)).toEqual(['write 0+2', 'flush', `write ${secondAt / 512}+2`, 'flush']);
});

it('a member whose second copy cannot be written is failed', async () => {
  const { rig, disks } = await build('raid1', 5);
  disks[3]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === secondAt / 512 ? Status.IoError : Status.Ok);
  await arrayOf(rig, 'a').metadata.update();
  await arrayOf(rig, 'a').leaveRecorded();
  expect(superblockOf(disks[0]!).members[3]).toMatchObject({ state: 2 });
});

it('zeros or something else over the first copy are believed, whatever the second says', async () => {
  const { after } = await roundOf('raid1');
  for (const fill of [0, 0x5a]) {
    const rig = await assemble(after.slice(0, 4).map((image) => image.slice().fill(fill, 0, superblockBytes)));
    expect(rig.arrays.list().length).toBe(0);
  }
});

it('what SPDK wrote counts, though only we write second copies; what it tore is damaged', async () => {
  const { rig, disks } = await roundOf('raid1');
  await rig.arrays.stop();
  const own = superblockOf(disks[0]!);
  const bySpdk = (added: number) => {
    const members = own.members.map((member) => (member.slot === 3 ? { ...member, state: 2 as const } : member));
    return encodeSuperblock({ ...own, seqNumber: own.seqNumber + added, members });
  };
  const images = disks.slice(0, 3).map((disk) => {
    const image = disk.bytes.slice();
    image.set(bySpdk(1));
    return image;
  });
  const again = await assemble(images);
  expect(arrayOf(again, 'a').state).toBe('online');
  expect(arrayOf(again, 'a').slots.map(({ isInSync }) => isInSync)).toEqual([true, true, true, false, false]);
  // The second copy has slot 3 as current, which SPDK failed before it wrote again.
  for (const newSectors of [[0], [1]]) {
    const tornImages = images.map((image) => {
      const next = image.slice();
      next.set(bySpdk(2));
      const half = torn(image, next, newSectors);
      half[superblockBytes - 1]! ^= 1;
      return half;
    });
    const halves = await assemble(tornImages);
    expect(halves.arrays.list().length).toBe(0);
  }
});

it('deletion clears both copies', async () => {
  const { rig, disks } = await roundOf('raid1');
  expect(disks[0]!.bytes.subarray(secondAt, secondAt + superblockBytes)).toEqual(disks[0]!.bytes.subarray(0, superblockBytes));
  await rig.arrays.delete('a', { clearSuperblock: true });
  for (const disk of disks.slice(0, 4)) {
    expect(disk.bytes.subarray(0, superblockBytes).every((byte) => byte === 0)).toBe(true);
    expect(disk.bytes.subarray(secondAt, secondAt + superblockBytes).every((byte) => byte === 0)).toBe(true);
  }
});

it('another array of the same name and members does not come back from second copies', async () => {
  const { after } = await roundOf('raid1');
  // Made anew by a program that knows one copy only, with the uuid that it had.
  const parsed = parseSuperblock(after[0]!.subarray(0, 1024));
  if (!parsed.ok) throw new Error(parsed.message);
  const anew = { ...parsed.superblock, seqNumber: 1, name: 'anew' };
  const rig = await assemble(
    after.map((image) => {
      const bytes = image.slice(0, 3 * MiB);
      bytes.set(encodeSuperblock(anew));
      return bytes;
    }),
  );
  expect(rig.arrays.list().map(({ name }) => name)).toEqual(['anew']);
});

describe.each([
  { level: 'raid0', members: 2 },
  { level: 'raid1', members: 2 },
  { level: 'raid5f', members: 3 },
])('a $level, one of whose members cannot read block 0 any more,', ({ level, members }) => {
  /** Another process finds its disks; block 0 of m0 is unreadable until it is written. */
  async function found(data: number): Promise<{ rig: Rig; disks: RamDisk[] }> {
    const { rig: before, disks: used, volume } = await build(level, members);
    await volume.write(0, blocks(64, data));
    volume.descriptor.close();
    await before.arrays.stop();
    const rig = newRig();
    const disks: RamDisk[] = [];
    let isBad = true;
    for (const [index, { bytes }] of used.entries()) {
      const fault: RamDisk['fault'] = ({ offsetBlocks, type }) => {
        if (index !== 0 || offsetBlocks > 0) return Status.Ok;
        if (type === IoType.Write) isBad = false;
        return isBad && type === IoType.Read ? Status.IoError : Status.Ok;
      };
      disks.push(
        (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice(), fault })).disk,
      );
    }
    await rig.registry.waitForExamine();
    return { rig, disks };
  }

  it('waits for it, and takes it by its second superblock when a person says so', async () => {
    const { rig, disks } = await found(7);
    expect(arrayOf(rig, 'a').state).toBe('configuring');
    expect(rig.registry.get('m0')?.claimedBy).toBeNull();
    await rig.arrays.addBaseBdev('a', 'm0');
    await until(() => arrayOf(rig, 'a').state === 'online', 'the array is complete');
    expect(arrayOf(rig, 'a').numInSync).toBe(members);
    expect(rig.events.filter(({ type }) => type === 'processStarted')).toEqual([]);
    expect(await openVolume(rig, 'a').read(0, 64)).toEqual(blocks(64, 7));
    expect(superblockOf(disks[0]!).seqNumber).toBe(superblockOf(disks[1]!).seqNumber);
  });

  it('does not take what has no second superblock for a blank device', async () => {
    const { rig, disks } = await found(7);
    disks[0]!.bytes.fill(0xdb, secondAt, secondAt + 4096);
    const before = disks[0]!.bytes.slice();
    await expect(rig.arrays.addBaseBdev('a', 'm0')).rejects.toThrow();
    expect(Buffer.compare(disks[0]!.bytes, before)).toBe(0);
    expect(arrayOf(rig, 'a').state).toBe('configuring');
  });
});

import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf } from '../../../test/support/rig.js';

/** Blocks of a member that are reserved for what the array keeps there. */
const dataOffset = 2048;

function isWriteOfData(io: BdevIo): boolean {
  return (io.type === IoType.Write || io.type === IoType.WriteZeroes) && io.offsetBlocks >= dataOffset;
}

/** The device has no room for data that is written from this block of the member on. */
function fill(disk: RamDisk, from = 0): void {
  disk.fault = (io) => (isWriteOfData(io) && io.offsetBlocks >= dataOffset + from ? Status.NoSpace : Status.Ok);
}

function makeRoom(disk: RamDisk): void {
  disk.fault = () => Status.Ok;
}

const layouts = [
  ['raid0', 2],
  ['concat', 2],
  ['raid1', 2],
  ['raid5f', 3],
] as const;

describe.each(layouts)('%s over full devices', (level, members) => {
  it('answers ENOSPC to a FUA write that was refused, and keeps what it acknowledged before', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(64, 1));
    disks.forEach((disk) => fill(disk));
    await expect(volume.write(0, blocks(64, 2), { fua: true })).rejects.toThrow(/ENOSPC/);
    disks.forEach(makeRoom);
    await volume.flush();
    await volume.write(64, blocks(64, 3), { fua: true });
    await volume.flush();
    expect(await volume.read(64, 64)).toEqual(blocks(64, 3));
    expect(arrayOf(rig, 'a').state).toBe('online');
  });

  it('takes a flush that finds no space for a flush that failed', async () => {
    const { disks, volume } = await build(level, members);
    await volume.write(0, blocks(64, 1));
    for (const disk of disks) disk.fault = (io) => (io.type === IoType.Flush ? Status.NoSpace : Status.Ok);
    await expect(volume.flush()).rejects.toThrow(/EIO/);
    disks.forEach(makeRoom);
    // The devices may have dropped writes that they should keep: no later write replaces these.
    await expect(volume.flush()).rejects.toThrow(/EIO/);
    await expect(volume.write(0, blocks(64, 1), { fua: true })).rejects.toThrow(/EIO/);
  });
});

it('a FUA write whose flush fails for lack of space is no refused write', async () => {
  const { disks, volume } = await build('raid0', 2);
  await volume.write(0, blocks(64, 1));
  for (const disk of disks) disk.fault = (io) => (io.type === IoType.Flush ? Status.NoSpace : Status.Ok);
  await expect(volume.write(0, blocks(64, 2), { fua: true })).rejects.toThrow(/EIO/);
  disks.forEach(makeRoom);
  await expect(volume.flush()).rejects.toThrow(/EIO/);
});

describe.each([
  ['raid1', 2],
  ['raid5f', 3],
] as const)('%s: the first write to a region', (level, members) => {
  it('is refused with ENOSPC if no member has room for its zeros, and costs no member', async () => {
    const { rig, disks, volume } = await build(level, members);
    disks.forEach((disk) => fill(disk));
    await expect(volume.write(0, blocks(64, 1))).rejects.toThrow(/ENOSPC/);
    await expect(volume.write(0, blocks(64, 1), { fua: true })).rejects.toThrow(/ENOSPC/);
    expect(arrayOf(rig, 'a').numInSync).toBe(members);
    await volume.flush();
    expect(await volume.read(0, 64)).toEqual(blocks(64, 0));
    disks.forEach(makeRoom);
    await volume.write(0, blocks(64, 1), { fua: true });
    await volume.flush();
    expect(await volume.read(0, 64)).toEqual(blocks(64, 1));
    expect(arrayOf(rig, 'a').numInSync).toBe(members);
  });

  it('goes on without a member that alone has no room', async () => {
    const { rig, disks, volume } = await build(level, members);
    fill(disks[1]!);
    await volume.write(0, blocks(64, 1), { fua: true });
    await volume.flush();
    expect(arrayOf(rig, 'a').slots.map(({ isInSync }) => isInSync)).toEqual(disks.map((_, index) => index !== 1));
    expect(await volume.read(0, 64)).toEqual(blocks(64, 1));
  });
});

import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

interface Built {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

async function build(names: readonly string[], level = 'raid1', members = 2): Promise<Built> {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const [index, name] of names.entries()) {
    disks.push((await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) })).disk);
  }
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs: names.slice(0, members), superblock: true, ...strip });
  const volume = openVolume(rig, 'a');
  await volume.write(0, new Uint8Array(64 * 512).fill(1));
  return { rig, disks, volume };
}

function failWrites(disk: RamDisk): void {
  disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
}

it.each([
  ['raid1', 2],
  ['raid5f', 3],
] as const)(
  '%s: a spare takes the place of a member that fails, an array’s own before a shared one',
  async (level, members) => {
    const names = ['m0', 'm1', 'm2', 'shared', 'own'];
    const { rig, disks, volume } = await build(names, level, members);
    await rig.arrays.addSpare('shared');
    await rig.arrays.addSpare('own', 'a');
    expect(rig.registry.get('own')!.claimedBy).toBe('spare');
    failWrites(disks[0]!);
    await volume.write(0, new Uint8Array(512).fill(2));
    await until(
      () => arrayOf(rig, 'a').slots[0]!.name === 'own' && arrayOf(rig, 'a').numInSync === members,
      'the own spare is filled',
    );
    expect(rig.events).toContainEqual({ type: 'spareActivated', array: 'a', slot: 0, member: 'own' });
    failWrites(disks[1]!);
    await volume.write(0, new Uint8Array(64 * 512).fill(3));
    await until(
      () => arrayOf(rig, 'a').slots[1]!.name === 'shared' && arrayOf(rig, 'a').numInSync === members,
      'the shared spare is filled',
    );
    expect(rig.arrays.listSpares()).toEqual([]);
    expect(await volume.read(0, 64)).toEqual(new Uint8Array(64 * 512).fill(3));
  },
);

it('a member that vanishes has its time to come back, and then is given only what it missed', async () => {
  const { rig, disks, volume } = await build(['m0', 'm1', 'spare']);
  rig.arrays.setMemberOptions({ graceMs: 150 });
  await rig.arrays.addSpare('spare');
  await rig.registry.unregister(rig.registry.get('m1')!);
  await volume.write(0, new Uint8Array(512).fill(2));
  await plugIn(rig.registry, { name: 'm1', uuid: memberUuid(1), bytes: disks[1]!.bytes });
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'it is back');
  await new Promise((resolve) => setTimeout(resolve, 250));
  expect(rig.arrays.listSpares()).toEqual([{ bdev: 'spare', array: null }]);
  // This time it stays away.
  await rig.registry.unregister(rig.registry.get('m1')!);
  await until(() => arrayOf(rig, 'a').slots[1]!.name === 'spare' && arrayOf(rig, 'a').numInSync === 2, 'the spare is filled');
});

it('does nothing for a member that was removed on request, and serves an array that was degraded before', async () => {
  const { rig } = await build(['m0', 'm1', 'spare']);
  await rig.arrays.addSpare('spare');
  await rig.arrays.removeBaseBdev('m1');
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(arrayOf(rig, 'a').numDiscovered).toBe(1);
  rig.arrays.removeSpare('spare');
  expect(rig.registry.get('spare')!.claimedBy).toBeNull();
  const other = await build(['m0', 'm1', 'late']);
  failWrites(other.disks[1]!);
  await other.volume.write(0, new Uint8Array(512).fill(2));
  await until(() => arrayOf(other.rig, 'a').numDiscovered === 1, 'it is degraded');
  await other.rig.arrays.addSpare('late', 'a');
  await until(() => arrayOf(other.rig, 'a').numInSync === 2, 'the late spare is filled');
});

it('refuses what is somebody’s, too small for anybody, or unknown', async () => {
  const { rig } = await build(['m0', 'm1']);
  await expect(rig.arrays.addSpare('m0')).rejects.toThrow(/claimed/);
  await expect(rig.arrays.addSpare('nothing')).rejects.toThrow(/no bdev nothing/);
  await expect(rig.arrays.addSpare('m0', 'nothing')).rejects.toThrow(/no array nothing/);
  expect(() => rig.arrays.removeSpare('m0')).toThrow(/no spare m0/);
  const small = await plugIn(rig.registry, { name: 'small', uuid: memberUuid(7), bytes: new Uint8Array(2 * MiB) });
  await rig.arrays.addSpare('small');
  await rig.registry.unregister(rig.registry.get('m1')!);
  rig.arrays.setMemberOptions({ graceMs: 0 });
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(rig.arrays.listSpares()).toEqual([{ bdev: 'small', array: null }]);
  await rig.registry.unregister(small.bdev);
  expect(rig.arrays.listSpares()).toEqual([]);
});

it('a spare is kept beside an array that is only read and lacks a member', async () => {
  const { rig, disks, volume } = await build(['m0', 'm1']);
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig();
  await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: disks[0]!.bytes.slice() });
  await again.arrays.startDegraded('a', { readOnly: true });
  await plugIn(again.registry, { name: 'spare', uuid: memberUuid(2), bytes: new Uint8Array(3 * MiB) });
  await again.arrays.addSpare('spare');
  for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(again.arrays.listSpares().map(({ bdev }) => bdev)).toEqual(['spare']);
  expect(again.registry.get('spare')!.claimedBy).toBe('spare');
});

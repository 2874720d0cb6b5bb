import { findSignature } from '@raidkit/signatures';
import { BdevRegistry, IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { raid1 } from '@raidkit/raid1';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { RamDisk, plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

it.each(['raid1', 'raid5f'])('%s: a slot may be left empty at creation, and be filled later', async (level) => {
  const rig = newRig();
  for (let index = 0; index < 3; index++)
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', null, 'm2'], superblock: true, ...strip });
  const volume = openVolume(rig, 'a');
  const data = new Uint8Array(128 * 512).fill(7);
  await volume.write(0, data);
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(rig, 'a').numInSync === 3, 'it is filled');
  await rig.arrays.removeBaseBdev('m0');
  expect(await volume.read(0, 128)).toEqual(data);
});

it('too many empty slots are refused, and those of an array without superblocks', async () => {
  const rig = newRig();
  await plugIn(rig.registry, { name: 'm0', uuid: memberUuid(0), bytes: new Uint8Array(3 * MiB) });
  const make = (level: string, baseBdevs: (string | null)[], superblock: boolean) => {
    return rig.arrays.create({ name: 'a', level, baseBdevs, superblock, ...(level === 'raid1' ? {} : { stripSizeKb: 16 }) });
  };
  await expect(make('raid5f', ['m0', null, null], true)).rejects.toThrow(/1 of 3 members are given, but 2 are needed/);
  await expect(make('raid0', ['m0', null], true)).rejects.toThrow(/2 are needed/);
  await expect(make('raid1', ['m0', null], false)).rejects.toThrow(/only an array with superblocks/);
});

it('an array that is started read-only leaves not a byte on its members', async () => {
  for (const level of ['raid1', 'raid5f']) {
    const rig = newRig();
    const images: Uint8Array[] = [];
    for (let index = 0; index < 3; index++) {
      images.push(new Uint8Array(3 * MiB));
      await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: images[index]! });
    }
    const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
    await rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', 'm1', 'm2'], superblock: true, ...strip });
    const data = new Uint8Array(64 * 512).fill(7);
    await openVolume(rig, 'a').write(0, data);
    // The array has crashed, and slot 1 does not come back.
    const again = newRig();
    const left = [images[0]!.slice(), images[2]!.slice()];
    await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: left[0]! });
    await plugIn(again.registry, { name: 'm2', uuid: memberUuid(2), bytes: left[1]! });
    await again.registry.waitForExamine();
    await again.arrays.startDegraded('a', { readOnly: true });
    const bdev = again.registry.get('a')!;
    expect(bdev.isReadOnly).toBe(true);
    expect(() => again.registry.open('a', { writable: true })).toThrow(/read-only/);
    const { BlockClient } = await import('@raidkit/bdev');
    const reader = new BlockClient(again.registry.open('a'));
    if (level === 'raid1') expect(await reader.read(0, 64)).toEqual(data);
    else await expect(reader.read(32, 1)).rejects.toThrow();
    expect(() => again.arrays.startSync('a', 'check')).toThrow(/read-only/);
    reader.descriptor.close();
    await again.arrays.stop();
    expect(Buffer.compare(left[0]!, images[0]!)).toBe(0);
    expect(Buffer.compare(left[1]!, images[2]!)).toBe(0);
  }
});

it('devices that carry data are refused, unless forced; a wiped one is taken', async () => {
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes: 64 << 20 }));
  const modules = new RaidModuleRegistry();
  modules.register(raid1);
  const arrays = new RaidArrays({ registry, modules, store: spdkSuperblockStore, findSignature });
  const xfs = new Uint8Array(3 * MiB);
  xfs.set(Buffer.from('XFSB'));
  await plugIn(registry, { name: 'm0', uuid: memberUuid(0), bytes: new Uint8Array(3 * MiB) });
  await plugIn(registry, { name: 'm1', uuid: memberUuid(1), bytes: xfs });
  const options = { name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true };
  const before = xfs.slice();
  await expect(arrays.create(options)).rejects.toThrow(/m1 has an XFS file system/);
  await expect(arrays.addSpare('m1')).rejects.toThrow(/m1 has an XFS file system/);
  expect(Buffer.compare(xfs, before)).toBe(0);
  // Without superblocks nothing is overwritten by the creation itself.
  await arrays.create({ ...options, superblock: false });
  await arrays.delete('a');
  expect(Buffer.compare(xfs, before)).toBe(0);
  await arrays.create({ ...options, force: true });
  await arrays.delete('a');
  await expect(arrays.create({ ...options, name: 'b' })).rejects.toThrow(/has the superblock of array a/);
  await arrays.wipe('m0');
  await arrays.wipe('m1');
  await arrays.create({ ...options, name: 'b' });
  await expect(arrays.wipe('m0')).rejects.toThrow(/claimed/);
});

it.each(['raid1', 'raid10'])(
  '%s: a new array that loses a member is not on record before its write-intent bitmap is',
  async (level) => {
    const rig = newRig();
    const disks: RamDisk[] = [];
    for (let index = 0; index < 3; index++) {
      // An earlier array has left this.
      const bytes = new Uint8Array(3 * MiB).fill(0x5a, MiB);
      disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
    }
    // Pages of the write-intent bitmap are in blocks 256 to 511, 8 each. That of m2 cannot be written, and the others are on their way.
    for (const [index, disk] of disks.entries()) {
      disk.fault = ({ numBlocks, offsetBlocks, type }) => {
        const isPage = type === IoType.Write && numBlocks === 8 && offsetBlocks >= 256 && offsetBlocks < 512;
        if (!isPage) return Status.Ok;
        return index === 2 ? Status.IoError : null;
      };
    }
    const options = level === 'raid1' ? {} : { stripSizeKb: 16, options: { copies: 3 } };
    const created = rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', 'm1', 'm2'], superblock: true, ...options });
    await until(() => disks[0]!.held.length > 0 && disks[1]!.held.length > 0, 'the pages are on their way');
    for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
    const images = disks.map(({ bytes }) => bytes.slice());
    for (const disk of disks.slice(0, 2)) {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    }
    await created;
    expect(arrayOf(rig, 'a').numInSync).toBe(2);
    expect(await openVolume(rig, 'a').read(0, 128)).toEqual(new Uint8Array(128 * 512));
    // A crash before that: there is no array.
    const again = newRig();
    for (const [index, bytes] of images.entries())
      await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    await again.registry.waitForExamine();
    expect(again.arrays.list().map(({ name }) => name)).toEqual([]);
  },
);

const blank = (): Uint8Array => new Uint8Array(3 * MiB);

function add(to: Rig, index: number, bytes: Uint8Array, more: { name?: string; fault?: RamDisk['fault'] } = {}) {
  return plugIn(to.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, ...more });
}

/** Does something with m1, of these bytes, which is being examined meanwhile: that ends while the call that takes it still reads. */
async function whileExamined<T>(rig: Rig, bytes: Uint8Array, take: () => Promise<T>): Promise<T> {
  const reads: BdevIo[] = [];
  const examined = add(rig, 1, bytes, { fault: (io) => (reads.length < 2 ? (reads.push(io), null) : Status.Ok) });
  const taken = take();
  taken.catch(() => undefined);
  await until(() => reads.length === 2, 'both read');
  const [byExamination, byTaker] = reads as [BdevIo, BdevIo];
  const disk = rig.registry.get('m1')?.driver;
  if (!(disk instanceof RamDisk)) throw new Error('m1 is no RAM disk');
  disk.finish(byExamination, Status.Ok);
  await examined;
  disk.finish(byTaker, Status.Ok);
  return taken;
}

it.each<{ what: string; isFull?: boolean; take: (arrays: RaidArrays) => Promise<unknown> }>([
  { what: 'a spare', take: (arrays) => arrays.addSpare('m1') },
  { what: 'a member of another array', take: (arrays) => arrays.addBaseBdev('b', 'm1') },
  { what: 'one more copy', isFull: true, take: (arrays) => arrays.growBaseBdev('b', 'm1') },
  { what: 'a replacement', isFull: true, take: (arrays) => arrays.replaceBaseBdev('b', 'm2', 'm1') },
  {
    what: 'a member of a new array, by force, which another device keeps from being',
    take: (arrays) => arrays.create({ name: 'c', level: 'raid1', baseBdevs: ['m1', 'small'], superblock: true, force: true }),
  },
])('$what: a member of another array that is refused while it is being examined comes to its own', async ({ isFull, take }) => {
  const images = [blank(), blank()];
  const rig = newRig();
  for (const [index, bytes] of images.entries()) await add(rig, index, bytes);
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  await rig.arrays.stop();

  const again = newRig();
  for (const index of [2, 3]) await add(again, index, blank());
  await add(again, 4, new Uint8Array(MiB), { name: 'small' });
  const baseBdevs = isFull === true ? ['m2', 'm3'] : ['m2', 'm3', null];
  await again.arrays.create({ name: 'b', level: 'raid1', baseBdevs, superblock: true });
  await add(again, 0, images[0]!);
  const taken = whileExamined(again, images[1]!, () => take(again.arrays));
  await expect(taken).rejects.toThrow(/m1 has the superblock of array a|small/);
  await until(() => again.arrays.get('a')?.numInSync === 2, 'the array has its member');
  await again.arrays.stop();
});

it('a member that was taken while it was examined is not examined when its array has been deleted and another one refuses it', async () => {
  const rig = newRig();
  await add(rig, 0, blank());
  const options = { name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true };
  await whileExamined(rig, blank(), () => rig.arrays.create(options));
  await rig.arrays.delete('a');
  await expect(rig.arrays.addSpare('m1')).rejects.toThrow(/has the superblock of array a/);
  await new Promise((resolve) => void setTimeout(resolve, 20));
  await rig.registry.waitForExamine();
  expect(rig.arrays.list()).toEqual([]);
});

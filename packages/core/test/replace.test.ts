import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { seqStep } from '@raidkit/core';
import { parseSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { BlockModel, taggedBlocks, tagsOf } from '../../../test/support/block-model.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const blockSize = 512;

interface Built {
  rig: Rig;
  disks: Map<string, RamDisk>;
  volume: BlockClient;
  model: BlockModel;
}

async function build(level: string, members: number): Promise<Built> {
  const rig = newRig();
  rig.arrays.setProcessOptions({ windowSizeKb: 256 });
  const disks = new Map<string, RamDisk>();
  const plug = async (name: string, index: number, fill: number): Promise<void> => {
    const bytes = new Uint8Array(5 * MiB).fill(fill);
    disks.set(name, (await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes })).disk);
  };
  for (let index = 0; index < members; index++) await plug(`m${index}`, index, 0);
  await plug('new', 9, 0xee);
  const baseBdevs = Array.from({ length: members }, (_, index) => `m${index}`);
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, ...strip });
  const volume = openVolume(rig, 'a');
  // A part of the volume is left unwritten.
  const numBlocks = Math.floor((volume.numBlocks * 5) / 8);
  const model = new BlockModel(volume.numBlocks);
  await write(volume, model, 0, numBlocks, 1);
  return { rig, disks, volume, model };
}

async function write(volume: BlockClient, model: BlockModel, offset: number, count: number, tag: number): Promise<void> {
  model.submitted(offset, count, tag);
  await volume.write(offset, taggedBlocks(offset, count, tag, blockSize));
  model.batchDone([{ offset, count, tag, mayKeep: false }]);
}

async function verify(volume: BlockClient, model: BlockModel, what: string): Promise<void> {
  const tags = tagsOf(await volume.read(0, model.numBlocks), 0, blockSize, what);
  tags.forEach((tag, block) => model.check(block, tag, what));
}

/** Writes to random offsets until it is stopped. */
function writer({ volume, model }: Built): { stop: () => Promise<void> } {
  let isOver = false;
  const done = (async () => {
    for (let tag = 2; !isOver; tag++) {
      const offset = (tag * 911) % (volume.numBlocks - 70);
      await write(volume, model, offset, 1 + (tag % 67), tag);
    }
  })();
  return {
    stop: () => {
      isOver = true;
      return done;
    },
  };
}

async function restart(disks: Map<string, RamDisk>, names: readonly string[], broken?: string): Promise<Rig> {
  const rig = newRig();
  for (const [name, disk] of disks) {
    if (!names.includes(name) || name === broken) continue;
    const index = name === 'new' ? 9 : Number(name.slice(1));
    await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes: disk.bytes.slice() });
  }
  await rig.registry.waitForExamine();
  return rig;
}

describe.each([
  ['raid1', 2],
  ['raid5f', 4],
] as const)('%s', (level, members) => {
  it('copies a member to its successor while users write, and then the two change places', async () => {
    const built = await build(level, members);
    const { rig, disks, volume, model } = built;
    const users = writer(built);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await arrayOf(rig, 'a').processEnded;
    await users.stop();
    const array = arrayOf(rig, 'a');
    expect(array.history[0]).toMatchObject({ type: 'replace', error: null });
    expect([array.slots[1]!.name, array.numInSync]).toEqual(['new', members]);
    expect([rig.registry.get('m1')!.claimedBy, rig.registry.get('new')!.claimedBy]).toEqual([null, 'raid array a']);
    await write(volume, model, 100, 40, 100_000);
    await verify(volume, model, 'after the replacement');
    rig.arrays.startSync('a', 'check');
    await array.processEnded;
    expect(array.history[0]).toMatchObject({ type: 'check', mismatchBlocks: 0 });
    // Only the new device has the record: the array starts with it instead of another member, and ignores the old device.
    await volume.flush();
    const names = [...disks.keys()];
    const again = await restart(disks, names);
    expect(arrayOf(again, 'a').slots[1]!.name).toBe('new');
    expect(again.registry.get('m1')!.claimedBy).toBeNull();
    const old = await restart(disks, ['m1']);
    expect(old.arrays.get('a'), 'the old one alone is no member').toBeUndefined();
    await rig.arrays.removeBaseBdev('m0');
    await verify(volume, model, 'without another member');
    // It is a member like the others now: pulled out, it leaves.
    await rig.arrays.addBaseBdev('a', 'm0');
    await until(() => array.numInSync === members, 'the other one is back');
    await rig.registry.unregister(rig.registry.get('new')!);
    expect(array.numInSync).toBe(members - 1);
    await verify(volume, model, 'without the new one');
  });

  it('is replaced once more while the one before it is still being cleared', async () => {
    const { rig, disks, volume, model } = await build(level, members);
    await plugIn(rig.registry, { name: 'newer', uuid: memberUuid(10), bytes: new Uint8Array(5 * MiB).fill(0xee) });
    const array = arrayOf(rig, 'a');
    const old = disks.get('m1')!;
    let isSlow = true;
    old.fault = ({ type }) => (isSlow && array.slots[1]!.name === 'new' && type !== IoType.Read ? null : Status.Ok);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await until(() => old.held.length > 0, 'it has taken the place');
    await rig.arrays.replaceBaseBdev('a', 'new', 'newer');
    // What is written now is on the device that has the place in the end.
    await write(volume, model, 3, 40, 7);
    isSlow = false;
    for (const io of old.held.splice(0)) old.finish(io, Status.Ok);
    await until(() => array.slots[1]!.name === 'newer' && array.process === null, 'the second one has taken it');
    expect(['m1', 'new'].map((name) => rig.registry.get(name)!.claimedBy)).toEqual([null, null]);
    await rig.arrays.removeBaseBdev('m0');
    await verify(volume, model, 'without another member');
  });

  it('a superblock that cannot be written to it leaves the old member in its place', async () => {
    const { rig, disks, volume, model } = await build(level, members);
    disks.get('new')!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 0 ? Status.IoError : Status.Ok);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    const array = arrayOf(rig, 'a');
    await array.processEnded;
    await until(() => array.slots[1]!.descriptor === null || array.slots[1]!.name === 'm1', 'it is decided');
    await write(volume, model, 10, 100, 5);
    await verify(volume, model, 'after the failure');
    expect([rig.registry.get('m1')!.claimedBy === null, rig.registry.get('new')!.claimedBy]).toEqual([
      array.slots[1]!.name !== 'm1',
      null,
    ]);
    await volume.flush();
    const again = await restart(disks, [...disks.keys()]);
    await arrayOf(again, 'a').processEnded;
    await verify(openVolume(again, 'a'), model, 'after a restart');
  });

  it('a successor that fails changes nothing', async () => {
    const built = await build(level, members);
    const { rig, disks, volume, model } = built;
    disks.get('new')!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks > 4000 ? Status.IoError : Status.Ok);
    const users = writer(built);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await arrayOf(rig, 'a').processEnded;
    await users.stop();
    const array = arrayOf(rig, 'a');
    expect(array.history[0]!.error).toMatch(/EIO/);
    expect([array.slots[1]!.name, array.numInSync, rig.registry.get('new')!.claimedBy]).toEqual(['m1', members, null]);
    await verify(volume, model, 'after the failure');
  });

  it('a successor that is pulled out changes nothing, nor does stopping the array', async () => {
    const { rig, disks, volume, model } = await build(level, members);
    disks.get('new')!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks > 4000 ? null : Status.Ok);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await until(() => disks.get('new')!.held.length > 0, 'copying is under way');
    const gone = rig.registry.unregister(rig.registry.get('new')!);
    for (const io of disks.get('new')!.held.splice(0)) disks.get('new')!.finish(io, Status.NoDevice);
    await gone;
    await arrayOf(rig, 'a').processEnded;
    expect([arrayOf(rig, 'a').slots[1]!.name, arrayOf(rig, 'a').numInSync]).toEqual(['m1', members]);
    await verify(volume, model, 'after it was pulled out');
    const { disk } = await plugIn(rig.registry, { name: 'second', uuid: memberUuid(8), bytes: new Uint8Array(5 * MiB) });
    disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks > 4000 ? null : Status.Ok);
    await rig.arrays.replaceBaseBdev('a', 'm0', 'second');
    await until(() => disk.held.length > 0, 'copying is under way');
    volume.descriptor.close();
    const stopped = rig.arrays.delete('a');
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    disk.fault = () => Status.Ok;
    await stopped;
    expect(rig.registry.get('second')!.claimedBy).toBeNull();
  });

  it('a member that fails while it is copied is rebuilt on its successor', async () => {
    const built = await build(level, members);
    const { rig, disks, volume, model } = built;
    disks.get('new')!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks > 4000 ? null : Status.Ok);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await until(() => disks.get('new')!.held.length > 0, 'copying is under way');
    disks.get('m1')!.fault = () => Status.IoError;
    await write(volume, model, 0, 200, 77);
    disks.get('new')!.fault = () => Status.Ok;
    for (const io of disks.get('new')!.held.splice(0)) disks.get('new')!.finish(io, Status.Ok);
    await until(() => arrayOf(rig, 'a').numInSync === members && arrayOf(rig, 'a').slots[1]!.name === 'new', 'it is rebuilt');
    await arrayOf(rig, 'a').processEnded;
    await verify(volume, model, 'after the rebuild');
    await rig.arrays.removeBaseBdev('m0');
    await verify(volume, model, 'without another member');
  });

  it('a crash when the new one alone knows that it is a member finds either, whichever is seen first, then and later', async () => {
    const { rig, disks, model } = await build(level, members);
    const { fault } = disks.get('m0')!;
    let image: Map<string, Uint8Array> | null = null;
    // Nothing is written to the superblock at the beginning of another member before the new one has its own.
    disks.get('m0')!.fault = (io) => {
      if (io.type === IoType.Write && io.offsetBlocks === 0) {
        image ??= new Map([...disks].map(([name, { bytes }]) => [name, bytes.slice()]));
      }
      return fault(io);
    };
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await until(() => arrayOf(rig, 'a').process !== null, 'it is under way');
    image = null;
    await arrayOf(rig, 'a').processEnded;
    const found = image as Map<string, Uint8Array> | null;
    expect(parseSuperblock(found!.get('new')!.subarray(0, 16_896)).ok).toBe(true);
    const names = [...found!.keys()];
    for (const order of [names, ['new', ...names.filter((name) => name !== 'new')]]) {
      const own = new BlockModel(model.numBlocks);
      const again = newRig({ memoryBytes: 24 * MiB });
      const plugged = new Map<string, RamDisk>();
      for (const name of order) {
        const uuid = memberUuid(name === 'new' ? 9 : Number(name.slice(1)));
        plugged.set(name, (await plugIn(again.registry, { name, uuid, bytes: found!.get(name)!.slice() })).disk);
      }
      await again.registry.waitForExamine();
      expect(arrayOf(again, 'a').numInSync).toBe(members);
      const opened = openVolume(again, 'a');
      await verify(opened, model, 'at once');
      await write(opened, own, 0, own.numBlocks, 99);
      // With inconsistent regions it would not be started without a member.
      await until(() => arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'redundancy agrees');
      opened.descriptor.close();
      await again.arrays.stop();
      // The device that was not used may appear first the next time.
      for (const later of [
        order,
        ['new', ...names.filter((name) => name !== 'new')],
        ['m1', ...names.filter((name) => name !== 'm1')],
      ]) {
        const third = newRig({ memoryBytes: 24 * MiB });
        for (const name of later) {
          const uuid = memberUuid(name === 'new' ? 9 : Number(name.slice(1)));
          await plugIn(third.registry, { name, uuid, bytes: plugged.get(name)!.bytes.slice() });
        }
        await third.registry.waitForExamine();
        await until(() => arrayOf(third, 'a').state === 'online', 'it is up');
        await verify(openVolume(third, 'a'), own, `later, ${later.join(' ')}`);
      }
    }
  });

  it('a crash at any point finds the old one, or the new one, with everything', async () => {
    const built = await build(level, members);
    const { rig, disks, model } = built;
    const images: Map<string, Uint8Array>[] = [];
    // Copies of all disks at many moments, while I/O is in flight.
    for (const disk of disks.values()) {
      let count = 0;
      const before = disk.fault;
      disk.fault = (io) => {
        const isLate = arrayOf(rig, 'a').process === null || (arrayOf(rig, 'a').process?.offsetBlocks ?? 0) > 3000;
        if (isLate && io.type !== IoType.Read && count++ % 5 === 0 && images.length < 40) {
          images.push(new Map([...disks].map(([name, { bytes }]) => [name, bytes.slice()])));
        }
        return before(io);
      };
    }
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await arrayOf(rig, 'a').processEnded;
    expect(arrayOf(rig, 'a').slots[1]!.name).toBe('new');
    expect(images.length).toBeGreaterThan(5);
    for (const image of images) {
      const again = newRig({ memoryBytes: 24 * MiB });
      for (const [name, bytes] of image)
        await plugIn(again.registry, { name, uuid: memberUuid(name === 'new' ? 9 : Number(name.slice(1))), bytes });
      await again.registry.waitForExamine();
      const array = arrayOf(again, 'a');
      expect(array.numInSync).toBe(members);
      const reader = openVolume(again, 'a');
      await verify(reader, model, `with ${String(array.slots[1]!.name)}`);
      // Regions that were being written are inconsistent until the resync has covered them.
      await array.processEnded;
      await again.arrays.removeBaseBdev('m0');
      await verify(reader, model, `with ${String(array.slots[1]!.name)}, without m0`);
    }
    // There are forty starts, each with a resync.
  }, 240_000);
});

it('a former member of another slot may be the successor: the superblock names it once', async () => {
  const { rig, disks, volume, model } = await build('raid1', 3);
  disks.get('m0')!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
  await write(volume, model, 0, 8, 5);
  await until(() => arrayOf(rig, 'a').slots[0]!.descriptor === null, 'm0 is out');
  disks.get('m0')!.fault = () => Status.Ok;
  await rig.arrays.replaceBaseBdev('a', 'm1', 'm0');
  await arrayOf(rig, 'a').processEnded;
  expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual([null, 'm0', 'm2']);
  await volume.flush();
  const again = await restart(disks, ['m0', 'm2']);
  expect(arrayOf(again, 'a').slots.map(({ name }) => name)).toEqual([null, 'm0', 'm2']);
  await verify(openVolume(again, 'a'), model, 'after a restart');
});

it('refuses what cannot be', async () => {
  const { rig } = await build('raid1', 2);
  await expect(rig.arrays.replaceBaseBdev('a', 'm7', 'new')).rejects.toThrow(/no member m7/);
  await expect(rig.arrays.replaceBaseBdev('a', 'm1', 'nothing')).rejects.toThrow(/no bdev nothing/);
  await expect(rig.arrays.replaceBaseBdev('a', 'm1', 'm0')).rejects.toThrow(/claimed/);
  await plugIn(rig.registry, { name: 'small', uuid: memberUuid(7), bytes: new Uint8Array(4 * MiB) });
  await expect(rig.arrays.replaceBaseBdev('a', 'm1', 'small')).rejects.toThrow(/are needed/);
});

/** Four disks and a raid5f over the first three, with blocks 0 to 1999 written and flushed. */
async function raid5fAndSuccessor(): Promise<{ rig: Rig; disks: Map<string, RamDisk> }> {
  const rig = newRig();
  const disks = new Map<string, RamDisk>();
  for (const [name, index] of successorSlots) {
    const bytes = new Uint8Array(5 * MiB);
    disks.set(name, (await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.arrays.create({ name: 'a', level: 'raid5f', baseBdevs: ['m0', 'm1', 'm2'], superblock: true, stripSizeKb: 16 });
  const volume = openVolume(rig, 'a');
  await volume.write(0, new Uint8Array(2000 * 512).fill(8));
  await volume.flush();
  return { rig, disks };
}

const successorSlots = [
  ['m0', 0],
  ['m1', 1],
  ['m2', 2],
  ['new', 9],
] as const;

/** The array as it comes up from what was on the disks when the power failed. */
async function afterCrash(image: ReadonlyMap<string, Uint8Array>, without: readonly string[]): Promise<Rig> {
  const rig = newRig();
  for (const [name, index] of successorSlots) {
    const bytes = image.get(name);
    if (bytes !== undefined && !without.includes(name)) await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes });
  }
  await rig.registry.waitForExamine();
  if (arrayOf(rig, 'a').state !== 'online') await rig.arrays.startDegraded('a');
  return rig;
}

const imageOf = (disks: ReadonlyMap<string, RamDisk>): Map<string, Uint8Array> =>
  new Map([...disks].map(([name, { bytes }]) => [name, bytes.slice()]));

it.each([false, true])(
  'a successor that takes no superblock is named by no superblock, also if the power fails then (degraded before: %s)',
  async (isDegraded) => {
    const { rig, disks } = await raid5fAndSuccessor();
    if (isDegraded) await rig.arrays.removeBaseBdev('m2');
    let hasFailed = false;
    let isWritten = false;
    let image: Map<string, Uint8Array> | null = null;
    disks.get('new')!.fault = ({ type, offsetBlocks }) => {
      if (type !== IoType.Write || offsetBlocks !== 0) return Status.Ok;
      hasFailed = true;
      return Status.IoError;
    };
    // The power fails when the next superblock is on m0.
    disks.get('m0')!.fault = ({ type, offsetBlocks }) => {
      if (hasFailed && isWritten) image ??= imageOf(disks);
      if (hasFailed && type === IoType.Write && offsetBlocks === 0) isWritten = true;
      return Status.Ok;
    };
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await arrayOf(rig, 'a').processEnded;
    await until(() => image !== null, 'a superblock has been written since');
    const again = await afterCrash(image!, isDegraded ? ['m2'] : []);
    expect(await openVolume(again, 'a').read(0, 64)).toEqual(new Uint8Array(64 * 512).fill(8));
  },
);

it('two members do not change places while an update is under way', async () => {
  const { rig, disks } = await raid5fAndSuccessor();
  const array = arrayOf(rig, 'a');
  const successor = disks.get('new')!;
  const m1 = disks.get('m1')!;
  const header = { from: (64 << 10) / 512, to: (128 << 10) / 512 };
  let isRemoved = false;
  successor.fault = ({ type, offsetBlocks }) => {
    if (type === IoType.Write && offsetBlocks >= MiB / 512 && array.process !== null && !isRemoved) {
      isRemoved = true;
      void rig.arrays.removeBaseBdev('m2');
    }
    // Writes of pages of its bitmap are slow.
    return isRemoved && type === IoType.Write && offsetBlocks >= header.to && offsetBlocks < 512 ? null : Status.Ok;
  };
  m1.fault = ({ type, offsetBlocks }) =>
    isRemoved && type === IoType.Write && offsetBlocks >= header.from && offsetBlocks < header.to ? null : Status.Ok;
  await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
  await until(() => m1.held.length > 0, 'the departure is being recorded');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(array.slots[1]!.name).toBe('m1');
  m1.fault = () => Status.Ok;
  for (const io of m1.held.splice(0)) m1.finish(io, Status.Ok);
  await until(() => array.slots[1]!.name === 'new' || array.process === null, 'they change places');
  const image = imageOf(disks);
  successor.fault = () => Status.Ok;
  for (const io of successor.held.splice(0)) successor.finish(io, Status.Ok);
  await array.processEnded;
  const again = await afterCrash(image, ['m2']);
  expect(await openVolume(again, 'a').read(0, 64)).toEqual(new Uint8Array(64 * 512).fill(8));
});

it('a member that lost a flush has lost it still when its replacement could not take its place', async () => {
  const { disks, rig, volume } = await build('raid1', 2);
  await rig.arrays.removeBaseBdev('m1');
  const [slot] = arrayOf(rig, 'a').slots;
  disks.get('m0')!.fault = ({ type }) => (type === IoType.Flush ? Status.IoError : Status.Ok);
  await expect(volume.flush()).rejects.toThrow();
  expect(slot!.hasLostFlush).toBe(true);
  disks.get('m0')!.fault = () => Status.Ok;
  // This is its superblock.
  disks.get('new')!.fault = ({ offsetBlocks, type }) =>
    type === IoType.Write && offsetBlocks === 0 ? Status.IoError : Status.Ok;
  await rig.arrays.replaceBaseBdev('a', 'm0', 'new');
  await until(() => arrayOf(rig, 'a').history.some(({ type }) => type === 'replace'), 'the replacement has ended');
  expect(slot).toMatchObject({ name: 'm0', hasLostFlush: true });
});

/** The sequence number of the superblock on a member. */
function numberOf(bytes: Uint8Array): number {
  const found = parseSuperblock(bytes.subarray(0, 4096));
  if (!found.ok) throw new Error('there is no superblock');
  return found.superblock.seqNumber;
}

it('a device of which the exchange was cut short is older than what the array has written since', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.flush();
  const isFor = (io: { type: IoType; offsetBlocks: number }): boolean => io.type === IoType.Write && io.offsetBlocks === 0;
  // The machine stops when the new device alone has the superblock that names it.
  const images = new Map<string, Uint8Array>();
  disks.get('m0')!.fault = (io) => {
    if (!isFor(io)) return Status.Ok;
    if (images.size === 0) for (const [name, { bytes }] of disks) images.set(name, bytes.slice());
    return null;
  };
  const replaced = rig.arrays.replaceBaseBdev('a', 'm1', 'new').catch(() => undefined);
  await until(() => images.size > 0, 'the superblocks are being written');
  const uuidOf = (name: string): string => memberUuid(name === 'new' ? 9 : Number(name.slice(1)));
  expect(['new', 'm0'].map((name) => numberOf(images.get(name)!))).toEqual([2 * seqStep, seqStep]);
  const next = newRig();
  const copies = new Map<string, RamDisk>();
  for (const name of ['m0', 'm1'])
    copies.set(name, (await plugIn(next.registry, { name, uuid: uuidOf(name), bytes: images.get(name)! })).disk);
  await until(() => next.arrays.get('a')?.state === 'online', 'it is online without the new device');
  const again = openVolume(next, 'a');
  await again.write(5, taggedBlocks(5, 1, 77, blockSize));
  again.descriptor.close();
  await next.arrays.stop();
  // This start is without m0, and finds the new device first.
  const last = newRig();
  await plugIn(last.registry, { name: 'new', uuid: uuidOf('new'), bytes: images.get('new')! });
  await plugIn(last.registry, { name: 'm1', uuid: uuidOf('m1'), bytes: copies.get('m1')!.bytes.slice() });
  await last.arrays.startDegraded('a');
  expect(arrayOf(last, 'a').slots.map(({ name }) => name)).toEqual([null, 'm1']);
  expect(tagsOf(await openVolume(last, 'a').read(5, 1), 5, blockSize, 'the last start')).toEqual([77]);
  disks.get('m0')!.fault = () => Status.Ok;
  for (const io of disks.get('m0')!.held.splice(0)) disks.get('m0')!.finish(io, Status.Ok);
  await replaced;
});

import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BlockClient } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { BlockModel, taggedBlocks, tagsOf } from '../../../test/support/block-model.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { putTogether } from '../../../test/support/put-together.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, takeMemory, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const blockSize = 512;
/** Blocks of a strip, and of the stripes that the tests write to. */
const strip = 32;

interface Degraded {
  rig: Rig;
  /** The slots of the members that are left. */
  disks: Map<number, RamDisk>;
  volume: BlockClient;
  model: BlockModel;
}

/** An array whose first stripes are written, and which lost a member while it was up. */
async function degraded(members: number, lost: number, level: 'raid5f' | 'raid6' = 'raid5f'): Promise<Degraded> {
  const rig = newRig({ memoryBytes: 24 * MiB });
  const disks = new Map<number, RamDisk>();
  for (let index = 0; index < members; index++) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(2 * MiB) });
    disks.set(index, disk);
  }
  const baseBdevs = Array.from({ length: members }, (_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, stripSizeKb: (strip * blockSize) / 1024 });
  const volume = openVolume(rig, 'a');
  const numBlocks = strip * (members - (level === 'raid6' ? 2 : 1)) * members;
  const model = new BlockModel(numBlocks);
  await volume.write(0, taggedBlocks(0, numBlocks, 1, blockSize));
  model.submitted(0, numBlocks, 1);
  model.batchDone([{ offset: 0, count: numBlocks, tag: 1, mayKeep: false }]);
  await rig.arrays.removeBaseBdev(`m${lost}`);
  disks.delete(lost);
  return { rig, disks, volume, model };
}

/** Starts anew with copies of the images, and compares everything with the model. */
async function restart(
  { disks, model }: Degraded,
  options: { broken?: (disk: RamDisk, index: number, rig: Rig) => void } = {},
): Promise<Rig> {
  const again = newRig({ memoryBytes: 24 * MiB });
  // Copied at one moment, as the process before is still there.
  const images = [...disks].map(([index, { bytes }]) => [index, bytes.slice()] as const);
  for (const [index, bytes] of images) {
    const { disk } = await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    options.broken?.(disk, index, again);
  }
  await again.registry.waitForExamine();
  const volume = openVolume(again, 'a');
  const tags = tagsOf(await volume.read(0, model.numBlocks), 0, blockSize, 'after the crash');
  tags.forEach((tag, block) => model.settle(block, tag, 'after the crash'));
  volume.descriptor.close();
  return again;
}

/** Returns a function that writes one block. */
function writerOf({ model, volume }: Degraded): (block: number, tag: number) => Promise<void> {
  return async (block, tag) => {
    model.submitted(block, 1, tag);
    await volume.write(block, taggedBlocks(block, 1, tag, blockSize));
    model.batchDone([{ offset: block, count: 1, tag, mayKeep: false }]);
  };
}

const changes: ReadonlySet<number> = new Set([IoType.Write, IoType.WriteZeroes, IoType.Unmap]);

/** Holds back what is written to the data area of these members. */
function hold({ disks }: Degraded, isHeld: (index: number) => boolean): void {
  for (const [index, disk] of disks) {
    disk.fault = (io) => (changes.has(io.type) && io.offsetBlocks >= 2048 && isHeld(index) ? null : Status.Ok);
  }
}

/** Runs so many turns that everything that can happen has happened. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const writes = [
  { what: 'one block', offset: 5, count: 1 },
  { what: 'a part of one strip', offset: strip + 3, count: 20 },
  { what: 'a part of several strips', offset: 10, count: 2 * strip },
  { what: 'the end of a stripe', offset: 3 * strip - 4, count: 4 },
] as const;

describe.each([0, 1, 2, 3])('a raid5f of four without member %i', (lost) => {
  it.each(writes)('a crash in the middle of writing $what costs nothing else', async ({ offset, count }) => {
    for (const stripe of [lost, (lost + 1) % 4]) {
      for (let mask = 0; mask < 8; mask++) {
        const setup = await degraded(4, lost);
        const left = [...setup.disks.keys()];
        hold(setup, (index) => (mask & (1 << left.indexOf(index))) !== 0);
        const start = stripe * 3 * strip + offset;
        setup.model.submitted(start, count, 2);
        void setup.volume.write(start, taggedBlocks(start, count, 2, blockSize)).catch(() => undefined);
        await turns();
        const again = await restart(setup);
        expect(arrayOf(again, 'a').bitmap?.regionsToResync).toBe(0);
      }
    }
  });
});

describe('the journal', () => {
  it('covers zeros and what a rebuild has filled already, until the rebuild is on record', async () => {
    for (const type of ['zeroes', 'data'] as const) {
      const setup = await degraded(3, 1);
      // The target takes everything but the end of its rebuild.
      const { disk: target } = await plugIn(setup.rig.registry, {
        name: 'm9',
        uuid: memberUuid(9),
        bytes: new Uint8Array(2 * MiB),
      });
      target.fault = (io) =>
        io.type === IoType.Flush && target.log.some((entry) => entry.startsWith('write 2048+')) ? null : Status.Ok;
      await setup.rig.arrays.addBaseBdev('a', 'm9');
      await until(() => target.held.length > 0, 'all is copied, and the target is being flushed');
      hold(setup, (index) => index === 0);
      const count = strip + 7;
      setup.model.submitted(3, count, type === 'data' ? 2 : 0);
      const written =
        type === 'data' ? setup.volume.write(3, taggedBlocks(3, count, 2, blockSize)) : setup.volume.writeZeroes(3, count);
      written.catch(() => undefined);
      await until(() => setup.disks.get(0)!.held.length > 0, 'a part of the write is held back');
      await turns();
      await restart(setup);
    }
  });

  it.each(['read', 'write'] as const)('loses nothing to a single %s that fails while it is written again', async (type) => {
    const setup = await degraded(3, 1);
    hold(setup, (index) => index === 0);
    setup.model.submitted(3, strip + 7, 2);
    void setup.volume.write(3, taggedBlocks(3, strip + 7, 2, blockSize)).catch(() => undefined);
    await turns();
    let hasFailed = true;
    for (let nth = 0; hasFailed; nth++) {
      let left = nth;
      hasFailed = false;
      await restart(setup, {
        broken: (disk, _index, rig) => {
          disk.fault = (io) => {
            if (rig.arrays.get('a')?.state === 'online') return Status.Ok;
            const isMeant = io.type === (type === 'read' ? IoType.Read : IoType.Write) && io.offsetBlocks >= 2048;
            if (hasFailed || !isMeant || left-- > 0) return Status.Ok;
            hasFailed = true;
            return Status.IoError;
          };
        },
      });
      if (nth > 200) break;
    }
  });

  it('is read again after many writes, the last of which counts', async () => {
    const setup = await degraded(3, 0);
    // There are more writes than the rings have slots for, to a few offsets.
    for (let tag = 2; tag < 120; tag++) {
      const offset = (tag * 7) % 180;
      setup.model.submitted(offset, 3, tag);
      await setup.volume.write(offset, taggedBlocks(offset, 3, tag, blockSize));
      setup.model.batchDone([{ offset, count: 3, tag, mayKeep: false }]);
    }
    const again = await restart(setup);
    // The same start is tried once more, with the state that the first one has left.
    expect(arrayOf(again, 'a').numInSync).toBe(2);
  });

  describe.each([0, 1, 2, 3, 4])('has a place %i of which the next write', (place) => {
    it.each(['is not there at a crash', 'fails'] as const)('%s, and nothing older is believed', async (what) => {
      const setup = await degraded(3, 1);
      const { disks } = setup;
      const write = writerOf(setup);
      // The blocks are the absent member's. One of them has two entries, in that place and the next.
      for (let entry = 0; entry < 16; entry++) await write(strip + (entry === place + 1 ? place : entry), 2 + entry);
      const at = 1024 + 64 * place;
      for (const disk of disks.values()) {
        disk.fault = ({ type, offsetBlocks }) => {
          if (type !== IoType.Write || offsetBlocks !== at) return Status.Ok;
          return what === 'fails' ? Status.IoError : null;
        };
      }
      const others = [24, 25, 26, 27, 28, 29];
      if (what === 'fails') for (const other of others) await write(strip + other, 20).catch(() => undefined);
      else for (const other of others) void write(strip + other, 20);
      await turns();
      await restart(setup);
    });
  });

  it('overwrites no entry of a write that has not ended, also where the last mark is all that is free', async () => {
    const setup = await degraded(3, 1);
    const { disks } = setup;
    const write = writerOf(setup);
    for (let entry = 0; entry < 16; entry++) await write(strip + entry, 2);
    // The next one has the place behind the mark, and does not end.
    for (const disk of disks.values()) {
      disk.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks === 2048 + 20 ? null : Status.Ok);
    }
    const stuck = write(strip + 20, 3);
    for (let entry = 0; entry < 14; entry++) await write(strip + entry, 3);
    const last = write(strip + 30, 3);
    await turns();
    await restart(setup);
    for (const disk of disks.values()) {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    }
    await Promise.all([stuck, last]);
    for (let entry = 0; entry < 40; entry++) await write(strip + (entry % 32), 4);
    await restart(setup);
  });

  it('ends no entry that is still needed by the mark that follows one that was refused', async () => {
    const setup = await degraded(3, 1);
    const { disks, model, volume } = setup;
    const write = writerOf(setup);
    // A mark in place 0, and entries in all others, the last of which is needed: only one of two members has its write.
    for (let entry = 0; entry < 30; entry++) await write(strip + (entry % 16), 2);
    const isStuck = ({ offsetBlocks, type }: BdevIo): boolean => type === IoType.Write && offsetBlocks === 2048 + 20;
    for (const [index, disk] of disks) disk.fault = (io) => (isStuck(io) && index === 2 ? null : Status.Ok);
    void write(20, 3);
    await turns();
    let refused = 0;
    const disk = disks.get(0)!;
    disk.fault = ({ type, offsetBlocks }) => {
      if (type !== IoType.Write || offsetBlocks !== 1024 + 64 || refused++ > 0) return Status.Ok;
      return Status.NoSpace;
    };
    model.submitted(strip + 24, 1, 3);
    await expect(volume.write(strip + 24, taggedBlocks(strip + 24, 1, 3, blockSize))).rejects.toThrow(/ENOSPC/);
    await write(strip + 25, 3);
    expect(refused).toBe(2);
    await restart(setup);
  });

  it('begins anew only when no mark is on its way, which could come over a new entry', async () => {
    const setup = await degraded(3, 1);
    const { disks, rig, volume } = setup;
    const write = writerOf(setup);
    for (let entry = 0; entry < 16; entry++) await write(strip + entry, 2);
    // Those of the other ring take so many places that all are free then.
    for (let entry = 0; entry < 17; entry++) await volume.write(7 * strip + entry, blocks(1, 2));
    const { disk: target } = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(2 * MiB) });
    const isFilled = (): boolean => target.log.some((entry) => entry.startsWith('write 2048+'));
    target.fault = ({ type }) => (type === IoType.Flush && isFilled() ? null : Status.Ok);
    await rig.arrays.addBaseBdev('a', 'm9');
    await until(() => target.held.length > 0, 'all is copied, and the target is being flushed');
    // A write waits for a mark when the member is recorded as current, and goes on without.
    const disk = disks.get(0)!;
    disk.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks === 1024 ? null : Status.Ok);
    const waiting = write(strip + 20, 3);
    const release = (of: RamDisk): void => {
      of.fault = () => Status.Ok;
      for (const io of of.held.splice(0)) of.finish(io, Status.Ok);
    };
    await until(() => disk.held.length > 0, 'a mark is being written');
    release(target);
    await waiting;
    const removed = rig.arrays.removeBaseBdev('m9');
    await turns();
    disks.get(2)!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks === 2048 + 24 ? null : Status.Ok);
    const marks = disk.held.splice(0);
    disk.fault = () => Status.Ok;
    void write(24, 3);
    await turns();
    for (const io of marks) disk.finish(io, Status.Ok);
    await removed;
    await until(() => disks.get(2)!.held.length > 0, 'one of two members has the write');
    await turns();
    await restart(setup);
  });

  it('answers what waits for a mark when no member is left to write one to', async () => {
    const { disks, rig, volume } = await degraded(3, 1);
    for (let entry = 0; entry < 16; entry++) await volume.write(strip + entry, blocks(1, 2));
    const disk = disks.get(0)!;
    disk.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks === 1024 ? null : Status.Ok);
    const waiting = volume.write(strip + 20, blocks(1, 3));
    let isAnswered = false;
    waiting.catch(() => (isAnswered = true));
    await until(() => disk.held.length > 0, 'a mark is being written');
    const gone = ['m0', 'm2'].map((name) => rig.registry.unregister(rig.registry.get(name)!));
    await turns();
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.IoError);
    await turns();
    expect(isAnswered).toBe(true);
    volume.descriptor.close();
    await Promise.all(gone);
  });

  it('leaves out what cannot be written again: EIO there, never a guess', async () => {
    const setup = await degraded(3, 1);
    hold(setup, (index) => index === 0);
    // Stripe 0 has its parity on slot 2: the entry is for the absent slot 1, and needs slot 0 to be written again.
    void setup.volume.write(0, taggedBlocks(0, 1, 2, blockSize)).catch(() => undefined);
    await turns();
    const again = newRig({ memoryBytes: 24 * MiB });
    for (const [index, { bytes }] of setup.disks) {
      const { disk } = await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
      if (index === 0) disk.fault = (io) => (io.type === IoType.Read && io.offsetBlocks === 2048 ? Status.IoError : Status.Ok);
    }
    await again.registry.waitForExamine();
    const volume = openVolume(again, 'a');
    await expect(volume.read(strip, 1)).rejects.toThrow(/EIO|error/i);
    expect(arrayOf(again, 'a').bitmap?.regionsToResync).toBe(1);
  });

  it.each(['raid5f', 'raid6'] as const)(
    'of a %s is kept by a start in which members refuse writes for longer than it tries: the next one loses nothing',
    async (level) => {
      const setup = await degraded(4, 1, level);
      const { model } = setup;
      hold(setup, (index) => index === 0);
      model.submitted(0, 2, 2);
      void setup.volume.write(0, taggedBlocks(0, 2, 2, blockSize)).catch(() => undefined);
      await turns();
      const again = newRig({ memoryBytes: 24 * MiB });
      const found: RamDisk[] = [];
      for (const [index, { bytes }] of setup.disks) {
        const { disk } = await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
        disk.fault = (io) => (changes.has(io.type) && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
        found.push(disk);
      }
      await again.registry.waitForExamine();
      expect(arrayOf(again, 'a').state).toBe('configuring');
      await expect(again.arrays.startDegraded('a')).rejects.toThrow(
        /^array a: its journal could not be written again.*until they are written$/,
      );
      for (const disk of found) disk.fault = () => Status.Ok;
      await again.arrays.startDegraded('a');
      const tags = tagsOf(await openVolume(again, 'a').read(0, model.numBlocks), 0, blockSize, 'after the start');
      tags.forEach((tag, block) => model.settle(block, tag, 'after the start'));
    },
  );

  it('of an earlier time without a member does not count in a later one', async () => {
    const setup = await degraded(3, 1);
    setup.model.submitted(40, 4, 2);
    await setup.volume.write(40, taggedBlocks(40, 4, 2, blockSize));
    setup.model.batchDone([{ offset: 40, count: 4, tag: 2, mayKeep: false }]);
    const { disk } = await plugIn(setup.rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(2 * MiB) });
    await setup.rig.arrays.addBaseBdev('a', 'm9');
    await arrayOf(setup.rig, 'a').processEnded;
    setup.disks.set(9, disk);
    // With all members, writes are not journaled.
    setup.model.submitted(40, 4, 3);
    await setup.volume.write(40, taggedBlocks(40, 4, 3, blockSize));
    setup.model.batchDone([{ offset: 40, count: 4, tag: 3, mayKeep: false }]);
    await setup.rig.arrays.removeBaseBdev('m9');
    setup.disks.delete(9);
    await restart(setup);
  });

  it('begins only where no write is under way, and holds no write up', async () => {
    const { rig, disks, volume } = await build('raid5f', 3);
    await volume.write(0, blocks(64, 1));
    disks[0]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? null : Status.Ok);
    const written = volume.write(0, blocks(4, 3));
    await until(() => disks[0]!.held.length > 0, 'a write is under way');
    // The removal of a member waits for writes in flight.
    const removed = rig.arrays.failMember('a', 1, 'it was failed on request');
    await turns();
    expect(arrayOf(rig, 'a').journal!.slots).toEqual([]);
    disks[0]!.fault = () => Status.Ok;
    for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
    await Promise.all([written, removed]);
    expect(arrayOf(rig, 'a').journal!.slots).toEqual([1]);
  });

  it('covers what is in doubt no more than parity that a person trusts: not before the writes there have ended', async () => {
    const setup = await degraded(3, 1);
    hold(setup, (index) => index === 0);
    void setup.volume.write(0, taggedBlocks(0, 40, 2, blockSize)).catch(() => undefined);
    await turns();
    // Its journal cannot be read, so that the array is started by force.
    const again = newRig({ memoryBytes: 24 * MiB });
    const disks: RamDisk[] = [];
    for (const [index, { bytes }] of setup.disks) {
      const { disk } = await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
      disk.fault = (io) => (io.type === IoType.Read && io.offsetBlocks === 1024 ? Status.IoError : Status.Ok);
      disks.push(disk);
    }
    await until(() => again.arrays.get('a')?.startError !== null, 'it is refused');
    await again.arrays.startDegraded('a', { force: true });
    const array = arrayOf(again, 'a');
    const volume = openVolume(again, 'a');
    disks[0]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? null : Status.Ok);
    const written = volume.write(0, taggedBlocks(0, 4, 3, blockSize));
    await until(() => disks[0]!.held.length > 0, 'a write is under way');
    again.arrays.trustRedundancy('a');
    await turns();
    expect(array.consistency.isAllInSync).toBe(false);
    disks[0]!.fault = () => Status.Ok;
    for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
    await written;
    await until(() => array.consistency.isAllInSync, 'it is trusted');
  });

  it('stands for all but the stripe in which a write failed on two members', async () => {
    const setup = await degraded(3, 1);
    const { rig, disks, volume } = setup;
    const disk = disks.get(0)!;
    disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
    await expect(volume.write(0, taggedBlocks(0, 1, 2, blockSize))).rejects.toThrow();
    disk.fault = () => Status.Ok;
    await until(() => arrayOf(rig, 'a').journal!.doubt.isCurrent, 'the doubt is on record');
    // More entries in the same ring than it has places: the one of the failed write is gone.
    for (let tag = 3; tag < 40; tag++) {
      const offset = 128 + tag;
      setup.model.submitted(offset, 1, tag);
      await volume.write(offset, taggedBlocks(offset, 1, tag, blockSize));
      setup.model.batchDone([{ offset, count: 1, tag, mayKeep: false }]);
    }
    const again = newRig({ memoryBytes: 24 * MiB });
    for (const [index, { bytes }] of disks)
      await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
    await again.registry.waitForExamine();
    const there = openVolume(again, 'a');
    await expect(there.read(strip, 1)).rejects.toThrow(/EIO/);
    const rest = tagsOf(await there.read(64, setup.model.numBlocks - 64), 64, blockSize, 'after the crash');
    rest.forEach((tag, i) => setup.model.settle(64 + i, tag, 'after the crash'));
  });
});

it('of a raid6 is found again after a start that could not write it again, nor the superblocks to all members', async () => {
  const rig = newRig({ memoryBytes: 24 * MiB });
  const disks: RamDisk[] = [];
  for (let index = 0; index < 4; index++)
    disks.push(
      (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(2 * MiB) })).disk,
    );
  await rig.arrays.create({
    name: 'a',
    level: 'raid6',
    baseBdevs: disks.map((_, index) => `m${index}`),
    superblock: true,
    stripSizeKb: (strip * blockSize) / 1024,
  });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(8 * strip, 1), { fua: true });
  await rig.arrays.removeBaseBdev('m0');
  await volume.write(0, blocks(2 * strip, 2), { fua: true });
  /** Another process finds the disks without m0; `fault` is what m1 answers. */
  const start = async (images: readonly Uint8Array[], fault: RamDisk['fault']): Promise<{ rig: Rig; disks: RamDisk[] }> => {
    const next = newRig({ memoryBytes: 24 * MiB });
    const found: RamDisk[] = [];
    for (const [i, bytes] of images.entries()) {
      const options = { name: `m${i + 1}`, uuid: memberUuid(i + 1), bytes: bytes.slice(), ...(i === 0 && { fault }) };
      found.push((await plugIn(next.registry, options)).disk);
    }
    await next.registry.waitForExamine();
    return { rig: next, disks: found };
  };
  const failing = await start(
    disks.slice(1).map(({ bytes }) => bytes),
    ({ offsetBlocks, type }) => (changes.has(type) && (offsetBlocks < 64 || offsetBlocks >= 2048) ? Status.IoError : Status.Ok),
  );
  expect(arrayOf(failing.rig, 'a').state).toBe('configuring');
  // The next try fails, too: no new journal covers the writes that a member has lost.
  await expect(failing.rig.arrays.startDegraded('a')).rejects.toThrow(/was not stopped cleanly/);
  const again = await start(
    failing.disks.map(({ bytes }) => bytes),
    () => Status.Ok,
  );
  expect(arrayOf(again.rig, 'a').state).toBe('online');
  const bytes = await openVolume(again.rig, 'a').read(0, 8 * strip);
  expect(Buffer.compare(bytes, Buffer.concat([blocks(2 * strip, 2), blocks(6 * strip, 1)]))).toBe(0);
});

it('of before a start by force without the map does not count in the life that begins there', async () => {
  const setup = await degraded(3, 0);
  hold(setup, (index) => index === 2);
  void setup.volume.write(strip, blocks(strip, 2)).catch(() => undefined);
  await turns();
  const rig = newRig({ memoryBytes: 24 * MiB });
  const disks: RamDisk[] = [];
  for (const [index, { bytes }] of setup.disks) {
    const fault: RamDisk['fault'] = ({ offsetBlocks, type }) =>
      index === 2 && changes.has(type) && (offsetBlocks < 64 || offsetBlocks >= 2048) ? Status.IoError : Status.Ok;
    const device = { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice(), fault };
    disks.push((await plugIn(rig.registry, device)).disk);
  }
  await rig.registry.waitForExamine();
  expect(arrayOf(rig, 'a').state).toBe('configuring');
  // Nor can the map be read by now. The power fails before the start by force has written a superblock.
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => {
      if (type === IoType.Read) return offsetBlocks >= 256 && offsetBlocks < 512 ? Status.IoError : Status.Ok;
      return type === IoType.Write && offsetBlocks < 64 ? null : Status.Ok;
    };
  void rig.arrays.startDegraded('a', { force: true }).catch(() => undefined);
  await until(() => disks.every(({ held }) => held.length > 0), 'superblocks are on the way');
  const again = newRig({ memoryBytes: 24 * MiB });
  for (const [i, { bytes }] of disks.entries())
    await plugIn(again.registry, { name: `m${i + 1}`, uuid: memberUuid(i + 1), bytes: bytes.slice() });
  await again.registry.waitForExamine();
  // The data of m0 is not reconstructed from a stripe of which half is new.
  expect(arrayOf(again, 'a').startError).toMatch(/was not stopped cleanly/);
});

it('of a raid6 that a start has found is not gone on with: what it says of then is older than what is written now', async () => {
  const device = (index: number, bytes: Uint8Array) => ({ name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
  const rig = newRig({ memoryBytes: 24 * MiB });
  const disks: RamDisk[] = [];
  for (let index = 0; index < 4; index++) disks.push((await plugIn(rig.registry, device(index, new Uint8Array(2 * MiB)))).disk);
  const options = { superblock: true, stripSizeKb: (strip * blockSize) / 1024 };
  await rig.arrays.create({ name: 'a', level: 'raid6', baseBdevs: ['m0', 'm1', 'm2', 'm3'], ...options });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(8 * strip, 1));
  // The journal is for two members, one of which is present again.
  await rig.arrays.removeBaseBdev('m0');
  await rig.arrays.removeBaseBdev('m1');
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(rig, 'a').numInSync === 3, 'm1 is filled');
  for (let value = 2; value < 8; value++) for (let at = 0; at < 8 * strip; at += 8) await volume.write(at, blocks(8, value));
  volume.descriptor.close();
  await rig.arrays.stop();
  // In the first round of the next start there is no memory for a journal, and m1 is lost.
  const next = newRig({ memoryBytes: 24 * MiB });
  const { memory } = next.registry.runtime;
  const allocRegion = memory.allocRegion.bind(memory);
  const { placeBytes } = spdkSuperblockStore.extension!.journal;
  let isShort = true;
  memory.allocRegion = (bytes) => (isShort && bytes === 16 * placeBytes ? -1 : allocRegion(bytes));
  const found: RamDisk[] = [];
  for (const [index, { bytes }] of disks.entries()) {
    if (index === 0) continue;
    const fault: RamDisk['fault'] = ({ offsetBlocks, type }) => {
      if (index > 1 || type !== IoType.Write || offsetBlocks >= 64) return Status.Ok;
      isShort = false;
      return Status.IoError;
    };
    found.push((await plugIn(next.registry, { ...device(index, bytes), fault })).disk);
  }
  await next.registry.waitForExamine();
  await until(() => arrayOf(next, 'a').state === 'online', 'the array is up');
  expect(isShort).toBe(false);
  expect(arrayOf(next, 'a').slots.map(({ isInSync }) => isInSync)).toEqual([false, false, true, true]);
  await openVolume(next, 'a').write(0, blocks(8 * strip, 9), { fua: true });
  const again = newRig({ memoryBytes: 24 * MiB });
  for (const [i, { bytes }] of found.entries()) if (i > 0) await plugIn(again.registry, device(i + 1, bytes));
  await again.registry.waitForExamine();
  expect(arrayOf(again, 'a').state).toBe('online');
  expect(new Set(await openVolume(again, 'a').read(0, 8 * strip))).toEqual(new Set([9]));
});

it.each(['raid5f', 'raid6'])('of a %s has its memory when a member leaves, whatever has taken the rest', async (level) => {
  const members = level === 'raid5f' ? 3 : 4;
  const { rig, disks, volume } = await build(level, members);
  await volume.write(0, blocks(8 * strip, 1));
  const giveBack = takeMemory(rig);
  await rig.arrays.removeBaseBdev('m0');
  giveBack();
  await volume.write(3, blocks(strip, 2));
  // The power fails while parts of a stripe are being written.
  for (const disk of disks) disk.fault = ({ type }) => (changes.has(type) ? null : Status.Ok);
  void volume.write(5, blocks(strip, 3)).catch(() => undefined);
  await turns();
  const again = newRig({ memoryBytes: 24 * MiB });
  for (const [index, { bytes }] of disks.entries())
    if (index > 0) await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
  await again.registry.waitForExamine();
  await until(() => arrayOf(again, 'a').state === 'online' || arrayOf(again, 'a').startError !== null, 'it has been started');
  expect(arrayOf(again, 'a').startError).toBe(null);
  expect(new Set(await openVolume(again, 'a').read(3 + strip + 2, strip))).toEqual(new Set([1]));
});

it('of which an entry was lost says nothing of a region that is clean: what was written there since stays', async () => {
  const { rig, disks, volume } = await build('raid5f', 3);
  const array = arrayOf(rig, 'a');
  const { runtime } = rig.registry;
  const [now, setTimer] = [runtime.now.bind(runtime), runtime.setTimer.bind(runtime)];
  Object.assign(runtime, { setTimer: (fn: () => void) => setTimer(fn, 1) });
  await rig.arrays.removeBaseBdev('m1');
  // The write goes to block 0 of member 1, which is the second chunk of the first stripe; it is written twice.
  await volume.write(strip, blocks(1, 1));
  for (const disk of disks) {
    disk.fault = (io) => {
      if (io.type !== IoType.Write || io.offsetBlocks < 1024 || io.offsetBlocks >= 2048) return Status.Ok;
      io.complete(Status.Ok);
      return null;
    };
  }
  await volume.write(strip, blocks(1, 2), { fua: true });
  for (const disk of disks) disk.fault = () => Status.Ok;
  // Time goes by until the region is clean.
  Object.assign(runtime, { now: () => now() + 60_000 });
  await until(() => array.bitmap!.count(RegionState.Dirty) === 0, 'the region is idle');
  Object.assign(runtime, { setTimer });
  await volume.write(4096, blocks(1, 3));
  expect(array.bitmap!.count(RegionState.Dirty)).toBe(1);
  const { rig: again } = await putTogether([disks[0]!.bytes, null, disks[2]!.bytes]);
  await until(() => arrayOf(again, 'a').state === 'online', 'the array is up');
  expect([...new Set(await openVolume(again, 'a').read(strip, 1))]).toEqual([2]);
});

import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BlockClient } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { BlockModel, taggedBlocks, tagsOf } from '../../../test/support/block-model.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { twoParities } from '../../../test/support/two-parities.js';

const MiB = 1 << 20;
const blockSize = 512;
/** First blocks of the journal and of the data on a member. */
const journalStart = 1024;
const dataStart = 2048;
const numBlocks = 16;
/** The absent members: two with data, one of each kind, two with parity. */
const pairs = [
  [0, 1],
  [0, 2],
  [1, 3],
  [2, 3],
] as const;

interface Setup {
  rig: Rig;
  /** The disks of the members that are left, by slot. */
  disks: Map<number, RamDisk>;
  volume: BlockClient;
  model: BlockModel;
}

/** An array whose first blocks are written, and which has lost these members while it was up. */
async function without(...lost: readonly number[]): Promise<Setup> {
  const rig = newRig({ memoryBytes: 16 * MiB });
  rig.arrays.modules.register(twoParities);
  const disks = new Map<number, RamDisk>();
  for (let index = 0; index < 4; index++) {
    const bytes = new Uint8Array((dataStart + 64) * blockSize);
    disks.set(index, (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.arrays.create({ name: 'a', level: 'two-parities', baseBdevs: ['m0', 'm1', 'm2', 'm3'], superblock: true });
  const volume = openVolume(rig, 'a');
  const model = new BlockModel(numBlocks);
  await volume.write(0, taggedBlocks(0, numBlocks, 1, blockSize));
  model.submitted(0, numBlocks, 1);
  model.batchDone([{ offset: 0, count: numBlocks, tag: 1, mayKeep: false }]);
  for (const slot of lost) {
    await rig.arrays.removeBaseBdev(`m${slot}`);
    disks.delete(slot);
  }
  return { rig, disks, volume, model };
}

/** Runs so many turns that everything that can happen has happened. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A write whose parts stay on their way on some of the members; then the power goes. */
async function cutShort({ disks, model, volume }: Setup, offset: number, count: number, held: number): Promise<void> {
  const left = [...disks.keys()];
  for (const [index, disk] of disks) {
    const isHeld = (held & (1 << left.indexOf(index))) !== 0;
    disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataStart && isHeld ? null : Status.Ok);
  }
  model.submitted(offset, count, 2);
  void volume.write(offset, taggedBlocks(offset, count, 2, blockSize)).catch(() => undefined);
  await turns();
}

/** Starts anew with copies of the images. */
async function restart(
  { disks }: { disks: ReadonlyMap<number, { bytes: Uint8Array }> },
  change: (bytes: Uint8Array, slot: number) => void = () => undefined,
  fault: RamDisk['fault'] = () => Status.Ok,
): Promise<Rig> {
  const again = newRig({ memoryBytes: 16 * MiB });
  again.arrays.modules.register(twoParities);
  for (const [index, disk] of disks) {
    const bytes = disk.bytes.slice();
    change(bytes, index);
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, fault });
  }
  await again.registry.waitForExamine();
  return again;
}

async function settle(rig: Rig, model: BlockModel): Promise<void> {
  const volume = openVolume(rig, 'a');
  const tags = tagsOf(await volume.read(0, model.numBlocks), 0, blockSize, 'after the crash');
  tags.forEach((tag, block) => model.settle(block, tag, 'after the crash'));
  volume.descriptor.close();
}

/** Which blocks are being written, and on which of the members that are left (as bits) that is not done yet. */
const cuts = [
  { offset: 5, count: 1, held: 0b01 },
  { offset: 6, count: 4, held: 0b10 },
  { offset: 4, count: 1, held: 0b11 },
];

it.each(pairs)('without members %i and %i a crash in the middle of a write costs nothing else', async (one, other) => {
  for (const { offset, count, held } of cuts) {
    const setup = await without(one, other);
    expect(arrayOf(setup.rig, 'a').journal!.slots).toEqual([one, other]);
    await cutShort(setup, offset, count, held);
    const again = await restart(setup);
    await settle(again, setup.model);
    expect(arrayOf(again, 'a').bitmap?.regionsToResync).toBe(0);
  }
});

it.each(pairs)('without members %i and %i it costs nothing either if a write of the replay fails once', async (one, other) => {
  for (const { offset, count, held } of cuts) {
    const setup = await without(one, other);
    await cutShort(setup, offset, count, held);
    for (let failing = 1, writes = failing; writes >= failing; failing++) {
      writes = 0;
      const again = await restart(setup, undefined, ({ offsetBlocks, type }) =>
        type === IoType.Write && offsetBlocks >= dataStart && ++writes === failing ? Status.IoError : Status.Ok,
      );
      await settle(again, setup.model);
      expect(arrayOf(again, 'a').bitmap?.regionsToResync).toBe(0);
    }
  }
});

it.each([0, 1])('without member %i alone it does not, either: a member that stays has not taken that write', async (lost) => {
  for (const held of [0b001, 0b010, 0b100]) {
    const setup = await without(lost);
    await cutShort(setup, 4, 2, held);
    for (let failing = 1, writes = failing; writes >= failing; failing++) {
      writes = 0;
      let isStarting = true;
      const again = await restart(setup, undefined, ({ offsetBlocks, type }) =>
        isStarting && type === IoType.Write && offsetBlocks >= dataStart && ++writes === failing ? Status.IoError : Status.Ok,
      );
      isStarting = false;
      await until(() => arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'it is in sync');
      await settle(again, setup.model);
    }
  }
});

it('a write of whose entries one is not in the journal does not begin in the replay either', async () => {
  const setup = await without(0, 1);
  const { disks, model, volume } = setup;
  let entries = 0;
  // Of the entries for both absent members one stays on its way.
  const fault = (io: BdevIo): number | null => {
    const isEntry = io.type === IoType.Write && io.offsetBlocks >= journalStart && io.offsetBlocks < dataStart;
    // The first entry is held, which is for blocks that are not written.
    return isEntry && entries++ === 0 ? null : Status.Ok;
  };
  for (const disk of disks.values()) disk.fault = fault;
  model.submitted(5, 1, 2);
  void volume.write(5, taggedBlocks(5, 1, 2, blockSize)).catch(() => undefined);
  await turns();
  expect(entries).toBe(2);
  // The power goes again when one parity of what a start writes anew is on its member, and the other is not.
  const again = newRig({ memoryBytes: 16 * MiB });
  again.arrays.modules.register(twoParities);
  const crashed = new Map<number, { bytes: Uint8Array }>();
  for (const [slot, disk] of disks) {
    const bytes = disk.bytes.slice();
    crashed.set(slot, { bytes });
    const hold = ({ offsetBlocks, type }: BdevIo): number | null =>
      type === IoType.Write && slot === 3 && offsetBlocks >= dataStart ? null : Status.Ok;
    await plugIn(again.registry, { name: `m${slot}`, uuid: memberUuid(slot), bytes, fault: hold });
  }
  // The start may never end.
  await until(() => arrayOf(again, 'a').isStarting || arrayOf(again, 'a').state === 'online', 'it is being started');
  await turns();
  await settle(await restart({ disks: crashed }), model);
});

it.each([0, 1, 2, 3])('without member %i what parity that is left proves is trusted after a crash', async (lost) => {
  for (const held of [0b011, 0b101, 0b110, 0b100]) {
    const setup = await without(lost);
    await cutShort(setup, 5, 1, held);
    const again = await restart(setup);
    await until(() => arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'it is in sync');
    await settle(again, setup.model);
  }
});

it('without a member what parity contradicts stays in doubt after a crash, and is not made up', async () => {
  const setup = await without(0);
  await cutShort(setup, 5, 1, 0b111);
  // Another program has written where no write was under way.
  const again = await restart(setup, (bytes, slot) => {
    if (slot === 3) bytes.fill(7, (dataStart + 6) * blockSize, (dataStart + 7) * blockSize);
  });
  const array = arrayOf(again, 'a');
  await until(() => array.history.length > 0, 'a resync has ended');
  expect(array.history[0]).toMatchObject({ type: 'resync', error: expect.stringContaining('could not be compared') as string });
  const volume = openVolume(again, 'a');
  await expect(volume.read(12, 1)).rejects.toThrow();
  expect(tagsOf(await volume.read(13, 1), 13, blockSize, 'of a member')).toEqual([1]);
  // The other blocks are verified all the same, as in reads of them.
  expect(tagsOf(await volume.read(10, 2), 10, blockSize, 'proven')).toEqual([1, 1]);
  volume.descriptor.close();
});

it('a journal goes on for a member that has come back, and ends when all have', async () => {
  const setup = await without(0, 1);
  const { rig, disks, model } = setup;
  const addBack = async (slot: number): Promise<void> => {
    const bytes = new Uint8Array((dataStart + 64) * blockSize);
    const { disk } = await plugIn(rig.registry, { name: `n${slot}`, uuid: memberUuid(slot + 10), bytes });
    await rig.arrays.addBaseBdev('a', `n${slot}`);
    await arrayOf(rig, 'a').processEnded;
    disks.set(slot, disk);
  };
  await addBack(1);
  expect(arrayOf(rig, 'a').journal!.slots).toEqual([0, 1]);
  await cutShort(setup, 4, 2, 0b011);
  const again = await restart({ ...setup, disks: new Map([...disks].map(([slot, disk]) => [slot === 1 ? 11 : slot, disk])) });
  await until(() => arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'it is in sync');
  await settle(again, model);
  for (const disk of disks.values()) {
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  }
  await addBack(0);
  expect(arrayOf(rig, 'a').journal!.slots).toEqual([]);
});

/** From now on a member answers writes of its journal, and does not do them. */
function loseEntries({ disks }: Setup): void {
  for (const disk of disks.values()) {
    disk.fault = (io) => {
      const isEntry = io.type === IoType.Write && io.offsetBlocks >= journalStart && io.offsetBlocks < dataStart;
      if (!isEntry) return Status.Ok;
      io.complete(Status.Ok);
      return null;
    };
  }
}

it.each([4, 5])('without a member an older entry for block %i, whose newer one is lost, takes nothing back', async (block) => {
  const lost = block % 2;
  const setup = await without(lost);
  const { model, volume } = setup;
  for (const tag of [2, 3]) {
    if (tag === 3) loseEntries(setup);
    model.submitted(block, 1, tag);
    await volume.write(block, taggedBlocks(block, 1, tag, blockSize));
    model.batchDone([{ offset: block, count: 1, tag, mayKeep: false }]);
    await volume.flush();
  }
  const again = await restart(setup);
  await settle(again, model);
  await until(() => arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'it is in sync');
  await settle(again, model);
});

/** Of the first stripe of five: both with data, one with parity, both with parity. */
const pairsOfFive = [
  [0, 1],
  [0, 3],
  [3, 4],
] as const;

it.each(pairsOfFive)(
  'a raid6 without members %i and %i that loses a flush has lost nothing at its next start',
  async (...lost) => {
    const { disks, rig, volume } = await build('raid6', 5);
    const stripe = 3 * 32;
    const stripes = 4;
    const expected = new Uint8Array(stripes * stripe * blockSize);
    const write = async (offset: number, count: number, fill: number): Promise<void> => {
      const data = blocks(count, fill);
      await volume.write(offset, data);
      expected.set(data, offset * blockSize);
    };
    for (let at = 0; at < stripes * stripe; at += 32) await write(at, 32, 1 + at / 32);
    for (const slot of lost) await rig.arrays.removeBaseBdev(`m${slot}`);
    await write(3, 2, 60);
    await write(stripe + 40, 5, 61);
    await write(20, 60, 62);
    await volume.flush();
    const left = [...disks.entries()].filter(([slot]) => !(lost as readonly number[]).includes(slot));
    // A member that the array needs returns a single error.
    let hasFailed = false;
    left[0]![1].fault = ({ type }) => {
      if (type !== IoType.Flush || hasFailed) return Status.Ok;
      hasFailed = true;
      return Status.IoError;
    };
    await expect(volume.flush()).rejects.toThrow(/EIO/);
    // The inconsistent range is recorded by then.
    await turns();
    const again = await restart({ disks: new Map(left) });
    const readAgain = openVolume(again, 'a');
    expect(await readAgain.read(0, stripes * stripe)).toEqual(expected);
    expect(arrayOf(again, 'a').bitmap?.regionsToResync).toBe(0);
    readAgain.descriptor.close();
  },
);

it('without a member a block that cannot be read is not worked out from what is in doubt when an entry is written again', async () => {
  const bad = dataStart + 2;
  for (const held of [0b010, 0b100]) {
    const setup = await without(0);
    await cutShort(setup, 4, 1, held);
    for (let most = 1; most <= 20; most++) {
      let failed = 0;
      // Block 5 is beside it, on the member in slot 1.
      const again = await restart(setup, undefined, ({ offsetBlocks, numBlocks: count, type }) =>
        type === IoType.Read && offsetBlocks <= bad && bad < offsetBlocks + count && failed++ < most
          ? Status.IoError
          : Status.Ok,
      );
      const volume = openVolume(again, 'a');
      for (const [block, allowed] of [
        [4, [1, 2, 'EIO']],
        [5, [1, 'EIO']],
      ] as const) {
        const seen = await volume.read(block, 1).then(
          (bytes) => tagsOf(bytes, block, blockSize, 'after the crash')[0],
          () => 'EIO',
        );
        expect(allowed, `block ${block}`).toContain(seen);
      }
      volume.descriptor.close();
    }
  }
});

import { Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { BlockModel, taggedBlocks, tagsOf } from '../../../test/support/block-model.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { makeThin } from '../../../test/support/thin.js';
import type { ThinSpace } from '../../../test/support/thin.js';

const MiB = 1 << 20;
const blockSize = 512;
const strip = 32;

interface Setup {
  rig: Rig;
  disks: Map<number, RamDisk>;
  spaces: ThinSpace[];
  volume: BlockClient;
  model: BlockModel;
  /** Blocks of writes that were refused. */
  refused: Set<number>;
}

interface Writer {
  volume: BlockClient;
  model: BlockModel;
}

async function write({ model, volume }: Writer, tag: number, offset: number, count: number, isFua = false): Promise<void> {
  model.submitted(offset, count, tag);
  await volume.write(offset, taggedBlocks(offset, count, tag, blockSize), { fua: isFua });
  model.batchDone([{ offset, count, tag, mayKeep: false }]);
}

async function thinArray(members: number): Promise<Setup> {
  const rig = newRig({ memoryBytes: 24 * MiB });
  const disks = new Map<number, RamDisk>();
  const spaces: ThinSpace[] = [];
  for (let index = 0; index < members; index++) {
    const bytes = new Uint8Array(2 * MiB);
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    disks.set(index, disk);
    spaces.push(makeThin(rig.registry, disk));
  }
  const baseBdevs = [...disks.keys()].map((index) => `m${index}`);
  const stripSizeKb = (strip * blockSize) / 1024;
  await rig.arrays.create({ name: 'a', level: 'raid5f', baseBdevs, superblock: true, stripSizeKb });
  const model = new BlockModel(strip * (members - 1) * (members + 1));
  return { rig, disks, spaces, volume: openVolume(rig, 'a'), model, refused: new Set() };
}

/** Parts of the first stripes are written, and a member is gone. */
async function degraded(members: number, lost: number): Promise<Setup> {
  const setup = await thinArray(members);
  for (let stripe = 0; stripe < members; stripe++) {
    // The write goes to the beginning of one chunk: its parity has room there, and the other members have none.
    await write(setup, 1, (stripe * (members - 1) + (stripe % (members - 1))) * strip, 16);
  }
  await setup.volume.flush();
  await setup.rig.arrays.removeBaseBdev(`m${lost}`);
  setup.disks.delete(lost);
  return setup;
}

/** Reads everything. EIO is an answer where a write that was refused was to go. */
async function readAll({ model, refused }: Setup, volume: BlockClient, what: string): Promise<void> {
  for (let start = 0; start < model.numBlocks; start += 8) {
    const data = await volume.read(start, 8).catch((error: unknown) => {
      if (![...Array(8).keys()].some((i) => refused.has(start + i)))
        throw new Error(`${what}: EIO at ${start}`, { cause: error });
    });
    if (data !== undefined) tagsOf(data, start, blockSize, what).forEach((tag, i) => model.settle(start + i, tag, what));
  }
}

/** The process is killed, or has been stopped, and another one finds the disks; with as much room as before if `isFull`. */
async function restart(setup: Setup, isFull: boolean): Promise<Rig> {
  const again = newRig({ memoryBytes: 24 * MiB });
  for (const [index, disk] of setup.disks) {
    const { disk: copy } = await plugIn(again.registry, {
      name: `m${index}`,
      uuid: memberUuid(index),
      bytes: disk.bytes.slice(),
    });
    if (isFull) copy.fault = disk.fault;
  }
  await again.registry.waitForExamine();
  expect(arrayOf(again, 'a').state).toBe('online');
  return again;
}

const writes = [
  { what: 'a block', offset: 3, count: 1 },
  { what: 'the columns that have no room', offset: 20, count: 4 },
  { what: 'a part of a chunk', offset: 12, count: 10 },
  { what: 'a chunk and a half', offset: 5, count: 40 },
] as const;

describe.each([3, 4])('a raid5f of %i thin members, degraded', (members) => {
  const stripe = strip * (members - 1);

  it.each(writes)('loses nothing but a write of $what that is refused', async ({ offset, count }) => {
    for (let lost = 0; lost < members; lost++) {
      const full = (lost + 1 + (offset % (members - 1))) % members;
      const setup = await degraded(members, lost);
      setup.spaces[full]!.isFull = true;
      let tag = 1;
      for (let index = 0; index < members; index++) {
        for (let chunk = 0; chunk < members - 1; chunk++) {
          const start = index * stripe + chunk * strip + offset;
          const most = Math.min(count, (index + 1) * stripe - start);
          await write(setup, ++tag, start, most, chunk === 0).catch((error: unknown) => {
            expect(error).toMatchObject({ errno: Status.NoSpace });
            for (let block = start; block < start + most; block++) setup.refused.add(block);
          });
        }
        await readAll(setup, setup.volume, `without ${lost}, ${full} full, after writes to stripe ${index}`);
      }
      await setup.volume.flush();
      const crashed = await restart(setup, false);
      await readAll(setup, openVolume(crashed, 'a'), 'after a crash');
      setup.volume.descriptor.close();
      await setup.rig.arrays.stop();
      const stopped = await restart(setup, true);
      await readAll(setup, openVolume(stopped, 'a'), 'after a stop');
    }
  });
});

it('a full disk below all members costs no flush, and no force at the next start', async () => {
  const { model, rig, disks, spaces, volume } = await thinArray(3);
  await write({ model, volume }, 1, 0, 64);
  // One member finds the disk full first, and is failed for that; what the others have to record of it needs room, too.
  const { fault } = disks.get(1)!;
  spaces[1]!.isFull = true;
  disks.get(1)!.fault = (io) => {
    const status = fault(io);
    if (status !== Status.Ok) for (const space of spaces) space.isFull = true;
    return status;
  };
  await write({ model, volume }, 2, 64, 64);
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
  await expect(write({ model, volume }, 3, 128, 64)).rejects.toMatchObject({ errno: Status.NoSpace });
  await volume.flush();
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig({ memoryBytes: 24 * MiB });
  for (const [index, { bytes }] of disks)
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
  await again.registry.waitForExamine();
  const array = arrayOf(again, 'a');
  expect(array.state).toBe('online');
  await until(() => array.numInSync === 3 && array.process === null, 'all members are back');
  expect(tagsOf(await openVolume(again, 'a').read(0, 64), 0, blockSize, 'at the end')).toEqual(Array(64).fill(1));
  expect(tagsOf(await openVolume(again, 'a').read(64, 64), 64, blockSize, 'at the end')).toEqual(Array(64).fill(2));
});

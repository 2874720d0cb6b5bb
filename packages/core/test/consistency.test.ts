import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { Consistency } from '../src/bitmap/consistency.js';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/** First block of a member's data area. */
const dataAt = 2048;

/** The first byte of each block, or why it cannot be read. */
async function seen(volume: BlockClient, offsets: readonly number[]): Promise<(number | string)[]> {
  const results: (number | string)[] = [];
  for (const offset of offsets) {
    results.push(
      await volume.read(offset, 1).then(
        ([byte]) => byte ?? -1,
        (error: unknown) => (String(error).includes('EIO') ? 'EIO' : String(error)),
      ),
    );
  }
  return results;
}

async function start(images: readonly (Uint8Array | null)[]): Promise<{ rig: Rig; disks: (RamDisk | null)[] }> {
  const rig = newRig();
  const disks: (RamDisk | null)[] = [];
  for (const [index, bytes] of images.entries()) {
    disks.push(
      bytes === null ? null : (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk,
    );
  }
  await rig.registry.waitForExamine();
  return { rig, disks };
}

function failDataWrites(...disks: RamDisk[]): void {
  for (const disk of disks)
    disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataAt ? Status.IoError : Status.Ok);
}

function repair(...disks: RamDisk[]): void {
  for (const disk of disks) disk.fault = () => Status.Ok;
}

/** A raid5f of three that crashed with all members and comes back without slot 1, started by force. Stripes are of 64 blocks. */
async function forced(): Promise<{ rig: Rig; disks: (RamDisk | null)[]; volume: BlockClient }> {
  const { disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
  await volume.write(0, blocks(4096, 1));
  await volume.flush();
  const again = await start(disks.map(({ bytes }, index) => (index === 1 ? null : bytes.slice())));
  await expect(again.rig.arrays.startDegraded('a')).rejects.toThrow(/not stopped cleanly/);
  await again.rig.arrays.startDegraded('a', { force: true });
  return { ...again, volume: openVolume(again.rig, 'a') };
}

it('what is in doubt is no news when it is marked again, until a resync has begun', () => {
  let news = 0;
  const consistency: Consistency = new Consistency({
    onInconsistent: () => {
      if (++news < 5) consistency.markInconsistent(0, 10);
    },
    onInSync: () => undefined,
  });
  consistency.markInconsistent(0, 10);
  expect([news, consistency.additions]).toEqual([1, 1]);
  consistency.markInconsistent(2, 3);
  expect(news).toBe(1);
  const token = consistency.beginResync();
  consistency.load(2, 3);
  consistency.resynced(10, token);
  expect(consistency.list(4)).toEqual([{ start: 2, count: 3 }]);
});

describe('ranges in doubt', () => {
  it('are those that were marked and not made good since, whatever the order', () => {
    const size = 64;
    let told = 0;
    const consistency = new Consistency({ onInconsistent: () => told++, onInSync: () => told++ });
    const model = new Int32Array(size).fill(-1);
    let resyncs = 0;
    let seed = 1;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    for (let step = 0; step < 20_000; step++) {
      const from = random(size);
      const to = from + 1 + random(size - from);
      const what = random(9);
      if (what < 3) {
        consistency.markInconsistent(from, to - from);
        model.fill(resyncs, from, to);
      } else if (what < 6) {
        consistency.markInSync(from, to - from);
        model.fill(-1, from, to);
      } else if (what === 6) {
        resyncs = consistency.beginResync();
      } else if (what === 7) {
        consistency.passedOver(from, to - from);
        for (let block = from; block < to; block++) if ((model[block] ?? -1) >= 0) model[block] = resyncs;
      } else {
        consistency.resynced(to, resyncs);
        for (let block = 0; block < to; block++) if ((model[block] ?? 0) < resyncs) model[block] = -1;
      }
      const asked = random(size);
      const count = 1 + random(size - asked);
      expect(consistency.isInconsistent(asked, count)).toBe(model.subarray(asked, asked + count).some((stamp) => stamp >= 0));
      expect(consistency.isAllInSync).toBe(model.every((stamp) => stamp < 0));
      const regions = new Set(
        [...model.keys()].filter((block) => (model[block] ?? -1) >= 0).map((block) => Math.floor(block / 8)),
      );
      expect(consistency.countRegions(8)).toBe(regions.size);
    }
    expect(told).toBeGreaterThan(0);
  });
});

describe('a start by force', () => {
  it('leaves readable what is written afterwards, and that alone', async () => {
    const { rig, volume } = await forced();
    // The absent slot 1 holds the second chunk of stripes 0 and 3.
    expect(await seen(volume, [32, 224])).toEqual(['EIO', 'EIO']);
    await volume.write(0, blocks(64, 7));
    await volume.flush();
    expect(await seen(volume, [0, 32, 63, 224])).toEqual([7, 7, 7, 'EIO']);
    expect(arrayOf(rig, 'a').bitmap!.regionsToResync).toBe(1);
  });

  it('lets a rebuild finish once everything that was in doubt has been written', async () => {
    const { rig, volume } = await forced();
    const array = arrayOf(rig, 'a');
    await volume.write(0, blocks(4096, 7));
    await volume.flush();
    expect(array.bitmap!.regionsToResync).toBe(0);
    await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(3 << 20) });
    await rig.arrays.addBaseBdev('a', 'm9');
    await array.processEnded;
    expect(array.numInSync).toBe(3);
    await rig.arrays.removeBaseBdev('m0');
    expect(await seen(volume, [0, 32, 64, 96, 128, 160, 4095])).toEqual([7, 7, 7, 7, 7, 7, 7]);
  });

  it('has a journal for all that is not in doubt: the next start needs no force, and has what was flushed', async () => {
    const { rig, disks, volume } = await forced();
    const array = arrayOf(rig, 'a');
    expect(array.journal!.slots).toEqual([1]);
    await volume.write(0, blocks(64, 7));
    await volume.flush();
    // Where redundancy is inconsistent, blocks of other members can be written, too.
    await volume.write(192, blocks(1, 8));
    const crashed = await start(disks.map((disk) => disk?.bytes.slice() ?? null));
    const there = openVolume(crashed.rig, 'a');
    expect(await seen(there, [0, 32, 63, 192, 224])).toEqual([7, 7, 7, 8, 'EIO']);
    await there.write(224, blocks(32, 9), { fua: true });
    const images = crashed.disks.map((disk) => disk?.bytes.slice() ?? null);
    const again = await start(images);
    expect(await seen(openVolume(again.rig, 'a'), [192, 224, 255])).toEqual([8, 9, 9]);
    there.descriptor.close();
    await crashed.rig.arrays.stop();
    const stopped = await start(crashed.disks.map((disk) => disk?.bytes.slice() ?? null));
    expect(await seen(openVolume(stopped.rig, 'a'), [0, 32, 192, 224, 255, 416])).toEqual([7, 7, 8, 9, 9, 'EIO']);
  });

  it('journals the columns of a strip that are not in doubt, and they survive a crash in a write over both', async () => {
    const { rig, disks, volume } = await forced();
    // Columns 0 to 15 of the first stripe are made consistent; 16 to 31 are still inconsistent.
    await volume.write(32, blocks(16, 7));
    await volume.flush();
    expect(await seen(volume, [32, 47, 48])).toEqual([7, 7, 'EIO']);
    // Slot 0 gets its part of a write to all columns; the parity on slot 2 is not written.
    disks[2]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataAt ? null : Status.Ok);
    void volume.write(0, blocks(32, 8)).catch(() => undefined);
    await until(() => disks[2]!.held.length > 0, 'the parity is held back');
    const again = await start(disks.map((disk) => disk?.bytes.slice() ?? null));
    expect(await seen(openVolume(again.rig, 'a'), [32, 47, 48])).toEqual([7, 7, 'EIO']);
    expect(rig.arrays.get('a')?.state).toBe('online');
  });
});

describe('a write that fails on more members than can be lost', () => {
  it('is resynchronised by itself on a complete array, and then counts as good', async () => {
    const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 4 });
    await volume.write(0, blocks(64, 1));
    await volume.flush();
    const array = arrayOf(rig, 'a');
    failDataWrites(...disks);
    await expect(volume.write(0, blocks(1, 2))).rejects.toThrow();
    repair(...disks);
    expect(array.numInSync).toBe(3);
    expect(array.bitmap!.regionsToResync).toBe(1);
    await until(() => array.history.length > 0, 'a resync has come by itself');
    expect(array.bitmap!.regionsToResync).toBe(0);
    await rig.arrays.removeBaseBdev('m0');
    expect(await seen(volume, [0, 32])).toEqual([1, 1]);
  });

  it('is resynchronised by itself on an array without superblocks too', async () => {
    const rig = newRig();
    const disks: RamDisk[] = [];
    for (const index of [0, 1, 2])
      disks.push(
        (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(2 << 20) })).disk,
      );
    await rig.arrays.create({ name: 'a', level: 'raid5f', baseBdevs: ['m0', 'm1', 'm2'], stripSizeKb: 16 });
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(64, 1));
    const array = arrayOf(rig, 'a');
    for (const disk of disks) disk.fault = (io) => (io.type === IoType.Write ? Status.IoError : Status.Ok);
    await expect(volume.write(0, blocks(1, 2))).rejects.toThrow();
    repair(...disks);
    await until(() => array.history.length > 0, 'a resync has come by itself');
    expect(array.consistency.isAllInSync).toBe(true);
    await rig.arrays.removeBaseBdev('m0');
    expect(await seen(volume, [0, 32])).toEqual([1, 1]);
  });

  it('puts nothing in doubt where the parity is on the absent member', async () => {
    const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
    await volume.write(0, blocks(4096, 1));
    await rig.arrays.removeBaseBdev('m2');
    const array = arrayOf(rig, 'a');
    // The first stripe has its parity on slot 2.
    failDataWrites(disks[0]!);
    await expect(volume.write(0, blocks(1, 2))).rejects.toThrow();
    repair(disks[0]!);
    expect(array.consistency.isAllInSync).toBe(true);
    await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(3 << 20) });
    await rig.arrays.addBaseBdev('a', 'm9');
    await array.processEnded;
    expect(array.numInSync).toBe(3);
  });

  it('does not end the journal, which stands for the rest', async () => {
    const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 4 });
    await volume.write(0, blocks(64, 1));
    const array = arrayOf(rig, 'a');
    await rig.arrays.removeBaseBdev('m1');
    await until(() => array.journal!.slots[0] === 1, 'journaled');
    failDataWrites(disks[0]!);
    await expect(volume.write(0, blocks(1, 2))).rejects.toThrow();
    repair(disks[0]!);
    expect(await seen(volume, [32])).toEqual(['EIO']);
    expect(array.journal!.slots).toEqual([1]);
    await until(() => array.journal!.doubt.isCurrent, 'the doubt is on record');
    const again = await start(disks.map(({ bytes }, index) => (index === 1 ? null : bytes.slice())));
    expect(arrayOf(again.rig, 'a').state).toBe('online');
    await volume.write(0, blocks(64, 3));
    await rig.arrays.addBaseBdev('a', 'm1');
    await array.processEnded;
    await rig.arrays.removeBaseBdev('m2');
    await volume.write(0, blocks(1, 4));
    expect(array.journal!.slots).toEqual([2]);
    expect(await seen(volume, [0, 1, 32])).toEqual([4, 3, 3]);
  });
});

describe('parity that is trusted on request', () => {
  it('is trusted everywhere: reads, rebuild and journal', async () => {
    const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
    await volume.write(0, blocks(4096, 1));
    const array = arrayOf(rig, 'a');
    await rig.arrays.removeBaseBdev('m1');
    await until(() => array.journal!.slots[0] === 1, 'journaled');
    failDataWrites(disks[0]!);
    await expect(volume.write(0, blocks(1, 2))).rejects.toThrow();
    repair(disks[0]!);
    expect(await seen(volume, [32])).toEqual(['EIO']);
    rig.arrays.trustRedundancy('a');
    expect(await seen(volume, [33])).toEqual([1]);
    await until(() => array.journal!.doubt.isCurrent, 'that is on record');
    await rig.arrays.addBaseBdev('a', 'm1');
    await array.processEnded;
    expect(array.numInSync).toBe(3);
  });

  it('is refused for copies, which would all be read though they differ', async () => {
    const { rig, disks, volume } = await build('raid1', 2);
    await volume.write(0, blocks(8, 1));
    const images = disks.map(({ bytes }) => bytes.slice());
    images[1]!.fill(2, dataAt * 512, (dataAt + 8) * 512);
    const again = await start(images);
    expect(() => again.rig.arrays.trustRedundancy('a')).toThrow(/no parity/);
    const copy = openVolume(again.rig, 'a');
    for (let round = 0; round < 4; round++) expect(await seen(copy, [0])).toEqual([1]);
    volume.descriptor.close();
    await rig.arrays.stop();
  });
});

it.each(['raid1', 'raid5f'])(
  '%s: bytes that their owner changes while they are being written are on all members as they were given',
  async (level) => {
    const { disks, volume, rig } = await build(level, 3);
    const held = disks.map((disk) => disk.held);
    const isData = (type: IoType, offsetBlocks: number): boolean => type === IoType.Write && offsetBlocks >= dataAt;
    // The first member has the write, which the others get later.
    for (const disk of disks.slice(1)) disk.fault = (io) => (isData(io.type, io.offsetBlocks) ? null : Status.Ok);
    const bytes = blocks(1, 1);
    const written = volume.write(0, bytes);
    bytes.fill(2);
    await until(() => held.flat().length > 0, 'one member has it, another one has not');
    bytes.fill(3);
    disks.forEach((disk) => {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    });
    await written;
    expect(await volume.read(0, 1)).toEqual(blocks(1, 1));
    rig.arrays.startSync('a', 'check');
    await arrayOf(rig, 'a').processEnded;
    expect(arrayOf(rig, 'a').history[0]).toMatchObject({ type: 'check', mismatchBlocks: 0, error: null });
    volume.descriptor.close();
  },
);

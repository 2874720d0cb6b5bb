import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { expect, it } from 'vitest';
import { blocks, build, bytesOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const dataOffset = 2048;

/** From now on reads fail that touch one of these blocks of the data area, until it is written. */
function makeUnreadable(disk: RamDisk, bad: Iterable<number>): void {
  const left = new Set(bad);
  disk.fault = (io) => {
    if (io.offsetBlocks < dataOffset) return Status.Ok;
    const covered = [...left].filter((block) => touches(io, block));
    if (io.type === IoType.Read) return covered.length > 0 ? Status.IoError : Status.Ok;
    if (io.type === IoType.Write || io.type === IoType.WriteZeroes) for (const block of covered) left.delete(block);
    return Status.Ok;
  };
}

function touches({ offsetBlocks, numBlocks }: BdevIo, block: number): boolean {
  return offsetBlocks <= dataOffset + block && dataOffset + block < offsetBlocks + numBlocks;
}

async function startFrom(
  disks: readonly (RamDisk | null)[],
  uuids = disks.map((_, index) => index),
): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig({ assembly: { degradedStartMs: 50 } });
  const plugged: RamDisk[] = [];
  for (const [index, disk] of disks.entries()) {
    if (disk !== null)
      plugged.push(
        (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(uuids[index]!), bytes: disk.bytes.slice() })).disk,
      );
  }
  await rig.registry.waitForExamine();
  await until(() => rig.arrays.get('a')?.state === 'online', 'online');
  return { rig, disks: plugged };
}

it('a rebuild passes over what its source cannot read, and the target never answers for it', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 4 });
  await volume.write(0, blocks(2048, 7));
  await rig.arrays.removeBaseBdev('m1');
  disks[1]!.bytes.fill(0xee, MiB);
  makeUnreadable(disks[0]!, [100, 101, 1999]);
  const { disk: target } = await plugIn(rig.registry, {
    name: 'm9',
    uuid: memberUuid(9),
    bytes: new Uint8Array(5 * MiB).fill(0xee),
  });
  await rig.arrays.addBaseBdev('a', 'm9');
  const array = arrayOf(rig, 'a');
  await until(() => array.numInSync === 2 && array.process === null, 'rebuilt');
  expect(array.history[0]).toMatchObject({
    type: 'rebuild',
    error: null,
    lostBlocks: 3,
    unreadable: [
      { slot: 1, memberOffsetBlocks: 100, numBlocks: 2, isLost: true },
      { slot: 1, memberOffsetBlocks: 1999, numBlocks: 1, isLost: true },
    ],
  });
  expect(array.slots[0]!.errors.read).toBe(3);
  const expected = [7, 'EIO', 'EIO', 7];
  expect(await bytesOf(volume, 99, 4)).toEqual(expected);
  // The result is the same without m0, and after a start.
  await rig.arrays.removeBaseBdev('m0');
  expect(await bytesOf(volume, 99, 4)).toEqual(expected);
  await array.metadata.update();
  const again = await startFrom([null, target], [0, 9]);
  const client = openVolume(again.rig, 'a');
  expect(await bytesOf(client, 99, 4)).toEqual(expected);
  expect(await bytesOf(client, 1999, 1)).toEqual(['EIO']);
  // What is written is good, on record before the write is answered.
  await client.write(100, blocks(1, 8), { fua: true });
  const third = await startFrom([null, again.disks[0]!], [0, 9]);
  expect(await bytesOf(openVolume(third.rig, 'a'), 99, 4)).toEqual([7, 8, 'EIO', 7]);
});

it('what a rebuild could not work out is on record before it goes on, and so is flushed what was written in its place', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 4 });
  await volume.write(0, blocks(2048, 7));
  await volume.write(volume.numBlocks - 8, blocks(8, 7));
  await rig.arrays.removeBaseBdev('m1');
  makeUnreadable(disks[0]!, [5]);
  const { disk: target } = await plugIn(rig.registry, {
    name: 'm9',
    uuid: memberUuid(9),
    bytes: new Uint8Array(5 * MiB).fill(0xee),
  });
  // The rebuild stops at its last region, for so long that the first one becomes clean.
  target.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataOffset + 3 * 2048 ? null : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm9');
  await until(() => target.held.length > 0, 'the rebuild is at its last region');
  const { bitmap } = arrayOf(rig, 'a');
  await until(() => bitmap!.states[0] === RegionState.Clean && bitmap!.isIdle, 'the first region is clean, on record');
  // The process crashes there. The block can be read again, but the rebuild skips it: only the list records that it is bad.
  const crashed = [disks[0]!, target].map((disk) => disk.bytes.slice());
  const rig2 = newRig({ assembly: { degradedStartMs: 50 } });
  const again: RamDisk[] = [];
  for (const [index, bytes] of crashed.entries())
    again.push((await plugIn(rig2.registry, { name: `m${index}`, uuid: memberUuid(index * 9), bytes })).disk);
  makeUnreadable(again[0]!, [5]);
  await until(() => rig2.arrays.get('a')?.numInSync === 2, 'rebuilt');
  const array = arrayOf(rig2, 'a');
  await array.processEnded;
  expect(again[1]!.log.some((entry) => entry.startsWith(`write ${dataOffset}+`))).toBe(false);
  expect(array.badBlocks.list()).toEqual([{ slot: 1, offsetBlocks: 5, numBlocks: 1 }]);
  again[1]!.log.length = 0;
  await openVolume(rig2, 'a').write(5, blocks(1, 8));
  const { log } = again[1]!;
  const written = log.indexOf(`write ${dataOffset + 5}+1`);
  const listed = log.findIndex((entry) => entry === 'write 512+8' || entry === 'write 640+8');
  expect(written).toBeGreaterThanOrEqual(0);
  expect(log.slice(written, listed)).toContain('flush');
});

it('a source that can be read at the second try loses nothing', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 2 });
  await volume.write(0, blocks(2048, 7));
  await rig.arrays.removeBaseBdev('m1');
  disks[1]!.bytes.fill(0xee, MiB);
  // The errors last as long as the first pass.
  disks[0]!.fault = (io) =>
    io.type === IoType.Read && touches(io, 300) && (array.process?.offsetBlocks ?? 0) < 4096 ? Status.IoError : Status.Ok;
  const array = arrayOf(rig, 'a');
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => array.numInSync === 2 && array.process === null, 'rebuilt');
  expect(array.history[0]).toMatchObject({ type: 'rebuild', error: null, lostBlocks: 0 });
  expect(array.badBlocks.size).toBe(0);
  await rig.arrays.removeBaseBdev('m0');
  expect(await bytesOf(volume, 299, 3)).toEqual([7, 7, 7]);
});

it('raid5f: what a rebuild could not work out is EIO, also for its neighbours when they are lost, and heals by writing', async () => {
  const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
  // Stripe 0: chunk 0 on m0, chunk 1 on m1, parity on m2.
  await volume.write(0, blocks(32, 1));
  await volume.write(32, blocks(32, 2));
  await rig.arrays.removeBaseBdev('m1');
  disks[1]!.bytes.fill(0xee, MiB);
  makeUnreadable(disks[0]!, [5]);
  await rig.arrays.addBaseBdev('a', 'm1');
  const array = arrayOf(rig, 'a');
  await until(() => array.numInSync === 3 && array.process === null, 'rebuilt');
  expect(await bytesOf(volume, 4, 3)).toEqual([1, 'EIO', 1]);
  expect(await bytesOf(volume, 32 + 4, 3)).toEqual([2, 'EIO', 2]);
  // The parity alone does not tell what m0 holds there.
  await rig.arrays.removeBaseBdev('m0');
  expect(await bytesOf(volume, 4, 3)).toEqual([1, 'EIO', 1]);
  await volume.write(0, blocks(64, 3));
  expect(await bytesOf(volume, 4, 3)).toEqual([3, 3, 3]);
  expect(await bytesOf(volume, 32 + 4, 3)).toEqual([3, 3, 3]);
  expect(array.badBlocks.size).toBe(0);
});

it('bad blocks are good again once redundancy can be read', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 2 });
  await volume.write(0, blocks(64, 7));
  await rig.arrays.removeBaseBdev('m1');
  disks[1]!.bytes.fill(0xee, MiB);
  makeUnreadable(disks[0]!, [5]);
  await rig.arrays.addBaseBdev('a', 'm1');
  const array = arrayOf(rig, 'a');
  await until(() => array.numInSync === 2 && array.process === null, 'rebuilt');
  expect(array.badBlocks.size).toBe(1);
  disks[0]!.fault = () => Status.Ok;
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'check', error: null, mismatchBlocks: 0, unreadableBlocks: 1, lostBlocks: 0 });
  expect(array.badBlocks.size).toBe(0);
  await rig.arrays.removeBaseBdev('m0');
  expect(await bytesOf(volume, 4, 3)).toEqual([7, 7, 7]);
});

it('a rebuild of an array without superblocks, which cannot keep a list, does not take the target', async () => {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const index of [0, 1])
    disks.push(
      (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(2 * MiB) })).disk,
    );
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'] });
  const array = arrayOf(rig, 'a');
  await rig.arrays.removeBaseBdev('m1');
  disks[0]!.fault = (io) => (io.type === IoType.Read && touches(io, 5) ? Status.IoError : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => array.history.length > 0, 'it has ended');
  await array.processEnded;
  expect(array.history[0]!.error).toMatch(/no room for a list of bad blocks/);
  expect(array.numInSync).toBe(1);
});

it('a member that is replaced by another takes along what could not be read, and nothing more', async () => {
  const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
  await volume.write(0, blocks(64, 1));
  // m0 cannot read two blocks, of which the others know one.
  makeUnreadable(disks[0]!, [5, 9]);
  makeUnreadable(disks[1]!, [5]);
  const { disk } = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(3 * MiB).fill(0xee) });
  await rig.arrays.replaceBaseBdev('a', 'm0', 'm9');
  const array = arrayOf(rig, 'a');
  await until(() => array.history.length > 0, 'replaced');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'replace', error: null, lostBlocks: 1 });
  expect(array.slots[0]!.name).toBe('m9');
  expect(array.badBlocks.list()).toEqual([{ slot: 0, offsetBlocks: 5, numBlocks: 1 }]);
  expect(await bytesOf(volume, 4, 6)).toEqual([1, 'EIO', 1, 1, 1, 1]);
  expect(disk.bytes[MiB + 9 * 512]).toBe(1);
  // The list is the new device's at the next start too.
  const again = await startFrom([disk, disks[1]!, disks[2]!], [9, 1, 2]);
  expect(arrayOf(again.rig, 'a').badBlocks.list()).toEqual([{ slot: 0, offsetBlocks: 5, numBlocks: 1 }]);
});

for (const level of ['raid1', 'raid5f']) {
  for (const type of ['check', 'repair'] as const) {
    for (const slot of [0, 1, 2]) {
      it(`${level}: a ${type} names the unreadable blocks of slot ${slot}, counts them, and rewrites them`, async () => {
        const { rig, disks, volume } = await build(level, 3, { mebibytes: 2 });
        await volume.write(0, blocks(2048, 7));
        const array = arrayOf(rig, 'a');
        const wanted = disks[slot]!.bytes.slice();
        // These are eight sectors, and another one.
        const bad = [96, 97, 98, 99, 100, 101, 102, 103, 500];
        makeUnreadable(disks[slot]!, bad);
        for (const block of bad) disks[slot]!.bytes.fill(0xee, MiB + block * 512, MiB + (block + 1) * 512);
        rig.arrays.startSync('a', type);
        await array.processEnded;
        expect(array.history[0]).toMatchObject({
          type,
          error: null,
          mismatchBlocks: 0,
          unreadableBlocks: 9,
          lostBlocks: 0,
          repairedBlocks: 9,
          unreadable: [
            { slot, memberOffsetBlocks: 96, numBlocks: 8, isLost: false },
            { slot, memberOffsetBlocks: 500, numBlocks: 1, isLost: false },
          ],
        });
        expect(array.slots.map(({ errors }) => errors.read)).toEqual([0, 1, 2].map((index) => (index === slot ? 9 : 0)));
        expect(array.slots[slot]!.errors.repaired).toBe(9);
        expect(Buffer.compare(disks[slot]!.bytes.subarray(MiB), wanted.subarray(MiB))).toBe(0);
      });
    }
  }
}

it('a check that meets blocks which redundancy does not know says so, and leaves them', async () => {
  const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
  await volume.write(0, blocks(64, 7));
  makeUnreadable(disks[0]!, [5]);
  makeUnreadable(disks[1]!, [5]);
  const array = arrayOf(rig, 'a');
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ mismatchBlocks: 0, unreadableBlocks: 2, lostBlocks: 2, repairedBlocks: 0 });
  expect(array.history[0]!.error).toMatch(/2 blocks cannot be read or reconstructed/);
});

it('of three copies, one unreadable and two that differ, no content is given a majority by a check', async () => {
  const { rig, disks, volume } = await build('raid1', 3, { mebibytes: 2 });
  await volume.write(0, blocks(64, 7));
  makeUnreadable(disks[0]!, [5]);
  disks[2]!.bytes.fill(9, MiB + 5 * 512, MiB + 6 * 512);
  const array = arrayOf(rig, 'a');
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ mismatchBlocks: 1, unreadableBlocks: 1, repairedBlocks: 0 });
  rig.arrays.startSync('a', 'repair');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ undecidedBlocks: 1, repairedBlocks: 0 });
  expect([disks[1]!, disks[2]!].map(({ bytes }) => bytes[MiB + 5 * 512])).toEqual([7, 9]);
});

it('raid5f: a resync over a block that cannot be read ends, and what is derived from it is not believed', async () => {
  const { disks: before, volume } = await build('raid5f', 3, { mebibytes: 2 });
  await volume.write(0, blocks(32, 1));
  await volume.write(32, blocks(32, 2));
  await volume.flush();
  // After this crash the parity is older than the data.
  const torn = before[2]!;
  torn.bytes.fill(0x55, MiB, MiB + 32 * 512);
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const [index, { bytes }] of before.entries()) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
    disks.push(disk);
    if (index === 0) makeUnreadable(disk, [5]);
  }
  await rig.registry.waitForExamine();
  const array = arrayOf(rig, 'a');
  await until(() => array.history.length > 0 && array.process === null, 'the resync has ended');
  expect(array.history[0]).toMatchObject({ type: 'resync', error: null, lostBlocks: 1 });
  expect(array.consistency.isAllInSync).toBe(true);
  expect(array.badBlocks.list()).toEqual([{ slot: 2, offsetBlocks: 5, numBlocks: 1 }]);
  const client = openVolume(rig, 'a');
  expect(await bytesOf(client, 4, 3)).toEqual([1, 'EIO', 1]);
  // Without m1 its block is not guessed from the neighbour.
  await rig.arrays.removeBaseBdev('m1');
  expect(await bytesOf(client, 32 + 4, 3)).toEqual([2, 'EIO', 2]);
});

it('raid5f: a rebuild where parity is in doubt is complete without what would be a guess', async () => {
  const { disks: before, volume } = await build('raid5f', 3, { mebibytes: 2 });
  await volume.write(0, blocks(64, 1));
  await volume.flush();
  // The array has crashed and lost m1, and is started by force.
  const rig = newRig();
  for (const index of [0, 2])
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: before[index]!.bytes.slice() });
  await rig.registry.waitForExamine();
  await rig.arrays.startDegraded('a', { force: true });
  const array = arrayOf(rig, 'a');
  const client = openVolume(rig, 'a');
  await client.write(64, blocks(64, 4));
  await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(3 * MiB).fill(0xee) });
  await rig.arrays.addBaseBdev('a', 'm9');
  await until(() => array.numInSync === 3 && array.history.some(({ type }) => type === 'rebuild'), 'rebuilt');
  expect(array.history.find(({ type }) => type === 'rebuild')!.error).toBeNull();
  await until(() => array.consistency.isAllInSync && array.process === null, 'resynchronised');
  expect(await bytesOf(client, 31, 2)).toEqual([1, 'EIO']);
  expect(await bytesOf(client, 64, 1)).toEqual([4]);
  await client.write(0, blocks(64, 5));
  expect(await bytesOf(client, 32, 1)).toEqual([5]);
  await rig.arrays.removeBaseBdev('m0');
  expect(await bytesOf(client, 0, 1)).toEqual([5]);
});

it.each([true, false])(
  'a partial write of raid5f goes on beside blocks that cannot be read, with superblocks: %s',
  async (superblock) => {
    const rig = newRig();
    const disks: RamDisk[] = [];
    for (let index = 0; index < 4; index++) {
      const bytes = new Uint8Array(3 * MiB);
      disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
    }
    await rig.arrays.create({ name: 'a', level: 'raid5f', baseBdevs: ['m0', 'm1', 'm2', 'm3'], superblock, stripSizeKb: 16 });
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(96, 1));
    // Stripe 0 has its parity on slot 3. One way to the new parity needs slot 1 at column 4, the other one slot 0 at column 5.
    const offset = superblock ? dataOffset : 0;
    const fail = (disk: RamDisk, block: number): void => {
      disk.fault = (io) => {
        const isHit =
          io.type === IoType.Read && io.offsetBlocks <= offset + block && offset + block < io.offsetBlocks + io.numBlocks;
        return isHit ? Status.IoError : Status.Ok;
      };
    };
    fail(disks[1]!, 4);
    fail(disks[0]!, 5);
    await volume.write(4, blocks(2, 2));
    for (const disk of disks) disk.fault = () => Status.Ok;
    await rig.arrays.removeBaseBdev('m0');
    expect(await bytesOf(volume, 0, 8)).toEqual([1, 1, 1, 1, 2, 2, 1, 1]);
    expect(await bytesOf(volume, 32, 64)).toEqual(Array(64).fill(1));
  },
);

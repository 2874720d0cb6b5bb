import { IoType, Status } from '@raidkit/bdev';
import { afterEach, describe, expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { arrayOf, memberUuid, newRig, openVolume, takeMemory, until } from '../../../test/support/rig.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';

/** Members have their data behind this block. */
const dataOffset = 2048;

let built: Built;
afterEach(() => {
  if (built.volume.descriptor.bdev.state === 'registered') built.volume.descriptor.close();
});

/** Strips of eight blocks: a stripe of raid5f's is 24 blocks, one of raid6's is 16 with four members. */
async function filled(level: string, members = 4): Promise<Built> {
  built = await build(level, members, { stripSizeKb: 4 });
  const { rig, volume } = built;
  await volume.write(0, blocks(96, 1));
  await until(() => arrayOf(rig, 'a').process === null, 'the first resync is over');
  return built;
}

const counts = () => ({ ...arrayOf(built.rig, 'a').gatheredWrites });

/** Returns one byte of each block. */
async function seen(first: number, count: number): Promise<number[]> {
  const bytes = await built.volume.read(first, count);
  return Array.from({ length: count }, (_, block) => bytes[block * 512]!);
}

/** Checks that parity matches the data on the members' disks. */
function expectAgreement(): void {
  const { disks, rig } = built;
  const { module } = arrayOf(rig, 'a');
  if (module.level !== 'raid5f') return;
  const [first, ...others] = disks.map(({ bytes }) => bytes.subarray(dataOffset * 512, (dataOffset + 32) * 512));
  const sum = first!.map((byte, index) => others.reduce((all, bytes) => all ^ bytes[index]!, byte));
  expect(sum.every((byte) => byte === 0)).toBe(true);
}

describe.each(['raid5f', 'raid6'])('%s: writes that follow one another', (level) => {
  it('are made as one while the first of them is under way', async () => {
    const { volume } = await filled(level);
    await Promise.all(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 10 + block))));
    // The second does not wait: two small ones side by side take no longer than one.
    expect(counts()).toEqual({ requests: 6, operations: 1, failed: 0 });
    expect(await seen(0, 9)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 1]);
    expectAgreement();
  });

  it('are made alone where each comes after the one before', async () => {
    const { volume } = await filled(level);
    for (let block = 0; block < 8; block++) await volume.write(block, blocks(1, 2));
    expect(counts()).toEqual({ requests: 0, operations: 0, failed: 0 });
  });

  it('are cut at the end of a stripe', async () => {
    const { volume } = await filled(level);
    const stripe = arrayOf(built.rig, 'a').stripe().arrayBlocks;
    const first = stripe / 2;
    await Promise.all(Array.from({ length: stripe }, (_, index) => volume.write(first + index, blocks(1, 2 + index))));
    expect(counts()).toEqual({ requests: stripe - 2, operations: 2, failed: 0 });
    expect(await seen(first, stripe)).toEqual(Array.from({ length: stripe }, (_, index) => 2 + index));
    expectAgreement();
  });

  it('are whole stripes where they fill one: nothing of it is read', async () => {
    const { disks, volume } = await filled(level);
    const stripe = arrayOf(built.rig, 'a').stripe().arrayBlocks;
    // The last write of the preceding stripe continues the stream.
    for (const disk of disks) disk.log.length = 0;
    await Promise.all([
      volume.write(stripe - 1, blocks(1, 3)),
      ...Array.from({ length: stripe / 4 }, (_, index) => volume.write(stripe + 4 * index, blocks(4, 4))),
    ]);
    expect(counts()).toEqual({ requests: stripe / 4, operations: 1, failed: 0 });
    const reads = disks.flatMap(({ log }) => log.filter((line) => line.startsWith('read')));
    expect(reads.every((line) => line === `read ${dataOffset + 7}+1`)).toBe(true);
    expectAgreement();
  });

  it('are made in the order of their submission where they overlap', async () => {
    const { volume } = await filled(level);
    await Promise.all([
      volume.write(0, blocks(1, 2)),
      volume.write(1, blocks(3, 3)),
      volume.write(4, blocks(2, 4)),
      volume.write(3, blocks(2, 5)),
      volume.write(6, blocks(1, 6)),
      volume.write(5, blocks(1, 0)),
    ]);
    expect(await seen(0, 8)).toEqual([2, 3, 3, 5, 5, 0, 6, 1]);
    expectAgreement();
  });

  it('are not made one where one is to be on stable media and the other is not', async () => {
    const { disks, volume } = await filled(level);
    for (const disk of disks) disk.log.length = 0;
    await Promise.all([
      volume.write(0, blocks(1, 2)),
      volume.write(1, blocks(1, 3)),
      volume.write(2, blocks(1, 4), { fua: true }),
      volume.write(3, blocks(1, 5), { fua: true }),
      volume.write(4, blocks(1, 6)),
      volume.write(5, blocks(1, 7)),
    ]);
    expect(counts()).toEqual({ requests: 4, operations: 2, failed: 0 });
    const flushed = disks.filter(({ log }) => log.includes('flush'));
    // The I/O of a single write: a data member, and parity.
    expect(flushed).toHaveLength(level === 'raid5f' ? 2 : 3);
    expect(await seen(0, 6)).toEqual([2, 3, 4, 5, 6, 7]);
  });

  it('go one by one where there is no memory to put them together', async () => {
    const { rig, volume } = await filled(level);
    const giveBack = takeMemory(rig);
    await Promise.all(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2))));
    giveBack();
    expect(counts().operations).toBe(0);
    expect(await seen(0, 9)).toEqual([2, 2, 2, 2, 2, 2, 2, 2, 1]);
  });

  it('go one by one once the array has no member left to lose', async () => {
    const { disks, rig, volume } = await filled(level);
    const lost = level === 'raid5f' ? [0] : [0, 1];
    // The first write removes the members, and the others have waited for it.
    for (const slot of lost)
      disks[slot]!.fault = (io) => (io.offsetBlocks >= dataOffset && io.type !== IoType.Flush ? Status.IoError : Status.Ok);
    await Promise.all(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2))));
    await Promise.all(Array.from({ length: 16 }, (_, block) => volume.write(block, blocks(1, 3))));
    expect(arrayOf(rig, 'a').canLose).toBe(0);
    const before = counts();
    await Promise.all(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 4))));
    expect(counts()).toEqual(before);
    expect(await seen(0, 17)).toEqual([...Array.from({ length: 8 }, () => 4), ...Array.from({ length: 8 }, () => 3), 1]);
  });

  it('are in flight for a quiesce of their range', async () => {
    const { disks, rig, volume } = await filled(level);
    for (const disk of disks) disk.delayTurns = () => 2;
    const writes = Promise.all(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2))));
    const { bdev } = arrayOf(rig, 'a');
    await new Promise(setImmediate);
    const held = await new Promise<number[]>((resolve) => {
      const range = bdev!.quiesce(0, 8, () => {
        resolve(disks.map(({ bytes }) => bytes[(dataOffset + 7) * 512]!));
        bdev!.unquiesce(range);
      });
    });
    expect(held).toContain(2);
    await writes;
  });

  it('keep a stopping array until they are done', async () => {
    const { disks, rig, volume } = await filled(level);
    for (const disk of disks) disk.delayTurns = () => 2;
    const writes = Promise.all(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2))));
    await new Promise(setImmediate);
    const gone = rig.arrays.delete('a', { clearSuperblock: false });
    await writes;
    volume.descriptor.close();
    await gone;
    expect(disks.some(({ bytes }) => bytes[(dataOffset + 7) * 512] === 2)).toBe(true);
  });

  it('keep a stopping array, and what it has of memory, also when their client has given them up', async () => {
    const { disks, rig, volume } = await filled(level);
    volume.descriptor.ioTimeoutMs = 20;
    for (const disk of disks)
      disk.fault = (io) => (io.offsetBlocks >= dataOffset && io.type !== IoType.Flush ? null : Status.Ok);
    const ends = await Promise.allSettled(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2))));
    expect(ends.every(({ status }) => status === 'rejected')).toBe(true);
    volume.descriptor.close();
    let isGone = false;
    const gone = rig.arrays.delete('a', { clearSuperblock: false }).then(() => (isGone = true));
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    expect(isGone).toBe(false);
    for (const disk of disks) {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    }
    await gone;
    expect(rig.registry.ios.outstanding).toBe(0);
    expect(rig.registry.runtime.memory.freeBytes).toBe(newRig().registry.runtime.memory.freeBytes);
  });
});

/** Parity cannot be told for one column, whichever way: what is written there, and what is not, cannot be read. */
function failReadsOfBlock3(disks: readonly RamDisk[]): void {
  for (const disk of disks.slice(0, 2))
    disk.fault = ({ numBlocks, offsetBlocks, type }) =>
      type === IoType.Read && offsetBlocks <= dataOffset + 3 && dataOffset + 3 < offsetBlocks + numBlocks
        ? Status.IoError
        : Status.Ok;
}

describe('of gathered writes', () => {
  it('only those fail whose own blocks cannot be written', async () => {
    const { disks, volume } = await filled('raid5f');
    failReadsOfBlock3(disks);
    const ends = await Promise.allSettled(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2))));
    expect(ends.map(({ status }) => status === 'fulfilled')).toEqual([true, true, true, false, true, true, true, true]);
    expect(counts()).toMatchObject({ operations: 1, failed: 1 });
    for (const disk of disks) disk.fault = () => Status.Ok;
    expect(await seen(4, 5)).toEqual([2, 2, 2, 2, 1]);
  });

  it('those that have failed are not made again over what was written after them', async () => {
    const { disks, volume } = await filled('raid5f');
    failReadsOfBlock3(disks);
    const early = Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2)));
    const late = volume.write(5, blocks(1, 9));
    const ends = await Promise.allSettled([...early, late]);
    expect(counts()).toMatchObject({ operations: 1, failed: 1 });
    expect(ends.map(({ status }) => status === 'fulfilled')).toEqual([true, true, true, false, true, false, true, true, true]);
    for (const disk of disks) disk.fault = () => Status.Ok;
    expect(await seen(4, 5)).toEqual([2, 9, 2, 2, 1]);
  });

  it('what is answered as lost is on record before, also where it is not made again', async () => {
    built = await build('raid5f', 4, { stripSizeKb: 16, integrity: true });
    const { disks, rig, volume } = built;
    await volume.write(0, blocks(96, 1));
    await until(() => arrayOf(rig, 'a').process === null, 'the first resync is over');
    const array = arrayOf(rig, 'a');
    const record = array.recordDamage.bind(array);
    const told: string[] = [];
    array.recordDamage = (from, count) => record(from, count).finally(() => told.push('recorded'));
    // What is there is not what was written: two members' blocks are damaged where the writes need them.
    for (const slot of [0, 1]) {
      const at = array.slots[slot]!.dataOffset * 512;
      disks[slot]!.bytes.fill(99, at, at + 32 * 512);
    }
    const early = Array.from({ length: 12 }, (_, block) => volume.write(block, blocks(1, 2)));
    early[8]!.catch(() => told.push('answered'));
    await Promise.allSettled([...early, volume.write(8, blocks(1, 9))]);
    expect(counts().failed).toBeGreaterThan(0);
    expect(told.indexOf('answered')).toBeGreaterThan(told.indexOf('recorded'));
    expect(told[0]).toBe('recorded');
  });

  it('none is handed to a level that has thrown at them', async () => {
    const { rig, volume } = await filled('raid5f');
    const level = arrayOf(rig, 'a').level!;
    const submitRw = level.submitRw.bind(level);
    const handed: number[] = [];
    let hasThrown = false;
    level.submitRw = (request) => {
      if (hasThrown) handed.push(request.offsetBlocks);
      hasThrown ||= request.numBlocks > 1;
      if (hasThrown) throw new Error('a slip of the author’s');
      submitRw(request);
    };
    const ends = await Promise.allSettled(Array.from({ length: 8 }, (_, block) => volume.write(block, blocks(1, 2))));
    expect(ends.map(({ status }) => status === 'fulfilled')).toEqual(Array.from({ length: 8 }, (_, index) => index < 2));
    expect(handed).toEqual([]);
  });

  it('one that was given up while it waited is not made', async () => {
    const { disks, rig, volume } = await filled('raid5f');
    const hasty = openVolume(rig, 'a');
    hasty.descriptor.ioTimeoutMs = 20;
    for (const disk of disks) disk.fault = (io) => (io.offsetBlocks >= dataOffset ? null : Status.Ok);
    const first = volume.write(0, blocks(4, 2));
    const waiting = [hasty.write(4, blocks(1, 3)), volume.write(5, blocks(1, 4))];
    await expect(waiting[0]).rejects.toMatchObject({ errno: 110 });
    for (const disk of disks) {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    }
    await Promise.all([first, waiting[1]]);
    expect(await seen(0, 7)).toEqual([2, 2, 2, 2, 1, 4, 1]);
    hasty.descriptor.close();
  });

  it('none makes a stripe of an array that refuses parts of one', async () => {
    const rig = newRig();
    for (let index = 0; index < 4; index++)
      await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 << 20) });
    const baseBdevs = ['m0', 'm1', 'm2', 'm3'];
    await rig.arrays.create({
      name: 'a',
      level: 'raid5f',
      baseBdevs,
      stripSizeKb: 4,
      superblock: true,
      options: { full_stripe_only: true },
    });
    const volume = openVolume(rig, 'a');
    built = { rig, disks: [], volume };
    const ends = await Promise.allSettled(Array.from({ length: 7 }, (_, index) => volume.write(20 + 4 * index, blocks(4, 2))));
    expect(ends.every(({ status }) => status === 'rejected')).toBe(true);
  });

  it('one of an array with checksums has those of all its blocks', async () => {
    built = await build('raid5f', 4, { stripSizeKb: 16, integrity: true });
    const { volume } = built;
    await volume.write(0, blocks(96, 1));
    await Promise.all(Array.from({ length: 30 }, (_, block) => volume.write(block, blocks(1, 10 + block))));
    expect(counts().operations).toBeGreaterThan(0);
    expect(await seen(0, 31)).toEqual([...Array.from({ length: 30 }, (_, block) => 10 + block), 1]);
  });
});

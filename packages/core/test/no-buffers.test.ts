import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { arrayOf, newRig, openVolume, takeMemory, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { VolatileDisk, plugInDisk } from '../../../test/support/volatile-disk.js';

const MiB = 1 << 20;
/** Blocks of a strip. */
const strip = 32;
/** First block of the journal, and of the data area, of a member. */
const journalAt = 1024;
const dataAt = 2048;

interface Process {
  rig: Rig;
  disks: Map<number, VolatileDisk>;
  volume: BlockClient;
}

async function build(level: 'raid1' | 'raid5f'): Promise<Process> {
  const rig = newRig({ memoryBytes: 16 << 20 });
  const disks = new Map<number, VolatileDisk>();
  for (let index = 0; index < 3; index++) {
    const disk = new VolatileDisk(rig.registry, new Uint8Array(3 * MiB));
    disks.set(index, disk);
    await plugInDisk(rig.registry, index, disk);
  }
  const baseBdevs = [...disks.keys()].map((index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, ...(level === 'raid1' ? {} : { stripSizeKb: 16 }) });
  const volume = openVolume(rig, 'a');
  for (let at = 0; at < 16 * 2 * strip; at += 2 * strip) await volume.write(at, blocks(2 * strip, 1));
  await volume.flush();
  return { rig, disks, volume };
}

/** Another process finds the disks as they are now: the one before is killed. */
function found(from: Process, without: readonly number[] = []): Pick<Process, 'rig' | 'disks'> {
  const rig = newRig({ memoryBytes: 16 << 20 });
  const disks = new Map<number, VolatileDisk>();
  for (const [index, disk] of from.disks) if (!without.includes(index)) disks.set(index, disk.copyFor(rig.registry));
  return { rig, disks };
}

async function plugAllIn({ rig, disks }: Pick<Process, 'rig' | 'disks'>): Promise<void> {
  for (const [index, disk] of disks) await plugInDisk(rig.registry, index, disk);
  await rig.registry.waitForExamine();
}

/** Gives all shared buffers to users. Call the result to return them. */
function takeAll({ registry: { buffers } }: Rig): () => void {
  const taken: number[] = [];
  for (let addr = buffers.get(1); addr >= 0; addr = buffers.get(1)) taken.push(addr);
  return () => {
    for (const addr of taken) buffers.put(addr);
  };
}

/** Memory is asked for again at once. */
function hurry({ registry: { runtime } }: Rig): void {
  const setTimer = runtime.setTimer.bind(runtime);
  runtime.setTimer = (work, ms) => setTimer(work, ms === 5000 ? 2 : ms);
}

it('a resync for which there was no memory is tried again', async () => {
  const before = await build('raid5f');
  await before.volume.write(0, blocks(strip, 2));
  const next = found(before);
  hurry(next.rig);
  let giveBack = (): void => undefined;
  next.rig.arrays.on(({ type }) => {
    if (type === 'arrayOnline') giveBack = takeMemory(next.rig);
  });
  await plugAllIn(next);
  const array = arrayOf(next.rig, 'a');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(array.bitmap?.regionsToResync).toBeGreaterThan(0);
  giveBack();
  await until(() => array.bitmap?.regionsToResync === 0, 'everything agrees');
  expect(array.numInSync).toBe(3);
});

describe.each(['raid1', 'raid5f'] as const)('while others have all memory, a %s', (level) => {
  it('keeps the member that is to be filled, and fills it when there is some', async () => {
    const { rig, disks, volume } = await build(level);
    hurry(rig);
    await rig.arrays.removeBaseBdev('m0');
    await volume.write(0, blocks(strip, 2));
    const giveBack = takeMemory(rig);
    const { memory } = rig.registry.runtime;
    const refused: number[] = [];
    const allocRegion = memory.allocRegion.bind(memory);
    memory.allocRegion = (bytes) => {
      const addr = allocRegion(bytes);
      if (addr < 0) refused.push(bytes);
      return addr;
    };
    await rig.arrays.addBaseBdev('a', 'm0');
    await until(() => refused.length > 2, 'memory has been asked for in vain');
    expect(arrayOf(rig, 'a').slots[0]).toMatchObject({ name: 'm0', isRebuilding: true, isRemoving: false });
    giveBack();
    await until(() => arrayOf(rig, 'a').numInSync === 3, 'm0 is filled');
    expect(disks.get(0)?.bytes.subarray(dataAt * 512, dataAt * 512 + 512)).toEqual(blocks(1, 2));
  });

  it('lets the member go at once that is taken away meanwhile, and stops at once', async () => {
    const { rig, volume } = await build(level);
    await rig.arrays.removeBaseBdev('m0');
    const giveBack = takeMemory(rig);
    await rig.arrays.addBaseBdev('a', 'm0');
    await rig.arrays.removeBaseBdev('m0');
    expect(rig.registry.get('m0')?.claimedBy).toBeNull();
    await rig.arrays.addBaseBdev('a', 'm0');
    volume.descriptor.close();
    await rig.arrays.stop();
    giveBack();
    expect(rig.registry.get('m0')?.claimedBy).toBeNull();
  });

  it('lets a member go, and fills another one, before a check that has waited for longer', async () => {
    const { rig } = await build(level);
    hurry(rig);
    const types: string[] = [];
    rig.arrays.on((event) => {
      if (event.type === 'processStarted') types.push(event.process);
    });
    const giveBack = takeMemory(rig);
    if (level === 'raid1') await rig.arrays.removeBaseBdev('m0');
    rig.arrays.startSync('a', 'check');
    if (level === 'raid5f') await rig.arrays.removeBaseBdev('m0');
    await rig.arrays.addBaseBdev('a', 'm0');
    // Neither waits for the check, nor touches what comes into its place.
    await rig.arrays.removeBaseBdev('m0');
    await rig.arrays.addBaseBdev('a', 'm0');
    await rig.registry.waitForExamine();
    giveBack();
    await until(() => arrayOf(rig, 'a').numInSync === 3, 'm0 is filled');
    await until(() => types.includes('check'), 'the check has begun');
    expect(types).toEqual(['rebuild', 'check']);
  });

  it('leaves the device alone that has come into the place of one that was to be filled', async () => {
    const { rig } = await build(level);
    hurry(rig);
    await rig.arrays.removeBaseBdev('m0');
    const giveBack = takeMemory(rig);
    await rig.arrays.addBaseBdev('a', 'm0');
    if (level === 'raid1') rig.arrays.startSync('a', 'check');
    const removal = rig.arrays.removeBaseBdev('m0');
    await until(() => arrayOf(rig, 'a').slots[0]?.role === 'empty', 'm0 is out');
    await rig.arrays.addBaseBdev('a', 'm0');
    giveBack();
    await removal;
    await until(() => arrayOf(rig, 'a').numInSync === 3, 'm0 is filled');
    expect(arrayOf(rig, 'a').slots[0]).toMatchObject({ role: 'inSync', name: 'm0' });
  });

  it('replaces a member when there is some', async () => {
    const { rig } = await build(level);
    hurry(rig);
    await plugInDisk(rig.registry, 3, new VolatileDisk(rig.registry, new Uint8Array(3 * MiB)));
    const giveBack = takeMemory(rig);
    await rig.arrays.replaceBaseBdev('a', 'm0', 'm3');
    await new Promise((resolve) => setTimeout(resolve, 20));
    giveBack();
    await until(() => arrayOf(rig, 'a').slots[0]?.name === 'm3', 'm3 has taken the place of m0');
  });

  it('fills the new device from the others if the member fails that it was to replace', async () => {
    const { rig, disks } = await build(level);
    hurry(rig);
    await plugInDisk(rig.registry, 3, new VolatileDisk(rig.registry, new Uint8Array(3 * MiB)));
    const giveBack = takeMemory(rig);
    await rig.arrays.replaceBaseBdev('a', 'm0', 'm3');
    disks.get(0)!.fault = () => Status.IoError;
    await openVolume(rig, 'a').write(0, blocks(2 * strip, 2));
    giveBack();
    await until(() => arrayOf(rig, 'a').numInSync === 3, 'the array is complete again');
    expect(arrayOf(rig, 'a').slots[0]?.name).toBe('m3');
  });
});

describe.concurrent('while users have all buffers', () => {
  it.each(['raid1', 'raid5f'] as const)('a %s is resynchronised, and loses no member', async (level) => {
    const before = await build(level);
    await before.volume.write(0, blocks(strip, 2));
    const next = found(before);
    let giveBack = (): void => undefined;
    next.rig.arrays.on(({ type }) => {
      if (type === 'arrayOnline') giveBack = takeAll(next.rig);
    });
    await plugAllIn(next);
    const array = arrayOf(next.rig, 'a');
    await until(() => array.process === null && array.bitmap?.regionsToResync === 0, 'everything agrees');
    expect(next.rig.events.filter(({ type }) => type === 'memberFailed')).toEqual([]);
    expect(array.numInSync).toBe(3);
    giveBack();
    expect(new Set(await openVolume(next.rig, 'a').read(0, strip))).toEqual(new Set([2]));
  });

  it('the journal of an array without a member is written again', async () => {
    const whole = await build('raid5f');
    await whole.rig.arrays.removeBaseBdev('m0');
    // Stripe 0: its first strip is on m0, and only the others stand for it.
    await whole.volume.write(strip, blocks(strip, 2));
    const next = found(whole, [0]);
    let giveBack: (() => void) | null = null;
    for (const disk of next.disks.values()) {
      disk.fault = ({ type, offsetBlocks }) => {
        if (type === IoType.Read && offsetBlocks >= journalAt && offsetBlocks < dataAt) giveBack ??= takeAll(next.rig);
        return Status.Ok;
      };
    }
    await plugAllIn(next);
    await until(() => arrayOf(next.rig, 'a').state === 'online', 'the array is up');
    expect(giveBack).not.toBeNull();
    giveBack!();
    const volume = openVolume(next.rig, 'a');
    expect(new Set(await volume.read(0, strip))).toEqual(new Set([1]));
    expect(new Set(await volume.read(strip, strip))).toEqual(new Set([2]));
  });

  it('what a member cannot read is given it anew', async () => {
    const { rig, disks, volume } = await build('raid5f');
    const [disk] = disks.values();
    let isBad = true;
    disk!.fault = ({ type, offsetBlocks, numBlocks }) => {
      const isThere = offsetBlocks <= dataAt && dataAt < offsetBlocks + numBlocks;
      if (!isThere || !isBad) return Status.Ok;
      if (type === IoType.Write) isBad = false;
      return type === IoType.Read ? Status.IoError : Status.Ok;
    };
    let giveBack = (): void => undefined;
    // The read has its own buffer by then.
    const read = volume.read(0, 1);
    queueMicrotask(() => (giveBack = takeAll(rig)));
    expect(new Set(await read)).toEqual(new Set([1]));
    const array = arrayOf(rig, 'a');
    await until(() => array.slots[0]?.errors.repaired === 1, 'the block is rewritten');
    giveBack();
  });
});

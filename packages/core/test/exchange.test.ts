import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { pagesTakenBy } from '../src/start/identity.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

/** A raid1 over m0 and m1 with checksums, of which 256 KiB are written, and a device that is to be a member. */
async function build(sizeMib = 5): Promise<{ rig: Rig; m0: RamDisk; m1: RamDisk; successor: RamDisk; volume: BlockClient }> {
  // The memory for checksums is as small as can be.
  const rig = newRig({ checksumCacheBytes: 0 });
  rig.arrays.setProcessOptions({ windowSizeKb: 64 });
  const plug = async (name: string, index: number): Promise<RamDisk> =>
    (await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes: new Uint8Array(sizeMib * MiB).fill(0xee) })).disk;
  const m0 = await plug('m0', 0);
  const m1 = await plug('m1', 1);
  const successor = await plug('new', 9);
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true, integrity: true });
  const volume = openVolume(rig, 'a');
  await volume.write(0, new Uint8Array(512 * 512).fill(7));
  await volume.flush();
  return { rig, m0, m1, successor, volume };
}

async function restart(disks: Readonly<Record<string, RamDisk>>): Promise<Rig> {
  const rig = newRig();
  for (const [name, disk] of Object.entries(disks)) {
    const index = name === 'new' ? 9 : Number(name.slice(1));
    await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes: disk.bytes.slice() });
  }
  await rig.registry.waitForExamine();
  return rig;
}

const countFlushes = ({ log }: RamDisk): number => log.filter((one) => one === 'flush').length;

it('a flush that the old member fails late is not held against the new one', async () => {
  const { rig, m0, successor, volume } = await build();
  const array = arrayOf(rig, 'a');
  successor.fault = ({ type }) => (type === IoType.Write && array.process !== null ? null : Status.Ok);
  await rig.arrays.replaceBaseBdev('a', 'm0', 'new');
  await until(() => successor.held.length > 0, 'it is being copied');
  m0.fault = ({ type }) => (type === IoType.Flush && m0.held.length === 0 ? null : Status.Ok);
  const flushed = volume.flush().then(
    () => 'flushed',
    () => 'failed',
  );
  await until(() => m0.held.length > 0, 'a flush is under way');
  const flushes = countFlushes(m0);
  successor.fault = () => Status.Ok;
  for (const io of successor.held.splice(0)) successor.finish(io, Status.Ok);
  await until(() => countFlushes(m0) > flushes, 'they are about to change places');
  await new Promise((resolve) => setTimeout(resolve, 50));
  for (const io of m0.held.splice(0)) m0.finish(io, Status.IoError);
  expect(await flushed).toBe('flushed');
  await until(() => array.slots[0]!.name === 'new' && array.slots[0]!.isInSync && array.process === null, 'it is a member');
  expect(rig.events.filter(({ type }) => type === 'memberFailed')).toEqual([expect.objectContaining({ member: 'm0' })]);
});

it('a flush that comes during the exchange waits for it', async () => {
  const { rig, m0, successor, volume } = await build();
  const array = arrayOf(rig, 'a');
  successor.fault = ({ type }) => (type === IoType.Flush && array.process !== null ? null : Status.Ok);
  await rig.arrays.replaceBaseBdev('a', 'm0', 'new');
  await until(() => successor.held.length > 0, 'everything is copied');
  const flushes = countFlushes(m0);
  const flushed = volume.flush().then(() => array.slots[0]!.name);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(countFlushes(m0)).toBe(flushes);
  successor.fault = () => Status.Ok;
  for (const io of successor.held.splice(0)) successor.finish(io, Status.Ok);
  expect(await flushed).toBe('new');
});

it('a member that is given back its place has the pages of the map, and what belongs to it', async () => {
  const { rig, m0, successor, volume } = await build();
  const array = arrayOf(rig, 'a');
  array.slots[0]!.setReadPreference('write-mostly');
  await rig.arrays.removeBaseBdev('m1');
  successor.fault = ({ type, offsetBlocks }) =>
    type === IoType.Write && offsetBlocks === 0 && array.slots[0]!.name === 'new' ? Status.IoError : Status.Ok;
  await rig.arrays.replaceBaseBdev('a', 'm0', 'new');
  await array.processEnded;
  const [slot] = array.slots;
  expect([slot!.name, slot!.isInSync, slot!.readPreference]).toEqual(['m0', true, 'write-mostly']);
  // The header says how many it has taken: with fewer it would be an old image of itself.
  expect(await pagesTakenBy(array.extension!, slot!.descriptor!, array, array.bitmap!.states.length)).toBe(slot!.pagesTaken);
  await volume.flush();
  const again = await restart({ m0 });
  if (arrayOf(again, 'a').state !== 'online') await again.arrays.startDegraded('a');
  expect(new Set(await openVolume(again, 'a').read(0, 512))).toEqual(new Set([7]));
});

it('a page of the old member that is given up is held against it, and not after the exchange', async () => {
  const built = await build(40);
  for (let at = 0; at < 65_536; at += 2048) await built.volume.write(at, new Uint8Array(MiB).fill(3));
  built.volume.descriptor.close();
  await built.rig.arrays.stop();
  // No page has been read since the start.
  const rig = newRig({ checksumCacheBytes: 0 });
  const plug = async (name: string, index: number, bytes: Uint8Array): Promise<RamDisk> =>
    (await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes })).disk;
  const m0 = await plug('m0', 0, built.m0.bytes);
  await plug('m1', 1, built.m1.bytes);
  const successor = await plug('new', 9, built.successor.bytes);
  await rig.registry.waitForExamine();
  const array = arrayOf(rig, 'a');
  const [slot] = array.slots;
  const { dataOffset } = slot!;
  const area = dataOffset + array.sums!.areaAt;
  const { recordsPerPage, sumsPerRecord } = array.extension!.checksums;
  const last = 15 * recordsPerPage * sumsPerRecord * 8;
  let isSlow = true;
  // The last blocks cannot be read while their page is: the other member has them.
  m0.fault = ({ type, offsetBlocks, numBlocks }) => {
    if (type !== IoType.Read || !isSlow) return Status.Ok;
    if (offsetBlocks >= area + 8 * 15) return null;
    return offsetBlocks + numBlocks > dataOffset + last && offsetBlocks < area ? Status.IoError : Status.Ok;
  };
  await rig.arrays.replaceBaseBdev('a', 'm0', 'new');
  await until(() => m0.held.length > 0, 'a page is being read');
  const flushes = countFlushes(successor);
  await until(() => countFlushes(successor) > flushes, 'they are about to change places');
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(slot!.name).toBe('m0');
  isSlow = false;
  for (const io of m0.held.splice(0)) m0.finish(io, Status.TimedOut);
  await until(() => slot!.isInSync && slot!.name === 'new' && array.process === null, 'the new one has been rebuilt');
  expect(rig.events.filter(({ type }) => type === 'memberFailed')).toEqual([expect.objectContaining({ member: 'm0' })]);
  expect(await slot!.sums!.countWithout(0, 65_536)).toBe(0);
});

/** A raid1 of which 32 MiB are written, and the first block of the pages of checksums on members. */
async function buildLarge() {
  const built = await build(40);
  const array = arrayOf(built.rig, 'a');
  const count = (32 * MiB) / 512;
  for (let at = 0; at < count; at += 2048) await built.volume.write(at, new Uint8Array(MiB).fill(3));
  const area = array.slots[0]!.dataOffset + array.sums!.areaAt;
  const begin = async (how: string): Promise<void> => {
    if (how === 'is filled') {
      await built.rig.arrays.removeBaseBdev('m0');
      await built.rig.arrays.addBaseBdev('a', 'new');
    } else await built.rig.arrays.replaceBaseBdev('a', 'm0', 'new');
  };
  /** The number of blocks of the member in slot 0 that nothing would show to be wrong. */
  const unproven = async (): Promise<number> => {
    await until(() => array.process === null && array.slots[0]!.partsInFlight === 0, 'it has ended');
    const [slot] = array.slots;
    return slot!.isInSync ? slot!.sums!.countWithout(0, count) : 0;
  };
  return { ...built, area, array, begin, count, unproven };
}

describe.each(['takes the place of a member', 'is filled'])('a device that %s', (how) => {
  it.each([1, 40])('is no member without checksums that could not be read back at %i attempts', async (times) => {
    const { area, array, begin, count, successor, unproven, volume } = await buildLarge();
    let areHeld = true;
    successor.fault = ({ type, offsetBlocks }) =>
      areHeld && type === IoType.Write && offsetBlocks > count - 2048 && offsetBlocks < area ? null : Status.Ok;
    await begin(how);
    await until(() => successor.held.length > 0, 'nearly everything is copied');
    areHeld = false;
    // The page of the first blocks has been written, and has left the memory since.
    let failed = 0;
    successor.fault = ({ type, offsetBlocks }) =>
      type === IoType.Read && offsetBlocks >= area && failed++ < times ? Status.IoError : Status.Ok;
    const written = volume.write(0, new Uint8Array(8 * 512).fill(4));
    for (const io of successor.held.splice(0)) successor.finish(io, Status.Ok);
    await written;
    expect(await unproven()).toBe(0);
    expect(failed).toBeGreaterThan(0);
    const [slot] = array.slots;
    expect(slot!.isInSync && slot!.name === 'new').toBe(times === 1);
  });

  it('is no member without the checksums that could not be written', async () => {
    const { area, array, begin, count, successor, unproven, volume } = await buildLarge();
    let [areHeld, failed] = [true, 0];
    successor.fault = ({ type, offsetBlocks }) => {
      if (type !== IoType.Write) return Status.Ok;
      if (offsetBlocks >= area) return failed++ < 2 ? Status.IoError : Status.Ok;
      return areHeld && offsetBlocks > count - 2048 ? null : Status.Ok;
    };
    await begin(how);
    await until(() => successor.held.length > 0 || (failed > 0 && array.process === null), 'nearly everything is copied');
    areHeld = false;
    const written = volume.write(0, new Uint8Array(8 * 512).fill(4));
    for (const io of successor.held.splice(0)) successor.finish(io, Status.Ok);
    await written;
    expect(await unproven()).toBe(0);
    expect(failed).toBeGreaterThan(0);
  });
});

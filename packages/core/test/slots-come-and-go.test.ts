import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BlockClient } from '@raidkit/bdev';
import { thirdPartyCodes } from '@raidkit/core';
import type { CopiesModule, CreateArrayOptions, RaidModule } from '@raidkit/core';
import { raid1 } from '@raidkit/raid1';
import { parseSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { extensionLayout, parseHeader } from '../../superblock/src/extension.js';
import { blocks, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume as open, readAll, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/* The number of an array's slots, while it is up: copies that come and go, and space behind the last member. */

const MiB = 1 << 20;

interface Built {
  rig: Rig;
  /** Members and one disk more, `m0` and on. */
  disks: RamDisk[];
  volume: BlockClient;
}

async function plug(rig: Rig, index: number, bytes: Uint8Array): Promise<RamDisk> {
  const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  return disk;
}

async function build(
  members: number,
  options: Partial<CreateArrayOptions> = {},
  more = 1,
  modules: readonly RaidModule[] = [],
): Promise<Built> {
  const rig = newRig();
  for (const module of modules) rig.arrays.modules.register(module);
  const disks: RamDisk[] = [];
  for (let index = 0; index < members + more; index++) disks.push(await plug(rig, index, new Uint8Array(3 * MiB)));
  const baseBdevs = disks.slice(0, members).map((_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs, superblock: true, ...options });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(64, 1));
  return { rig, disks, volume };
}

const opened = new Map<Rig, BlockClient[]>();

function openVolume(rig: Rig, name: string): BlockClient {
  const volume = open(rig, name);
  opened.set(rig, [...(opened.get(rig) ?? []), volume]);
  return volume;
}

async function stop(rig: Rig): Promise<void> {
  for (const { descriptor } of opened.get(rig) ?? []) descriptor.close();
  await rig.arrays.stop();
}

const namesOf = (rig: Rig): (string | null)[] => arrayOf(rig, 'a').slots.map(({ name }) => name);
const slotsOn = (disk: RamDisk): number => superblockOf(disk).members.length;
const isBlank = (disk: RamDisk): boolean => !parseSuperblock(disk.bytes.subarray(0, 16_896)).ok;

/** Reads everything from these disks in a new process. */
async function again(
  disks: readonly Pick<RamDisk, 'bytes'>[],
  which = disks.map((_, index) => index),
  waits = true,
): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig();
  const copies: RamDisk[] = [];
  for (const index of which) copies.push(await plug(rig, index, disks[index]!.bytes.slice()));
  if (waits) await rig.registry.waitForExamine();
  return { rig, disks: copies };
}

async function isFilled(rig: Rig): Promise<void> {
  const array = arrayOf(rig, 'a');
  await until(() => array.numInSync === array.numSlots && array.process === null, 'all copies are there');
  await array.processEnded;
}

/** Of the two places of a member's header, the one that was written before the other. */
/** Returns both copies, the older one first. */
function headersOf(bytes: Uint8Array): Uint8Array[] {
  const { headerAt, headerBytes } = extensionLayout;
  const places = headerAt.map((at) => bytes.subarray(at, at + headerBytes));
  return places.sort((a, b) => (parseHeader(a)?.generation ?? 0) - (parseHeader(b)?.generation ?? 0));
}

function wipeOlderHeader(bytes: Uint8Array): void {
  headersOf(bytes)[0]?.fill(0);
}

/** What the disks hold when the first superblock is about to be written after which `isMeant`, while `work` is done. */
async function copiesAt(
  disks: readonly RamDisk[],
  isMeant: () => boolean,
  work: () => Promise<unknown>,
): Promise<Pick<RamDisk, 'bytes'>[]> {
  let copies: Pick<RamDisk, 'bytes'>[] = [];
  const fault = (io: BdevIo): number => {
    if (copies.length === 0 && io.type === IoType.Write && io.offsetBlocks === 0 && isMeant())
      copies = disks.map(({ bytes }) => ({ bytes: bytes.slice() }));
    return Status.Ok;
  };
  for (const disk of disks) disk.fault = fault;
  await work();
  return copies;
}

const plainAndSummed = [{ integrity: false }, { integrity: true }];

it.each(plainAndSummed)('a mirror gets a copy while it is written to, and the next start knows it: %j', async (options) => {
  const { rig, disks, volume } = await build(2, options);
  const size = volume.numBlocks;
  await rig.arrays.growBaseBdev('a', 'm2');
  expect(arrayOf(rig, 'a')).toMatchObject({ numSlots: 3, numInSync: 2 });
  for (let at = 0; at < 640; at += 64) await volume.write(at, blocks(64, 2));
  await isFilled(rig);
  expect(rig.registry.get('a')!.numBlocks).toBe(size);
  expect(disks.map(slotsOn)).toEqual([3, 3, 3]);
  await stop(rig);
  // The new copy alone has everything.
  const { rig: next } = await again(disks, [2]);
  await next.arrays.startDegraded('a');
  expect(await openVolume(next, 'a').read(0, 640)).toEqual(blocks(640, 2));
  await stop(next);
});

it('an empty slot is filled before there is a new one', async () => {
  const { rig } = await build(2);
  await rig.arrays.removeBaseBdev('m1');
  await rig.arrays.growBaseBdev('a', 'm2');
  expect(namesOf(rig)).toEqual(['m0', 'm2']);
  await isFilled(rig);
});

it.each([0, 1, 2])('slot %i of a mirror goes, with its member, and those behind it come nearer', async (index) => {
  const { rig, disks, volume } = await build(3, {}, 0);
  await rig.arrays.setReads('a', { members: { m2: 'write-mostly' } });
  const writing = (async () => {
    for (let at = 0; at < 640; at += 64) await volume.write(at, blocks(64, 3));
  })();
  await rig.arrays.removeSlot('a', index);
  await writing;
  const left = ['m0', 'm1', 'm2'].filter((name) => name !== `m${index}`);
  expect(namesOf(rig)).toEqual(left);
  expect(arrayOf(rig, 'a')).toMatchObject({ numSlots: 2, numInSync: 2, canLose: 1, numOperational: 2 });
  expect(arrayOf(rig, 'a').slots.map((slot) => slot.readPreference)).toEqual(
    left.map((name) => (name === 'm2' ? 'write-mostly' : 'normal')),
  );
  expect(isBlank(disks[index]!)).toBe(true);
  expect(rig.registry.get(`m${index}`)!.claimedBy).toBeNull();
  for (const [other, disk] of disks.entries()) if (other !== index) expect(slotsOn(disk)).toBe(2);
  await volume.write(0, blocks(8, 4));
  await volume.flush();
  await stop(rig);
  const { rig: next } = await again(disks);
  expect(namesOf(next)).toEqual(left);
  expect(await openVolume(next, 'a').read(0, 8)).toEqual(blocks(8, 4));
  await stop(next);
});

it('a member that is started alone has a higher number than a round that was cut short gave to the other one', async () => {
  const { rig, disks } = await build(2, {}, 0);
  const before = disks[1]!.bytes.slice();
  await arrayOf(rig, 'a').metadata.update();
  await stop(rig);
  const { rig: alone, disks: copies } = await again([disks[0]!, { bytes: before }], [1]);
  await alone.arrays.startDegraded('a');
  // SPDK takes the highest, and among equals the first one that it finds.
  expect(superblockOf(copies[0]!).seqNumber).toBeGreaterThan(superblockOf(disks[0]!).seqNumber);
  await stop(alone);
});

it('a slot goes that has no member', async () => {
  const { rig } = await build(3, {}, 0);
  await rig.arrays.removeBaseBdev('m1');
  await rig.arrays.removeSlot('a', 1);
  expect(namesOf(rig)).toEqual(['m0', 'm2']);
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
});

it.each(plainAndSummed)('a mirror of one is made, and gets copies, and is one again: %j', async (options) => {
  const { rig, disks, volume } = await build(1, options, 2);
  await volume.write(64, blocks(64, 5));
  await expect(rig.arrays.removeSlot('a', 0)).rejects.toThrow(/takes 1 to 255 members, not 0/);
  await rig.arrays.growBaseBdev('a', 'm1');
  await isFilled(rig);
  await rig.arrays.removeSlot('a', 0);
  expect(namesOf(rig)).toEqual(['m1']);
  await volume.write(128, blocks(64, 6));
  await stop(rig);
  const { rig: next } = await again(disks);
  expect(arrayOf(next, 'a')).toMatchObject({ state: 'online', numSlots: 1, canLose: 0 });
  const data = await openVolume(next, 'a').read(64, 128);
  expect(data.subarray(0, 64 * 512)).toEqual(blocks(64, 5));
  expect(data.subarray(64 * 512)).toEqual(blocks(64, 6));
  await stop(next);
});

it('a former member that was away is none at any later start, and refused until it is wiped', async () => {
  const { rig, disks, volume } = await build(3, {}, 0);
  const before = disks[1]!.bytes.slice();
  await rig.arrays.removeSlot('a', 1);
  await volume.write(0, blocks(64, 7));
  await stop(rig);
  // The state is as if its superblock could not be cleared.
  disks[1]!.bytes = before;
  for (const order of [
    [1, 0, 2],
    [0, 2, 1],
  ]) {
    const { rig: next } = await again(disks, order);
    await until(() => next.arrays.get('a')?.state === 'online', 'the others are up');
    expect(namesOf(next)).toEqual(['m0', 'm2']);
    await expect(next.arrays.growBaseBdev('a', 'm1')).rejects.toMatchObject({ code: 'ERR_RAID_SUPERBLOCK_FOUND' });
    expect(namesOf(next)).toEqual(['m0', 'm2']);
    await next.arrays.wipe('m1');
    await next.arrays.growBaseBdev('a', 'm1');
    await isFilled(next);
    expect(await openVolume(next, 'a').read(0, 64)).toEqual(blocks(64, 7));
    await stop(next);
  }
  // It is not started automatically on its own.
  const { rig: alone } = await again(disks, [1]);
  expect(alone.arrays.get('a')?.state).toBe('configuring');
  await stop(alone);
});

it('a slot goes when nothing of the array’s is in flight any more that names slots', async () => {
  const { rig, disks, volume } = await build(3, {}, 0);
  const flushOnly = (status: number | null) => (io: { type: IoType }) => (io.type === IoType.Flush ? status : Status.Ok);
  disks[2]!.fault = flushOnly(null);
  const first = volume.flush();
  await until(() => disks[2]!.held.length > 0, 'a flush is under way on the last member');
  disks[2]!.fault = () => Status.Ok;
  const gone = rig.arrays.removeSlot('a', 0);
  await until(() => namesOf(rig)[0] === null, 'the member is out');
  // One more flush is sent to a member that was checked already.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  disks[1]!.fault = flushOnly(null);
  const second = volume.flush();
  await until(() => disks[1]!.held.length > 0, 'a flush is under way on the member before');
  for (const io of disks[2]!.held.splice(0)) disks[2]!.finish(io, Status.Ok);
  await first;
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(namesOf(rig)).toEqual([null, 'm1', 'm2']);
  disks[1]!.fault = () => Status.Ok;
  for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.IoError);
  await second;
  await gone;
  // It has failed on that member, and on no other one.
  await until(() => namesOf(rig).includes(null), 'the member that failed is out');
  expect(namesOf(rig)).toEqual([null, 'm2']);
  expect(arrayOf(rig, 'a').slots.map(({ partsInFlight }) => partsInFlight)).toEqual([0, 0]);
});

it('a copy that is added while a slot goes gets one when that is on record: headers tell of slots by number', async () => {
  const { rig, disks, volume } = await build(3, { integrity: true });
  const array = arrayOf(rig, 'a');
  array.markBad(0, 8, 1);
  await array.metadata.update();
  // The round that takes the slot away begins with the list of bad blocks.
  const isList = (offset: number): boolean => [256, 320].includes(offset / 2);
  disks[0]!.fault = (io) => (array.numSlots === 2 && io.type === IoType.Write && isList(io.offsetBlocks) ? null : Status.Ok);
  const gone = rig.arrays.removeSlot('a', 1);
  await until(() => disks[0]!.held.length > 0, 'the slot has gone, and that is being written');
  const added = rig.arrays.growBaseBdev('a', 'm3');
  await until(() => rig.registry.get('m3')!.claimedBy !== null, 'a device is on its way in');
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(namesOf(rig)).toEqual(['m0', 'm2']);
  expect(slotsOn(disks[0]!)).toBe(3);
  disks[0]!.fault = () => Status.Ok;
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await gone;
  await added;
  await isFilled(rig);
  expect(namesOf(rig)).toEqual(['m0', 'm2', 'm3']);
  expect(await volume.read(0, 8)).toEqual(blocks(8, 1));
  await stop(rig);
});

it('no slot goes while background work waits for that of another array', async () => {
  const { rig, disks } = await build(3, {}, 0);
  const other = await Promise.all([4, 5].map((index) => plug(rig, index, new Uint8Array(3 * MiB))));
  await rig.arrays.create({ name: 'b', level: 'raid1', baseBdevs: ['m4', 'm5'], superblock: true });
  await openVolume(rig, 'b').write(0, blocks(64, 1));
  for (const disk of [disks[2]!, other[0]!]) disk.physical = ['sdx'];
  other[0]!.fault = (io) => (io.type === IoType.Read ? null : Status.Ok);
  rig.arrays.startSync('b', 'check');
  await until(() => other[0]!.held.length > 0, 'a check runs');
  rig.arrays.startSync('a', 'check');
  await until(() => arrayOf(rig, 'a').waitsFor === 'b', 'another one waits for it');
  await expect(rig.arrays.removeSlot('a', 1)).rejects.toThrow(/waits for that of array b/);
  expect(namesOf(rig)).toEqual(['m0', 'm1', 'm2']);
  other[0]!.fault = () => Status.Ok;
  for (const io of other[0]!.held.splice(0)) other[0]!.finish(io, Status.Ok);
  await stop(rig);
});

it('checksums stay with their members when a slot in front of them goes', async () => {
  const { rig, disks, volume } = await build(3, { integrity: true }, 1);
  for (let at = 0; at < 640; at += 64) await volume.write(at, blocks(64, 20 + at / 64));
  const data = await volume.read(0, 640);
  await rig.arrays.removeSlot('a', 0);
  await rig.arrays.growBaseBdev('a', 'm3');
  await isFilled(rig);
  const errors = (of: Rig): number[] => arrayOf(of, 'a').slots.map((slot) => slot.errors.checksum);
  expect(await volume.read(0, 640)).toEqual(data);
  rig.arrays.startSync('a', 'check');
  await arrayOf(rig, 'a').processEnded;
  expect(errors(rig)).toEqual([0, 0, 0]);
  await stop(rig);

  // Each of them is read alone: what its sums say is what it has.
  for (const index of [1, 2, 3]) {
    const { rig: next, disks: copies } = await again(disks, [index]);
    await next.arrays.startDegraded('a');
    const alone = openVolume(next, 'a');
    expect(await alone.read(0, 640)).toEqual(data);
    expect(errors(next)).toEqual([0, 0, 0]);
    // The checksums do detect the damage.
    const { dataOffset } = arrayOf(next, 'a').slots.find(({ isInSync }) => isInSync)!;
    copies[0]!.bytes[(dataOffset + 100) * 512]! ^= 1;
    await expect(alone.read(96, 8)).rejects.toThrow();
    await stop(next);
  }
});

it.each([
  [1, 'the header before is whole'],
  [1, 'the header before is gone'],
  [2, 'one member has the new superblock'],
])('a round that takes a slot of an array with checksums is cut short at superblock %i, and %s', async (from, and) => {
  const built = await build(3, { integrity: true }, 0);
  for (let at = 0; at < 640; at += 64) await built.volume.write(at, blocks(64, 20 + at / 64));
  const data = await built.volume.read(0, 640);
  await stop(built.rig);
  // Its regions are clean.
  const { rig, disks } = await again(built.disks);
  // Headers are on the members, and this superblock and those after it are not.
  let superblocks = 0;
  let copies: Pick<RamDisk, 'bytes'>[] = [];
  for (const disk of disks)
    disk.fault = (io) => {
      if (io.type !== IoType.Write || io.offsetBlocks !== 0 || arrayOf(rig, 'a').numSlots > 2) return Status.Ok;
      if (++superblocks === from) copies = disks.map(({ bytes }) => ({ bytes: bytes.slice() }));
      return Status.Ok;
    };
  await rig.arrays.removeSlot('a', 0);
  await stop(rig);
  if (and === 'the header before is gone') for (const { bytes } of copies) wipeOlderHeader(bytes);
  const { rig: next } = await again(copies, [1, 2]);
  const array = next.arrays.get('a')!;
  if (array.state !== 'online') await next.arrays.startDegraded('a');
  await until(() => array.process === null, 'nothing is filled any more');
  expect(await openVolume(next, 'a').read(0, 640)).toEqual(data);
  expect(array.slots.map((slot) => slot.errors.checksum)).toEqual(array.slots.map(() => 0));
  await stop(next);
});

it.each([
  ['', false],
  [', also if the start after it is cut short while it writes its first header', true],
])('a round that takes a slot and is cut short costs nothing that is on record of the others%s', async (_what, isCutAgain) => {
  const { rig, disks } = await build(4, {}, 0);
  const array = arrayOf(rig, 'a');
  await rig.arrays.removeBaseBdev('m1');
  // Headers of fewer slots are on the members, and no superblock of fewer is.
  let copies = await copiesAt(
    disks,
    () => array.numSlots === 3,
    () => rig.arrays.removeSlot('a', 0),
  );
  await stop(rig);
  expect(headersOf(copies[2]!.bytes).map((header) => parseHeader(header)?.slots.length)).toEqual([4, 3]);
  if (isCutAgain) {
    // m0 is waited for, for a moment.
    const { rig: second, disks: found } = await again(copies, [1, 2, 3], false);
    const torn = await copiesAt(
      found,
      () => true,
      () => second.registry.waitForExamine(),
    );
    await stop(second);
    copies = [copies[0]!, ...torn];
    // The superblock is torn on every member.
    for (const index of [2, 3]) headersOf(copies[index]!.bytes)[1]!.fill(0);
  }

  const { rig: next } = await again(copies, [2, 3, 1, 0]);
  if (arrayOf(next, 'a').state !== 'online') await next.arrays.startDegraded('a');
  // Both were removed on request, and neither was used without the others.
  expect(namesOf(next)).toEqual([null, null, 'm2', 'm3']);
  expect(arrayOf(next, 'a').slots.map(({ isRemovedByHand }) => isRemovedByHand)).toEqual([true, true, false, false]);
  await next.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(next, 'a').numInSync === 3, 'm1 is filled');
  await stop(next);
});

it('no header of as many slots as the superblock speaks of others, behind a round that failed', async () => {
  const { rig, disks } = await build(3, { integrity: true });
  const array = arrayOf(rig, 'a');
  // The round that says that a slot has gone reaches no member.
  for (const disk of disks)
    disk.fault = ({ type }) => (type === IoType.Write && array.numSlots === 2 ? Status.IoError : Status.Ok);
  await expect(rig.arrays.removeSlot('a', 1)).rejects.toThrow();
  for (const disk of disks) disk.fault = () => Status.Ok;
  expect(array.state).toBe('online');
  expect(namesOf(rig)).toEqual(['m0', 'm2']);
  // The removal is interrupted at the first superblock.
  let copies: Uint8Array[] = [];
  for (const disk of disks)
    disk.fault = (io) => {
      if (copies.length === 0 && io.type === IoType.Write && io.offsetBlocks === 0)
        copies = disks.map(({ bytes }) => bytes.slice());
      return Status.Ok;
    };
  await rig.arrays.growBaseBdev('a', 'm3');
  await until(() => copies.length > 0, 'a superblock is written');
  const { headerAt, headerBytes } = extensionLayout;
  const headers = headerAt.map((at) => parseHeader(copies[0]!.subarray(at, at + headerBytes)));
  // The superblock is the one of the three that there were.
  const ofAsMany = headers.filter((header) => header?.slots.length === 3);
  expect(ofAsMany.map((header) => header?.sums?.tags)).toEqual([[0, 1, 2]]);
  await isFilled(rig);
  expect(namesOf(rig)).toEqual(['m0', 'm2', 'm3']);
});

it('an array grows when the slot of the member goes that was too small', async () => {
  const { rig, disks, volume } = await build(3, {}, 0);
  const size = volume.numBlocks;
  for (const index of [0, 2]) rig.registry.get(`m${index}`)!.resize(disks[index]!.grow(MiB));
  await arrayOf(rig, 'a').resizing;
  expect(rig.registry.get('a')!.numBlocks).toBe(size);
  await rig.arrays.removeSlot('a', 1);
  await until(() => rig.registry.get('a')!.numBlocks > size, 'it has grown');
  // The former data of the devices is lost.
  expect(await volume.read(size, 64)).toEqual(blocks(64, 0));
  await volume.write(size - 8, blocks(16, 12));
  await stop(rig);
  const { rig: next } = await again(disks, [0, 2]);
  expect(await openVolume(next, 'a').read(size - 8, 16)).toEqual(blocks(16, 12));
  await stop(next);
});

it('a member that was used apart is left as it is, also behind a slot that has gone meanwhile', async () => {
  const { rig, disks } = await build(3, {}, 0);
  await stop(rig);
  const {
    rig: apart,
    disks: [alone],
  } = await again(disks, [2]);
  await apart.arrays.startDegraded('a');
  await openVolume(apart, 'a').write(0, blocks(8, 9));
  await stop(apart);
  const { rig: next } = await again(disks, [0, 1]);
  await next.arrays.startDegraded('a');
  await next.arrays.removeSlot('a', 0);
  for (let round = 0; round < 3; round++) await arrayOf(next, 'a').metadata.update();
  const back = await plug(next, 2, alone!.bytes.slice());
  await next.registry.waitForExamine();
  expect(namesOf(next)).toEqual(['m1', null]);
  expect(back.bytes[MiB]).toBe(9);
  await stop(next);
});

it('refuses what would move data, what an array cannot do without, and what would confuse its list of bad blocks', async () => {
  const striped = { stripSizeKb: 16 };
  for (const [level, members] of [
    ['raid0', 2],
    ['raid5f', 3],
    ['raid10', 5],
    ['raid6', 4],
  ] as const) {
    const { rig } = await build(members, { level, ...striped });
    await expect(rig.arrays.growBaseBdev('a', `m${members}`)).rejects.toThrow(/its layout depends on the number of members/);
    await expect(rig.arrays.removeSlot('a', 0)).rejects.toThrow(/its layout depends/);
    expect(arrayOf(rig, 'a').numInSync).toBe(members);
    expect(rig.registry.get(`m${members}`)!.claimedBy).toBeNull();
  }
  const { rig: tape } = await build(2, { level: 'concat', ...striped });
  await expect(tape.arrays.removeSlot('a', 1)).rejects.toThrow(/each member has data that no other member has/);

  const { rig, disks } = await build(2);
  await rig.arrays.removeBaseBdev('m0');
  await expect(rig.arrays.removeSlot('a', 1)).rejects.toThrow(/cannot do without m1 of slot 1/);
  expect(arrayOf(rig, 'a').state).toBe('online');
  await rig.arrays.addBaseBdev('a', 'm0');
  await isFilled(rig);
  arrayOf(rig, 'a').markBad(1, 8, 1);
  await expect(rig.arrays.removeSlot('a', 0)).rejects.toThrow(/slot 1 has bad blocks/);
  await rig.arrays.removeSlot('a', 1);
  expect(arrayOf(rig, 'a').badBlocks.size).toBe(0);
  // A device that is too small, or is claimed.
  await plug(rig, 7, new Uint8Array(2 * MiB));
  await expect(rig.arrays.growBaseBdev('a', 'm7')).rejects.toThrow(/m7 has 4096 blocks/);
  await expect(rig.arrays.growBaseBdev('a', 'm0')).rejects.toThrow(/claimed/);
  expect(arrayOf(rig, 'a').numSlots).toBe(1);
  expect(slotsOn(disks[0]!)).toBe(1);
});

/** A mirror that says this of itself with so many slots. */
function strange(said: (numSlots: number) => { groups: number[][]; stripeBlocks?: number }): CopiesModule {
  return {
    ...raid1,
    level: 'strange',
    aliases: [],
    code: thirdPartyCodes.first,
    start(context) {
      const level = raid1.start(context);
      return {
        resize(capacities, current) {
          const { stripeBlocks: blocks = 1 } = said(context.numSlots);
          return { ...level.resize(capacities, current), stripe: { arrayBlocks: blocks, memberBlocks: blocks } };
        },
        submitRw: (request) => level.submitRw(request),
        submitNullPayload: (request) => level.submitNullPayload?.(request),
        submitProcessRequest: (request) => level.submitProcessRequest(request),
        get copyGroups() {
          return said(context.numSlots).groups;
        },
      };
    },
  };
}

it.each<[string, number, Parameters<typeof strange>[0]]>([
  [
    'takes a slot out of its group',
    3,
    (n) => ({
      groups:
        n === 3
          ? [[0, 1, 2]]
          : [
              [0, 1],
              [2, 3],
            ],
    }),
  ],
  ['has a group of new slots alone', 3, (n) => ({ groups: n === 3 ? [[0, 1, 2]] : [[0, 1, 2], [3]] })],
  [
    'has two groups change places',
    4,
    (n) => ({
      groups:
        n === 4
          ? [
              [0, 1],
              [2, 3],
            ]
          : [
              [2, 3, 4],
              [0, 1],
            ],
    }),
  ],
  ['has other stripes', 3, (n) => ({ groups: [Array.from({ length: n }, (_, slot) => slot)], stripeBlocks: n - 2 })],
])('a level that %s with another number of slots keeps the number that it has', async (_, members, said) => {
  const { rig } = await build(members, { level: 'strange' }, 1, [strange(said)]);
  const { currentGeometry } = arrayOf(rig, 'a');
  await expect(rig.arrays.growBaseBdev('a', `m${members}`)).rejects.toThrow(/data would move/);
  expect(arrayOf(rig, 'a')).toMatchObject({ numSlots: members, numInSync: members, currentGeometry });
  expect(rig.registry.get(`m${members}`)!.claimedBy).toBeNull();
});

it('no slot goes that is a group by itself', async () => {
  const said = (n: number): { groups: number[][] } => ({ groups: n === 3 ? [[0, 1], [2]] : [[0, 1]] });
  const { rig } = await build(3, { level: 'strange' }, 0, [strange(said)]);
  for (const index of [0, 1, 2]) await expect(rig.arrays.removeSlot('a', index)).rejects.toThrow(/data would move/);
  expect(arrayOf(rig, 'a')).toMatchObject({ numSlots: 3, numInSync: 3 });
});

it('space is appended to a concat, and is there at the next start', async () => {
  const { rig, disks, volume } = await build(2, { level: 'concat', stripSizeKb: 16 });
  const size = volume.numBlocks;
  await volume.write(size - 32, blocks(32, 8));
  const whole = await readAll(volume);
  await rig.arrays.growBaseBdev('a', 'm2');
  const larger = rig.registry.get('a')!.numBlocks;
  expect(larger).toBe((size / 2) * 3);
  await volume.write(size - 16, blocks(32, 9));
  await volume.write(larger - 8, blocks(8, 10));
  await stop(rig);
  const { rig: next } = await again(disks);
  const kept = openVolume(next, 'a');
  expect(kept.numBlocks).toBe(larger);
  expect(Buffer.from(whole.subarray(0, (size - 16) * 512)).equals(await kept.read(0, size - 16))).toBe(true);
  expect(await kept.read(size - 16, 32)).toEqual(blocks(32, 9));
  expect(await kept.read(larger - 8, 8)).toEqual(blocks(8, 10));
  await stop(next);
  // It does not start without it.
  const { rig: less } = await again(disks, [0, 1]);
  expect(less.arrays.get('a')?.state).toBe('configuring');
  await stop(less);
});

it.each(['m2', 'm0'])('what cannot be recorded on %s is not appended, and the array goes on as it was', async (failing) => {
  const { rig, disks, volume } = await build(2, { level: 'concat', stripSizeKb: 16 });
  const size = volume.numBlocks;
  const disk = disks[Number(failing.slice(1))]!;
  // Only the superblock is written, and not the records behind it.
  let failures = 1;
  disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 0 && failures-- > 0 ? Status.IoError : Status.Ok);
  await expect(rig.arrays.growBaseBdev('a', 'm2')).rejects.toThrow(/superblock/);
  expect(arrayOf(rig, 'a')).toMatchObject({ state: 'online', numSlots: 2, numBlocks: size, numOperational: 2 });
  expect(rig.registry.get('m2')!.claimedBy).toBeNull();
  expect(disks.slice(0, 2).map(slotsOn)).toEqual([2, 2]);
  expect(isBlank(disks[2]!)).toBe(true);
  await volume.write(size - 8, blocks(8, 11));
  await stop(rig);
  const { rig: next } = await again(disks, [0, 1]);
  expect(await openVolume(next, 'a').read(size - 8, 8)).toEqual(blocks(8, 11));
  await stop(next);
});

import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { strangersThere } from '../array/health.js';
import type { Stranger } from '../array/stranger.js';
import { awaitedSlots } from './identity.js';
import { nullUuid } from '@raidkit/bdev';
import type { ArrayRecord } from '../format/store.js';

/**
 * Devices whose superblocks say that they are of an array, and that its members do not know by their headers: which of them may
 * change what the array is, or keep it from being started.
 */

/**
 * A device that the array's members do not know: whether what it says would change anything for them. It would be taken over if
 * the device's superblock is newer and says something else; if it has headers of ours, of another lineage, each has what the other
 * lacks. A member that SPDK added has neither, and is filled like any other.
 */
export function mayNotDecide(array: RaidArray, record: ArrayRecord, lineages: ReadonlySet<string>): boolean {
  return lineages.size > 0 || (record.seqNumber > array.metadata.seqNumber && !agrees(array, record));
}

/**
 * The superblock says of the members what the array does that waits for them: that of a round which some of them missed. A slot
 * that it does not have is one that had no member.
 */
export function agrees(array: RaidArray, record: ArrayRecord): boolean {
  if (record.numBlocks !== array.recordedBlocks) return false;
  if (array.slots.slice(record.slots.length).some(({ recordedUuid, uuid }) => uuid !== nullUuid && uuid === recordedUuid))
    return false;
  return record.slots.every(({ uuid, dataOffsetBlocks, dataSizeBlocks, state }, index) => {
    const slot = array.slots[index];
    if (slot?.recordedUuid !== uuid) return false;
    const isIn = uuid !== nullUuid && slot.uuid === uuid;
    return (state === 'configured') === isIn && dataOffsetBlocks === slot.dataOffset && dataSizeBlocks === slot.dataSize;
  });
}

/** What the device says is not believed, and it is neither read nor written, until a person says that it belongs to the array. */
export function keepOut(
  array: RaidArray,
  bdev: Bdev,
  { record, lineages, isUsable }: Omit<Stranger, 'message'>,
  log: (message: string) => void,
): void {
  const isNamed = array.slots.some(({ recordedUuid }) => recordedUuid === bdev.uuid);
  const what =
    record.seqNumber > array.metadata.seqNumber
      ? 'says that it knows a newer state of the array'
      : 'says that it is a member of the array';
  const why = `it carries ${lineages.size > 0 ? 'headers of another array with this uuid' : 'none of the headers that they have'}`;
  const advice = isNamed
    ? 'Take it away, or, to give up what the others have where it differs, add it with bdev_raid_add_base_bdev'
    : 'They do not name it either';
  const message = `${bdev.name} (${bdev.uuid}) ${what}, and the members that are there do not know it: ${why}. ${advice}`;
  if (array.strangers.get(bdev.uuid)?.message !== message) log(`${message}: ignored`);
  array.assembly.strangers.set(bdev.uuid, { message, record, lineages, isUsable });
}

/** The array waits, and may be put together anew from another device than it was made from. */
function isOpenToOthers(array: RaidArray): boolean {
  return (
    array.state === 'configuring' && !array.isStarting && !array.isDeleting && !array.assembly.isVouchedFor && array.isAssembled
  );
}

/** The array waits, made from devices without headers of ours, and this one has some, and knows an older state: theirs is not believed. */
export function isOfStrangers(array: RaidArray, record: ArrayRecord, lineages: ReadonlySet<string>): boolean {
  const isOlder = record.seqNumber < array.metadata.seqNumber && !agrees(array, record);
  return isOpenToOthers(array) && array.assembly.lineages.size === 0 && lineages.size > 0 && isOlder;
}

/**
 * All members that the array's superblock counts in are there, two or more of them, and more than the devices with these superblocks,
 * none of which is newer or counts one of them out: those have been left behind.
 */
export function isBorneOut(array: RaidArray, others: readonly ArrayRecord[]): boolean {
  const members = array.slots.filter(({ isOperational }) => isOperational);
  if (members.length < 2 || members.length <= others.length || awaitedSlots(array).length > 0) return false;
  const isIn = new Set(members.map(({ recordedUuid }) => recordedUuid));
  return others.every(
    ({ seqNumber, slots }) =>
      seqNumber <= array.metadata.seqNumber && !slots.some(({ state, uuid }) => state !== 'configured' && isIn.has(uuid)),
  );
}

/**
 * The array waits, and those that its members do not know, and of which this is one, are an array by themselves: all members are
 * there that their superblocks count in, which say the same; they are two or more, and more than its own. What they say is
 * believed instead if none of its members is one of theirs, in or out, and they know each other by headers; or if they are newer,
 * and its members count all of them in.
 */
export function isOutvoted(array: RaidArray, { record, lineages }: Omit<Stranger, 'message'>): boolean {
  if (!isOpenToOthers(array)) return false;
  const strangers = strangersThere(array);
  const members = record.slots.filter(({ state }) => state === 'configured').map(({ uuid }) => uuid);
  if (members.length < 2 || members.length <= array.numDiscovered) return false;
  const isOne = (uuid: string): boolean => {
    const other = strangers.get(uuid);
    return other?.isUsable === true && saysTheSame(record, other.record) && isOfOne(lineages, other.lineages);
  };
  if (!members.every(isOne)) return false;
  const isTheirs = (uuid: string): boolean => record.slots.some((entry) => entry.uuid === uuid);
  if (lineages.size > 0 && !array.slots.some(({ descriptor }) => descriptor !== null && isTheirs(descriptor.bdev.uuid)))
    return true;
  return record.seqNumber > array.metadata.seqNumber && members.every((uuid) => array.slots.some((slot) => slot.uuid === uuid));
}

function isOfOne(lineages: ReadonlySet<string>, others: ReadonlySet<string>): boolean {
  return lineages.size === 0 ? others.size === 0 : [...others].some((lineage) => lineages.has(lineage));
}

function saysTheSame(one: ArrayRecord, other: ArrayRecord): boolean {
  if (one.numBlocks !== other.numBlocks || one.level !== other.level || one.slots.length !== other.slots.length) return false;
  return one.slots.every(({ uuid, state, dataOffsetBlocks, dataSizeBlocks }, index) => {
    const entry = other.slots[index];
    if (entry?.uuid !== uuid || entry.state !== state) return false;
    return entry.dataOffsetBlocks === dataOffsetBlocks && entry.dataSizeBlocks === dataSizeBlocks;
  });
}

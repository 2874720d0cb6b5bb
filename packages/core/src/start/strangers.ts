import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { strangersThere } from '../array/health.js';
import type { Stranger } from '../array/stranger.js';
import { awaitedSlots } from './identity.js';
import { nullUuid } from '@raidkit/bdev';
import type { ArrayRecord } from '../format/store.js';

/**
 * Strangers: devices whose superblocks claim membership in an array while its members do not know them by their headers. This
 * file decides which of them may change what the array is, or prevent its start.
 */

/**
 * Whether a device that the members do not know would change anything for them. It would if its superblock is newer and
 * differs, because it would be adopted, or if it has headers of another lineage, because then each side has data that the other
 * lacks. A member that SPDK added has neither, and is filled like any other.
 */
export function mayNotDecide(array: RaidArray, record: ArrayRecord, lineages: ReadonlySet<string>): boolean {
  return lineages.size > 0 || (record.seqNumber > array.metadata.seqNumber && !agrees(array, record));
}

/**
 * Whether the superblock records the same members as the waiting array, so that it comes from an update that some members
 * missed. Slots that it does not have must have had no member.
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

/**
 * Notes the device as a stranger. Its superblock is ignored, and it is neither read nor written until an operator says that it
 * belongs to the array.
 */
export function keepOut(
  array: RaidArray,
  bdev: Bdev,
  { record, lineages, isUsable }: Omit<Stranger, 'message'>,
  log: (message: string) => void,
): void {
  const isNamed = array.slots.some(({ recordedUuid }) => recordedUuid === bdev.uuid);
  const what =
    record.seqNumber > array.metadata.seqNumber ? 'has a newer state of the array' : 'claims to be a member of the array';
  const why = `it has ${lineages.size > 0 ? 'headers of another array with this uuid' : 'none of their headers'}`;
  const advice = isNamed
    ? 'Close it, or, to discard the data of the others where it differs, add it with bdev_raid_add_base_bdev'
    : 'Nor do their superblocks name it';
  const message = `${bdev.name} (${bdev.uuid}) ${what}, but the present members do not know it: ${why}. ${advice}`;
  if (array.strangers.get(bdev.uuid)?.message !== message) log(`${message}: ignored`);
  array.assembly.noteStranger(bdev.uuid, { message, record, lineages, isUsable });
}

/** Whether the array is waiting and may be made anew from another device. */
function isOpenToOthers(array: RaidArray): boolean {
  return (
    array.state === 'configuring' && !array.isStarting && !array.isDeleting && !array.assembly.isVouchedFor && array.isAssembled
  );
}

/**
 * Whether the waiting array was made from devices without our headers, while this device has some and an older, different
 * superblock. Then those devices are not believed.
 */
export function isOfStrangers(array: RaidArray, record: ArrayRecord, lineages: ReadonlySet<string>): boolean {
  const isOlder = record.seqNumber < array.metadata.seqNumber && !agrees(array, record);
  return isOpenToOthers(array) && array.assembly.lineages.size === 0 && lineages.size > 0 && isOlder;
}

/**
 * Whether all members that the superblock records as current are present, at least two and more than the devices with the
 * superblocks `others`, and none of those superblocks is newer or records one of the members as out. Then those devices were
 * left behind.
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
 * Whether the strangers, including this one, form an array of their own that replaces the waiting one. All members that their
 * superblocks record as current must be present, with matching superblocks; there must be at least two of them, and more than
 * the waiting array has. In addition, either they have headers in common and none of the waiting array's members is in their
 * superblocks, or they are newer and all of them are current in the waiting array's superblock.
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

import { BlockClient } from '@raidkit/bdev';
import type { SyncHost } from './host.js';
import { checkCopySets, checkGeometry } from '../level/geometry.js';
import type { Slot } from '../members/slot.js';

/** Zeros are written to a grown member in pieces of this many bytes, so that others get their turn. */
const zeroBytes = 8 * 1024 * 1024;

/**
 * The array grows if all of its members have room for that. To be called whenever that may have come to be: a member has a
 * new size, the array has started, a member has been filled or replaced. One at a time for an array. Rejects if it fails.
 */
export async function grow(array: SyncHost): Promise<void> {
  const { level, bdev } = array;
  // The new member's size counts too, when it is one.
  if (array.slots.some(({ replacement }) => replacement !== null)) return;
  if (!isOnline(array) || array.isReadOnly || bdev === null || level === null) return;
  if (!array.module.manifest.resize) return;
  // A device that is still being looked at is no member: it may be somebody else's.
  const capacities = array.slots.map((slot) => (isMember(slot) ? slot.capacity : slot.dataSize));
  for (const [index, slot] of array.slots.entries()) {
    if ((capacities[index] ?? 0) < slot.dataSize) {
      array.log.error(
        array.logFields(slot),
        'the member shrank below its data: the array keeps its size, I/O past the end fails',
      );
      return;
    }
  }
  if (array.hasIntegrity) {
    const rooms = capacities.map((blocks, slot) => Math.max(array.roomForData(blocks), array.slots[slot]?.dataSize ?? 0));
    if (level.resize(rooms, array.geometry).numBlocks > array.numBlocks)
      array.log.error(
        array.logFields(),
        'the members have grown, and an array with checksums cannot: it keeps its size; create another one, and copy',
      );
    return;
  }
  const { membership } = array;
  const oldSizes = array.slots.map(({ dataSize }) => dataSize);
  const oldBlocks = array.numBlocks;
  const end = Math.min(...capacities);
  // Redundancy must agree with the data in the new part too: zeros do, at every level.
  if (array.module.redundancy !== 'none') {
    if (end - (end % array.stripe().memberBlocks) <= Math.max(...oldSizes)) return;
    if (array.bitmap?.hasRoomFor(end) === false) {
      array.log.error(
        array.logFields(),
        'the members have grown, and the region map has no room for that: the array keeps its size',
      );
      return;
    }
    await zeroNewParts(array, oldSizes, end);
    // A member that came meanwhile may have less room.
    if (array.bitmap?.hasRoomFor(end) === false) return grow(array);
  }
  // On record before the new size is: a map of more than the members is none the worse.
  array.bitmap?.extend(end);
  await array.bitmap?.writeAll();
  // A member that came meanwhile, in the place of another one perhaps, has not been given its zeros.
  if (array.membership !== membership || !isOnline(array) || array.slots.some(({ replacement }) => replacement !== null))
    return grow(array);
  const kept = array.geometry;
  const geometry = level.resize(capacities, kept);
  if (geometry.numBlocks <= oldBlocks) return;
  try {
    checkGeometry(array, geometry);
    checkCopySets(array, level, geometry);
    array.setGeometry(geometry);
    array.slots.forEach((slot, index) => (slot.dataSize = geometry.memberBlocks[index] ?? slot.dataSize));
    await array.metadata.update();
  } catch (error) {
    // Whichever size members have on record, the volume has not been told of the new one.
    array.setGeometry(kept);
    for (const [index, slot] of array.slots.entries())
      if (slot.dataSize === geometry.memberBlocks[index]) slot.dataSize = oldSizes[index] ?? slot.dataSize;
    throw error;
  }
  bdev.resize(geometry.numBlocks);
  array.log.info({ ...array.logFields(), from: oldBlocks, to: geometry.numBlocks }, 'the array has grown');
  array.emit({ type: 'arrayResized', array: array.name, numBlocks: geometry.numBlocks });
}

/** With a region map, only to the end of the region that has been written to in part: what lies behind was never written. */
async function zeroNewParts(array: SyncHost, oldSizes: number[], end: number): Promise<void> {
  const { bitmap } = array;
  const results = await Promise.allSettled(
    array.slots.map((slot, index) => {
      const start = oldSizes[index] ?? 0;
      const regionEnd = bitmap === null ? end : Math.ceil(start / bitmap.regionBlocks) * bitmap.regionBlocks;
      return zeroMember(array, slot, start, Math.min(end, regionEnd));
    }),
  );
  // Not before all are through: zeros that are still under way would land on what users write after the next try.
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function zeroMember(array: SyncHost, slot: Slot, start: number, end: number): Promise<void> {
  const step = zeroBytes / array.blockSize;
  slot.partsInFlight++;
  try {
    for (let at = start; at < end; at += step) {
      if (slot.descriptor === null || slot.data === null || !isMember(slot)) return;
      await new BlockClient(slot.descriptor, slot.data).writeZeroes(slot.dataOffset + at, Math.min(step, end - at));
    }
  } finally {
    slot.partEnded();
  }
}

/** Asked anew after each wait. */
function isOnline(array: SyncHost): boolean {
  return array.state === 'online';
}

/** The slot's device is a member, or being made one: it may be written to. */
function isMember(slot: Slot): boolean {
  return slot.isOperational;
}

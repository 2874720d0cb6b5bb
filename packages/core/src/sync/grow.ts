import { BlockClient } from '@raidkit/bdev';
import type { GrowingSums, SyncHost } from './host.js';
import { moveSums } from './move-sums.js';
import { onEveryMember } from '../members/member-io.js';
import type { RaidLevel } from '../level/level.js';
import { checkGeometry, checkGrowth, checkRedundancy } from '../level/geometry.js';
import type { Slot } from '../members/slot.js';

/** Number of bytes that are zeroed on a grown member at a time, so that other I/O is not delayed. */
const zeroBytes = 8 * 1024 * 1024;

/**
 * Grows the array if all of its members have room. To be called whenever that may have changed: a member has a new size, the
 * array has started, a member has been filled or replaced. Only one call at a time for an array. Rejects if it fails.
 */
export async function grow(array: SyncHost): Promise<void> {
  const { level, bdev } = array;
  // The new member's size counts too, once it is a member.
  if (array.slots.some(({ replacement }) => replacement !== null)) return;
  if (!isOnline(array) || array.isReadOnly || bdev === null || level === null) return;
  if (!array.module.manifest.resize) return;
  // A device that is still being examined is not a member: it may belong to another array.
  const capacities = array.slots.map((slot) => (isMember(slot) ? slot.capacity : slot.dataSize));
  for (const [index, slot] of array.slots.entries()) {
    if ((capacities[index] ?? 0) < slot.dataSize) {
      array.log.error(
        array.logFields(slot),
        'the member shrank below its data: the array keeps its size, and I/O past the end fails',
      );
      return;
    }
  }
  if (array.hasIntegrity && array.module.redundancy === 'none') {
    const rooms = capacities.map((blocks, slot) =>
      Math.max(array.integrity.roomForData(blocks), array.slots[slot]?.dataSize ?? 0),
    );
    if (level.resize(rooms, array.geometry).numBlocks > array.numBlocks)
      array.log.error(
        array.logFields(),
        'the members have grown, but an array with checksums and without redundancy cannot grow: it keeps its size; turn checksums off, or create another array, and copy',
      );
    return;
  }
  if (array.wantsIntegrity) {
    // The space that is not used now is for checksums.
    const rooms = capacities.map((blocks) => array.integrity.roomForData(blocks));
    const isLarger = (blocks: number, slot: number): boolean => blocks > (array.slots[slot]?.dataSize ?? 0);
    // If members may differ in size, those grow that can.
    if (array.module.redundancy !== 'none' && !rooms.every(isLarger)) return;
    capacities.splice(0, rooms.length, ...rooms.map((blocks, slot) => Math.max(blocks, array.slots[slot]?.dataSize ?? 0)));
  }
  const { membership, sums } = array;
  if (sums !== null) {
    const plan = planWithSums(array, sums, level, capacities);
    if (plan === null) return;
    if (plan.areaAt !== sums.areaAt && !(await moveSums(array, sums, plan.areaAt))) return grow(array);
    // A member that joined meanwhile needed room for the old size only. From `extend` on, new members need room for the new
    // size.
    if (plan.isOnlyMove || array.membership !== membership) return grow(array);
    capacities.fill(plan.dataSize);
    await sums.extend(plan.dataSize);
  }
  const { lostFlushes } = array;
  const oldSizes = array.slots.map(({ dataSize }) => dataSize);
  const oldBlocks = array.numBlocks;
  const end = Math.min(...capacities);
  // Redundancy must agree with the data in the new part, which zeros do at every level.
  if (array.module.redundancy !== 'none') {
    if (end - (end % array.stripe().memberBlocks) <= Math.max(...oldSizes)) return;
    if (array.bitmap?.hasRoomFor(end) === false) {
      noRoomInMap(array);
      return;
    }
    await zeroNewParts(array, oldSizes, end);
    if (sums !== null) await keepNewSums(array, sums, oldSizes, end);
    // A member that joined meanwhile may have less room.
    if (array.bitmap?.hasRoomFor(end) === false) return grow(array);
  }
  // Recorded before the new size. A map that covers more than the members does no harm.
  array.bitmap?.extend(end);
  await array.bitmap?.writeAll();
  // A member that joined meanwhile, perhaps replacing another one, was not zeroed. One that lost a flush may have lost its
  // zeros.
  const isAsBefore = array.membership === membership && array.lostFlushes === lostFlushes;
  if (!isAsBefore || !isOnline(array) || array.slots.some(({ replacement }) => replacement !== null)) return grow(array);
  const kept = array.geometry;
  const geometry = level.resize(capacities, kept);
  if (geometry.numBlocks <= oldBlocks) return;
  try {
    checkGeometry(array, geometry);
    checkRedundancy(array, level, geometry);
    checkGrowth(array, kept, geometry);
    array.setGeometry(geometry);
    array.slots.forEach((slot, index) => slot.setDataArea(slot.dataOffset, geometry.memberBlocks[index] ?? slot.dataSize));
    await array.metadata.update();
  } catch (error) {
    // Members may have recorded either size, but the volume still has the old one.
    array.setGeometry(kept);
    for (const [index, slot] of array.slots.entries())
      if (slot.dataSize === geometry.memberBlocks[index]) slot.setDataArea(slot.dataOffset, oldSizes[index] ?? slot.dataSize);
    throw error;
  }
  bdev.resize(geometry.numBlocks);
  array.log.info({ ...array.logFields(), from: oldBlocks, to: geometry.numBlocks }, 'the array has grown');
  array.emit({ type: 'arrayResized', array: array.name, numBlocks: geometry.numBlocks });
}

/**
 * Zeroes the new part of the members. With a write-intent bitmap, only the rest of a region that was written in part: later
 * regions are unwritten.
 */
async function zeroNewParts(array: SyncHost, oldSizes: number[], end: number): Promise<void> {
  const results = await Promise.allSettled(
    array.slots.map((slot, index) => {
      const start = oldSizes[index] ?? 0;
      return zeroMember(array, slot, start, endOfZeros(array, start, end));
    }),
  );
  // Wait for all: a zeroing that is still in flight could overwrite users' data after the next attempt.
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

function endOfZeros({ bitmap }: SyncHost, start: number, end: number): number {
  return bitmap === null ? end : Math.min(end, Math.ceil(start / bitmap.regionBlocks) * bitmap.regionBlocks);
}

async function zeroMember(array: SyncHost, slot: Slot, start: number, end: number): Promise<void> {
  const step = zeroBytes / array.blockSize;
  slot.partBegan();
  try {
    for (let at = start; at < end; at += step) {
      if (slot.descriptor === null || slot.data === null || !isMember(slot)) return;
      await new BlockClient(slot.descriptor, slot.data).writeZeroes(slot.dataOffset + at, Math.min(step, end - at));
    }
  } finally {
    slot.partEnded();
  }
}

/** How an array with checksums grows, in blocks of members' data areas. */
interface PlanWithSums {
  readonly dataSize: number;
  /** First block of the pages of checksums after the growth. */
  readonly areaAt: number;
  /** Only completes a move of pages that was interrupted, so that the record becomes true. */
  readonly isOnlyMove: boolean;
}

/** Returns null if the array does not grow. */
function planWithSums(array: SyncHost, sums: GrowingSums, level: RaidLevel, capacities: number[]): PlanWithSums | null {
  const { areaAt, movesTo } = sums;
  const dataSize = Math.max(...array.slots.map((slot) => slot.dataSize));
  const planned = (blocks: readonly number[]): number => {
    const { memberBlocks } = level.resize(
      blocks.map((count) => Math.floor(count / array.blocksTogether) * array.blocksTogether),
      array.geometry,
    );
    // Pages begin at the same block of each member.
    const isOne = memberBlocks.every((count) => count === memberBlocks[0] && count % array.blocksTogether === 0);
    return isOne ? (memberBlocks[0] ?? 0) : 0;
  };
  if (array.slots.some((slot) => !isMember(slot))) return null;
  // An interrupted move may be on record, so it is completed first.
  if (movesTo !== null) return { dataSize, areaAt: movesTo, isOnlyMove: true };
  const largest = planned(capacities.map((blocks) => array.integrity.roomForData(blocks)));
  const whereTheyAre = planned(capacities.map((blocks) => array.integrity.roomForData(blocks, areaAt)));
  if (largest <= dataSize && whereTheyAre <= dataSize) return null;
  if (array.bitmap?.hasRoomFor(Math.max(largest, whereTheyAre)) === false) return noRoomInMap(array);
  if (whereTheyAre >= largest) return { dataSize: whereTheyAre, areaAt, isOnlyMove: false };
  // The old place lies completely behind the data, and the new place must lie behind all of the old one, including pages of a
  // growth that failed.
  const endOfArea = areaAt + array.integrity.blocksForPages(Math.max(dataSize, sums.dataSize));
  if (largest >= endOfArea) return { dataSize: largest, areaAt: largest, isOnlyMove: false };
  if (whereTheyAre > dataSize) return { dataSize: whereTheyAre, areaAt, isOnlyMove: false };
  const stripe = array.stripe().memberBlocks;
  const nextSize = Math.ceil(endOfArea / stripe) * stripe;
  const needed = nextSize + array.integrity.blocksForPages(nextSize);
  const short = array.slots.find((slot) => slot.capacity < needed);
  if (short === undefined) return null;
  const { blockSize } = array;
  const missing = (needed - short.capacity) * blockSize;
  array.log.error(
    { ...array.logFields(short), blocks: short.dataOffset + short.capacity, needed: short.dataOffset + needed },
    `the members have grown by less than the size of their checksums, which must move: the array keeps its size until each member has ${needed * blockSize} bytes behind its data offset (${String(short.name)} lacks ${missing})`,
  );
  return null;
}

function noRoomInMap(array: SyncHost): null {
  array.log.error(
    array.logFields(),
    'the members have grown, but the write-intent bitmap has no room for that: the array keeps its size',
  );
  return null;
}

/**
 * Writes the checksums of the zeros in partly written regions. They become valid when the new size is recorded, so they must be
 * on stable media before.
 */
async function keepNewSums(array: SyncHost, sums: GrowingSums, oldSizes: readonly number[], end: number): Promise<void> {
  sums.countFrom(end);
  await onEveryMember(array, async (client, slot) => {
    const start = oldSizes[slot.index] ?? 0;
    await slot.sums?.writeOut([{ start, end: endOfZeros(array, start, end) }]);
    await client.flush();
  });
}

/** To be called again after each await. */
function isOnline(array: SyncHost): boolean {
  return array.state === 'online';
}

/** Whether the slot's device is a member or is being filled, so that it may be written to. */
function isMember(slot: Slot): boolean {
  return slot.isOperational;
}

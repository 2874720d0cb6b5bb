import { BlockClient } from '@raidkit/bdev';
import type { RaidArray } from './array.js';
import type { RaidContext } from './context.js';
import type { Slot } from './slot.js';

/** Zeros are written to a grown member in pieces of this many bytes, so that others get their turn. */
const zeroBytes = 8 * 1024 * 1024;

/** A member has a new size: the array grows if all of them have room. Runs by itself; one at a time for an array. */
export function onMemberResized(ctx: RaidContext, array: RaidArray): void {
  const before = array.resizing;
  array.resizing = before
    .then(() => grow(ctx, array))
    .catch((error: unknown) => {
      array.log.error({ ...array.logFields(), err: error }, 'the array could not be resized');
    });
}

async function grow(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { level, bdev } = array;
  // The new member's size counts too, when it is one.
  if (array.slots.some(({ replacement }) => replacement !== null)) return;
  if (array.state !== 'online' || array.isReadOnly || bdev === null || level?.resize === undefined) return;
  const capacities = array.slots.map((slot) => {
    if (slot.descriptor === null) return slot.dataSize;
    return slot.descriptor.bdev.numBlocks - slot.dataOffset;
  });
  for (const [index, slot] of array.slots.entries()) {
    if ((capacities[index] ?? 0) < slot.dataSize) {
      array.log.error(array.logFields(slot), 'the member shrank below its data: the array keeps its size, I/O past the end fails');
      return;
    }
  }
  const { membership } = array;
  const oldSizes = array.slots.map(({ dataSize }) => dataSize);
  const oldBlocks = array.numBlocks;
  const end = Math.min(...capacities);
  if (array.regions?.hasRoomFor(end) === false) {
    array.log.error(array.logFields(), 'the members have grown, and the region map has no room for that: the array keeps its size');
    return;
  }
  // Redundancy must agree with the data in the new part too: zeros do, at every level.
  if (array.module.manifest.redundant) {
    if (end - (end % array.stripe().memberBlocks) <= Math.max(...oldSizes)) return;
    await zeroNewParts(array, oldSizes, end);
  }
  // On record before the new size is: a map of more than the members is none the worse.
  array.regions?.extend(end);
  await array.regions?.writeAll();
  // A member that came meanwhile, in the place of another one perhaps, has not been given its zeros.
  if (array.membership !== membership || array.slots.some(({ replacement }) => replacement !== null)) return grow(ctx, array);
  const geometry = level.resize(capacities);
  if (geometry === null || geometry.numBlocks <= oldBlocks) return;
  array.slots.forEach((slot, index) => (slot.dataSize = geometry.memberBlocks[index] ?? slot.dataSize));
  await array.metadata.update();
  bdev.resize(geometry.numBlocks);
  array.log.info({ ...array.logFields(), from: oldBlocks, to: geometry.numBlocks }, 'the array has grown');
  ctx.emit({ type: 'arrayResized', array: array.name, numBlocks: geometry.numBlocks });
}

/** With a region map, only to the end of the region that has been written to in part: what lies behind was never written. */
async function zeroNewParts(array: RaidArray, oldSizes: number[], end: number): Promise<void> {
  const { regions } = array;
  const results = await Promise.allSettled(
    array.slots.map((slot, index) => {
      const start = oldSizes[index] ?? 0;
      const regionEnd = regions === null ? end : Math.ceil(start / regions.regionBlocks) * regions.regionBlocks;
      return zeroMember(array, slot, start, Math.min(end, regionEnd));
    }),
  );
  // Not before all are through: zeros that are still under way would land on what users write after the next try.
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function zeroMember(array: RaidArray, slot: Slot, start: number, end: number): Promise<void> {
  const step = zeroBytes / array.blockSize;
  slot.partsInFlight++;
  try {
    for (let at = start; at < end; at += step) {
      if (slot.descriptor === null || slot.isLeaving) return;
      await new BlockClient(slot.descriptor).writeZeroes(slot.dataOffset + at, Math.min(step, end - at));
    }
  } finally {
    slot.partEnded();
  }
}

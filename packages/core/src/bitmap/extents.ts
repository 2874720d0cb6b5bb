import type { MappedHost } from './mapped-host.js';
import { RegionState } from './region-state.js';

/** Whether the block of the array was never written, or not since it was unmapped: it reads as zeros. Without redundancy none does. */
export function isUnwritten(array: MappedHost, block: number): boolean {
  const { bitmap } = array;
  if (bitmap === null || bitmap.isOfParts) return false;
  const { arrayBlocks, memberBlocks } = array.stripe();
  return (
    bitmap.states[Math.floor((Math.floor(block / arrayBlocks) * memberBlocks) / bitmap.regionBlocks)] === RegionState.Unwritten
  );
}

/** Where the run of blocks ends that are like the one at `from`: all unwritten, or all not; `to` at most. */
export function endOfExtent(array: MappedHost, from: number, to: number): number {
  const { bitmap } = array;
  if (bitmap === null || bitmap.isOfParts || bitmap.count(RegionState.Unwritten) === 0) return to;
  const { arrayBlocks, memberBlocks } = array.stripe();
  const regionBlocks = (bitmap.regionBlocks / memberBlocks) * arrayBlocks;
  const region = bitmap.endOfRun(Math.floor(from / regionBlocks), Math.ceil(to / regionBlocks));
  return Math.min(region * regionBlocks, to);
}

/**
 * Runs of the array's blocks from `offset` on, and whether each is unwritten and reads as zeros. Ends at `offset + count`,
 * or when `add` gives false.
 */
export function listExtents(
  array: MappedHost,
  offset: number,
  count: number,
  add: (numBlocks: number, isZero: boolean) => boolean,
): void {
  let from = offset;
  while (from < offset + count) {
    const to = array.level === null ? offset + count : endOfExtent(array, from, offset + count);
    if (!add(to - from, array.level !== null && isUnwritten(array, from))) return;
    from = to;
  }
}

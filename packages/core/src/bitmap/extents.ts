import type { MappedHost } from './mapped-host.js';
import { RegionState } from './region-state.js';

/**
 * Whether the array block was never written, or not since it was unmapped, and so reads as zeros. Always false without
 * redundancy.
 */
export function isUnwritten(array: MappedHost, block: number): boolean {
  const { bitmap } = array;
  if (bitmap === null || bitmap.isOfParts) return false;
  const { arrayBlocks, memberBlocks } = array.stripe();
  return (
    bitmap.states[Math.floor((Math.floor(block / arrayBlocks) * memberBlocks) / bitmap.regionBlocks)] === RegionState.Unwritten
  );
}

/** Whether any of the array blocks was never written, or not since it was unmapped. Called for each routed read. */
export function isAnyUnwritten(array: MappedHost, from: number, to: number): boolean {
  const { bitmap } = array;
  if (bitmap === null || bitmap.isOfParts || bitmap.count(RegionState.Unwritten) === 0) return false;
  const { arrayBlocks, memberBlocks } = array.stripe();
  const regionBlocks = (bitmap.regionBlocks / memberBlocks) * arrayBlocks;
  const last = Math.floor((to - 1) / regionBlocks);
  for (let region = Math.floor(from / regionBlocks); region <= last; region++)
    if (bitmap.states[region] === RegionState.Unwritten) return true;
  return false;
}

/** Returns the end of the run of blocks from `from` on that are all unwritten or all written, at most `to`. */
export function endOfExtent(array: MappedHost, from: number, to: number): number {
  const { bitmap } = array;
  if (bitmap === null || bitmap.isOfParts || bitmap.count(RegionState.Unwritten) === 0) return to;
  const { arrayBlocks, memberBlocks } = array.stripe();
  const regionBlocks = (bitmap.regionBlocks / memberBlocks) * arrayBlocks;
  const region = bitmap.endOfRun(Math.floor(from / regionBlocks), Math.ceil(to / regionBlocks));
  return Math.min(region * regionBlocks, to);
}

/**
 * Calls `add` for each run of array blocks from `offset` on, with whether the run is unwritten and reads as zeros. Stops at
 * `offset + count`, or when `add` returns false.
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

import type { RaidArray } from './array.js';
import { RegionState } from './region-states.js';

/**
 * Runs of the array's blocks from `offset` on, and whether each was never written and reads as zeros. Ends at `offset + count`,
 * or when `add` gives false.
 */
export function listExtents(array: RaidArray, offset: number, count: number, add: (numBlocks: number, isZero: boolean) => boolean): void {
  const { level, regions } = array;
  if (level === null || regions === null || regions.count(RegionState.Unwritten) === 0) {
    add(count, false);
    return;
  }
  const { arrayBlocks, memberBlocks } = array.stripe();
  const regionBlocks = (regions.regionBlocks / memberBlocks) * arrayBlocks;
  const end = offset + count;
  const isZero = (block: number): boolean => regions.states[Math.floor(block / regionBlocks)] === RegionState.Unwritten;
  const nextRegion = (block: number): number => Math.min((Math.floor(block / regionBlocks) + 1) * regionBlocks, end);
  for (let from = offset; from < end; ) {
    const kind = isZero(from);
    let to = nextRegion(from);
    while (to < end && isZero(to) === kind) to = nextRegion(to);
    if (!add(to - from, kind)) return;
    from = to;
  }
}

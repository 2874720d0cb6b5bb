import { summedBytes } from '../checksums/area.js';
import type { SumsKnowledge } from '../checksums/member-sums.js';
import type { Consistency } from './consistency.js';
import { RegionState } from './region-state.js';
import type { RegionStates } from './region-state.js';

/** The state that {@link knowledgeOf} depends on. It is read at each call. */
export interface KnownRegions {
  /** Block size in bytes. */
  readonly blockSize: number;
  readonly bitmap: Pick<RegionStates, 'regionBlocks' | 'states'>;
  readonly consistency: Pick<Consistency, 'isUnstable'>;
  /**
   * Another program ran the array before this start, so blocks that were not written or compared since have no valid checksums.
   */
  readonly isForeign: boolean;
  /** Number of checksummed blocks, from the start of each data area, that have been given checksums. */
  readonly summedBlocks: number;
}

/**
 * Derives from the write-intent bitmap which checksums on a member are valid. Checksums are written before a region's bit is
 * cleared, and are valid while it stays clear, or if it was set in this run. `slot.isInSync` is read at each call.
 */
export function knowledgeOf(array: KnownRegions, slot: { readonly isInSync: boolean }): SumsKnowledge {
  const counts = (block: number): boolean => {
    const { blockSize, bitmap, consistency, isForeign, summedBlocks } = array;
    if (block >= summedBlocks) return false;
    const perSum = summedBytes / blockSize;
    switch (bitmap.states[Math.floor((block * perSum) / bitmap.regionBlocks)]) {
      case RegionState.Clean:
        return true;
      case RegionState.OutOfSync:
        return slot.isInSync;
      case RegionState.Dirty:
        // A member that is being filled has old or arbitrary contents there.
        return !isForeign && slot.isInSync && !consistency.isUnstable(block * perSum, perSum);
      default:
        return false;
    }
  };
  const endOfRegion = (block: number): number => {
    const { blockSize, bitmap, consistency, summedBlocks } = array;
    const perSum = summedBytes / blockSize;
    const region = Math.floor((block * perSum) / bitmap.regionBlocks);
    const end = ((region + 1) * bitmap.regionBlocks) / perSum;
    const isOne = !consistency.isUnstable(block * perSum, (end - block) * perSum);
    if (!isOne) return block + 1;
    return block < summedBlocks ? Math.min(end, summedBlocks) : end;
  };
  return {
    counts,
    endOfRun(block, limit) {
      const is = counts(block);
      let end = endOfRegion(block);
      while (end < limit && counts(end) === is) end = endOfRegion(end);
      return Math.min(end, limit);
    },
  };
}

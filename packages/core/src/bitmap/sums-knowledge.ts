import { summedBytes } from '../checksums/area.js';
import type { SumsKnowledge } from '../checksums/member-sums.js';
import type { Consistency } from './consistency.js';
import { RegionState } from './region-state.js';
import type { RegionStates } from './region-state.js';

/** What {@link knowledgeOf} goes by; asked anew each time. */
export interface KnownRegions {
  /** Bytes. */
  readonly blockSize: number;
  readonly bitmap: Pick<RegionStates, 'regionBlocks' | 'states'>;
  readonly consistency: Pick<Consistency, 'isUnstable'>;
  /** Another program ran the array before this start: what was not written or compared since has no sums that count. */
  readonly isForeign: boolean;
  /** Blocks of sums from the start of each data area on that have been summed. */
  readonly summedBlocks: number;
}

/**
 * What the write-intent bitmap says of sums on a member: they were written before a region's bit was cleared, and count while that is so,
 * or as long as the bit was set in this run. `slot`: whether its member has missed nothing is asked anew each time.
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
        // A member that is being filled has there what it had when it left, or anything.
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

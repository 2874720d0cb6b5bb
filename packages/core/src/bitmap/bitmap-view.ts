import type { RegionState } from './region-state.js';

/** The write-intent bitmap: what is known of an array's regions. Blocks are those of members' data areas. */
export interface BitmapView {
  /** Blocks of each member's data area in a region; the last region may be shorter. */
  readonly regionBlocks: number;
  /** A {@link RegionState} for each region. */
  readonly states: Readonly<Uint8Array>;
  /** Regions that a resync is to go over. */
  readonly regionsToResync: number;
  /** Regions in this state. */
  count(state: RegionState): number;
  /** Whether any region in which these blocks lie is in this state. */
  has(state: RegionState, start: number, numBlocks: number): boolean;
  /** Whether all regions in which these blocks lie are in this state. */
  isAll(state: RegionState, start: number, numBlocks: number): boolean;
}

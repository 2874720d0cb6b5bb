import type { RegionState } from './region-state.js';

/** Read-only view of the write-intent bitmap, with the state of each region. Blocks are those of members' data areas. */
export interface BitmapView {
  /** Size of a region in blocks of each member's data area. The last region may be shorter. */
  readonly regionBlocks: number;
  /** A {@link RegionState} for each region. */
  readonly states: Readonly<Uint8Array>;
  /** Number of regions where redundancy is inconsistent, so that a resync must process them. */
  readonly regionsToResync: number;
  /** Returns the number of regions in this state. */
  count(state: RegionState): number;
  /** Whether any region that contains some of these blocks is in this state. */
  has(state: RegionState, start: number, numBlocks: number): boolean;
  /** Whether all regions that contain some of these blocks are in this state. */
  isAll(state: RegionState, start: number, numBlocks: number): boolean;
}

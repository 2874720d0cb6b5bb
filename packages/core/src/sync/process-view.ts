import type { JsonObject } from '@raidkit/bdev';
import type { SlotView } from '../members/slot-view.js';
import type { Mismatch, ProcessType } from './task.js';

/** Background work on an array, to be looked at. {@link RaidArrays.pauseProcess} and its like change what it does. */
export interface ProcessView {
  readonly type: ProcessType;
  /** The members that are being filled, in one pass, in the order of their slots; none for other processes. */
  readonly targets: readonly SlotView[];
  /** The first of {@link targets}; null for other processes. */
  readonly target: SlotView | null;
  /** Array blocks, from the start, that are done. */
  readonly offsetBlocks: number;
  /** Array blocks that are quiesced and worked on at a time; the last window may be shorter. */
  readonly windowBlocks: number;
  /** 0 to 100, of the array. */
  readonly percent: number;
  readonly isPaused: boolean;
  /** Blocks at which redundancy disagreed, and the first few places. */
  readonly mismatchBlocks: number;
  readonly mismatches: readonly Mismatch[];
  /** Blocks that a repair rewrote. */
  readonly repairedBlocks: number;
  /** As `bdev_raid_get_bdevs` shows it. */
  describe(): JsonObject;
  /** With rate, time left, limits and what was found. */
  describeFully(): JsonObject;
}

import type { JsonObject } from '@raidkit/bdev';
import type { SlotView } from '../members/slot-view.js';
import type { Mismatch, ProcessType } from './task.js';

/** Read-only view of a background process. {@link RaidArrays.pauseProcess} and similar methods control it. */
export interface ProcessView {
  /** What the process does. */
  readonly type: ProcessType;
  /** Slots whose members are being filled together, in ascending order; empty for other processes. */
  readonly targets: readonly SlotView[];
  /** First entry of {@link targets}; null if it is empty. */
  readonly target: SlotView | null;
  /** Number of array blocks, from the start, that are done. */
  readonly offsetBlocks: number;
  /** Number of array blocks that are quiesced and processed at a time. The last window may be shorter. */
  readonly windowBlocks: number;
  /** Progress through the array in percent, 0 to 100. */
  readonly percent: number;
  /** No new window begins until the process is resumed. */
  readonly isPaused: boolean;
  /** Number of member blocks where redundancy disagreed with the data. */
  readonly mismatchBlocks: number;
  /** The first 64 mismatches. */
  readonly mismatches: readonly Mismatch[];
  /** Number of member blocks that a repair rewrote. */
  readonly repairedBlocks: number;
  /** Returns the value that `bdev_raid_get_bdevs` shows. */
  describe(): JsonObject;
  /** As {@link describe}, with rate, remaining time, limits and findings. */
  describeFully(): JsonObject;
}

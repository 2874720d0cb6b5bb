import type { IoPath } from '@raidkit/bdev';
import type { BlockRange } from '../format/block-ranges.js';

/** The way to a device's data on which what is read is verified. */
export interface SummedPath extends IoPath {
  /**
   * Resolves when the sums of these blocks of the data area, as they are now, are on the device, if only in its cache. Rejects with
   * a `BdevError`; with `ERR_RAID_MEMORY` if the device was not asked.
   */
  writeOut(ranges: Iterable<BlockRange>): Promise<void>;
  /** Resolves when the pages with the sums of these blocks say by themselves what does not count, as what is known of them now has it. */
  wash(ranges: Iterable<BlockRange>): Promise<void>;
  /** As {@link writeOut}, of all that is in memory. */
  writeAll(): Promise<void>;
  /** Whether each of these blocks of the data area has a sum, so that what is read of it is verified. */
  haveSums(start: number, end: number): Promise<boolean>;
  /** How many of these blocks of the data area have no sum, so that what is read of them is not verified. */
  countWithout(start: number, end: number): Promise<number>;
  /**
   * Those of these blocks of the data area that have no sum get that of what is read there now, to `addr`, if it is the same as what
   * lies at `likeAddr`; the others are verified. All of them are blocks that have one sum each, whole. Rejects with a `BdevError`.
   */
  sum(start: number, count: number, addr: number, likeAddr: number): Promise<void>;
  /** None of its I/O is under way. */
  readonly isIdle: boolean;
  /** Sums of these blocks are read from the device again when they are wanted next, but for those that it does not have yet. */
  forgetPages(start: number, end: number): void;
  /** The device may have dropped what was written since its last flush, pages of sums too; what is not in memory is not believed. */
  onLostFlush(): void;
  /** Resolves when none of its own I/O is under way, nor will be; what is submitted from then on ends as without a device. */
  close(): Promise<void>;
}

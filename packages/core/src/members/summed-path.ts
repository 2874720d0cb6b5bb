import type { IoPath } from '@raidkit/bdev';
import type { BlockRange } from '../format/block-ranges.js';

/** A path to a device's data that verifies checksums of what is read. */
export interface SummedPath extends IoPath {
  /**
   * Writes the current checksums of these blocks of the data area to the device. Resolves when they are there, though perhaps
   * only in its cache. Rejects with a `BdevError`; with `ERR_RAID_MEMORY` if nothing was sent to the device.
   */
  writeOut(ranges: Iterable<BlockRange>): Promise<void>;
  /**
   * Loads the pages with the checksums of these blocks, and removes from them the checksums that are not valid by what the
   * bitmap says now.
   */
  wash(ranges: Iterable<BlockRange>): Promise<void>;
  /** As {@link writeOut}, for all checksums in memory. */
  writeAll(): Promise<void>;
  /** Resolves to whether each of these blocks of the data area has a checksum, so that reads of it are verified. */
  haveSums(start: number, end: number): Promise<boolean>;
  /**
   * Resolves to whether this block of the data area has a checksum that was lost in memory only, so that another read of its
   * page may return it.
   */
  mayFind(block: number): Promise<boolean>;
  /** Resolves to the number of these blocks of the data area that have no checksum, so that reads of them are not verified. */
  countWithout(start: number, end: number): Promise<number>;
  /**
   * Reads these blocks of the data area to `addr`. A block without checksum gets one if what was read equals the data at
   * `likeAddr`; the others are verified. The range must consist of whole blocks of 4 KiB, which have one checksum each. Rejects
   * with a `BdevError`.
   */
  sum(start: number, count: number, addr: number, likeAddr: number): Promise<void>;
  /** No I/O of this path is in flight, that of pages included. */
  readonly isIdle: boolean;
  /** Resolves when no I/O of this path is in flight. Check {@link isIdle} again: some may have begun since. */
  whenIdle(): Promise<void>;
  /**
   * Drops the checksums of these blocks from memory, except those not written yet, so that they are read from the device again.
   */
  forgetPages(start: number, end: number): void;
  /**
   * To be called when a flush failed: the device may have lost what was written since the last one, pages of checksums
   * included. They are read or written again before they are relied on.
   */
  onLostFlush(): void;
  /** Resolves when no I/O of this path is in flight; none begins afterwards. I/O that is submitted later ends with ENODEV. */
  close(): Promise<void>;
}

import { cutRanges, firstEndingAfter } from '../format/block-ranges.js';
import type { BlockRange } from '../format/block-ranges.js';

/**
 * Most ranges to keep, to bound the memory. With more, a range that would be split stays inconsistent as a whole, which is
 * safe.
 */
const mostRanges = 65_536;

/** Is notified when consistency changes. */
export interface ConsistencyListener {
  /** Redundancy has become inconsistent somewhere. */
  onInconsistent(): void;
  /** Redundancy has become consistent somewhere, or data that may not have been on stable media is now. */
  onInSync(): void;
}

interface Range {
  start: number;
  end: number;
  /** Number of resyncs that had begun when the range was marked. */
  stamp: number;
}

/**
 * Where an array's redundancy may disagree with its data. This class alone knows that; user I/O, resync, rebuild, the
 * write-intent bitmap and the journal ask it. Ranges are in blocks of every member's data area, sorted and disjoint; usually
 * there are none. They are kept in memory; on disk their regions stay dirty meanwhile.
 *
 * It also keeps *unstable* ranges: what members return there may not be on stable media, whatever later flushes return, because
 * an earlier flush failed or may have failed unnoticed before a crash. Redundancy agrees there now, but may not after the next
 * power failure. Only a resync ends that: it rewrites all members and flushes them.
 */
export class Consistency {
  readonly #ranges: Range[] = [];
  readonly #unstable: Range[] = [];
  readonly #listener: ConsistencyListener;
  #resyncs = 0;
  /** Number of times that something became inconsistent, and number of changes of any kind. */
  additions = 0;
  changes = 0;
  /** Number of times that something ceased to be inconsistent. */
  removals = 0;

  constructor(listener: ConsistencyListener) {
    this.#listener = listener;
  }

  get isAllInSync(): boolean {
    return this.#ranges.length === 0;
  }

  /** Whether redundancy may be inconsistent in any of these blocks. */
  isInconsistent(start: number, count: number): boolean {
    if (this.#ranges.length === 0) return false;
    const range = this.#ranges[firstEndingAfter(this.#ranges, start)];
    return range !== undefined && range.start < start + count;
  }

  /** Nothing is inconsistent or unstable. */
  get isSettled(): boolean {
    return this.#ranges.length === 0 && this.#unstable.length === 0;
  }

  /** Whether members may return something else for these blocks after a power failure. */
  isUnstable(start: number, count: number): boolean {
    if (this.#unstable.length === 0) return false;
    const range = this.#unstable[firstEndingAfter(this.#unstable, start)];
    return range !== undefined && range.start < start + count;
  }

  /** Returns at most `most` ranges. If there are more, those with the smallest gaps are joined. */
  list(most: number): { start: number; count: number }[] {
    const gaps = this.#ranges.slice(1).map(({ start }, i) => start - (this.#ranges[i]?.end ?? start));
    const widest = gaps.length < most ? -1 : ([...gaps].sort((a, b) => b - a)[most - 1] ?? 0);
    const listed: { start: number; count: number }[] = [];
    this.#ranges.forEach(({ start, end }, i) => {
      const last = listed[listed.length - 1];
      if (last === undefined || (gaps[i - 1] ?? 0) > widest) listed.push({ start, count: end - start });
      else last.count = end - last.start;
    });
    return listed;
  }

  /** Returns the number of regions of this size where redundancy is inconsistent. */
  countRegions(regionBlocks: number): number {
    return countRegions(this.#ranges, regionBlocks);
  }

  /** Returns the number of regions of this size where something is inconsistent or unstable. */
  countUnsettled(regionBlocks: number): number {
    if (this.#unstable.length === 0) return this.countRegions(regionBlocks);
    return countRegions(
      [...this.#ranges, ...this.#unstable].sort((a, b) => a.start - b.start),
      regionBlocks,
    );
  }

  /** A write failed on more members than can be lost, or was interrupted by a crash: redundancy may be wrong here. */
  markInconsistent(start: number, count: number): void {
    // A listener may write, fail, and mark the same range again. It is not notified then, or that would never end.
    if (this.load(start, count)) this.#listener.onInconsistent();
  }

  /**
   * As {@link markInconsistent}, for what was found at the start, without notifying the listener. Returns false if nothing
   * changed.
   */
  load(start: number, count: number): boolean {
    if (count <= 0 || this.#isMarked(this.#ranges, start, start + count)) return false;
    this.additions++;
    this.changes++;
    this.#add(this.#ranges, start, start + count);
    return true;
  }

  /** A flush of data that was written here has failed, or may have. */
  markUnstable(start: number, count: number): void {
    if (count > 0 && !this.#isMarked(this.#unstable, start, start + count)) this.#add(this.#unstable, start, start + count);
  }

  /** Ranges that may not be on stable media. */
  get unstable(): readonly BlockRange[] {
    return this.#unstable;
  }

  /** These blocks were rewritten on every member, so the next flush keeps them or fails. */
  markStable(start: number, count: number): void {
    const range = this.#unstable[firstEndingAfter(this.#unstable, start)];
    if (range === undefined || range.start >= start + count) return;
    const isSplit = range.start < start && range.end > start + count;
    if (isSplit && this.#unstable.length >= mostRanges) return;
    cutRanges(this.#unstable, start, start + count, () => true);
    this.#listener.onInSync();
  }

  /**
   * Marks unstable ranges as inconsistent. Called when members' data begins to depend on redundancy, which must not rely on
   * unstable data.
   */
  doubtUnstable(): void {
    if (this.#unstable.length === 0) return;
    let isNews = false;
    for (const { start, end } of this.#unstable) isNews = this.load(start, end - start) || isNews;
    if (isNews) this.#listener.onInconsistent();
  }

  /** Redundancy in these blocks was rewritten from data, or there is no redundancy there that could be wrong. */
  markInSync(start: number, count: number): void {
    if (this.#ranges.length === 0) return;
    const range = this.#ranges[firstEndingAfter(this.#ranges, start)];
    if (range === undefined || range.start >= start + count) return;
    const isSplit = range.start < start && range.end > start + count;
    if (isSplit && this.#ranges.length >= mostRanges) return;
    this.removals++;
    this.changes++;
    cutRanges(this.#ranges, start, start + count, () => true);
    this.#listener.onInSync();
  }

  /** An operator has declared that redundancy is right everywhere. */
  assumeInSync(): void {
    if (this.#ranges.length === 0) return;
    this.forget();
    this.#listener.onInSync();
  }

  /** Removes all inconsistent ranges. */
  forget(): void {
    this.changes++;
    this.removals++;
    this.#ranges.length = 0;
  }

  /** Removes all ranges. Called when the array is started, possibly again. */
  reset(): void {
    this.forget();
    this.#unstable.length = 0;
  }

  /** A resync begins. Returns the token for {@link resynced}. */
  beginResync(): number {
    return ++this.#resyncs;
  }

  /** Whether {@link resynced} would change anything. */
  isResyncDueBelow(end: number, token: number): boolean {
    return hasOlderBelow(this.#ranges, end, token) || hasOlderBelow(this.#unstable, end, token);
  }

  /** As {@link resynced}, if members were rewritten and flushed but not compared, because a member is missing. */
  rewritten(end: number, token: number): void {
    if (!hasOlderBelow(this.#unstable, end, token)) return;
    cutRanges(this.#unstable, 0, end, ({ stamp }) => stamp < token);
    this.#listener.onInSync();
  }

  /**
   * The running resync could not write these blocks, so {@link resynced} and {@link rewritten} leave them as they were marked.
   */
  passedOver(start: number, count: number): void {
    for (const ranges of [this.#ranges, this.#unstable]) {
      // If there is no room to split a range, all of it stays marked.
      const isFull = ranges.length >= mostRanges;
      const marked = ranges.filter((range) => range.start < start + count && start < range.end);
      for (const range of marked) {
        if (isFull) range.stamp = this.#resyncs;
        else this.#add(ranges, Math.max(start, range.start), Math.min(start + count, range.end));
      }
    }
  }

  /**
   * Below this member block, redundancy is now consistent and on stable media wherever it was marked before the resync with
   * this token began. The resync may have passed blocks that were marked later.
   */
  resynced(end: number, token: number): void {
    if (!this.isResyncDueBelow(end, token)) return;
    this.removals++;
    this.changes++;
    for (const ranges of [this.#ranges, this.#unstable]) cutRanges(ranges, 0, end, ({ stamp }) => stamp < token);
    this.#listener.onInSync();
  }

  /** Whether all of it was marked since the last resync began. */
  #isMarked(ranges: readonly Range[], start: number, end: number): boolean {
    const range = ranges[firstEndingAfter(ranges, start)];
    return range !== undefined && range.start <= start && range.end >= end && range.stamp === this.#resyncs;
  }

  #add(ranges: Range[], start: number, end: number): void {
    const range = { start, end, stamp: this.#resyncs };
    cutRanges(ranges, start, end, () => true);
    const at = firstEndingAfter(ranges, start);
    const before = ranges[at - 1];
    const after = ranges[at];
    const joinsBefore = before?.end === range.start && before.stamp === range.stamp;
    const joinsAfter = after?.start === range.end && after.stamp === range.stamp;
    if (joinsBefore) range.start = before.start;
    if (joinsAfter) range.end = after.end;
    ranges.splice(joinsBefore ? at - 1 : at, (joinsBefore ? 1 : 0) + (joinsAfter ? 1 : 0), range);
  }
}

/** Returns the number of regions that these sorted ranges touch. */
function countRegions(ranges: readonly BlockRange[], regionBlocks: number): number {
  let count = 0;
  let last = -1;
  for (const { start, end } of ranges) {
    const first = Math.max(Math.floor(start / regionBlocks), last + 1);
    last = Math.max(last, Math.floor((end - 1) / regionBlocks));
    count += Math.max(0, last - first + 1);
  }
  return count;
}

/** Whether any of these ranges that begins below `end` was marked before the resync with this token began. */
function hasOlderBelow(ranges: readonly Range[], end: number, token: number): boolean {
  for (const range of ranges) {
    if (range.start >= end) return false;
    if (range.stamp < token) return true;
  }
  return false;
}

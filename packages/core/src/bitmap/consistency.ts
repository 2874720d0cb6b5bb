import { cutRanges, firstEndingAfter } from '../format/block-ranges.js';
import type { BlockRange } from '../format/block-ranges.js';

/** Beyond this many ranges one that would be split stays in doubt whole: memory is bounded, and doubt is always safe. */
const mostRanges = 65_536;

/** What hears of a change in what is known. */
export interface ConsistencyListener {
  /** Redundancy has come to be in doubt somewhere. */
  onInconsistent(): void;
  /** It is not in doubt any more somewhere, perhaps nowhere, or what may not have been on stable media is. */
  onInSync(): void;
}

interface Range {
  start: number;
  end: number;
  /** How many resyncs had begun when it was marked. */
  stamp: number;
}

/**
 * Where an array's redundancy may disagree with its data: the one place in which that is kept. User I/O, resync, rebuild, the
 * write-intent bitmap and the journal all ask here. Ranges are blocks of every member's data area, sorted and disjoint; there
 * are none in the common case. They live in memory: on disk their regions are dirty for as long as they are in doubt.
 *
 * Besides, where what members show may not be on stable media, whatever later flushes say: an earlier flush of it failed, or
 * may have failed, unheard of, before a crash. Redundancy agrees there now, and may not after the next power cut. Only a resync
 * ends that: it writes all members anew, and flushes them.
 */
export class Consistency {
  readonly #ranges: Range[] = [];
  readonly #unstable: Range[] = [];
  readonly #listener: ConsistencyListener;
  #resyncs = 0;
  /** How often something came to be in doubt, and how often anything changed. */
  additions = 0;
  changes = 0;
  /** How often something ceased to be in doubt. */
  removals = 0;

  constructor(listener: ConsistencyListener) {
    this.#listener = listener;
  }

  get isAllInSync(): boolean {
    return this.#ranges.length === 0;
  }

  /** Whether redundancy is in doubt in any of these blocks. */
  isInconsistent(start: number, count: number): boolean {
    if (this.#ranges.length === 0) return false;
    const range = this.#ranges[firstEndingAfter(this.#ranges, start)];
    return range !== undefined && range.start < start + count;
  }

  /** Nothing is in doubt, and everything is on stable media that has been flushed. */
  get isSettled(): boolean {
    return this.#ranges.length === 0 && this.#unstable.length === 0;
  }

  /** Whether what members show of these blocks may not be what they show after a power cut. */
  isUnstable(start: number, count: number): boolean {
    if (this.#unstable.length === 0) return false;
    const range = this.#unstable[firstEndingAfter(this.#unstable, start)];
    return range !== undefined && range.start < start + count;
  }

  /** The ranges, so many at most: where there are more, those that lie closest are taken together. */
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

  /** In how many regions of this many blocks redundancy is in doubt. */
  countRegions(regionBlocks: number): number {
    return countRegions(this.#ranges, regionBlocks);
  }

  /** In how many regions of this many blocks redundancy is in doubt, or something may not be on stable media. */
  countUnsettled(regionBlocks: number): number {
    if (this.#unstable.length === 0) return this.countRegions(regionBlocks);
    return countRegions(
      [...this.#ranges, ...this.#unstable].sort((a, b) => a.start - b.start),
      regionBlocks,
    );
  }

  /** A write failed on more members than can be lost, or was cut short by a crash: redundancy may be wrong here. */
  markInconsistent(start: number, count: number): void {
    // Who hears of it may write, and fail, and mark the same again: that is no news, or there would be no end of it.
    if (this.load(start, count)) this.#listener.onInconsistent();
  }

  /** As {@link markInconsistent}, for what was found at the start: no listener needs to be told. False if nothing has changed. */
  load(start: number, count: number): boolean {
    if (count <= 0 || this.#isMarked(this.#ranges, start, start + count)) return false;
    this.additions++;
    this.changes++;
    this.#add(this.#ranges, start, start + count);
    return true;
  }

  /** A flush of what was written here has failed, or may have. */
  markUnstable(start: number, count: number): void {
    if (count > 0 && !this.#isMarked(this.#unstable, start, start + count)) this.#add(this.#unstable, start, start + count);
  }

  /** What may not be on stable media, in ranges. */
  get unstable(): readonly BlockRange[] {
    return this.#unstable;
  }

  /** These blocks were written anew on every member: the next flush keeps them, or fails. */
  markStable(start: number, count: number): void {
    const range = this.#unstable[firstEndingAfter(this.#unstable, start)];
    if (range === undefined || range.start >= start + count) return;
    const isSplit = range.start < start && range.end > start + count;
    if (isSplit && this.#unstable.length >= mostRanges) return;
    cutRanges(this.#unstable, start, start + count, () => true);
    this.#listener.onInSync();
  }

  /** From now on members stand for one another that did not before: redundancy must not depend on what may not be stable. */
  doubtUnstable(): void {
    if (this.#unstable.length === 0) return;
    let isNews = false;
    for (const { start, end } of this.#unstable) isNews = this.load(start, end - start) || isNews;
    if (isNews) this.#listener.onInconsistent();
  }

  /** Redundancy has been written anew in these blocks, all of it from data; or none is there to be wrong. */
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

  /** A person says that redundancy is right everywhere. */
  assumeInSync(): void {
    if (this.#ranges.length === 0) return;
    this.forget();
    this.#listener.onInSync();
  }

  /** Nothing is in doubt, as far as is known. */
  forget(): void {
    this.changes++;
    this.removals++;
    this.#ranges.length = 0;
  }

  /** Nothing is known any more: the array is started, perhaps not for the first time. */
  reset(): void {
    this.forget();
    this.#unstable.length = 0;
  }

  /** A resync begins; the token goes to {@link resynced}. */
  beginResync(): number {
    return ++this.#resyncs;
  }

  /** Whether {@link resynced} has something to do. */
  isResyncDueBelow(end: number, token: number): boolean {
    return hasOlderBelow(this.#ranges, end, token) || hasOlderBelow(this.#unstable, end, token);
  }

  /** As {@link resynced}, of members that were written anew and flushed, and not compared: a member is missing. */
  rewritten(end: number, token: number): void {
    if (!hasOlderBelow(this.#unstable, end, token)) return;
    cutRanges(this.#unstable, 0, end, ({ stamp }) => stamp < token);
    this.#listener.onInSync();
  }

  /**
   * Redundancy agrees, on stable media, in what lies below this member block and was in doubt, or not stable, when the resync of
   * the token began. What was marked later it may have passed before.
   */
  resynced(end: number, token: number): void {
    if (!this.isResyncDueBelow(end, token)) return;
    this.removals++;
    this.changes++;
    for (const ranges of [this.#ranges, this.#unstable]) cutRanges(ranges, 0, end, ({ stamp }) => stamp < token);
    this.#listener.onInSync();
  }

  /** All of it was marked since the last resync began. */
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

/** Regions that these ranges touch, which are sorted. */
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

/** Whether one of these ranges that begins below `end` was marked before the resync of the token began. */
function hasOlderBelow(ranges: readonly Range[], end: number, token: number): boolean {
  for (const range of ranges) {
    if (range.start >= end) return false;
    if (range.stamp < token) return true;
  }
  return false;
}

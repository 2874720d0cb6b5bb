import { IoType } from '../io/io.js';
import type { BdevIo } from '../io/io.js';

/** A range of a device that is quiesced or waits for I/O in flight to end. */
export class QuiesceRange {
  readonly offsetBlocks: number;
  readonly numBlocks: number;
  /** I/O in flight that overlaps the range. */
  pending = 0;
  /** Requests held back until the quiesce ends, in order. */
  readonly waiting: BdevIo[] = [];
  #onQuiesced: (() => void) | null;

  constructor(offsetBlocks: number, numBlocks: number, onQuiesced: () => void) {
    this.offsetBlocks = offsetBlocks;
    this.numBlocks = numBlocks;
    this.#onQuiesced = onQuiesced;
  }

  overlaps(io: BdevIo): boolean {
    // A flush covers what was acknowledged before it, wherever that was, so it neither waits for a range nor delays one.
    if (io.type === IoType.Flush || io.type === IoType.Reset) return false;
    return io.offsetBlocks < this.offsetBlocks + this.numBlocks && this.offsetBlocks < io.offsetBlocks + io.numBlocks;
  }

  /** Drops the callback: the quiesce ended, and the caller must not be told any more. */
  forget(): void {
    this.#onQuiesced = null;
  }

  /** Calls the callback, once, when nothing in flight overlaps the range any more. */
  settle(): void {
    const onQuiesced = this.#onQuiesced;
    this.#onQuiesced = null;
    onQuiesced?.();
  }
}

/** The quiesced ranges of one device. There are few at a time, so a list suffices. */
export class QuiesceRanges {
  readonly #ranges: QuiesceRange[] = [];

  get isActive(): boolean {
    return this.#ranges.length > 0;
  }

  add(offsetBlocks: number, numBlocks: number, onQuiesced: () => void): QuiesceRange {
    const range = new QuiesceRange(offsetBlocks, numBlocks, onQuiesced);
    this.#ranges.push(range);
    return range;
  }

  /** Counts an I/O in flight against a range that has just been added. */
  count(range: QuiesceRange, io: BdevIo): void {
    if (range.overlaps(io)) range.pending++;
  }

  /** Queues the I/O and returns true if it overlaps a quiesced range. */
  hold(io: BdevIo): boolean {
    for (const range of this.#ranges) {
      if (range.overlaps(io)) {
        range.waiting.push(io);
        return true;
      }
    }
    return false;
  }

  /** Counts down the ranges that waited for this I/O. */
  release(io: BdevIo): void {
    // A callback may remove ranges, so all are counted down first.
    let quiet: QuiesceRange[] | null = null;
    for (const range of this.#ranges) {
      if (range.pending > 0 && range.overlaps(io) && --range.pending === 0) (quiet ??= []).push(range);
    }
    if (quiet !== null) for (const range of quiet) range.settle();
  }

  /** Removes the range and returns the requests that waited for it. */
  remove(range: QuiesceRange): BdevIo[] {
    const index = this.#ranges.indexOf(range);
    if (index < 0) throw new Error('unquiesce of a range that is not quiesced');
    this.#ranges.splice(index, 1);
    range.forget();
    return range.waiting;
  }
}

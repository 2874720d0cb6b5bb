import { IoType } from '../io/io.js';
import type { BdevIo } from '../io/io.js';

/** A range of a device that is quiet, or on its way there. */
export class QuiesceRange {
  readonly offsetBlocks: number;
  readonly numBlocks: number;
  /** I/O in flight that overlaps the range. */
  pending = 0;
  /** I/O that waits for the range's end, in order. */
  readonly waiting: BdevIo[] = [];
  #onQuiesced: (() => void) | null;

  constructor(offsetBlocks: number, numBlocks: number, onQuiesced: () => void) {
    this.offsetBlocks = offsetBlocks;
    this.numBlocks = numBlocks;
    this.#onQuiesced = onQuiesced;
  }

  overlaps(io: BdevIo): boolean {
    // Flush covers what was acknowledged before it, wherever that was: it neither waits for a range nor holds one up.
    if (io.type === IoType.Flush || io.type === IoType.Reset) return false;
    return io.offsetBlocks < this.offsetBlocks + this.numBlocks && this.offsetBlocks < io.offsetBlocks + io.numBlocks;
  }

  /** Ended before it was quiet: the caller is not told any more. */
  forget(): void {
    this.#onQuiesced = null;
  }

  /** Nothing is in flight any more: says so, once. */
  settle(): void {
    const onQuiesced = this.#onQuiesced;
    this.#onQuiesced = null;
    onQuiesced?.();
  }
}

/** The ranges of one device that are quiet. Few at a time, so a list. */
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

  /** True if a range holds the I/O back; it waits there. */
  hold(io: BdevIo): boolean {
    for (const range of this.#ranges) {
      if (range.overlaps(io)) {
        range.waiting.push(io);
        return true;
      }
    }
    return false;
  }

  /** An I/O that was in flight is done. */
  release(io: BdevIo): void {
    // A callback may end ranges, so all are counted down first.
    let quiet: QuiesceRange[] | null = null;
    for (const range of this.#ranges) {
      if (range.pending > 0 && range.overlaps(io) && --range.pending === 0) (quiet ??= []).push(range);
    }
    if (quiet !== null) for (const range of quiet) range.settle();
  }

  /** Takes the range away and gives what waited for it. */
  remove(range: QuiesceRange): BdevIo[] {
    const index = this.#ranges.indexOf(range);
    if (index < 0) throw new Error('unquiesce of a range that is not quiesced');
    this.#ranges.splice(index, 1);
    range.forget();
    return range.waiting;
  }
}

/** Blocks from `start` up to, and without, `end`. */
export interface BlockRange {
  readonly start: number;
  readonly end: number;
}

/** A set of blocks, as sorted ranges that do not meet. */
export class BlockRanges {
  #ranges: BlockRange[] = [];

  /** How many ranges there are. */
  get size(): number {
    return this.#ranges.length;
  }

  get numBlocks(): number {
    return this.#ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  list(): readonly BlockRange[] {
    return this.#ranges;
  }

  overlaps(start: number, end: number): boolean {
    const range = this.#ranges[this.#firstEndingAfter(start)];
    return range !== undefined && range.start < end;
  }

  add(start: number, end: number): void {
    // One that ends where this begins is joined too.
    const first = this.#firstEndingAfter(start - 1);
    let last = first;
    let joined = { start, end };
    for (let range = this.#ranges[last]; range !== undefined && range.start <= end; range = this.#ranges[++last]) {
      joined = { start: Math.min(joined.start, range.start), end: Math.max(joined.end, range.end) };
    }
    this.#ranges.splice(first, last - first, joined);
  }

  /** False if none of the blocks was there. */
  remove(start: number, end: number): boolean {
    const first = this.#firstEndingAfter(start);
    let last = first;
    const kept: BlockRange[] = [];
    for (let range = this.#ranges[last]; range !== undefined && range.start < end; range = this.#ranges[++last]) {
      if (range.start < start) kept.push({ start: range.start, end: start });
      if (range.end > end) kept.push({ start: end, end: range.end });
    }
    if (last === first) return false;
    this.#ranges.splice(first, last - first, ...kept);
    return true;
  }

  /** Index of the first range that ends behind this block; the number of ranges if none does. */
  #firstEndingAfter(block: number): number {
    let from = 0;
    let to = this.#ranges.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if ((this.#ranges[middle]?.end ?? 0) > block) to = middle;
      else from = middle + 1;
    }
    return from;
  }
}

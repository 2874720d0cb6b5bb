/** Blocks from `start` (inclusive) to `end` (exclusive). */
export interface BlockRange {
  readonly start: number;
  readonly end: number;
}

/** A set of blocks, as sorted ranges that neither overlap nor touch. */
export class BlockRanges {
  readonly #ranges: BlockRange[] = [];

  /** Number of ranges. */
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
    const range = this.#ranges[firstEndingAfter(this.#ranges, start)];
    return range !== undefined && range.start < end;
  }

  add(start: number, end: number): void {
    // A range that ends where this one begins is joined with it too.
    const first = firstEndingAfter(this.#ranges, start - 1);
    let last = first;
    let joined = { start, end };
    for (let range = this.#ranges[last]; range !== undefined && range.start <= end; range = this.#ranges[++last]) {
      joined = { start: Math.min(joined.start, range.start), end: Math.max(joined.end, range.end) };
    }
    this.#ranges.splice(first, last - first, joined);
  }

  /** Returns false if the set had none of the blocks. */
  remove(start: number, end: number): boolean {
    return cutRanges(this.#ranges, start, end, () => true);
  }
}

/**
 * Returns the smallest gap between two neighbours of these sorted ranges that begins and ends at multiples of `unit`; null if
 * there is none.
 */
export function leastGap(ranges: readonly BlockRange[], unit: number): BlockRange | null {
  let least: BlockRange | null = null;
  for (let at = 1; at < ranges.length; at++) {
    const start = ranges[at - 1]?.end ?? 0;
    const end = ranges[at]?.start ?? 0;
    if (start % unit !== 0 || end % unit !== 0) continue;
    if (least === null || end - start < least.end - least.start) least = { start, end };
  }
  return least;
}

/** Returns the index of the first of these sorted ranges that ends after `block`, or their number if none does. */
export function firstEndingAfter(ranges: readonly BlockRange[], block: number): number {
  let from = 0;
  let to = ranges.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((ranges[middle]?.end ?? 0) > block) to = middle;
    else from = middle + 1;
  }
  return from;
}

/**
 * Removes `[start, end)` from those of these sorted ranges for which `isMeant` is true. Returns false if nothing was removed.
 */
export function cutRanges<T extends BlockRange>(
  ranges: T[],
  start: number,
  end: number,
  isMeant: (range: T) => boolean,
): boolean {
  let wasCut = false;
  let at = firstEndingAfter(ranges, start);
  for (let range = ranges[at]; range !== undefined && range.start < end; range = ranges[at]) {
    if (!isMeant(range)) {
      at++;
      continue;
    }
    const kept: T[] = [];
    if (range.start < start) kept.push({ ...range, end: start });
    if (range.end > end) kept.push({ ...range, start: end });
    ranges.splice(at, 1, ...kept);
    at += kept.length;
    wasCut = true;
  }
  return wasCut;
}

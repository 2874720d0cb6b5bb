/**
 * Columns (member blocks) whose parity is not to be trusted: a write failed there on more members than the level tolerates.
 * What would have to be reconstructed from them is answered with an error, never with a guess. Nearly always empty.
 */
export class DoubtfulRanges {
  #ranges: { start: number; end: number }[] = [];

  add(start: number, end: number): void {
    this.remove(start, end);
    this.#ranges.push({ start, end });
  }

  /** The parity of these columns has been written anew. */
  remove(start: number, end: number): void {
    if (!this.overlaps(start, end)) return;
    const kept: { start: number; end: number }[] = [];
    for (const range of this.#ranges) {
      if (range.start < start) kept.push({ start: range.start, end: Math.min(range.end, start) });
      if (range.end > end) kept.push({ start: Math.max(range.start, end), end: range.end });
    }
    this.#ranges = kept;
  }

  overlaps(start: number, end: number): boolean {
    for (const range of this.#ranges) if (range.start < end && start < range.end) return true;
    return false;
  }
}

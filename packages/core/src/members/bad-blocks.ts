import { BlockRanges, firstEndingAfter } from '../format/block-ranges.js';
import type { BlockRange } from '../format/block-ranges.js';
import type { BadBlockList, BadBlocksHeader, BadRange } from '../format/store.js';

/**
 * Blocks of members' data areas that do not hold what they should, because nobody could say what that is when the member was
 * filled. A read of one ends as if the device could not read it; a write makes it good. Kept on the members, and nearly always
 * empty.
 */
export class BadBlocks {
  #slots = new Map<number, BlockRanges>();
  #size = 0;
  /** Grows with every change. */
  #version = 0;
  #recordedVersion = 0;
  /** The list on the members. */
  #recorded: readonly BadRange[] = [];
  #generation = 0;
  /** Of the list on the members. */
  #recordedGeneration = 0;

  /** Ranges on the list. */
  get size(): number {
    return this.#size;
  }

  /** The list on the members is this one. */
  get isRecorded(): boolean {
    return this.#version === this.#recordedVersion;
  }

  /** Whether any of these blocks of the slot's data area is bad. */
  has(slot: number, offset: number, numBlocks: number): boolean {
    return this.#slots.get(slot)?.overlaps(offset, offset + numBlocks) ?? false;
  }

  rangesOf(slot: number): readonly BlockRange[] {
    return this.#slots.get(slot)?.list() ?? [];
  }

  /** Bad blocks of the slot. */
  countOf(slot: number): number {
    return this.#slots.get(slot)?.numBlocks ?? 0;
  }

  add(slot: number, offset: number, numBlocks: number): void {
    const ranges = this.#slots.get(slot) ?? new BlockRanges();
    this.#slots.set(slot, ranges);
    ranges.add(offset, offset + numBlocks);
    this.#changed();
  }

  /** The slot's member has been given these blocks. False if none of them was bad. */
  remove(slot: number, offset: number, numBlocks: number): boolean {
    if (this.#slots.get(slot)?.remove(offset, offset + numBlocks) !== true) return false;
    this.#changed();
    return true;
  }

  /** Whether {@link remove} would make two ranges of one. */
  wouldSplit(slot: number, offset: number, numBlocks: number): boolean {
    const ranges = this.#slots.get(slot);
    if (ranges === undefined) return false;
    const range = ranges.list()[firstEndingAfter(ranges.list(), offset)];
    return range !== undefined && range.start < offset && range.end > offset + numBlocks;
  }

  /** The slot has another member, of which these blocks are bad. */
  replace(slot: number, ranges: readonly BlockRange[]): void {
    if (ranges.length === 0 && this.rangesOf(slot).length === 0) return;
    const set = new BlockRanges();
    for (const { start, end } of ranges) set.add(start, end);
    this.#slots.set(slot, set);
    this.#changed();
  }

  /** The slot is no more; those behind it have come one nearer. */
  removeSlot(slot: number): void {
    const moved = [...this.#slots].filter(([index]) => index !== slot);
    if (moved.length === this.#slots.size && moved.every(([index]) => index < slot)) return;
    this.#slots = new Map(moved.map(([index, ranges]) => [index > slot ? index - 1 : index, ranges]));
    this.#changed();
  }

  list(): BadRange[] {
    return [...this.#slots].flatMap(([slot, ranges]) =>
      ranges.list().map(({ start, end }) => ({ slot, offsetBlocks: start, numBlocks: end - start })),
    );
  }

  /** What headers say of the list on the members. */
  get header(): BadBlocksHeader {
    const slots = [...new Set(this.#recorded.map(({ slot }) => slot))].sort((a, b) => a - b);
    return { generation: this.#recordedGeneration, slots };
  }

  /**
   * What the members have on record; null if nothing. `generation`: of the newest list on them; the one of `found` is that from
   * which the next is counted on.
   */
  load(found: BadBlockList | null, generation = 0): void {
    this.#slots = new Map();
    this.#generation = found?.generation ?? 0;
    this.#recordedGeneration = generation;
    for (const { slot, offsetBlocks, numBlocks } of found?.ranges ?? []) this.add(slot, offsetBlocks, numBlocks);
    this.#size = found?.ranges.length ?? 0;
    this.#recordedVersion = this.#version;
    this.#recorded = this.list();
  }

  /**
   * The list as it is to be written, and what to call when it is on every member. `isStable`: what has been written since the
   * last one is on stable media. If not, it leaves no block out that is on record.
   */
  snapshot(isStable: boolean): { list: BadBlockList; onRecorded: () => void } {
    const version = this.#version;
    const ranges = isStable ? this.list() : this.#withRecorded();
    const generation = ++this.#generation;
    return {
      list: { generation, ranges },
      onRecorded: () => {
        this.#recordedVersion = version;
        this.#recorded = ranges;
        this.#recordedGeneration = generation;
      },
    };
  }

  #withRecorded(): BadRange[] {
    const all = new BadBlocks();
    for (const { slot, offsetBlocks, numBlocks } of [...this.list(), ...this.#recorded]) all.add(slot, offsetBlocks, numBlocks);
    return all.list();
  }

  #changed(): void {
    this.#version++;
    let size = 0;
    for (const ranges of this.#slots.values()) size += ranges.size;
    this.#size = size;
  }
}

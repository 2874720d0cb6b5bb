import { BlockRanges, firstEndingAfter, leastGap } from '../format/block-ranges.js';
import type { BlockRange } from '../format/block-ranges.js';
import { Generations } from '../format/newest-copy.js';
import type { BadBlockList, BadBlocksHeader, BadRange } from '../format/store.js';

/** Most ranges that {@link BadBlocks.noteDamage} remembers. Damage beyond that goes onto the list immediately. */
const mostDamaged = 4096;

/** A range of blocks in a slot's data area. */
export interface SlotRange extends BlockRange {
  readonly slot: number;
}

/**
 * Blocks of members' data areas that do not hold the data they should, because it could not be reconstructed when the member
 * was filled, or because the block was found damaged. A read of one ends as if the device could not read it; a write makes it
 * good. The members store the list, which is nearly always empty.
 */
export class BadBlocks {
  #slots = new Map<number, BlockRanges>();
  /** Blocks that are not on the list, whose checksums do not match and that have not been written since. */
  #damaged = new Map<number, BlockRanges>();
  #damagedSize = 0;
  /** Blocks on the list that were found damaged, and that have not been rewritten from redundancy yet, successfully or not. */
  #unhealed = new Map<number, BlockRanges>();
  #size = 0;
  /** Increases with every change. */
  #version = 0;
  #recordedVersion = 0;
  /** The list as the members have it. */
  #recorded: readonly BadRange[] = [];
  readonly #generations = new Generations();
  /** Generation of the list that the members have. */
  #recordedGeneration = 0;

  /** Number of ranges on the list. */
  get size(): number {
    return this.#size;
  }

  /** The list is empty and no block is known to be damaged. */
  get isEmpty(): boolean {
    return this.#size === 0 && this.#damagedSize === 0;
  }

  /** All known damage is on the list, and the members have the current list. */
  get isSettled(): boolean {
    return this.#damagedSize === 0 && this.isRecorded;
  }

  /** The members have the current list. */
  get isRecorded(): boolean {
    return this.#version === this.#recordedVersion;
  }

  /** Whether any of these blocks of the slot's data area is on the list. */
  has(slot: number, offset: number, numBlocks: number): boolean {
    return this.#slots.get(slot)?.overlaps(offset, offset + numBlocks) ?? false;
  }

  rangesOf(slot: number): readonly BlockRange[] {
    return this.#slots.get(slot)?.list() ?? [];
  }

  /** Number of blocks of the slot that are on the list. */
  countOf(slot: number): number {
    return this.#slots.get(slot)?.numBlocks ?? 0;
  }

  add(slot: number, offset: number, numBlocks: number): void {
    for (const { start, end } of this.damagedIn(slot, offset, numBlocks)) rangesIn(this.#unhealed, slot).add(start, end);
    this.forgetDamage(slot, offset, numBlocks);
    rangesIn(this.#slots, slot).add(offset, offset + numBlocks);
    this.#changed();
  }

  /** Whether adding these blocks would need another range, because no existing range overlaps or touches them. */
  needsRange(slot: number, offset: number, numBlocks: number): boolean {
    return this.#slots.get(slot)?.overlaps(offset - 1, offset + numBlocks + 1) !== true;
  }

  /**
   * Makes room for a range by joining two ranges of a slot: the blocks of the smallest gap between two ranges are added to the
   * list, and returned. They count as not tried. Prefers gaps of whole units of `together` blocks, which have one checksum.
   * Returns null if no slot has two ranges.
   */
  joinClosest(together: number): SlotRange | null {
    let least: SlotRange | null = null;
    for (const unit of [together, 1]) {
      for (const [slot, ranges] of this.#slots) {
        const gap = leastGap(ranges.list(), unit);
        if (gap !== null && (least === null || gap.end - gap.start < least.end - least.start)) least = { slot, ...gap };
      }
      if (least !== null) break;
    }
    if (least === null) return null;
    const { slot, start, end } = least;
    rangesIn(this.#unhealed, slot).add(start, end);
    this.add(slot, start, end - start);
    return least;
  }

  /** Whether any of the blocks is on the list or was noted as damaged. */
  isKnown(slot: number, offset: number, numBlocks: number): boolean {
    return this.has(slot, offset, numBlocks) || (this.#damaged.get(slot)?.overlaps(offset, offset + numBlocks) ?? false);
  }

  /** Whether more damage can be noted. */
  get canNote(): boolean {
    return this.#damagedSize < mostDamaged;
  }

  /**
   * Notes that the checksums of these blocks of the slot's member do not match. That is known only as long as the checksums are
   * valid: before they cease to be, remaining damage goes onto the list. None of the blocks may be {@link isKnown}, because a
   * checksum of several blocks may not match although some of them have been written since and are good.
   */
  noteDamage(slot: number, offset: number, numBlocks: number): void {
    rangesIn(this.#damaged, slot).add(offset, offset + numBlocks);
    this.#countDamaged();
  }

  /** Returns the known damage in these blocks of the slot that is not on the list. */
  damagedIn(slot: number, offset: number, numBlocks: number): BlockRange[] {
    return rangesWithin(this.#damaged.get(slot), offset, numBlocks);
  }

  /**
   * As {@link damagedIn}, plus blocks on the list while the members may not have the current list: a crash may forget those.
   */
  unrecordedIn(slot: number, offset: number, numBlocks: number): BlockRange[] {
    const unrecorded = this.damagedIn(slot, offset, numBlocks);
    return this.isRecorded ? unrecorded : [...unrecorded, ...rangesWithin(this.#slots.get(slot), offset, numBlocks)];
  }

  /** As {@link damagedIn}, plus damage that was moved onto the list and for which {@link triedToHeal} was not called. */
  unhealedIn(slot: number, offset: number, numBlocks: number): BlockRange[] {
    return [...this.damagedIn(slot, offset, numBlocks), ...rangesWithin(this.#unhealed.get(slot), offset, numBlocks)];
  }

  /** The blocks have been rewritten, or cannot be. Those on the list stay there until they are written. */
  triedToHeal(slot: number, offset: number, numBlocks: number): void {
    this.#unhealed.get(slot)?.remove(offset, offset + numBlocks);
  }

  forgetDamage(slot: number, offset: number, numBlocks: number): void {
    if (this.#damaged.get(slot)?.remove(offset, offset + numBlocks) === true) this.#countDamaged();
  }

  /** The slot's member has been given these blocks. Returns false if none of them was on the list. */
  remove(slot: number, offset: number, numBlocks: number): boolean {
    this.forgetDamage(slot, offset, numBlocks);
    this.triedToHeal(slot, offset, numBlocks);
    if (this.#slots.get(slot)?.remove(offset, offset + numBlocks) !== true) return false;
    this.#changed();
    return true;
  }

  /** Whether {@link remove} would split a range in two. */
  wouldSplit(slot: number, offset: number, numBlocks: number): boolean {
    const ranges = this.#slots.get(slot);
    if (ranges === undefined) return false;
    const range = ranges.list()[firstEndingAfter(ranges.list(), offset)];
    return range !== undefined && range.start < offset && range.end > offset + numBlocks;
  }

  /** The slot has a new member, with these bad blocks. */
  replace(slot: number, ranges: readonly BlockRange[]): void {
    this.#damaged.delete(slot);
    this.#unhealed.delete(slot);
    this.#countDamaged();
    if (ranges.length === 0 && this.rangesOf(slot).length === 0) return;
    const set = new BlockRanges();
    for (const { start, end } of ranges) set.add(start, end);
    this.#slots.set(slot, set);
    this.#changed();
  }

  /** Slots have been renumbered. `numberOf` returns the new index for an old one, or -1 if that slot no longer exists. */
  renumber(numberOf: (slot: number) => number): void {
    this.#damaged = renumbered(this.#damaged, numberOf);
    this.#unhealed = renumbered(this.#unhealed, numberOf);
    this.#countDamaged();
    this.#recorded = this.#recorded.flatMap((range) => {
      const slot = numberOf(range.slot);
      return slot < 0 ? [] : [{ ...range, slot }];
    });
    if ([...this.#slots.keys()].every((slot) => numberOf(slot) === slot)) return;
    this.#slots = renumbered(this.#slots, numberOf);
    this.#changed();
  }

  list(): BadRange[] {
    return [...this.#slots].flatMap(([slot, ranges]) =>
      ranges.list().map(({ start, end }) => ({ slot, offsetBlocks: start, numBlocks: end - start })),
    );
  }

  /** What headers record about the list that the members have. */
  get header(): BadBlocksHeader {
    const slots = [...new Set(this.#recorded.map(({ slot }) => slot))].sort((a, b) => a - b);
    return { generation: this.#recordedGeneration, slots };
  }

  /**
   * Loads the list from the members' records; null if they have none. `generation` is that of the newest list on them; the
   * generation of `found` is the one to count on from.
   */
  load(found: BadBlockList | null, generation = 0): void {
    this.#slots = new Map();
    this.#damaged = new Map();
    this.#unhealed = new Map();
    this.#countDamaged();
    this.#generations.goOnFrom(found?.generation ?? 0);
    this.#recordedGeneration = generation;
    for (const { slot, offsetBlocks, numBlocks } of found?.ranges ?? []) this.add(slot, offsetBlocks, numBlocks);
    this.#size = found?.ranges.length ?? 0;
    this.#recordedVersion = this.#version;
    this.#recorded = this.list();
  }

  /**
   * Returns the list to write, of at most `most` ranges, and a function to call when every member has it. `isStable`: what was
   * written since the last list is on stable media. If not, the list keeps all blocks of the last one.
   */
  snapshot(isStable: boolean, most: number): { list: BadBlockList; onRecorded: () => void } {
    const version = this.#version;
    const ranges = isStable ? this.list() : this.#withRecorded(most);
    const generation = this.#generations.next();
    return {
      list: { generation, ranges },
      onRecorded: () => {
        this.#recordedVersion = version;
        this.#recorded = ranges;
        this.#recordedGeneration = generation;
        this.#generations.written(generation);
      },
    };
  }

  #withRecorded(most: number): BadRange[] {
    const all = new BadBlocks();
    for (const { slot, offsetBlocks, numBlocks } of [...this.list(), ...this.#recorded]) all.add(slot, offsetBlocks, numBlocks);
    while (all.size > most && all.joinClosest(1) !== null);
    return all.list();
  }

  #changed(): void {
    this.#version++;
    let size = 0;
    for (const ranges of this.#slots.values()) size += ranges.size;
    this.#size = size;
  }

  #countDamaged(): void {
    let size = 0;
    for (const ranges of this.#damaged.values()) size += ranges.size;
    this.#damagedSize = size;
  }
}

/** Returns the slot's ranges, creating them if needed. */
function rangesIn(slots: Map<number, BlockRanges>, slot: number): BlockRanges {
  let ranges = slots.get(slot);
  if (ranges === undefined) slots.set(slot, (ranges = new BlockRanges()));
  return ranges;
}

/** Returns the parts of the ranges that lie in these blocks. */
function rangesWithin(ranges: BlockRanges | undefined, offset: number, numBlocks: number): BlockRange[] {
  return (ranges?.list() ?? [])
    .filter(({ start, end }) => start < offset + numBlocks && offset < end)
    .map(({ start, end }) => ({ start: Math.max(start, offset), end: Math.min(end, offset + numBlocks) }));
}

/** Returns the map with new slot numbers, without the slots that no longer exist. */
function renumbered(slots: ReadonlyMap<number, BlockRanges>, numberOf: (slot: number) => number): Map<number, BlockRanges> {
  const moved = [...slots].map(([slot, ranges]): [number, BlockRanges] => [numberOf(slot), ranges]);
  return new Map(moved.filter(([slot]) => slot >= 0));
}

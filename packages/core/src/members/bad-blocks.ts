import { BlockRanges, firstEndingAfter, leastGap } from '../format/block-ranges.js';
import type { BlockRange } from '../format/block-ranges.js';
import { Generations } from '../format/newest-copy.js';
import type { BadBlockList, BadBlocksHeader, BadRange } from '../format/store.js';

/** Most ranges of {@link BadBlocks.noteDamage} that are remembered; what is found beyond that goes on the list at once. */
const mostDamaged = 4096;

/** Blocks of a slot's data area. */
export interface SlotRange extends BlockRange {
  readonly slot: number;
}

/**
 * Blocks of members' data areas that do not hold what they should, because that could not be worked out when the member was
 * filled, or when they were found to be damaged. A read of one ends as if the device could not read it; a write makes it good.
 * Kept on the members, and nearly always empty.
 */
export class BadBlocks {
  #slots = new Map<number, BlockRanges>();
  /** Not on the list: blocks that their checksums say are damaged, and that have been given nothing since. */
  #damaged = new Map<number, BlockRanges>();
  #damagedSize = 0;
  /** On the list, as they were found to be damaged: they have not been rewritten from redundancy yet, nor tried. */
  #unhealed = new Map<number, BlockRanges>();
  #size = 0;
  /** Grows with every change. */
  #version = 0;
  #recordedVersion = 0;
  /** The list on the members. */
  #recorded: readonly BadRange[] = [];
  readonly #generations = new Generations();
  /** The generation of the list on the members. */
  #recordedGeneration = 0;

  /** Ranges on the list. */
  get size(): number {
    return this.#size;
  }

  /** Nothing is on the list, and nothing is known to be damaged. */
  get isEmpty(): boolean {
    return this.#size === 0 && this.#damagedSize === 0;
  }

  /** Nothing is known to be damaged that is not on the list, and the list on the members is this one. */
  get isSettled(): boolean {
    return this.#damagedSize === 0 && this.isRecorded;
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
    for (const { start, end } of this.damagedIn(slot, offset, numBlocks)) rangesIn(this.#unhealed, slot).add(start, end);
    this.forgetDamage(slot, offset, numBlocks);
    rangesIn(this.#slots, slot).add(offset, offset + numBlocks);
    this.#changed();
  }

  /** Another range of the list would hold them: none of those that are there meets them. */
  needsRange(slot: number, offset: number, numBlocks: number): boolean {
    return this.#slots.get(slot)?.overlaps(offset - 1, offset + numBlocks + 1) !== true;
  }

  /**
   * Makes room for a range: of all that lies between two ranges of a slot, the least is bad with them from now on, and counts
   * as not tried. In whole ones of `together` blocks, which have one checksum, as long as there are any. Null if no slot has
   * two.
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

  /** It is on the list, or has been noted. */
  isKnown(slot: number, offset: number, numBlocks: number): boolean {
    return this.has(slot, offset, numBlocks) || (this.#damaged.get(slot)?.overlaps(offset, offset + numBlocks) ?? false);
  }

  /** More damage can be noted. */
  get canNote(): boolean {
    return this.#damagedSize < mostDamaged;
  }

  /**
   * Checksums say that the slot's member does not hold what it should in these blocks. They say so only for as long as they
   * count: before they cease to, what is still damaged goes on the list. Nothing of these blocks may be {@link isKnown}: a checksum
   * of several blocks goes on saying so when some of them have been written since, and those are right.
   */
  noteDamage(slot: number, offset: number, numBlocks: number): void {
    rangesIn(this.#damaged, slot).add(offset, offset + numBlocks);
    this.#countDamaged();
  }

  /** What is known to be damaged of these blocks of the slot, and is not on the list. */
  damagedIn(slot: number, offset: number, numBlocks: number): BlockRange[] {
    return rangesWithin(this.#damaged.get(slot), offset, numBlocks);
  }

  /** As {@link damagedIn}, and what is on the list while another one may be on the members: a crash may forget it. */
  unrecordedIn(slot: number, offset: number, numBlocks: number): BlockRange[] {
    const unrecorded = this.damagedIn(slot, offset, numBlocks);
    return this.isRecorded ? unrecorded : [...unrecorded, ...rangesWithin(this.#slots.get(slot), offset, numBlocks)];
  }

  /** As {@link damagedIn}, and what has come onto the list since it was found, for which {@link triedToHeal} was not called. */
  unhealedIn(slot: number, offset: number, numBlocks: number): BlockRange[] {
    return [...this.damagedIn(slot, offset, numBlocks), ...rangesWithin(this.#unhealed.get(slot), offset, numBlocks)];
  }

  /** They have been rewritten, or cannot be: what is on the list of them stays there until it is written. */
  triedToHeal(slot: number, offset: number, numBlocks: number): void {
    this.#unhealed.get(slot)?.remove(offset, offset + numBlocks);
  }

  forgetDamage(slot: number, offset: number, numBlocks: number): void {
    if (this.#damaged.get(slot)?.remove(offset, offset + numBlocks) === true) this.#countDamaged();
  }

  /** The slot's member has been given these blocks. False if none of them was on the list. */
  remove(slot: number, offset: number, numBlocks: number): boolean {
    this.forgetDamage(slot, offset, numBlocks);
    this.triedToHeal(slot, offset, numBlocks);
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
    this.#damaged.delete(slot);
    this.#unhealed.delete(slot);
    this.#countDamaged();
    if (ranges.length === 0 && this.rangesOf(slot).length === 0) return;
    const set = new BlockRanges();
    for (const { start, end } of ranges) set.add(start, end);
    this.#slots.set(slot, set);
    this.#changed();
  }

  /** Slots have other numbers now: `numberOf` gives that of one by the number that it had; -1 for one that is no more. */
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
   * The list as it is to be written, of `most` ranges at most, and what to call when it is on every member. `isStable`: what has been
   * written since the last one is on stable media. If not, it leaves no block out that is on record.
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

/** The slot's ranges, which may be new ones. */
function rangesIn(slots: Map<number, BlockRanges>, slot: number): BlockRanges {
  let ranges = slots.get(slot);
  if (ranges === undefined) slots.set(slot, (ranges = new BlockRanges()));
  return ranges;
}

/** What the ranges have of these blocks. */
function rangesWithin(ranges: BlockRanges | undefined, offset: number, numBlocks: number): BlockRange[] {
  return (ranges?.list() ?? [])
    .filter(({ start, end }) => start < offset + numBlocks && offset < end)
    .map(({ start, end }) => ({ start: Math.max(start, offset), end: Math.min(end, offset + numBlocks) }));
}

/** What is known of each slot that is still there. */
function renumbered(slots: ReadonlyMap<number, BlockRanges>, numberOf: (slot: number) => number): Map<number, BlockRanges> {
  const moved = [...slots].map(([slot, ranges]): [number, BlockRanges] => [numberOf(slot), ranges]);
  return new Map(moved.filter(([slot]) => slot >= 0));
}

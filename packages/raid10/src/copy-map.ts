import type { CopySet, RedundantContext } from '@raidkit/core/level';

/** How copies are laid out: one after another, or each rotated by one slot in a row of its own. */
export type Layout = 'near' | 'offset';

/** Where copies are. `numCopies`: 2 to `numSlots`. */
export interface Shape {
  readonly numSlots: number;
  readonly numCopies: number;
  readonly layout: Layout;
}

/** Strips of the array in a stripe, and rows of strips that they take on the members: the least after which both begin anew. */
export function stripeOf({ layout, numCopies, numSlots }: Shape): { readonly strips: number; readonly rows: number } {
  const shared = layout === 'near' ? commonDivisor(numCopies, numSlots) : 1;
  return { strips: numSlots / shared, rows: numCopies / shared };
}

/** Slot of a strip's copy. `strip`: in its stripe. */
export function slotOf({ layout, numCopies, numSlots }: Shape, strip: number, copy: number): number {
  return layout === 'near' ? (strip * numCopies + copy) % numSlots : (strip + copy) % numSlots;
}

/** Row of a strip's copy in its stripe. */
export function rowOf({ layout, numCopies, numSlots }: Shape, strip: number, copy: number): number {
  return layout === 'near' ? Math.floor((strip * numCopies + copy) / numSlots) : copy;
}

/**
 * Where each block is. Array block b lies in strip ⌊b / S⌋ (S: strip size in blocks); strips follow one another in stripes, and
 * have their copies at the slots and rows that {@link slotOf} and {@link rowOf} say, in every stripe alike.
 */
export class CopyMap {
  readonly strip: number;
  readonly numCopies: number;
  /** Blocks of the array in a stripe. */
  readonly arrayBlocks: number;
  /** Blocks of each member in a stripe. */
  readonly memberBlocks: number;
  /** All copies of a block lie at the same block of their members. */
  readonly isAligned: boolean;
  /** Of the copy `strip * numCopies + copy`. */
  readonly #slots: Uint8Array;
  /** First block in the stripe, of the same. */
  readonly #offsets: Float64Array;
  /** Strip of the row `slot * rows + row`. */
  readonly #strips: Uint16Array;
  readonly #rows: number;
  readonly #shape: Shape;

  constructor(strip: number, shape: Shape) {
    const { numCopies, numSlots } = shape;
    const { rows, strips } = stripeOf(shape);
    this.strip = strip;
    this.numCopies = numCopies;
    this.arrayBlocks = strips * strip;
    this.memberBlocks = rows * strip;
    this.isAligned = rows === 1;
    this.#shape = shape;
    this.#rows = rows;
    this.#slots = new Uint8Array(strips * numCopies);
    this.#offsets = new Float64Array(strips * numCopies);
    this.#strips = new Uint16Array(numSlots * rows);
    for (let index = 0; index < strips; index++) {
      for (let copy = 0; copy < numCopies; copy++) {
        const slot = slotOf(shape, index, copy);
        const row = rowOf(shape, index, copy);
        this.#slots[index * numCopies + copy] = slot;
        this.#offsets[index * numCopies + copy] = row * strip;
        this.#strips[slot * rows + row] = index;
      }
    }
  }

  /** Strip in its stripe of a block of the array. */
  stripAt(block: number): number {
    return Math.floor((block - Math.floor(block / this.arrayBlocks) * this.arrayBlocks) / this.strip);
  }

  /** What is added to {@link offset} of each copy of the block, to have its block on the member. */
  baseOf(block: number): number {
    const inStrip = block - Math.floor(block / this.strip) * this.strip;
    return Math.floor(block / this.arrayBlocks) * this.memberBlocks + inStrip;
  }

  slot(strip: number, copy: number): number {
    return this.#slots[strip * this.numCopies + copy] ?? 0;
  }

  offset(strip: number, copy: number): number {
    return this.#offsets[strip * this.numCopies + copy] ?? 0;
  }

  /** Strip, in its stripe, that lies at a block of the slot's member. */
  stripOn(slot: number, block: number): number {
    return this.#strips[slot * this.#rows + Math.floor((block % this.memberBlocks) / this.strip)] ?? 0;
  }

  /** Which of the strip's copies the slot has. */
  copyOn(slot: number, strip: number): number {
    let copy = 0;
    while (this.slot(strip, copy) !== slot) copy++;
    return copy;
  }

  /** Whether copies may differ of what lies in these blocks of a member: where copies lie in others, of their whole stripe. */
  inDoubt(context: RedundantContext, block: number, numBlocks: number): boolean {
    if (this.isAligned) return context.isInconsistent(block, numBlocks);
    return context.isInconsistent(Math.floor(block / this.memberBlocks) * this.memberBlocks, this.memberBlocks);
  }

  /** Slots that hold the same everywhere, if the map {@link isAligned}. */
  groups(): number[][] {
    const { numCopies, numSlots } = this.#shape;
    const count = this.isAligned ? numSlots / numCopies : 0;
    return Array.from({ length: count }, (_, group) => Array.from({ length: numCopies }, (_, copy) => this.slot(group, copy)));
  }

  sets(): CopySet[] {
    return Array.from({ length: this.arrayBlocks / this.strip }, (_, strip) => ({
      numBlocks: this.strip,
      places: Array.from({ length: this.numCopies }, (_, copy) => ({
        slot: this.slot(strip, copy),
        offsetBlocks: this.offset(strip, copy),
      })),
    }));
  }
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

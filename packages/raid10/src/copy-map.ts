import type { CopySet, LevelOptions, RedundantContext } from '@raidkit/core/level';

/** Layout of the copies: `near` puts them on consecutive slots, `offset` puts each in a row of its own, rotated by one slot. */
export type Layout = 'near' | 'offset';

/**
 * Parameters of the layout. Strips are striped over the first `numStriped` slots, with `numCopies` copies (2 to `numStriped`).
 * Each slot behind these holds a further copy of one group of slots, which requires {@link hasGroups}.
 */
export interface Shape {
  readonly numSlots: number;
  readonly numStriped: number;
  readonly numCopies: number;
  readonly layout: Layout;
}

/**
 * Returns the shape of an array with these (already checked) options. Without the option `striped`, strips are striped over all
 * slots.
 */
export function shapeOf(numSlots: number, { copies, layout, striped }: LevelOptions): Shape {
  return {
    numSlots,
    numStriped: typeof striped === 'number' && striped > 0 ? striped : numSlots,
    numCopies: typeof copies === 'number' ? copies : 2,
    layout: layout === 'offset' ? 'offset' : 'near',
  };
}

/**
 * Size of a stripe: strips of the array, and rows of strips on each member. It is the smallest after which the layout repeats.
 */
export function stripeOf({ layout, numCopies, numStriped }: Shape): { readonly strips: number; readonly rows: number } {
  const shared = layout === 'near' ? commonDivisor(numCopies, numStriped) : 1;
  return { strips: numStriped / shared, rows: numCopies / shared };
}

/** Whether slots form groups with the same contents. A stripe then has a single row, and one group per strip. */
export function hasGroups(shape: Shape): boolean {
  return stripeOf(shape).rows === 1;
}

/** Number of copies of a strip. `strip` is its index in the stripe, which is also its group if there are groups. */
export function copiesOf(shape: Shape, strip: number): number {
  const { numCopies, numSlots, numStriped } = shape;
  const more = numSlots - numStriped;
  return more === 0 ? numCopies : numCopies + Math.ceil((more - strip) / stripeOf(shape).strips);
}

/** Slot of a strip's copy. Further copies go to the groups in turn. */
export function slotOf(shape: Shape, strip: number, copy: number): number {
  const { layout, numCopies, numStriped } = shape;
  if (copy >= numCopies) return numStriped + strip + (copy - numCopies) * stripeOf(shape).strips;
  return layout === 'near' ? (strip * numCopies + copy) % numStriped : (strip + copy) % numStriped;
}

/** Row, within the stripe, of a strip's copy. */
export function rowOf({ layout, numCopies, numStriped }: Shape, strip: number, copy: number): number {
  if (copy >= numCopies) return 0;
  return layout === 'near' ? Math.floor((strip * numCopies + copy) / numStriped) : copy;
}

/**
 * Maps blocks. Array block b lies in strip ⌊b / S⌋ (S: strip size in blocks). Consecutive strips form stripes, and in every
 * stripe the copies are at the slots and rows that {@link slotOf} and {@link rowOf} return.
 */
export class CopyMap {
  readonly strip: number;
  readonly shape: Shape;
  /** Blocks of the array in a stripe. */
  readonly arrayBlocks: number;
  /** Blocks of each member in a stripe. */
  readonly memberBlocks: number;
  /** Whether all copies of a block have the same block number on their members. */
  readonly isAligned: boolean;
  /** Groups of slots with the same contents if the map {@link isAligned}; empty otherwise. */
  readonly groups: readonly (readonly number[])[];
  /** Largest number of copies of a strip. */
  readonly #most: number;
  /** Number of copies of each strip. */
  readonly #copies: Uint8Array;
  /** The slot of the copy `strip * #most + copy`. */
  readonly #slots: Uint8Array;
  /** First member block, within the stripe, of the copy `strip * #most + copy`. */
  readonly #offsets: Float64Array;
  /** The strip in row `slot * #rows + row`. */
  readonly #strips: Uint16Array;
  readonly #rows: number;

  constructor(strip: number, shape: Shape) {
    const { rows, strips } = stripeOf(shape);
    this.strip = strip;
    this.shape = shape;
    this.arrayBlocks = strips * strip;
    this.memberBlocks = rows * strip;
    this.isAligned = rows === 1;
    this.#rows = rows;
    // The first group gets further copies first, so it has the most.
    const most = copiesOf(shape, 0);
    this.#most = most;
    this.#copies = new Uint8Array(strips);
    this.#slots = new Uint8Array(strips * most);
    this.#offsets = new Float64Array(strips * most);
    this.#strips = new Uint16Array(shape.numSlots * rows);
    for (let index = 0; index < strips; index++) {
      this.#copies[index] = copiesOf(shape, index);
      for (let copy = 0; copy < this.copies(index); copy++) {
        const slot = slotOf(shape, index, copy);
        const row = rowOf(shape, index, copy);
        this.#slots[index * most + copy] = slot;
        this.#offsets[index * most + copy] = row * strip;
        this.#strips[slot * rows + row] = index;
      }
    }
    this.groups = this.isAligned ? Array.from({ length: strips }, (_, group) => this.#slotsOf(group)) : [];
  }

  /** Index, within its stripe, of the strip that contains an array block. */
  stripAt(block: number): number {
    return Math.floor((block - Math.floor(block / this.arrayBlocks) * this.arrayBlocks) / this.strip);
  }

  /** Returns what to add to a copy's {@link offset} to get the block number on its member. */
  baseOf(block: number): number {
    const inStrip = block - Math.floor(block / this.strip) * this.strip;
    return Math.floor(block / this.arrayBlocks) * this.memberBlocks + inStrip;
  }

  /** Number of copies of a strip. */
  copies(strip: number): number {
    return this.#copies[strip] ?? 0;
  }

  slot(strip: number, copy: number): number {
    return this.#slots[strip * this.#most + copy] ?? 0;
  }

  offset(strip: number, copy: number): number {
    return this.#offsets[strip * this.#most + copy] ?? 0;
  }

  /** Index, within its stripe, of the strip at a block of the slot's member. */
  stripOn(slot: number, block: number): number {
    return this.#strips[slot * this.#rows + Math.floor((block % this.memberBlocks) / this.strip)] ?? 0;
  }

  /** Index of the copy of the strip that the slot holds. */
  copyOn(slot: number, strip: number): number {
    let copy = 0;
    while (this.slot(strip, copy) !== slot) copy++;
    return copy;
  }

  /**
   * Whether copies of these member blocks may differ. If copies lie at different blocks of their members, the whole stripe is
   * considered.
   */
  inDoubt(context: RedundantContext, block: number, numBlocks: number): boolean {
    if (this.isAligned) return context.isInconsistent(block, numBlocks);
    return context.isInconsistent(Math.floor(block / this.memberBlocks) * this.memberBlocks, this.memberBlocks);
  }

  sets(): CopySet[] {
    return Array.from({ length: this.arrayBlocks / this.strip }, (_, strip) => ({
      numBlocks: this.strip,
      places: this.#slotsOf(strip).map((slot, copy) => ({ slot, offsetBlocks: this.offset(strip, copy) })),
    }));
  }

  #slotsOf(strip: number): number[] {
    return Array.from({ length: this.copies(strip) }, (_, copy) => this.slot(strip, copy));
  }
}

/** Keeps a {@link CopyMap} for the array's present number of slots. */
export class LiveMap {
  readonly #context: RedundantContext;
  #map: CopyMap;

  constructor(context: RedundantContext) {
    this.#context = context;
    this.#map = this.#make();
  }

  get now(): CopyMap {
    if (this.#map.shape.numSlots !== this.#context.numSlots) this.#map = this.#make();
    return this.#map;
  }

  #make(): CopyMap {
    const { numSlots, options, stripSizeBlocks } = this.#context;
    return new CopyMap(stripSizeBlocks, shapeOf(numSlots, options));
  }
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

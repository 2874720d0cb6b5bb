import type { CopySet, LevelOptions, RedundantContext } from '@raidkit/core/level';

/** How copies are laid out: one after another, or each rotated by one slot in a row of its own. */
export type Layout = 'near' | 'offset';

/**
 * Where copies are. Strips are dealt to the first `numStriped` slots, `numCopies` of each, 2 to `numStriped`. Slots behind these
 * hold further copies, each of one group, which takes {@link hasGroups}.
 */
export interface Shape {
  readonly numSlots: number;
  readonly numStriped: number;
  readonly numCopies: number;
  readonly layout: Layout;
}

/** What checked options say of an array with so many slots. Without a word of it strips are dealt to all of them. */
export function shapeOf(numSlots: number, { copies, layout, striped }: LevelOptions): Shape {
  return {
    numSlots,
    numStriped: typeof striped === 'number' && striped > 0 ? striped : numSlots,
    numCopies: typeof copies === 'number' ? copies : 2,
    layout: layout === 'offset' ? 'offset' : 'near',
  };
}

/** Strips of the array in a stripe, and rows of strips that they take on the members: the least after which both begin anew. */
export function stripeOf({ layout, numCopies, numStriped }: Shape): { readonly strips: number; readonly rows: number } {
  const shared = layout === 'near' ? commonDivisor(numCopies, numStriped) : 1;
  return { strips: numStriped / shared, rows: numCopies / shared };
}

/** Whether slots come in groups that hold the same: one for each strip of a stripe, which has one row then. */
export function hasGroups(shape: Shape): boolean {
  return stripeOf(shape).rows === 1;
}

/** How often a strip is there. `strip`: in its stripe, which is its group where there are groups. */
export function copiesOf(shape: Shape, strip: number): number {
  const { numCopies, numSlots, numStriped } = shape;
  const more = numSlots - numStriped;
  return more === 0 ? numCopies : numCopies + Math.ceil((more - strip) / stripeOf(shape).strips);
}

/** Slot of a strip's copy. Further copies are dealt to the groups in turn. */
export function slotOf(shape: Shape, strip: number, copy: number): number {
  const { layout, numCopies, numStriped } = shape;
  if (copy >= numCopies) return numStriped + strip + (copy - numCopies) * stripeOf(shape).strips;
  return layout === 'near' ? (strip * numCopies + copy) % numStriped : (strip + copy) % numStriped;
}

/** Row of a strip's copy in its stripe. */
export function rowOf({ layout, numCopies, numStriped }: Shape, strip: number, copy: number): number {
  if (copy >= numCopies) return 0;
  return layout === 'near' ? Math.floor((strip * numCopies + copy) / numStriped) : copy;
}

/**
 * Where each block is. Array block b lies in strip ⌊b / S⌋ (S: strip size in blocks); strips follow one another in stripes, and
 * have their copies at the slots and rows that {@link slotOf} and {@link rowOf} say, in every stripe alike.
 */
export class CopyMap {
  readonly strip: number;
  readonly shape: Shape;
  /** Blocks of the array in a stripe. */
  readonly arrayBlocks: number;
  /** Blocks of each member in a stripe. */
  readonly memberBlocks: number;
  /** All copies of a block lie at the same block of their members. */
  readonly isAligned: boolean;
  /** Slots that hold the same everywhere, if the map {@link isAligned}; none otherwise. */
  readonly groups: readonly (readonly number[])[];
  /** Most copies of a strip. */
  readonly #most: number;
  /** How many copies each strip has. */
  readonly #copies: Uint8Array;
  /** The slot of the copy `strip * #most + copy`. */
  readonly #slots: Uint8Array;
  /** First block in the stripe, of the same. */
  readonly #offsets: Float64Array;
  /** Strip of the row `slot * rows + row`. */
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
    // Further copies go to the first group first.
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

  /** Strip in its stripe of a block of the array. */
  stripAt(block: number): number {
    return Math.floor((block - Math.floor(block / this.arrayBlocks) * this.arrayBlocks) / this.strip);
  }

  /** What is added to {@link offset} of each copy of the block, to have its block on the member. */
  baseOf(block: number): number {
    const inStrip = block - Math.floor(block / this.strip) * this.strip;
    return Math.floor(block / this.arrayBlocks) * this.memberBlocks + inStrip;
  }

  /** How many copies there are of a strip. */
  copies(strip: number): number {
    return this.#copies[strip] ?? 0;
  }

  slot(strip: number, copy: number): number {
    return this.#slots[strip * this.#most + copy] ?? 0;
  }

  offset(strip: number, copy: number): number {
    return this.#offsets[strip * this.#most + copy] ?? 0;
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

/** The map of an array that has as many slots as it has now. */
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

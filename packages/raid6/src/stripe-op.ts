import type { JournalRange, LevelRequest, StripeOperation } from '@raidkit/core/level';

/** How the parity of a rectangle (some chunks × some columns of a stripe) is made. */
export const ParityMode = {
  /** All of its data is new: nothing is read. */
  Full: 0,
  /** From the new data and the chunks that are not written. */
  ReconstructWrite: 1,
  /** From the old parity, the old data and the new data. */
  ReadModifyWrite: 2,
  /** There is no member for it. */
  None: 3,
  /** From everything that is there: what a missing member holds is wanted too. */
  Everything: 4,
} as const;
export type ParityMode = (typeof ParityMode)[keyof typeof ParityMode];

/** Most members of a stripe that may be unknown. */
export const mostLost = 2;

/** A request at work on stripes, with its buffers: a slice for each slot. Pooled: as many as there are buffers. */
export class StripeOp implements StripeOperation {
  addr = -1;

  // The rectangle that is being worked on: columns [c0, c1) of a strip, chunks [first, last].
  stripe = 0;
  c0 = 0;
  c1 = 0;
  first = 0;
  last = 0;
  mode: ParityMode = ParityMode.Full;
  /** Slots of which nothing is read: without a member, or unreadable here. */
  readonly lost: number[] = [];
  /** How many slots had no member when the mode was chosen. */
  numMissing = 0;
  /** Slots that could not be read in these columns. */
  readonly unreadable: number[] = [];
  /** What is worked out counts only if both parities say the same: redundancy is in doubt. */
  mustVerify = false;
  /** They do not. */
  isTorn = false;
  /** What a member holds is read where redundancy is in doubt. */
  isReadInDoubt = false;
  /** It was read with all the rest of its columns, of which the parities can be made. */
  canSettle = false;
  /** A chunk that is not written is on a slot without a member. */
  hasLostOther = false;
  /** What an absent member holds is in doubt, and so not journaled: the doubt must be on record before the write goes on. */
  isUnjournaled = false;
  isTaken = false;

  /** Array block up to which the request is done. */
  doneTo = 0;
  /** Column of the current stripe up to which the request is done. */
  column = 0;

  /** Entries for the journal; the objects are the operation's own. */
  readonly ranges: JournalRange[] = [];
  readonly #entries = Array.from({ length: mostLost }, () => ({ offsetBlocks: 0, numBlocks: 0, addr: -1 }));

  clearRanges(): void {
    this.ranges.length = 0;
  }

  addRange(offsetBlocks: number, numBlocks: number, addr: number): void {
    const entry = this.#entries[this.ranges.length];
    if (entry === undefined) throw new RangeError('more journal entries than members may be missing');
    entry.offsetBlocks = offsetBlocks;
    entry.numBlocks = numBlocks;
    entry.addr = addr;
    this.ranges.push(entry);
  }
}

/** The request's operation; it must have one. */
export function opOf(io: LevelRequest): StripeOp {
  if (io.levelContext instanceof StripeOp) return io.levelContext;
  throw new Error('a stripe request has no buffers');
}

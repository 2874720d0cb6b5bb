import type { JournalRange, LevelRequest, StripeOperation } from '@raidkit/core/level';

/** How the parities of a rectangle (some chunks × some columns of a stripe) are computed. */
export const ParityMode = {
  /** All data is new, so nothing is read. */
  Full: 0,
  /** From the new data and the chunks that are not written. */
  ReconstructWrite: 1,
  /** From the old parities, the old data and the new data. */
  ReadModifyWrite: 2,
  /** Not at all: the members of both parities are missing. */
  None: 3,
  /** From all present members, because a missing member's contents are needed too. */
  Everything: 4,
} as const;
export type ParityMode = (typeof ParityMode)[keyof typeof ParityMode];

/** Largest number of members of a stripe whose contents may be unknown. */
export const mostLost = 2;

/** A request that is being processed, with its buffers: one slice per slot. Pooled: there is one per set of buffers. */
export class StripeOp implements StripeOperation {
  addr = -1;

  // The rectangle that is being worked on: columns [c0, c1) of a strip, chunks [first, last].
  stripe = 0;
  c0 = 0;
  c1 = 0;
  first = 0;
  last = 0;
  mode: ParityMode = ParityMode.Full;
  /** Slots that are not read because they have no member or are unreadable in these columns. */
  readonly lost: number[] = [];
  /** How many slots had no member when the mode was chosen. */
  numMissing = 0;
  /** Slots that could not be read in these columns. */
  readonly unreadable: number[] = [];
  /** Reconstructed data counts only if both parities agree on it, because redundancy is in doubt. */
  mustVerify = false;
  /** The parities disagree on the reconstructed data. */
  isTorn = false;
  /** The request reads a member's blocks where redundancy is in doubt. */
  isReadInDoubt = false;
  /** All members are read in these columns, so that the parities can be recomputed. */
  canSettle = false;
  /** A chunk that is not written is lost: its slot is in `lost`. */
  hasLostOther = false;
  /**
   * An absent member's contents are in doubt and cannot be journaled, so the doubt must be recorded before the write goes on.
   */
  isUnjournaled = false;
  isTaken = false;

  /** Array block up to which the request is done. */
  doneTo = 0;
  /** Column of the current stripe up to which the request is done. */
  column = 0;

  /** Journal entries; the objects are reused by the operation. */
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

/** Returns the operation of a request; throws if it has none. */
export function opOf(io: LevelRequest): StripeOp {
  if (io.levelContext instanceof StripeOp) return io.levelContext;
  throw new Error('a stripe request has no buffers');
}

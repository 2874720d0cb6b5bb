import type { JournalRange, LevelRequest, StripeOperation } from '@raidkit/core/level';

/** How the parity of a rectangle (some chunks × some columns of a stripe) is made. */
export const ParityMode = {
  /** All of its data is new: nothing is read. */
  Full: 0,
  /** From the new data and the chunks that are not written. */
  ReconstructWrite: 1,
  /** From the old parity, the old data and the new data. */
  ReadModifyWrite: 2,
  /** The parity's member is missing. */
  None: 3,
  /** From everything that is there, as what the missing member holds is wanted too. */
  Everything: 4,
} as const;
export type ParityMode = (typeof ParityMode)[keyof typeof ParityMode];

/** A request at work on stripes, with its buffers. Pooled: as many as there are buffers. */
export class StripeOp implements StripeOperation {
  addr = -1;

  // The rectangle that is being worked on: columns [c0, c1) of a strip, chunks [first, last].
  stripe = 0;
  c0 = 0;
  c1 = 0;
  first = 0;
  last = 0;
  mode: ParityMode = ParityMode.Full;
  /** Slot without a member; -1 for none. */
  missing = -1;
  /** Slot whose blocks are to be journaled: only redundancy stands for them on record. -1 for none. */
  journaled = -1;
  /** What the absent member holds is in doubt, and so not journaled: the doubt must be on record before the write goes on. */
  isUnjournaled = false;
  /** Slot that is read for the journal alone; -1 for none. */
  extra = -1;
  isTaken = false;
  /** The other way to make the parity has failed to read. */
  isSecondTry = false;
  /** After a part was refused for lack of space: the slot without a member. */
  absent = -1;

  /** Array block up to which the request is done. */
  doneTo = 0;
  /** Column of the current stripe up to which the request is done. */
  column = 0;

  readonly #entry = { offsetBlocks: 0, numBlocks: 0, addr: -1 };
  readonly #entries: readonly JournalRange[] = [this.#entry];

  /** A list with one journal entry; it is the operation's own, and changed by the next call. */
  entryOf(offsetBlocks: number, numBlocks: number, addr: number): readonly JournalRange[] {
    this.#entry.offsetBlocks = offsetBlocks;
    this.#entry.numBlocks = numBlocks;
    this.#entry.addr = addr;
    return this.#entries;
  }
}

/** The request's operation; it must have one. */
export function opOf(io: LevelRequest): StripeOp {
  if (io.levelContext instanceof StripeOp) return io.levelContext;
  throw new Error('a stripe request has no buffers');
}

import type { JournalRange, LevelRequest, StripeOperation } from '@raidkit/core/level';

/** How the parity of a rectangle (some chunks × some columns of a stripe) is computed. */
export const ParityMode = {
  /** All data is new, so nothing is read. */
  Full: 0,
  /** From the new data and the chunks that are not written. */
  ReconstructWrite: 1,
  /** From the old parity, the old data and the new data. */
  ReadModifyWrite: 2,
  /** Not at all: the parity's member is missing. */
  None: 3,
  /** From all present members, because the missing member's contents are needed too. */
  Everything: 4,
} as const;
export type ParityMode = (typeof ParityMode)[keyof typeof ParityMode];

/** A request that is being processed, with its buffers. Pooled: there is one per set of buffers. */
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
  /** Slot whose blocks must be journaled, because only redundancy holds them according to the recorded state; -1 for none. */
  journaled = -1;
  /**
   * The absent member's contents are in doubt and cannot be journaled, so the doubt must be recorded before the write goes on.
   */
  isUnjournaled = false;
  /** Slot that is read only for the journal; -1 for none. */
  extra = -1;
  isTaken = false;
  /** A first attempt to read what the parity needs has failed, and another way is being tried. */
  isSecondTry = false;
  /** The only slot without a member, or -1; set when a part was refused for lack of space. */
  absent = -1;

  /** Array block up to which the request is done. */
  doneTo = 0;
  /** Column of the current stripe up to which the request is done. */
  column = 0;

  readonly #entry = { offsetBlocks: 0, numBlocks: 0, addr: -1 };
  readonly #entries: readonly JournalRange[] = [this.#entry];

  /** Returns a list of one journal entry. The list belongs to the operation and is overwritten by the next call. */
  entryOf(offsetBlocks: number, numBlocks: number, addr: number): readonly JournalRange[] {
    this.#entry.offsetBlocks = offsetBlocks;
    this.#entry.numBlocks = numBlocks;
    this.#entry.addr = addr;
    return this.#entries;
  }
}

/** Returns the operation of a request; throws if it has none. */
export function opOf(io: LevelRequest): StripeOp {
  if (io.levelContext instanceof StripeOp) return io.levelContext;
  throw new Error('a stripe request has no buffers');
}

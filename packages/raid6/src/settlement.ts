import { Status } from '@raidkit/core/level';
import type { ReadRequest, RedundantContext } from '@raidkit/core/level';
import type { StripeMap } from './stripe-map.js';
import { opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';
import type { Stripe } from './stripe.js';

/** Who goes on with the read. */
export interface SettlementEvents {
  /** The columns are in the request's buffer. If the last step has timed out, a member may still read the operation's. */
  onSettled(io: ReadRequest, op: StripeOp): void;
  /** A member may still fill the operation's buffers: the request is to be made again, with others. */
  onTimedOut(io: ReadRequest): void;
  /** The member cannot read them; it is among the operation's unreadable ones. */
  onUnreadable(io: ReadRequest, op: StripeOp): void;
}

/**
 * A user's read of what a member holds where redundancy is in doubt. Both parities may say what was there before: they agree,
 * and the next read would be given that if the member were lost. So before the read is answered they are made those of the
 * data. With a member missing they cannot be, and need not be: in doubt two unknown members are not worked out. With one chunk of
 * data that cannot be read they cannot be either, and it may be read again: they are made to contradict each other.
 */
export class Settlement {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #stripe: Stripe;
  readonly #events: SettlementEvents;

  constructor(raid: RedundantContext, map: StripeMap, stripe: Stripe, events: SettlementEvents) {
    this.#raid = raid;
    this.#map = map;
    this.#stripe = stripe;
    this.#events = events;
  }

  /** The operation's columns, which are locked, of slot `io.a`. */
  run(io: ReadRequest, op: StripeOp): void {
    op.canSettle = this.#isComplete(io) && this.#raid.isInconsistent(io.b + op.c0, op.c1 - op.c0);
    io.forgetUnreadable();
    io.andThen(this.#onRead);
    for (let slot = 0; slot < this.#map.members; slot++)
      if (slot === io.a || op.canSettle) io.readPart(slot, io.b + op.c0, op.c1 - op.c0, this.#stripe.sliceOf(op, slot));
  }

  readonly #onRead = (io: ReadRequest): void => {
    const op = opOf(io);
    if (io.stepStatus === Status.TimedOut) {
      this.#events.onTimedOut(io);
      return;
    }
    if (io.unreadable.includes(io.a)) {
      op.unreadable.push(...io.unreadable);
      this.#events.onUnreadable(io, op);
      return;
    }
    const { blockSize, memory } = this.#raid;
    memory.copy(io.addr + op.c0 * blockSize, this.#stripe.sliceOf(op, io.a), (op.c1 - op.c0) * blockSize);
    const canSettle = op.canSettle && this.#isComplete(io);
    const lostData = this.#slotOfUnreadData(io, op);
    if (canSettle && lostData >= 0 && io.unreadable.length === 1) {
      this.#contradict(io, op, lostData);
      return;
    }
    if (!canSettle || lostData >= 0 || (io.unreadable.length === 0 && this.#stripe.agrees(op))) {
      this.#events.onSettled(io, op);
      return;
    }
    io.writeBack();
    // A member has just come, and the journal still stands for it: it can be lost, and another one cannot.
    if (io.journalSlots.length > 0) {
      this.#events.onSettled(io, op);
      return;
    }
    this.#stripe.makeParities(op);
    io.andThen(this.#onWritten);
    for (const slot of [this.#map.pSlot(op.stripe), this.#map.qSlot(op.stripe)])
      io.writePart(slot, io.b + op.c0, op.c1 - op.c0, this.#stripe.sliceOf(op, slot));
  };

  readonly #onWritten = (io: ReadRequest): void => {
    const op = opOf(io);
    if (io.failed.length === 0) this.#raid.markInSync(io.b + op.c0, op.c1 - op.c0, false);
    this.#events.onSettled(io, op);
  };

  /**
   * Parities cannot be made: this one chunk of data cannot be read. When it can be read again they might agree, upon what was there
   * before. Where they say different things of it, which they then cannot both be right about, they are made not to.
   */
  #contradict(io: ReadRequest, op: StripeOp, slot: number): void {
    if (!this.#stripe.contradict(op, slot)) {
      this.#events.onSettled(io, op);
      return;
    }
    io.writeBack();
    if (io.journalSlots.length > 0) {
      this.#events.onSettled(io, op);
      return;
    }
    io.andThen(this.#onContradicted);
    const p = this.#map.pSlot(op.stripe);
    io.writePart(p, io.b + op.c0, op.c1 - op.c0, this.#stripe.sliceOf(op, p));
  }

  readonly #onContradicted = (io: ReadRequest): void => {
    this.#events.onSettled(io, opOf(io));
  };

  /** The first slot of those that cannot be read that has data; -1 for none. */
  #slotOfUnreadData(io: ReadRequest, op: StripeOp): number {
    for (const slot of io.unreadable) if (this.#map.placeOf(op.stripe, slot) < this.#map.dataChunks) return slot;
    return -1;
  }

  #isComplete(io: ReadRequest): boolean {
    if (io.failed.length > 0) return false;
    for (let slot = 0; slot < this.#map.members; slot++) if (!io.hasMember(slot)) return false;
    return true;
  }
}

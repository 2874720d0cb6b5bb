import { Status } from '@raidkit/core/level';
import type { ReadRequest, RedundantContext } from '@raidkit/core/level';
import type { StripeMap } from './stripe-map.js';
import { opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';
import type { Stripe } from './stripe.js';

/** Callbacks that continue the read. */
export interface SettlementEvents {
  /** The columns are in the request's buffer. If the last step timed out, a member may still read the operation's buffer. */
  onSettled(io: ReadRequest, op: StripeOp): void;
  /** A member may still write to the operation's buffers, so the request must be repeated with others. */
  onTimedOut(io: ReadRequest): void;
  /** The member cannot read the columns; it is in the operation's list of unreadable slots. */
  onUnreadable(io: ReadRequest, op: StripeOp): void;
}

/**
 * Reads a member's blocks for a user where redundancy is in doubt. Both parities may still match older data; if the member were
 * lost, the next read would return that. So the parities are recomputed from the data before the read is answered. With a
 * member missing this is neither possible nor needed, since two unknown members in doubt are never reconstructed. If one data
 * chunk is unreadable it is not possible either, but that chunk may become readable later: then P is changed so that the
 * parities contradict each other.
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

  /** Reads the operation's columns of slot `io.a`. The columns must be locked. */
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
    // A member has just returned and the journal still stands in for it: that member may be lost again, but no other, so the
    // parities stay as they are.
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
   * The parities cannot be recomputed because one data chunk is unreadable. When it becomes readable they might agree on older
   * data. If they disagree about this chunk now, so that they cannot both be right, P is changed so that they keep disagreeing.
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

  /** The first data slot among the unreadable ones; -1 for none. */
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

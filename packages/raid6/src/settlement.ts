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
 * data. With a member missing they cannot be, and need not be: in doubt two unknown members are not worked out.
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
    const mustSettle = this.#isKnown(io, op) && this.#isComplete(io);
    if (!mustSettle || (io.unreadable.length === 0 && this.#stripe.agrees(op))) {
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

  /** All data is there to make parities of. Beside a chunk that cannot be read they give nothing of another one. */
  #isKnown(io: ReadRequest, op: StripeOp): boolean {
    return op.canSettle && io.unreadable.every((slot) => this.#map.placeOf(op.stripe, slot) >= this.#map.dataChunks);
  }

  #isComplete(io: ReadRequest): boolean {
    if (io.failed.length > 0) return false;
    for (let slot = 0; slot < this.#map.members; slot++) if (!io.hasMember(slot)) return false;
    return true;
  }
}

import { Status } from '@raidkit/core/level';
import type { ProcessRequest, RangeLocks, ReadRequest, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import type { StripeMap } from './stripe-map.js';
import { Settlement } from './settlement.js';
import { mostLost, opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';
import { Stripe } from './stripe.js';

/** Requests that are served from the contents of one or two members. */
type ChunkRead = ReadRequest | ProcessRequest;

/**
 * Reconstructs members' blocks from the others. Up to two members in all may be missing, wanted or unreadable. The blocks must
 * be consistent with one another, so no write may be under way in these columns: they are locked, or quiesced by core.
 */
export class Reconstruction {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #columns: RangeLocks;
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #stripe: Stripe;
  readonly #settlement: Settlement;

  constructor(raid: RedundantContext, map: StripeMap, columns: RangeLocks, buffers: StripeBuffers<StripeOp>) {
    this.#raid = raid;
    this.#map = map;
    this.#columns = columns;
    this.#buffers = buffers;
    this.#stripe = new Stripe(raid, map, buffers);
    this.#settlement = new Settlement(raid, map, this.#stripe, {
      onSettled: (io, op) => this.#onSettled(io, op),
      onTimedOut: (io) => this.#end(io, Status.TimedOut),
      onUnreadable: (io, op) => this.#read(io, op),
    });
  }

  /** Serves a user's read of a slot's blocks, from member block `offset` on. */
  read(io: ReadRequest, slot: number, offset: number): void {
    io.a = slot;
    io.b = offset;
    io.lock(this.#columns, offset, offset + io.numBlocks, 'shared', this.#begin);
  }

  /** As {@link read}, for a slot with a member, where redundancy is in doubt. */
  readInDoubt(io: ReadRequest, slot: number, offset: number): void {
    io.a = slot;
    io.b = offset;
    io.lock(this.#columns, offset, offset + io.numBlocks, 'exclusive', this.#beginInDoubt);
  }

  /** Core has quiesced the range, so no lock is needed. */
  process(io: ProcessRequest): void {
    io.b = io.offsetBlocks;
    this.#begin(io);
  }

  readonly #begin = (io: ChunkRead): void => {
    const op = this.#buffers.take(io, this.#begin);
    if (op === null) return;
    op.c1 = 0;
    op.isReadInDoubt = false;
    this.#next(io, op);
  };

  readonly #beginInDoubt = (io: ReadRequest): void => {
    const op = this.#buffers.take(io, this.#beginInDoubt);
    if (op === null) return;
    op.c1 = 0;
    op.isReadInDoubt = true;
    this.#next(io, op);
  };

  /** Starts the next columns: as many of one stripe as fit in a slice. */
  #next(io: ChunkRead, op: StripeOp): void {
    op.c0 = op.c1;
    if (op.c0 === io.numBlocks) {
      this.#end(io, Status.Ok);
      return;
    }
    const { strip } = this.#map;
    op.stripe = Math.floor((io.b + op.c0) / strip);
    const stripeEnd = (op.stripe + 1) * strip - io.b;
    op.c1 = Math.min(io.numBlocks, stripeEnd, op.c0 + this.#buffers.sliceBlocks);
    op.unreadable.length = 0;
    if (io.kind === 'read' && op.isReadInDoubt && io.hasMember(io.a)) {
      this.#settlement.run(io, op);
      return;
    }
    // The member was asked for the whole range before and could not read some of it.
    if (io.kind === 'read' && io.hasMember(io.a)) op.unreadable.push(io.a);
    this.#read(io, op);
  }

  #read(io: ChunkRead, op: StripeOp): void {
    const { members } = this.#map;
    op.lost.length = 0;
    for (let slot = 0; slot < members; slot++) if (!io.hasMember(slot) || op.unreadable.includes(slot)) op.lost.push(slot);
    op.mustVerify = this.#isDoubtful(io, op);
    if (op.lost.length > mostLost || (op.mustVerify && !this.#stripe.canVerify(op))) {
      this.#onUnknown(io, op);
      return;
    }
    io.forgetUnreadable();
    io.andThen(this.#onRead);
    for (let slot = 0; slot < members; slot++)
      if (!this.#stripe.isSpared(op, slot)) io.readPart(slot, io.b + op.c0, op.c1 - op.c0, this.#stripe.sliceOf(op, slot));
  }

  /** Different members may be unreadable in different columns, so each half is tried by itself. */
  #onUnknown(io: ChunkRead, op: StripeOp): void {
    const half = Math.floor((op.c1 - op.c0) / 2);
    if (op.unreadable.length === 0 || half === 0) {
      this.#end(io, Status.IoError);
      return;
    }
    op.c1 = op.c0 + half;
    op.unreadable.length = 0;
    this.#read(io, op);
  }

  readonly #onRead = (io: ChunkRead): void => {
    const op = opOf(io);
    if (io.stepStatus === Status.TimedOut) {
      this.#end(io, Status.TimedOut);
      return;
    }
    if (io.unreadable.length > 0) {
      for (const slot of io.unreadable) if (!op.unreadable.includes(slot)) op.unreadable.push(slot);
      this.#read(io, op);
      return;
    }
    this.#stripe.recover(op);
    if (op.mustVerify && !this.#stripe.verify(op)) {
      this.#onUnknown(io, op);
      return;
    }
    const { blockSize, memory } = this.#raid;
    const done = op.c0 * blockSize;
    const bytes = (op.c1 - op.c0) * blockSize;
    if (io.kind === 'read') memory.copy(io.addr + done, this.#stripe.sliceOf(op, io.a), bytes);
    else
      for (const [index, slot] of io.slots.entries())
        memory.copy((io.addrs[index] ?? 0) + done, this.#stripe.sliceOf(op, slot), bytes);
    this.#repair(io, op);
    if (io.kind === 'read' && op.mustVerify && op.isReadInDoubt && io.hasMember(io.a)) this.#giveBack(io, op);
    else this.#next(io, op);
  };

  /**
   * Writes the reconstructed data to the member that could not read it, before the read is answered: where redundancy is in
   * doubt the member might return something else next time.
   */
  #giveBack(io: ReadRequest, op: StripeOp): void {
    io.writeBack();
    if (io.journalSlots.length > 0) {
      this.#next(io, op);
      return;
    }
    io.andThen(this.#onGivenBack);
    io.writePart(io.a, io.b + op.c0, op.c1 - op.c0, this.#stripe.sliceOf(op, io.a));
  }

  readonly #onGivenBack = (io: ReadRequest): void => {
    this.#onSettled(io, opOf(io));
  };

  #onSettled(io: ReadRequest, op: StripeOp): void {
    if (io.stepStatus === Status.TimedOut) op.isTaken = true;
    this.#continue(io);
  }

  /** Continues after a write that a member has missed and may still be reading from the buffer. */
  readonly #continue = (io: ReadRequest): void => {
    const op = opOf(io);
    if (!op.isTaken || this.#buffers.renew(io, op, this.#continue)) this.#next(io, op);
  };

  /**
   * Whether both parities must agree for the reconstruction to count. Parity is computed from data alone, so old parity in
   * doubt does not matter; data is computed from parity in doubt only if both parities give the same.
   */
  #isDoubtful(io: ChunkRead, op: StripeOp): boolean {
    if (op.lost.every((slot) => this.#map.placeOf(op.stripe, slot) >= this.#map.dataChunks)) return false;
    return this.#raid.isInconsistent(io.b + op.c0, op.c1 - op.c0);
  }

  /** Requests repair of the members that could not read what has been reconstructed. */
  #repair(io: ChunkRead, op: StripeOp): void {
    if (io.kind !== 'read') return;
    for (const slot of op.unreadable) if (io.hasMember(slot)) io.requestRepair(slot, io.b + op.c0, op.c1 - op.c0);
  }

  #end(io: ChunkRead, status: Status): void {
    this.#buffers.give(io);
    if (status === Status.Ok) io.end();
    else io.fail(status);
  }
}

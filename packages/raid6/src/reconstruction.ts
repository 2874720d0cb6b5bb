import { Status } from '@raidkit/core/level';
import type { ProcessRequest, RangeLocks, ReadRequest, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import type { StripeMap } from './stripe-map.js';
import { Settlement } from './settlement.js';
import { mostLost, opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';
import { Stripe } from './stripe.js';

/** What is answered by what members of one or two slots hold. */
type ChunkRead = ReadRequest | ProcessRequest;

/**
 * Works out what members hold from the others, of which one more may be unreadable, as long as two are unknown at most. The
 * blocks must belong together, so no write may be under way in these columns: they are locked, or quiesced by core.
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

  /** A user's read of blocks of a slot's member, from its block `offset` on. */
  read(io: ReadRequest, slot: number, offset: number): void {
    io.a = slot;
    io.b = offset;
    io.lock(this.#columns, offset, offset + io.numBlocks, 'shared', this.#begin);
  }

  /** As {@link read}, of a slot with a member, where redundancy is in doubt. */
  readInDoubt(io: ReadRequest, slot: number, offset: number): void {
    io.a = slot;
    io.b = offset;
    io.lock(this.#columns, offset, offset + io.numBlocks, 'exclusive', this.#beginInDoubt);
  }

  /** The range is quiesced, so there is nothing to lock out. */
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

  /** The next columns: of one stripe, as many as fit in a slice. */
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
    // It was asked for all of them, and could not read some.
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

  /** What cannot be read are different columns, perhaps, of different members: each half has a way then. */
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
   * What both parities say of a block in doubt that its member could not read: it may say something else when it is asked again, so
   * it is given this before the read is answered.
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

  /** After parities that a member has missed, and may still read. */
  readonly #continue = (io: ReadRequest): void => {
    const op = opOf(io);
    if (!op.isTaken || this.#buffers.renew(io, op, this.#continue)) this.#next(io, op);
  };

  /** Parity comes from data alone, whatever the old parity is. Data comes from parity in doubt only if both parities say the same. */
  #isDoubtful(io: ChunkRead, op: StripeOp): boolean {
    if (op.lost.every((slot) => this.#map.placeOf(op.stripe, slot) >= this.#map.dataChunks)) return false;
    return this.#raid.isInconsistent(io.b + op.c0, op.c1 - op.c0);
  }

  /** Members that could not read what redundancy knew are given it again. */
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

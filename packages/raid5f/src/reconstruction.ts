import { Status } from '@raidkit/core/level';
import type { ProcessRequest, RangeLocks, ReadRequest, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import type { StripeMap } from './stripe-map.js';
import { opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/** Requests that are served from the contents of one member. */
type ChunkRead = ReadRequest | ProcessRequest;

/**
 * Reconstructs a member's blocks as the exclusive or of all the others. The blocks must be consistent with one another, so no
 * write may be under way in these columns: they are locked (shared), or quiesced by core.
 */
export class Reconstruction {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #columns: RangeLocks;
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #sources: Uint32Array;

  constructor(raid: RedundantContext, map: StripeMap, columns: RangeLocks, buffers: StripeBuffers<StripeOp>) {
    this.#raid = raid;
    this.#map = map;
    this.#columns = columns;
    this.#buffers = buffers;
    this.#sources = new Uint32Array(raid.numSlots);
  }

  /** Fills `io.addr` with `io.numBlocks` blocks of the slot, from member block `offset` on, and ends the request. */
  run(io: ChunkRead, slot: number, offset: number, mustLock: boolean): void {
    io.a = slot;
    io.b = offset;
    if (mustLock) io.lock(this.#columns, offset, offset + io.numBlocks, 'shared', this.#begin);
    else this.#begin(io);
  }

  readonly #onRead = (io: ChunkRead): void => {
    const op = opOf(io);
    if (io.stepStatus !== Status.Ok) {
      this.#end(io, io.stepStatus === Status.TimedOut ? Status.TimedOut : Status.IoError);
      return;
    }
    const { blockSize, numSlots, memory } = this.#raid;
    memory.kernels.xor(this.#destination(io), this.#gather(io), numSlots - 1, (op.c1 - op.c0) * blockSize);
    this.#next(io);
  };

  readonly #begin = (io: ChunkRead): void => {
    if (this.#raid.isInconsistent(io.b, io.numBlocks) && !this.#isKnown(io)) {
      this.#end(io, Status.IoError);
      return;
    }
    const op = this.#buffers.take(io, this.#begin);
    if (op === null) return;
    op.c1 = 0;
    this.#next(io);
  };

  /**
   * Whether the blocks can be reconstructed, checked stripe by stripe: parity is computed from data, so old parity in doubt
   * does not matter, but data cannot be computed from parity in doubt.
   */
  #isKnown(io: ChunkRead): boolean {
    const { strip } = this.#map;
    const end = io.b + io.numBlocks;
    for (let from = io.b; from < end;) {
      const stripe = Math.floor(from / strip);
      const to = Math.min(end, (stripe + 1) * strip);
      if (this.#map.paritySlot(stripe) !== io.a && this.#raid.isInconsistent(from, to - from)) return false;
      from = to;
    }
    return true;
  }

  /** Reads the next slice of all other members: the first one into the result's place, the others into buffers. */
  #next(io: ChunkRead): void {
    const op = opOf(io);
    op.c0 = op.c1;
    if (op.c0 === io.numBlocks) {
      this.#end(io, Status.Ok);
      return;
    }
    op.c1 = Math.min(io.numBlocks, op.c0 + this.#buffers.sliceBlocks);
    for (let slot = 0; slot < this.#raid.numSlots; slot++) {
      if (slot !== io.a && !io.hasMember(slot)) {
        this.#end(io, Status.IoError);
        return;
      }
    }
    this.#gather(io);
    io.andThen(this.#onRead);
    let source = 0;
    for (let slot = 0; slot < this.#raid.numSlots; slot++) {
      if (slot === io.a) continue;
      io.readPart(slot, io.b + op.c0, op.c1 - op.c0, this.#sources[source] ?? 0);
      source++;
    }
  }

  #destination(io: ChunkRead): number {
    return io.addr + opOf(io).c0 * this.#raid.blockSize;
  }

  #gather(io: ChunkRead): Uint32Array {
    const { addr } = opOf(io);
    this.#sources[0] = this.#destination(io);
    for (let source = 1; source < this.#sources.length - 1; source++) {
      this.#sources[source] = addr + source * this.#buffers.sliceBytes;
    }
    return this.#sources;
  }

  #end(io: ChunkRead, status: Status): void {
    this.#buffers.give(io);
    if (status !== Status.Ok) {
      io.fail(status);
      return;
    }
    // The member could not read this, so the reconstructed data is written to it.
    if (io.kind === 'read' && io.hasMember(io.a)) io.requestRepair(io.a, io.b, io.numBlocks);
    io.end();
  }
}

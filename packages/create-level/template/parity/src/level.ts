import { RangeLocks, Status, StripeBuffers, raidApiVersion, stripeBufferBytes } from '@raidkit/core/level';
import type {
  ParityLevel,
  ProcessRequest,
  ReadRequest,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
  StripeOperation,
  UnjournaledModule,
  WriteRequest,
} from '@raidkit/core/level';

/** State of a request that works on several members, with a slice of memory per slot. It handles one piece at a time. */
class Operation implements StripeOperation {
  addr = -1;
  isTaken = false;
  /** Blocks of the request that are done, and that will be when this piece is. */
  done = 0;
  end = 0;
  /** Slot that is reconstructed from the others; -1: none. */
  lost = -1;
}

function operationOf({ levelContext }: { levelContext: object | null }): Operation {
  if (levelContext instanceof Operation) return levelContext;
  throw new Error('the request has no buffers');
}

/**
 * Data strips on all slots but the last, which holds their exclusive or. Array block b lies in strip ⌊b / S⌋ (S: strip size in
 * blocks); consecutive strips go to the data slots in turn. A request lies within one strip, as the geometry asks for.
 */
class Parity implements ParityLevel {
  readonly #context: RedundantContext;
  readonly #strip: number;
  /** Number of data slots, which is also the index of the parity slot. */
  readonly #parity: number;
  /** Locks on columns: member blocks whose data and parity are being changed (L08). */
  readonly #columns = new RangeLocks();
  readonly #buffers: StripeBuffers<Operation>;

  constructor(context: RedundantContext) {
    this.#context = context;
    this.#strip = context.stripSizeBlocks;
    this.#parity = context.numSlots - 1;
    // All memory is reserved here (L22). Requests wait when it is used up (L23).
    this.#buffers = new StripeBuffers(context, Operation);
  }

  stop(): void {
    this.#buffers.close();
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    const stripes = Math.floor(Math.min(...capacities) / this.#strip);
    return {
      numBlocks: stripes * this.#strip * this.#parity,
      memberBlocks: capacities.map(() => stripes * this.#strip),
      optimalIoBoundary: this.#strip,
      splitOnBoundary: true,
      stripe: { arrayBlocks: this.#strip * this.#parity, memberBlocks: this.#strip },
    };
  }

  redundantSlots(): readonly number[] {
    return [this.#parity];
  }

  submitRw(request: RwRequest): void {
    const strip = Math.floor(request.offsetBlocks / this.#strip);
    // Kept in the request: the slot of its data, and the first member block.
    request.a = strip % this.#parity;
    request.b = Math.floor(strip / this.#parity) * this.#strip + (request.offsetBlocks % this.#strip);
    if (request.kind === 'write')
      request.lock(this.#columns, request.b, request.b + request.numBlocks, 'exclusive', this.#beginWrite);
    else if (request.hasMember(request.a)) this.#readOne(request);
    else this.#lockAndRead(request);
  }

  /** Core has quiesced the columns, so no lock is needed. They may span stripes, which makes no difference here. */
  submitProcessRequest(request: ProcessRequest): void {
    request.a = request.slot;
    request.b = request.offsetBlocks;
    this.#beginRead(request);
  }

  // Reads.

  #readOne(request: ReadRequest): void {
    request.andThen(this.#onReadOne);
    request.readPart(request.a, request.b, request.numBlocks, request.addr);
  }

  readonly #onReadOne = (request: ReadRequest): void => {
    if (request.stepStatus === Status.Ok) request.end();
    // The device may still write to the buffer (L12).
    else if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else this.#lockAndRead(request);
  };

  /** Reconstruction reads several members, so no write may be under way on some of them. */
  #lockAndRead(request: ReadRequest): void {
    request.lock(this.#columns, request.b, request.b + request.numBlocks, 'shared', this.#beginRead);
  }

  /** Reconstructs slot `a` from the others. */
  readonly #beginRead = (request: ReadRequest | ProcessRequest): void => {
    // Data reconstructed from parity in doubt may be wrong (L14); parity comes from data alone.
    if (request.a !== this.#parity && this.#context.isInconsistent(request.b, request.numBlocks)) {
      request.fail(Status.IoError);
      return;
    }
    const op = this.#buffers.take(request, this.#beginRead);
    if (op === null) return;
    op.done = 0;
    op.lost = request.a;
    request.forgetUnreadable();
    this.#readOthers(request, op);
  };

  #readOthers(request: ReadRequest | ProcessRequest, op: Operation): void {
    op.end = Math.min(request.numBlocks, op.done + this.#buffers.sliceBlocks);
    request.andThen(this.#onReadOthers);
    for (let slot = 0; slot <= this.#parity; slot++) {
      if (slot === op.lost) continue;
      if (request.hasMember(slot)) {
        request.readPart(slot, request.b + op.done, op.end - op.done, this.#sliceOf(op, slot));
        continue;
      }
      this.#finish(request, Status.IoError);
      return;
    }
  }

  readonly #onReadOthers = (request: ReadRequest | ProcessRequest): void => {
    const op = operationOf(request);
    if (request.stepStatus !== Status.Ok) {
      this.#finish(request, request.stepStatus);
      return;
    }
    const { blockSize, memory } = this.#context;
    const bytes = (op.end - op.done) * blockSize;
    const into = request.addr + op.done * blockSize;
    memory.zero(into, bytes);
    for (let slot = 0; slot <= this.#parity; slot++)
      if (slot !== op.lost) memory.kernels.xorInto(into, this.#sliceOf(op, slot), bytes);
    op.done = op.end;
    if (op.done < request.numBlocks) {
      this.#readOthers(request, op);
      return;
    }
    // Its member is present but could not read: the data is written to it again (L13).
    if (request.kind === 'read' && request.hasMember(request.a)) request.requestRepair(request.a, request.b, request.numBlocks);
    this.#finish(request, Status.Ok);
  };

  // Writes.

  readonly #beginWrite = (request: WriteRequest): void => {
    const op = this.#buffers.take(request, this.#beginWrite);
    if (op === null) return;
    op.done = 0;
    this.#nextPiece(request, op);
  };

  #nextPiece(request: WriteRequest, op: Operation): void {
    op.end = Math.min(request.numBlocks, op.done + this.#buffers.sliceBlocks);
    request.forgetUnreadable();
    op.lost = -1;
    for (let slot = 0; slot <= this.#parity; slot++) if (!request.hasMember(slot)) op.lost = slot;
    this.#preRead(request, op);
  }

  /**
   * Parity is computed from all data. If the data of another slot is not known, the difference is added to the old parity
   * instead. If that is in doubt, so is the new one: it stays marked, and nothing is reconstructed from it (L14).
   */
  #preRead(request: WriteRequest, op: Operation): void {
    if (op.lost === this.#parity) {
      this.#write(request, op);
      return;
    }
    const isByDifference = op.lost >= 0 && op.lost !== request.a;
    request.andThen(this.#onPreRead);
    for (let slot = 0; slot <= this.#parity; slot++) {
      const isRead = isByDifference ? slot === request.a || slot === this.#parity : slot !== request.a && slot !== this.#parity;
      if (isRead && request.hasMember(slot))
        request.readPart(slot, request.b + op.done, op.end - op.done, this.#sliceOf(op, slot));
    }
  }

  readonly #onPreRead = (request: WriteRequest): void => {
    const op = operationOf(request);
    const { blockSize, memory } = this.#context;
    const [unreadable] = request.unreadable;
    if (request.stepStatus === Status.TimedOut) {
      this.#finish(request, Status.TimedOut);
    } else if (unreadable !== undefined) {
      // Another slot is unreadable here, as if it had no member. One parity cannot replace two slots.
      if (op.lost >= 0 || request.unreadable.length > 1) {
        this.#finish(request, Status.IoError);
        return;
      }
      request.forgetUnreadable();
      op.lost = unreadable;
      this.#preRead(request, op);
    } else {
      const isByDifference = op.lost >= 0 && op.lost !== request.a;
      const bytes = (op.end - op.done) * blockSize;
      const data = request.addr + op.done * blockSize;
      const parity = this.#sliceOf(op, this.#parity);
      if (isByDifference) {
        memory.kernels.xorInto(parity, this.#sliceOf(op, request.a), bytes);
        memory.kernels.xorInto(parity, data, bytes);
      } else {
        memory.copy(parity, data, bytes);
        for (let slot = 0; slot < this.#parity; slot++)
          if (slot !== request.a) memory.kernels.xorInto(parity, this.#sliceOf(op, slot), bytes);
      }
      this.#write(request, op);
    }
  };

  #write(request: WriteRequest, op: Operation): void {
    const { blockSize } = this.#context;
    request.andThen(this.#onWritten);
    const count = op.end - op.done;
    if (request.hasMember(request.a))
      request.writePart(request.a, request.b + op.done, count, request.addr + op.done * blockSize);
    if (request.hasMember(this.#parity))
      request.writePart(this.#parity, request.b + op.done, count, this.#sliceOf(op, this.#parity));
  }

  readonly #onWritten = (request: WriteRequest): void => {
    const op = operationOf(request);
    if (request.failed.length > 0) {
      request.takeOutFailed();
      // A member that stays has missed this part, and redundancy disagrees with it (L15).
      if (request.failed.some((slot) => request.hasMember(slot)))
        this.#context.markInconsistent(request.b + op.done, op.end - op.done);
    }
    op.done = op.end;
    if (op.done < request.numBlocks) this.#nextPiece(request, op);
    else this.#finish(request, Status.Ok);
  };

  #sliceOf(op: Operation, slot: number): number {
    return op.addr + slot * this.#buffers.sliceBytes;
  }

  #finish(request: RwRequest | ProcessRequest, status: Status): void {
    this.#buffers.give(request);
    if (status === Status.Ok) request.end();
    else request.fail(status);
  }
}

/** __TITLE__: one parity, on the last slot. */
export const level: UnjournaledModule = {
  level: '__LEVEL__',
  aliases: [],
  // Stored in members' superblocks: it must mean this level for ever.
  code: __CODE__,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: false, resize: true },
  redundancy: 'parity',
  maxMissing: 1,
  // With a journal, a crash of an array that lacks a member would lose nothing (L19); without, a person must confirm its start.
  journal: false,
  baseBdevsMin: 3,
  memoryBytes: stripeBufferBytes,
  start: (context) => new Parity(context),
};

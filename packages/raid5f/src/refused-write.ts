import { Status } from '@raidkit/core/level';
import type { AnyWriteRequest, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import { Phase } from './phase.js';
import { extraRead, holdsWritten, isPreRead, journaledOffset, newDataAddr, readAddr } from './pre-read.js';
import type { StripeMap } from './stripe-map.js';
import { ParityMode, opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/**
 * Makes data and parity of a rectangle consistent again after a member refused its part for lack of space on an array that
 * lacks another member. The absent member's data is still known, from the request or from what was read for it; marking the
 * parity inconsistent would lose it. So parity is recomputed from what the members really hold; if the parity itself was
 * refused, the data is first restored to its old contents.
 */
export class RefusedWrite {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #sources: Uint32Array;
  /** Called at the end; `isAsBefore` says whether data and parity agree as they did before. */
  readonly #onEnd: (io: AnyWriteRequest, isAsBefore: boolean) => void;

  constructor(
    raid: RedundantContext,
    map: StripeMap,
    buffers: StripeBuffers<StripeOp>,
    onEnd: (io: AnyWriteRequest, isAsBefore: boolean) => void,
  ) {
    this.#raid = raid;
    this.#map = map;
    this.#buffers = buffers;
    this.#onEnd = onEnd;
    this.#sources = new Uint32Array(map.members);
  }

  /** Takes over a rectangle all of whose parts have completed. */
  start(io: AnyWriteRequest): void {
    const op = opOf(io);
    op.absent = this.#absentSlot(io);
    // Every member needs a slice for what is read.
    const hasSlices = op.c1 - op.c0 <= this.#buffers.sliceBlocks && extraRead(this.#map, op) < 0 && !op.isTaken;
    const isAmendable = hasSlices && io.writeStatus === Status.NoSpace && this.#isKnown(op);
    const isParityOld = this.#isParityRefused(io, op);
    if (!isAmendable) this.#onEnd(io, false);
    else if (!isParityOld) this.#read(io, op);
    else if (op.mode === ParityMode.Everything) this.#restore(io, op);
    // Only the parity was to change. Each sector of it is old or new, and so is the absent member's.
    else if (!this.#isOtherWritten(op)) this.#keep(io, op);
    else this.#onEnd(io, false);
  }

  onJournaled(io: AnyWriteRequest, status: Status): void {
    this.#onEnd(io, status === Status.Ok);
  }

  /** A member that has no room for the old data may not have taken the new data either. Reading it back shows what it holds. */
  readonly #onRestored = (io: AnyWriteRequest): void => this.#next(io, io.writeStatus === Status.NoSpace, this.#read);

  readonly #onReadAgain = (io: AnyWriteRequest): void => this.#next(io, io.stepStatus === Status.Ok, this.#settle);

  readonly #onParityWritten = (io: AnyWriteRequest): void => this.#next(io, io.stepStatus === Status.Ok, this.#keepParity);

  #next(io: AnyWriteRequest, isAmendable: boolean, step: (io: AnyWriteRequest, op: StripeOp) => void): void {
    const op = opOf(io);
    if (io.stepStatus === Status.TimedOut) op.isTaken = true;
    if (isAmendable) step(io, op);
    else this.#onEnd(io, false);
  }

  readonly #settle = (io: AnyWriteRequest, op: StripeOp): void => {
    if (!this.#isParityRefused(io, op)) this.#writeParity(io, op);
    else if (op.mode === ParityMode.Everything) this.#onEnd(io, this.#agrees(io, op));
    else this.#journalAgain(io, op);
  };

  readonly #keepParity = (io: AnyWriteRequest, op: StripeOp): void => {
    this.#raid.markInSync(this.#memberOffset(op), op.c1 - op.c0, false);
    this.#onEnd(io, true);
  };

  /**
   * Only the absent member's blocks were to change. What they now are must be the same after the next start, so it is journaled
   * again.
   */
  #keep(io: AnyWriteRequest, op: StripeOp): void {
    const isDoubtful = this.#raid.isInconsistent(this.#memberOffset(op), op.c1 - op.c0);
    if (isDoubtful || op.journaled !== op.absent) this.#onEnd(io, true);
    else this.#read(io, op);
  }

  #journalAgain(io: AnyWriteRequest, op: StripeOp): void {
    io.phase = Phase.JournalAgain;
    this.#sources[0] = op.addr;
    let count = 1;
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (slot !== op.absent && slot !== this.#map.paritySlot(op.stripe)) this.#sources[count++] = this.#sliceOf(op, slot);
    }
    this.#raid.memory.kernels.xor(op.addr, this.#sources, count, (op.c1 - op.c0) * this.#raid.blockSize);
    io.journal(op.entryOf(journaledOffset(this.#map, op), op.c1 - op.c0, op.addr));
  }

  /** Writes the old data back from the slices into which it was read. */
  #restore(io: AnyWriteRequest, op: StripeOp): void {
    io.andThen(this.#onRestored);
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (!this.#isWritten(op, slot)) continue;
      io.writePart(slot, this.#memberOffset(op), op.c1 - op.c0, this.#sliceOf(op, slot));
    }
  }

  /**
   * Reads back the written chunks, which may be written wholly, partly or not at all, and the parity if it stays. The other
   * chunks were read before and have not changed.
   */
  readonly #read = (io: AnyWriteRequest, op: StripeOp): void => {
    io.andThen(this.#onReadAgain);
    const parity = this.#map.paritySlot(op.stripe);
    for (let slot = 0; slot < this.#map.members; slot++) {
      const isParity = slot === parity && this.#isParityRefused(io, op);
      if (!isParity && !this.#isWritten(op, slot)) continue;
      const addr = isParity ? op.addr : this.#sliceOf(op, slot);
      io.readPart(slot, this.#memberOffset(op), op.c1 - op.c0, addr);
    }
  };

  #writeParity(io: AnyWriteRequest, op: StripeOp): void {
    const count = this.#gatherData(io, op, 0);
    const bytes = (op.c1 - op.c0) * this.#raid.blockSize;
    if (count === 0) this.#raid.memory.zero(op.addr, bytes);
    else this.#raid.memory.kernels.xor(op.addr, this.#sources, count, bytes);
    io.andThen(this.#onParityWritten);
    io.writePart(this.#map.paritySlot(op.stripe), this.#memberOffset(op), op.c1 - op.c0, op.addr);
  }

  /** Whether the parity that was read matches the data. */
  #agrees(io: AnyWriteRequest, op: StripeOp): boolean {
    const bytes = (op.c1 - op.c0) * this.#raid.blockSize;
    this.#sources[0] = op.addr;
    this.#raid.memory.kernels.xor(op.addr, this.#sources, this.#gatherData(io, op, 1), bytes);
    return this.#raid.memory.u8.subarray(op.addr, op.addr + bytes).every((byte) => byte === 0);
  }

  /** Adds all data of the rectangle's columns to the sources from index `first` on, and returns the new number of sources. */
  #gatherData(io: AnyWriteRequest, op: StripeOp, first: number): number {
    const parity = this.#map.paritySlot(op.stripe);
    let count = first;
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (slot === parity) continue;
      if (slot !== op.absent || !holdsWritten(this.#map, op, slot)) this.#sources[count++] = this.#sliceOf(op, slot);
      else if (io.kind === 'write') {
        const chunk = slot < parity ? slot : slot - 1;
        this.#sources[count++] = newDataAddr(this.#map, io, op, chunk, this.#raid.blockSize);
      }
    }
    return count;
  }

  /** Address of a data slot's blocks: where they were read to, or a slice behind those if they were not read. */
  #sliceOf(op: StripeOp, wanted: number): number {
    if (isPreRead(this.#map, op, wanted) || wanted === op.missing)
      return readAddr(this.#map, op, this.#buffers.sliceBytes, wanted);
    const parity = this.#map.paritySlot(op.stripe);
    let slice = 1;
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (slot === parity) continue;
      if (isPreRead(this.#map, op, slot) || slot < wanted) slice++;
    }
    return op.addr + slice * this.#buffers.sliceBytes;
  }

  /** Whether the rectangle writes to this slot, and it has a member. */
  #isWritten(op: StripeOp, slot: number): boolean {
    return slot !== op.absent && holdsWritten(this.#map, op, slot);
  }

  #isOtherWritten(op: StripeOp): boolean {
    for (let slot = 0; slot < this.#map.members; slot++) if (this.#isWritten(op, slot)) return true;
    return false;
  }

  #isParityRefused(io: AnyWriteRequest, op: StripeOp): boolean {
    return io.failed.includes(this.#map.paritySlot(op.stripe));
  }

  #memberOffset(op: StripeOp): number {
    return op.stripe * this.#map.strip + op.c0;
  }

  /** The only slot without a member; -1 if there is none or more than one. */
  #absentSlot(io: AnyWriteRequest): number {
    let absent = -1;
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (io.hasMember(slot)) continue;
      if (absent >= 0) return -1;
      absent = slot;
    }
    return absent;
  }

  /** Whether the absent member's blocks are known: they are written by the request, or were read or computed for the parity. */
  #isKnown(op: StripeOp): boolean {
    if (op.absent < 0 || op.absent === this.#map.paritySlot(op.stripe) || op.mode === ParityMode.None) return false;
    if (holdsWritten(this.#map, op, op.absent)) return true;
    return op.mode === ParityMode.Everything
      ? op.absent === op.missing
      : op.mode === ParityMode.ReconstructWrite && op.missing < 0;
  }
}

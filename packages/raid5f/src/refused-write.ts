import { Status } from '@raidkit/core/level';
import type { AnyWriteRequest, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import { Phase } from './phase.js';
import { extraRead, holdsWritten, isPreRead, journaledOffset, newDataAddr, readAddr } from './pre-read.js';
import type { StripeMap } from './stripe-map.js';
import { ParityMode, opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/**
 * Makes data and parity of a rectangle agree again after a member had no room for its part, on an array that lacks another
 * member. What the absent member should hold is still known then, from the request or from what was read for it, and parity in
 * doubt would lose it. So parity is made anew from what the members really hold; and where it was the parity that found no
 * room, the data is first put back as it was.
 */
export class RefusedWrite {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #sources: Uint32Array;
  /** Told at the end: whether data and parity agree as they did before. */
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

  /** Takes over a rectangle whose parts are all done. */
  start(io: AnyWriteRequest): void {
    const op = opOf(io);
    op.absent = this.#absentSlot(io);
    // What is read goes to a slice for each member.
    const hasSlices = op.c1 - op.c0 <= this.#buffers.sliceBlocks && extraRead(this.#map, op) < 0 && !op.isTaken;
    const isAmendable = hasSlices && io.writeStatus === Status.NoSpace && this.#isKnown(op);
    const isParityOld = this.#isParityRefused(io, op);
    if (!isAmendable) this.#onEnd(io, false);
    else if (!isParityOld) this.#read(io, op);
    else if (op.mode === ParityMode.Everything) this.#restore(io, op);
    // Each sector of the parity is old or new then, and the absent member's with it.
    else if (!this.#isOtherWritten(op)) this.#keep(io, op);
    else this.#onEnd(io, false);
  }

  onJournaled(io: AnyWriteRequest, status: Status): void {
    this.#onEnd(io, status === Status.Ok);
  }

  /** A member without room for what is put back has perhaps not taken what was to be written either: reading will tell. */
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

  /** Nothing but the absent member's blocks were to change. What they are now must still be so after the next start. */
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

  /** Data as it was, from the slices into which it was read. */
  #restore(io: AnyWriteRequest, op: StripeOp): void {
    io.andThen(this.#onRestored);
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (!this.#isWritten(op, slot)) continue;
      io.writePart(slot, this.#memberOffset(op), op.c1 - op.c0, this.#sliceOf(op, slot));
    }
  }

  /** What was written, whole, in part or not at all; and the parity, if it is to stay. The rest has been read, and is the same. */
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

  /** Whether the parity that was read is that of the data. */
  #agrees(io: AnyWriteRequest, op: StripeOp): boolean {
    const bytes = (op.c1 - op.c0) * this.#raid.blockSize;
    this.#sources[0] = op.addr;
    this.#raid.memory.kernels.xor(op.addr, this.#sources, this.#gatherData(io, op, 1), bytes);
    return this.#raid.memory.u8.subarray(op.addr, op.addr + bytes).every((byte) => byte === 0);
  }

  /** Puts all data of the rectangle's columns among the sources, from `first` on. Gives how many there are then. */
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

  /** Where a data slot's blocks lie: where they were read to; those that were not read, behind these. */
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

  /** The rectangle's data is the slot's, and it has a member. */
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

  /** The one slot without a member; -1 if there is none, or if there are several. */
  #absentSlot(io: AnyWriteRequest): number {
    let absent = -1;
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (io.hasMember(slot)) continue;
      if (absent >= 0) return -1;
      absent = slot;
    }
    return absent;
  }

  /** The absent member's blocks are written by the request, or were read or worked out to make the parity. */
  #isKnown(op: StripeOp): boolean {
    if (op.absent < 0 || op.absent === this.#map.paritySlot(op.stripe) || op.mode === ParityMode.None) return false;
    if (holdsWritten(this.#map, op, op.absent)) return true;
    return op.mode === ParityMode.Everything
      ? op.absent === op.missing
      : op.mode === ParityMode.ReconstructWrite && op.missing < 0;
  }
}

import { Status } from '@raidkit/core/level';
import type { AnyWriteRequest, JournalRange, RangeLocks, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import { Phase } from './phase.js';
import { extraRead, holdsWritten, isPreRead, journaledOffset, newDataAddr, readAddr } from './pre-read.js';
import { RefusedWrite } from './refused-write.js';
import type { StripeMap } from './stripe-map.js';
import { ParityMode, opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/** Largest number of sources in one call of the kernel. */
const mostSources = 255;
/** Returned in place of a slot: more members are missing than parity can replace. */
const tooMany = -2;
const noRanges: readonly JournalRange[] = [];

/**
 * Writes data with its parity. A request is split into rectangles, each a run of chunks over a run of columns that the request
 * covers wholly. They are written one after another, with the request's columns locked throughout. For each: read what the new
 * parity needs, compute it, write data and parity in parallel.
 */
export class StripeWriter {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #columns: RangeLocks;
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #sources: Uint32Array;
  readonly #refused: RefusedWrite;

  constructor(raid: RedundantContext, map: StripeMap, columns: RangeLocks, buffers: StripeBuffers<StripeOp>) {
    this.#raid = raid;
    this.#map = map;
    this.#columns = columns;
    this.#buffers = buffers;
    this.#sources = new Uint32Array(2 * map.members);
    this.#refused = new RefusedWrite(raid, map, buffers, (io, isAsBefore) => this.#onFailureSettled(io, isAsBefore));
  }

  /** A write within one stripe, or an unmap or write zeroes of any range. */
  start(io: AnyWriteRequest): void {
    const { strip } = this.#map;
    const end = io.offsetBlocks + io.numBlocks;
    const firstStripe = this.#map.stripeOf(io.offsetBlocks);
    const lastStripe = this.#map.stripeOf(end - 1);
    const from = io.offsetBlocks - firstStripe * this.#map.stripeBlocks;
    const isInOneChunk = Math.floor(from / strip) === Math.floor((from + io.numBlocks - 1) / strip);
    const start = firstStripe * strip + (isInOneChunk ? from % strip : 0);
    const until = isInOneChunk ? start + io.numBlocks : (lastStripe + 1) * strip;
    io.a = start;
    io.b = until;
    io.lock(this.#columns, start, until, 'exclusive', this.#begin);
  }

  readonly #begin = (io: AnyWriteRequest): void => {
    const op = this.#buffers.take(io, this.#begin);
    if (op === null) return;
    op.doneTo = io.offsetBlocks;
    op.column = 0;
    this.#next(io, op);
  };

  #next(io: AnyWriteRequest, op: StripeOp): void {
    const { stripeBlocks } = this.#map;
    const end = io.offsetBlocks + io.numBlocks;
    if (op.doneTo >= end) {
      this.#end(io);
      return;
    }
    const isAligned = op.doneTo % stripeBlocks === 0;
    if (io.kind !== 'write' && isAligned && end - op.doneTo >= stripeBlocks && io.journalSlots.length === 0) {
      if (io.kind === 'unmap') io.trimmed(op.doneTo, end - op.doneTo - (end % stripeBlocks));
      this.#zeroStripes(io, op, op.doneTo / stripeBlocks, Math.floor(end / stripeBlocks));
      return;
    }
    const stripeEnd = Math.min(end, (this.#map.stripeOf(op.doneTo) + 1) * stripeBlocks);
    if (io.kind === 'unmap' || !this.#nextRectangle(io, op, stripeEnd)) {
      // Partial stripes of an unmap keep their contents, and a stripe without another rectangle is done.
      op.doneTo = stripeEnd;
      op.column = 0;
      this.#next(io, op);
      return;
    }
    op.isSecondTry = false;
    io.forgetUnreadable();
    this.#chooseMode(io, op);
  }

  /** Sets the operation's rectangle to the next one of the stripe that contains `op.doneTo`; returns false if there is none. */
  #nextRectangle(io: AnyWriteRequest, op: StripeOp, stripeEnd: number): boolean {
    const { strip, stripeBlocks } = this.#map;
    op.stripe = this.#map.stripeOf(op.doneTo);
    const from = op.doneTo - op.stripe * stripeBlocks;
    const to = stripeEnd - op.stripe * stripeBlocks;
    const firstChunk = Math.floor(from / strip);
    const lastChunk = Math.floor((to - 1) / strip);
    // The first chunk is covered from column a on, the last one up to column b, and those between wholly.
    const a = from - firstChunk * strip;
    const b = to - lastChunk * strip;
    for (;;) {
      const c0 = firstChunk === lastChunk ? Math.max(op.column, a) : op.column;
      const limit = firstChunk === lastChunk ? b : strip;
      if (c0 >= limit) return false;
      let c1 = limit;
      if (a > c0) c1 = Math.min(c1, a);
      if (b > c0) c1 = Math.min(c1, b);
      op.first = c0 >= a ? firstChunk : firstChunk + 1;
      op.last = c0 < b ? lastChunk : lastChunk - 1;
      op.c0 = c0;
      op.c1 = Math.min(c1, c0 + this.#mostColumns(io, op.last - op.first + 1));
      op.column = op.c1;
      if (op.first <= op.last) return true;
      op.column = c1;
    }
  }

  /**
   * Number of columns that fit in the buffers: one slice per member if some members are read, all of the buffer for the parity
   * if none is.
   */
  #mostColumns(io: AnyWriteRequest, chunks: number): number {
    const { sliceBlocks } = this.#buffers;
    if (io.journalSlots.length > 0) return Math.min(sliceBlocks, this.#raid.mostJournalBlocks);
    if (io.kind !== 'write') return Math.min(sliceBlocks, Math.floor(this.#raid.memory.zeroBytes / this.#raid.blockSize));
    return chunks === this.#map.dataChunks ? sliceBlocks * this.#map.members : sliceBlocks;
  }

  #chooseMode(io: AnyWriteRequest, op: StripeOp): void {
    const { dataChunks } = this.#map;
    const missing = this.#missingSlot(io);
    if (missing === tooMany) {
      this.#fail(io, Status.NoDevice);
      return;
    }
    const written = op.last - op.first + 1;
    const isWritten = missing >= 0 && holdsWritten(this.#map, op, missing);
    const parity = this.#map.paritySlot(op.stripe);
    op.missing = missing;
    // The parity of an absent member can always be computed from data, so it is not journaled.
    const [absent = -1] = io.journalSlots;
    op.journaled = absent === parity ? -1 : absent;
    if (missing === parity) op.mode = ParityMode.None;
    else if (written === dataChunks) op.mode = ParityMode.Full;
    else if (missing >= 0) op.mode = isWritten ? ParityMode.ReconstructWrite : ParityMode.ReadModifyWrite;
    else if (this.#isConsistent(op) && written + 1 < dataChunks - written) op.mode = ParityMode.ReadModifyWrite;
    else op.mode = ParityMode.ReconstructWrite;
    op.isUnjournaled = false;
    if (op.journaled >= 0 && op.journaled === missing && !isWritten) {
      if (this.#isDoubtful(op)) this.#cutAtDoubt(op);
      // The missing member's contents as computed from parity may be wrong and must not be journaled.
      op.isUnjournaled = this.#isDoubtful(op);
      if (op.isUnjournaled) op.journaled = -1;
      else op.mode = ParityMode.Everything;
    }
    this.#preRead(io, op);
  }

  /** The slot without a member; -1 if there is none, {@link tooMany} if there are several. */
  #missingSlot(io: AnyWriteRequest): number {
    let missing = -1;
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (io.hasMember(slot)) continue;
      if (missing >= 0) return tooMany;
      missing = slot;
    }
    return missing;
  }

  /**
   * Shortens the rectangle so that its columns are either all in doubt or all consistent: what is known of consistent columns
   * is journaled.
   */
  #cutAtDoubt(op: StripeOp): void {
    const start = op.stripe * this.#map.strip;
    const isFirst = this.#raid.isInconsistent(start + op.c0, 1);
    let end = op.c0 + 1;
    while (end < op.c1 && this.#raid.isInconsistent(start + end, 1) === isFirst) end++;
    op.c1 = end;
    op.column = end;
  }

  #isDoubtful(op: StripeOp): boolean {
    return this.#raid.isInconsistent(op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
  }

  /** Whether the new parity may be derived from the old one. */
  #isConsistent(op: StripeOp): boolean {
    const start = op.stripe * this.#map.strip + op.c0;
    const count = op.c1 - op.c0;
    return this.#raid.isRangeInSync(start, count);
  }

  /** Reads what the new parity is computed from: the parity into slice 0, the k-th other slot that is read into slice k. */
  #preRead(io: AnyWriteRequest, op: StripeOp): void {
    op.extra = extraRead(this.#map, op);
    const parity = this.#map.paritySlot(op.stripe);
    const memberOffset = op.stripe * this.#map.strip + op.c0;
    let buffer = 1;
    io.andThen(this.#onPreRead);
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (!isPreRead(this.#map, op, slot) && slot !== op.extra) continue;
      const addr = slot === parity ? op.addr : op.addr + buffer++ * this.#buffers.sliceBytes;
      io.readPart(slot, memberOffset, op.c1 - op.c0, addr);
    }
  }

  readonly #onPreRead = (io: AnyWriteRequest): void => {
    const op = opOf(io);
    if (io.stepStatus === Status.TimedOut) {
      // The device may still write to the buffer, so the request must be repeated with another one.
      this.#fail(io, Status.TimedOut);
      return;
    }
    if (io.unreadable.length > 0) {
      this.#tryTheOtherWay(io, op);
      return;
    }
    if (op.mode !== ParityMode.None) this.#computeParity(io, op);
    if (op.journaled >= 0) this.#journal(io, op);
    else if (op.isUnjournaled) io.journal(noRanges);
    else this.#write(io, op);
  };

  /** Journals the future contents of the absent member's blocks before anything else is written. */
  #journal(io: AnyWriteRequest, op: StripeOp): void {
    const chunk = op.journaled < this.#map.paritySlot(op.stripe) ? op.journaled : op.journaled - 1;
    const isWritten = holdsWritten(this.#map, op, op.journaled);
    const newAddr = io.kind === 'write' ? newDataAddr(this.#map, io, op, chunk, this.#raid.blockSize) : -1;
    const addr = isWritten ? newAddr : readAddr(this.#map, op, this.#buffers.sliceBytes, op.journaled);
    io.journal(op.entryOf(journaledOffset(this.#map, op), op.c1 - op.c0, addr));
  }

  onJournaled(io: AnyWriteRequest, status: Status): void {
    if (io.phase === Phase.JournalAgain) this.#refused.onJournaled(io, status);
    else if (status === Status.Ok) this.#write(io, opOf(io));
    else this.#fail(io, status);
  }

  /** Tries the other way to compute the parity. The two ways read different members, so one bad block does not fail a write. */
  #tryTheOtherWay(io: AnyWriteRequest, op: StripeOp): void {
    if (io.unreadable.some((slot) => !io.hasMember(slot))) {
      // A member was removed meanwhile, so the mode is chosen again without it.
      io.forgetUnreadable();
      this.#chooseMode(io, op);
      return;
    }
    const { journaled } = op;
    const isJournaledLost = journaled >= 0 && io.unreadable.includes(journaled) && !holdsWritten(this.#map, op, journaled);
    if (isJournaledLost && !op.isSecondTry && this.#isConsistent(op)) {
      // Its contents are needed for the journal in every mode, and can be reconstructed.
      op.missing = journaled;
      op.isSecondTry = true;
      io.forgetUnreadable();
      op.mode = ParityMode.Everything;
      this.#preRead(io, op);
      return;
    }
    let isComplete = true;
    for (let slot = 0; slot < this.#map.members; slot++) if (!io.hasMember(slot)) isComplete = false;
    const other = op.mode === ParityMode.ReadModifyWrite ? ParityMode.ReconstructWrite : ParityMode.ReadModifyWrite;
    // Without a bitmap it is not known whether parity is right. Read-modify-write then leaves it as right or wrong as it was.
    const isPossible = isComplete && (other === ParityMode.ReconstructWrite || !this.#isDoubtful(op));
    if (op.isSecondTry || !isPossible) {
      if (isComplete && op.c1 - op.c0 > 1) this.#halve(io, op);
      else this.#fail(io, Status.IoError);
      return;
    }
    for (const slot of io.unreadable) {
      // Blocks that are about to be overwritten need no repair.
      const isStale = holdsWritten(this.#map, op, slot) || slot === this.#map.paritySlot(op.stripe);
      if (!isStale) io.requestRepair(slot, op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
    }
    op.isSecondTry = true;
    io.forgetUnreadable();
    op.mode = other;
    this.#preRead(io, op);
  }

  /** The unreadable blocks may be in different columns, so each half is tried by itself. */
  #halve(io: AnyWriteRequest, op: StripeOp): void {
    op.c1 = op.c0 + Math.floor((op.c1 - op.c0) / 2);
    op.column = op.c1;
    op.isSecondTry = false;
    io.forgetUnreadable();
    this.#chooseMode(io, op);
  }

  #computeParity(io: AnyWriteRequest, op: StripeOp): void {
    const sources = this.#sources;
    const bytes = (op.c1 - op.c0) * this.#raid.blockSize;
    const parity = this.#map.paritySlot(op.stripe);
    const isEverything = op.mode === ParityMode.Everything;
    if (isEverything) this.#computeMissing(op, bytes);
    let count = 0;
    if (op.mode === ParityMode.ReadModifyWrite) sources[count++] = op.addr;
    for (let slot = 0; slot < this.#map.members; slot++) {
      const isSource = isEverything
        ? slot !== parity && !holdsWritten(this.#map, op, slot)
        : slot !== parity && isPreRead(this.#map, op, slot);
      if (isSource) sources[count++] = readAddr(this.#map, op, this.#buffers.sliceBytes, slot);
    }
    if (io.kind === 'write') {
      for (let chunk = op.first; chunk <= op.last; chunk++)
        sources[count++] = newDataAddr(this.#map, io, op, chunk, this.#raid.blockSize);
    }
    if (count === 0) this.#raid.memory.zero(op.addr, bytes);
    else this.#xor(op.addr, count, bytes);
  }

  /**
   * Computes the exclusive or of the first `count` sources, in several calls if they are more than the kernel takes:
   * read-modify-write has old and new data of every written chunk.
   */
  #xor(dst: number, count: number, bytes: number): void {
    const { kernels } = this.#raid.memory;
    let done = Math.min(count, mostSources);
    kernels.xor(dst, this.#sources, done, bytes);
    while (done < count) {
      // The result so far is the first source of the next call.
      const step = Math.min(count - done, mostSources - 1);
      this.#sources[0] = dst;
      this.#sources.copyWithin(1, done, done + step);
      kernels.xor(dst, this.#sources, step + 1, bytes);
      done += step;
    }
  }

  /** Computes the missing member's contents from all the others, into the last slice. */
  #computeMissing(op: StripeOp, bytes: number): void {
    const { members } = this.#map;
    const parity = this.#map.paritySlot(op.stripe);
    let count = 0;
    for (let slot = 0; slot < members; slot++) {
      if (slot !== op.missing)
        this.#sources[count++] = slot === parity ? op.addr : readAddr(this.#map, op, this.#buffers.sliceBytes, slot);
    }
    this.#raid.memory.kernels.xor(readAddr(this.#map, op, this.#buffers.sliceBytes, op.missing), this.#sources, count, bytes);
  }

  #write(io: AnyWriteRequest, op: StripeOp): void {
    // Members may have been lost during the reads and the journal write; with one more gone, parity could not replace the parts
    // that are skipped.
    if (this.#missingSlot(io) === tooMany) {
      this.#fail(io, Status.NoDevice);
      return;
    }
    io.phase = Phase.Write;
    const memberOffset = op.stripe * this.#map.strip + op.c0;
    const count = op.c1 - op.c0;
    io.andThen(this.#onWritten);
    for (let chunk = op.first; chunk <= op.last; chunk++) {
      const slot = this.#map.dataSlot(op.stripe, chunk);
      if (!io.hasMember(slot)) continue;
      if (io.kind !== 'write') io.zeroPart(slot, memberOffset, count);
      else io.writePart(slot, memberOffset, count, newDataAddr(this.#map, io, op, chunk, this.#raid.blockSize));
    }
    const parity = this.#map.paritySlot(op.stripe);
    if (op.mode !== ParityMode.None) io.writePart(parity, memberOffset, count, op.addr);
  }

  /** Writes zeroes to whole stripes, parity included: one part per member. */
  #zeroStripes(io: AnyWriteRequest, op: StripeOp, first: number, end: number): void {
    if (this.#missingSlot(io) === tooMany) {
      this.#fail(io, Status.NoDevice);
      return;
    }
    const { strip, stripeBlocks, members } = this.#map;
    io.phase = Phase.ZeroStripes;
    op.doneTo = end * stripeBlocks;
    op.column = 0;
    op.stripe = first;
    op.c0 = 0;
    op.c1 = (end - first) * strip;
    op.mode = ParityMode.Full;
    io.andThen(this.#onWritten);
    for (let slot = 0; slot < members; slot++) {
      if (io.hasMember(slot)) io.zeroPart(slot, first * strip, op.c1);
    }
  }

  /** The parts of a rectangle have completed or failed: checks whether the members are still consistent. */
  readonly #onWritten = (io: AnyWriteRequest): void => {
    const op = opOf(io);
    // The timed-out member may still read the parity buffer.
    if (io.stepStatus === Status.TimedOut) op.isTaken = true;
    const start = op.stripe * this.#map.strip + op.c0;
    const count = op.c1 - op.c0;
    // Without a parity member this is true too: a rebuild will compute it from data.
    const isFromData = op.mode !== ParityMode.ReadModifyWrite && op.mode !== ParityMode.Everything;
    if (io.failed.length === 0) {
      if (isFromData) this.#raid.markInSync(start, count, op.mode === ParityMode.Full);
      this.#next(io, op);
      return;
    }
    io.takeOutFailed();
    if (io.failed.some((slot) => io.hasMember(slot))) {
      // Data and parity are inconsistent, and the member that missed its part could not be removed: the array cannot lose
      // another one (a member being rebuilt does not count). In mode None there is no parity that could be wrong.
      if (op.mode === ParityMode.None) this.#end(io);
      else if (io.phase === Phase.Write) this.#refused.start(io);
      else this.#onFailureSettled(io, false);
      return;
    }
    // The failed members have been removed, perhaps since an earlier rectangle, and the parity stands for what they have missed.
    if (isFromData) this.#raid.markInSync(start, count, false);
    // The rest is written to the others.
    this.#continue(io);
  };

  /** Ends the request, which has failed on a member that stays. */
  #onFailureSettled(io: AnyWriteRequest, isAsBefore: boolean): void {
    const op = opOf(io);
    if (!isAsBefore) this.#raid.markInconsistent(op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
    this.#end(io);
  }

  /** Continues after a rectangle that a member has missed. */
  readonly #continue = (io: AnyWriteRequest): void => {
    const op = opOf(io);
    if (!op.isTaken || this.#buffers.renew(io, op, this.#continue)) this.#next(io, op);
  };

  /** Fails the request. If a member has missed a part and stays, the parity of all the request's columns is in doubt. */
  #fail(io: AnyWriteRequest, status: Status): void {
    if (io.failed.some((slot) => io.hasMember(slot))) this.#raid.markInconsistent(io.a, io.b - io.a);
    this.#buffers.give(io);
    io.fail(status);
  }

  #end(io: AnyWriteRequest): void {
    this.#buffers.give(io);
    io.end();
  }
}

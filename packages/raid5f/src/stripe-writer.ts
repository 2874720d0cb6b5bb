import { Status } from '@raidkit/core/level';
import type { AnyWriteRequest, JournalRange, RangeLocks, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import { Phase } from './phase.js';
import { extraRead, holdsWritten, isPreRead, journaledOffset, newDataAddr, readAddr } from './pre-read.js';
import { RefusedWrite } from './refused-write.js';
import type { StripeMap } from './stripe-map.js';
import { ParityMode, opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/** Most sources of one call of the kernel. */
const mostSources = 255;
/** More slots are without a member than parity can stand for. */
const tooMany = -2;
const noRanges: readonly JournalRange[] = [];

/**
 * Writes data with its parity. A request is cut into rectangles, each a run of chunks over a run of columns that the request
 * covers wholly, and these are worked on one after another, with the request's columns locked throughout. For each: read
 * what the new parity needs, compute it, write data and parity side by side.
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
      // The ragged ends of an unmap keep their contents; and a stripe without a rectangle left is done.
      op.doneTo = stripeEnd;
      op.column = 0;
      this.#next(io, op);
      return;
    }
    op.isSecondTry = false;
    io.forgetUnreadable();
    this.#chooseMode(io, op);
  }

  /** Sets the operation's rectangle to the next one of the stripe that holds `op.doneTo`; false if there is none left. */
  #nextRectangle(io: AnyWriteRequest, op: StripeOp, stripeEnd: number): boolean {
    const { strip, stripeBlocks } = this.#map;
    op.stripe = this.#map.stripeOf(op.doneTo);
    const from = op.doneTo - op.stripe * stripeBlocks;
    const to = stripeEnd - op.stripe * stripeBlocks;
    const firstChunk = Math.floor(from / strip);
    const lastChunk = Math.floor((to - 1) / strip);
    // The first chunk is covered from column a on, the last one up to column b, those between wholly.
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

  /** Columns that fit in the buffers: a slice a member where some are read, all of it for the parity where none is. */
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
    // The parity of an absent member is worked out from data, whenever that is.
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
      // What parity says of the missing member may be nonsense: it must not become the journal's word.
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

  /** Columns in doubt, and others, are written apart: what is known of the others is journaled. */
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

  /** Whether the old parity may be built upon. */
  #isConsistent(op: StripeOp): boolean {
    const start = op.stripe * this.#map.strip + op.c0;
    const count = op.c1 - op.c0;
    return this.#raid.isRangeInSync(start, count);
  }

  /** Reads what the new parity is made from; buffer k of the operation for the k-th slot that is read. */
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
      // The request is to be made again, with another buffer.
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

  /** What the absent member's blocks will be, first of all. */
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

  /** The two ways read different members, so one bad block does not stand in the way of a write. */
  #tryTheOtherWay(io: AnyWriteRequest, op: StripeOp): void {
    if (io.unreadable.some((slot) => !io.hasMember(slot))) {
      // A member left meanwhile: there is a way without it.
      io.forgetUnreadable();
      this.#chooseMode(io, op);
      return;
    }
    const { journaled } = op;
    const isJournaledLost = journaled >= 0 && io.unreadable.includes(journaled) && !holdsWritten(this.#map, op, journaled);
    if (isJournaledLost && !op.isSecondTry && this.#isConsistent(op)) {
      // What it holds is wanted whichever way parity is made, and can be worked out.
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
    // Without a bitmap nothing says that parity is right; but nothing says that it is wrong, and this way it stays what it is.
    const isPossible = isComplete && (other === ParityMode.ReconstructWrite || !this.#isDoubtful(op));
    if (op.isSecondTry || !isPossible) {
      if (isComplete && op.c1 - op.c0 > 1) this.#halve(io, op);
      else this.#fail(io, Status.IoError);
      return;
    }
    for (const slot of io.unreadable) {
      // What is about to be written needs no repair.
      const isStale = holdsWritten(this.#map, op, slot) || slot === this.#map.paritySlot(op.stripe);
      if (!isStale) io.requestRepair(slot, op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
    }
    op.isSecondTry = true;
    io.forgetUnreadable();
    op.mode = other;
    this.#preRead(io, op);
  }

  /** What cannot be read either way are different columns, perhaps: each half has a way then. */
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

  /** The exclusive or of the first sources, which are more than the kernel takes at a time where old and new data of many members are. */
  #xor(dst: number, count: number, bytes: number): void {
    const { kernels } = this.#raid.memory;
    let done = Math.min(count, mostSources);
    kernels.xor(dst, this.#sources, done, bytes);
    while (done < count) {
      // What there is already is the first source of the next step.
      const step = Math.min(count - done, mostSources - 1);
      this.#sources[0] = dst;
      this.#sources.copyWithin(1, done, done + step);
      kernels.xor(dst, this.#sources, step + 1, bytes);
      done += step;
    }
  }

  /** What the missing member holds, from all the others; the last buffer is free for it. */
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
    // Reads and the journal were waited for: with one more member gone, parity would not stand for what is passed over.
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

  /** All chunks of whole stripes, parity too, become zeros: one part a member. */
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

  /** A rectangle is on the members, or has failed on some: is what they hold still of one piece? */
  readonly #onWritten = (io: AnyWriteRequest): void => {
    const op = opOf(io);
    // The parity, which it may still read.
    if (io.stepStatus === Status.TimedOut) op.isTaken = true;
    const start = op.stripe * this.#map.strip + op.c0;
    const count = op.c1 - op.c0;
    if (io.failed.length === 0) {
      // Without parity there is none to be wrong: a rebuild makes it from data.
      if (op.mode !== ParityMode.ReadModifyWrite && op.mode !== ParityMode.Everything)
        this.#raid.markInSync(start, count, op.mode === ParityMode.Full);
      this.#next(io, op);
      return;
    }
    io.takeOutFailed();
    if (io.failed.some((slot) => io.hasMember(slot))) {
      // Data and parity do not belong together any more, and the member that missed it could not be left out to make them: the
      // array has none to lose. A member that is being filled is none either. Without parity there is none to be wrong.
      if (op.mode === ParityMode.None) this.#end(io);
      else if (io.phase === Phase.Write) this.#refused.start(io);
      else this.#onFailureSettled(io, false);
      return;
    }
    // Those that failed are out, perhaps since an earlier rectangle: the rest goes to the others.
    this.#continue(io);
  };

  /** The request ends with an error. */
  #onFailureSettled(io: AnyWriteRequest, isAsBefore: boolean): void {
    const op = opOf(io);
    if (!isAsBefore) this.#raid.markInconsistent(op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
    this.#end(io);
  }

  /** After a rectangle that a member has missed. */
  readonly #continue = (io: AnyWriteRequest): void => {
    const op = opOf(io);
    if (!op.isTaken || this.#buffers.renew(io, op, this.#continue)) this.#next(io, op);
  };

  /** The request cannot go on. What it has left undone on a member makes the parity of all its columns doubtful. */
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

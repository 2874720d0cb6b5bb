import { Status } from '@raidkit/core/level';
import type { AnyWriteRequest, JournalRange, RangeLocks, RedundantContext, StripeBuffers } from '@raidkit/core/level';
import { gfPower } from '@raidkit/parity';
import type { StripeMap } from './stripe-map.js';
import { ParityMode, mostLost, opOf } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';
import { Stripe } from './stripe.js';

const noRanges: readonly JournalRange[] = [];

/** What is being written, kept in `phase` of the request: a rectangle, or zeroes to whole stripes. */
const Phase = { Rectangle: 1, ZeroStripes: 2 } as const;

/**
 * Writes data with both parities. A request is split into rectangles, each a run of chunks over a run of columns that the
 * request covers wholly. They are written one after another, with the request's columns locked throughout. For each: read what
 * the new parities need, compute them, write data and parities in parallel.
 */
export class StripeWriter {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #columns: RangeLocks;
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #stripe: Stripe;

  constructor(raid: RedundantContext, map: StripeMap, columns: RangeLocks, buffers: StripeBuffers<StripeOp>) {
    this.#raid = raid;
    this.#map = map;
    this.#columns = columns;
    this.#buffers = buffers;
    this.#stripe = new Stripe(raid, map, buffers);
  }

  /** A write within one stripe, or an unmap or write zeroes of any range. */
  start(io: AnyWriteRequest): void {
    const { strip, stripeBlocks } = this.#map;
    const end = io.offsetBlocks + io.numBlocks;
    const firstStripe = this.#map.stripeOf(io.offsetBlocks);
    const lastStripe = this.#map.stripeOf(end - 1);
    const from = io.offsetBlocks - firstStripe * stripeBlocks;
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
    for (;;) {
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
      if (io.kind !== 'unmap' && this.#nextRectangle(io, op, stripeEnd)) {
        // To set a length, also to what it is, is a call of V8's runtime.
        if (op.unreadable.length > 0) op.unreadable.length = 0;
        op.isTorn = false;
        this.#chooseMode(io, op);
        return;
      }
      // Partial stripes of an unmap keep their contents, and a stripe without another rectangle is done.
      op.doneTo = stripeEnd;
      op.column = 0;
    }
  }

  /** Sets the operation's rectangle to the next one of the stripe that contains `op.doneTo`; returns false if there is none. */
  #nextRectangle(io: AnyWriteRequest, op: StripeOp, stripeEnd: number): boolean {
    const { strip, stripeBlocks } = this.#map;
    const { sliceBlocks } = this.#buffers;
    const most = io.journalSlots.length > 0 ? Math.min(sliceBlocks, this.#raid.mostJournalBlocks) : sliceBlocks;
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
      op.c1 = Math.min(c1, c0 + most);
      op.column = op.c1;
      if (op.first <= op.last) return true;
      op.column = c1;
    }
  }

  /**
   * Chooses how the rectangle's parities are computed, with the members that are present and without the blocks that could not
   * be read.
   */
  #chooseMode(io: AnyWriteRequest, op: StripeOp): void {
    const { dataChunks, members } = this.#map;
    if (op.lost.length > 0) op.lost.length = 0;
    for (let slot = 0; slot < members; slot++) if (!io.hasMember(slot) || op.unreadable.includes(slot)) op.lost.push(slot);
    op.numMissing = this.#countMissing(io);
    if (op.numMissing > mostLost) {
      this.#fail(io, Status.NoDevice);
      return;
    }
    // Columns in doubt are written apart from consistent ones: what is known of the latter is journaled and reconstructed.
    if (op.lost.length > 0 || io.journalSlots.length > 0) this.#cutAtDoubt(op);
    let lostWritten = 0;
    let lostOther = 0;
    for (const slot of op.lost) {
      const place = this.#map.placeOf(op.stripe, slot);
      if (this.#isWritten(op, place)) lostWritten++;
      else if (place < dataChunks) lostOther++;
    }
    let isOtherJournaled = false;
    for (const slot of io.journalSlots) {
      const place = this.#map.placeOf(op.stripe, slot);
      if (place < dataChunks && !this.#isWritten(op, place)) isOtherJournaled = true;
    }
    op.mustVerify = lostOther > 0 && this.#isDoubtful(op);
    const isProven = !op.mustVerify || (!op.isTorn && this.#stripe.canVerify(op));
    const canRecover = op.lost.length <= mostLost && isProven;
    // The missing member's contents as computed from parity may be wrong and must not be journaled.
    op.isUnjournaled = isOtherJournaled && !canRecover;
    op.hasLostOther = lostOther > 0;
    const mode = this.#modeFor(io, op, lostWritten, canRecover, isOtherJournaled && canRecover);
    if (mode === null) {
      // Different members may be unreadable in different columns.
      if (op.unreadable.length > 0 && op.c1 - op.c0 > 1) this.#halve(io, op);
      else this.#fail(io, Status.IoError);
      return;
    }
    op.mode = mode;
    this.#preRead(io, op);
  }

  /** Returns null if the parities cannot be computed. */
  #modeFor(
    io: AnyWriteRequest,
    op: StripeOp,
    lostWritten: number,
    canRecover: boolean,
    wantsEverything: boolean,
  ): ParityMode | null {
    const { dataChunks } = this.#map;
    const written = op.last - op.first + 1;
    const p = this.#map.pSlot(op.stripe);
    const q = this.#map.qSlot(op.stripe);
    const numParities = (io.hasMember(p) ? 1 : 0) + (io.hasMember(q) ? 1 : 0);
    if (wantsEverything) return ParityMode.Everything;
    if (numParities === 0) return ParityMode.None;
    if (written === dataChunks) return ParityMode.Full;
    // Parities that could not be read cannot be updated by a difference.
    const canModify = lostWritten === 0 && !op.unreadable.includes(p) && !op.unreadable.includes(q);
    if (op.hasLostOther) {
      if (canModify && op.unreadable.length === 0) return ParityMode.ReadModifyWrite;
      return canRecover ? ParityMode.Everything : null;
    }
    const isShort = written + numParities < dataChunks - written;
    return canModify && isShort && this.#isConsistent(op) ? ParityMode.ReadModifyWrite : ParityMode.ReconstructWrite;
  }

  /** Number of slots without a member. */
  #countMissing(io: AnyWriteRequest): number {
    let count = 0;
    for (let slot = 0; slot < this.#map.members; slot++) if (!io.hasMember(slot)) count++;
    return count;
  }

  #isWritten(op: StripeOp, place: number): boolean {
    return place >= op.first && place <= op.last;
  }

  #cutAtDoubt(op: StripeOp): void {
    const start = op.stripe * this.#map.strip;
    const isFirst = this.#raid.isInconsistent(start + op.c0, 1);
    if (this.#raid.isInconsistent(start + op.c0, op.c1 - op.c0) === isFirst && !isFirst) return;
    let end = op.c0 + 1;
    while (end < op.c1 && this.#raid.isInconsistent(start + end, 1) === isFirst) end++;
    op.c1 = end;
    op.column = end;
  }

  #isDoubtful(op: StripeOp): boolean {
    return this.#raid.isInconsistent(op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
  }

  /** Whether the new parities may be derived from the old ones. */
  #isConsistent(op: StripeOp): boolean {
    return this.#raid.isRangeInSync(op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
  }

  /** Reads what the new parities are computed from. */
  #preRead(io: AnyWriteRequest, op: StripeOp): void {
    const offset = op.stripe * this.#map.strip + op.c0;
    io.forgetUnreadable();
    io.andThen(this.#onPreRead);
    for (let slot = 0; slot < this.#map.members; slot++)
      if (this.#isPreRead(op, slot)) io.readPart(slot, offset, op.c1 - op.c0, this.#stripe.sliceOf(op, slot));
  }

  #isPreRead(op: StripeOp, slot: number): boolean {
    if (op.lost.includes(slot)) return false;
    const place = this.#map.placeOf(op.stripe, slot);
    switch (op.mode) {
      case ParityMode.Full:
      case ParityMode.None:
        return false;
      case ParityMode.Everything:
        return !this.#stripe.isSpared(op, slot);
      case ParityMode.ReadModifyWrite:
        return place >= this.#map.dataChunks || this.#isWritten(op, place);
      default:
        return place < this.#map.dataChunks && !this.#isWritten(op, place);
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
      for (const slot of io.unreadable) {
        if (!io.hasMember(slot) || op.unreadable.includes(slot)) continue;
        op.unreadable.push(slot);
        // Blocks that are about to be overwritten need no repair.
        const place = this.#map.placeOf(op.stripe, slot);
        const isStale = this.#isWritten(op, place) || place >= this.#map.dataChunks;
        if (!isStale) io.requestRepair(slot, op.stripe * this.#map.strip + op.c0, op.c1 - op.c0);
      }
      this.#chooseMode(io, op);
      return;
    }
    if (this.#compute(io, op)) this.#journal(io, op);
    else this.#chooseMode(io, op);
  };

  #halve(io: AnyWriteRequest, op: StripeOp): void {
    op.c1 = op.c0 + Math.floor((op.c1 - op.c0) / 2);
    op.column = op.c1;
    op.unreadable.length = 0;
    op.isTorn = false;
    this.#chooseMode(io, op);
  }

  /**
   * Computes the new parities into their slots' slices. Returns false if they would depend on reconstructed data that the
   * parities disagree on.
   */
  #compute(io: AnyWriteRequest, op: StripeOp): boolean {
    const { dataChunks } = this.#map;
    const { blockSize, memory } = this.#raid;
    const { kernels } = memory;
    const bytes = (op.c1 - op.c0) * blockSize;
    const { addrs } = this.#stripe;
    if (op.mode === ParityMode.None) return true;
    if (op.mode === ParityMode.Everything && op.hasLostOther) {
      this.#stripe.recover(op);
      op.isTorn = op.mustVerify && !this.#stripe.verify(op);
      if (op.isTorn) return false;
    } else {
      this.#stripe.gather(op);
    }
    const p = addrs[dataChunks] ?? 0;
    const q = addrs[dataChunks + 1] ?? 0;
    if (op.mode !== ParityMode.ReadModifyWrite) {
      for (let chunk = op.first; chunk <= op.last; chunk++) addrs[chunk] = this.#newDataAddr(io, op, chunk);
      kernels.pq(p, q, addrs, dataChunks, bytes);
      return true;
    }
    for (let chunk = op.first; chunk <= op.last; chunk++) {
      const old = addrs[chunk] ?? 0;
      if (io.kind === 'write') kernels.xorInto(old, this.#newDataAddr(io, op, chunk), bytes);
      kernels.xorInto(p, old, bytes);
      kernels.gfMulInto(q, old, gfPower(chunk), bytes);
    }
    return true;
  }

  /** Address of the request's data for a chunk of the rectangle. */
  #newDataAddr(io: AnyWriteRequest, op: StripeOp, chunk: number): number {
    const { blockSize, memory } = this.#raid;
    if (io.kind !== 'write') return memory.zeroAddr;
    return io.addr + (this.#arrayBlock(op, chunk) - io.offsetBlocks) * blockSize;
  }

  /** First array block of a chunk of the rectangle. */
  #arrayBlock(op: StripeOp, chunk: number): number {
    return op.stripe * this.#map.stripeBlocks + chunk * this.#map.strip + op.c0;
  }

  /**
   * Journals the future contents of absent members' blocks before anything else is written. If some are in doubt, that is
   * recorded first.
   */
  #journal(io: AnyWriteRequest, op: StripeOp): void {
    op.clearRanges();
    for (const slot of io.journalSlots) {
      const chunk = this.#map.placeOf(op.stripe, slot);
      if (chunk >= this.#map.dataChunks) continue;
      const isWritten = this.#isWritten(op, chunk);
      // If the member has come back, an older journal entry would otherwise be replayed over what is written to it now.
      if (op.isUnjournaled && !isWritten) continue;
      const newAddr = io.kind === 'write' ? this.#newDataAddr(io, op, chunk) : -1;
      op.addRange(this.#arrayBlock(op, chunk), op.c1 - op.c0, isWritten ? newAddr : this.#stripe.sliceOf(op, slot));
    }
    if (op.isUnjournaled) io.journal(noRanges);
    else if (op.ranges.length > 0) io.journal(op.ranges);
    else this.#write(io, op);
  }

  onJournaled(io: AnyWriteRequest, status: Status): void {
    const op = opOf(io);
    if (status === Status.Ok && op.isUnjournaled && op.ranges.length > 0) {
      op.isUnjournaled = false;
      io.journal(op.ranges);
    } else if (status === Status.Ok) this.#write(io, op);
    // The member that was to hold the entry has been removed: others can hold it.
    else if (this.#countMissing(io) > op.numMissing) this.#chooseMode(io, op);
    else this.#fail(io, status);
  }

  #write(io: AnyWriteRequest, op: StripeOp): void {
    // Members may have been lost during the reads and the journal write: parity replaces at most two.
    if (this.#countMissing(io) > mostLost) {
      this.#fail(io, Status.NoDevice);
      return;
    }
    const { dataChunks, members } = this.#map;
    const offset = op.stripe * this.#map.strip + op.c0;
    const count = op.c1 - op.c0;
    io.phase = Phase.Rectangle;
    io.andThen(this.#onWritten);
    for (let slot = 0; slot < members; slot++) {
      if (!io.hasMember(slot)) continue;
      const place = this.#map.placeOf(op.stripe, slot);
      if (this.#isWritten(op, place)) {
        if (io.kind === 'write') io.writePart(slot, offset, count, this.#newDataAddr(io, op, place));
        else io.zeroPart(slot, offset, count);
      } else if (place >= dataChunks && op.mode !== ParityMode.None) {
        io.writePart(slot, offset, count, this.#stripe.sliceOf(op, slot));
      }
    }
  }

  /** Writes zeroes to whole stripes, parities included: one part per member. */
  #zeroStripes(io: AnyWriteRequest, op: StripeOp, first: number, end: number): void {
    if (this.#countMissing(io) > mostLost) {
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
    for (let slot = 0; slot < members; slot++) if (io.hasMember(slot)) io.zeroPart(slot, first * strip, op.c1);
  }

  /** The parts of a rectangle have completed or failed: checks whether the members are still consistent. */
  readonly #onWritten = (io: AnyWriteRequest): void => {
    const op = opOf(io);
    // The timed-out member may still read the parity buffers.
    if (io.stepStatus === Status.TimedOut) op.isTaken = true;
    const start = op.stripe * this.#map.strip + op.c0;
    const count = op.c1 - op.c0;
    const isFromData = op.mode !== ParityMode.ReadModifyWrite && !op.hasLostOther;
    if (io.failed.length === 0) {
      if (isFromData) this.#raid.markInSync(start, count, op.mode === ParityMode.Full);
      this.#next(io, op);
      return;
    }
    io.takeOutFailed();
    if (io.failed.some((slot) => io.hasMember(slot))) {
      // Data and parities are inconsistent, and the member that missed its part could not be removed.
      if (this.#isAmendable(io, op)) this.#readRefused(io, op);
      else this.#leaveInDoubt(io, op);
      return;
    }
    // The failed members have been removed, perhaps since an earlier rectangle, and the parities stand for what they have missed.
    if (isFromData) this.#raid.markInSync(start, count, false);
    // The rest is written to the others.
    this.#continue(io);
  };

  #leaveInDoubt(io: AnyWriteRequest, op: StripeOp): void {
    const start = op.stripe * this.#map.strip + op.c0;
    if (op.mode !== ParityMode.None) this.#raid.markInconsistent(start, op.c1 - op.c0);
    this.#end(io);
  }

  /**
   * Whether the parities can be made to match what the members hold: members refused data, but no parity, for lack of space,
   * and what they hold instead can be read.
   */
  #isAmendable(io: AnyWriteRequest, op: StripeOp): boolean {
    const isParityRefused = [this.#map.pSlot(op.stripe), this.#map.qSlot(op.stripe)].some((slot) => this.#isRefused(io, slot));
    // A buffer that a timed-out device may still read must not be changed.
    const canUse = !op.isTaken && !isParityRefused && op.mode !== ParityMode.None;
    return canUse && io.phase === Phase.Rectangle && io.writeStatus === Status.NoSpace;
  }

  /**
   * Reads what the refusing members hold, so that the parities can be made to match it. Marking the parities inconsistent
   * instead would lose the data of absent members.
   */
  #readRefused(io: AnyWriteRequest, op: StripeOp): void {
    io.andThen(this.#onRefusedRead);
    for (let slot = 0; slot < this.#map.members; slot++)
      if (this.#isRefused(io, slot))
        io.readPart(slot, op.stripe * this.#map.strip + op.c0, op.c1 - op.c0, this.#stripe.sliceOf(op, slot));
  }

  #isRefused(io: AnyWriteRequest, slot: number): boolean {
    return io.failed.includes(slot) && io.hasMember(slot);
  }

  readonly #onRefusedRead = (io: AnyWriteRequest): void => {
    const op = opOf(io);
    if (io.stepStatus !== Status.Ok) {
      this.#leaveInDoubt(io, op);
      return;
    }
    const { blockSize, memory } = this.#raid;
    const { kernels } = memory;
    const bytes = (op.c1 - op.c0) * blockSize;
    const parities = [this.#map.pSlot(op.stripe), this.#map.qSlot(op.stripe)] as const;
    const [p, q] = [this.#stripe.sliceOf(op, parities[0]), this.#stripe.sliceOf(op, parities[1])];
    for (let slot = 0; slot < this.#map.members; slot++) {
      if (!this.#isRefused(io, slot)) continue;
      // The parities match the data that was to be written; adding the difference makes them match what is held.
      const chunk = this.#map.placeOf(op.stripe, slot);
      const held = this.#stripe.sliceOf(op, slot);
      if (io.kind === 'write') kernels.xorInto(held, this.#newDataAddr(io, op, chunk), bytes);
      kernels.xorInto(p, held, bytes);
      kernels.gfMulInto(q, held, gfPower(chunk), bytes);
    }
    io.andThen(this.#onAmended);
    for (const slot of parities)
      if (io.hasMember(slot))
        io.writePart(slot, op.stripe * this.#map.strip + op.c0, op.c1 - op.c0, this.#stripe.sliceOf(op, slot));
  };

  readonly #onAmended = (io: AnyWriteRequest): void => {
    if (io.stepStatus === Status.Ok) this.#end(io);
    else this.#leaveInDoubt(io, opOf(io));
  };

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

import { IoType, RangeLock, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner, RangeLocks } from '@raidkit/bdev';
import { summedBytes } from './area.js';
import type { EdgeWaiter } from './edge-buffers.js';
import type { PageFrame, PageOwner, PageWaiter } from './page-cache.js';

const noOwner: IoOwner = {
  onIoDone() {
    throw new Error('an I/O that was not started has ended');
  },
};

/** The checksums of a device, as used by {@link CheckedIo}. Blocks are of {@link summedBytes}, from the data offset. */
export interface CheckedIoHost {
  /** Locks on ranges of blocks. A write holds its blocks exclusively. */
  readonly locks: RangeLocks;
  readonly isOpen: boolean;
  /** Submits the I/O to the device, which must be open. */
  submitToDevice(io: BdevIo): void;
  /** Reads one block without verifying it. The owner must return the I/O with `putPart`. The device must be open. */
  readBlock(owner: IoOwner, block: number, addr: number): void;
  putPart(io: BdevIo): void;
  getEdges(waiter: EdgeWaiter): void;
  putEdges(first: number, second: number): void;
  /** Copies bytes within the memory; zeros them if `src` is -1. */
  put(dst: number, src: number, bytes: number): void;
  soon(fn: () => void): void;
  /** Reads the block's page ahead of its use. */
  prefetch(block: number): void;
  /** Whether blocks `[block, end)` begin with all blocks of one page. */
  isWholePage(block: number, end: number): boolean;
  /**
   * Returns the page with the block's checksum, now or later: see `PageCache.get`. `mustHaveAll`: if it lacks valid checksums
   * that another read of the device may return, it is read again.
   */
  pageOf(block: number, waiter: PageWaiter, mustHaveAll: boolean): PageFrame | null;
  /** Returns the first block after the page of this block. */
  endOfPage(block: number): number;
  /**
   * Returns the first of blocks `[block, end)`, whose data is at `addr`, that does not match; `end` if all match. All must be
   * of this page.
   */
  findWrong(frame: PageFrame, block: number, end: number, addr: number): number;
  /** Sets the checksums of blocks `[block, end)`, which were written; their data is at `addr`. All must be of this page. */
  set(frame: PageFrame, block: number, end: number, addr: number): void;
  /** As {@link set}, for those of the blocks that have no checksum yet and whose data equals that at `like`. */
  setMissing(frame: PageFrame, block: number, end: number, addr: number, like: number): void;
  /** As {@link set}, for zeros. */
  setZero(frame: PageFrame, block: number, end: number): void;
  /** Removes the checksums, because it is unknown what the device has there. */
  setNone(frame: PageFrame, block: number, end: number): void;
  /** Marks the checksums as lost, so that the blocks do not match. */
  setLost(frame: PageFrame, block: number, end: number): void;
  onDamage(block: number, frame: PageFrame): void;
  /** Part of the block was written, and the rest of it is lost. */
  onLost(block: number): void;
  /** The object is free. Called just before the I/O's owner is notified. */
  ended(checked: CheckedIo): void;
}

/** What the I/O is waiting for. */
const Phase = {
  /** For a write: the blocks that it covers in part, and their checksums. */
  Edges: 0,
  /** The I/O on the device. */
  Data: 1,
  /** The pages with the checksums. */
  Sums: 2,
} as const;
type Phase = (typeof Phase)[keyof typeof Phase];

/**
 * One I/O to a device's data, with the checksums of its blocks. It is pooled and takes the place of the I/O's owner.
 * Checksummed blocks that the I/O covers only in part (on devices with smaller blocks) are its edges: they are read completely.
 */
export class CheckedIo implements IoOwner, PageWaiter, EdgeWaiter {
  nextWaiter: PageWaiter | null = null;
  wantedOf: PageOwner | null = null;
  wantedPage = -1;
  setsAll = false;
  nextEdgeWaiter: EdgeWaiter | null = null;
  readonly #sums: CheckedIoHost;
  readonly #lock: RangeLock;
  #io: BdevIo | null = null;
  #owner: IoOwner = noOwner;
  #phase: Phase = Phase.Data;
  /** In checksummed blocks from the data offset: the first one, the one to process next, and the end. */
  #first = 0;
  #at = 0;
  #end = 0;
  /** Number of bytes of the first block before the I/O, and of the last block after it. */
  #before = 0;
  #behind = 0;
  /** Buffers for the edges; -1 if there are none. */
  #headAddr = -1;
  #tailAddr = -1;
  /** The rest of the edge block is damaged or unreadable, so the block cannot get a valid checksum. */
  #isHeadLost = false;
  #isTailLost = false;
  /** Number of I/Os in flight on the device. */
  #partsLeft = 0;
  #partStatus: Status = Status.Ok;
  /** The data was read under a lock that excludes writes, so a mismatch is damage. */
  #isAlone = false;
  #isDamaged = false;
  /** For a read that gives blocks without checksum one, if the data equals that at this address; -1 for other I/O. */
  #likeAddr = -1;

  constructor(sums: CheckedIoHost) {
    this.#sums = sums;
    this.#lock = new RangeLock(() => this.#onLocked());
  }

  /** `offset` is the I/O's byte offset in the data area. */
  start(io: BdevIo, offset: number, lengthBytes: number, likeAddr = -1): void {
    this.#io = io;
    this.#owner = io.owner;
    io.owner = this;
    this.#first = Math.floor(offset / summedBytes);
    this.#end = Math.ceil((offset + lengthBytes) / summedBytes);
    this.#before = offset - this.#first * summedBytes;
    this.#behind = this.#end * summedBytes - offset - lengthBytes;
    this.#isAlone = false;
    this.#isDamaged = false;
    this.#isHeadLost = false;
    this.#isTailLost = false;
    this.#likeAddr = likeAddr;
    this.setsAll = false;
    if (io.type === IoType.Read || !this.#sums.isWholePage(this.#first, this.#end)) this.#sums.prefetch(this.#first);
    if (io.type === IoType.Read && likeAddr < 0) this.#begin();
    else this.#acquire(false);
  }

  onIoDone(part: BdevIo): void {
    const { status } = part;
    if (part !== this.#io) {
      if (status !== Status.Ok && this.#phase === Phase.Edges) this.#lose(part.addr === this.#headAddr);
      this.#sums.putPart(part);
    }
    // After a timeout the device may still access the buffer, so the caller must get that status rather than another error.
    if (status === Status.TimedOut || this.#partStatus === Status.Ok) this.#partStatus = status;
    if (--this.#partsLeft > 0) return;
    const io = this.#request();
    if (this.#phase === Phase.Edges) {
      this.#at = this.#first;
      this.#checkEdges(io);
      return;
    }
    io.status = this.#partStatus;
    if (io.type === IoType.Read && io.status !== Status.Ok) this.#finish(io);
    else this.#beginSums(io);
  }

  onPage(frame: PageFrame): void {
    const io = this.#request();
    if (this.#phase === Phase.Edges) {
      this.#checkEdge(frame);
      this.#checkEdges(io);
    } else if (this.#usePage(io, frame)) {
      this.#continue(io);
    }
  }

  onEdges(first: number, second: number): void {
    this.#headAddr = first;
    this.#tailAddr = second;
    this.#begin();
  }

  get #hasHead(): boolean {
    return this.#before > 0 || (this.#behind > 0 && this.#end - this.#first === 1);
  }

  get #hasTail(): boolean {
    return this.#behind > 0 && this.#end - this.#first > 1;
  }

  #acquire(isShared: boolean): void {
    const lock = this.#lock;
    lock.start = this.#first;
    lock.end = this.#end;
    lock.isShared = isShared;
    if (this.#sums.locks.acquire(lock)) this.#onLocked();
  }

  #onLocked(): void {
    this.#isAlone = true;
    this.#begin();
  }

  #begin(): void {
    const io = this.#request();
    this.#partStatus = Status.Ok;
    const needsEdges = (this.#hasHead || this.#hasTail) && io.type !== IoType.Unmap;
    if (needsEdges && this.#headAddr < 0) {
      this.#sums.getEdges(this);
      return;
    }
    if (!this.#sums.isOpen) {
      this.#endLater(io);
      return;
    }
    const isRead = io.type === IoType.Read;
    this.#phase = needsEdges && !isRead ? Phase.Edges : Phase.Data;
    // A read that lies within one edge block needs no other read.
    const isWhole = !(isRead && this.#hasHead && this.#end - this.#first === 1);
    const withData = this.#phase === Phase.Data && isWhole;
    this.#partsLeft = (withData ? 1 : 0) + (needsEdges ? (this.#hasHead ? 1 : 0) + (this.#hasTail ? 1 : 0) : 0);
    if (needsEdges && this.#hasHead) this.#sums.readBlock(this, this.#first, this.#headAddr);
    if (needsEdges && this.#hasTail) this.#sums.readBlock(this, this.#end - 1, this.#tailAddr);
    if (withData) this.#sums.submitToDevice(io);
  }

  /** The device was closed while this waited. The caller is notified in a later turn, as always. */
  #endLater(io: BdevIo): void {
    io.status = Status.NoDevice;
    this.#sums.soon(() => this.#finish(io));
  }

  /** Verifies the edges of a write, then submits it to the device. */
  #checkEdges(io: BdevIo): void {
    while (this.#at < this.#end) {
      const isEdge = (this.#at === this.#first && this.#hasHead) || (this.#at === this.#end - 1 && this.#hasTail);
      if (isEdge) {
        const frame = this.#sums.pageOf(this.#at, this, true);
        if (frame === null) return;
        this.#checkEdge(frame);
      } else {
        this.#at = this.#hasTail ? this.#end - 1 : this.#end;
      }
    }
    this.#merge(io);
    this.#phase = Phase.Data;
    this.#partStatus = Status.Ok;
    this.#partsLeft = 1;
    if (this.#sums.isOpen) this.#sums.submitToDevice(io);
    else this.#endLater(io);
  }

  #checkEdge(frame: PageFrame): void {
    const at = this.#at++;
    const isHead = at === this.#first && this.#hasHead;
    if (isHead ? this.#isHeadLost : this.#isTailLost) return;
    if (this.#sums.findWrong(frame, at, at + 1, isHead ? this.#headAddr : this.#tailAddr) > at) return;
    this.#sums.onDamage(at, frame);
    this.#lose(isHead);
  }

  #lose(isHead: boolean): void {
    if (isHead) this.#isHeadLost = true;
    else this.#isTailLost = true;
  }

  /** Copies the written part of the edge blocks into their buffers, next to what was read. */
  #merge(io: BdevIo): void {
    if (this.#hasHead) {
      const bytes = Math.min(summedBytes - this.#before, this.#lengthBytes);
      this.#sums.put(this.#headAddr + this.#before, io.type === IoType.Write ? io.addr : -1, bytes);
    }
    if (this.#hasTail) {
      const bytes = summedBytes - this.#behind;
      this.#sums.put(this.#tailAddr, io.type === IoType.Write ? io.addr + this.#lengthBytes - bytes : -1, bytes);
    }
  }

  get #lengthBytes(): number {
    return (this.#end - this.#first) * summedBytes - this.#before - this.#behind;
  }

  #beginSums(io: BdevIo): void {
    this.#phase = Phase.Sums;
    this.#at = this.#first;
    this.#continue(io);
  }

  /** Processes page after page as they become available. */
  #continue(io: BdevIo): void {
    while (this.#at < this.#end) {
      this.setsAll = io.type !== IoType.Read && this.#sums.isWholePage(this.#at, this.#end);
      const frame = this.#sums.pageOf(this.#at, this, this.#isAlone);
      if (frame === null || !this.#usePage(io, frame)) return;
    }
    if (this.#isDamaged) io.status = Status.IoError;
    else if (io.type === IoType.Read) this.#copyEdges(io);
    this.#finish(io);
  }

  /** Returns the edge data that was verified. */
  #copyEdges(io: BdevIo): void {
    if (this.#hasHead) {
      this.#sums.put(io.addr, this.#headAddr + this.#before, Math.min(summedBytes - this.#before, this.#lengthBytes));
    }
    if (this.#hasTail) {
      const bytes = summedBytes - this.#behind;
      this.#sums.put(io.addr + this.#lengthBytes - bytes, this.#tailAddr, bytes);
    }
  }

  /** Processes the checksums in this page. Returns false if the I/O starts again. */
  #usePage(io: BdevIo, frame: PageFrame): boolean {
    const limit = Math.min(this.#end, this.#sums.endOfPage(this.#at));
    while (this.#at < limit) {
      const end = Math.min(limit, this.#endOfRun(this.#at));
      if (io.type !== IoType.Read) this.#set(io, frame, end);
      else if (!this.#verify(frame, end)) return false;
      else if (this.#likeAddr >= 0) this.#setMissing(io, frame, end);
      this.#at = end;
    }
    return true;
  }

  /** Returns the end of the blocks from `block` on that are contiguous in memory. */
  #endOfRun(block: number): number {
    if (block === this.#first && this.#hasHead) return block + 1;
    return this.#hasTail && block < this.#end - 1 ? this.#end - 1 : this.#end;
  }

  #set(io: BdevIo, frame: PageFrame, end: number): void {
    const sums = this.#sums;
    const isHead = this.#at === this.#first && this.#hasHead;
    const isTail = this.#at === this.#end - 1 && this.#hasTail;
    if ((isHead && this.#isHeadLost) || (isTail && this.#isTailLost)) {
      sums.setLost(frame, this.#at, end);
      sums.onLost(this.#at);
    } else if (io.status !== Status.Ok || io.type === IoType.Unmap) sums.setNone(frame, this.#at, end);
    else if (io.type === IoType.WriteZeroes && !isHead && !isTail) sums.setZero(frame, this.#at, end);
    else sums.set(frame, this.#at, end, this.#addrOf(io, this.#at));
  }

  #setMissing(io: BdevIo, frame: PageFrame, end: number): void {
    const like = this.#likeAddr + (this.#at - this.#first) * summedBytes;
    this.#sums.setMissing(frame, this.#at, end, this.#addrOf(io, this.#at), like);
  }

  /** Returns false if a block does not match but a write may have been in flight: the blocks are read again under a lock. */
  #verify(frame: PageFrame, end: number): boolean {
    const io = this.#request();
    for (let at = this.#at; ; at++) {
      at = this.#sums.findWrong(frame, at, end, this.#addrOf(io, at));
      if (at === end) return true;
      if (!this.#isAlone) {
        // The holder of the lock may be waiting for edge buffers.
        this.#putEdges();
        this.#acquire(true);
        return false;
      }
      this.#isDamaged = true;
      this.#sums.onDamage(at, frame);
    }
  }

  #addrOf(io: BdevIo, block: number): number {
    if (block === this.#first && this.#hasHead) return this.#headAddr;
    if (block === this.#end - 1 && this.#hasTail) return this.#tailAddr;
    return io.addr - this.#before + (block - this.#first) * summedBytes;
  }

  #finish(io: BdevIo): void {
    const owner = this.#owner;
    const sums = this.#sums;
    io.owner = owner;
    this.#io = null;
    this.#owner = noOwner;
    this.#putEdges();
    if (this.#lock.isHeld) sums.locks.release(this.#lock);
    sums.ended(this);
    owner.onIoDone(io);
  }

  #putEdges(): void {
    if (this.#headAddr >= 0) this.#sums.putEdges(this.#headAddr, this.#tailAddr);
    this.#headAddr = -1;
    this.#tailAddr = -1;
  }

  #request(): BdevIo {
    if (this.#io === null) throw new Error('a checked I/O continues after its end');
    return this.#io;
  }
}

import { IoType, RangeLock, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner } from '@raidkit/bdev';
import { summedBytes } from './area.js';
import type { MemberSums } from './member-sums.js';
import type { PageFrame, PageOwner, PageWaiter } from './page-cache.js';

const nobody: IoOwner = {
  onIoDone() {
    throw new Error('an I/O ended that nobody has begun');
  },
};

/** One I/O on its way to a device's data and back, with the sums of its blocks. Pooled; it stands in for the I/O's owner. */
export class CheckedIo implements IoOwner, PageWaiter {
  nextWaiter: PageWaiter | null = null;
  wantedOf: PageOwner | null = null;
  wantedPage = -1;
  readonly #sums: MemberSums;
  readonly #lock: RangeLock;
  #io: BdevIo | null = null;
  #owner: IoOwner = nobody;
  /** Blocks from the data offset on: the first one, the one whose sum is next, and the end. */
  #first = 0;
  #at = 0;
  #end = 0;
  /** The data was read while nobody could write: what does not match now is damage. */
  #isAlone = false;
  #isDamaged = false;

  constructor(sums: MemberSums) {
    this.#sums = sums;
    this.#lock = new RangeLock(() => this.#onLocked());
  }

  start(io: BdevIo, first: number): void {
    this.#io = io;
    this.#owner = io.owner;
    io.owner = this;
    this.#first = first;
    this.#at = first;
    this.#end = first + io.numBlocks;
    this.#isAlone = false;
    this.#isDamaged = false;
    this.#sums.prefetch(first);
    if (io.type === IoType.Read) this.#submit(io);
    else this.#acquire(false);
  }

  onIoDone(io: BdevIo): void {
    const hasFailed = io.status !== Status.Ok;
    if (hasFailed && io.type === IoType.Read) this.#finish(io);
    else this.#goOn(io);
  }

  onPage(frame: PageFrame): void {
    const io = this.#request();
    if (this.#usePage(io, frame)) this.#goOn(io);
  }

  #acquire(isShared: boolean): void {
    const lock = this.#lock;
    lock.start = this.#first;
    lock.end = this.#end;
    lock.isShared = isShared;
    if (this.#sums.locks.acquire(lock)) this.#onLocked();
  }

  #onLocked(): void {
    const io = this.#request();
    this.#isAlone = true;
    this.#submit(io);
  }

  #submit(io: BdevIo): void {
    if (this.#sums.submitToDevice(io)) return;
    // The device went while this waited; never in the turn of the first call.
    io.status = Status.NoDevice;
    this.#finish(io);
  }

  /** Page after page, as they come. */
  #goOn(io: BdevIo): void {
    while (this.#at < this.#end) {
      const frame = this.#sums.pageOf(this.#at, this);
      if (frame === null || !this.#usePage(io, frame)) return;
    }
    if (this.#isDamaged) io.status = Status.IoError;
    this.#finish(io);
  }

  /** Does what is to be done with the sums that are in this page. False: the I/O begins anew. */
  #usePage(io: BdevIo, frame: PageFrame): boolean {
    const sums = this.#sums;
    const end = Math.min(this.#end, sums.endOfPage(this.#at));
    if (io.type === IoType.Read) {
      if (!this.#verify(io, frame, end)) return false;
    } else if (io.status !== Status.Ok || io.type === IoType.Unmap) {
      sums.setNone(frame, this.#at, end);
    } else if (io.type === IoType.WriteZeroes) {
      sums.setZero(frame, this.#at, end);
    } else {
      sums.set(frame, this.#at, end, this.#addrOf(io, this.#at));
    }
    this.#at = end;
    return true;
  }

  /** False: a write may have been under way; it is read once more, alone. */
  #verify(io: BdevIo, frame: PageFrame, end: number): boolean {
    for (let at = this.#at; ; at++) {
      at = this.#sums.findWrong(frame, at, end, this.#addrOf(io, at));
      if (at === end) return true;
      if (!this.#isAlone) {
        this.#at = this.#first;
        this.#acquire(true);
        return false;
      }
      this.#isDamaged = true;
      this.#sums.onDamage(at);
    }
  }

  #addrOf(io: BdevIo, block: number): number {
    return io.addr + (block - this.#first) * summedBytes;
  }

  #finish(io: BdevIo): void {
    const owner = this.#owner;
    io.owner = owner;
    this.#io = null;
    this.#owner = nobody;
    if (this.#lock.isHeld) this.#sums.locks.release(this.#lock);
    this.#sums.ended(this);
    owner.onIoDone(io);
  }

  #request(): BdevIo {
    if (this.#io === null) throw new Error('a checked I/O goes on after its end');
    return this.#io;
  }
}

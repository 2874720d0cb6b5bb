import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BdevRegistry, IoOwner } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import { ReplenishedPool } from '../level/replenished-pool.js';

/** Largest number of pages being written at a time. */
const mostWrites = 32;

/** How often a page is read before its checksums are taken as lost. */
const mostReads = 3;
/** Read errors that are not retried, because the device is gone or the I/O has already taken the longest allowed time. */
const finalErrors: readonly Status[] = [Status.TimedOut, Status.NoDevice, Status.Gone, Status.Cancelled];

/** The owner of pages in the cache: the checksums of one device. */
export interface PageOwner {
  /** Submits an I/O on the page of this number. The owner knows where the page is on the device. */
  submitPage(io: BdevIo, page: number): void;
  /** An I/O on a page has ended and its consequences have been handled. */
  onPageIoDone(): void;
  /** An I/O on a page timed out. Called before a page is requested again. */
  onPageGivenUp(): void;
  /**
   * The memory at `addr` holds the page as it was read, or could not be read (`isRead` false). Replaces checksums that are not
   * valid, and returns whether that changed the page. If it lacks valid checksums and `mayReadAgain` is true, returns null and
   * does nothing.
   */
  adopt(page: number, addr: number, isRead: boolean, mayReadAgain: boolean): boolean | null;
  /** The caller is about to set the whole page. It was not read and is all zeros. */
  adoptEmpty(page: number): void;
  /** Makes the bytes at `addr` a valid page of this number. */
  seal(addr: number, page: number): void;
  /** The page could not be written. It stays in memory as long as the cache has room for all other pages. */
  onPageNotWritten(page: number, status: Status): void;
  /** The page leaves the memory without its changes having been written. The device has what it had before. */
  onPageDropped(page: number): void;
}

/** A request that waits for a page. It may use the frame only until `onPage` returns. */
export interface PageWaiter {
  onPage(frame: PageFrame): void;
  // Fields for the cache while the request waits.
  nextWaiter: PageWaiter | null;
  wantedOf: PageOwner | null;
  wantedPage: number;
  /** The request sets the whole page as soon as it gets it, so the page need not be read. */
  setsAll: boolean;
}

const FrameState = { Free: 0, Loading: 1, Ready: 2 } as const;
type FrameState = (typeof FrameState)[keyof typeof FrameState];

/** Memory for one page, and the state of its I/O. */
export class PageFrame implements IoOwner {
  addr: number;
  /** The memory was changed since the page was written to the device. Set by the code that changes it. */
  isDirty = false;

  // Fields for the cache.
  owner: PageOwner | null = null;
  page = -1;
  state: FrameState = FrameState.Free;
  isWriting = false;
  /** The page was used since the cache last searched for a frame. */
  isUsed = false;
  /** Waiting requests are being called. */
  isTelling = false;
  /** The last write failed and has not been retried. */
  isStuck = false;
  /** Number of reads since the page was requested. */
  reads = 0;
  /** Number of writes that have ended, and the status of the last one. */
  writes = 0;
  lastWriteStatus: Status = Status.Ok;
  readonly waiters = new WaiterQueue();
  readonly #cache: PageCache;

  constructor(cache: PageCache, addr: number) {
    this.#cache = cache;
    this.addr = addr;
  }

  onIoDone(io: BdevIo): void {
    this.#cache.onFrameIo(this, io);
  }
}

class WaiterQueue {
  #first: PageWaiter | null = null;
  #last: PageWaiter | null = null;

  get first(): PageWaiter | null {
    return this.#first;
  }

  push(waiter: PageWaiter): void {
    waiter.nextWaiter = null;
    if (this.#last === null) this.#first = waiter;
    else this.#last.nextWaiter = waiter;
    this.#last = waiter;
  }

  shift(): PageWaiter | null {
    const waiter = this.#first;
    if (waiter === null) return null;
    this.#first = waiter.nextWaiter;
    if (this.#first === null) this.#last = null;
    waiter.nextWaiter = null;
    return waiter;
  }
}

/**
 * Cache for pages of checksums: a fixed number of pages for all devices of a registry. A page is read when a request needs it,
 * and written before its frame is reused or when its owner asks for that. A request uses a page within one turn only, so no
 * request waits for a frame that another waiting request holds.
 */
export class PageCache {
  readonly #registry: BdevRegistry;
  readonly #pageBytes: number;
  readonly #pool: BufferPool;
  /** Pages are copied here before they are written, because the memory must not change while the device writes it. */
  readonly #writePool: ReplenishedPool;
  readonly #frames: PageFrame[];
  readonly #pages = new Map<PageOwner, Map<number, PageFrame>>();
  /** Index at which the search for a frame continues. */
  #hand = 0;
  #iosInFlight = 0;
  #writesInFlight = 0;
  /** Requests that wait for a frame. */
  readonly #wishes = new WaiterQueue();
  /** Frames that are set without being read. Each is handled in a turn of its own. */
  readonly #unread: PageFrame[] = [];
  #onWrite: (() => void)[] = [];

  /** `numPages` is 1 or more. Throws a `BufferMemoryError` if there is not enough memory. */
  constructor(registry: BdevRegistry, numPages: number, pageBytes: number) {
    const { memory } = registry.runtime;
    this.#registry = registry;
    this.#pageBytes = pageBytes;
    this.#pool = new BufferPool(memory, { slotBytes: pageBytes, count: numPages, onFree: () => this.#onMemory() });
    try {
      this.#writePool = new ReplenishedPool(memory, {
        slotBytes: pageBytes,
        count: Math.min(numPages, mostWrites),
        onLateRelease: () => this.#onMemory(),
      });
    } catch (error) {
      this.#pool.close();
      throw error;
    }
    this.#frames = Array.from({ length: numPages }, () => new PageFrame(this, this.#pool.get()));
  }

  /** Adds an owner, which has no pages yet. */
  add(owner: PageOwner): void {
    this.#pages.set(owner, new Map());
  }

  /** Drops the owner's pages, written or not. None of them may have I/O in flight or waiting requests. */
  remove(owner: PageOwner): void {
    for (const frame of [...(this.#pages.get(owner)?.values() ?? [])]) this.#free(frame);
    this.#pages.delete(owner);
    this.#serve();
  }

  /**
   * Marks those of the owner's pages in memory as dirty for which `isWanted` is true, because the device may have lost them.
   * Returns the numbers of these and of those that were dirty already.
   */
  markDirty(owner: PageOwner, isWanted: (page: number) => boolean): number[] {
    const marked: number[] = [];
    for (const [page, frame] of this.#pages.get(owner) ?? []) {
      if (frame.state !== FrameState.Ready || !(frame.isDirty || isWanted(page))) continue;
      frame.isDirty = true;
      marked.push(page);
    }
    return marked;
  }

  /** Frees the memory. All owners must have been removed. */
  close(): void {
    for (const { addr } of this.#frames) this.#pool.put(addr);
    this.#pool.close();
    this.#writePool.close();
  }

  /**
   * Returns the page's frame, for use until the caller returns. Returns null if it must be read; the waiter is called in a
   * later turn.
   */
  get(owner: PageOwner, page: number, waiter: PageWaiter): PageFrame | null {
    const frame = this.#find(owner, page);
    if (frame?.state === FrameState.Ready) {
      // A page that is only written may be the next to be evicted.
      if (!waiter.setsAll) frame.isUsed = true;
      return frame;
    }
    if (frame !== undefined) {
      frame.waiters.push(waiter);
      return null;
    }
    const room = this.#wishes.first === null ? this.#makeRoom() : null;
    if (room === null) {
      waiter.wantedOf = owner;
      waiter.wantedPage = page;
      this.#wishes.push(waiter);
    } else {
      room.waiters.push(waiter);
      this.#load(room, owner, page, waiter.setsAll);
    }
    return null;
  }

  /** Drops the page unless it has changes that are not on the device, so that it is read again. */
  forget(owner: PageOwner, page: number): void {
    const frame = this.#find(owner, page);
    if (frame?.state !== FrameState.Ready || frame.isDirty || frame.isWriting || frame.isTelling) return;
    this.#free(frame);
    this.#serve();
  }

  /** Reads the page ahead of its use if it is not in memory and a frame is available. */
  prefetch(owner: PageOwner, page: number): void {
    if (this.#wishes.first !== null || this.#find(owner, page) !== undefined) return;
    const room = this.#makeRoom();
    if (room !== null) this.#load(room, owner, page, false);
  }

  /**
   * Writes those of the owner's pages for which `isWanted` is true, as they are now. Resolves when they are on the device,
   * though perhaps only in its cache. Rejects with a {@link PageNotWritten}, after all have been tried, if one could not be
   * written.
   */
  async writeOut(owner: PageOwner, isWanted: (page: number) => boolean): Promise<void> {
    const wanted: number[] = [];
    for (const [page, frame] of this.#pages.get(owner) ?? []) {
      if ((frame.isDirty || frame.isWriting) && isWanted(page)) wanted.push(page);
    }
    const left = wanted.values();
    const failures: PageNotWritten[] = [];
    const writeSome = async (): Promise<void> => {
      for (const page of left) {
        const failure = await this.#writePage(owner, page);
        if (failure !== null) failures.push(failure);
      }
    };
    await Promise.all(Array.from({ length: Math.min(mostWrites, wanted.length) }, writeSome));
    const failure = failures.find(({ status }) => status !== null) ?? failures[0];
    if (failure !== undefined) throw failure;
  }

  /** Called by frames when an I/O has ended. */
  onFrameIo(frame: PageFrame, io: BdevIo): void {
    const { owner } = frame;
    if (owner === null) throw new Error('an I/O of a page without an owner has ended');
    this.#iosInFlight--;
    if (io.status === Status.TimedOut) owner.onPageGivenUp();
    if (io.type === IoType.Read) this.#loaded(frame, owner, io);
    else this.#written(frame, owner, io);
    owner.onPageIoDone();
    this.#serve();
  }

  #find(owner: PageOwner, page: number): PageFrame | undefined {
    return this.#pages.get(owner)?.get(page);
  }

  /** `isSetWhole`: the first request that waits for the page sets all of it. */
  #load(frame: PageFrame, owner: PageOwner, page: number, isSetWhole: boolean): void {
    frame.owner = owner;
    frame.page = page;
    frame.state = FrameState.Loading;
    frame.isUsed = !isSetWhole;
    frame.reads = 1;
    this.#pages.get(owner)?.set(page, frame);
    if (!isSetWhole) {
      this.#submit(frame, owner, IoType.Read, frame.addr);
      return;
    }
    // Handled in a later turn, one page in each, as if it were read, so that other work is not delayed.
    this.#iosInFlight++;
    this.#unread.push(frame);
    this.#registry.runtime.soon(this.#onUnread);
  }

  readonly #onUnread = (): void => {
    const frame = this.#unread.shift();
    const owner = frame?.owner ?? null;
    if (frame === undefined || owner === null) throw new Error('a page that was not requested cannot be set');
    this.#iosInFlight--;
    this.#registry.runtime.memory.zero(frame.addr, this.#pageBytes);
    owner.adoptEmpty(frame.page);
    this.#tell(frame);
    this.#serve();
  };

  #submit(frame: PageFrame, owner: PageOwner, type: IoType, addr: number): void {
    this.#iosInFlight++;
    const io = this.#registry.ios.get();
    io.type = type;
    io.addr = addr;
    io.owner = frame;
    owner.submitPage(io, frame.page);
  }

  #loaded(frame: PageFrame, owner: PageOwner, io: BdevIo): void {
    const { status } = io;
    this.#registry.ios.put(io);
    if (status === Status.TimedOut && !this.#changeMemory(frame)) {
      this.#moveWaiters(frame, owner);
      return;
    }
    const mayReadAgain = frame.reads < mostReads && !finalErrors.includes(status);
    const hasChanged = owner.adopt(frame.page, frame.addr, status === Status.Ok, mayReadAgain);
    if (hasChanged === null) {
      // Lost checksums would be written to the device with the next change of the page, and be lost for good.
      frame.reads++;
      this.#submit(frame, owner, IoType.Read, frame.addr);
      return;
    }
    if (hasChanged) frame.isDirty = true;
    this.#tell(frame);
  }

  #tell(frame: PageFrame): void {
    frame.state = FrameState.Ready;
    frame.isTelling = true;
    for (let waiter = frame.waiters.shift(); waiter !== null; waiter = frame.waiters.shift()) waiter.onPage(frame);
    frame.isTelling = false;
  }

  /** Replaces the frame's memory, which a timed-out device may still write to. Returns false if there is none available. */
  #changeMemory(frame: PageFrame): boolean {
    const other = this.#pool.get();
    // The pool holds the old buffer back until the device has released it. Without another one there is one frame less until
    // then.
    this.#pool.put(frame.addr);
    frame.addr = other >= 0 ? other : this.#pool.get();
    return frame.addr >= 0;
  }

  /** Drops a frame that has no memory any more. The requests that wait for it then wait for a frame. */
  #moveWaiters(frame: PageFrame, owner: PageOwner): void {
    const { page } = frame;
    this.#free(frame);
    this.#frames.splice(this.#frames.indexOf(frame), 1);
    this.#hand = 0;
    for (let waiter = frame.waiters.shift(); waiter !== null; waiter = frame.waiters.shift()) {
      waiter.wantedOf = owner;
      waiter.wantedPage = page;
      this.#wishes.push(waiter);
    }
  }

  /** Serves requests that wait for a frame in order, as long as frames are available. */
  #serve(): void {
    for (let waiter = this.#wishes.first; waiter !== null; waiter = this.#wishes.first) {
      const { wantedOf, wantedPage } = waiter;
      if (wantedOf === null) throw new Error('a waiter has requested no page');
      const known = this.#find(wantedOf, wantedPage);
      const frame = known ?? this.#makeRoom();
      if (frame === null) return;
      this.#wishes.shift();
      waiter.wantedOf = null;
      if (known?.state === FrameState.Ready) {
        if (!waiter.setsAll) known.isUsed = true;
        waiter.onPage(known);
        continue;
      }
      frame.waiters.push(waiter);
      if (known === undefined) this.#load(frame, wantedOf, wantedPage, waiter.setsAll);
    }
  }

  /** Returns a free frame, or null if all are in use until an I/O on one of them ends. */
  #makeRoom(): PageFrame | null {
    this.#giveBackFrames();
    const { length } = this.#frames;
    let stuck: PageFrame | null = null;
    for (let looked = 0; looked < 2 * length; looked++) {
      const frame = this.#frames[this.#hand];
      this.#hand = (this.#hand + 1) % length;
      if (frame === undefined || frame.state === FrameState.Loading || frame.isWriting || frame.isTelling) continue;
      if (frame.state === FrameState.Free) return frame;
      if (frame.isUsed) frame.isUsed = false;
      else if (!frame.isDirty) return this.#free(frame);
      else if (frame.isStuck) stuck ??= frame;
      else this.#beginWrite(frame);
    }
    // The page on the device is older than this one, so some blocks will not match. But a request must not wait forever.
    if (stuck === null || this.#iosInFlight > 0) return null;
    stuck.owner?.onPageDropped(stuck.page);
    return this.#free(stuck);
  }

  /** Called when a device has released memory. There may be no other I/O whose end would serve the waiting requests. */
  #onMemory(): void {
    if (this.#wishes.first !== null) this.#registry.runtime.soon(() => this.#serve());
  }

  /** Creates frames for memory that timed-out devices have released. */
  #giveBackFrames(): void {
    if (this.#frames.length === this.#pool.count) return;
    for (let addr = this.#pool.get(); addr >= 0; addr = this.#pool.get()) this.#frames.push(new PageFrame(this, addr));
  }

  #free(frame: PageFrame): PageFrame {
    if (frame.owner !== null) this.#pages.get(frame.owner)?.delete(frame.page);
    frame.owner = null;
    frame.page = -1;
    frame.state = FrameState.Free;
    frame.isDirty = false;
    frame.isUsed = false;
    frame.isStuck = false;
    return frame;
  }

  /** Returns false if the largest number of writes is in flight. */
  #beginWrite(frame: PageFrame): boolean {
    const { owner } = frame;
    if (owner === null) return false;
    const addr = this.#writePool.get();
    if (addr < 0) return false;
    this.#registry.runtime.memory.copy(addr, frame.addr, this.#pageBytes);
    owner.seal(addr, frame.page);
    frame.isDirty = false;
    frame.isWriting = true;
    this.#writesInFlight++;
    this.#submit(frame, owner, IoType.Write, addr);
    return true;
  }

  #written(frame: PageFrame, owner: PageOwner, io: BdevIo): void {
    const { status } = io;
    this.#writePool.put(io.addr);
    this.#registry.ios.put(io);
    this.#writesInFlight--;
    frame.isWriting = false;
    frame.writes++;
    frame.lastWriteStatus = status;
    frame.isStuck = status !== Status.Ok;
    if (frame.isStuck) {
      frame.isDirty = true;
      owner.onPageNotWritten(frame.page, status);
    }
    const waiting = this.#onWrite;
    this.#onWrite = [];
    for (const resolve of waiting) resolve();
  }

  /** Resolves to null when the page has been written. */
  async #writePage(owner: PageOwner, page: number): Promise<PageNotWritten | null> {
    let begun: PageFrame | null = null;
    let writesBefore = 0;
    for (;;) {
      if (begun !== null && begun.writes > writesBefore) {
        // This is the status of the first write since then: another one cannot have begun before this code ran.
        return begun.lastWriteStatus === Status.Ok ? null : new PageNotWritten(page, begun.lastWriteStatus);
      }
      if (begun === null) {
        const frame = this.#find(owner, page);
        if (frame?.state !== FrameState.Ready || !(frame.isDirty || frame.isWriting)) return null;
        // A write in flight may not include the latest changes of the page.
        const isOwn = !frame.isWriting && this.#beginWrite(frame);
        if (isOwn) {
          begun = frame;
          writesBefore = frame.writes;
        } else if (this.#writesInFlight === 0) {
          // Timed-out devices hold all buffers of the write pool.
          return new PageNotWritten(page, null);
        }
      }
      await new Promise<void>((resolve) => this.#onWrite.push(resolve));
    }
  }
}

/** A page of checksums could not be written. */
export class PageNotWritten extends Error {
  /** Status of the write; null if it was not submitted for lack of memory. */
  readonly status: Status | null;

  constructor(page: number, status: Status | null) {
    super(`page ${page} of the checksums could not be written`);
    this.status = status;
  }
}

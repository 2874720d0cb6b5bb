import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BdevRegistry, IoOwner } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';

/** Pages that are being written at a time at most. */
const mostWrites = 32;

/** As often as data is read before it is listed as bad. */
const mostReads = 3;
/** Reads that end so are not tried again: the device is gone, or the caller has waited for as long as it may. */
const finalErrors: readonly Status[] = [Status.TimedOut, Status.NoDevice, Status.Gone, Status.Cancelled];

/** Whose pages the cache holds: the sums of one device. */
export interface PageOwner {
  /** Begins an I/O on the page of this number, whose place on the device the owner knows. */
  submitPage(io: BdevIo, page: number): void;
  /** An I/O on a page has ended, and all that follows from it is done. */
  onPageIoDone(): void;
  /** The device did not answer in time when a page was read. Called before a page is asked for again. */
  onPageGivenUp(): void;
  /**
   * The memory at `addr` is the page as it was read, or could not be: makes of it what counts. True if that has changed it. Null,
   * and nothing is done, if it lacks something that counts, and `mayReadAgain`.
   */
  adopt(page: number, addr: number, isRead: boolean, mayReadAgain: boolean): boolean | null;
  /** The caller is about to set all of the page: it was not read, and holds nothing. */
  adoptEmpty(page: number): void;
  /** Makes the bytes at `addr` those of the page of this number. */
  seal(addr: number, page: number): void;
  /** The page could not be written. It stays in memory as long as there is room for all others without it. */
  onPageNotWritten(page: number, status: Status): void;
}

/** A request that waits for a page. The frame is the request's until `onPage` returns, and no longer. */
export interface PageWaiter {
  onPage(frame: PageFrame): void;
  // The cache's own, while it waits.
  nextWaiter: PageWaiter | null;
  wantedOf: PageOwner | null;
  wantedPage: number;
  /** The request sets all of the page in the turn in which it gets it: the page need not be read. */
  setsAll: boolean;
}

const FrameState = { Free: 0, Loading: 1, Ready: 2 } as const;
type FrameState = (typeof FrameState)[keyof typeof FrameState];

/** Room for one page, and what is under way with it. */
export class PageFrame implements IoOwner {
  addr: number;
  /** The memory has changed since it was written to the device. Set by the code that changes it. */
  isDirty = false;

  // The cache's own.
  owner: PageOwner | null = null;
  page = -1;
  state: FrameState = FrameState.Free;
  isWriting = false;
  /** It was used since the cache last looked for room. */
  isUsed = false;
  /** The requests that waited for it are being told. */
  isTelling = false;
  /** It could not be written, and has not been tried again. */
  isStuck = false;
  /** How often it was read since it is wanted. */
  reads = 0;
  /** Writes that have come to their end, and how the last one did. */
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
 * Pages of sums in memory: a bounded number of them, for all devices of a registry. A page is read when a request needs it, and
 * written before its room is given away, or when its owner says so. No request keeps a page from one turn to the next, so none
 * waits for room that another one holds while it waits itself.
 */
export class PageCache {
  readonly #registry: BdevRegistry;
  readonly #pageBytes: number;
  readonly #pool: BufferPool;
  /** Pages are written from here: what a device is writing must not change. */
  readonly #writePool: BufferPool;
  readonly #frames: PageFrame[];
  readonly #pages = new Map<PageOwner, Map<number, PageFrame>>();
  /** Where the search for room goes on. */
  #hand = 0;
  #iosInFlight = 0;
  #writesInFlight = 0;
  /** Those for whose pages there was no room. */
  readonly #wishes = new WaiterQueue();
  /** Those that are told of in one turn each, without having been read. */
  readonly #unread: PageFrame[] = [];
  #onWrite: (() => void)[] = [];

  /** `numPages`: one at least. Throws a `BufferMemoryError` if there is no memory for them. */
  constructor(registry: BdevRegistry, numPages: number, pageBytes: number) {
    const { memory } = registry.runtime;
    this.#registry = registry;
    this.#pageBytes = pageBytes;
    this.#pool = new BufferPool(memory, { slotBytes: pageBytes, count: numPages, onFree: () => this.#onMemory() });
    try {
      this.#writePool = new BufferPool(memory, { slotBytes: pageBytes, count: Math.min(numPages, mostWrites) });
    } catch (error) {
      this.#pool.close();
      throw error;
    }
    this.#frames = Array.from({ length: numPages }, () => new PageFrame(this, this.#pool.get()));
  }

  /** An owner that has no page yet. */
  add(owner: PageOwner): void {
    this.#pages.set(owner, new Map());
  }

  /** The owner's pages are forgotten, written or not. Nothing may be under way on them, and no request may wait for one. */
  remove(owner: PageOwner): void {
    for (const frame of [...(this.#pages.get(owner)?.values() ?? [])]) this.#free(frame);
    this.#pages.delete(owner);
    this.#serve();
  }

  /** The device may not have what was written of the owner's pages: those that are in memory, which it gives, are written again. */
  markDirty(owner: PageOwner): number[] {
    const marked: number[] = [];
    for (const [page, frame] of this.#pages.get(owner) ?? []) {
      if (frame.state !== FrameState.Ready) continue;
      frame.isDirty = true;
      marked.push(page);
    }
    return marked;
  }

  /** To be called when no owner is left. */
  close(): void {
    for (const { addr } of this.#frames) this.#pool.put(addr);
    this.#pool.close();
    this.#writePool.close();
  }

  /** The page, to be used until the caller returns; null if it has to be read, and the waiter is told in a later turn. */
  get(owner: PageOwner, page: number, waiter: PageWaiter): PageFrame | null {
    const frame = this.#find(owner, page);
    if (frame?.state === FrameState.Ready) {
      // One that is only written may be the next to go.
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

  /** The page is read again when it is wanted next, unless it says more than the device has. */
  forget(owner: PageOwner, page: number): void {
    const frame = this.#find(owner, page);
    if (frame?.state !== FrameState.Ready || frame.isDirty || frame.isWriting || frame.isTelling) return;
    this.#free(frame);
    this.#serve();
  }

  /** Has the page read if it is not there, and there is room: it will be wanted. */
  prefetch(owner: PageOwner, page: number): void {
    if (this.#wishes.first !== null || this.#find(owner, page) !== undefined) return;
    const room = this.#makeRoom();
    if (room !== null) this.#load(room, owner, page, false);
  }

  /**
   * Resolves when what these of the owner's pages say now has been written to the device, if only to its cache. Rejects with a
   * {@link PageNotWritten} if one of them could not be, when all have been tried.
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

  /** For frames: an I/O of theirs has ended. */
  onFrameIo(frame: PageFrame, io: BdevIo): void {
    const { owner } = frame;
    if (owner === null) throw new Error('an I/O of a page ended that has no owner');
    this.#iosInFlight--;
    if (io.type === IoType.Read) this.#loaded(frame, owner, io);
    else this.#written(frame, owner, io);
    owner.onPageIoDone();
    this.#serve();
  }

  #find(owner: PageOwner, page: number): PageFrame | undefined {
    return this.#pages.get(owner)?.get(page);
  }

  /** `isSetWhole`: by the first who waits for it. */
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
    // As if it were read, page after page: others have their turn, too.
    this.#iosInFlight++;
    this.#unread.push(frame);
    this.#registry.runtime.soon(this.#onUnread);
  }

  readonly #onUnread = (): void => {
    const frame = this.#unread.shift();
    const owner = frame?.owner ?? null;
    if (frame === undefined || owner === null) throw new Error('a page that is not wanted was to be set');
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
    if (status === Status.TimedOut) owner.onPageGivenUp();
    if (status === Status.TimedOut && !this.#changeMemory(frame)) {
      this.#moveWaiters(frame, owner);
      return;
    }
    const mayReadAgain = frame.reads < mostReads && !finalErrors.includes(status);
    const hasChanged = owner.adopt(frame.page, frame.addr, status === Status.Ok, mayReadAgain);
    if (hasChanged === null) {
      // What is lost now would be written to the device with the next change of the page, and be lost for good.
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

  /** A device that was given up may still write to the frame's memory. False: there is no other now. */
  #changeMemory(frame: PageFrame): boolean {
    const other = this.#pool.get();
    // What is put is held back until the device has let go of it; then there is one frame less until a buffer is given back.
    this.#pool.put(frame.addr);
    frame.addr = other >= 0 ? other : this.#pool.get();
    return frame.addr >= 0;
  }

  /** The frame has no memory any more and is dropped: requests that wait for it wait for room. */
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

  /** Serves the requests that wait for room, in their order, as far as there is some. */
  #serve(): void {
    for (let waiter = this.#wishes.first; waiter !== null; waiter = this.#wishes.first) {
      const { wantedOf, wantedPage } = waiter;
      if (wantedOf === null) throw new Error('a waiter wants no page');
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

  /** A free frame; null if all are in use, until an I/O on one of them has ended. */
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
    // The device has older sums than this page: some blocks will not match. But no request may wait for ever.
    return stuck !== null && this.#iosInFlight === 0 ? this.#free(stuck) : null;
  }

  /** A device may have let go of memory while nothing else goes on that would serve the requests that wait for room. */
  #onMemory(): void {
    if (this.#wishes.first !== null) this.#registry.runtime.soon(() => this.#serve());
  }

  /** Memory that a device had is back: a frame more. */
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

  /** False: as many as may be are being written. */
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

  /** Null when it is written. */
  async #writePage(owner: PageOwner, page: number): Promise<PageNotWritten | null> {
    let begun: PageFrame | null = null;
    let writesBefore = 0;
    for (;;) {
      if (begun !== null && begun.writes > writesBefore) {
        // This is the status of its first write since then: another one would have to begin in the turn in which that ended.
        return begun.lastWriteStatus === Status.Ok ? null : new PageNotWritten(page, begun.lastWriteStatus);
      }
      if (begun === null) {
        const frame = this.#find(owner, page);
        if (frame?.state !== FrameState.Ready || !(frame.isDirty || frame.isWriting)) return null;
        // A write that is under way may be of less than the page says now.
        const isOwn = !frame.isWriting && this.#beginWrite(frame);
        if (isOwn) {
          begun = frame;
          writesBefore = frame.writes;
        } else if (this.#writesInFlight === 0) {
          // All memory to write from is held by devices that were given up.
          return new PageNotWritten(page, null);
        }
      }
      await new Promise<void>((resolve) => this.#onWrite.push(resolve));
    }
  }
}

/** A page of sums is not on the device. */
export class PageNotWritten extends Error {
  /** What the device has said; null: it was not asked, for a lack of memory. */
  readonly status: Status | null;

  constructor(page: number, status: Status | null) {
    super(`page ${page} of the sums could not be written`);
    this.status = status;
  }
}

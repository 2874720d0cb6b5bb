import { BdevError, IoType, RangeLocks, Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo, IoOwner } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';
import { summedBytes } from './area.js';
import { CheckedIo } from './checked-io.js';
import type { CheckedIoHost } from './checked-io.js';
import type { EdgeBuffers, EdgeWaiter } from './edge-buffers.js';
import { PageNotWritten } from './page-cache.js';
import { PagePlaces } from './page-places.js';
import type { PageCache, PageFrame, PageOwner, PageWaiter } from './page-cache.js';
import { RaidError } from '../errors.js';
import type { BlockRange } from '../format/block-ranges.js';
import type { ChecksumPageCodec, ChecksumPages } from '../format/store.js';
import type { SummedPath } from '../members/summed-path.js';

/**
 * Which checksums on the device are valid, before their pages are read. Blocks are of {@link summedBytes}, from the data
 * offset.
 */
export interface SumsKnowledge {
  /**
   * Whether checksums that the device has of this block describe what it should hold. They do not if the block was never
   * written, if a write may have been in flight at a crash, or if this member missed writes there.
   */
  counts(block: number): boolean;
  /** Returns the first block after this one, at most `limit`, for which {@link counts} differs. */
  endOfRun(block: number, limit: number): number;
}

/** Number of pages that are copied at a time when all pages move. */
const pagesAtOnce = 32;

/** Receives the errors that are found. */
export interface SumsListener {
  /** The block's data or its checksum is damaged. */
  onDamage(block: number): void;
  /** Part of the block was written while the rest could not be read. It does not match until all of it is written. */
  onLost(block: number): void;
  /** Valid checksums of blocks `[block, end)` could not be read, so none of these blocks matches until it is written. */
  onSumsLost(block: number, end: number): void;
  /** Checksums that a device that is being filled was given could not be read back or written, so it must not become a member. */
  onGivenSumsLost(): void;
  /** A page of checksums could not be written. The member should be failed if the array can do without it. */
  onPageNotWritten(status: Status): void;
  /**
   * The device has missed the deadline of an I/O, on a page or on data. Returns true if no more pages may be read from it or
   * written to it.
   */
  onPageGivenUp(): boolean;
}

/** Parameters of the checksums of one device. */
export interface MemberSumsOptions {
  readonly descriptor: BdevDescriptor;
  /** First block of the data area on the device. Like the other offsets and sizes, a multiple of {@link summedBytes}. */
  readonly dataOffset: number;
  /** Size of the data area, and first block of the pages, in blocks of the device. */
  readonly dataSize: number;
  readonly areaOffset: number;
  /** Number of 0 to 255 that is part of every checksum, so that members' checksums differ. */
  readonly tag: number;
  /** Address of the array's checksum key in the registry's memory. */
  readonly keyAddr: number;
  readonly cache: PageCache;
  /** Used for devices whose blocks are smaller than {@link summedBytes}. */
  readonly edges: EdgeBuffers;
  readonly format: ChecksumPages;
  readonly codec: ChecksumPageCodec;
  readonly knowledge: SumsKnowledge;
  /** The device is being filled, so its checksums are those that it was given since this was opened. Default: never. */
  readonly isBeingFilled?: () => boolean;
  readonly listener: SumsListener;
  /**
   * Another program may have run the array. Pages of a region are then checked before its checksums become valid, and a record
   * that is damaged, misplaced or foreign when its page is first read counts as having no checksums. Default false.
   */
  readonly mustWash?: boolean;
  /** If true, nothing may be written to the device. */
  readonly isReadOnly?: boolean;
}

/**
 * The checksums of one device's data area, and the only path to its data. A read returns what was written there, or an error as
 * if the device could not read it.
 */
export class MemberSums implements PageOwner, CheckedIoHost, SummedPath {
  readonly locks = new RangeLocks();
  readonly #options: MemberSumsOptions;
  readonly #places: PagePlaces;
  readonly #memory: BufferMemory;
  readonly #blockSize: number;
  /** Size of the data area in blocks of the device. */
  #dataSize: number;
  /** Number of blocks that can have checksums. */
  #numSummed: number;
  readonly #perPage: number;
  /** A bit for each page that was read since the start. Such a page contains valid checksums only. */
  #adopted: Uint8Array;
  /**
   * Pages in memory without valid checksums that the device did not return, but may at another read: the page on the device is
   * as it was, and is not read, until it is written.
   */
  readonly #lacking = new Set<number>();
  readonly #idle: CheckedIo[] = [];
  #inFlight = 0;
  #onIdle: (() => void)[] = [];
  /** While pages move: pages that could not be read although they have valid checksums. */
  readonly #unread = new Set<number>();
  #isClosed = false;
  /**
   * An I/O on a page or on data timed out, and the member was failed or its array is ending. No more pages are read or written:
   * each would wait as long, and the device would hold its memory.
   */
  #isGivenUp = false;

  constructor(options: MemberSumsOptions) {
    const { blockSize, registry } = options.descriptor.bdev;
    if (summedBytes % blockSize !== 0)
      throw new RangeError(
        `the device has blocks of ${blockSize} bytes; a checksum covers ${summedBytes} bytes, and a block must not be larger`,
      );
    const { areaOffset, dataOffset, dataSize } = options;
    const isWhole = [areaOffset, dataOffset, dataSize].every((blocks) => (blocks * blockSize) % summedBytes === 0);
    if (!isWhole) throw new RangeError(`the data area and the checksums must be aligned to ${summedBytes} bytes`);
    this.#blockSize = blockSize;
    this.#dataSize = dataSize;
    this.#numSummed = (dataSize * blockSize) / summedBytes;
    this.#places = new PagePlaces(options.descriptor, areaOffset, options.format.pageBytes / blockSize);
    this.#options = options;
    this.#memory = registry.runtime.memory;
    this.#perPage = options.format.recordsPerPage * options.format.sumsPerRecord;
    this.#adopted = new Uint8Array(Math.ceil(this.#numSummed / this.#perPage / 8));
    options.cache.add(this);
  }

  /** As `BdevDescriptor.submit`. I/O in front of the data and I/O without blocks is not checked. */
  submit(io: BdevIo): void {
    const { dataOffset, descriptor } = this.#options;
    // The device has been closed. Nothing may read it without checksums.
    if (this.#isClosed) {
      this.#refuse(io, Status.NoDevice);
      return;
    }
    const isChecked = io.type !== IoType.Flush && io.type !== IoType.Reset && io.offsetBlocks >= dataOffset;
    // The device itself refuses the I/O or completes it.
    if (!isChecked || !descriptor.isOpen) {
      descriptor.submit(io);
      return;
    }
    const first = io.offsetBlocks - dataOffset;
    const isWhole = Number.isSafeInteger(first) && Number.isSafeInteger(io.numBlocks);
    // Refused as a device refuses blocks beyond its end. A level may compute wrong offsets.
    if (!isWhole || io.numBlocks < 1 || first + io.numBlocks > this.#dataSize) {
      this.#refuse(io, Status.Invalid);
      return;
    }
    this.#inFlight++;
    const checked = this.#idle.pop() ?? new CheckedIo(this);
    checked.start(io, first * this.#blockSize, io.numBlocks * this.#blockSize);
  }

  async writeOut(ranges: Iterable<BlockRange>): Promise<void> {
    const wanted = this.#pagesOf(ranges);
    if (this.#options.mustWash === true) for (const page of wanted) await this.#wash(page);
    await this.#writePages((page) => wanted.has(page));
  }

  async wash(ranges: Iterable<BlockRange>): Promise<void> {
    for (const page of this.#pagesOf(ranges)) await this.#wash(page);
  }

  #pagesOf(ranges: Iterable<BlockRange>): Set<number> {
    const pages = new Set<number>();
    const perPage = (this.#perPage * summedBytes) / this.#blockSize;
    for (const { start, end } of ranges) {
      for (let page = Math.floor(start / perPage); page * perPage < end; page++) pages.add(page);
    }
    return pages;
  }

  writeAll(): Promise<void> {
    return this.#writePages(() => true);
  }

  onLostFlush(): void {
    this.#adopted.fill(0);
    // A page that was not read is still to be read, not written.
    for (const page of this.#options.cache.markDirty(this, (page) => !this.#lacking.has(page))) this.#markAdopted(page);
  }

  async haveSums(start: number, end: number): Promise<boolean> {
    return !this.#isClosed && (await this.countWithout(start, end)) === 0;
  }

  async mayFind(block: number): Promise<boolean> {
    if (this.#isClosed) return false;
    const at = Math.floor(block / (summedBytes / this.#blockSize));
    const page = Math.floor(at / this.#perPage);
    return this.#onPage(page, (frame) => this.#lacking.has(page) && this.#isLost(frame, at));
  }

  async countWithout(start: number, end: number): Promise<number> {
    if (this.#isClosed) return end - start;
    const { view } = this.#memory;
    const perSum = summedBytes / this.#blockSize;
    const last = Math.ceil(end / perSum);
    let without = 0;
    for (let at = Math.floor(start / perSum), stop; at < last; at = stop) {
      stop = Math.min(last, this.endOfPage(at));
      const [from, to] = [at, stop];
      await this.#onPage(Math.floor(at / this.#perPage), (frame) => {
        for (let block = from; block < to; block++) {
          const addr = this.#sumAddr(frame, block);
          if (view.getUint32(addr, true) === 0 && view.getUint32(addr + 4, true) === 0) without++;
        }
      });
    }
    return without * perSum;
  }

  get isIdle(): boolean {
    return this.#inFlight === 0;
  }

  async whenIdle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  async sum(start: number, count: number, addr: number, likeAddr: number): Promise<void> {
    const { dataOffset, descriptor } = this.#options;
    const { ios } = descriptor.bdev.registry;
    const status = await new Promise<Status>((resolve) => {
      if (this.#isClosed || !descriptor.isOpen) {
        resolve(Status.NoDevice);
        return;
      }
      const io = ios.get();
      io.type = IoType.Read;
      io.offsetBlocks = dataOffset + start;
      io.numBlocks = count;
      io.addr = addr;
      io.owner = {
        onIoDone: (done: BdevIo) => {
          const { status: found } = done;
          ios.put(done);
          resolve(found);
        },
      };
      this.#inFlight++;
      const checked = this.#idle.pop() ?? new CheckedIo(this);
      checked.start(io, start * this.#blockSize, count * this.#blockSize, likeAddr);
    });
    if (status !== Status.Ok) throw BdevError.fromStatus(status, descriptor.bdev.name);
  }

  forgetPages(start: number, end: number): void {
    const perPage = (this.#perPage * summedBytes) / this.#blockSize;
    for (let page = Math.floor(start / perPage); page * perPage < end; page++) this.#options.cache.forget(this, page);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** From now on pages are also written to a second place, which begins at this block behind the data offset. */
  beginMove(to: number): void {
    this.#unread.clear();
    this.#places.beginMove(this.#options.dataOffset + to, this.#numPages);
  }

  endMove(): Promise<void> {
    return this.#places.endMove();
  }

  cancelMove(): Promise<void> {
    return this.#places.cancelMove();
  }

  /**
   * Writes each page to the new place. Resolves when they are there, though perhaps only in the device's cache. Skips pages
   * that were not read since the start and for which `isUnused` says that none of their blocks has a valid checksum. Rejects if
   * a page cannot be read or written.
   */
  async copyPages(isUnused: (block: number, end: number) => boolean): Promise<void> {
    for (let first = 0; first < this.#numPages; first += pagesAtOnce) {
      const pages: number[] = [];
      for (let page = first; page < Math.min(this.#numPages, first + pagesAtOnce); page++) {
        const at = page * this.#perPage;
        if (this.#isAdopted(page) || !isUnused(at, Math.min(at + this.#perPage, this.#numSummed))) pages.push(page);
      }
      await Promise.all(pages.map((page) => this.#markForCopy(page)));
      await this.#writePages((page) => pages.includes(page));
      if (this.#isClosed) return;
      // A page may have been evicted before it was written.
      const left = pages.find((page) => !this.#places.hasMoved(page));
      const [unread] = this.#unread;
      if (unread !== undefined || left !== undefined) {
        const what = `page ${unread ?? left} of its checksums could not be ${unread === undefined ? 'written' : 'read'}`;
        throw BdevError.fromStatus(Status.IoError, `${this.#options.descriptor.bdev.name}: ${what}`);
      }
    }
  }

  /**
   * Extends the data area to this many blocks of the device. The pages must have room behind it already. New blocks have no
   * checksums.
   */
  async extend(dataSize: number): Promise<void> {
    if (dataSize <= this.#dataSize) return;
    const before = this.#numSummed;
    this.#dataSize = dataSize;
    this.#numSummed = (dataSize * this.#blockSize) / summedBytes;
    const adopted = new Uint8Array(Math.ceil(this.#numPages / 8));
    adopted.set(this.#adopted);
    this.#adopted = adopted;
    if (before % this.#perPage === 0 || this.#isClosed) return;
    const end = Math.min(this.endOfPage(before), this.#numSummed);
    await this.#onPage(Math.floor(before / this.#perPage), (frame) => this.setNone(frame, before, end), true);
  }

  get #numPages(): number {
    return Math.ceil(this.#numSummed / this.#perPage);
  }

  async #markForCopy(page: number): Promise<void> {
    if (await this.#markIf(page, (frame) => frame.isDirty || !this.#hasLost(frame, page))) return;
    // If checksums are lost in memory only, another read of the device may return them.
    this.#options.cache.forget(this, page);
    await this.#markIf(page, () => !this.#unread.has(page));
  }

  /** Marks the page to be written if `isWanted` is true for it as it is in memory. Returns the result of `isWanted`. */
  async #markIf(page: number, isWanted: (frame: PageFrame) => boolean): Promise<boolean> {
    if (this.#isClosed) return true;
    return this.#onPage(page, (frame) => {
      const isIt = isWanted(frame);
      if (isIt) frame.isDirty = true;
      return isIt;
    });
  }

  /** Whether some of the page's checksums are marked as lost. No block has that checksum. */
  #hasLost(frame: PageFrame, page: number): boolean {
    const end = Math.min((page + 1) * this.#perPage, this.#numSummed);
    for (let block = page * this.#perPage; block < end; block++) if (this.#isLost(frame, block)) return true;
    return false;
  }

  #isLost(frame: PageFrame, block: number): boolean {
    const { view } = this.#memory;
    const addr = this.#sumAddr(frame, block);
    return view.getUint32(addr, true) === 0xffff_ffff && view.getUint32(addr + 4, true) === 0xffff_ffff;
  }

  /** Loads the page unless that was done since the start, and thereby clears checksums that are not valid. */
  async #wash(page: number): Promise<void> {
    if (page * this.#perPage >= this.#numSummed || this.#isAdopted(page)) return;
    await this.#onPage(
      page,
      (frame) => {
        // What was cleared must stay so when the page is read again.
        if (this.#lacking.has(page)) frame.isDirty = true;
      },
      true,
    );
  }

  /** Calls `look` with the page, in the turn in which it is available. `mustHaveAll`: see {@link CheckedIoHost}. */
  async #onPage<T>(page: number, look: (frame: PageFrame) => T, mustHaveAll = false): Promise<T> {
    this.#inFlight++;
    const seen = await new Promise<T>((resolve) => {
      const onPage = (frame: PageFrame): void => resolve(look(frame));
      const waiter: PageWaiter = { onPage, nextWaiter: null, wantedOf: null, wantedPage: -1, setsAll: false };
      const frame = this.#getPage(page, waiter, mustHaveAll);
      if (frame !== null) onPage(frame);
    });
    this.#leave();
    return seen;
  }

  async #writePages(isWanted: (page: number) => boolean): Promise<void> {
    const { cache, descriptor } = this.#options;
    // Changed pages may have left the memory without having been written.
    if (this.#isGivenUp) {
      const message = `${descriptor.bdev.name}: pages of its checksums were not read or written in time`;
      throw BdevError.fromStatus(Status.TimedOut, message, { type: IoType.Write, flags: 0 });
    }
    try {
      await cache.writeOut(this, isWanted);
    } catch (error) {
      if (!(error instanceof PageNotWritten)) throw error;
      const message = `${descriptor.bdev.name}: ${error.message}`;
      if (error.status !== null) throw BdevError.fromStatus(error.status, message, { type: IoType.Write, flags: 0 });
      throw new RaidError('ERR_RAID_MEMORY', Status.NoMemory, `${message}: unresponsive devices hold all memory for checksums`);
    }
  }

  async close(): Promise<void> {
    // No await follows the last check, so nothing can begin in between.
    while (this.#inFlight > 0) await this.whenIdle();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#options.cache.remove(this);
  }

  // Methods for CheckedIo.

  get isOpen(): boolean {
    return this.#options.descriptor.isOpen;
  }

  submitToDevice(io: BdevIo): void {
    this.#options.descriptor.submit(io);
  }

  readBlock(owner: IoOwner, block: number, addr: number): void {
    const { dataOffset, descriptor } = this.#options;
    const io = descriptor.bdev.registry.ios.get();
    io.type = IoType.Read;
    io.numBlocks = summedBytes / this.#blockSize;
    io.offsetBlocks = dataOffset + block * io.numBlocks;
    io.addr = addr;
    io.owner = owner;
    descriptor.submit(io);
  }

  putPart(io: BdevIo): void {
    this.#options.descriptor.bdev.registry.ios.put(io);
  }

  getEdges(waiter: EdgeWaiter): void {
    this.#options.edges.get(waiter);
  }

  putEdges(first: number, second: number): void {
    this.#options.edges.put(first, second);
  }

  put(dst: number, src: number, bytes: number): void {
    if (src < 0) this.#memory.zero(dst, bytes);
    else this.#memory.copy(dst, src, bytes);
  }

  soon(fn: () => void): void {
    this.#options.descriptor.bdev.registry.runtime.soon(fn);
  }

  ended(checked: CheckedIo): void {
    this.#idle.push(checked);
    this.#leave();
  }

  prefetch(block: number): void {
    this.#options.cache.prefetch(this, Math.floor(block / this.#perPage));
  }

  isWholePage(block: number, end: number): boolean {
    return block % this.#perPage === 0 && end >= Math.min(this.endOfPage(block), this.#numSummed);
  }

  pageOf(block: number, waiter: PageWaiter, mustHaveAll: boolean): PageFrame | null {
    return this.#getPage(Math.floor(block / this.#perPage), waiter, mustHaveAll);
  }

  #getPage(page: number, waiter: PageWaiter, mustHaveAll: boolean): PageFrame | null {
    // A change would overwrite on the device what the page lacks.
    if (mustHaveAll && this.#lacking.has(page)) this.#options.cache.forget(this, page);
    return this.#options.cache.get(this, page, waiter);
  }

  endOfPage(block: number): number {
    return (Math.floor(block / this.#perPage) + 1) * this.#perPage;
  }

  findWrong(frame: PageFrame, block: number, end: number, addr: number): number {
    const { kernels, view } = this.#memory;
    const { keyAddr, tag } = this.#options;
    let at = block;
    while (at < end) {
      const stop = Math.min(end, this.#endOfRecord(at));
      const sums = this.#sumAddr(frame, at);
      at += kernels.wrongBlock(sums, addr + (at - block) * summedBytes, stop - at, keyAddr, at, tag);
      if (at === stop) continue;
      const found = this.#sumAddr(frame, at);
      // A checksum of 0 means that the block has none. It is not verified.
      if (view.getUint32(found, true) !== 0 || view.getUint32(found + 4, true) !== 0) return at;
      at++;
    }
    return end;
  }

  set(frame: PageFrame, block: number, end: number, addr: number): void {
    const { kernels } = this.#memory;
    const { keyAddr, tag } = this.#options;
    for (let at = block, stop; at < end; at = stop) {
      stop = Math.min(end, this.#endOfRecord(at));
      const data = addr + (at - block) * summedBytes;
      kernels.blockSums(this.#sumAddr(frame, at), data, stop - at, keyAddr, at, tag);
    }
    frame.isDirty = true;
  }

  setMissing(frame: PageFrame, block: number, end: number, addr: number, like: number): void {
    const { view } = this.#memory;
    for (let at = block; at < end; at++) {
      const sum = this.#sumAddr(frame, at);
      if (view.getUint32(sum, true) !== 0 || view.getUint32(sum + 4, true) !== 0) continue;
      const offset = (at - block) * summedBytes;
      // If two reads return different data, one of them is wrong. A checksum made now might be wrong permanently.
      if (this.#memory.equal(addr + offset, like + offset, summedBytes)) this.set(frame, at, at + 1, addr + offset);
    }
  }

  setZero(frame: PageFrame, block: number, end: number): void {
    const { zeroAddr, zeroBytes } = this.#memory;
    const most = Math.floor(zeroBytes / summedBytes);
    for (let at = block; at < end; at += most) this.set(frame, at, Math.min(end, at + most), zeroAddr);
  }

  setNone(frame: PageFrame, block: number, end: number): void {
    this.#fill(frame.addr, block, end, 0);
    frame.isDirty = true;
  }

  setLost(frame: PageFrame, block: number, end: number): void {
    this.#fill(frame.addr, block, end, 0xff);
    frame.isDirty = true;
  }

  onDamage(block: number, frame: PageFrame): void {
    // What the page lacks is no damage of the block.
    if (this.#lacking.has(frame.page) && this.#isLost(frame, block)) return;
    this.#options.listener.onDamage(block);
  }

  onLost(block: number): void {
    this.#options.listener.onLost(block);
  }

  // Methods for the cache.

  submitPage(io: BdevIo, page: number): void {
    this.#inFlight++;
    if (this.#options.descriptor.bdev.abandoned > 0) this.onPageGivenUp();
    // A page that was not read must not be overwritten by what is in memory instead of it.
    if (this.#isGivenUp) this.#refuse(io, Status.Cancelled);
    else this.#places.submit(io, page, io.type !== IoType.Read);
  }

  onPageGivenUp(): void {
    this.#isGivenUp ||= this.#options.listener.onPageGivenUp();
  }

  onPageIoDone(): void {
    this.#leave();
  }

  onPageNotWritten(_page: number, status: Status): void {
    this.#options.listener.onPageNotWritten(status);
  }

  onPageDropped(page: number): void {
    // What was cleared in memory is still on the device.
    this.#unmarkAdopted(page);
    // Blocks that were filled since would have none.
    if (this.#isBeingFilled) this.#options.listener.onGivenSumsLost();
  }

  get #isBeingFilled(): boolean {
    return this.#options.isBeingFilled?.() === true;
  }

  seal(addr: number, page: number): void {
    // From now on the device has what is in memory, and what that lacks is lost.
    if (this.#lacking.delete(page)) this.#markAdopted(page);
    this.#options.codec.seal(this.#memory, addr, page);
  }

  adoptEmpty(page: number): void {
    this.#unread.delete(page);
    this.#lacking.delete(page);
    this.#markAdopted(page);
  }

  adopt(page: number, addr: number, isRead: boolean, mayReadAgain: boolean): boolean | null {
    const { codec, isReadOnly = false, knowledge, mustWash = false } = this.#options;
    const good = isRead ? codec.goodRecords(this.#memory, addr, page) : 0;
    if (mayReadAgain && this.#lacksCounted(page, good)) return null;
    if (this.#places.isMoving) this.#unread.delete(page);
    if (this.#places.isMoving && !isRead && this.#lacksCounted(page, 0)) this.#unread.add(page);
    // On a read-only device no checksum can become valid, so each page is treated as read for the first time.
    const isFirst = isReadOnly || !this.#markAdopted(page);
    // That holds even if its regions have changed since: nothing of this incarnation has been written there that could be
    // damaged.
    const isOfOthers = mustWash && isFirst;
    // Whatever the map says of its regions, a device that is being filled has been given all that its page has.
    const isOwn = !isFirst && this.#isBeingFilled;
    const limit = Math.min((page + 1) * this.#perPage, this.#numSummed);
    let hasChanged = false;
    this.#lacking.delete(page);
    for (let at = page * this.#perPage, end; at < limit; at = end) {
      end = knowledge.endOfRun(at, limit);
      const isCounted = isOwn || knowledge.counts(at);
      for (let from = at, stop; from < end; from = stop) {
        stop = Math.min(end, this.#endOfRecord(from));
        const record = Math.floor((from % this.#perPage) / this.#options.format.sumsPerRecord);
        const isGood = (good & (1 << record)) !== 0;
        const counts = isCounted && (isGood || !isOfOthers);
        // No block has a checksum of all ones: a lost checksum that should be valid will not match.
        if (!isGood) this.#fill(addr, from, stop, counts ? 0xff : 0);
        if (!isGood && counts) {
          this.#lacking.add(page);
          if (isOwn) this.#options.listener.onGivenSumsLost();
          else this.#options.listener.onSumsLost(from, stop);
        } else if (!counts && isFirst) this.#fill(addr, from, stop, 0);
        // A checksum that is not valid must not become valid when the page is read again, nor be missing when the block gets
        // one.
        if (!counts && (isFirst || !isGood)) hasChanged = true;
      }
    }
    if (!this.#lacking.has(page)) return hasChanged && !isReadOnly;
    // Another read may return what it lacks. Until then it is not written without need, and counts as not read.
    if (isFirst) this.#unmarkAdopted(page);
    return false;
  }

  /** Whether some of the page's records other than the `good` ones contain valid checksums. */
  #lacksCounted(page: number, good: number): boolean {
    const { format, isReadOnly = false, knowledge, mustWash = false } = this.#options;
    if (mustWash && (isReadOnly || !this.#isAdopted(page))) return false;
    const isOwn = !isReadOnly && this.#isAdopted(page) && this.#isBeingFilled;
    const limit = Math.min((page + 1) * this.#perPage, this.#numSummed);
    for (let at = page * this.#perPage; at < limit; at = knowledge.endOfRun(at, limit)) {
      if (!isOwn && !knowledge.counts(at)) continue;
      for (let from = at, end = knowledge.endOfRun(at, limit); from < end; from = this.#endOfRecord(from)) {
        if ((good & (1 << Math.floor((from % this.#perPage) / format.sumsPerRecord))) === 0) return true;
      }
    }
    return false;
  }

  /** Ends the I/O in a later turn, as for any I/O. */
  #refuse(io: BdevIo, status: Status): void {
    io.status = status;
    this.soon(() => io.owner.onIoDone(io));
  }

  #isAdopted(page: number): boolean {
    return ((this.#adopted[page >> 3] ?? 0) & (1 << (page & 7))) !== 0;
  }

  /** Returns true if the page was marked before. */
  #markAdopted(page: number): boolean {
    const wasAdopted = this.#isAdopted(page);
    this.#adopted[page >> 3] = (this.#adopted[page >> 3] ?? 0) | (1 << (page & 7));
    return wasAdopted;
  }

  #unmarkAdopted(page: number): void {
    this.#adopted[page >> 3] = (this.#adopted[page >> 3] ?? 0) & ~(1 << (page & 7));
  }

  /** Sets all bytes of the checksums of blocks `[block, end)`, which belong to the page at `addr`. */
  #fill(addr: number, block: number, end: number, byte: number): void {
    for (let at = block, stop; at < end; at = stop) {
      stop = Math.min(end, this.#endOfRecord(at));
      const start = addr + this.#options.format.sumAt(at % this.#perPage);
      this.#memory.u8.fill(byte, start, start + (stop - at) * 8);
    }
  }

  #endOfRecord(block: number): number {
    const { sumsPerRecord } = this.#options.format;
    return (Math.floor(block / sumsPerRecord) + 1) * sumsPerRecord;
  }

  #sumAddr(frame: PageFrame, block: number): number {
    return frame.addr + this.#options.format.sumAt(block % this.#perPage);
  }

  #leave(): void {
    if (--this.#inFlight > 0 || this.#onIdle.length === 0) return;
    const waiting = this.#onIdle;
    this.#onIdle = [];
    for (const resolve of waiting) resolve();
  }
}

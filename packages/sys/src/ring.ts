import { constants } from 'node:os';
import { RingOp } from './constants.js';
import { FlushList } from './flush-list.js';
import type { RingFlush } from './flush-list.js';
import type { RingLayout } from './ring-setup.js';
import { setUpRing } from './ring-setup.js';

const GETEVENTS = 1;
const EXT_ARG = 8;
const registerProbe = 8;
// io_uring_register(2): tables of files and buffers that may have empty entries (5.19), how to fill them, and registration of
// the ring's own descriptor (5.18).
const registerFiles2 = 13;
const registerFilesUpdate2 = 14;
const registerBuffers2 = 15;
const registerBuffersUpdate = 16;
const registerRingFds = 20;
const unregisterRingFds = 21;
const isSparse = 1;
const bufferSlots = 4096;
/** Descriptors below this can be registered; each has the table entry of its own number. */
const fileSlots = 4096;
const REGISTERED_RING = 16;
/** `IOSQE_FIXED_FILE`, where an entry's first word has its flags. */
const fixedFile = 1 << 8;
/** `IORING_RECVSEND_POLL_FIRST` (5.19), where an entry's first word has its priority. */
const pollFirst = 1 << 16;
const probeOps = 256;
/** `BLOCK_URING_CMD_DISCARD` of linux/blkdev.h (6.12). */
const blockDiscardCommand = 0x1200;

const { EAGAIN, EBUSY, EINTR, ENOMEM, ETIME } = constants.errno;

/** Prepares operations and is told when they end. */
export interface RingOwner {
  /** Called once for each operation, from {@link Ring.drain}. `result` is 0 or more, or a negative errno. */
  onCompletion(tag: number, result: number): void;
}

/** Options of {@link openRing}. */
export interface RingOptions {
  /**
   * Submissions that fit between two enters; a power of two. Default 1024. There is room for eight times as many completions.
   */
  entries?: number;
  /** For tests: 0, the default, uses the flags of the newest kernels; 1 to 3 those of ever older ones. */
  firstFlagSet?: number;
}

/** Makes a ring for the calling thread, which alone may use it; otherwise returns the reason, for a log line. */
export function openRing(options: RingOptions = {}): { ring: Ring; reason: '' } | { ring: null; reason: string } {
  const layout = setUpRing(options.entries ?? 1024, options.firstFlagSet ?? 0);
  return typeof layout === 'string' ? { ring: null, reason: layout } : { ring: new Ring(layout), reason: '' };
}

/**
 * An io_uring. {@link enter} submits prepared operations in batches, and {@link drain} tells their owners when they have ended.
 * Nothing is allocated per operation. The memory and descriptors of an operation must stay valid until its owner has been told.
 */
export class Ring {
  /** Number of operations that were prepared and have not ended. */
  inFlight = 0;
  /**
   * Number of device operations among these, counted by their owners. They end soon by themselves and do not wait for a client.
   */
  deviceOps = 0;
  /** Calls of io_uring_enter(2) so far. */
  enters = 0;
  readonly #layout: RingLayout;
  #ring: Int32Array;
  #sqes: Int32Array;
  readonly #sqMask: number;
  readonly #cqMask: number;
  #tail = 0;
  #submitted = 0;
  #head = 0;
  readonly #owners: (RingOwner | null)[] = [];
  readonly #freeOwners: number[] = [];
  readonly #isRare: boolean[] = [];
  /** Completions that were removed from a full ring while something else was going on: tag, owner, result. */
  #aside: number[] = [];
  readonly #flushes = new FlushList();
  readonly #postponed = new FlushList();
  /** A postponed flush was waiting when the present batch began. */
  #isPostponedDue = false;
  readonly #supported: Uint8Array;
  /** {@link pollFirst}, or 0 if the kernel does not know it. */
  readonly #pollFirst: number;
  // struct io_uring_getevents_arg at 0, struct __kernel_timespec at 32.
  readonly #wait = new Uint32Array(new ArrayBuffer(48));
  readonly #waitAddr: number;
  #waitMs = -1;
  /**
   * Ring number and flags of enter: the ring's descriptor or, to avoid looking that up, the number under which this thread has
   * registered it.
   */
  #enterFd: number;
  #enterFlags: number;
  /** By descriptor: 1 if it is in the file table. Empty without a table. */
  readonly #isRegistered: Uint8Array;
  /** Number of used entries of the buffer table; -1 if the kernel has refused to make the table. */
  #buffers = 0;
  #isClosed = false;

  constructor(layout: RingLayout) {
    this.#layout = layout;
    const { ffi, sqEntries, cqEntries, sqArray } = layout;
    this.#ring = new Int32Array(ffi.viewOf(layout.ringAddr, layout.ringBytes & ~3));
    this.#sqes = new Int32Array(ffi.viewOf(layout.sqesAddr, layout.sqesBytes));
    this.#sqMask = sqEntries - 1;
    this.#cqMask = cqEntries - 1;
    if (sqArray >= 0) for (let i = 0; i < sqEntries; i++) this.#ring[sqArray + i] = i;
    this.#waitAddr = ffi.addressOf(this.#wait);
    // The address of the timespec is at byte 16.
    this.#wait[4] = this.#waitAddr + 32;
    this.#wait[5] = (this.#waitAddr + 32) / 4_294_967_296;
    this.#supported = this.#probe();
    // Both came with the same kernel version.
    this.#pollFirst = this.supports(RingOp.URING_CMD) ? pollFirst : 0;
    this.#isRegistered = new Uint8Array(this.#makeFileTable() ? fileSlots : 0);
    this.#enterFd = layout.fd;
    this.#enterFlags = GETEVENTS;
    this.#registerSelf();
  }

  /** Whether the kernel knows the operation. */
  supports(op: RingOp): boolean {
    return (this.#supported[op] ?? 0) !== 0;
  }

  /**
   * Returns the number with which an owner prepares operations. Pass `isRare` for an owner of another class that has few
   * completions: V8 optimizes the call of at most four classes of owners, and is much slower for all if there are more.
   */
  addOwner(owner: RingOwner, isRare = false): number {
    const id = this.#freeOwners.pop() ?? this.#owners.length;
    this.#owners[id] = owner;
    this.#isRare[id] = isRare;
    return id;
  }

  /** Frees an owner's number for another one. None of the owner's operations may be in flight. */
  removeOwner(id: number): void {
    this.#owners[id] = null;
    this.#freeOwners.push(id);
  }

  /**
   * Prepares an operation. The meaning of `offset`, `addr` and `opFlags` depends on the operation (io_uring_enter(2));
   * addresses are in the process. `tag`, 31 bits, comes back with the completion.
   */
  prepare(
    op: RingOp,
    fd: number,
    offset: number,
    addr: number,
    length: number,
    opFlags: number,
    owner: number,
    tag: number,
  ): void {
    const i = this.#next();
    const s = this.#sqes;
    // Stores into an Int32Array keep the low 32 bits of a number.
    s[i] = fd >= 0 && fd < this.#isRegistered.length && this.#isRegistered[fd] === 1 ? op | fixedFile : op;
    s[i + 1] = fd;
    s[i + 2] = offset;
    s[i + 3] = offset / 4_294_967_296;
    s[i + 4] = addr;
    s[i + 5] = addr / 4_294_967_296;
    s[i + 6] = length;
    s[i + 7] = opFlags;
    s[i + 8] = tag;
    s[i + 9] = owner;
    s[i + 10] = s[i + 11] = s[i + 12] = s[i + 13] = s[i + 14] = s[i + 15] = 0;
  }

  /**
   * Prepares a receive from a socket. `isEmpty` says that probably nothing has arrived yet: the kernel then waits for data
   * without looking first, which is cheaper. Data that is there nevertheless is received just as soon.
   */
  receive(fd: number, addr: number, length: number, isEmpty: boolean, owner: number, tag: number): void {
    this.prepare(RingOp.RECV, fd, 0, addr, length, 0, owner, tag);
    if (!isEmpty) return;
    const i = ((this.#tail - 1) & this.#sqMask) << 4;
    this.#sqes[i] = (this.#sqes[i] ?? 0) | this.#pollFirst;
  }

  /**
   * Registers the memory at `addr` with the kernel, so that reads and writes past the page cache need not pin it each time.
   * Returns a number for {@link prepareFixed}, or a negative errno: an old kernel, or RLIMIT_MEMLOCK.
   */
  registerBuffer(addr: number, lengthBytes: number): number {
    if (this.#buffers === 0 && this.#register(registerBuffers2, sparseTable(bufferSlots)) < 0) this.#buffers = -1;
    if (this.#buffers < 0 || this.#buffers === bufferSlots) return -ENOMEM;
    const vector = Uint32Array.of(addr, Math.floor(addr / 2 ** 32), lengthBytes, Math.floor(lengthBytes / 2 ** 32));
    const result = this.#fillPlace(registerBuffersUpdate, this.#buffers, vector);
    return result < 0 ? result : this.#buffers++;
  }

  /**
   * Registers the descriptor's file, so that operations need not look it up each time. {@link unregisterFile} must be called
   * before the descriptor is closed: until then its number refers to this file here, whatever it has been reused for. Returns
   * false, without effect, if the kernel cannot do this.
   */
  registerFile(fd: number): boolean {
    if (fd >= this.#isRegistered.length || this.#fillPlace(registerFilesUpdate2, fd, Int32Array.of(fd)) < 0) return false;
    this.#isRegistered[fd] = 1;
    return true;
  }

  /**
   * Removes a registered file; none of its operations may be in flight. No effect if it is not registered, or after {@link
   * close}.
   */
  unregisterFile(fd: number): void {
    if (this.#isRegistered[fd] !== 1 || this.#isClosed) return;
    this.#isRegistered[fd] = 0;
    this.#fillPlace(registerFilesUpdate2, fd, Int32Array.of(-1));
  }

  /** As {@link prepare}, for READ_FIXED and WRITE_FIXED, with memory inside the registered buffer of this number. */
  prepareFixed(
    op: RingOp,
    fd: number,
    offset: number,
    addr: number,
    length: number,
    buffer: number,
    owner: number,
    tag: number,
  ): void {
    this.prepare(op, fd, offset, addr, length, 0, owner, tag);
    this.#sqes[(((this.#tail - 1) & this.#sqMask) << 4) + 10] = buffer;
  }

  /** Prepares a discard of a block device's range; only if {@link supports} URING_CMD. */
  discard(fd: number, offsetBytes: number, lengthBytes: number, owner: number, tag: number): void {
    this.prepare(RingOp.URING_CMD, fd, blockDiscardCommand, offsetBytes, 0, 0, owner, tag);
    const i = ((this.#tail - 1) & this.#sqMask) << 4;
    this.#sqes[i + 12] = lengthBytes;
    this.#sqes[i + 13] = lengthBytes / 4_294_967_296;
  }

  /**
   * Prepares a cancellation of the operation with this owner and tag, which then ends with ECANCELED unless it ended before.
   */
  cancel(targetOwner: number, targetTag: number, owner: number, tag: number): void {
    this.prepare(RingOp.ASYNC_CANCEL, -1, 0, targetOwner * 4_294_967_296 + targetTag, 0, 0, owner, tag);
  }

  /**
   * Submits what is prepared, and waits until `minCompletions` can be drained or `timeoutMs` has passed (below 0: never). Also
   * returns early after a signal. Throws for an error that trying again does not fix.
   */
  enter(minCompletions: number, timeoutMs = -1): void {
    const { ffi, numbers, sqTail } = this.#layout;
    const fd = this.#enterFd;
    const flags = this.#enterFlags;
    Atomics.store(this.#ring, sqTail, this.#tail);
    const count = (this.#tail - this.#submitted) | 0;
    this.enters++;
    let result;
    if (minCompletions === 0 || timeoutMs < 0) {
      result = ffi.syscall(numbers.io_uring_enter, fd, count, minCompletions, flags);
    } else {
      if (timeoutMs !== this.#waitMs) {
        this.#waitMs = timeoutMs;
        const seconds = Math.floor(timeoutMs / 1000);
        this.#wait[8] = seconds;
        this.#wait[10] = (timeoutMs - seconds * 1000) * 1e6;
      }
      result = ffi.syscall(numbers.io_uring_enter, fd, count, minCompletions, flags | EXT_ARG, this.#waitAddr, 24);
    }
    if (result >= 0) {
      this.#submitted = (this.#submitted + result) | 0;
      return;
    }
    if (result !== -EINTR && result !== -EAGAIN && result !== -EBUSY && result !== -ETIME) {
      throw new Error(`io_uring_enter failed with errno ${-result}`);
    }
  }

  /** Whether {@link drain} has completions to report. */
  get hasCompletions(): boolean {
    if (this.#aside.length > 0) return true;
    return !this.#isClosed && Atomics.load(this.#ring, this.#layout.cqTail) !== this.#head;
  }

  /** Whether something is prepared and not yet submitted. */
  get hasPrepared(): boolean {
    return this.#tail !== this.#submitted;
  }

  /** Tells owners of all operations that have ended so far, and returns how many these were. */
  drain(): number {
    this.#isPostponedDue = this.#postponed.count > 0;
    let count = this.#aside.length === 0 ? 0 : this.#drainAside();
    const { cqHead, cqTail, cqes } = this.#layout;
    const ring = this.#ring;
    const tail = this.#isClosed ? this.#head : Atomics.load(ring, cqTail);
    // Preparing an operation may set completions aside; these are then before #head.
    while (((tail - this.#head) | 0) > 0 && !this.#isClosed) {
      const c = cqes + ((this.#head & this.#cqMask) << 2);
      this.#head = (this.#head + 1) | 0;
      count++;
      this.inFlight--;
      const owner = ring[c + 1] ?? 0;
      if (this.#isRare[owner] === true) this.#tellRare(owner, ring[c] ?? 0, ring[c + 2] ?? 0);
      else this.#owners[owner]?.onCompletion(ring[c] ?? 0, ring[c + 2] ?? 0);
    }
    if (!this.#isClosed) Atomics.store(ring, cqHead, this.#head);
    if (this.#aside.length > 0) count += this.#drainAside();
    return count;
  }

  /** Calls `flush` at the next {@link Ring.flush}, once for each call of this. */
  flushLater(flush: RingFlush): void {
    this.#flushes.add(flush);
  }

  /**
   * Calls `flush` after the next batch has been processed, or at the next {@link flushPostponed}, for work that should not
   * delay the operations prepared in the present batch.
   */
  postpone(flush: RingFlush): void {
    this.#postponed.add(flush);
  }

  /**
   * Calls the flushes requested by {@link flushLater}, and then the postponed ones if any were waiting when the batch began.
   * Returns the number of the former.
   */
  flush(): number {
    const count = this.#flushes.run();
    if (this.#isPostponedDue) this.flushPostponed();
    return count;
  }

  /** Calls all postponed flushes. Must be called before the thread sleeps. */
  flushPostponed(): void {
    this.#isPostponedDue = false;
    this.#postponed.run();
  }

  /** Closes the ring. The kernel cancels operations in flight at some later time, and their owners are not told. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // The mappings must not be accessed from here on.
    this.#ring = new Int32Array(0);
    this.#sqes = new Int32Array(0);
    this.#unregisterSelf();
    const { ffi, numbers, fd, ringAddr, ringBytes, sqesAddr, sqesBytes } = this.#layout;
    // A mapping keeps the ring alive, just as the descriptor does.
    ffi.syscall(numbers.munmap, sqesAddr, sqesBytes);
    ffi.syscall(numbers.munmap, ringAddr, ringBytes);
    ffi.syscall(numbers.close, fd);
  }

  /** Index of the next free entry; submits the others if there is none. */
  #next(): number {
    if (this.#isClosed) throw new Error('the ring is closed');
    while (((this.#tail - this.#submitted) | 0) > this.#sqMask) {
      this.enter(0);
      // The kernel may refuse because there is no room for completions.
      if (((this.#tail - this.#submitted) | 0) > this.#sqMask) this.#setAside();
    }
    const i = (this.#tail & this.#sqMask) << 4;
    this.#tail = (this.#tail + 1) | 0;
    this.inFlight++;
    return i;
  }

  #tellRare(owner: number, tag: number, result: number): void {
    this.#owners[owner]?.onCompletion(tag, result);
  }

  #setAside(): void {
    const { cqHead, cqTail, cqes } = this.#layout;
    const tail = Atomics.load(this.#ring, cqTail);
    for (; ((tail - this.#head) | 0) > 0; this.#head = (this.#head + 1) | 0) {
      const c = cqes + ((this.#head & this.#cqMask) << 2);
      this.#aside.push(this.#ring[c] ?? 0, this.#ring[c + 1] ?? 0, this.#ring[c + 2] ?? 0);
    }
    Atomics.store(this.#ring, cqHead, this.#head);
  }

  #drainAside(): number {
    let count = 0;
    for (; this.#aside.length > 0 && !this.#isClosed; count++) {
      const [tag = 0, owner = 0, result = 0] = this.#aside.splice(0, 3);
      this.inFlight--;
      this.#tellRare(owner, tag, result);
    }
    return count;
  }

  /** Calls io_uring_register(2). Returns 0 or more, or a negative errno. */
  #register(op: number, argument: Uint32Array<ArrayBuffer>, length = argument.byteLength): number {
    const { ffi, numbers, fd } = this.#layout;
    return ffi.syscall(numbers.io_uring_register, fd, op, ffi.addressOf(argument), length);
  }

  /** Fills one entry of a table from `content`. */
  #fillPlace(op: number, place: number, content: Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>): number {
    const addr = this.#layout.ffi.addressOf(content);
    // struct io_uring_rsrc_update2: first entry, 0, address of the content, address of tags, number, 0.
    return this.#register(op, Uint32Array.of(place, 0, addr, Math.floor(addr / 2 ** 32), 0, 0, 1, 0));
  }

  /**
   * Older kernels keep a removed file open until everything in flight on the ring has ended, so that claims would outlive their
   * devices; no table is used there.
   */
  #makeFileTable(): boolean {
    return this.#layout.releasesFiles && this.#register(registerFiles2, sparseTable(fileSlots)) >= 0;
  }

  #registerSelf(): void {
    // struct io_uring_rsrc_update: wanted number or -1 for any, 0, descriptor. One of them.
    const update = Uint32Array.of(0xffff_ffff, 0, this.#layout.fd, 0);
    if (this.#register(registerRingFds, update, 1) !== 1) return;
    this.#enterFd = update[0] ?? -1;
    this.#enterFlags = GETEVENTS | REGISTERED_RING;
  }

  /** Without this the ring would live as long as the thread. */
  #unregisterSelf(): void {
    if ((this.#enterFlags & REGISTERED_RING) !== 0)
      this.#register(unregisterRingFds, Uint32Array.of(this.#enterFd, 0, 0, 0), 1);
  }

  #probe(): Uint8Array {
    const { ffi, numbers, fd } = this.#layout;
    // struct io_uring_probe: 16 bytes, then 8 for each operation, with a flag at byte 2 if the operation exists.
    const bytes = new Uint8Array(new ArrayBuffer(16 + 8 * probeOps));
    const supported = new Uint8Array(probeOps);
    if (ffi.syscall(numbers.io_uring_register, fd, registerProbe, ffi.addressOf(bytes), probeOps) < 0) return supported;
    for (let op = 0; op < probeOps; op++) supported[op] = (bytes[16 + 8 * op + 2] ?? 0) & 1;
    return supported;
  }
}

/** struct io_uring_rsrc_register: number, flags, and 24 bytes for initial contents. */
function sparseTable(places: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.of(places, isSparse, 0, 0, 0, 0, 0, 0);
}

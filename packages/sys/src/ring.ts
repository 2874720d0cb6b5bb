import { constants } from 'node:os';
import { RingOp } from './constants.js';
import { FlushList } from './flush-list.js';
import type { RingFlush } from './flush-list.js';
import type { RingLayout } from './ring-setup.js';
import { setUpRing } from './ring-setup.js';

const GETEVENTS = 1;
const EXT_ARG = 8;
const registerProbe = 8;
// io_uring_register(2): tables of files and buffers with holes (5.19), and what fills them; the ring's own descriptor (5.18).
const registerFiles2 = 13;
const registerFilesUpdate2 = 14;
const registerBuffers2 = 15;
const registerBuffersUpdate = 16;
const registerRingFds = 20;
const unregisterRingFds = 21;
const isSparse = 1;
const bufferSlots = 4096;
/** Descriptors below this can be registered; each has the place of its own number. */
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

/** Who prepared an operation, and hears of its end. */
export interface RingOwner {
  /** Called once for each operation, from {@link Ring.drain}. `result` is 0 or more, or a negative errno. */
  onCompletion(tag: number, result: number): void;
}

/** Options of {@link openRing}. */
export interface RingOptions {
  /** Submissions that fit in between two enters; a power of two. Default 1024. Completions: eight times as many. */
  entries?: number;
  /** For tests: 0, the default, is what the newest kernels have; 1 to 3 pretend ever older ones. */
  firstFlagSet?: number;
}

/** A ring for the calling thread, which alone may use it; or why there is none, for a log line. */
export function openRing(options: RingOptions = {}): { ring: Ring; reason: '' } | { ring: null; reason: string } {
  const layout = setUpRing(options.entries ?? 1024, options.firstFlagSet ?? 0);
  return typeof layout === 'string' ? { ring: null, reason: layout } : { ring: new Ring(layout), reason: '' };
}

/**
 * One io_uring. Operations are prepared, handed to the kernel in batches by {@link enter}, and their ends told by
 * {@link drain}. Nothing is allocated per operation. Memory and descriptors that an operation uses must stay valid until
 * its owner has heard of its end.
 */
export class Ring {
  /** Operations that were prepared and have not ended. */
  inFlight = 0;
  /** Operations of devices among these, as their owners count them: they are certain to end soon, and do not wait for a client. */
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
  /** Completions that were taken out of a full ring in the middle of something else: tag, owner, result. */
  #aside: number[] = [];
  readonly #flushes = new FlushList();
  readonly #postponed = new FlushList();
  /** A flush had been put off when the present batch began. */
  #isPostponedDue = false;
  readonly #supported: Uint8Array;
  /** {@link pollFirst}, or 0 if the kernel does not know it. */
  readonly #pollFirst: number;
  // struct io_uring_getevents_arg at 0, struct __kernel_timespec at 32.
  readonly #wait = new Uint32Array(new ArrayBuffer(48));
  readonly #waitAddr: number;
  #waitMs = -1;
  /** What is entered, and how: the ring by its descriptor, or, which saves looking that up, by a number that this thread has for it. */
  #enterFd: number;
  #enterFlags: number;
  /** By descriptor: 1 if it is in the table of files. Without a table: empty. */
  readonly #isRegistered: Uint8Array;
  /** Places of the table of buffers that are taken; -1 if the kernel has refused to make it. */
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
    // Both came with the same kernel.
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
   * Gives an owner the number that it prepares operations with. One of a kind of its own that hears of few is to be `rare`: where
   * it is called, V8 knows four kinds of owners at most, and takes much longer for each if there are more.
   */
  addOwner(owner: RingOwner, isRare = false): number {
    const id = this.#freeOwners.pop() ?? this.#owners.length;
    this.#owners[id] = owner;
    this.#isRare[id] = isRare;
    return id;
  }

  /** The number may be given to another owner: no operation of the owner's may be in flight. */
  removeOwner(id: number): void {
    this.#owners[id] = null;
    this.#freeOwners.push(id);
  }

  /**
   * Prepares an operation. `offset`, `addr` and `opFlags` mean what the operation makes of them (io_uring_enter(2)); addresses
   * are the process's. `tag`, 31 bits, comes back with the completion.
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
   * Prepares a receive from a socket. `isEmpty`: the caller has reason to believe that nothing is there yet. The kernel then waits
   * for something without looking first, which costs it less; what is there all the same is received as soon.
   */
  receive(fd: number, addr: number, length: number, isEmpty: boolean, owner: number, tag: number): void {
    this.prepare(RingOp.RECV, fd, 0, addr, length, 0, owner, tag);
    if (!isEmpty) return;
    const i = ((this.#tail - 1) & this.#sqMask) << 4;
    this.#sqes[i] = (this.#sqes[i] ?? 0) | this.#pollFirst;
  }

  /**
   * Has the kernel look up, and hold, the memory at `addr` once and for all: reads and writes past the page cache then need not
   * do so each time. Returns a number for {@link prepareFixed}, or a negative errno: an old kernel, or RLIMIT_MEMLOCK.
   */
  registerBuffer(addr: number, lengthBytes: number): number {
    if (this.#buffers === 0 && this.#register(registerBuffers2, sparseTable(bufferSlots)) < 0) this.#buffers = -1;
    if (this.#buffers < 0 || this.#buffers === bufferSlots) return -ENOMEM;
    const vector = Uint32Array.of(addr, Math.floor(addr / 2 ** 32), lengthBytes, Math.floor(lengthBytes / 2 ** 32));
    const result = this.#fillPlace(registerBuffersUpdate, this.#buffers, vector);
    return result < 0 ? result : this.#buffers++;
  }

  /**
   * Has the kernel hold the descriptor's file, which operations on it then need not look up each time. {@link unregisterFile}
   * must come before the descriptor is closed: until then its number means that file, whatever else it may have been given to.
   * False if the kernel cannot, and everything is as before.
   */
  registerFile(fd: number): boolean {
    if (fd >= this.#isRegistered.length || this.#fillPlace(registerFilesUpdate2, fd, Int32Array.of(fd)) < 0) return false;
    this.#isRegistered[fd] = 1;
    return true;
  }

  /** Nothing of the descriptor's may be in flight. No effect on one that is not registered, or after {@link close}. */
  unregisterFile(fd: number): void {
    if (this.#isRegistered[fd] !== 1 || this.#isClosed) return;
    this.#isRegistered[fd] = 0;
    this.#fillPlace(registerFilesUpdate2, fd, Int32Array.of(-1));
  }

  /** As {@link prepare}, for READ_FIXED and WRITE_FIXED, of memory inside the buffer of this number. */
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

  /** Prepares the end of the operation with this owner and tag, which then ends with ECANCELED unless it was quicker. */
  cancel(targetOwner: number, targetTag: number, owner: number, tag: number): void {
    this.prepare(RingOp.ASYNC_CANCEL, -1, 0, targetOwner * 4_294_967_296 + targetTag, 0, 0, owner, tag);
  }

  /**
   * Hands over what is prepared, and waits until `minCompletions` can be drained or `timeoutMs` (below 0: for ever) is over.
   * Also returns early, when a signal came. Throws for an error that no second try mends.
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

  /** Whether {@link drain} has something to tell. */
  get hasCompletions(): boolean {
    if (this.#aside.length > 0) return true;
    return !this.#isClosed && Atomics.load(this.#ring, this.#layout.cqTail) !== this.#head;
  }

  /** Whether something is prepared that the kernel does not have yet. */
  get hasPrepared(): boolean {
    return this.#tail !== this.#submitted;
  }

  /** Tells owners of what has ended, up to now. Returns how many operations that were. */
  drain(): number {
    this.#isPostponedDue = this.#postponed.count > 0;
    let count = this.#aside.length === 0 ? 0 : this.#drainAside();
    const { cqHead, cqTail, cqes } = this.#layout;
    const ring = this.#ring;
    const tail = this.#isClosed ? this.#head : Atomics.load(ring, cqTail);
    // An owner that prepares may have completions set aside: they are then behind #head.
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

  /** Has `flush` called at the next {@link Ring.flush}, once for each call of this. */
  flushLater(flush: RingFlush): void {
    this.#flushes.add(flush);
  }

  /**
   * Has `flush` called once the next batch has been dealt with, or at the next {@link flushPostponed}: for what need not hold up
   * the operations that are prepared in the present one.
   */
  postpone(flush: RingFlush): void {
    this.#postponed.add(flush);
  }

  /** Calls those that asked for it, and then, if some have been put off since an earlier batch, those too. Returns how many the former were. */
  flush(): number {
    const count = this.#flushes.run();
    if (this.#isPostponedDue) this.flushPostponed();
    return count;
  }

  /** Calls all that have been put off. To be done before a sleep. */
  flushPostponed(): void {
    this.#isPostponedDue = false;
    this.#postponed.run();
  }

  /** Ends the ring. Operations in flight are cancelled by the kernel in its own time, and their owners are not told. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Nothing may look at the mappings from here on.
    this.#ring = new Int32Array(0);
    this.#sqes = new Int32Array(0);
    this.#unregisterSelf();
    const { ffi, numbers, fd, ringAddr, ringBytes, sqesAddr, sqesBytes } = this.#layout;
    // A mapping holds the ring as well as the descriptor does.
    ffi.syscall(numbers.munmap, sqesAddr, sqesBytes);
    ffi.syscall(numbers.munmap, ringAddr, ringBytes);
    ffi.syscall(numbers.close, fd);
  }

  /** Index of the next free entry; hands over the others if there is none. */
  #next(): number {
    if (this.#isClosed) throw new Error('the ring is closed');
    while (((this.#tail - this.#submitted) | 0) > this.#sqMask) {
      this.enter(0);
      // The kernel may refuse because completions have no room.
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

  /** One call of io_uring_register(2). 0 or more, or a negative errno. */
  #register(op: number, argument: Uint32Array<ArrayBuffer>, length = argument.byteLength): number {
    const { ffi, numbers, fd } = this.#layout;
    return ffi.syscall(numbers.io_uring_register, fd, op, ffi.addressOf(argument), length);
  }

  /** Puts what `content` describes into one place of a table. */
  #fillPlace(op: number, place: number, content: Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>): number {
    const addr = this.#layout.ffi.addressOf(content);
    // struct io_uring_rsrc_update2: first place, 0, address of the content, address of tags, number, 0.
    return this.#register(op, Uint32Array.of(place, 0, addr, Math.floor(addr / 2 ** 32), 0, 0, 1, 0));
  }

  /** Older kernels hold a file until everything that was in flight anywhere has ended: claims would outlive their devices. */
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

  /** Otherwise the ring would live for as long as the thread. */
  #unregisterSelf(): void {
    if ((this.#enterFlags & REGISTERED_RING) !== 0)
      this.#register(unregisterRingFds, Uint32Array.of(this.#enterFd, 0, 0, 0), 1);
  }

  #probe(): Uint8Array {
    const { ffi, numbers, fd } = this.#layout;
    // struct io_uring_probe: 16 bytes, then 8 for each operation, with a flag at 2 that says that it exists.
    const bytes = new Uint8Array(new ArrayBuffer(16 + 8 * probeOps));
    const supported = new Uint8Array(probeOps);
    if (ffi.syscall(numbers.io_uring_register, fd, registerProbe, ffi.addressOf(bytes), probeOps) < 0) return supported;
    for (let op = 0; op < probeOps; op++) supported[op] = (bytes[16 + 8 * op + 2] ?? 0) & 1;
    return supported;
  }
}

/** struct io_uring_rsrc_register: number, flags, and 24 bytes for what is to be filled in at once. */
function sparseTable(places: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.of(places, isSparse, 0, 0, 0, 0, 0, 0);
}

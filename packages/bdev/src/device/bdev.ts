import type { BdevDriver } from './driver.js';
import { BdevError } from '../errors.js';
import { IoState, IoType } from '../io/io.js';
import type { BdevIo, IoChannel, IoHost, IoTarget } from '../io/io.js';
import { RateLimiter, noRateLimits } from './rate-limiter.js';
import type { RateLimits } from './rate-limiter.js';
import { dispatch } from './split.js';
import { QuiesceRanges } from './quiesce.js';
import type { QuiesceRange } from './quiesce.js';
import { RangeLocks } from '../locks/range-locks.js';
import { LookTimer } from '../runtime/look-timer.js';
import type { TimerHandle } from '../runtime/runtime.js';
import { BdevStats } from '../io/stats.js';
import { Status, statusName } from '../io/status.js';

/** A flush gets this many times the timeout of a read, since it may have to write out a whole cache. */
export const flushTimeoutMultiplier = 4;
/** The timeout of an unmap or write zeroes is multiplied by its length in units of this many bytes, rounded up. */
const zeroedBytesPerTimeout = 64 * 1024 * 1024;
/**
 * Milliseconds until requests that the driver refused for lack of resources are submitted again, unless another one completes
 * first.
 */
const retryMs = 1;

/** An event that a device reports to its open descriptors. */
export type BdevEvent =
  /** The device is going away: stop using it and close the descriptor. New I/O already fails with ENODEV. */
  | { type: 'remove' }
  /** The device has a new size. */
  | { type: 'resize'; numBlocks: number }
  /** An I/O through this descriptor has timed out; its owner is told next. The device may still carry it out. */
  | { type: 'timeout' };

/** An open descriptor as the device sees it; `BdevDescriptor` implements it. */
export interface OpenHandle extends IoChannel {
  readonly writable: boolean;
  notify(event: BdevEvent): void;
  close(): void;
}

/** Properties of a new device. */
export interface BdevOptions {
  /** Unique among names and aliases of the registry; 1 to 255 characters. */
  name: string;
  /** RFC 9562 text, lower case. */
  uuid: string;
  aliases?: readonly string[];
  /** Bytes; a power of two, 512 to 65,536. */
  blockSize: number;
  numBlocks: number;
  /** Blocks; 0 for none. I/O that does not cross a multiple of it is cheapest. */
  optimalIoBoundary?: number;
  /** The layer splits reads at multiples of `optimalIoBoundary`, and writes too unless `splitOnWriteUnit` is set. */
  splitOnBoundary?: boolean;
  /** Preferred size and alignment of writes, in blocks; 1 for none. */
  writeUnitSize?: number;
  /** The layer splits writes at multiples of `writeUnitSize`. */
  splitOnWriteUnit?: boolean;
  isReadOnly?: boolean;
  /** The serial number printed on the disk, shown to people. Default null: not known. */
  serial?: string | null;
  driver: BdevDriver;
}

/** Lifecycle state of a device. */
export type BdevState = 'new' | 'registered' | 'removing' | 'removed';

/**
 * A block device as its users see it. The owner of the hardware (a {@link BdevDriver}) creates it and registers it in a {@link
 * BdevRegistry}; users open descriptors. It validates, splits, retries, times and counts requests and holds quiesced ranges
 * back, so that drivers need not.
 */
export class Bdev implements IoTarget {
  readonly name: string;
  readonly uuid: string;
  readonly aliases: readonly string[];
  readonly blockSize: number;
  readonly isReadOnly: boolean;
  /** The serial number printed on the disk, shown to people; null if it is not known. */
  readonly serial: string | null;
  readonly driver: BdevDriver;
  readonly stats = new BdevStats();
  optimalIoBoundary: number;
  splitOnBoundary: boolean;
  writeUnitSize: number;
  splitOnWriteUnit: boolean;
  /**
   * Locks on ranges of blocks for users that read, modify and write parts of blocks. The device has one set of them, because
   * users with separate descriptors write to the same blocks. Whole-block writes hold a shared lock, others an exclusive one.
   */
  readonly writeLocks = new RangeLocks();

  #numBlocks: number;
  #state: BdevState = 'new';
  #claimedBy: string | null = null;
  readonly #descriptors = new Set<OpenHandle>();
  #registry: IoHost | null = null;
  readonly #quiesced = new QuiesceRanges();
  /** Null until rate limits are set for the first time. */
  #limiter: RateLimiter | null = null;
  #head: BdevIo | null = null;
  #tail: BdevIo | null = null;
  #tracked = 0;
  /** I/O that has timed out for its owner and is still in flight in the driver. */
  readonly #abandoned = new Set<BdevIo>();
  /** The device has rejected a flush as unsupported and counts as write-through. */
  #isFlushRefused = false;
  /** The driver has completed a flush, so a flush that it rejects later is an error. */
  #hasFlushed = false;
  #lastAnswerAt = -Infinity;
  readonly #retry: BdevIo[] = [];
  #retryTimer: TimerHandle | null = null;
  readonly #deadlines = new LookTimer(() => this.#checkDeadlines());
  #onIdle: (() => void) | null = null;

  constructor(options: BdevOptions) {
    this.name = options.name;
    this.uuid = options.uuid;
    this.aliases = options.aliases ?? [];
    this.blockSize = options.blockSize;
    this.#numBlocks = options.numBlocks;
    this.optimalIoBoundary = options.optimalIoBoundary ?? 0;
    this.splitOnBoundary = options.splitOnBoundary ?? false;
    this.writeUnitSize = options.writeUnitSize ?? 1;
    this.splitOnWriteUnit = options.splitOnWriteUnit ?? false;
    this.isReadOnly = options.isReadOnly ?? false;
    this.serial = options.serial ?? null;
    this.driver = options.driver;
  }

  /** The registry of this device. Throws ENODEV if it is not registered. */
  get registry(): IoHost {
    if (this.#registry === null) {
      throw new BdevError('ERR_BDEV_MISUSE', Status.NoDevice, `bdev ${this.name} is not registered`);
    }
    return this.#registry;
  }

  /** Size in blocks. */
  get numBlocks(): number {
    return this.#numBlocks;
  }

  get state(): BdevState {
    return this.#state;
  }

  /** Name of the owner of the exclusive write claim, for messages; null if the device is not claimed. */
  get claimedBy(): string | null {
    return this.#claimedBy;
  }

  /** The open descriptors. */
  get descriptors(): ReadonlySet<OpenHandle> {
    return this.#descriptors;
  }

  /** Called by the registry when the device is registered. @internal */
  attach(registry: IoHost): void {
    this.#registry = registry;
    this.#state = 'registered';
  }

  /** Called by the registry when a descriptor is opened. @internal */
  addDescriptor(descriptor: OpenHandle): void {
    this.#descriptors.add(descriptor);
  }

  /** Called by the registry when a descriptor is closed. @internal */
  removeDescriptor(descriptor: OpenHandle): void {
    this.#descriptors.delete(descriptor);
  }

  /** Called by the descriptor that claims the device, or releases its claim (null). @internal */
  setClaim(owner: string | null): void {
    this.#claimedBy = owner;
  }

  /**
   * Whether the device accepts requests of this type. Write zeroes are emulated where the driver lacks them. A flush succeeds
   * on every device: one without flush has no volatile cache, so what it has acknowledged is on stable media.
   */
  supports(type: IoType): boolean {
    if (type === IoType.Reset) return true;
    if (this.isReadOnly && type !== IoType.Read && type !== IoType.Flush) return false;
    if (type === IoType.WriteZeroes) return this.driver.supports(IoType.Write);
    return this.driver.supports(type);
  }

  /** Number of I/Os that have timed out for their owner and are still in flight in the driver, which may yet carry them out. */
  get abandoned(): number {
    return this.#abandoned.size;
  }

  /** Runtime milliseconds at which the oldest I/O in flight was submitted; Infinity if none is in flight. */
  get oldestSubmittedAt(): number {
    return this.#head?.submittedAt ?? Infinity;
  }

  /**
   * Runtime milliseconds at which an I/O last completed, with or without an error; a timeout does not count. -Infinity if none
   * has.
   */
  get lastAnswerAt(): number {
    return this.#lastAnswerAt;
  }

  /** Number of I/Os that were accepted and have not completed or timed out. */
  get outstanding(): number {
    return this.#tracked;
  }

  /** For the driver's side: sets a new size and tells every descriptor of the device. */
  resize(numBlocks: number): void {
    if (numBlocks === this.numBlocks) return;
    this.#numBlocks = numBlocks;
    for (const descriptor of [...this.#descriptors]) descriptor.notify({ type: 'resize', numBlocks });
  }

  /**
   * For the driver's side: holds back new requests that touch the range and calls `onQuiesced` in a later turn, once those in
   * flight are done, including those that have timed out. Ranges may overlap; a request that overlaps several waits for all of
   * them. Flush and reset are never held back.
   */
  quiesce(offsetBlocks: number, numBlocks: number, onQuiesced: () => void): QuiesceRange {
    const range = this.#quiesced.add(offsetBlocks, numBlocks, onQuiesced);
    for (let io = this.#head; io !== null; io = io.next) this.#quiesced.count(range, io);
    // They have timed out for their owners, but the device may still carry them out.
    for (const io of this.#abandoned) this.#quiesced.count(range, io);
    if (range.pending === 0) this.registry.runtime.soon(() => range.settle());
    return range;
  }

  /** Ends a quiesce and submits the requests that waited for it, in their order. */
  unquiesce(range: QuiesceRange): void {
    for (const io of this.#quiesced.remove(range)) this.#admit(io);
  }

  /** Starts a request of a descriptor. Its owner learns of every outcome, refusals included, in a later turn. @internal */
  submit(io: BdevIo, descriptor: OpenHandle): void {
    // A request that has timed out counts as in flight until the driver completes it.
    if (io.state !== IoState.Idle) {
      throw new BdevError('ERR_BDEV_MISUSE', Status.Invalid, `bdev ${this.name}: an I/O was submitted while it was in flight`);
    }
    io.bdev = this;
    io.descriptor = descriptor;
    io.status = this.#refusal(io);
    if (io.status !== Status.Ok) {
      this.#refuse(io, io.status);
      return;
    }
    if (this.#limiter !== null && this.#limiter.hold(io)) {
      io.state = IoState.Queued;
      return;
    }
    this.#admit(io);
  }

  /** Rate limits of the device's users. A change applies at once, also to requests that earlier limits hold back. */
  get rateLimits(): RateLimits {
    return this.#limiter?.limits ?? noRateLimits;
  }

  set rateLimits(limits: RateLimits) {
    this.#limiter ??= new RateLimiter(this.registry.runtime, this.blockSize, (io) => this.#admitHeld(io));
    this.#limiter.limits = limits;
  }

  /**
   * Completes with ECANCELED those requests held back by rate limits that `isUnwanted` selects. None of them has reached the
   * driver. Owners are told in a later turn. `isUnwanted` must start and end no I/O.
   */
  cancelHeld(isUnwanted: (io: BdevIo) => boolean): void {
    if (this.#limiter === null) return;
    for (const io of this.#limiter.takeOut(isUnwanted)) this.#refuse(io, Status.Cancelled);
  }

  /**
   * Called when removal of the device begins: new requests are refused, and none is held back by rate limits any more. @internal
   */
  onRemoving(): void {
    this.#state = 'removing';
    this.#limiter?.releaseAll();
  }

  /** Called when the device is removed. @internal */
  onRemoved(): void {
    this.#state = 'removed';
  }

  /** Checks a request again: while the limits held it back, the device may have been removed or have shrunk. */
  #admitHeld(io: BdevIo): void {
    const status = this.#refusal(io);
    if (status === Status.Ok) this.#admit(io);
    else this.#refuse(io, status);
  }

  /** Completes an I/O that never reached the driver; its owner is told in a later turn. */
  #refuse(io: BdevIo, status: Status): void {
    io.status = status;
    io.state = IoState.Refused;
    this.registry.defer(io);
  }

  /** Called by `BdevIo.complete` when the driver has completed the request. @internal */
  onDriverDone(io: BdevIo, status: Status): void {
    if (io.state === IoState.Submitting) {
      io.status = status;
      io.state = IoState.Deferred;
      this.registry.defer(io);
      return;
    }
    if (io.state !== IoState.InDriver) {
      throw new BdevError('ERR_BDEV_MISUSE', Status.Invalid, `bdev ${this.name}: an I/O was completed twice`);
    }
    this.#leftDriver(io, status);
  }

  /** Tells the owner of a request that was completed or refused inside `submit`. @internal */
  onDeferred(io: BdevIo): void {
    if (io.state === IoState.Refused) {
      io.state = IoState.Idle;
      io.owner.onIoDone(io);
      return;
    }
    this.#leftDriver(io, io.status);
  }

  /** Hands a request to the driver, or queues it while the driver is out of resources. @internal */
  toDriver(io: BdevIo): void {
    if (this.#retry.length > 0) {
      io.state = IoState.Queued;
      this.#retry.push(io);
      return;
    }
    this.#enterDriver(io);
  }

  /** Completes the request: no driver and no child has it any more. @internal */
  done(io: BdevIo, status: Status): void {
    io.state = IoState.Idle;
    if (io.isAbandoned) {
      this.#reclaim(io);
      return;
    }
    io.status = io.type === IoType.Flush ? this.#flushStatus(status) : status;
    if (io.isTracked) this.#untrack(io);
    io.owner.onIoDone(io);
  }

  /**
   * Translates the status of a flush. A device that rejects flushes (EINVAL, EOPNOTSUPP) although its driver supports them
   * counts as write-through, as in Linux, unless it has completed a flush before. ENOSPC becomes EIO: on a write it means that
   * nothing acknowledged was lost, but a flush that finds no space has lost data.
   */
  #flushStatus(status: Status): Status {
    if (status === Status.NoSpace) return Status.IoError;
    if (status === Status.Ok) this.#hasFlushed = true;
    if (status !== Status.Invalid && status !== Status.NotSupported) return status;
    if (this.#hasFlushed) return Status.IoError;
    if (!this.#isFlushRefused) {
      const fields = { bdev: this.name, status: statusName(status) };
      this.registry.runtime.log.warn(fields, 'the device does not support flush: it is treated as write-through');
      this.#isFlushRefused = true;
    }
    return Status.Ok;
  }

  /** Sets the deadline of everything in flight through the descriptor to now. @internal */
  expire(descriptor: OpenHandle): void {
    const now = this.registry.runtime.now();
    let isAny = false;
    for (let io = this.#head; io !== null; io = io.next) {
      if (io.descriptor !== descriptor || io.deadlineAt <= now) continue;
      io.deadlineAt = now;
      isAny = true;
    }
    if (isAny) this.#deadlines.set(this.registry.runtime, now);
  }

  /**
   * Number of timeouts that a request of this kind may take, since some take a healthy device longer. If the descriptor has
   * `onOverdue`, its owner is asked about a flush after one timeout, as for a read.
   */
  timeoutMultiplier(io: BdevIo): number {
    if (io.type === IoType.Flush) return io.descriptor?.onOverdue === null ? flushTimeoutMultiplier : 1;
    if (io.type !== IoType.Unmap && io.type !== IoType.WriteZeroes) return 1;
    return Math.ceil((io.numBlocks * this.blockSize) / zeroedBytesPerTimeout);
  }

  /** Resolves when nothing is in flight; requests that have timed out do not count. @internal */
  whenIdle(): Promise<void> {
    if (this.#tracked === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #refusal(io: BdevIo): Status {
    if (this.state !== 'registered') return Status.NoDevice;
    if (io.type !== IoType.Flush && !this.supports(io.type)) {
      return this.isReadOnly && io.type !== IoType.Reset ? Status.NotPermitted : Status.NotSupported;
    }
    if (io.type === IoType.Flush || io.type === IoType.Reset) return Status.Ok;
    const { offsetBlocks, numBlocks } = io;
    const inside =
      Number.isSafeInteger(offsetBlocks) &&
      Number.isSafeInteger(numBlocks) &&
      offsetBlocks >= 0 &&
      numBlocks > 0 &&
      offsetBlocks + numBlocks <= this.numBlocks;
    if (!inside) return Status.Invalid;
    if ((io.type === IoType.Read || io.type === IoType.Write) && io.addr < 0) return Status.Invalid;
    return Status.Ok;
  }

  #admit(io: BdevIo): void {
    if (this.#quiesced.isActive && this.#quiesced.hold(io)) {
      io.state = IoState.Queued;
      return;
    }
    this.#track(io);
    dispatch(this, io);
  }

  #enterDriver(io: BdevIo): void {
    io.state = IoState.Submitting;
    if (io.type === IoType.Flush && !this.driver.supports(IoType.Flush)) io.complete(Status.Ok);
    else this.driver.submit(io);
    if ((io.state as IoState) === IoState.Submitting) io.state = IoState.InDriver;
  }

  #leftDriver(io: BdevIo, status: Status): void {
    if (status === Status.NoMemory && this.state === 'registered' && !io.isUnwanted) {
      this.stats.retries++;
      io.state = IoState.Queued;
      this.#retry.push(io);
      // Needed even while other requests are in flight: they may be stuck.
      this.#retryLater();
      return;
    }
    if (this.#retry.length > 0) this.#retryNow();
    this.done(io, status === Status.NoMemory ? Status.NoDevice : status);
  }

  #retryLater(): void {
    this.#retryTimer ??= this.registry.runtime.setTimer(() => {
      this.#retryTimer = null;
      this.#retryNow();
    }, retryMs);
  }

  /** Submits the queued requests to the driver once more. What it refuses again goes to the end of the queue. */
  #retryNow(): void {
    for (let count = this.#retry.length; count > 0; count--) {
      const io = this.#retry.shift();
      if (io === undefined) return;
      if (io.isUnwanted) this.done(io, Status.Cancelled);
      else this.#enterDriver(io);
    }
  }

  #track(io: BdevIo): void {
    const now = this.registry.runtime.now();
    io.isTracked = true;
    io.submittedAt = now;
    io.prev = this.#tail;
    io.next = null;
    if (this.#tail === null) this.#head = io;
    else this.#tail.next = io;
    this.#tail = io;
    this.#tracked++;
    this.stats.started(now);
    const timeoutMs = io.descriptor?.ioTimeoutMs ?? 0;
    io.deadlineAt = timeoutMs > 0 ? now + timeoutMs * this.timeoutMultiplier(io) : Infinity;
    if (io.deadlineAt < this.#deadlines.dueAt) this.#deadlines.set(this.registry.runtime, io.deadlineAt);
  }

  #untrack(io: BdevIo): void {
    io.isTracked = false;
    if (io.prev === null) this.#head = io.next;
    else io.prev.next = io.next;
    if (io.next === null) this.#tail = io.prev;
    else io.next.prev = io.prev;
    io.prev = null;
    io.next = null;
    this.#tracked--;
    const hasRange = io.type !== IoType.Flush && io.type !== IoType.Reset;
    const lengthBytes = hasRange ? io.numBlocks * this.blockSize : 0;
    const now = this.registry.runtime.now();
    if (io.status !== Status.TimedOut) this.#lastAnswerAt = now;
    this.stats.finished(io, lengthBytes, now);
    if (this.#quiesced.isActive && !io.isAbandoned) this.#quiesced.release(io);
    if (this.#tracked === 0 && this.#onIdle !== null) {
      const onIdle = this.#onIdle;
      this.#onIdle = null;
      onIdle();
    }
  }

  #checkDeadlines(): void {
    const { runtime } = this.registry;
    const now = runtime.now();
    // The owner of a timed-out I/O may change the list, so each search starts at its head.
    for (let io = this.#firstOverdue(now); io !== null; io = this.#firstOverdue(now)) {
      const moreMs = io.descriptor?.onOverdue?.(io) ?? 0;
      if (moreMs > 0) io.deadlineAt = now + moreMs;
      else this.#abandon(io);
    }
    let earliest = Infinity;
    for (let io = this.#head; io !== null; io = io.next) earliest = Math.min(earliest, io.deadlineAt);
    if (earliest < this.#deadlines.dueAt) this.#deadlines.set(runtime, earliest);
  }

  #firstOverdue(now: number): BdevIo | null {
    for (let io = this.#head; io !== null; io = io.next) if (io.deadlineAt <= now) return io;
    return null;
  }

  #abandon(io: BdevIo): void {
    this.stats.timeouts++;
    io.status = Status.TimedOut;
    io.isAbandoned = true;
    this.#abandoned.add(io);
    this.#untrack(io);
    io.descriptor?.notify({ type: 'timeout' });
    if (io.addr >= 0) this.registry.runtime.memory.pin(io.addr);
    io.owner.onIoDone(io);
  }

  /** The driver has completed an I/O that timed out for its owner earlier. */
  #reclaim(io: BdevIo): void {
    if (io.addr >= 0) this.registry.runtime.memory.unpin(io.addr);
    io.isAbandoned = false;
    this.#abandoned.delete(io);
    if (this.#quiesced.isActive) this.#quiesced.release(io);
    if (!io.isReleased) return;
    io.isReleased = false;
    this.registry.ios.put(io);
  }
}

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
import type { TimerHandle } from '../runtime/runtime.js';
import { BdevStats } from '../io/stats.js';
import { Status, statusName } from '../io/status.js';

/** A flush may have to write out a whole cache: it has up to this many times as long as a read. */
export const flushTimeoutMultiplier = 4;
/** Unmap and write zeroes have the timeout once for each of so many bytes. */
const zeroedBytesPerTimeout = 64 * 1024 * 1024;

/** How long to wait before asking a device again that was out of resources, unless something completes, in milliseconds. */
const retryMs = 1;

/** What happens to a device while it is open. */
export type BdevEvent =
  /** The device is going away: stop using it and close the descriptor. New I/O already fails with ENODEV. */
  | { type: 'remove' }
  /** The device has a new size. */
  | { type: 'resize'; numBlocks: number }
  /** An I/O through this descriptor was given up; its owner is told next. The device may still carry it out. */
  | { type: 'timeout' };

/** An open use of a device: `OpenHandle`. */
export interface OpenHandle extends IoChannel {
  readonly writable: boolean;
  notify(event: BdevEvent): void;
  close(): void;
}

/** What a device is, as its maker says. */
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
  /** Reads never cross `optimalIoBoundary`, nor do writes unless `writeUnitSize` splits them: the layer splits them. */
  splitOnBoundary?: boolean;
  /** Blocks; 1 for none. The size and alignment of a write that the device likes best. */
  writeUnitSize?: number;
  /** Writes never cross a multiple of `writeUnitSize`: the layer splits them. */
  splitOnWriteUnit?: boolean;
  isReadOnly?: boolean;
  /** The disk's serial number, for people: what is printed on it. Default null, if that is not known. */
  serial?: string | null;
  driver: BdevDriver;
}

/** Where a device is in its life. */
export type BdevState = 'new' | 'registered' | 'removing' | 'removed';

/**
 * A block device as its users see it. Made by the code that has the hardware (a {@link BdevDriver}), registered in a {@link
 * BdevRegistry}, and used through descriptors. It validates, splits, locks, retries, times and counts, so that drivers need
 * not.
 */
export class Bdev implements IoTarget {
  readonly name: string;
  readonly uuid: string;
  readonly aliases: readonly string[];
  readonly blockSize: number;
  readonly isReadOnly: boolean;
  /** The disk's serial number, for people; null if that is not known. */
  readonly serial: string | null;
  readonly driver: BdevDriver;
  readonly stats = new BdevStats();
  numBlocks: number;
  optimalIoBoundary: number;
  splitOnBoundary: boolean;
  writeUnitSize: number;
  splitOnWriteUnit: boolean;
  state: BdevState = 'new';
  /** Name, for messages, of the owner of the exclusive right to write; null if there is none. */
  claimedBy: string | null = null;
  readonly descriptors = new Set<OpenHandle>();
  /**
   * Locks on ranges of blocks for users that read, modify and write parts of blocks. One list for the device, since users that
   * have it open apart from one another write to the same blocks. Whole-block writes hold a shared lock, others an exclusive one.
   */
  readonly writeLocks = new RangeLocks();

  #registry: IoHost | null = null;
  readonly #quiesced = new QuiesceRanges();
  /** Null until there is a limit. */
  #limiter: RateLimiter | null = null;
  #head: BdevIo | null = null;
  #tail: BdevIo | null = null;
  #tracked = 0;
  /** I/O whose owner was told that it timed out, and which the driver still has. */
  readonly #abandoned = new Set<BdevIo>();
  /** It has answered a flush that it takes none. */
  #isFlushRefused = false;
  /** The driver has done a flush: one that it refuses later is lost. */
  #hasFlushed = false;
  #lastAnswerAt = -Infinity;
  readonly #retry: BdevIo[] = [];
  #retryTimer: TimerHandle | null = null;
  #deadlineTimer: TimerHandle | null = null;
  #deadlineTimerAt = Infinity;
  #onIdle: (() => void) | null = null;

  constructor(options: BdevOptions) {
    this.name = options.name;
    this.uuid = options.uuid;
    this.aliases = options.aliases ?? [];
    this.blockSize = options.blockSize;
    this.numBlocks = options.numBlocks;
    this.optimalIoBoundary = options.optimalIoBoundary ?? 0;
    this.splitOnBoundary = options.splitOnBoundary ?? false;
    this.writeUnitSize = options.writeUnitSize ?? 1;
    this.splitOnWriteUnit = options.splitOnWriteUnit ?? false;
    this.isReadOnly = options.isReadOnly ?? false;
    this.serial = options.serial ?? null;
    this.driver = options.driver;
  }

  /** The registry that this device is in. */
  get registry(): IoHost {
    if (this.#registry === null) {
      throw new BdevError('ERR_BDEV_MISUSE', Status.NoDevice, `bdev ${this.name} is not registered`);
    }
    return this.#registry;
  }

  /** The registry has the device now. @internal */
  attach(registry: IoHost): void {
    this.#registry = registry;
    this.state = 'registered';
  }

  /**
   * Whether a request of this type does something; write zeroes are emulated where the driver lacks them. A flush succeeds on
   * every device: one that has none has no volatile cache either, so what it has acknowledged is on stable media.
   */
  supports(type: IoType): boolean {
    if (type === IoType.Reset) return true;
    if (this.isReadOnly && type !== IoType.Read && type !== IoType.Flush) return false;
    if (type === IoType.WriteZeroes) return this.driver.supports(IoType.Write);
    return this.driver.supports(type);
  }

  /** I/O whose owner was told that it timed out, and which the driver still has: it may yet be carried out. */
  get abandoned(): number {
    return this.#abandoned.size;
  }

  /** Runtime milliseconds at which the oldest I/O that has not been answered was submitted; Infinity if there is none. */
  get oldestSubmittedAt(): number {
    return this.#head?.submittedAt ?? Infinity;
  }

  /** Runtime milliseconds at which an I/O was last answered, well or not; -Infinity if none has been. */
  get lastAnswerAt(): number {
    return this.#lastAnswerAt;
  }

  /** I/O accepted and not yet answered. */
  get outstanding(): number {
    return this.#tracked;
  }

  /** Tells every descriptor of the device that it has a new size. For the driver's side. */
  resize(numBlocks: number): void {
    if (numBlocks === this.numBlocks) return;
    this.numBlocks = numBlocks;
    for (const descriptor of [...this.descriptors]) descriptor.notify({ type: 'resize', numBlocks });
  }

  /**
   * Holds back new reads and writes that touch the range and calls `onQuiesced` (in a later turn) once those in flight are
   * done, those included that were given up at their deadline. For the driver's side. Ranges may overlap: what overlaps several waits for all of them. Flush and reset pass.
   */
  quiesce(offsetBlocks: number, numBlocks: number, onQuiesced: () => void): QuiesceRange {
    const range = this.#quiesced.add(offsetBlocks, numBlocks, onQuiesced);
    for (let io = this.#head; io !== null; io = io.next) this.#quiesced.count(range, io);
    // Their owners have been told of a time-out; they may be carried out all the same.
    for (const io of this.#abandoned) this.#quiesced.count(range, io);
    if (range.pending === 0) this.registry.runtime.soon(() => range.settle());
    return range;
  }

  /** Ends a quiesce and lets what waited for it go on, in its order. */
  unquiesce(range: QuiesceRange): void {
    for (const io of this.#quiesced.remove(range)) this.#admit(io);
  }

  /** Takes the request of a descriptor. The owner is told of every outcome, refusals too, in a later turn. @internal */
  submit(io: BdevIo, descriptor: OpenHandle): void {
    // One whose deadline passed counts as in flight until the driver lets go of it.
    if (io.state !== IoState.Idle) {
      throw new BdevError('ERR_BDEV_MISUSE', Status.Invalid, `bdev ${this.name}: an I/O was submitted while in flight`);
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

  /** What users of the device may do in a second. Applies at once, also to what waits because of earlier limits. */
  get rateLimits(): RateLimits {
    return this.#limiter?.limits ?? noRateLimits;
  }

  set rateLimits(limits: RateLimits) {
    this.#limiter ??= new RateLimiter(this.registry.runtime, this.blockSize, (io) => this.#admitHeld(io));
    this.#limiter.limits = limits;
  }

  /**
   * Ends what the rate limits hold back and `isUnwanted` names, as cancelled: its owner does not wait for it any more. It has
   * not been begun. Owners are told in a later turn. `isUnwanted` must start and end no I/O.
   */
  cancelHeld(isUnwanted: (io: BdevIo) => boolean): void {
    if (this.#limiter === null) return;
    for (const io of this.#limiter.takeOut(isUnwanted)) this.#refuse(io, Status.Cancelled);
  }

  /** The device is being removed. @internal */
  onRemoving(): void {
    this.#limiter?.releaseAll();
  }

  /** While it was held, the device may have gone or shrunk. */
  #admitHeld(io: BdevIo): void {
    const status = this.#refusal(io);
    if (status === Status.Ok) this.#admit(io);
    else this.#refuse(io, status);
  }

  /** Ends an I/O that has not begun. */
  #refuse(io: BdevIo, status: Status): void {
    io.status = status;
    io.state = IoState.Refused;
    this.registry.defer(io);
  }

  /** The driver is through with it, by `BdevIo.complete`. @internal */
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

  /** What was completed or refused inside `submit` is told now. @internal */
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

  /** The request is over. @internal */
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
   * What a flush's end means. A device that takes none, though its driver says that it does (EINVAL, EOPNOTSUPP), has no cache to
   * flush: Linux counts it as write-through, and so do we; but not one that has taken a flush before. ENOSPC says of a write that it was refused and changed nothing
   * before it; a flush that finds no space has lost data.
   */
  #flushStatus(status: Status): Status {
    if (status === Status.NoSpace) return Status.IoError;
    if (status === Status.Ok) this.#hasFlushed = true;
    if (status !== Status.Invalid && status !== Status.NotSupported) return status;
    if (this.#hasFlushed) return Status.IoError;
    if (!this.#isFlushRefused) {
      const fields = { bdev: this.name, status: statusName(status) };
      this.registry.runtime.log.warn(fields, 'the device takes no flush: it counts as write-through');
      this.#isFlushRefused = true;
    }
    return Status.Ok;
  }

  /** The deadline of all that is in flight through the descriptor is now. @internal */
  expire(descriptor: OpenHandle): void {
    const now = this.registry.runtime.now();
    let isAny = false;
    for (let io = this.#head; io !== null; io = io.next) {
      if (io.descriptor !== descriptor || io.deadlineAt <= now) continue;
      io.deadlineAt = now;
      isAny = true;
    }
    if (isAny) this.#watchDeadlines(now, now);
  }

  /**
   * How many timeouts after its submission the deadline of a request is: some kinds may take a healthy device longer. Where
   * the descriptor's owner decides about what is overdue, a flush is asked about as early as a read.
   */
  timeoutMultiplier(io: BdevIo): number {
    if (io.type === IoType.Flush) return io.descriptor?.onOverdue === null ? flushTimeoutMultiplier : 1;
    if (io.type !== IoType.Unmap && io.type !== IoType.WriteZeroes) return 1;
    return Math.ceil((io.numBlocks * this.blockSize) / zeroedBytesPerTimeout);
  }

  /** Resolves when nothing is in flight. @internal */
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
      // Also while others are in flight: they may be stuck.
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

  /** Asks again for what is queued now; what is refused once more goes back to the end of the queue. */
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
    if (io.deadlineAt < this.#deadlineTimerAt) this.#watchDeadlines(io.deadlineAt, now);
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

  #watchDeadlines(at: number, now: number): void {
    const { runtime } = this.registry;
    if (this.#deadlineTimer !== null) runtime.clearTimer(this.#deadlineTimer);
    this.#deadlineTimerAt = at;
    this.#deadlineTimer = runtime.setWatchTimer(this.#checkDeadlines, Math.max(at - now, 1));
  }

  readonly #checkDeadlines = (): void => {
    this.#deadlineTimer = null;
    this.#deadlineTimerAt = Infinity;
    const now = this.registry.runtime.now();
    // The owner of an abandoned I/O may do anything to the list, so each search starts anew.
    for (let io = this.#firstOverdue(now); io !== null; io = this.#firstOverdue(now)) {
      const moreMs = io.descriptor?.onOverdue?.(io) ?? 0;
      if (moreMs > 0) io.deadlineAt = now + moreMs;
      else this.#abandon(io);
    }
    let earliest = Infinity;
    for (let io = this.#head; io !== null; io = io.next) earliest = Math.min(earliest, io.deadlineAt);
    if (earliest < this.#deadlineTimerAt) this.#watchDeadlines(earliest, now);
  };

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

  /** The driver let go of an I/O whose owner was told long ago. */
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

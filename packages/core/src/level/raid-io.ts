import { IoType, RangeLock, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner, RangeLocks } from '@raidkit/bdev';
import type { RaidLevel } from './level.js';
import type { AnyWriteRequest, JournalRange, LockMode, NullPayloadRequest, ProcessRequest, RwRequest } from './requests.js';

const noSlots: readonly number[] = [];
const noRanges: readonly JournalRange[] = [];

/** The `kind` that levels see. */
type RequestKind = (RwRequest | NullPayloadRequest | ProcessRequest)['kind'];

const usedAfterEnd = 'a RAID I/O was used after its end';

/** Code in core that submits a RAID I/O of its own and is notified when it is done. */
export interface RaidIoOwner {
  onRaidIoDone(io: RaidIo): void;
}

/** Core's side of a request: it sends the parts, handles failures, and completes the request. */
export interface RequestSink {
  isMemberFor(io: RaidIo, slot: number): boolean;
  submitPart(io: RaidIo, slot: number, type: IoType, offset: number, numBlocks: number, addr: number): void;
  onPartDone(io: RaidIo, part: BdevIo): void;
  requestRepair(slot: number, offset: number, numBlocks: number): void;
  journal(io: RaidIo): void;
  /** A read has called `writeBack`. */
  onWriteBack(io: RaidIo): void;
  judge(io: RaidIo): Status;
  onLevelDone(io: RaidIo, status: Status): void;
  /** The level threw an exception. The request ends with EIO when its parts in flight are done. */
  onLevelThrew(io: RaidIo, error: unknown): void;
  /** The level threw an exception while it held this request, which ends although some of its parts may have been executed. */
  onLeftUndone(io: RaidIo): void;
  /** The level threw an exception earlier, so it will never release a request that it holds now. */
  readonly hasLevelThrown: boolean;
}

/** A rebuild, as seen by requests in the range that it has filled already. */
export interface Filler {
  /**
   * For a slot whose member is being filled: whether this rebuild fills it, so that the member holds the data of that range.
   */
  isFilling(slot: number): boolean;
}

/** A request's entry in the journal. */
export interface JournalEntryHandle {
  /** The blocks that the entry stands for have been written to the members, though perhaps only to their caches. */
  markWritten(): void;
}

type Continuation = (io: RaidIo) => void;

/**
 * One request to a level, of any kind. It is pooled and has one shape, so that the data path sees one class; levels see it
 * through the interface of the request's kind (`requests.ts`). Whoever calls the level keeps the request open during the call
 * ({@link leave}).
 */
export class RaidIo implements IoOwner {
  // Fields that describe the request.
  type: IoType = IoType.Read;
  flags = 0;
  offsetBlocks = 0;
  numBlocks = 0;
  addr = -1;
  /** For a reconstruct request: the requested slots and the buffers for them. The first ones are also in `slot` and `addr`. */
  slots: readonly number[] = noSlots;
  addrs: readonly number[] = noSlots;
  /** -1 for requests of another kind. */
  slot = -1;

  /** Set when the level gets the request. It follows from the fields above, but levels ask for it often. */
  kind: RequestKind = 'read';

  // Fields for the level's use.
  phase = 0;
  a = 0;
  b = 0;
  c = 0;
  levelContext: object | null = null;
  next: RaidIo | null = null;

  journalSlots: readonly number[] = noSlots;
  /** For an unmap: the range that the level passed to {@link trimmed}. */
  trimmedOffset = 0;
  trimmedBlocks = 0;

  /** Successful parts that count for the request: all parts of a read, only the writing parts of other requests. */
  partsDone = 0;
  readonly unreadable: number[] = [];
  readStatus: Status = Status.Ok;
  readonly failed: number[] = [];
  writeStatus: Status = Status.Ok;
  stepStatus: Status = Status.Ok;
  /** A read that writes what it read to other members, on stable media. Its status is determined as for a write. */
  writesBack = false;

  /** Number of parts in flight, calls of the level that have not returned, and other things it waits for. At 0 it continues. */
  #open = 0;
  #then: Continuation | null = null;
  #onReleased: Continuation | null = null;
  #onLocked: Continuation | null = null;
  #locks: RangeLocks | null = null;
  readonly #lock: RangeLock;
  /** The next part begins a new step. */
  #isStepOver = true;
  #isEnding = false;
  #failure: Status = Status.Ok;
  /** A level that threw an exception may still hold this object and release it later, so it is not reused. */
  isForgotten = false;

  // Fields for core's use.
  sink: RequestSink | null = null;
  /** It comes from a user, not from core itself. */
  isUsers = false;
  /** The user's I/O that this request serves; null for core's own requests and for one that merges writes of several users. */
  parent: BdevIo | null = null;
  owner: RaidIoOwner | null = null;
  /**
   * The rebuild whose targets are filled in this request's range, so that they count as members for it; null if there is none.
   */
  filler: Filler | null = null;
  /** Its latest journal entries, and then the array ranges that are waiting to be journaled. */
  readonly journaled: JournalEntryHandle[] = [];
  journalRanges: readonly JournalRange[] = noRanges;
  /** Number of journal entries being written, and the combined status of those that are done. */
  journalWrites = 0;
  journalStatus: Status = Status.Ok;
  /** The journal counts it as a write that the level is working on. */
  isAtLevel = false;
  /** The write-intent bitmap counts it as in flight. */
  isMarked = false;
  /** For an unmap: the time at which it began, on the bitmap's counter. */
  begunAt = 0;
  /** For a reconstruct request: slots that must not be read, because their contents are being reconstructed. */
  excluded: readonly number[] = noSlots;
  status: Status = Status.Ok;

  constructor() {
    this.#lock = new RangeLock(() => {
      const then = this.#onLocked;
      this.#onLocked = null;
      if (then !== null) this.#call(then);
      this.leave();
    });
  }

  // Methods for core.

  /** Describes a request of core's own. */
  prepare(type: IoType, offsetBlocks: number, numBlocks: number, addr: number, owner: RaidIoOwner): void {
    this.type = type;
    this.offsetBlocks = offsetBlocks;
    this.numBlocks = numBlocks;
    this.addr = addr;
    this.owner = owner;
  }

  /** Hands the request to the level. */
  start(level: RaidLevel): void {
    this.#open++;
    try {
      // This is the only place that casts a request to the type of its kind.
      if (this.slot >= 0) {
        this.kind = 'reconstruct';
        level.submitProcessRequest?.(this as unknown as ProcessRequest);
      } else if (this.type === IoType.Read || this.type === IoType.Write) {
        this.kind = this.type === IoType.Read ? 'read' : 'write';
        level.submitRw(this as unknown as RwRequest);
      } else {
        this.kind = this.type === IoType.Unmap ? 'unmap' : 'write zeroes';
        level.submitNullPayload?.(this as unknown as NullPayloadRequest);
      }
    } catch (error) {
      this.#onThrown(error);
    }
    this.leave();
  }

  /** Called before the start if core has already tried to read from the slot's member and got this error. */
  wasUnreadable(slot: number, error: Status): void {
    this.unreadable.push(slot);
    this.readStatus = error;
  }

  /** Keeps the request open until {@link leave}. */
  enter(): void {
    this.#open++;
  }

  /** Ends one of the counted waits. After the last one the request continues. */
  leave(): void {
    if (--this.#open === 0) this.#continue();
  }

  #continue(): void {
    do {
      // A step without parts cannot have failed.
      if (this.#isStepOver) this.stepStatus = Status.Ok;
      this.#isStepOver = true;
      const then = this.#then;
      if (then === null) {
        this.#finish();
        return;
      }
      this.#then = null;
      this.#open = 1;
      this.#call(then);
    } while (--this.#open === 0);
  }

  submitPart(slot: number, type: IoType, offsetBlocks: number, numBlocks: number, addr: number): void {
    const sink = this.#openSink();
    if (this.#isStepOver) {
      this.#isStepOver = false;
      this.stepStatus = Status.Ok;
    }
    // Counted only after it was accepted: a part that was refused with an exception never ends. No part ends before this
    // returns.
    sink.submitPart(this, slot, type, offsetBlocks, numBlocks, addr);
    this.#open++;
  }

  /** Counts a part that is done. After the last one the request continues. */
  partDone(part: BdevIo): void {
    const { status } = part;
    const isRead = part.type === IoType.Read;
    if (status === Status.Ok) {
      if (!isRead || this.type === IoType.Read) this.partsDone++;
    } else {
      if (this.stepStatus === Status.Ok || status === Status.TimedOut) this.stepStatus = status;
      if (isRead) {
        if (this.readStatus === Status.Ok) this.readStatus = status;
        this.unreadable.push(part.tag);
      } else {
        if (this.writeStatus === Status.Ok || this.writeStatus === Status.NoSpace) this.writeStatus = status;
        this.failed.push(part.tag);
      }
    }
    this.leave();
  }

  /** Tells the level that {@link journal} has finished. */
  journalDone(level: RaidLevel | null, status: Status): void {
    try {
      if (level?.onJournaled === undefined) this.fail(Status.NoDevice);
      else level.onJournaled(this as unknown as AnyWriteRequest, status);
    } catch (error) {
      this.#onThrown(error);
    }
    this.leave();
  }

  /** Called by the bdev layer when a part is done. */
  onIoDone(part: BdevIo): void {
    this.#openSink().onPartDone(this, part);
  }

  // Methods for levels, as declared by the interface of the request's kind.

  hasMember(slot: number): boolean {
    return this.sink?.isMemberFor(this, slot) === true && (this.excluded === noSlots || !this.excluded.includes(slot));
  }

  readPart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void {
    this.submitPart(slot, IoType.Read, offsetBlocks, numBlocks, addr);
  }

  writePart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void {
    if (this.type === IoType.Read && !this.writesBack) throw new Error('a read writes back only after writeBack()');
    this.submitPart(slot, IoType.Write, offsetBlocks, numBlocks, addr);
  }

  zeroPart(slot: number, offsetBlocks: number, numBlocks: number): void {
    if (this.type === IoType.Read) throw new Error('a read writes no zeros');
    this.submitPart(slot, IoType.WriteZeroes, offsetBlocks, numBlocks, -1);
  }

  unmapPart(slot: number, offsetBlocks: number, numBlocks: number): void {
    if (this.type !== IoType.Unmap) throw new Error('only an unmap unmaps');
    this.submitPart(slot, IoType.Unmap, offsetBlocks, numBlocks, -1);
  }

  andThen(then: Continuation): void {
    this.#openSink();
    if (this.#isEnding) throw new Error('a RAID I/O continues after end() or fail()');
    this.#then = then;
  }

  lock(locks: RangeLocks, start: number, end: number, mode: LockMode, then: Continuation): void {
    this.#openSink();
    if (this.#locks !== null) throw new Error('a RAID I/O has a lock already');
    const lock = this.#lock;
    lock.start = start;
    lock.end = end;
    lock.isShared = mode === 'shared';
    this.#locks = locks;
    if (locks.acquire(lock)) {
      then(this);
      return;
    }
    this.#onLocked = then;
    this.#open++;
  }

  hold(then: Continuation): void {
    this.#openSink();
    if (this.#onReleased !== null) throw new Error('a RAID I/O is held already');
    this.#onReleased = then;
    this.#open++;
    if (this.sink?.hasLevelThrown === true) this.forget();
  }

  /** The level threw an exception while it held this request: ends it with EIO when its parts in flight are done. */
  forget(): void {
    if (this.#onReleased === null) return;
    this.#onReleased = null;
    this.isForgotten = true;
    if (this.partsDone > 0 || this.failed.length > 0 || this.#open > 1) this.sink?.onLeftUndone(this);
    this.#endBroken();
    this.leave();
  }

  release(): void {
    if (this.isForgotten) return;
    const then = this.#onReleased;
    if (then === null) throw new Error('a RAID I/O that is not held was released');
    this.#onReleased = null;
    this.#call(then);
    this.leave();
  }

  forgetUnreadable(): void {
    if (this.unreadable.length > 0) this.unreadable.length = 0;
    this.readStatus = Status.Ok;
  }

  end(): void {
    this.#openSink();
    this.#then = null;
    this.#isEnding = true;
  }

  fail(status: Status): void {
    this.end();
    if (this.#failure === Status.Ok) this.#failure = status;
  }

  takeOutFailed(): void {
    this.#openSink().judge(this);
  }

  journal(ranges: readonly JournalRange[]): void {
    const sink = this.#openSink();
    this.journalRanges = ranges;
    // Counted only after it was accepted, as with parts.
    sink.journal(this);
    this.#open++;
  }

  trimmed(offsetBlocks: number, numBlocks: number): void {
    this.trimmedOffset = offsetBlocks;
    this.trimmedBlocks = numBlocks;
  }

  requestRepair(slot: number, offsetBlocks: number, numBlocks: number): void {
    this.#openSink().requestRepair(slot, offsetBlocks, numBlocks);
  }

  writeBack(): void {
    if (this.kind !== 'read') throw new Error('only a read writes back');
    if (this.writesBack) return;
    this.writesBack = true;
    this.#openSink().onWriteBack(this);
  }

  #call(then: Continuation): void {
    try {
      then(this);
    } catch (error) {
      this.#onThrown(error);
    }
  }

  /** The level threw an exception, so it is unknown which parts are missing. */
  #onThrown(error: unknown): void {
    this.#endBroken();
    this.sink?.onLevelThrew(this, error);
  }

  #endBroken(): void {
    this.#then = null;
    this.#onLocked = null;
    this.#isEnding = true;
    this.#failure = Status.IoError;
  }

  /**
   * Determines the status, unlocks, and notifies, in this order: the next holder of the lock must not see a member that missed
   * this request.
   */
  #finish(): void {
    const { sink } = this;
    if (sink === null) throw new Error(usedAfterEnd);
    // A request ends with ENODEV if no member executed a part and the level did not end it.
    const isUnanswered =
      !this.#isEnding &&
      this.partsDone === 0 &&
      this.failed.length === 0 &&
      (this.type !== IoType.Read || this.stepStatus === Status.Ok);
    let status: Status = isUnanswered ? Status.NoDevice : this.#failure;
    if (status === Status.Ok) status = sink.judge(this);
    else if (this.failed.length > 0) sink.judge(this);
    const locks = this.#locks;
    this.#locks = null;
    if (locks !== null) locks.release(this.#lock);
    sink.onLevelDone(this, status);
  }

  /** Throws unless the request is in use by the level or core. */
  #openSink(): RequestSink {
    const { sink } = this;
    if (sink === null || this.#open === 0) throw new Error(usedAfterEnd);
    return sink;
  }

  /** Restores the initial values, except in the level's fields `a`, `b` and `c`. */
  reset(): void {
    this.flags = 0;
    this.addr = -1;
    this.slot = -1;
    this.slots = noSlots;
    this.addrs = noSlots;
    this.phase = 0;
    this.levelContext = null;
    this.next = null;
    this.partsDone = 0;
    if (this.unreadable.length > 0) this.unreadable.length = 0;
    this.readStatus = Status.Ok;
    if (this.failed.length > 0) this.failed.length = 0;
    this.writeStatus = Status.Ok;
    this.stepStatus = Status.Ok;
    this.#isStepOver = true;
    this.#isEnding = false;
    this.#failure = Status.Ok;
    this.sink = null;
    this.isUsers = false;
    this.parent = null;
    this.owner = null;
    this.filler = null;
    this.isMarked = false;
    this.trimmedBlocks = 0;
    this.journalSlots = noSlots;
    this.journalRanges = noRanges;
    if (this.journaled.length > 0) this.journaled.length = 0;
    this.writesBack = false;
    this.excluded = noSlots;
  }
}

/** A pool of RAID I/O objects. */
export class RaidIoPool {
  readonly #all: RaidIo[] = [];
  readonly #free: RaidIo[] = [];

  get(): RaidIo {
    const io = this.#free.pop();
    if (io !== undefined) return io;
    const made = new RaidIo();
    this.#all.push(made);
    return made;
  }

  put(io: RaidIo): void {
    io.reset();
    if (io.isForgotten) this.#all.splice(this.#all.indexOf(io), 1);
    else this.#free.push(io);
  }

  /** Ends the requests that this array's level holds, after it threw an exception. */
  forgetHeld(sink: RequestSink): void {
    for (const io of [...this.#all]) if (io.sink === sink) io.forget();
  }

  get outstanding(): number {
    return this.#all.length - this.#free.length;
  }
}

import { IoType, RangeLock, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner, RangeLocks } from '@raidkit/bdev';
import type { RaidLevel } from './level.js';
import type { AnyWriteRequest, JournalRange, LockMode, NullPayloadRequest, ProcessRequest, RwRequest } from './requests.js';

const noSlots: readonly number[] = [];
const noRanges: readonly JournalRange[] = [];

/** What levels know a request as. */
type RequestKind = (RwRequest | NullPayloadRequest | ProcessRequest)['kind'];

const usedAfterEnd = 'a RAID I/O was used after its end';

/** The code that asked core for an I/O of its own, and is told when it is done. */
export interface RaidIoOwner {
  onRaidIoDone(io: RaidIo): void;
}

/** Core's side of a request: what becomes of its parts, its failures, and its end. */
export interface RequestSink {
  isMemberFor(io: RaidIo, slot: number): boolean;
  submitPart(io: RaidIo, slot: number, type: IoType, offset: number, numBlocks: number, addr: number): void;
  onPartDone(io: RaidIo, part: BdevIo): void;
  requestRepair(slot: number, offset: number, numBlocks: number): void;
  journal(io: RaidIo): void;
  /** A read has become one that writes. */
  onWriteBack(io: RaidIo): void;
  judge(io: RaidIo): Status;
  onLevelDone(io: RaidIo, status: Status): void;
  /** The level has thrown; the request ends, with EIO, when what is in flight of it is done. */
  onLevelThrew(io: RaidIo, error: unknown): void;
  /** The level has thrown, and the request that it has put aside ends with a part of it done. */
  onLeftUndone(io: RaidIo): void;
  /** The level has thrown before: a request that it puts aside is never released. */
  readonly hasLevelThrown: boolean;
}

/** What fills members, and has filled them where a request lies. */
export interface Filler {
  /** Asked of a slot whose member is being filled: whether it is by this, so that the member holds what lies there. */
  isFilling(slot: number): boolean;
}

/** A request's entry in the journal. */
export interface JournalEntryHandle {
  /** The blocks for which the entry stands are on the members, perhaps in their caches. */
  markWritten(): void;
}

type Continuation = (io: RaidIo) => void;

/**
 * One request to a level, of any kind. Pooled, and of one shape, so that the data path sees one class; a level sees the
 * interface of the request's kind (`requests.ts`). The caller of the level holds the request open meanwhile ({@link leave}).
 */
export class RaidIo implements IoOwner {
  // The request.
  type: IoType = IoType.Read;
  flags = 0;
  offsetBlocks = 0;
  numBlocks = 0;
  addr = -1;
  /** For a reconstruct request: the slots whose contents are wanted, and where; the first is also in `slot` and `addr`. */
  slots: readonly number[] = noSlots;
  addrs: readonly number[] = noSlots;
  /** -1 for others. */
  slot = -1;

  /** Set when the level is handed the request: the fields above say it, and levels ask often. */
  kind: RequestKind = 'read';

  // The level's scratch.
  phase = 0;
  a = 0;
  b = 0;
  c = 0;
  levelContext: object | null = null;
  next: RaidIo | null = null;

  journalSlots: readonly number[] = noSlots;
  /** For an unmap: what the level says of it with {@link trimmed}. */
  trimmedOffset = 0;
  trimmedBlocks = 0;

  /** Parts that succeeded and count for the request: all of a read's, the writing ones of others. */
  partsDone = 0;
  readonly unreadable: number[] = [];
  readStatus: Status = Status.Ok;
  readonly failed: number[] = [];
  writeStatus: Status = Status.Ok;
  stepStatus: Status = Status.Ok;
  /** A read that writes what it has read to other members, to stable media; it is judged as a write. */
  writesBack = false;

  /** Parts in flight, calls of the level that have not returned, and what it waits for. The request goes on at 0. */
  #open = 0;
  #then: Continuation | null = null;
  #onReleased: Continuation | null = null;
  #onLocked: Continuation | null = null;
  #locks: RangeLocks | null = null;
  readonly #lock: RangeLock;
  /** The next part is the first one of a step. */
  #isStepOver = true;
  #isEnding = false;
  #failure: Status = Status.Ok;
  /** A level that has thrown may still have it, and let it go one day: it is not used again. */
  isForgotten = false;

  // Core's own.
  sink: RequestSink | null = null;
  /** A user's, not core's own. */
  isUsers = false;
  /** The I/O of the user that asked for it; null for core's own, and for one that stands for several users' writes. */
  parent: BdevIo | null = null;
  owner: RaidIoOwner | null = null;
  /** The rebuild that has filled its targets where this request lies, so that they count as members for it; null: none has. */
  filler: Filler | null = null;
  /** Its latest entries in the journal, and the blocks of the array that wait to become some. */
  readonly journaled: JournalEntryHandle[] = [];
  journalRanges: readonly JournalRange[] = noRanges;
  /** Entries that are being written, and how that went so far. */
  journalWrites = 0;
  journalStatus: Status = Status.Ok;
  /** Counted by the journal as a write that the level works on. */
  isAtLevel = false;
  /** Counted in the write-intent bitmap. */
  isMarked = false;
  /** For an unmap: when it began, as the map counts. */
  begunAt = 0;
  /** For a reconstruct request: slots that must not be read, because they are what is to be worked out. */
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

  // For core.

  /** Hands the request to the level. */
  start(level: RaidLevel): void {
    this.#open++;
    try {
      // The one place where a request becomes what its kind says.
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

  /** Before the start: the slot's member has been asked for it already, and has answered with an error. */
  wasUnreadable(slot: number, error: Status): void {
    this.unreadable.push(slot);
    this.readStatus = error;
  }

  /** Keeps the request open until {@link leave}. */
  enter(): void {
    this.#open++;
  }

  /** A call of the level has returned, or something that the request waited for is over: it goes on if it was the last. */
  leave(): void {
    if (--this.#open === 0) this.#continue();
  }

  #continue(): void {
    do {
      // Nothing can have gone wrong in a step without parts.
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
    // Counted when it has been taken: what is refused is not waited for. None ends before this has returned.
    sink.submitPart(this, slot, type, offsetBlocks, numBlocks, addr);
    this.#open++;
  }

  /** Counts a part that is done; with the last one the request goes on. */
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

  /** The end of {@link journal}. */
  journalDone(level: RaidLevel | null, status: Status): void {
    try {
      if (level?.onJournaled === undefined) this.fail(Status.NoDevice);
      else level.onJournaled(this as unknown as AnyWriteRequest, status);
    } catch (error) {
      this.#onThrown(error);
    }
    this.leave();
  }

  /** For the bdev layer. */
  onIoDone(part: BdevIo): void {
    this.#openSink().onPartDone(this, part);
  }

  // What levels see, by the interface of the request's kind.

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
    if (this.#isEnding) throw new Error('a RAID I/O goes on after end() or fail()');
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

  /** The level that holds it has thrown: it ends, with EIO, when what is in flight of it is done. */
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
    if (then === null) throw new Error('a RAID I/O was released that is not held');
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
    // As with parts.
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

  /** The level has thrown: what it has left undone is not known. */
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

  /** Judges, unlocks, tells; in this order: the next holder of the lock must not meet a member that has missed this request. */
  #finish(): void {
    const { sink } = this;
    if (sink === null) throw new Error(usedAfterEnd);
    // A request of which no member has taken a part, and that the level has not answered, is not done.
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

  /** The request is out, and the level or core is working on it. */
  #openSink(): RequestSink {
    const { sink } = this;
    if (sink === null || this.#open === 0) throw new Error(usedAfterEnd);
    return sink;
  }

  /** As it was made, but for the level's scratch. */
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

/** Idle RAID I/O objects. */
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

  /** Ends the requests of an array whose level has thrown that it has put aside. */
  forgetHeld(sink: RequestSink): void {
    for (const io of [...this.#all]) if (io.sink === sink) io.forget();
  }

  get outstanding(): number {
    return this.#all.length - this.#free.length;
  }
}

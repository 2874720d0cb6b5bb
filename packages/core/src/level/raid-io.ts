import { IoType, RangeLock, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner } from '@raidkit/bdev';

const noSlots: readonly number[] = [];

/** Who asked core for an I/O of its own, and is told when it is done. */
export interface RaidIoOwner {
  onRaidIoDone(io: RaidIo): void;
}

/** Core's side of a request: what becomes of its parts, its failures, and its end. */
export interface RequestSink {
  isMemberFor(io: RaidIo, slot: number): boolean;
  submitPart(io: RaidIo, slot: number, type: IoType, offset: number, numBlocks: number, addr: number): void;
  onPartDone(io: RaidIo, part: BdevIo): void;
  journal(io: RaidIo): void;
  judge(io: RaidIo): Status;
  onLevelDone(io: RaidIo, status: Status): void;
}

/** A request's entry in the journal. */
export interface JournalEntryHandle {
  /** The blocks for which the entry stands are on the members, perhaps in their caches. */
  markWritten(): void;
}

/**
 * One request to a level. Pooled, and of one shape. The level sends parts to members and ends the request with
 * {@link complete}, or lets {@link partDone} do it.
 */
export class RaidIo implements IoOwner {
  // The request.
  type: IoType = IoType.Read;
  flags = 0;
  offsetBlocks = 0;
  numBlocks = 0;
  addr = -1;
  /** For a reconstruct request: the slot whose contents are wanted. */
  slot = -1;

  // The level's scratch: as it left them; set what you use.
  phase = 0;
  a = 0;
  b = 0;
  c = 0;
  levelContext: object | null = null;
  /** For a queue of the level's. */
  next: RaidIo | null = null;
  /** For the level's own range locks; granted later, it calls `onLocked`. */
  readonly lock: RangeLock;
  /** Set before `locks.acquire(io.lock)`: what to do when the lock is granted later. */
  onLocked: ((io: RaidIo) => void) | null = null;

  /**
   * Of a write: the slot whose member is recorded as absent, so that redundancy alone stands for its blocks; -1 if none is.
   * Before a write changes members' blocks from which such blocks are worked out, they must be handed to {@link journal}, as
   * they will be: a crash can leave a part of the write done.
   */
  journalSlot = -1;

  /** Of an unmap: what the level says of it with {@link trimmed}. */
  trimmedOffset = 0;
  trimmedBlocks = 0;

  /** Parts in flight. */
  partsLeft = 0;
  /** Parts that succeeded, of those that {@link countPart} counted. */
  partsDone = 0;
  /** Slots of parts that failed, as {@link countPart} counted them. */
  readonly failedSlots: number[] = [];
  /** The first bad status of a part. */
  partStatus: Status = Status.Ok;

  // Core's own.
  sink: RequestSink | null = null;
  parent: BdevIo | null = null;
  owner: RaidIoOwner | null = null;
  /** Slot of the member that a rebuild is filling and has filled where this request lies: it counts as a member. -1: none. */
  targetSlot = -1;
  /** Its latest entry in the journal, and the blocks of the array that wait to become one. */
  journaled: JournalEntryHandle | null = null;
  journalOffset = 0;
  journalBlocks = 0;
  journalAddr = -1;
  /** Counted by the journal as a write that the level works on. */
  isAtLevel = false;
  /** Counted in the region map. */
  isMarked = false;
  /** Of an unmap: when it began, as the map counts. */
  begunAt = 0;
  /** Of a resync: slots that must not be read, because they are what is to be worked out. */
  excluded: readonly number[] = noSlots;
  /** A read that writes what it has read to other members, to stable media; it is judged as a write. */
  writesBack = false;
  status: Status = Status.Ok;

  constructor() {
    this.lock = new RangeLock(() => {
      const { onLocked } = this;
      this.onLocked = null;
      onLocked?.(this);
    });
  }

  /** Whether the slot has a member that this request reads from or writes to. */
  hasMember(slot: number): boolean {
    return (
      this.slot !== slot &&
      this.sink?.isMemberFor(this, slot) === true &&
      (this.excluded === noSlots || !this.excluded.includes(slot))
    );
  }

  /**
   * Sends a part to the slot's member: `offsetBlocks` within its data area, data at `addr` (-1 for none). The request's
   * flags go with a write. A member that is gone answers ENODEV.
   */
  submitPart(slot: number, type: IoType, offsetBlocks: number, numBlocks: number, addr: number): void {
    this.partsLeft++;
    this.#sink().submitPart(this, slot, type, offsetBlocks, numBlocks, addr);
  }

  /**
   * Of an unmap: if it ends well, these blocks of the array read as zeros, with redundancy that agrees. Core takes regions in
   * which that is so of all blocks for unwritten: nothing to resynchronise there, nothing to rebuild. A level that says
   * nothing may have left anything as it was.
   */
  trimmed(offsetBlocks: number, numBlocks: number): void {
    this.trimmedOffset = offsetBlocks;
    this.trimmedBlocks = numBlocks;
  }

  /**
   * Writes down, on stable media, that these blocks of the array hold the data at `addr` (-1: zeros); the level is told by
   * `onJournaled`. They lie in one stripe, are `RaidView.mostJournalBlocks` at most, and must all be of {@link journalSlot}.
   * What the request had journaled before must be on its members by now. No blocks: nothing is written down, and the level is
   * told once it is on record where redundancy is in doubt; to be asked before a write goes on there without an entry.
   */
  journal(offsetBlocks: number, numBlocks: number, addr: number): void {
    this.journalOffset = offsetBlocks;
    this.journalBlocks = numBlocks;
    this.journalAddr = addr;
    this.#sink().journal(this);
  }

  /**
   * Counts a part that is done, and at the last one ends the request with {@link settle}. What most levels do with all parts
   * of a write.
   */
  partDone(part: BdevIo): void {
    if (this.countPart(part)) this.settle();
  }

  /** Counts a part that is done; true if it was the last one in flight. */
  countPart(part: BdevIo): boolean {
    this.partsLeft--;
    if (part.status === Status.Ok) {
      this.partsDone++;
    } else {
      // ENOSPC only if every failure is one: then nothing but this request is lost.
      if (this.partStatus === Status.Ok || this.partStatus === Status.NoSpace) this.partStatus = part.status;
      this.failedSlots.push(part.tag);
    }
    return this.partsLeft === 0;
  }

  /** Ends the request as the counted parts say: {@link judge} and {@link complete}. */
  settle(): void {
    this.complete(this.judge());
  }

  /**
   * What the counted parts come to. A write, unmap or write zeroes that missed members is good if the array can do without
   * them: they are failed at once, and the request, completed with this, is acknowledged when the survivors' metadata says so.
   * To be called before a range lock is released: who has it next must not meet a member that has missed this write.
   */
  judge(): Status {
    return this.#sink().judge(this);
  }

  /** Ends the request; it belongs to core again. Exactly once, and with no part in flight. */
  complete(status: Status): void {
    this.#sink().onLevelDone(this, status);
  }

  /** For the bdev layer. */
  onIoDone(part: BdevIo): void {
    this.#sink().onPartDone(this, part);
  }

  #sink(): RequestSink {
    if (this.sink === null) throw new Error('a RAID I/O was used after its end');
    return this.sink;
  }
}

/** Idle RAID I/O objects. */
export class RaidIoPool {
  readonly #free: RaidIo[] = [];
  made = 0;

  get(): RaidIo {
    const io = this.#free.pop();
    if (io !== undefined) return io;
    this.made++;
    return new RaidIo();
  }

  put(io: RaidIo): void {
    io.flags = 0;
    io.addr = -1;
    io.slot = -1;
    io.phase = 0;
    io.levelContext = null;
    io.next = null;
    io.partsLeft = 0;
    io.partsDone = 0;
    if (io.failedSlots.length > 0) io.failedSlots.length = 0;
    io.partStatus = Status.Ok;
    io.sink = null;
    io.parent = null;
    io.owner = null;
    io.targetSlot = -1;
    io.isMarked = false;
    io.trimmedBlocks = 0;
    io.journalSlot = -1;
    io.journaled = null;
    io.writesBack = false;
    io.excluded = noSlots;
    this.#free.push(io);
  }

  get outstanding(): number {
    return this.made - this.#free.length;
  }
}

import type { RangeLocks, Status } from '@raidkit/bdev';

/** `shared`: other requests may hold the range at the same time, if their locks are shared too. */
export type LockMode = 'shared' | 'exclusive';

/**
 * One request to a level. The level sends parts to members from within the call that brought the request, or from a callback
 * that it asked for with {@link andThen}, {@link lock} or {@link hold}. When that call has returned and all parts are done, the
 * function given to {@link andThen} is called; if there is none, the request ends. So a level never counts parts, and cannot
 * end a request twice, too early or never.
 *
 * Requests are pooled: a level must not keep one beyond its end. Callbacks should be created once for each array, not for each
 * request.
 */
export interface LevelRequest {
  /** First block: of the array, or for a reconstruct request of the members' data areas. */
  readonly offsetBlocks: number;
  /** Number of blocks, 1 or more. */
  readonly numBlocks: number;

  /** For the level, to keep the state of the request. Initially 0. */
  phase: number;
  /** A number for the level's use. Its initial value is undefined. */
  a: number;
  /** As {@link a}. */
  b: number;
  /** As {@link a}. */
  c: number;
  /** An object for the level's use. Initially null. */
  levelContext: object | null;
  /** Next request in a queue of the level. Initially null. */
  next: LevelRequest | null;

  /** Whether the slot has a member that this request may access. Ask again in each callback, because members can leave. */
  hasMember(slot: number): boolean;
  /**
   * Reads `numBlocks` blocks of the slot's member, from block `offsetBlocks` of its data area, into the buffer at `addr`. The
   * status is ENODEV if the member has left.
   */
  readPart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;

  /**
   * Sets the function to call, instead of ending the request, when this call has returned and all parts are done. It is called
   * once.
   */
  andThen(then: (request: this) => void): void;
  /**
   * Calls `then` once the range `[start, end)` of `locks` is held, immediately or later. The level chooses the unit of the
   * range. The lock belongs to the request and is released at its end, after failed members have been taken out and before the
   * caller is notified. A request can have one lock.
   */
  lock(locks: RangeLocks, start: number, end: number, mode: LockMode, then: (request: this) => void): void;
  /** Suspends the request until the level calls {@link release}, which calls `then`. */
  hold(then: (request: this) => void): void;
  /** Resumes a request that {@link hold} suspended. Throws if it is not suspended. */
  release(): void;

  /**
   * Status of the last step: Ok if all its parts succeeded, else ETIMEDOUT if a part timed out, else the status of the first
   * failed part.
   */
  readonly stepStatus: Status;
  /** Slots of parts that could not be read since {@link forgetUnreadable}, one entry for each failed part. */
  readonly unreadable: readonly number[];
  /** Status of the first of them; Ok if there are none. */
  readonly readStatus: Status;
  /** Empties {@link unreadable} and resets {@link readStatus} to Ok. To be called before other blocks are read. */
  forgetUnreadable(): void;

  /**
   * Ends the request when this call has returned and all parts are done. The parts of the last step determine the status of a
   * read, and {@link ChangingRequest.failed} that of other requests. A request also ends without this call, but then its status
   * is ENODEV if no member has completed a part; after this call it is Ok.
   */
  end(): void;
  /** Ends the request as {@link end} does, with this error. */
  fail(status: Status): void;
}

/** A range of array blocks to write to the journal. */
export interface JournalRange {
  /** First block, of the array. */
  readonly offsetBlocks: number;
  /** Number of blocks, 1 to `LevelContext.mostJournalBlocks`. */
  readonly numBlocks: number;
  /** Byte address of the data that will be written there; -1 for zeros. */
  readonly addr: number;
}

/** Properties that all users' requests have. */
export interface UserRequest extends LevelRequest {
  /**
   * Asks core to rewrite, under quiesce, these blocks of the slot's member, which could not be read although redundancy
   * supplied the data. Core counts the repair. Returns immediately.
   */
  requestRepair(slot: number, offsetBlocks: number, numBlocks: number): void;
}

/** Properties that all requests have that change members. */
export interface ChangingRequest extends UserRequest {
  /**
   * Slots, in ascending order, whose members are recorded as missing, so that only redundancy holds their data; a member that
   * has since returned may be among them. At most as many as may be missing. Before a write changes blocks from which such data
   * is reconstructed, the level must pass that data, as it will be after the write, to {@link journal}: a crash can leave the
   * write half done.
   */
  readonly journalSlots: readonly number[];
  /** As {@link readPart}, but writes the data at `addr`, to stable media if the request asks for that. */
  writePart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;
  /** Writes zeros without a buffer. The device may deallocate the blocks. */
  zeroPart(slot: number, offsetBlocks: number, numBlocks: number): void;
  /** Slots of parts that could not be written, one entry for each failed part. */
  readonly failed: readonly number[];
  /** Status of the first of them. ENOSPC only if all of them failed with that; then no earlier write is lost. */
  readonly writeStatus: Status;
  /**
   * Takes out members that missed a part, as far as the array can do without them; {@link hasMember} is false for them
   * afterwards. This happens automatically at the end, so only a request that continues with the remaining members needs it.
   */
  takeOutFailed(): void;
  /**
   * Writes these ranges of the array, as they will be, to the journal on stable media, then calls the level's `onJournaled`.
   * All ranges must lie in one stripe, with at most one for each of {@link journalSlots}, of that slot's blocks. The ranges and
   * their data must stay unchanged until then. Members must have completed what the request journaled before.
   *
   * With no ranges nothing is journaled: `onJournaled` is called once the ranges where redundancy is in doubt are recorded. A
   * level must do that before it writes there without an entry.
   */
  journal(ranges: readonly JournalRange[]): void;
}

/**
 * A read of array blocks into the buffer at `addr`. It does not cross a boundary at which the geometry asks for a split, nor
 * the offset of a running process, so `hasMember` is valid for the whole range.
 */
export interface ReadRequest extends UserRequest {
  /** Identifies the type of the request. */
  readonly kind: 'read';
  /** Byte address of the buffer to fill, which is `numBlocks` blocks long. */
  readonly addr: number;
  /**
   * Turns the read into one that makes redundancy agree with what it read: the level then writes copies or parity with
   * {@link writePart}, to stable media, and the request's status is determined as for a write. It must be called right after
   * {@link hasMember}: from then on, a member's departure waits for this request.
   */
  writeBack(): void;
  /** Whether {@link writeBack} was called. */
  readonly writesBack: boolean;
  /**
   * As {@link ChangingRequest.journalSlots}, once {@link writeBack} was called. If it is not empty, the level must not change
   * parity.
   */
  readonly journalSlots: readonly number[];
  /** As {@link ChangingRequest.failed}, for the blocks that were written back. */
  readonly failed: readonly number[];
  /** As {@link ChangingRequest.writePart}, always to stable media. Throws unless {@link writeBack} was called. */
  writePart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;
}

/** A write of the data at `addr` to array blocks, within the same limits as a {@link ReadRequest}. */
export interface WriteRequest extends ChangingRequest {
  /** Identifies the type of the request. */
  readonly kind: 'write';
  /** Byte address of the data, which is `numBlocks` blocks long. The level must not change it. */
  readonly addr: number;
}

/** Writes zeros to any range of array blocks. Redundancy must agree with the data afterwards. */
export interface WriteZeroesRequest extends ChangingRequest {
  /** Identifies the type of the request. */
  readonly kind: 'write zeroes';
}

/**
 * Any range of array blocks is no longer needed. The blocks may keep their contents or read as zeros, but must read the same
 * from then on. Redundancy must agree with the data afterwards, so levels with redundancy write zeros.
 */
export interface UnmapRequest extends ChangingRequest {
  /** Identifies the type of the request. */
  readonly kind: 'unmap';
  /** Only for levels without redundancy. The device decides what the unmapped blocks hold. */
  unmapPart(slot: number, offsetBlocks: number, numBlocks: number): void;
  /**
   * The level reports that, if the request succeeds, these array blocks read as zeros and redundancy agrees. Core marks regions
   * that are covered completely as unwritten, which need no resync or rebuild. Without this call core assumes nothing.
   */
  trimmed(offsetBlocks: number, numBlocks: number): void;
}

/**
 * A step of a background process: fill the buffer at `addrs[i]` with what the member of `slots[i]` must hold in blocks
 * `[offsetBlocks, +numBlocks)` of its data area, using members of other slots only; {@link LevelRequest.hasMember} is false for
 * all of `slots`. Only levels with parity get several slots, at most as many as may be missing. The range may span stripes;
 * they are quiesced, so no write is in flight there.
 */
export interface ReconstructRequest extends LevelRequest {
  /** Identifies the type of the request. */
  readonly kind: 'reconstruct';
  /** Slots whose contents are requested: 1 or more, in ascending order. */
  readonly slots: readonly number[];
  /** Byte address of a buffer for each of {@link slots}, each `numBlocks` blocks long. */
  readonly addrs: readonly number[];
  /** First entry of {@link slots}: the only one for levels with copies and for levels that can lose only one member. */
  readonly slot: number;
  /** First entry of {@link addrs}. */
  readonly addr: number;
}

/** A request that `submitRw` gets. */
export type RwRequest = ReadRequest | WriteRequest;
/** A request that `submitNullPayload` gets. */
export type NullPayloadRequest = WriteZeroesRequest | UnmapRequest;
/**
 * A request that `submitProcessRequest` gets. More kinds may be added: answer an unknown one with `fail(Status.NotSupported)`.
 */
export type ProcessRequest = ReconstructRequest;
/** A request that changes the array's data. */
export type AnyWriteRequest = WriteRequest | NullPayloadRequest;

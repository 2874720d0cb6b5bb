import type { RangeLocks, Status } from '@raidkit/bdev';

/** Whether others may hold the range too, if they share it as well. */
export type LockMode = 'shared' | 'exclusive';

/**
 * One request to a level. The level sends parts to members, from within the call that brought the request or from one that it
 * asked for: {@link andThen}, {@link lock}, {@link hold}. When such a call has returned and all parts are done, what
 * {@link andThen} was given is called; if that is nothing, the request ends. So a level never counts parts, and cannot end a
 * request twice, too early or never.
 *
 * Pooled: not to be kept beyond its end. Functions given to it should be made once an array and not once a request.
 */
export interface LevelRequest {
  /** The first block: of the array; of a reconstruct request, of the members' data areas. */
  readonly offsetBlocks: number;
  /** Blocks, 1 or more. */
  readonly numBlocks: number;

  /** The level's own, for where it is with the request. 0 at first. */
  phase: number;
  /** A number of the level's own; at first whatever another request left there. */
  a: number;
  /** As {@link a}. */
  b: number;
  /** As {@link a}. */
  c: number;
  /** An object of the level's own; null at first. */
  levelContext: object | null;
  /** For a queue of the level's own: the request behind this one; null at first. */
  next: LevelRequest | null;

  /** Whether the slot has a member that this request reads from or writes to. Ask again in each call: members leave. */
  hasMember(slot: number): boolean;
  /**
   * Reads `numBlocks` blocks of the slot's member, from block `offsetBlocks` of its data area, into the buffer at `addr`. A
   * member that is gone answers ENODEV.
   */
  readPart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;

  /** What is called when this call has returned and all parts are done, instead of the request's end. Once. */
  andThen(then: (request: this) => void): void;
  /**
   * Calls `then` once the range `[start, end)` of `locks` is held: at once, or later. What a unit is, the level decides. The
   * lock belongs to the request and is released at its end, after members that failed have been taken out and before the caller
   * is told. One for a request.
   */
  lock(locks: RangeLocks, start: number, end: number, mode: LockMode, then: (request: this) => void): void;
  /** The request waits for something of the level's own: {@link release} calls `then`, and nothing else goes on before. */
  hold(then: (request: this) => void): void;
  /** What it was held for is there. Throws if it is not held. */
  release(): void;

  /** What went wrong in the step that is over, ETIMEDOUT before others: Ok, or the status of a part. */
  readonly stepStatus: Status;
  /** Slots of which a part could not be read, since {@link forgetUnreadable}, each as often as that happened. */
  readonly unreadable: readonly number[];
  /** Why the first of them could not; Ok if there are none. */
  readonly readStatus: Status;
  /** {@link unreadable} is empty from now on, and {@link readStatus} Ok: before other blocks are read. */
  forgetUnreadable(): void;

  /**
   * When this call has returned and all parts are done, the request ends: a read as the parts of the last step say, all others
   * as {@link ChangingRequest.failed} says. That happens by itself where nothing else is asked for; but a request of which no
   * member has taken a part is then answered ENODEV, and after this with Ok.
   */
  end(): void;
  /** As {@link end}, with this error. */
  fail(status: Status): void;
}

/** Blocks of the array, to be written down. */
export interface JournalRange {
  /** The first block, of the array. */
  readonly offsetBlocks: number;
  /** Blocks, 1 to `LevelContext.mostJournalBlocks`. */
  readonly numBlocks: number;
  /** Byte address of the data that they will hold; -1 for zeros. */
  readonly addr: number;
}

/** What users' requests have in common. */
export interface UserRequest extends LevelRequest {
  /**
   * These blocks of the slot's member could not be read, but the data was had from redundancy: core rewrites them, under
   * quiesce, and counts it. Returns at once.
   */
  requestRepair(slot: number, offsetBlocks: number, numBlocks: number): void;
}

/** What requests that change members have in common. */
export interface ChangingRequest extends UserRequest {
  /**
   * The slots, in ascending order, whose members are recorded as absent, so that redundancy alone stands for their blocks. One
   * that has come back meanwhile may be among them. Before a write changes members' blocks from which such blocks are worked
   * out, they must be handed to {@link journal}, as they will be: a crash can leave a part of the write done. At most as many
   * as may be missing.
   */
  readonly journalSlots: readonly number[];
  /** As {@link readPart}; the data is at `addr`. It goes to stable media if the request asks for that. */
  writePart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;
  /** Writes zeros, without a buffer; the device may deallocate the blocks. */
  zeroPart(slot: number, offsetBlocks: number, numBlocks: number): void;
  /** Slots of which a part was not written, each as often as that happened. */
  readonly failed: readonly number[];
  /** Why the first of them was not; ENOSPC only if all failed for that: then nothing but this request is lost. */
  readonly writeStatus: Status;
  /**
   * Takes members out that have missed a part, as far as the array can do without them; {@link hasMember} says so then. It is
   * done at the end by itself: only for a request that goes on with those that are left.
   */
  takeOutFailed(): void;
  /**
   * Writes down, on stable media, what these blocks of the array will hold; `onJournaled` of the level is called when all of it
   * is there. They lie in one stripe: for each of {@link journalSlots} one range at most, of that slot's blocks. The ranges, and
   * their data, stay as they are until then. What the request had journaled before must be on its members by now. No ranges:
   * nothing is written down, and the level is told once it is on record where redundancy is in doubt; to be asked before a write
   * goes on there without an entry.
   */
  journal(ranges: readonly JournalRange[]): void;
}

/**
 * A read of array blocks into the buffer at `addr`. It does not cross a boundary that the geometry asked to be split at, nor
 * the offset of a running process: `hasMember` holds for all of it.
 */
export interface ReadRequest extends UserRequest {
  /** Says which request it is. */
  readonly kind: 'read';
  /** Byte address of the buffer that is filled, `numBlocks` blocks long. */
  readonly addr: number;
  /**
   * What is read is what redundancy says from now on: copies, or parity, are written with {@link writePart}, to stable media, and
   * the request is judged as a write. To be called when members have just been looked for: a departure waits for it to end.
   */
  writeBack(): void;
  /** {@link writeBack} was called. */
  readonly writesBack: boolean;
  /** As {@link ChangingRequest.journalSlots}, once {@link writeBack} was called: if there are any, parity is left as it is. */
  readonly journalSlots: readonly number[];
  /** As {@link ChangingRequest.failed}, of what was written back. */
  readonly failed: readonly number[];
  /** As {@link ChangingRequest.writePart}, to stable media. Only after {@link writeBack}; throws before. */
  writePart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;
}

/** A write of array blocks, of the data at `addr`; within the same bounds as a {@link ReadRequest}. */
export interface WriteRequest extends ChangingRequest {
  /** Says which request it is. */
  readonly kind: 'write';
  /** Byte address of the data, `numBlocks` blocks long. It must not be changed. */
  readonly addr: number;
}

/** Zeros for array blocks of any range. Redundancy must agree with the data afterwards. */
export interface WriteZeroesRequest extends ChangingRequest {
  /** Says which request it is. */
  readonly kind: 'write zeroes';
}

/**
 * Array blocks of any range are not needed any more: they may keep what they hold, or read as zeros, and must read the same from
 * then on. Redundancy must agree with the data afterwards, so with redundancy members are given zeros.
 */
export interface UnmapRequest extends ChangingRequest {
  /** Says which request it is. */
  readonly kind: 'unmap';
  /** Only without redundancy: what becomes of the member's blocks, the device decides. */
  unmapPart(slot: number, offsetBlocks: number, numBlocks: number): void;
  /**
   * If the request ends well, these blocks of the array read as zeros, with redundancy that agrees. Core takes regions in which
   * that is so of all blocks for unwritten: nothing to resynchronise there, nothing to rebuild. A level that says nothing may
   * have left anything as it was.
   */
  trimmed(offsetBlocks: number, numBlocks: number): void;
}

/**
 * A step of a background process: fill the buffer at `addrs[i]` with what the member of `slots[i]` must hold in blocks
 * `[offsetBlocks, +numBlocks)` of its data area, from members of other slots alone: {@link LevelRequest.hasMember} is false for
 * all of `slots`. Several slots are asked for at once of levels with parity, as many as may be missing at most. The range may
 * span stripes; they are quiesced: no write is under way there.
 */
export interface ReconstructRequest extends LevelRequest {
  /** Says which request it is. */
  readonly kind: 'reconstruct';
  /** Slots whose members' contents are wanted: 1 or more, in ascending order. */
  readonly slots: readonly number[];
  /** Byte address of a buffer for each of {@link slots}, `numBlocks` blocks long. */
  readonly addrs: readonly number[];
  /** The first of them: the only one for levels with copies, and for those that lose one member at most. */
  readonly slot: number;
  /** Its buffer: the first of {@link addrs}. */
  readonly addr: number;
}

/** What `submitRw` is given. */
export type RwRequest = ReadRequest | WriteRequest;
/** Requests without data of their own. */
export type NullPayloadRequest = WriteZeroesRequest | UnmapRequest;
/** Steps of background processes. More kinds may come: answer one that is not known with `fail(Status.NotSupported)`. */
export type ProcessRequest = ReconstructRequest;
/** Requests that change what the array holds. */
export type AnyWriteRequest = WriteRequest | NullPayloadRequest;

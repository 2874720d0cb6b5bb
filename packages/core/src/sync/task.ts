import type { SyncHost } from './host.js';
import type { Slot } from '../members/slot.js';

/** Places of disagreement, or unreadable ones, that are listed; more are only counted. */
export const mostListed = 64;
/** Largest member I/O of a process, in bytes. */
export const pieceBytes = 256 * 1024;

/** Limits of background processes, shared by all arrays of a composer; changes apply at once. */
export interface ProcessOptions {
  /** KiB of array space that is quiesced at a time; raised to a whole stripe where that is larger. */
  windowSizeKb: number;
  /** MiB of array space a second; 0 for no limit. */
  maxBandwidthMbSec: number;
  /** MiB of array space a second below which a process does not rest for the sake of users. */
  minBandwidthMbSec: number;
  /**
   * Milliseconds that users' I/O may take on average beside a process: it rests longer while they take more, and less while
   * they take less. 0: it rests as long as it works.
   */
  latencyTargetMs: number;
}

/** Limits of one process, instead of the shared ones; null: the shared one. MiB of array space a second; 0 for none. */
export interface OwnLimits {
  maxBandwidthMbSec: number | null;
  minBandwidthMbSec: number | null;
}

/** What a process does. */
export type ProcessType =
  /** Fills a new member. */
  | 'rebuild'
  /** Makes redundancy agree with the data where a crash may have left it otherwise. */
  | 'resync'
  /** Counts and lists where redundancy disagrees; changes nothing. */
  | 'check'
  /** As check, and makes redundancy agree. */
  | 'repair'
  /** Copies a member to the device that takes its place. */
  | 'replace'
  /**
   * Without redundancy: gives what has no checksums that count some of what is there, after a crash, or when another program
   * ran the array. Nothing says that it is what was written.
   */
  | 'resum'
  /** Gives blocks of an array that had no checksums some, of what is there. */
  | 'sum';

/** Which users wait while a window is worked on. */
export type Holds = 'window' | 'all' | 'none';

/** What a process does with one window, which is quiesced. */
export interface ProcessStep {
  /**
   * Which users wait while a window is worked on: those whose I/O lies in it (`window`, the default), all, because only the level knows
   * which of them would be in the way, or none.
   */
  holds?(start: number, end: number): Holds;
  /** Blocks of the array that need nothing: they are passed over. */
  isNeeded(start: number, end: number): boolean;
  /** Works on blocks `[start, end)` of the array, while those users wait whom it was to hold up. */
  run(start: number, end: number, holds: Holds): Promise<void>;
  /** Everything below `offset` is done. The last window is still quiesced. */
  onProgress?(offset: number): Promise<void> | void;
  /** After the last window; once more if the array has grown meanwhile, and something is left to do for it. */
  finish?(): Promise<void>;
  /** It has been done for good, whatever the array grows to now. */
  readonly isDone?: boolean;
  /** Nothing is left to do, and the array has not grown: what this is all for, in the same turn. */
  complete?(): void;
}

/** What a person knows that redundancy does not say; for repairs. */
export interface SyncOptions {
  /** For copies: the slot whose copy is right, where it has one. Without it the majority is. */
  source?: number;
  /** The slot whose blocks are wrong where redundancy disagrees. Without it parity is, or the minority of copies. */
  wrong?: number;
  /** For a check: the block of the array from which on it looks; an earlier check has looked before that. Default 0. */
  from?: number;
  /** MiB of array space a second for this process, instead of the shared limit; 0 for none. */
  maxBandwidthMbSec?: number;
}

/** What is particular to one process. */
export interface ProcessTask extends SyncOptions {
  /** The slot whose member is replaced. */
  replace?: Slot;
}

/** Where redundancy disagrees with the data; blocks of the array. */
export interface Mismatch {
  offsetBlocks: number;
  numBlocks: number;
  /** Whose blocks are not what the others say: parity's or a copy's, or, if it is located, whose are wrong. */
  slot: number;
  /** Redundancy says that this slot's blocks are what is wrong. */
  isLocated: boolean;
}

/** Blocks of a slot's data area that could not be read, or worked out for it. */
export interface UnreadableRange {
  slot: number;
  memberOffsetBlocks: number;
  numBlocks: number;
  /** Redundancy does not know them either: reads of them fail until they are written. */
  isLost: boolean;
}

/** The running process, for its task. */
export interface RunningProcess {
  readonly type: ProcessType;
  /** Blocks that a repair rewrote, and blocks that it could not decide on. */
  repairedBlocks: number;
  undecidedBlocks: number;
  mismatchBlocks: number;
  lostBlocks: number;
  /** Blocks that were given checksums of what was there, whatever that was. */
  unprovenBlocks: number;
  readonly mismatches: Mismatch[];
  /** Slots whose members are being filled, in ascending order. One that leaves is taken out at once, unless it is the last. */
  readonly targets: readonly Slot[];
  /** Whether the slot's member is one of them, and still gets what it lacks from this process. */
  isFilling(slot: number): boolean;
  /** A target cannot be filled: the others are without it. Throws the error if there are none. */
  failTarget(slot: Slot, error: unknown): void;
  /** Throws why the process must not go on: it was stopped, or the array is not online any more. */
  throwIfStopped(): void;
  /** Counts and lists blocks that a member could not read; lost ones too if it is a target that does not have them. */
  noteUnreadable(slot: number, memberOffsetBlocks: number, numBlocks: number, isLost: boolean): void;
}

/** A process that ended. */
export interface ProcessRecord {
  type: ProcessType;
  /** The members that it filled, or was filling; none of other processes. */
  targets: readonly string[];
  /** The first of them. */
  target: string | null;
  startedAt: number;
  seconds: number;
  /** Where it began, and how far it has got, in blocks of the array. */
  fromBlock: number;
  blocks: number;
  mismatchBlocks: number;
  /** The first few places of these. */
  mismatches: readonly Mismatch[];
  /** Blocks that a repair rewrote, and blocks that it could not decide on. */
  repairedBlocks: number;
  undecidedBlocks: number;
  /** Blocks of members that could not be read, and of these, or of the target, those that could not be worked out. */
  unreadableBlocks: number;
  lostBlocks: number;
  /** The first few of both. */
  unreadable: UnreadableRange[];
  /** Blocks of members that were given checksums of what was there: nothing says that it is what was written. */
  unprovenBlocks: number;
  error: string | null;
}

/** There may be something that can be compared: of copies whatever is there, of parity only while redundancy is left. */
export function canCompare(array: SyncHost): boolean {
  return array.module.redundancy === 'copies' || array.canLose > 0;
}

import type { SyncHost } from './host.js';
import type { Slot } from '../members/slot.js';

/** Most mismatches or unreadable ranges that are listed. Further ones are only counted. */
export const mostListed = 64;
/** Largest member I/O of a process, in bytes. */
export const pieceBytes = 256 * 1024;

/** Limits of background processes, which all arrays of a composer share. Changes apply immediately. */
export interface ProcessOptions {
  /** Size of the window that is quiesced at a time, in KiB of array space. Raised to a stripe if that is larger. */
  windowSizeKb: number;
  /** Most MiB of array space per second; 0 for no limit. */
  maxBandwidthMbSec: number;
  /** MiB of array space per second below which a process does not rest in favour of users. */
  minBandwidthMbSec: number;
  /**
   * Target for the average latency of users' I/O during a process, in milliseconds. The process rests longer while it is
   * exceeded, and less while it is not. 0: each rest is as long as the preceding work.
   */
  latencyTargetMs: number;
}

/** Limits of one process in MiB of array space per second, 0 for no limit. Null to use the shared limit. */
export interface OwnLimits {
  /** Upper limit, as `ProcessOptions.maxBandwidthMbSec`. */
  maxBandwidthMbSec: number | null;
  /** Lower limit, as `ProcessOptions.minBandwidthMbSec`. */
  minBandwidthMbSec: number | null;
}

/** Type of a background process. */
export type ProcessType =
  /** Fills new members. */
  | 'rebuild'
  /** Makes redundancy agree with the data where it may disagree after a crash. */
  | 'resync'
  /** Counts and lists blocks where redundancy disagrees, without changing anything. */
  | 'check'
  /** As `check`, and makes redundancy agree. */
  | 'repair'
  /** Copies a member to the device that replaces it. */
  | 'replace'
  /**
   * For an array without redundancy: gives blocks without valid checksums new ones, after a crash or after another program ran
   * the array. They describe the present data, which may not be what was written.
   */
  | 'resum'
  /** Gives checksums to the existing data of an array that had none. */
  | 'sum';

/** Which users' I/O waits while a window is processed: that in the window, all of it, or none. */
export type Holds = 'window' | 'all' | 'none';

/** The work that a process does on each window. */
export interface ProcessStep {
  /**
   * Returns which users' I/O waits while a window is processed: that which lies in it (`window`, the default), `all` of it,
   * because only the level knows which would interfere, or `none`.
   */
  holds?(start: number, end: number): Holds;
  /** Whether the array blocks `[start, end)` need any work. If not, they are skipped. */
  isNeeded(start: number, end: number): boolean;
  /** Processes array blocks `[start, end)`, while users' I/O waits as {@link holds} returned. */
  run(start: number, end: number, holds: Holds): Promise<void>;
  /** Called when everything below `offset` is done. The last window is still quiesced. */
  onProgress?(offset: number): Promise<void> | void;
  /** Called after the last window, and again if the array has grown meanwhile and the new part has been processed. */
  finish?(): Promise<void>;
  /** The work is complete, even if the array grows now. */
  readonly isDone?: boolean;
  /** Called in the turn in which nothing is left to do and the array has not grown. Makes the result effective. */
  complete?(): void;
}

/** Decisions of an operator that redundancy cannot make, for repairs. */
export interface SyncOptions {
  /** For copies: the slot whose copy is right. Without it the majority decides. */
  source?: number;
  /** The slot whose blocks are wrong if redundancy disagrees. Without it that is parity, or the minority of copies. */
  wrong?: number;
  /** For a check: the array block to begin at, because an earlier check has covered the blocks before. Default 0. */
  from?: number;
  /** Own limit in MiB of array space per second, instead of the shared limit; 0 for no limit. */
  maxBandwidthMbSec?: number;
}

/** Parameters of one process. */
export interface ProcessTask extends SyncOptions {
  /** For a replacement: the slot whose member is replaced. */
  replace?: Slot;
}

/** A range of array blocks where redundancy disagrees with the data. */
export interface Mismatch {
  /** First array block of the stripes that contain differing blocks. */
  offsetBlocks: number;
  /** Number of array blocks in these stripes. */
  numBlocks: number;
  /** Slot whose blocks differ from what the others say: parity's or a copy's, or the slot that is wrong if `isLocated`. */
  slot: number;
  /** Redundancy shows that this slot's blocks are the wrong ones. */
  isLocated: boolean;
}

/** Blocks of a slot's data area that could not be read, or could not be reconstructed for it. */
export interface UnreadableRange {
  slot: number;
  memberOffsetBlocks: number;
  numBlocks: number;
  /** Redundancy could not reconstruct them, so reads of them fail until they are written. */
  isLost: boolean;
}

/** The running process, as seen by its task. */
export interface RunningProcess {
  readonly type: ProcessType;
  /** Number of blocks that a repair rewrote, and of blocks that it could not decide on. */
  repairedBlocks: number;
  undecidedBlocks: number;
  mismatchBlocks: number;
  lostBlocks: number;
  /** Number of blocks that got checksums of their present data, which may not be what was written. */
  unprovenBlocks: number;
  readonly mismatches: Mismatch[];
  /**
   * Slots whose members are being filled, in ascending order. A member that leaves is removed at once, unless it is the last
   * one.
   */
  readonly targets: readonly Slot[];
  /** Whether the slot's member is a target that this process is still filling. */
  isFilling(slot: number): boolean;
  /** A target cannot be filled, so it is taken out and the others continue. Throws the error if there are no others. */
  failTarget(slot: Slot, error: unknown): void;
  /** Throws the reason if the process was stopped, or an error if the array is not online. */
  throwIfStopped(): void;
  /**
   * Counts and lists unreadable blocks of a member. `isLost`: they could not be reconstructed either; on a target, they are
   * missing.
   */
  noteUnreadable(slot: number, memberOffsetBlocks: number, numBlocks: number, isLost: boolean): void;
}

/** Record of a process that has ended. */
export interface ProcessRecord {
  /** What the process did. */
  type: ProcessType;
  /** Names of the members that it filled or was filling; empty for other processes. */
  targets: readonly string[];
  /** First entry of `targets`; null if it is empty. */
  target: string | null;
  /** Wall-clock time of its start in milliseconds since 1970. */
  startedAt: number;
  /** Running time in seconds, including that before a restart. */
  seconds: number;
  /** The array block at which it began. */
  fromBlock: number;
  /** The array block up to which it got. */
  blocks: number;
  /** Number of member blocks where redundancy disagreed. */
  mismatchBlocks: number;
  /** The first few mismatches. */
  mismatches: readonly Mismatch[];
  /** Number of member blocks that a repair rewrote. */
  repairedBlocks: number;
  /** Number of blocks that differ and that a repair left as they were, because nothing shows which of them are right. */
  undecidedBlocks: number;
  /** Number of member blocks that could not be read. */
  unreadableBlocks: number;
  /** Number of member blocks, including those of a target, that could not be reconstructed. */
  lostBlocks: number;
  /** The first few unreadable and lost ranges. */
  unreadable: UnreadableRange[];
  /** Number of member blocks that got checksums of their present data, which may not be what was written. */
  unprovenBlocks: number;
  /** Why it failed or was stopped; null if it was completed. */
  error: string | null;
}

/** Whether there is something to compare: with copies always, with parity only while members could still be lost. */
export function canCompare(array: SyncHost): boolean {
  return array.module.redundancy === 'copies' || array.canLose > 0;
}

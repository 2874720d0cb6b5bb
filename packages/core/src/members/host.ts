import type { BdevRegistry, Logger, Status } from '@raidkit/bdev';
import type { RaidEvent } from '../events.js';
import type { RaidState } from '../lifecycle.js';
import type { BadBlocks } from './bad-blocks.js';
import type { Slot } from './slot.js';

/** Options for every member of every array of a composer. */
export interface MemberOptions {
  /**
   * Milliseconds within which a member must complete an I/O; then it is failed, if its array can do without it. 0 means no
   * limit. Flushes, unmaps and write zeroes have longer.
   */
  ioTimeoutMs: number;
  /** Milliseconds within which a member that disappeared may return before a spare replaces it. */
  graceMs: number;
}

/**
 * The view of an array for code that does I/O on its members. Each higher layer extends it; `RaidArray` implements all of them.
 */
export interface MembersHost {
  readonly name: string;
  readonly state: RaidState;
  readonly slots: readonly Slot[];
  /** Block size in bytes; 0 until the first member has joined. */
  readonly blockSize: number;
  /** Number of members that are in sync. */
  readonly numInSync: number;
  /** Number of consecutive blocks of a member that share a checksum; 1 if there are no checksums. */
  readonly blocksTogether: number;
  /** Increases whenever a member leaves, joins, or gets in sync. */
  readonly membership: number;
  readonly memberOptions: MemberOptions;
  readonly badBlocks: BadBlocks;
  readonly registry: BdevRegistry;
  readonly log: Logger;
  slotAt(index: number): Slot;
  logFields(slot?: Slot): object;
  emit(event: RaidEvent): void;
  /** Whether all data is available with only the members of those slots for which `isThere` is true. */
  canRunWith(isThere: (slot: Slot) => boolean): boolean;
  /** Number of further members that the array can lose, whichever they are; -1 if data is unavailable already. */
  readonly canLose: number;
  /** Whether the array can continue without the members of these slots. */
  canDoWithout(...slots: readonly Slot[]): boolean;
  /** Takes a member out after an error. If the array cannot do without it, returns false and does nothing. */
  failMember(slot: number, reason: string): boolean;
  /** As {@link failMember}, after a write that no request waits for. Also returns false if the member is irreplaceable. */
  failUnlessInDoubt(slot: number, reason: string): boolean;
  /** Increases with each {@link noteLostFlush}. */
  readonly lostFlushes: number;
  /**
   * Records that an I/O that had to reach stable media failed with this status, on a member that the array cannot do without.
   * With ENOSPC only that write is lost. With any other status, data acknowledged earlier may be lost, now or at the next power
   * failure, and later flushes of the member no longer count as successful.
   */
  noteLostFlush(slot: Slot, status: Status): void;
  /** The slot's member has been given these blocks of its data area, though perhaps only in its cache. */
  noteWritten(slot: number, memberOffset: number, numBlocks: number): boolean;
}

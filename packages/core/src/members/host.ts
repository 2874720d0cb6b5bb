import type { BdevRegistry, Logger, Status } from '@raidkit/bdev';
import type { RaidEvent } from '../events.js';
import type { RaidState } from '../lifecycle.js';
import type { BadBlocks } from './bad-blocks.js';
import type { Slot } from './slot.js';

/** What is asked of every member of every array of a composer. */
export interface MemberOptions {
  /**
   * Milliseconds that a member has for an I/O before it is failed, if its array can do without it; 0 for as long as it
   * takes. Flushes, unmaps and write zeroes have longer.
   */
  ioTimeoutMs: number;
  /** Milliseconds that a member which vanished may take to come back before a spare takes its place. */
  graceMs: number;
}

/** An array as those see it who do I/O on its members. Each layer above adds what it needs; `RaidArray` is all of them. */
export interface MembersHost {
  readonly name: string;
  readonly state: RaidState;
  readonly slots: readonly Slot[];
  /** Bytes; 0 until the first member is there. */
  readonly blockSize: number;
  /** Members that hold the array's data. */
  readonly numInSync: number;
  /** Blocks of members that are only ever right or wrong together: those that have one checksum; else 1. */
  readonly blocksTogether: number;
  /** Grows whenever a member leaves, joins, or gets in sync. */
  readonly membership: number;
  readonly memberOptions: MemberOptions;
  readonly badBlocks: BadBlocks;
  readonly registry: BdevRegistry;
  readonly log: Logger;
  slotAt(index: number): Slot;
  logFields(slot?: Slot): object;
  emit(event: RaidEvent): void;
  /** All data is there with the members of those slots for which this holds. */
  canRunWith(isThere: (slot: Slot) => boolean): boolean;
  /** How many more members the array can lose, whichever they are; -1 if it lacks data already. */
  readonly canLose: number;
  /** The array can go on if the slots' members leave. */
  canDoWithout(...slots: readonly Slot[]): boolean;
  /** Takes a member out because of an error, if the array can do without it; false if it cannot, and nothing happens then. */
  failMember(slot: number, reason: string): boolean;
  /** Grows with each {@link noteLostFlush}. */
  readonly lostFlushes: number;
  /**
   * I/O that was to end on stable media failed with this status, and the array cannot do without the member. A write that was
   * refused for lack of space has lost nothing but itself; after any other failure, what was acknowledged before may be lost,
   * now or at the next power cut, and no later flush is believed.
   */
  noteLostFlush(slot: Slot, status: Status): void;
  /** The slot's member holds these blocks of its data area now, if only in its cache. */
  noteWritten(slot: number, memberOffset: number, numBlocks: number): boolean;
}

import type { BlockRange } from '../format/block-ranges.js';
import type { ReadPreference } from '../format/read-policy.js';

/** Why a slot has no current member. */
export type SlotAbsence = 'missing' | 'failed';

/**
 * Role of the slot's member. `empty`: there is no member. `opening`: its device is open and being examined. `inSync`: it holds
 * the array's data and can be read anywhere. `rebuilding`: it is being filled and holds the data below the offset of its
 * rebuild. `leaving`: it gets no more I/O and leaves when its I/O in flight has ended.
 */
export type MemberRole = 'empty' | 'opening' | 'inSync' | 'rebuilding' | 'leaving';

/** Error counters of a slot's member. */
export interface SlotErrors {
  /** Reads that failed. */
  read: number;
  /** Writes that failed. */
  write: number;
  /** Blocks that could not be read and were rewritten from redundancy. */
  repaired: number;
  /** Number of blocks that did not match their checksum; 0 for an array without integrity. */
  checksum: number;
}

/** Identity of the slot's previous member. */
export interface LastMember {
  readonly name: string;
  readonly uuid: string;
  /** Serial number of the disk; null if unknown. */
  readonly serial: string | null;
}

/** Read-only view of a slot. All numbers of blocks are in blocks of the array. */
export interface SlotView {
  /** Index of the slot, from 0. It can change when a slot is removed. */
  readonly index: number;
  /** Name of the member bdev; null if the slot is empty. */
  readonly name: string | null;
  /** Uuid of the member bdev, or of the member that the slot is waiting for; the null uuid if there is neither. */
  readonly uuid: string;
  /** Uuid that the superblock has for this slot. It is kept after the member has left. */
  readonly recordedUuid: string;
  /** While the array is being assembled, a device of this name is accepted for the slot; null if there is none. */
  readonly awaitedName: string | null;
  /** Serial number of the member's disk; null if the slot is empty or the number is unknown. */
  readonly serial: string | null;
  /** The last member that left the slot; null if none has. */
  readonly lastMember: LastMember | null;
  /** What the slot holds: see {@link MemberRole}. */
  readonly role: MemberRole;
  /** The slot has the member's device open, so nothing else may write to it. */
  readonly hasDevice: boolean;
  /** The slot has a member whose sizes are known, possibly one that is leaving. */
  readonly isConfigured: boolean;
  /** The member is in sync or rebuilding, so it gets I/O. */
  readonly isOperational: boolean;
  /** The member holds the array's data and can be read anywhere. */
  readonly isInSync: boolean;
  /** The member is being filled, or was when it began to leave. */
  readonly isRebuilding: boolean;
  /** The member is leaving and gets no I/O. */
  readonly isRemoving: boolean;
  /** The last member was removed while the array was online. */
  readonly isRemoved: boolean;
  /** An I/O of the member is overdue. */
  readonly isUnresponsive: boolean;
  /** A flush failed and the array could not do without the member, so data written earlier may be lost. */
  readonly hasLostFlush: boolean;
  /** Number of consecutive resyncs in which a write to the member has failed, and it stays a member. */
  readonly refusedResyncs: number;
  /** Why there is no current member. */
  readonly absence: SlotAbsence;
  /** First block of the data area on the member. */
  readonly dataOffset: number;
  /** Size of the data area in blocks: the part of the member that the array uses. */
  readonly dataSize: number;
  /** Size of the member in blocks, from the data offset to its end. */
  readonly capacity: number;
  /** Whether reads prefer or avoid the member, if a level can choose among copies. */
  readonly readPreference: ReadPreference;
  /** Error counters of the member; they are reset when another device becomes the member. */
  readonly errors: Readonly<SlotErrors>;
}

/** Bad blocks of members' data areas: their data was lost or damaged and could not be reconstructed. */
export interface BadBlocksView {
  /** Number of ranges on the list. */
  readonly size: number;
  /** Whether any of these blocks of the slot's data area is on the list. */
  has(slot: number, offset: number, numBlocks: number): boolean;
  /** Returns the slot's ranges on the list, sorted, in blocks of its data area. */
  rangesOf(slot: number): readonly BlockRange[];
  /** Number of blocks of the slot that are on the list. */
  countOf(slot: number): number;
}

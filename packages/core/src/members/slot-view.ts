import type { BlockRange } from '../format/block-ranges.js';
import type { ReadPreference } from '../format/read-policy.js';

/** Why a slot has no current member. */
export type SlotAbsence = 'missing' | 'failed';

/**
 * What the slot's member is to the array. `empty`: there is none. `opening`: its device is open, and being looked at. `inSync`: it
 * holds the array's data, and may be read anywhere. `rebuilding`: it is being filled, and holds the data below the offset of its
 * rebuild. `leaving`: it gets no more I/O, and leaves when what is in flight has ended.
 */
export type MemberRole = 'empty' | 'opening' | 'inSync' | 'rebuilding' | 'leaving';

/** Errors of a slot's member. */
export interface SlotErrors {
  read: number;
  write: number;
  /** Blocks that could not be read and were rewritten from redundancy. */
  repaired: number;
  /** Times that a block was not what its checksum says; of an array without integrity always 0. */
  checksum: number;
}

/** What a member was that a slot had. */
export interface LastMember {
  readonly name: string;
  readonly uuid: string;
  /** The disk's serial number; null if that is not known. */
  readonly serial: string | null;
}

/** A member's place in an array, to be looked at. Blocks are the array's. */
export interface SlotView {
  readonly index: number;
  /** The member bdev's name; null for an empty slot. */
  readonly name: string | null;
  /** The member bdev's uuid, or that of the member that is waited for; the null uuid for an empty slot. */
  readonly uuid: string;
  /** The uuid that the superblock has for the slot: a member that was taken out keeps its place there. */
  readonly recordedUuid: string;
  /** A device of this name is taken while the array is being put together; null for none. */
  readonly awaitedName: string | null;
  /** The serial number of the member's disk; null for an empty slot, and if that is not known. */
  readonly serial: string | null;
  /** What the last member was; null if there was none. */
  readonly lastMember: LastMember | null;
  readonly role: MemberRole;
  /** The member's device is open: nothing else may write to it. */
  readonly hasDevice: boolean;
  /** The member is there, with its sizes known; also while it leaves. */
  readonly isConfigured: boolean;
  /** The member is in sync or rebuilding: I/O goes to it. */
  readonly isOperational: boolean;
  /** The member holds the array's data: it may be read anywhere. */
  readonly isInSync: boolean;
  /** The member is being filled, or was when it began to leave. */
  readonly isRebuilding: boolean;
  /** The member is on its way out, and gets no I/O. */
  readonly isRemoving: boolean;
  /** The last member was taken out while the array was up. */
  readonly isRemoved: boolean;
  /** The member is late with an answer. */
  readonly isUnresponsive: boolean;
  /** A flush failed, and the array could not do without the member: what was written before may be lost. */
  readonly hasLostFlush: boolean;
  /** Why there is no current member. */
  readonly absence: SlotAbsence;
  /** Where the member's data begins, from its start. */
  readonly dataOffset: number;
  /** What the array uses of the member from there. */
  readonly dataSize: number;
  /** From the data offset to the end of the member. */
  readonly capacity: number;
  /** What reads want of the member, where a level has a choice of copies. */
  readonly readPreference: ReadPreference;
  readonly errors: Readonly<SlotErrors>;
}

/** Blocks of members' data areas that could not be worked out when the member was filled. */
export interface BadBlocksView {
  /** Ranges on the list. */
  readonly size: number;
  /** Whether any of these blocks of the slot's data area is bad. */
  has(slot: number, offset: number, numBlocks: number): boolean;
  rangesOf(slot: number): readonly BlockRange[];
  /** Bad blocks of the slot. */
  countOf(slot: number): number;
}

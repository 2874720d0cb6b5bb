import type { BdevIo, Logger, Status } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';
import type { RaidIo } from './raid-io.js';

/** The version of this interface. A module built for another major is refused at registration. */
export const raidApiVersion = 1;

/** Numeric level codes that third parties may use on disk; SPDK's own are 0, 1, 95 and 99. */
export const thirdPartyCodes = { first: 0x1000, last: 0x7fff_ffff } as const;

/** What a level can do, as constants: it drives validation, tests, documentation and `raidkit_get_modules`. */
export interface RaidManifest {
  /** Whether `strip_size_kb` must be given, or must not. */
  stripSize: 'required' | 'none';
  /** The level has `submitNullPayloadRequest`: unmap and write zeroes. */
  nullPayload: boolean;
  /** The level has `resize`. */
  resize: boolean;
}

interface ModuleBase {
  /** Unique id, lower case, `raid1`. */
  readonly level: string;
  /** Other names that users may write, `1`. */
  readonly aliases: readonly string[];
  /** The number that says this level in a superblock. */
  readonly code: number;
  /** {@link raidApiVersion} of the interface that the module was written against. */
  readonly apiVersion: number;
  readonly manifest: RaidManifest;
  /** Fewest slots of an array; 1 to 255. */
  readonly baseBdevsMin: number;
  /** Whether an array may have so many slots, {@link baseBdevsMin} to 255. Absent: it may. */
  acceptsSlots?(numSlots: number): boolean;
  /**
   * Throws (a `RaidError` if it can) for options that no array of the level may have, before one is created with them, and
   * before one is started with what its members say. Absent: any will do.
   */
  checkOptions?(options: Readonly<Record<string, unknown>>): void;
  /**
   * Starts an array: all members that it will start with are open, some may be missing. Throws (a `RaidError` if it can) to
   * refuse. Called again after a stop, with a new view.
   */
  start(raid: RaidView): RaidLevel;
}

/** Which members an array of a redundant level can be without. */
interface Losses {
  /** Most members that may be missing, of an array of so many slots: 1 to `numSlots - 1`. */
  readonly maxMissing: number | ((numSlots: number) => number);
  /**
   * Whether all data is there without these slots' members: 1 to {@link maxMissing} of them, in ascending order. Who is without
   * these can be without fewer of them. Absent: any may be missing.
   */
  canRun?(numSlots: number, missing: readonly number[]): boolean;
}

/** A level that needs every member. */
export interface PlainModule extends ModuleBase {
  readonly redundancy: 'none';
}

/** A level that keeps each block more than once: on all members, in groups of them ({@link RaidLevel.copyGroups}), or elsewhere. */
export interface CopiesModule extends ModuleBase, Losses {
  readonly redundancy: 'copies';
}

/**
 * A level that works blocks out from others. Where these may disagree, after a crash, an absent member's blocks cannot be told:
 * such an array is not started without a person's word, unless there is a journal.
 */
export interface ParityModule extends ModuleBase, Losses {
  readonly redundancy: 'parity';
  /**
   * The level has `onJournaled` and keeps to {@link RaidIo.journalSlot}. A crash of an array without exactly one member then
   * costs nothing; without more of them there is no journal.
   */
  readonly journal: boolean;
}

/**
 * A RAID level, as its package exports it. A plain object without state; what belongs to one array is made by `start`.
 */
export type RaidModule = PlainModule | CopiesModule | ParityModule;

/** Sizes of an array, all in blocks. Computed by the level at start and at resize. */
export interface RaidGeometry {
  numBlocks: number;
  /** Blocks of each slot's data area that the level uses; one entry a slot, missing members too. */
  memberBlocks: readonly number[];
  /** 0 for none. */
  optimalIoBoundary?: number;
  /** The level never wants a read to cross `optimalIoBoundary`, nor a write unless `splitOnWriteUnit`. */
  splitOnBoundary?: boolean;
  /** 1 for none. */
  writeUnitSize?: number;
  splitOnWriteUnit?: boolean;
  /**
   * How the array's blocks and a member's correspond, for levels with redundancy: array blocks `[k·arrayBlocks,
   * (k+1)·arrayBlocks)` depend on, and only on, blocks `[k·memberBlocks, (k+1)·memberBlocks)` of every member.
   */
  stripe?: { arrayBlocks: number; memberBlocks: number };
}

/** What a level sees of its array. */
export interface RaidView {
  readonly name: string;
  readonly blockSize: number;
  /** Blocks; 0 where the level has no strips. */
  readonly stripSizeBlocks: number;
  readonly numSlots: number;
  /** Nothing must be written to members. */
  readonly isReadOnly: boolean;
  /** Level-specific options of the array, as given at creation, as JSON has them; members keep them. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly memory: BufferMemory;
  readonly log: Logger;
  /** Blocks in the slot's data area. For a missing member what is recorded of it, or the least of the others. */
  memberCapacity(slot: number): number;
  /** Blocks of reads in flight on the slot's member, for read balancing. */
  outstandingReadBlocks(slot: number): number;
  /**
   * Redundancy is known to agree with the data in these blocks of every member's data area, so that it may be updated by
   * the difference. False after creation over unknown contents or a crash, until a resync got there.
   */
  isRangeInSync(memberOffsetBlocks: number, numBlocks: number): boolean;
  /**
   * Redundancy may disagree in these blocks: after an unclean stop until a resync got there, or where it is distrusted. Of
   * copies that may differ all reads must take the same one (the lowest slot that can be read); what would have to be worked
   * out from parity that may be wrong is answered with EIO.
   */
  isInconsistent(memberOffsetBlocks: number, numBlocks: number): boolean;
  /** A write failed on so many members that redundancy may disagree in these blocks, and none could be left out for it. */
  markInconsistent(memberOffsetBlocks: number, numBlocks: number): void;
  /**
   * Redundancy has been written anew in these blocks, all of it from data. `isWhole`: so has all data there, on every member;
   * otherwise it is made from data that was read, of which a device may have failed to keep what it shows.
   */
  markInSync(memberOffsetBlocks: number, numBlocks: number, isWhole: boolean): void;
  /** Most blocks of one {@link RaidIo.journal}. */
  readonly mostJournalBlocks: number;
  /** The slot's member is there and holds the array's data. */
  isMemberInSync(slot: number): boolean;
  /**
   * These blocks of the slot's member could not be read, but the data was had from redundancy: core rewrites them, under
   * quiesce, and counts it. Returns at once.
   */
  requestRepair(slot: number, memberOffsetBlocks: number, numBlocks: number): void;
}

/**
 * One array's instance of a level. All calls come from the array's reactor, one at a time. Every request ends in exactly
 * one of `io.complete(status)` or the last `io.partDone(part)`.
 */
export interface RaidLevel {
  /** Replaced as a whole by `resize`. */
  readonly geometry: RaidGeometry;
  /**
   * A read or write of `io.numBlocks` blocks at array block `io.offsetBlocks`, data at `io.addr`. It does not cross a
   * boundary that the geometry asked to be split at, nor the offset of a running process: `io.hasMember` holds for all of it.
   */
  submitRwRequest(io: RaidIo): void;
  /** Unmap or write zeroes, of any range. Redundancy must agree with the data afterwards. */
  submitNullPayloadRequest?(io: RaidIo): void;
  /** A part ended. Absent: `io.partDone(part)`. */
  onPartDone?(io: RaidIo, part: BdevIo): void;
  /** The end of {@link RaidIo.journal}. On any other status than Ok the write must not go on. */
  onJournaled?(io: RaidIo, status: Status): void;
  /**
   * Fills `io.addr` with what the member of `io.slot` must hold in blocks `[io.offsetBlocks, +io.numBlocks)` of its data
   * area, from the other members alone. The range lies within whole stripes that are quiesced: no write is under way there.
   */
  submitReconstructRequest?(io: RaidIo): void;
  /**
   * Of copies: groups of slots whose members hold the same at the same blocks, in every stripe. Of copies that differ the
   * majority of a group is believed. Absent where copies lie elsewhere: then {@link redundantSlots}.
   */
  readonly copyGroups?: readonly (readonly number[])[];
  /**
   * With redundancy, unless there are {@link copyGroups}: the slots whose blocks in this stripe are worked out from those of the
   * other members that are there (parity; further copies). A resync rewrites these, a check compares them.
   */
  redundantSlots?(stripe: number): readonly number[];
  /** The members have these sizes now. Sets and returns the new geometry, or null if nothing changes. Never shrinks. */
  resize?(memberCapacities: readonly number[]): RaidGeometry | null;
  /** No request is in flight, and none will come. */
  stop?(): void | Promise<void>;
}

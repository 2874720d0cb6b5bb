import type { Logger } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';

/** Options of an array that only its level understands, as JSON values. Core stores them on the members. */
export type LevelOptions = Readonly<Record<string, unknown>>;

/** Sizes of an array, in blocks. The level's `resize` computes them; core stores them and relies on them. */
export interface RaidGeometry {
  /** Size of the volume that users see. */
  readonly numBlocks: number;
  /** Blocks of each slot's data area that the level uses: one entry for each slot, including slots without a member. */
  readonly memberBlocks: readonly number[];
  /** Requests should be split at multiples of this many blocks of the array. 0, the default, means no preference. */
  readonly optimalIoBoundary?: number;
  /** Core splits reads at `optimalIoBoundary`, and writes too unless `splitOnWriteUnit` is set. Default false. */
  readonly splitOnBoundary?: boolean;
  /** Number of array blocks that are best written together, usually a stripe. 1, the default, means no preference. */
  readonly writeUnitSize?: number;
  /** Core splits writes at multiples of `writeUnitSize`. Default false. */
  readonly splitOnWriteUnit?: boolean;
  /**
   * Only for levels with parity. With the default true, core may merge consecutive writes to one stripe into one request,
   * within the limits that the geometry sets. With false, the level gets each write as the user sent it.
   */
  readonly gathersWrites?: boolean;
  /**
   * For levels with redundancy, how array blocks map to member blocks: array blocks `[k·arrayBlocks, (k+1)·arrayBlocks)` depend
   * on blocks `[k·memberBlocks, (k+1)·memberBlocks)` of every member, and on no others.
   */
  readonly stripe?: StripeShape;
}

/**
 * The smallest range of the array that depends on the same blocks of all members. `numBlocks` is a multiple of `arrayBlocks`.
 */
export interface StripeShape {
  /** Blocks of the array, 1 or more. */
  readonly arrayBlocks: number;
  /** Blocks of every member's data area, 1 or more. */
  readonly memberBlocks: number;
}

/** The geometry of a level with redundancy. */
export type RedundantGeometry = RaidGeometry & Required<Pick<RaidGeometry, 'stripe'>>;

/** The properties of an array that are known before it is started. */
export type ArrayShape = Pick<LevelContext, 'blockSize' | 'numSlots' | 'options' | 'stripSizeBlocks'> & {
  readonly memory: Pick<BufferMemory, 'zeroBytes'>;
};

/** A level's view of its array. */
export interface LevelContext {
  /** The array's name, for use in messages. */
  readonly name: string;
  /** Block size of the array and its members in bytes: a power of two, 512 to 65,536. */
  readonly blockSize: number;
  /** Strip size in blocks; 0 if the level has no strips. */
  readonly stripSizeBlocks: number;
  /** Number of slots; they are numbered 0 to `numSlots - 1`. It can change only if the module has an `addedSlot`. */
  readonly numSlots: number;
  /** If true, the level must not write to members. */
  readonly isReadOnly: boolean;
  /** Level-specific options as given at creation, as JSON values. They are stored on the members. */
  readonly options: LevelOptions;
  /** The geometry that the level's `resize` returned last. It is not set during `start`. A growth replaces the object. */
  readonly geometry: RaidGeometry;
  /** The memory that every `addr` is an address in. The level allocates what it needs in `start` and frees it in `stop`. */
  readonly memory: BufferMemory;
  /** The array's log. It is for what an operator must know; the level must not log each request. */
  readonly log: Logger;
  /**
   * Returns the current cost of a read from the slot's member, computed from the operator's read preference and the member's
   * load. Of several copies, the level should read the cheapest. Any finite number; it is meaningful only in comparison.
   */
  readCost(slot: number): number;
  /** Whether the slot has a member, and that member holds the array's data. */
  isMemberInSync(slot: number): boolean;
}

/** The view of an array that a level with redundancy gets. Ranges are in blocks of every member's data area. */
export interface RedundantContext extends LevelContext {
  /**
   * Whether redundancy is known to agree with the data in these blocks, so that parity may be updated by the difference. False
   * from creation or an unclean stop until a resync has covered the range.
   */
  isRangeInSync(memberOffsetBlocks: number, numBlocks: number): boolean;
  /**
   * Whether redundancy may disagree with the data in these blocks: after an unclean stop until a resync has covered them, or
   * after {@link markInconsistent}. Of copies that may differ, all reads must take the same one (the first of its group or set
   * that can be read). A block that could only be reconstructed from such parity is answered with EIO.
   */
  isInconsistent(memberOffsetBlocks: number, numBlocks: number): boolean;
  /**
   * The level reports that a write failed on more members than can be taken out, so redundancy may disagree in these blocks.
   */
  markInconsistent(memberOffsetBlocks: number, numBlocks: number): void;
  /**
   * The level reports that it has rewritten all redundancy in these blocks from the data. `isWhole`: all data there was written
   * too, on every member; otherwise some of it was read, and a device may yet lose what it returned (after a failed flush).
   */
  markInSync(memberOffsetBlocks: number, numBlocks: number, isWhole: boolean): void;
  /** Largest number of blocks that one call of a request's `journal` may cover; 0 if the array has no journal. */
  readonly mostJournalBlocks: number;
}

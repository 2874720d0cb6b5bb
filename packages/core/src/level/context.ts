import type { Logger } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';

/** Options of a level, as its arrays keep them: as JSON has them. */
export type LevelOptions = Readonly<Record<string, unknown>>;

/** Sizes of an array, all in blocks. Computed by the level's `resize`; core keeps them. */
export interface RaidGeometry {
  /** Blocks of the array: of the volume that users see. */
  readonly numBlocks: number;
  /** Blocks of each slot's data area that the level uses; one entry a slot, missing members too. */
  readonly memberBlocks: readonly number[];
  /** Blocks of the array at whose multiples requests are best cut; 0, the default, for none. */
  readonly optimalIoBoundary?: number;
  /** The level never wants a read to cross `optimalIoBoundary`, nor a write unless `splitOnWriteUnit`. Default false. */
  readonly splitOnBoundary?: boolean;
  /** Blocks of the array that are best written together, a stripe; 1, the default, for none. */
  readonly writeUnitSize?: number;
  /** The level never wants a write to cross a multiple of `writeUnitSize`. Default false. */
  readonly splitOnWriteUnit?: boolean;
  /**
   * For a level with parity: false if writes must come to it as users make them. Default true: some that follow one another, in
   * one stripe, come as one, within the bounds that the geometry asks for.
   */
  readonly gathersWrites?: boolean;
  /**
   * How the array's blocks and a member's correspond, for levels with redundancy: array blocks `[k·arrayBlocks,
   * (k+1)·arrayBlocks)` depend on, and only on, blocks `[k·memberBlocks, (k+1)·memberBlocks)` of every member.
   */
  readonly stripe?: StripeShape;
}

/** The smallest part of an array that depends on the same blocks of all members. Whole stripes: `numBlocks` is a multiple. */
export interface StripeShape {
  /** Blocks of the array, 1 or more. */
  readonly arrayBlocks: number;
  /** Blocks of every member's data area, 1 or more. */
  readonly memberBlocks: number;
}

/** The geometry of a level with redundancy. */
export type RedundantGeometry = RaidGeometry & Required<Pick<RaidGeometry, 'stripe'>>;

/** What is known of an array before it is started. */
export type ArrayShape = Pick<LevelContext, 'blockSize' | 'numSlots' | 'options' | 'stripSizeBlocks'> & {
  readonly memory: Pick<BufferMemory, 'zeroBytes'>;
};

/** What a level sees of its array. */
export interface LevelContext {
  /** The array's name, for messages. */
  readonly name: string;
  /** Bytes of a block, of the array and of its members: a power of two, 512 to 65,536. */
  readonly blockSize: number;
  /** Blocks; 0 where the level has no strips. */
  readonly stripSizeBlocks: number;
  /** Members that the array has when it is complete; slots are 0 to `numSlots - 1`. It changes where the module has an `addedSlot`. */
  readonly numSlots: number;
  /** Nothing must be written to members. */
  readonly isReadOnly: boolean;
  /** Level-specific options of the array, as given at creation, as JSON has them; members keep them. */
  readonly options: LevelOptions;
  /** What the level's `resize` has returned, once core goes by it; not yet there during `start`. A new object after a growth. */
  readonly geometry: RaidGeometry;
  /** Where all buffers are: what an `addr` is an address in. Take what is needed at `start`, give it back in `stop`. */
  readonly memory: BufferMemory;
  /** The array's log, for what an operator must know, not for each request. */
  readonly log: Logger;
  /**
   * What a read from the slot's member costs now, by what the array's operator wants of its members and how busy they are: of
   * several copies the cheapest is to be read. Any finite number; it says nothing by itself.
   */
  readCost(slot: number): number;
  /** The slot's member is there and holds the array's data. */
  isMemberInSync(slot: number): boolean;
}

/** What a level with redundancy sees of its array. Ranges are blocks of every member's data area. */
export interface RedundantContext extends LevelContext {
  /**
   * Redundancy is known to agree with the data in these blocks of every member's data area, so that it may be updated by
   * the difference. False after creation over unknown contents or a crash, until a resync got there.
   */
  isRangeInSync(memberOffsetBlocks: number, numBlocks: number): boolean;
  /**
   * Redundancy may disagree in these blocks: after an unclean stop until a resync got there, or where it is distrusted. Of
   * copies that may differ all reads must take the same one (the first of its group or set that can be read); what would have to be worked
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
  /** Most blocks of one `journal` of a request; 0 for an array without a journal. */
  readonly mostJournalBlocks: number;
}

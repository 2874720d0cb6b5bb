import type { IoHost } from '../io/host.js';
import type { RaidGeometry } from '../level/context.js';
import type { SumsHeader } from '../format/store.js';
import type { Slot } from '../members/slot.js';

/**
 * The checksums of an array, whose pages lie behind the data. When the array grows, they move first, and then the data grows.
 * Offsets and sizes are in blocks of members, from the data offset.
 */
export interface GrowingSums {
  /** Null if checksums are being turned off. */
  header(): SumsHeader | null;
  /** First block of the pages. */
  readonly areaAt: number;
  /** Number of data blocks that may have pages. It is larger than the data areas if a growth has failed. */
  readonly dataSize: number;
  /** Block that the pages are moving to; null if they are not moving. */
  readonly movesTo: number | null;
  /** Begins to write pages to the new place too, until {@link endMove} or {@link cancelMove}. */
  beginMove(to: number): void;
  /**
   * Copies all pages to the new place. Resolves when they are there, though perhaps only in caches. Rejects if one cannot be
   * read or written.
   */
  copyPages(): Promise<void>;
  /** All pages are at the new place on stable media, so headers name that from now on. */
  recordMove(): void;
  /** All members have recorded the new place, so the old one is given up. Resolves when it gets no more writes. */
  endMove(): Promise<void>;
  /** Gives up the new place, unless it may have been recorded. */
  cancelMove(): Promise<void>;
  /** Extends the data areas. The new blocks have no valid checksums. */
  extend(dataSize: number): Promise<void>;
  /**
   * If all blocks so far have checksums, blocks up to this size of the data areas have too from now on, as far as the bitmap
   * says.
   */
  countFrom(dataSize: number): void;
  /** All blocks of each data area before this one have checksums from now on, as far as the bitmap says. */
  countTo(memberBlocks: number): void;
  /** Block up to which they have, and whether that is all of them. */
  readonly summedTo: number;
  readonly isComplete: boolean;
  /** Checksums are being turned off. They are valid until they are removed. */
  readonly isEnding: boolean;
}

/** The space that checksums need on members, in blocks. */
export interface SumsRoom {
  /**
   * Returns how many of `blocks` blocks behind the data offset can hold data, with the pages of checksums at `areaAt`, or
   * behind the data if absent.
   */
  roomForData(blocks: number, areaAt?: number): number;
  /** Returns how many blocks the pages of checksums need for this many blocks of data. */
  blocksForPages(dataBlocks: number): number;
}

/** An array that may have background processes. */
export interface SyncHost extends IoHost {
  /**
   * Name of the array with a device in common whose background process must end before this array's begins; null if there is
   * none.
   */
  waitsFor: string | null;
  /** Size of the slot's data area in blocks: that of its member, or the recorded size if the member is missing. */
  availableBlocks(slot: number): number;
  readonly integrity: SumsRoom;
  /** Whether members' blocks have checksums. */
  readonly hasIntegrity: boolean;
  /** The array gets checksums as soon as there is room, so growth leaves that free. */
  readonly wantsIntegrity: boolean;
  /** Number of consecutive blocks of a member that share a checksum; 1 if there are no checksums. */
  readonly blocksTogether: number;
  readonly sums: GrowingSums | null;
  /** Only the code that starts or grows the array changes it. */
  readonly currentGeometry: RaidGeometry | null;
  /** Makes the geometry that the level has computed for grown members the one in use. */
  setGeometry(geometry: RaidGeometry | null): void;
  isInconsistent(memberOffset: number, numBlocks: number): boolean;
  /**
   * Marks these blocks of the slot's member as bad, because what they should hold is unknown. Reads of them fail from now on.
   */
  markBad(slot: number, memberOffset: number, numBlocks: number): void;
  /** See {@link DamageHost}. */
  markDamaged(slot: number, memberOffset: number, numBlocks: number, mayJoin: boolean): void;
  /** See {@link DamageHost}. */
  outlastsCrash(start: number, end: number): boolean;
  /** The superblocks may be out of date. No write is acknowledged until they have been updated; resolves then. */
  recordAgain(): Promise<void>;
  readonly io: IoHost['io'] & {
    /** Users' flushes, which a quiesced volume lets through, wait until {@link releaseFlushes}. Those in progress go on. */
    holdFlushes(): void;
    releaseFlushes(): void;
  };
  /** No read repair may begin until {@link releaseRepairs}. */
  holdRepairs(): void;
  releaseRepairs(): void;
  /** Resolves when no read repair is in progress. */
  repairsIdle(): Promise<void>;
  /** Requests a growth (`grow`), which runs after any growth in progress. */
  growIfPossible(): void;
  /** Begins to fill the slot's member, whose device is open and sizes set. It gets writes below the offset of its rebuild. */
  beginFilling(slot: Slot): void;
  /** The slot's member will not be filled. It gets no more I/O. */
  endFilling(slot: Slot): void;
  /** The slot has another device, or a member that was being filled is in sync. */
  membershipChanged(): void;
}

import type { IoHost } from '../io/host.js';
import type { RaidGeometry } from '../level/context.js';
import type { SumsHeader } from '../format/store.js';
import type { Slot } from '../members/slot.js';

/**
 * The sums of members' blocks, whose pages lie behind the data and make way for it: first they move, then the data grows. Places and
 * sizes are blocks of members, from the data offset on.
 */
export interface GrowingSums {
  /** Null: they are being given up. */
  header(): SumsHeader | null;
  /** Where pages begin. */
  readonly areaAt: number;
  /** Blocks of data for which there may be pages: more than the data areas have, if a growth has failed. */
  readonly dataSize: number;
  /** Where they are moving; null if they are not. */
  readonly movesTo: number | null;
  /** What is written of pages goes to the new place too, from now on until {@link endMove} or {@link cancelMove}. */
  beginMove(to: number): void;
  /** Resolves when all pages are at the new place, if only in caches. Rejects if one cannot be read or written. */
  copyPages(): Promise<void>;
  /** All of it is at the new place, on stable media: from now on headers name that. */
  recordMove(): void;
  /** The new place alone counts: all members have it on record. Resolves when nothing is written to the old one any more. */
  endMove(): Promise<void>;
  /** The old place alone counts, unless the new one may be on record. */
  cancelMove(): Promise<void>;
  /** Data areas are that large from now on; new blocks have no sums that count. */
  extend(dataSize: number): Promise<void>;
  /** If all blocks so far count, those of a data area that is so large do from now on, as the write-intent bitmap says it. */
  countFrom(dataSize: number): void;
  /** Blocks of each data area in front of this one have been summed: they count from now on, as the write-intent bitmap says it. */
  countTo(memberBlocks: number): void;
  /** Those in front of this one have been; and all of them have. */
  readonly summedTo: number;
  readonly isComplete: boolean;
  /** They are being given up, and count as long as they are there. */
  readonly isEnding: boolean;
}

/** Blocks of members that checksums take. */
export interface SumsRoom {
  /** How many of so many blocks behind the data offset are left for data; if pages of sums stay where they are, `areaAt`, or move. */
  roomForData(blocks: number, areaAt?: number): number;
  /** How many blocks pages of sums take for so many of data. */
  blocksForPages(dataBlocks: number): number;
}

/** An array with work to be done in the background. */
export interface SyncHost extends IoHost {
  /** Name of the array whose background work, on the same device, this one's waits for; null if none. */
  waitsFor: string | null;
  /** Blocks that there are in the slot's data area: its member's, or what is recorded of one that is missing. */
  availableBlocks(slot: number): number;
  readonly integrity: SumsRoom;
  /** Its members' blocks have checksums. */
  readonly hasIntegrity: boolean;
  /** They are to have them as soon as there is room: growth leaves it. */
  readonly wantsIntegrity: boolean;
  /** Blocks of members that are only ever right or wrong together. */
  readonly blocksTogether: number;
  readonly sums: GrowingSums | null;
  /** Owned by the code that starts the array, or has it grow. */
  readonly currentGeometry: RaidGeometry | null;
  /** What the level has returned for members that have grown counts from now on. */
  setGeometry(geometry: RaidGeometry | null): void;
  isInconsistent(memberOffset: number, numBlocks: number): boolean;
  /** What the slot's member should hold in these blocks is not known: from now on reads of them fail. */
  markBad(slot: number, memberOffset: number, numBlocks: number): void;
  /** See {@link DamageHost}. */
  markDamaged(slot: number, memberOffset: number, numBlocks: number, mayJoin: boolean): void;
  /** What is on record may be wrong: no write is acknowledged until an update has put it right. Resolves then. */
  recordAgain(): Promise<void>;
  /** No read repair begins from now on, until they are released. */
  holdRepairs(): void;
  releaseRepairs(): void;
  /** Resolves when no read repair is under way. */
  repairsIdle(): Promise<void>;
  /** See `grow`: begins by itself, one at a time. */
  growIfPossible(): void;
  /** The slot's member, which is open and has its sizes, is to be filled: it gets writes below the offset of its rebuild. */
  beginFilling(slot: Slot): void;
  /** The slot's member will not be filled: no new I/O goes to it. */
  endFilling(slot: Slot): void;
  /** Another device is the slot's member, or one that was being filled is in sync. */
  membershipChanged(): void;
}

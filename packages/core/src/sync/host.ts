import type { IoHost } from '../io/host.js';
import type { RaidGeometry } from '../level/context.js';
import type { Slot } from '../members/slot.js';

/** An array with work to be done in the background. */
export interface SyncHost extends IoHost {
  /** Name of the array whose background work, on the same device, this one's waits for; null if none. */
  waitsFor: string | null;
  /** Blocks that there are in the slot's data area: its member's, or what is recorded of one that is missing. */
  availableBlocks(slot: number): number;
  /** How many of so many blocks behind the data offset are left for data. */
  roomForData(blocks: number): number;
  /** Its members' blocks have checksums. */
  readonly hasIntegrity: boolean;
  /** Owned by whoever starts the array, or has it grow. */
  readonly currentGeometry: RaidGeometry | null;
  /** What the level has returned for members that have grown counts from now on. */
  setGeometry(geometry: RaidGeometry | null): void;
  isInconsistent(memberOffset: number, numBlocks: number): boolean;
  /** Nobody knows what the slot's member should hold in these blocks: from now on reads of them fail. */
  markBad(slot: number, memberOffset: number, numBlocks: number): void;
  /** What is on record may be wrong: no write is acknowledged until an update has put it right. Resolves then. */
  recordAgain(): Promise<void>;
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

import type { BdevIo, Status } from '@raidkit/bdev';
import type { RaidGeometry } from '../level/context.js';
import type { Filler, RaidIo } from '../level/raid-io.js';
import type { MetadataHost, ProcessHeader } from '../metadata/host.js';
import type { SuperblockWriter } from '../metadata/superblock-writer.js';
import type { Slot } from '../members/slot.js';
import type { Consistency } from './consistency.js';
import type { RegionLimits } from './region-size.js';

/** A process that may be filling members. */
export interface FillingProcess extends ProcessHeader, Filler {
  /** Slots whose members are being filled, in ascending order; empty for other processes. */
  readonly targets: readonly Slot[];
  /** Number of array blocks, from the start, that are done. */
  readonly offsetBlocks: number;
}

/** An array with a record of where it was written. */
export interface BitmapHost extends MetadataHost {
  readonly metadata: SuperblockWriter;
  readonly consistency: Consistency;
  readonly process: FillingProcess | null;
  readonly numSlots: number;
  readonly regionLimits: RegionLimits;
  /** Whether a map of this many regions fits in front of the data of all current members. */
  hasRoomForRegions(numRegions: number): boolean;
  /** Throws for a level without redundancy. */
  stripe(): NonNullable<RaidGeometry['stripe']>;
  /** Returns the blocks of every member's data area on which these array blocks depend. */
  memberRange(start: number, end: number): { from: number; to: number };
  /**
   * Resolves when the superblocks record all departures, so that no member that missed a write can be taken for current.
   * Rejects if that fails.
   */
  leaveRecorded(): Promise<void>;
  /** Continues or fails writes that have waited for their bits. */
  readonly io: {
    resume(io: RaidIo): void;
    finish(io: RaidIo, status: Status): void;
    /** The same for a part of a write; its tag is the slot of its member. */
    resumePart(part: BdevIo): void;
    failPart(part: BdevIo, status: Status): void;
  };
}

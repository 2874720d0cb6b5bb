import type { BdevIo, Status } from '@raidkit/bdev';
import type { RaidGeometry } from '../level/context.js';
import type { Filler, RaidIo } from '../level/raid-io.js';
import type { MetadataHost, ProcessHeader } from '../metadata/host.js';
import type { SuperblockWriter } from '../metadata/superblock-writer.js';
import type { Slot } from '../members/slot.js';
import type { Consistency } from './consistency.js';
import type { RegionLimits } from './region-size.js';

/** A process that may be filling a member. */
export interface FillingProcess extends ProcessHeader, Filler {
  /** Slots whose members are being filled, in ascending order; none for other processes. */
  readonly targets: readonly Slot[];
  /** Array blocks, from the start, that are done. */
  readonly offsetBlocks: number;
}

/** An array of which it is known what was written where. */
export interface BitmapHost extends MetadataHost {
  readonly metadata: SuperblockWriter;
  readonly consistency: Consistency;
  readonly process: FillingProcess | null;
  readonly numSlots: number;
  readonly regionLimits: RegionLimits;
  /** Whether a map of so many regions fits in front of the data of all members that are there. */
  hasRoomForRegions(numRegions: number): boolean;
  /** Throws for a level without redundancy. */
  stripe(): NonNullable<RaidGeometry['stripe']>;
  /** The blocks of every member's data area on which these blocks of the array depend. */
  memberRange(start: number, end: number): { from: number; to: number };
  /** Resolves when no member can be taken for in sync that has missed a write. Rejects if that cannot be recorded. */
  leaveRecorded(): Promise<void>;
  /** Where writes go on that have waited for their bits. */
  readonly io: {
    resume(io: RaidIo): void;
    finish(io: RaidIo, status: Status): void;
    /** The same of a part of a write, which is the slot's member's by its tag. */
    resumePart(part: BdevIo): void;
    failPart(part: BdevIo, status: Status): void;
  };
}

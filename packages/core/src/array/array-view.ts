import type { Bdev, BdevRegistry, JsonObject } from '@raidkit/bdev';
import type { BitmapView } from '../bitmap/bitmap-view.js';
import type { LevelOptions, RaidGeometry } from '../level/context.js';
import type { LevelDescription, RaidLevel } from '../level/level.js';
import type { RaidModule } from '../level/module.js';
import type { GatheredWrites } from '../io/write-gather.js';
import type { ReadPolicy } from '../format/read-policy.js';
import type { RaidState } from '../lifecycle.js';
import type { BadBlocksView, SlotView } from '../members/slot-view.js';
import type { ProcessView } from '../sync/process-view.js';
import type { ProcessRecord } from '../sync/task.js';

/**
 * Read-only view of an array; its properties are always current. {@link RaidArrays} changes arrays, by name. The object stays
 * the same as long as the array is online.
 */
export interface ArrayView {
  /** Unique name of the array and its volume. */
  readonly name: string;
  /** The name in its superblocks. */
  readonly recordedName: string;
  /** The null uuid until the array has come online for the first time. */
  readonly uuid: string;
  /** Uuid of the array that uses this array's volume as a member; the null uuid if there is none. Null if unknown. */
  readonly outerUuid: string | null;
  /** The level's module. */
  readonly module: RaidModule;
  /** The level's options as given at creation, completed by the level. */
  readonly options: LevelOptions;
  /** How reads choose among copies. */
  readonly readPolicy: ReadPolicy;
  /** Strip size in KiB; 0 if the level has no strips. */
  readonly stripSizeKb: number;
  /** Whether the array is being configured, is online, or is offline, which is final. */
  readonly state: RaidState;
  /** Being created or started: the volume does not exist yet. */
  readonly isStarting: boolean;
  /** Started read-only: nothing is written to its members, not even metadata. */
  readonly isReadOnly: boolean;
  /** Made from superblocks, so its members are identified by uuid rather than by name. */
  readonly isAssembled: boolean;
  /** Whether its members have superblocks, so that it can be assembled from them. */
  readonly hasSuperblock: boolean;
  /** Whether members' blocks have checksums. For an assembled array this is known once its start has begun. */
  readonly hasIntegrity: boolean;
  /**
   * First block of the pages with checksums, and the block that they are moving to or null, in blocks behind the data offset.
   * Null if the array has no checksums or is not started.
   */
  readonly sums: {
    readonly areaAt: number;
    readonly movesTo: number | null;
    /**
     * Blocks at the start of each data area that have been given checksums. Later blocks have one if they were written since.
     */
    readonly summedTo: number;
    readonly isComplete: boolean;
    /** Checksums are being turned off. */
    readonly isEnding: boolean;
  } | null;
  /** The array has checksums, but not all data that was ever written has a valid one. */
  readonly isUnproven: boolean;
  /** The array has no checksums and gets them as soon as its members have room behind their data. */
  readonly wantsIntegrity: boolean;
  /** Its members have a header behind the superblock, with the metadata that belongs to it. */
  readonly hasHeaders: boolean;
  /** Why the array cannot start, as a message for people; null if no reason is known. */
  readonly startError: string | null;
  /**
   * Name of the array with a device in common whose background process must end before this array's begins; null if there is
   * none.
   */
  readonly waitsFor: string | null;
  /** All slots, in order, including empty ones. */
  readonly slots: readonly SlotView[];
  /** Number of slots, including empty ones. */
  readonly numSlots: number;
  /** Number of members that are in sync or being filled. */
  readonly numDiscovered: number;
  /** Before the start, the number of members that the array waits for; while it is online, the number of its members. */
  readonly numOperational: number;
  /** Number of members that are in sync. */
  readonly numInSync: number;
  /** Fewest members with which the array can be online, if they are the right ones. */
  readonly minOperational: number;
  /** Number of further members that the array can lose, whichever they are; -1 if data is unavailable already. */
  readonly canLose: number;
  /** Block size in bytes; 0 until the first member has joined. */
  readonly blockSize: number;
  /** Size of the volume in blocks; 0 until the level has been started. */
  readonly numBlocks: number;
  /** The geometry in use; null until the level has been started. */
  readonly currentGeometry: RaidGeometry | null;
  /** The level's instance for this array; null until it has been started. */
  readonly level: RaidLevel | null;
  /** The volume's bdev while the array is online; else null. */
  readonly bdev: Bdev | null;
  /** The process that is running; null if there is none. */
  readonly process: ProcessView | null;
  /** Resolves when the running process, if any, and what follows from its end are done. */
  readonly processEnded: Promise<void>;
  /** The last processes, the newest first. */
  readonly history: readonly ProcessRecord[];
  /** Resolves when growth that was requested before this was read has ended. */
  readonly resizing: Promise<void>;
  /** Null for an array without a write-intent bitmap. */
  readonly bitmap: BitmapView | null;
  /** The journal; null for a level that keeps none. It is in force while a member is recorded as absent. */
  readonly journal: { readonly isInForce: boolean } | null;
  /** The list of bad blocks of its members. */
  readonly badBlocks: BadBlocksView;
  /** Counters of writes that were merged. */
  readonly gatheredWrites: Readonly<GatheredWrites>;
  /** The registry that its members and its volume belong to. */
  readonly registry: BdevRegistry;
  /** Devices, by uuid, whose superblocks say that they are members, while the array's members do not know them. */
  readonly strangers: ReadonlyMap<string, { readonly message: string }>;
  /** Whether all data is available with only the members of those slots for which `isThere` is true. */
  canRunWith(isThere: (slot: SlotView) => boolean): boolean;
  /** Returns a message that says why the array cannot be online with only the members of those slots. */
  whyNotWith(isThere: (slot: SlotView) => boolean): string;
  /** Whether the array can continue without the members of these slots. */
  canDoWithout(...slots: readonly SlotView[]): boolean;
  /**
   * Whether blocks of the slot's member could not be reconstructed without it, because the array has parity and redundancy is
   * inconsistent somewhere.
   */
  isIrreplaceable(slot: SlotView): boolean;
  /** Whether redundancy may disagree with the data in these blocks of members' data areas. */
  isInconsistent(memberOffset: number, numBlocks: number): boolean;
  /** Returns the stripe of the geometry. Throws for a level without redundancy. */
  stripe(): { readonly arrayBlocks: number; readonly memberBlocks: number };
  /** Returns the blocks of every member's data area on which these array blocks depend. */
  memberRange(start: number, end: number): { readonly from: number; readonly to: number };
  /** Returns the level's facts about the array, for people: at most 32. Empty until the level has been started. */
  describeLevel(): LevelDescription;
  /** Returns the value that `bdev_get_bdevs` shows under `raid`. */
  describe(): JsonObject;
  /** Returns the RPC call that recreates the array; null if it is assembled from superblocks. */
  describeConfig(): { readonly method: string; readonly params: JsonObject } | null;
}

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
 * An array, to be looked at; what it says is of now. {@link RaidArrays} changes it, by its name. The object is the same as long as
 * the array is up.
 */
export interface ArrayView {
  /** Under which it is listed, and has its volume; unique. */
  readonly name: string;
  /** The name in its superblocks. */
  readonly recordedName: string;
  /** The null uuid before the array has come online for the first time. */
  readonly uuid: string;
  /** Uuid of the array of which this one's volume is a member; the null uuid: of none. Null: not known. */
  readonly outerUuid: string | null;
  readonly module: RaidModule;
  /** As given at creation, with the level's defaults. */
  readonly options: LevelOptions;
  /** Which copies are read, where a level has a choice of them. */
  readonly readPolicy: ReadPolicy;
  readonly stripSizeKb: number;
  readonly state: RaidState;
  /** Being created, or brought online: the volume is not there yet. */
  readonly isStarting: boolean;
  /** Started to be looked at: nothing is written to its members, not even metadata. */
  readonly isReadOnly: boolean;
  /** Made from superblocks, so its members are known by uuid, not by name. */
  readonly isAssembled: boolean;
  readonly hasSuperblock: boolean;
  /** Its members' blocks have checksums; of an array that is put together, known once it is being started. */
  readonly hasIntegrity: boolean;
  /** Where pages of checksums begin on members, and where they move, if they do: blocks behind the data offset. Null: there are none. */
  readonly sums: {
    readonly areaAt: number;
    readonly movesTo: number | null;
    /** Blocks of each data area, from its start on, that have been given checksums; behind them those that were written have some. */
    readonly summedTo: number;
    readonly isComplete: boolean;
    /** They are being turned off. */
    readonly isEnding: boolean;
  } | null;
  /** It has checksums, and not all that was ever written has some that count. */
  readonly isUnproven: boolean;
  /** It has none, and is to have them as soon as its members have room behind their data. */
  readonly wantsIntegrity: boolean;
  /** Its members carry a header, and what goes with it, behind the superblock. */
  readonly hasHeaders: boolean;
  /** Why the array cannot start, for people; null if nothing is known to be wrong. */
  readonly startError: string | null;
  /** Name of the array whose background work, on the same device, this one's waits for; null if none. */
  readonly waitsFor: string | null;
  readonly slots: readonly SlotView[];
  readonly numSlots: number;
  /** Members that are there, targets of a rebuild included. */
  readonly numDiscovered: number;
  /** Members with which the array is complete enough to start; while online, members that it has. */
  readonly numOperational: number;
  /** Members that hold the array's data. */
  readonly numInSync: number;
  /** Fewest members with which the array can be online, if they are the right ones. */
  readonly minOperational: number;
  /** How many more members the array can lose, whichever they are; -1 if it lacks data already. */
  readonly canLose: number;
  /** Bytes; 0 until the first member is there. */
  readonly blockSize: number;
  /** Size of the volume, in blocks; 0 until the level is started. */
  readonly numBlocks: number;
  /** What the level's `resize` has returned; null while the level is not started. */
  readonly currentGeometry: RaidGeometry | null;
  /** The level's own side; null while it is not started. */
  readonly level: RaidLevel | null;
  /** The volume, while online; else null. */
  readonly bdev: Bdev | null;
  /** The process that is running; null if none is. */
  readonly process: ProcessView | null;
  /** Resolves when the running process, if any, has ended and what it leads to is done. */
  readonly processEnded: Promise<void>;
  /** The last processes, newest first. */
  readonly history: readonly ProcessRecord[];
  /** Resolves when the array has grown as far as it could when this was asked. */
  readonly resizing: Promise<void>;
  /** Null for an array that keeps none. */
  readonly bitmap: BitmapView | null;
  readonly badBlocks: BadBlocksView;
  readonly gatheredWrites: Readonly<GatheredWrites>;
  readonly registry: BdevRegistry;
  /** Devices, by uuid, whose superblocks say that they are members, and that those that are there do not know. */
  readonly strangers: ReadonlyMap<string, { readonly message: string }>;
  /** All data is there with the members of those slots for which this holds. */
  canRunWith(isThere: (slot: SlotView) => boolean): boolean;
  /** For people: why the array cannot be online with the members of those slots. */
  whyNotWith(isThere: (slot: SlotView) => boolean): string;
  /** The array can go on if the slots' members leave. */
  canDoWithout(...slots: readonly SlotView[]): boolean;
  /** Whether redundancy may disagree with the data in these blocks of members' data areas. */
  isInconsistent(memberOffset: number, numBlocks: number): boolean;
  /** How array and member blocks correspond. Throws for a level without redundancy. */
  stripe(): { readonly arrayBlocks: number; readonly memberBlocks: number };
  /** The blocks of every member's data area on which these blocks of the array depend. */
  memberRange(start: number, end: number): { readonly from: number; readonly to: number };
  /** What the level says of the array, for people: at most 32 facts. Empty while it is not started. */
  describeLevel(): LevelDescription;
  /** As `bdev_get_bdevs` shows it under `raid`. */
  describe(): JsonObject;
  /** The call that would make the array again; null for one that its superblocks bring back. */
  describeConfig(): { readonly method: string; readonly params: JsonObject } | null;
}

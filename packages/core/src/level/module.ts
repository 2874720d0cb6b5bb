import type { ArrayShape, LevelContext, LevelOptions, RedundantContext } from './context.js';
import type { CopiesLevel, JournaledLevel, ParityLevel, PlainLevel } from './level.js';

/** The version of this interface. A module built for another major is refused at registration. */
export const raidApiVersion = 1;

/** Numeric level codes that third parties may use on disk; SPDK's own are 0, 1, 95 and 99. */
export const thirdPartyCodes = { first: 0x1000, last: 0x7fff_ffff } as const;

/** What a level can do, as constants: it drives validation, tests, documentation and `raidkit_get_modules`. */
export interface RaidManifest {
  /** Whether `strip_size_kb` must be given, or must not. */
  stripSize: 'required' | 'none';
  /** The level has `submitNullPayload`: unmap and write zeroes. */
  nullPayload: boolean;
  /** The array grows when its members do: for larger ones the level's `resize` may return more blocks than before. */
  resize: boolean;
}

/**
 * What an option of a level may be, in the words of JSON Schema; `default`: what holds where it is not given, which the level sees
 * to. `any`: whatever JSON has, which {@link ModuleBase.checkOptions} must look at. `description`: for people, what it does.
 */
export type OptionSchema =
  | { readonly type: 'boolean'; readonly default: boolean; readonly description: string }
  | {
      readonly type: 'integer';
      /** The smallest that may be given. */
      readonly minimum: number;
      /** The largest that may be given. */
      readonly maximum: number;
      readonly default: number;
      readonly description: string;
    }
  | { readonly type: 'string'; readonly enum: readonly string[]; readonly default: string; readonly description: string }
  | { readonly type: 'any'; readonly description: string };

/** What all modules say of themselves. */
export interface ModuleBase {
  /** Unique id, lower case, `raid1`. */
  readonly level: string;
  /** Other names that users may write, `1`. */
  readonly aliases: readonly string[];
  /** The number that says this level in a superblock. */
  readonly code: number;
  /** {@link raidApiVersion} of the interface that the module was written against. */
  readonly apiVersion: number;
  /** What the level can do. */
  readonly manifest: RaidManifest;
  /** Fewest slots of an array; 1 to 255. */
  readonly baseBdevsMin: number;
  /**
   * What a slot holds that is added to an array while it is up. `copy`: what all others hold, and its member is filled with that;
   * slots may be taken away as well. `space`: blocks of the array behind those that there were. The context's `numSlots` is another
   * number from then on, `copyGroups` or `copySets` say so, and `resize` is called with so many capacities; no data moves. Before
   * that core asks both as if the number were another one, and takes it only if all other slots hold the same together as before;
   * `resize` may throw a `RaidError` that says why an array cannot have so many. Absent: the number never changes, because it says
   * where data lies.
   */
  readonly addedSlot?: 'copy' | 'space';
  /** Whether an array with these options may have so many slots, {@link baseBdevsMin} to 255. Absent: it may. */
  acceptsSlots?(numSlots: number, options: LevelOptions): boolean;
  /** The options that an array of the level may have, by name: a to z, 0 to 9 and _, a letter first. Others are refused. Absent: none. */
  readonly options?: Readonly<Record<string, OptionSchema>>;
  /**
   * The options with which an array of so many slots is created, if these are given and it {@link ModuleBase.acceptsSlots}: with what
   * must be on record of its creation, because the number may change. Not asked where a store of superblocks keeps no options.
   * Absent: those that are given.
   */
  completeOptions?(numSlots: number, options: LevelOptions): LevelOptions;
  /**
   * Throws (a `RaidError` if it can) for options that no array of the level may have although {@link ModuleBase.options} allows each of them,
   * before one is created with them, and before one is started with what its members say. Absent: there are none.
   */
  checkOptions?(options: LevelOptions): void;
  /**
   * Bytes of the context's memory that `start` takes at most for such an array, and holds until `stop`: core refuses to create or
   * start one for which there is no room, and says how much is missing. Absent: none.
   */
  memoryBytes?(shape: ArrayShape): number;
  /**
   * Where data lies depends on the options: an array is not started while no member says what they are, which another program
   * may have overwritten. Absent: it does not.
   */
  readonly optionsDefineLayout?: boolean;
}

/**
 * Which members an array of a redundant level can be without. `options` are the array's; none while they are not known, because
 * no member that has them could be read yet. Asked for every number of slots that {@link ModuleBase.acceptsSlots} takes.
 */
export interface Losses {
  /** Most members that may be missing, of an array of so many slots: 1 to `numSlots - 1`; 0 of one slot. */
  readonly maxMissing: number | ((numSlots: number, options: LevelOptions) => number);
  /**
   * Whether all data is there without these slots' members: 1 to {@link maxMissing} of them, in ascending order. An array that
   * can be without these can be without fewer of them. Absent: any may be missing.
   */
  canRun?(numSlots: number, missing: readonly number[], options: LevelOptions): boolean;
}

/** A level that needs every member. */
export interface PlainModule extends ModuleBase {
  /** Every member is needed. */
  readonly redundancy: 'none';
  /**
   * Starts an array: all members that it will start with are open, some may be missing. Throws (a `RaidError` if it can) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: LevelContext): PlainLevel;
}

/** A level that keeps each block more than once: on all members, in groups of them, or at other blocks. */
export interface CopiesModule extends ModuleBase, Losses {
  /** Each block is there more than once. */
  readonly redundancy: 'copies';
  /**
   * Starts an array: all members that it will start with are open, some may be missing. Throws (a `RaidError` if it can) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: RedundantContext): CopiesLevel;
}

/**
 * A level that works blocks out from others. Where these may disagree, after a crash, an absent member's blocks cannot be told:
 * such an array is not started without a person's word, unless there is a journal.
 */
export type ParityModule = UnjournaledModule | JournaledModule;

/** What modules with parity have in common. */
export interface ParityBase extends ModuleBase, Losses {
  /** Blocks are worked out from others, and after a crash may be worked out wrongly. */
  readonly redundancy: 'parity';
}

/** Parity without a journal: after a crash without a member a person must say that what parity says is to be believed. */
export interface UnjournaledModule extends ParityBase {
  /** The level keeps none. */
  readonly journal: false;
  /**
   * Starts an array: all members that it will start with are open, some may be missing. Throws (a `RaidError` if it can) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: RedundantContext): ParityLevel;
}

/** Parity with a journal, to which the level keeps. A crash of an array that lacks members costs nothing then. */
export interface JournaledModule extends ParityBase {
  /** The level hands to `request.journal` what absent members would hold. */
  readonly journal: true;
  /**
   * Starts an array: all members that it will start with are open, some may be missing. Throws (a `RaidError` if it can) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: RedundantContext): JournaledLevel;
}

/**
 * A RAID level, as its package exports it. A plain object without state; what belongs to one array is made by `start`.
 */
export type RaidModule = PlainModule | CopiesModule | ParityModule;

import type { ArrayShape, LevelContext, LevelOptions, RedundantContext } from './context.js';
import type { CopiesLevel, JournaledLevel, ParityLevel, PlainLevel } from './level.js';

/** The version of this interface. A module built for another major is refused at registration. */
export const raidApiVersion = 1;

/** Numeric level codes that third parties may use on disk. SPDK uses 0, 1, 95 and 99. */
export const thirdPartyCodes = { first: 0x1000, last: 0x7fff_ffff } as const;

/** Constant properties of a level. Validation, tests, documentation and `raidkit_get_modules` use them. */
export interface RaidManifest {
  /** Whether `strip_size_kb` must be given (`required`) or must not be given (`none`). */
  stripSize: 'required' | 'none';
  /** The level has `submitNullPayload`: unmap and write zeroes. */
  nullPayload: boolean;
  /** The array grows when its members do: for larger capacities the level's `resize` may return more blocks than before. */
  resize: boolean;
}

/**
 * The values that an option of a level accepts, in terms of JSON Schema. The level itself applies `default` if the option is
 * not given. `any` accepts every JSON value; {@link ModuleBase.checkOptions} must validate it. `description` explains the
 * option to users.
 */
export type OptionSchema =
  | { readonly type: 'boolean'; readonly default: boolean; readonly description: string }
  | {
      readonly type: 'integer';
      /** Smallest valid value. */
      readonly minimum: number;
      /** Largest valid value. */
      readonly maximum: number;
      readonly default: number;
      readonly description: string;
    }
  | { readonly type: 'string'; readonly enum: readonly string[]; readonly default: string; readonly description: string }
  | { readonly type: 'any'; readonly description: string };

/** Properties that all modules have. */
export interface ModuleBase {
  /** Unique id in lower case, such as `raid1`. */
  readonly level: string;
  /** Other names that users may give, such as `1`. */
  readonly aliases: readonly string[];
  /** The number that identifies this level in a superblock. */
  readonly code: number;
  /** {@link raidApiVersion} of the interface that the module was written against. */
  readonly apiVersion: number;
  /** What the level can do. */
  readonly manifest: RaidManifest;
  /** Smallest number of slots of an array; 1 to 255. */
  readonly baseBdevsMin: number;
  /**
   * What an added slot holds if one is added to an online array. `copy`: the same data as the other slots; its member is
   * rebuilt, and slots can be removed too. `space`: further array blocks behind the existing ones. Afterwards the context's
   * `numSlots`, `copyGroups` or `copySets` have the new number, and `resize` is called with as many capacities; no data moves.
   * Beforehand core asks both for the new number and accepts it only if the other slots would hold the same as before; `resize`
   * may throw a `RaidError` that says why the array cannot have that many. Absent: the number of slots never changes, because
   * the layout depends on it.
   */
  readonly addedSlot?: 'copy' | 'space';
  /** Whether an array with these options may have this many slots ({@link baseBdevsMin} to 255). Absent: it may. */
  acceptsSlots?(numSlots: number, options: LevelOptions): boolean;
  /** Options that an array of the level may have. A name is a letter a to z, then a to z, 0 to 9 and _. Absent: no options. */
  readonly options?: Readonly<Record<string, OptionSchema>>;
  /**
   * Returns the options to record for a new array of this many slots that was given these options; called if the level
   * {@link ModuleBase.acceptsSlots}. It adds what must be recorded at creation because the number of slots may change. Not
   * called if the superblock store does not store options. Absent: the given options are recorded.
   */
  completeOptions?(numSlots: number, options: LevelOptions): LevelOptions;
  /**
   * Throws (preferably a `RaidError`) if the options do not go together although {@link ModuleBase.options} accepts each of
   * them. Called before an array is created, and before one is started with the options recorded on its members. Absent: every
   * combination is valid.
   */
  checkOptions?(options: LevelOptions): void;
  /**
   * Returns the most bytes of the context's memory that `start` may allocate for such an array and hold until `stop`. Core
   * refuses to create or start an array without that much free memory, and reports how much is missing. Absent: 0.
   */
  memoryBytes?(shape: ArrayShape): number;
  /**
   * If true, the options determine where data lies, so an array is not started while no member has them on record (another
   * program may have overwritten the record). Absent: false.
   */
  readonly optionsDefineLayout?: boolean;
}

/**
 * Which members an array of a redundant level can be without. `options` are the array's; they are empty until a member that
 * records them has been read. Core calls these for every number of slots that {@link ModuleBase.acceptsSlots} accepts.
 */
export interface Losses {
  /** Most members that may be missing from an array of `numSlots` slots: 1 to `numSlots - 1`, or 0 if there is one slot. */
  readonly maxMissing: number | ((numSlots: number, options: LevelOptions) => number);
  /**
   * Whether all data is available without the members of these slots: 1 to {@link maxMissing} slots, in ascending order. If it
   * is, it must also be for every subset of them. Absent: any {@link maxMissing} members may be missing.
   */
  canRun?(numSlots: number, missing: readonly number[], options: LevelOptions): boolean;
}

/** A module whose level has no redundancy. */
export interface PlainModule extends ModuleBase {
  /** The level needs every member. */
  readonly redundancy: 'none';
  /**
   * Starts an array. All members that it starts with are open; some may be missing. Throws (preferably a `RaidError`) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: LevelContext): PlainLevel;
}

/** A module whose level stores each block more than once: on all members, on groups of them, or at different blocks of them. */
export interface CopiesModule extends ModuleBase, Losses {
  /** The level stores each block more than once. */
  readonly redundancy: 'copies';
  /**
   * Starts an array. All members that it starts with are open; some may be missing. Throws (preferably a `RaidError`) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: RedundantContext): CopiesLevel;
}

/**
 * A module whose level reconstructs blocks from parity. After a crash parity may disagree with the data, and a missing member's
 * blocks cannot be reconstructed there (the write hole). Such an array starts only if forced, unless it has a journal.
 */
export type ParityModule = UnjournaledModule | JournaledModule;

/** Properties that all modules with parity have. */
export interface ParityBase extends ModuleBase, Losses {
  /** The level reconstructs missing blocks from other members. After a crash the result may be wrong. */
  readonly redundancy: 'parity';
}

/**
 * Parity without a journal. After a crash with a member missing, the array starts only if an operator forces it to trust
 * parity.
 */
export interface UnjournaledModule extends ParityBase {
  /** The level does not journal writes. */
  readonly journal: false;
  /**
   * Starts an array. All members that it starts with are open; some may be missing. Throws (preferably a `RaidError`) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: RedundantContext): ParityLevel;
}

/** Parity with a journal, which closes the write hole of a degraded array. */
export interface JournaledModule extends ParityBase {
  /** The level passes the data of missing members to `request.journal`. */
  readonly journal: true;
  /**
   * Starts an array. All members that it starts with are open; some may be missing. Throws (preferably a `RaidError`) to
   * refuse. Called again after a stop, with a new context.
   */
  start(context: RedundantContext): JournaledLevel;
}

/** A RAID level as its package exports it: a plain object without state. `start` makes the state of one array. */
export type RaidModule = PlainModule | CopiesModule | ParityModule;

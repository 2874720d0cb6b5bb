import type { Status } from '@raidkit/bdev';
import type { RaidGeometry, RedundantGeometry } from './context.js';
import type { AnyWriteRequest, NullPayloadRequest, ProcessRequest, RwRequest } from './requests.js';

/** The one member read that answers a user's read. The level fills it in; core owns the object and reuses it. */
export interface ReadRoute {
  /** 0 to `numSlots - 1`. */
  slot: number;
  /** First block, in the member's data area. */
  offsetBlocks: number;
}

/** Facts about one array for people, under short names in snake case: `{ layout: 'near', copies: 2 }`. */
export type LevelDescription = Readonly<Record<string, boolean | number | string>>;

/** One array's instance of a level. All calls come from the array's reactor, one at a time. */
export interface PlainLevel {
  /**
   * Returns the geometry for data areas of these sizes in blocks, one for each slot (for a missing member its recorded size, or
   * the smallest of the others). Must not change the level's state: core may reject the result. `current` is the geometry in
   * use, or null at the start; relative to it the array must not shrink and data must not move. If the module has an
   * `addedSlot`, there are more capacities than before when a slot was added, and fewer when one was removed.
   */
  resize(capacities: readonly number[], current: RaidGeometry | null): RaidGeometry;
  /** A read or a write of array blocks. The level sends its parts before it returns, or from callbacks of the request. */
  submitRw(request: RwRequest): void;
  /**
   * Returns true and fills in `route` if `submitRw` would answer the read with one `readPart` of all its blocks. Called only
   * while redundancy is in sync everywhere and no member has bad blocks; the slot's member must be in sync (`isMemberInSync`).
   * It must be fast and have no side effects: core sends the read without a request. If that read fails, `submitRw` gets it,
   * unless it timed out or the level has no redundancy; then the user gets the error. Absent: all reads go to `submitRw`.
   */
  routeRead?(offsetBlocks: number, numBlocks: number, route: ReadRoute): boolean;
  /** An unmap or write zeroes of any range of array blocks. Present if and only if the manifest says `nullPayload`. */
  submitNullPayload?(request: NullPayloadRequest): void;
  /** Returns the array's current facts beyond those that core shows for every array. No side effects. Absent: none. */
  describe?(): LevelDescription;
  /** Called when no request is in flight and none will follow. Frees the level's memory. */
  stop?(): void | Promise<void>;
}

/** A level that can lose members. */
export interface RedundantLevel extends PlainLevel {
  /** As {@link PlainLevel.resize}; the geometry has a stripe. */
  resize(capacities: readonly number[], current: RaidGeometry | null): RedundantGeometry;
  /** Fills buffers with the data that members of the requested slots must hold, using members of other slots only. */
  submitProcessRequest(request: ProcessRequest): void;
}

/** For levels with parity: which slots' blocks are redundant. */
export interface WithRedundantSlots {
  /**
   * Returns the slots whose blocks in this stripe are parity: a resync recomputes them from the other members, and a check
   * compares them. `stripe` counts from 0 in units of the geometry's stripe.
   */
  redundantSlots(stripe: number): readonly number[];
}

/** For levels whose copies lie at the same blocks of several members. */
export interface WithCopyGroups {
  /**
   * Groups of slots whose members hold the same data at the same blocks, in every stripe. Each slot is in exactly one group. If
   * the copies differ, the majority of the group is taken to be right.
   */
  readonly copyGroups: readonly (readonly number[])[];
}

/** The location of one of several copies. */
export interface CopyPlace {
  /** 0 to `numSlots - 1`. */
  readonly slot: number;
  /** First block on the member, relative to the first block of the stripe. */
  readonly offsetBlocks: number;
}

/** Ranges of a stripe that hold the same data, each on the member of a different slot. */
export interface CopySet {
  /** Length of each range in blocks. */
  readonly numBlocks: number;
  /** Locations of the copies. If they may differ, reads take the first one that is readable. */
  readonly places: readonly CopyPlace[];
}

/** For levels whose copies lie at different blocks of several members. */
export interface WithCopySets {
  /**
   * The copies within a stripe; they are the same for every stripe. Each block of each slot is in exactly one set. If the
   * copies differ, the majority of the set is taken to be right.
   */
  readonly copySets: readonly CopySet[];
}

/** A level with copies, at the same or at different blocks of the members. */
export type CopiesLevel = RedundantLevel & (WithCopyGroups | WithCopySets);

/** A level with parity. */
export type ParityLevel = RedundantLevel & WithRedundantSlots;

/** A level with parity and a journal. */
export interface JournaledLevel extends ParityLevel {
  /** Called when the request's `journal` has finished. Unless the status is Ok, the level must not continue the write. */
  onJournaled(request: AnyWriteRequest, status: Status): void;
}

/** Any level; core tests for the optional methods. */
export type RaidLevel = PlainLevel &
  Partial<
    WithCopyGroups &
      WithCopySets &
      WithRedundantSlots &
      Pick<RedundantLevel, 'submitProcessRequest'> &
      Pick<JournaledLevel, 'onJournaled'>
  >;

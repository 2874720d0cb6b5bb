import type { Status } from '@raidkit/bdev';
import type { RaidGeometry, RedundantGeometry } from './context.js';
import type { AnyWriteRequest, NullPayloadRequest, ProcessRequest, RwRequest } from './requests.js';

/** Where a read lies that one part of one member answers. Filled in by the level; it is core's, and used again and again. */
export interface ReadRoute {
  /** 0 to `numSlots - 1`. */
  slot: number;
  /** Blocks of the member's data area. */
  offsetBlocks: number;
}

/** Facts of a level about one array, for people, by short names in snake case: `{ layout: 'near', copies: 2 }`. */
export type LevelDescription = Readonly<Record<string, boolean | number | string>>;

/** One array's instance of a level. All calls come from the array's reactor, one at a time. */
export interface PlainLevel {
  /**
   * The geometry of the array whose slots have so many blocks in their data areas (of a missing member what is recorded of it, or
   * the least of the others). Changes nothing: core goes by what it returns, or refuses it. `current`: what core goes by, null
   * at the start; with it the array must not shrink, nor data move. There are more capacities than before when a slot has been
   * added (`addedSlot` of the module), and fewer when one was taken away.
   */
  resize(capacities: readonly number[], current: RaidGeometry | null): RaidGeometry;
  /** A read or a write of array blocks. Its parts are sent before this returns, or from what the request calls later. */
  submitRw(request: RwRequest): void;
  /**
   * Where a read lies, if `submitRw` would answer it with one `readPart` of all its blocks: says so in `route`, and returns true.
   * Asked only while redundancy is in sync everywhere and no member is listed with bad blocks; the slot's member must be in sync
   * (`isMemberInSync`). Changes nothing, and is to be quick: it spares the read a request of its own. Whatever fails is asked of
   * `submitRw` then. Absent: all reads go there.
   */
  routeRead?(offsetBlocks: number, numBlocks: number, route: ReadRoute): boolean;
  /** An unmap, or zeros to be written, of array blocks of any range. Present if, and only if, the manifest says `nullPayload`. */
  submitNullPayload?(request: NullPayloadRequest): void;
  /** What there is to say of the array, as it is now, besides what core shows of all. Changes nothing. Absent: nothing. */
  describe?(): LevelDescription;
  /** No request is in flight, and none will come. */
  stop?(): void | Promise<void>;
}

/** A level that survives the loss of members. */
export interface RedundantLevel extends PlainLevel {
  /** As {@link PlainLevel.resize}, with the stripe. */
  resize(capacities: readonly number[], current: RaidGeometry | null): RedundantGeometry;
  /** Fills buffers with what slots' members must hold, from the members of other slots alone. */
  submitProcessRequest(request: ProcessRequest): void;
}

/** Which slots' blocks are worked out from others'. */
export interface WithRedundantSlots {
  /**
   * The slots whose blocks in this stripe are worked out from those of the other members that are there. A resync rewrites
   * these, a check compares them. `stripe`: from 0 on, as the geometry counts them.
   */
  redundantSlots(stripe: number): readonly number[];
}

/** Where copies are that lie at the same blocks of members. */
export interface WithCopyGroups {
  /**
   * Groups of slots whose members hold the same at the same blocks, in every stripe; each slot once. Of copies that differ the
   * majority of a group is believed.
   */
  readonly copyGroups: readonly (readonly number[])[];
}

/** Where one of several copies is. */
export interface CopyPlace {
  /** 0 to `numSlots - 1`. */
  readonly slot: number;
  /** Blocks of the member, from the stripe's first one on. */
  readonly offsetBlocks: number;
}

/** Blocks of a stripe that hold the same, each on another slot's member. */
export interface CopySet {
  /** Blocks in a row, at each place. */
  readonly numBlocks: number;
  /** Where they begin, in blocks from the stripe's first one on the member. The first one that can be read is believed. */
  readonly places: readonly CopyPlace[];
}

/** Where copies are that lie at other blocks of each member. */
export interface WithCopySets {
  /**
   * What holds the same within a stripe, in every stripe alike: each block of each slot in one set. Of copies that differ the
   * majority of a set is believed.
   */
  readonly copySets: readonly CopySet[];
}

/** Copies at the same blocks of a group's members, or elsewhere. */
export type CopiesLevel = RedundantLevel & (WithCopyGroups | WithCopySets);

/** Parity: which slots' blocks come from others'. */
export type ParityLevel = RedundantLevel & WithRedundantSlots;

/** Parity with a journal. */
export interface JournaledLevel extends ParityLevel {
  /** The end of the request's `journal`. On any other status than Ok the write must not go on. */
  onJournaled(request: AnyWriteRequest, status: Status): void;
}

/** Whichever of them it is, as core asks. */
export type RaidLevel = PlainLevel &
  Partial<
    WithCopyGroups &
      WithCopySets &
      WithRedundantSlots &
      Pick<RedundantLevel, 'submitProcessRequest'> &
      Pick<JournaledLevel, 'onJournaled'>
  >;

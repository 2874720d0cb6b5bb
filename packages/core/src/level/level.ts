import type { Status } from '@raidkit/bdev';
import type { RaidGeometry, RedundantGeometry } from './context.js';
import type { AnyWriteRequest, NullPayloadRequest, ProcessRequest, RwRequest } from './requests.js';

/** One array's instance of a level. All calls come from the array's reactor, one at a time. */
export interface PlainLevel {
  /**
   * The geometry of the array whose slots have so many blocks in their data areas (of a missing member what is recorded of it, or
   * the least of the others). Changes nothing: core goes by what it returns, or refuses it. `current`: what core goes by, null
   * at the start; with it the array must not shrink, nor data move.
   */
  resize(capacities: readonly number[], current: RaidGeometry | null): RaidGeometry;
  submitRw(request: RwRequest): void;
  /** Present if the manifest says `nullPayload`. */
  submitNullPayload?(request: NullPayloadRequest): void;
  /** No request is in flight, and none will come. */
  stop?(): void | Promise<void>;
}

/** A level that survives the loss of members. */
export interface RedundantLevel extends PlainLevel {
  resize(capacities: readonly number[], current: RaidGeometry | null): RedundantGeometry;
  submitProcessRequest(request: ProcessRequest): void;
}

/** Which slots' blocks are worked out from others'. */
interface WithRedundantSlots {
  /**
   * The slots whose blocks in this stripe are worked out from those of the other members that are there (parity; further
   * copies). A resync rewrites these, a check compares them.
   */
  redundantSlots(stripe: number): readonly number[];
}

/** Where copies are. */
interface WithCopyGroups {
  /**
   * Groups of slots whose members hold the same at the same blocks, in every stripe; each slot once. Of copies that differ the
   * majority of a group is believed.
   */
  readonly copyGroups: readonly (readonly number[])[];
}

/** Copies at the same blocks of a group's members, or, with `redundantSlots`, elsewhere. */
export type CopiesLevel = RedundantLevel & (WithCopyGroups | WithRedundantSlots);

export type ParityLevel = RedundantLevel & WithRedundantSlots;

export interface JournaledLevel extends ParityLevel {
  /** The end of the request's `journal`. On any other status than Ok the write must not go on. */
  onJournaled(request: AnyWriteRequest, status: Status): void;
}

/** Whichever of them it is, as core asks. */
export type RaidLevel = PlainLevel &
  Partial<
    WithCopyGroups & WithRedundantSlots & Pick<RedundantLevel, 'submitProcessRequest'> & Pick<JournaledLevel, 'onJournaled'>
  >;

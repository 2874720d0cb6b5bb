import type { RaidModule } from '@raidkit/core';
import type { ClauseId } from './clauses.js';
import type { ConformanceOptions } from './rig.js';

/** A test of one promise of the module interface. */
export interface ConformanceCase {
  /** Stable identifier, such as `RW-03`. */
  readonly id: string;
  readonly title: string;
  /** Member of the level interface that makes the promise. */
  readonly clause: string;
  /** Clauses of the guide that a failing level has probably broken, the most likely first. */
  readonly obligations: readonly ClauseId[];
  /** Whether the case applies to this module. */
  readonly applies: (module: RaidModule) => boolean;
  /** Rejects, with a `ConformanceError`, if the promise is not kept. */
  readonly run: (options: ConformanceOptions) => Promise<void>;
}

/** Selects every level. */
export const always = (): boolean => true;
/** Selects levels that survive the loss of members. */
export const ifRedundant = ({ redundancy }: RaidModule): boolean => redundancy !== 'none';
/** Selects levels that handle unmap and write zeroes. */
export const ifNullPayload = ({ manifest }: RaidModule): boolean => manifest.nullPayload;

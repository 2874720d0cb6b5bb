import type { RaidModule } from '@raidkit/core';
import type { ClauseId } from './clauses.js';
import type { ConformanceOptions } from './rig.js';

/** One promise of the module interface, and how to see that it is kept. */
export interface ConformanceCase {
  /** Stable: `RW-03`. */
  readonly id: string;
  readonly title: string;
  /** Where the promise is made: a member of the level interface. */
  readonly clause: string;
  /** Clauses of the guide that a level has broken which does not get through, the likeliest first. */
  readonly obligations: readonly ClauseId[];
  /** Whether the case is one for this module. */
  readonly applies: (module: RaidModule) => boolean;
  /** Rejects, with a `ConformanceError`, if the promise is not kept. */
  readonly run: (options: ConformanceOptions) => Promise<void>;
}

/** For cases of every level. */
export const always = (): boolean => true;
/** For cases of levels that survive the loss of members. */
export const ifRedundant = ({ redundancy }: RaidModule): boolean => redundancy !== 'none';
/** For levels that are given unmap and write zeroes, too. */
export const ifNullPayload = ({ manifest }: RaidModule): boolean => manifest.nullPayload;

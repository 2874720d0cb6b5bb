import type { RaidModule } from '@raidkit/core';
import type { ConformanceOptions } from './rig.js';

/** One promise of the module interface, and how to see that it is kept. */
export interface ConformanceCase {
  /** Stable: `RW-03`. */
  readonly id: string;
  readonly title: string;
  /** Where the promise is made: a member of the interface in core's module.ts. */
  readonly clause: string;
  /** Whether the case is one for this module. */
  readonly applies: (module: RaidModule) => boolean;
  /** Rejects, with what is wrong, if the promise is not kept. */
  readonly run: (options: ConformanceOptions) => Promise<void>;
}

/** For cases of every level. */
export const always = (): boolean => true;
/** For cases of levels that survive the loss of members. */
export const ifRedundant = ({ redundancy }: RaidModule): boolean => redundancy !== 'none';

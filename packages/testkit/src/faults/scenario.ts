import type { LevelOptions, RaidModule } from '@raidkit/core';
import type { SimShape } from '../plan-items.js';
import type { Script } from './script.js';
import type { TripKind } from './trip.js';

/** Something that users and operators do, with a fault at any of its device operations. */
export interface Scenario {
  readonly id: string;
  /** Number of members; default: the fewest such that the level can lose one, or two. */
  readonly numSlots?: (least: number, module: RaidModule, options: LevelOptions) => number;
  /**
   * Slots whose members are removed together. The array gets as many more slots as it needs to run without these; if none
   * suffices, the scenario does not apply.
   */
  readonly together?: readonly number[];
  /** Number of disks besides the members. Default 1. */
  readonly numSpares?: number;
  /** Deviations from the usual shape of the array and its background processes. */
  readonly shape?: Partial<SimShape>;
  readonly applies: (module: RaidModule, options: LevelOptions) => boolean;
  /** The array grows, which one without redundancy does not while it has checksums. */
  readonly grows?: boolean;
  /** Steps before the scenario, without faults. Default: create an array and write to it. */
  readonly before?: (script: Script) => Promise<void>;
  /** Nothing was written before, so nothing could have been flushed. */
  readonly startsEmpty?: boolean;
  readonly steps: (script: Script) => Promise<void>;
  /** Faults after which nothing can be checked. */
  readonly without?: readonly TripKind[];
}

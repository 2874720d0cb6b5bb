import type { LevelOptions, RaidModule } from '@raidkit/core';
import type { SimShape } from '../plan-items.js';
import type { Script } from './script.js';
import type { TripKind } from './trip.js';

/** Something that users and operators do, at each of whose device operations something can go wrong. */
export interface Scenario {
  readonly id: string;
  /** Members; default: the fewest of which the level can lose one, or two. */
  readonly numSlots?: (least: number, module: RaidModule, options: LevelOptions) => number;
  /** Slots whose members are out together: of an array of as many slots more as it takes to do without these, or of none. */
  readonly together?: readonly number[];
  /** Disks beside the members. Default 1. */
  readonly numSpares?: number;
  /** What of the array, or of its background work, is otherwise than usual. */
  readonly shape?: Partial<SimShape>;
  readonly applies: (module: RaidModule, options: LevelOptions) => boolean;
  /** The array gets larger: one without redundancy does not as long as it has checksums. */
  readonly grows?: boolean;
  /** What is there already: nothing goes wrong in it. Default: an array that has been written to. */
  readonly before?: (script: Script) => Promise<void>;
  /** Nothing has been written before: there is nothing that could have been flushed. */
  readonly startsEmpty?: boolean;
  readonly steps: (script: Script) => Promise<void>;
  /** Faults after which there is nothing that could be right or wrong. */
  readonly without?: readonly TripKind[];
}

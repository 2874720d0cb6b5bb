import { canRun } from '@raidkit/core';
import type { LevelOptions, RaidModule } from '@raidkit/core';

/** Minimum number of slots of a useful array: a single copy has nothing to compare or to lose. */
export function leastSlots({ baseBdevsMin, redundancy }: RaidModule): number {
  return redundancy === 'none' ? baseBdevsMin : Math.max(2, baseBdevsMin);
}

/** Returns the smallest number of slots, at least `least`, that the module accepts. Throws if there is none. */
export function acceptedSlots(module: RaidModule, least: number, options: LevelOptions = {}): number {
  for (let numSlots = Math.max(least, module.baseBdevsMin); numSlots <= 255; numSlots++)
    if (module.acceptsSlots?.(numSlots, options) !== false) return numSlots;
  throw new Error(`level ${module.level} takes no array of ${least} members or more`);
}

/**
 * Whether an array that is created like this can get further copies later. It cannot if its number of slots determines where
 * data is and that number is not recorded.
 */
export function canGetCopies(module: RaidModule, numSlots: number, options: LevelOptions = {}): boolean {
  if (module.addedSlot !== 'copy') return false;
  return module.completeOptions?.(numSlots, options) !== options;
}

/** Returns the smallest number of slots that gives two groups with the same contents, if the level has groups. */
export function slotsOfTwoGroups(module: RaidModule, options: LevelOptions = {}): number {
  const fewest = acceptedSlots(module, leastSlots(module), options);
  const hasGroups = module.redundancy !== 'none' && module.canRun !== undefined;
  return hasGroups ? acceptedSlots(module, 2 * fewest, options) : fewest;
}

/** Returns slots that may be missing together: as many as possible, taken in cyclic order from `first` on. */
export function losable(module: RaidModule, numSlots: number, first: number, options: LevelOptions = {}): number[] {
  const missing: number[] = [];
  for (let step = 0; step < numSlots; step++) {
    const more = [...missing, (first + step) % numSlots].sort((a, b) => a - b);
    if (canRun(module, numSlots, more, options)) missing.splice(0, missing.length, ...more);
  }
  return missing;
}

/** As {@link losable}, without the slot `kept`. */
export function losableBeside(module: RaidModule, numSlots: number, kept: number, options: LevelOptions = {}): number[] {
  const missing: number[] = [];
  for (let step = 1; step < numSlots; step++) {
    const more = [...missing, (kept + step) % numSlots].sort((a, b) => a - b);
    if (canRun(module, numSlots, more, options)) missing.splice(0, missing.length, ...more);
  }
  return missing;
}

/**
 * Whether the level has parity without a journal: absent members' contents are unknown after a crash, and such an array does
 * not start by itself.
 */
export function hasNoJournal(module: RaidModule): boolean {
  return module.redundancy === 'parity' && !module.journal;
}

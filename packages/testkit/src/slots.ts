import { canRun } from '@raidkit/core';
import type { LevelOptions, RaidModule } from '@raidkit/core';

/** Fewest slots of an array that is of any use: a copy alone has nothing that could be compared, or lost. */
export function leastSlots({ baseBdevsMin, redundancy }: RaidModule): number {
  return redundancy === 'none' ? baseBdevsMin : Math.max(2, baseBdevsMin);
}

/** The first number of slots, from `least` on, of which the module takes arrays. Throws if there is none. */
export function acceptedSlots(module: RaidModule, least: number, options: LevelOptions = {}): number {
  for (let numSlots = Math.max(least, module.baseBdevsMin); numSlots <= 255; numSlots++)
    if (module.acceptsSlots?.(numSlots, options) !== false) return numSlots;
  throw new Error(`level ${module.level} takes no array of ${least} members or more`);
}

/** Whether an array that is created so can have further copies: of one whose number of slots says where data lies that is not on record. */
export function canGetCopies(module: RaidModule, numSlots: number, options: LevelOptions = {}): boolean {
  if (module.addedSlot !== 'copy') return false;
  return module.completeOptions?.(numSlots, options) !== options;
}

/** The first number of slots with two groups of them that hold the same, if the level has groups. */
export function slotsOfTwoGroups(module: RaidModule, options: LevelOptions = {}): number {
  const fewest = acceptedSlots(module, leastSlots(module), options);
  const hasGroups = module.redundancy !== 'none' && module.canRun !== undefined;
  return hasGroups ? acceptedSlots(module, 2 * fewest, options) : fewest;
}

/** Slots that an array can be without together, as many as there are: in cyclic order from `first` on. */
export function losable(module: RaidModule, numSlots: number, first: number, options: LevelOptions = {}): number[] {
  const missing: number[] = [];
  for (let step = 0; step < numSlots; step++) {
    const more = [...missing, (first + step) % numSlots].sort((a, b) => a - b);
    if (canRun(module, numSlots, more, options)) missing.splice(0, missing.length, ...more);
  }
  return missing;
}

/** As {@link losable}, with a slot that must not be among them. */
export function losableBeside(module: RaidModule, numSlots: number, kept: number, options: LevelOptions = {}): number[] {
  const missing: number[] = [];
  for (let step = 1; step < numSlots; step++) {
    const more = [...missing, (kept + step) % numSlots].sort((a, b) => a - b);
    if (canRun(module, numSlots, more, options)) missing.splice(0, missing.length, ...more);
  }
  return missing;
}

/** Parity without a journal: what absent members hold is not known after a crash, and such an array is not started by itself. */
export function hasNoJournal(module: RaidModule): boolean {
  return module.redundancy === 'parity' && !module.journal;
}

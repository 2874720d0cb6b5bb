import type { LevelOptions } from './context.js';
import type { RaidModule } from './module.js';

/**
 * The one place that says which members an array can be without. All other code asks here; none counts members, or concludes
 * from their number what they hold. `options`: the array's, as they are on record.
 */

const none: LevelOptions = {};

/** Most members that an array of `numSlots` slots can be without, if they are the right ones. 0 without redundancy. */
export function maxMissing(module: RaidModule, numSlots: number, options = none): number {
  if (module.redundancy === 'none') return 0;
  return typeof module.maxMissing === 'number' ? module.maxMissing : module.maxMissing(numSlots, options);
}

/** Fewest members with which an array of `numSlots` slots can be online, if they are the right ones. */
export function minOperational(module: RaidModule, numSlots: number, options = none): number {
  return numSlots - maxMissing(module, numSlots, options);
}

/** Whether all data is there without these slots' members. `missing`: in ascending order, each once. */
export function canRun(module: RaidModule, numSlots: number, missing: readonly number[], options = none): boolean {
  if (missing.length > maxMissing(module, numSlots, options)) return false;
  if (missing.length === 0 || module.redundancy === 'none' || module.canRun === undefined) return true;
  return module.canRun(numSlots, missing, options);
}

/** For people: why an array without these slots' members cannot be online. */
export function whyNot(module: RaidModule, numSlots: number, missing: readonly number[], options = none): string {
  const needed = minOperational(module, numSlots, options);
  const there = numSlots - missing.length;
  if (there < needed) return `${there} of ${numSlots} members are not enough, ${needed} are needed`;
  return `level ${module.level} cannot be without the members of slots ${missing.join(', ')} together`;
}

/** Sets of members that are tried out at most, for a level that says itself which may be missing. */
const mostTried = 20_000;

/**
 * How many more members can be lost, whichever they are, when these are missing already; a lower bound where there are very
 * many combinations of them. -1 if data is missing already.
 */
export function canLoseAny(module: RaidModule, numSlots: number, missing: readonly number[], options = none): number {
  if (!canRun(module, numSlots, missing, options)) return -1;
  const most = maxMissing(module, numSlots, options) - missing.length;
  if (module.redundancy === 'none' || module.canRun === undefined) return most;
  let tried = 0;
  const survives = (lost: readonly number[], next: number, left: number): boolean => {
    if (++tried > mostTried) return false;
    if (left === 0) return canRun(module, numSlots, lost, options);
    for (let slot = next; slot < numSlots; slot++) {
      if (
        !lost.includes(slot) &&
        !survives(
          [...lost, slot].sort((a, b) => a - b),
          slot + 1,
          left - 1,
        )
      )
        return false;
    }
    return true;
  };
  let count = 0;
  while (count < most && survives(missing, 0, count + 1)) count++;
  return count;
}

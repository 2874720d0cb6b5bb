import type { LevelOptions } from './context.js';
import type { RaidModule } from './module.js';

/**
 * This file alone decides which members an array can be without. Other code must not count members or infer from their number
 * what they hold. `options` are the array's recorded options.
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

/** Whether all data is available without the members of these slots. `missing` is in ascending order without duplicates. */
export function canRun(module: RaidModule, numSlots: number, missing: readonly number[], options = none): boolean {
  if (missing.length > maxMissing(module, numSlots, options)) return false;
  if (missing.length === 0 || module.redundancy === 'none' || module.canRun === undefined) return true;
  return module.canRun(numSlots, missing, options);
}

/** Returns a message that says why an array without the members of these slots cannot be online. */
export function whyNot(module: RaidModule, numSlots: number, missing: readonly number[], options = none): string {
  const needed = minOperational(module, numSlots, options);
  const there = numSlots - missing.length;
  if (there < needed) return `${there} of ${numSlots} members are not enough, ${needed} are needed`;
  return `level ${module.level} cannot run while the members of slots ${missing.join(', ')} are all missing`;
}

/** Largest number of sets of members to try for a level that has its own `canRun`. */
const mostTried = 20_000;

/**
 * Returns how many more members can be lost, whichever they are, if these are missing already. It is a lower bound if there are
 * more than 20,000 combinations to try. -1 if data is unavailable already.
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

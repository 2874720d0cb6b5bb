import type { ReadPolicy } from '../format/read-policy.js';
import type { Slot } from './slot.js';

/** Difference in cost between preference ranks: more than the number of blocks in flight or of reads can ever be. */
const rankStep = 2 ** 49;

/** Returns the cost of a read from the slot's member. Of several copies the cheapest is read. */
export function readCost(slot: Slot, policy: ReadPolicy): number {
  const { isUnresponsive, lossesToJudge, readBlocksInFlight, readPreference, readTurn } = slot;
  // An unresponsive member ranks after all others, whatever their preference, and one that may show old blocks after that.
  let rank = lossesToJudge > 0 ? 6 : isUnresponsive ? 3 : 0;
  if (readPreference === 'normal') rank += 1;
  else if (readPreference === 'write-mostly') rank += 2;
  return rank * rankStep + (policy === 'round-robin' ? readTurn : readBlocksInFlight);
}

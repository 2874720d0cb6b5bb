import type { ReadPolicy } from '../format/read-policy.js';
import type { Slot } from './slot.js';

/** Between members that are not equally welcome: more than there are ever blocks in flight, or reads. */
const rankStep = 2 ** 49;

/** What a read of the slot's member costs: of several copies the cheapest is read. */
export function readCost({ isUnresponsive, readBlocksInFlight, readPreference, readTurn }: Slot, policy: ReadPolicy): number {
  // One that is late is better than none, and a write-mostly one that is not is better than it.
  let rank = isUnresponsive ? 3 : 0;
  if (readPreference === 'normal') rank += 1;
  else if (readPreference === 'write-mostly') rank += 2;
  return rank * rankStep + (policy === 'round-robin' ? readTurn : readBlocksInFlight);
}

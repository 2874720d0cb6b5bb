import { Status } from '@raidkit/bdev';
import { RaidError } from '../errors.js';
import { onEveryMember } from '../members/member-io.js';
import type { GrowingSums, SyncHost } from './host.js';

/** Most attempts at a step during which flushes are lost. */
const mostRounds = 5;

/**
 * Moves the pages of an array's checksums to an unused place behind the data. The recorded place is complete at any time: page
 * writes go to both places, the copies are flushed before a header names the new place, and the old place is given up when all
 * members have such a header. Resolves to false if the array has changed meanwhile; then the pages are at the old place or at
 * both. Rejects if it fails, with the same result.
 */
export async function moveSums(array: SyncHost, sums: GrowingSums, to: number): Promise<boolean> {
  const { membership } = array;
  const isAsBefore = (): boolean => array.membership === membership && array.sums === sums && canMove(array);
  sums.beginMove(to);
  try {
    await repeat(array, async () => {
      await sums.copyPages();
      await onEveryMember(array, (client) => client.flush());
    });
  } catch (error) {
    const hasChanged = !isAsBefore();
    await sums.cancelMove();
    if (hasChanged) return false;
    throw error;
  }
  // A member that joined meanwhile has not been given its pages.
  if (!isAsBefore()) {
    await sums.cancelMove();
    return false;
  }
  sums.recordMove();
  await repeat(array, () => array.metadata.update());
  await sums.endMove();
  return array.sums === sums && canMove(array);
}

/** Repeats the step until no flush was lost during it, since that flush may have been its own. */
async function repeat(array: SyncHost, work: () => Promise<void>): Promise<void> {
  for (let rounds = 0; rounds < mostRounds; rounds++) {
    const { lostFlushes } = array;
    await work();
    if (array.lostFlushes === lostFlushes) return;
  }
  throw new RaidError('ERR_RAID_METADATA', Status.IoError, `array ${array.name}: flushes of its members fail repeatedly`);
}

/** To be called again after each await. */
function canMove({ slots, state }: SyncHost): boolean {
  return state === 'online' && slots.every(({ isOperational, replacement }) => isOperational && replacement === null);
}

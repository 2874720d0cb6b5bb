import { RaidError } from '../errors.js';
import { onEveryMember } from '../members/member-io.js';
import type { GrowingSums, SyncHost } from './host.js';

/** What lost flushes have overtaken is done again, so often in all. */
const mostRounds = 5;

/**
 * Has the pages of an array's sums begin elsewhere behind the data, where nothing of theirs is yet. At no time is there a place on
 * record that lacks something: all that is written of pages goes to both, the copies are flushed before a header names the new place,
 * and the old one is given up when all members have such a header. False: what is true of the array has changed meanwhile, and the
 * pages are where they were, or in both places. Rejects if it fails; they are then as well.
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
  // One that has come meanwhile has not been given its pages.
  if (!isAsBefore()) {
    await sums.cancelMove();
    return false;
  }
  sums.recordMove();
  await repeat(array, () => array.metadata.update());
  await sums.endMove();
  return array.sums === sums && canMove(array);
}

/** Until it is done without a flush being lost meanwhile, which may have been its own. */
async function repeat(array: SyncHost, work: () => Promise<void>): Promise<void> {
  for (let rounds = 0; rounds < mostRounds; rounds++) {
    const { lostFlushes } = array;
    await work();
    if (array.lostFlushes === lostFlushes) return;
  }
  throw new RaidError('ERR_RAID_METADATA', 5, `array ${array.name}: its members lose one flush after another`);
}

/** Asked anew after each wait. */
function canMove({ slots, state }: SyncHost): boolean {
  return state === 'online' && slots.every(({ isOperational, replacement }) => isOperational && replacement === null);
}

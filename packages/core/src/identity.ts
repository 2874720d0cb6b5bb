import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from './array.js';
import { RaidError } from './errors.js';
import { nullUuid } from './store.js';

/**
 * Who may be believed to be a member. One rule for each way in: what is not proved is refused, or filled anew, never read.
 */

/**
 * Refuses to take a device as it is, without filling it: only an array that is being created has nothing to lose by that.
 * One that is put together from its superblocks takes those members that these name, and nobody else.
 */
export function requireCreation(array: RaidArray, bdev: Bdev): void {
  if (!array.isAssembled) return;
  const absent = awaitedSlots(array).map(({ index, recordedUuid }) => `slot ${index} (${recordedUuid})`);
  const what = absent.length === 0 ? 'cannot be started' : `waits for ${absent.join(', ')}`;
  const message = `array ${array.name} ${what}, and ${bdev.name} (${bdev.uuid}) is none of its current members: bring those, or start the array without them, and then add ${bdev.name}`;
  throw new RaidError('ERR_RAID_INVALID', 22, message);
}

/**
 * Refuses a device that carries this array's superblock and has no place there any more: it was replaced, and what it holds
 * is somebody's old copy, or a mistake. `lastSeen` is the sequence number of that superblock; null for none.
 */
export function refuseFormerMember(array: RaidArray, bdev: Bdev, lastSeen: number | null): void {
  if (lastSeen === null) return;
  if (array.slots.some(({ descriptor, recordedUuid }) => recordedUuid === bdev.uuid && (descriptor === null || descriptor.bdev === bdev))) return;
  const message = `array ${array.name}: ${bdev.name} was a member once, and its place has been taken; wipe it, and it is a device like any other`;
  throw new RaidError('ERR_RAID_SUPERBLOCK_FOUND', 17, message);
}

/** Slots whose member counts as current by the newest superblock, and is not there. */
export function awaitedSlots(array: RaidArray): RaidArray['slots'] {
  return array.slots.filter(({ descriptor, recordedUuid, uuid }) => {
    return descriptor === null && uuid !== nullUuid && uuid === recordedUuid && !array.outdated.has(uuid);
  });
}

/**
 * Whether the members that are not there could have gone on by themselves, with what those that are there know nothing of.
 * A copy of a mirror can; less than parity needs cannot, so that whoever went on had one of ours with it.
 */
export function mayHaveGoneOn(array: RaidArray): boolean {
  return awaitedSlots(array).length >= array.minOperational;
}

import { Status } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { RaidError } from '../errors.js';
import type { RaidEventListener } from '../events.js';
import { requireReplaceable } from '../membership/remove.js';
import type { RemoveOptions } from '../membership/remove.js';

/**
 * Fails a slot's member on request. Resolves when it has left and the other members' superblocks record that, or the array is
 * gone.
 */
export async function failMember(
  array: RaidArray,
  slot: number,
  reason: string,
  { force = false }: RemoveOptions,
  listeners: Set<RaidEventListener>,
): Promise<void> {
  const { name } = array;
  const member = array.slots[slot];
  if (member?.isConfigured !== true)
    throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `array ${name}: slot ${slot} has no member`);
  if (array.state !== 'online') throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name} is ${array.state}`);
  if (!force) requireReplaceable(array, member);
  let listener: RaidEventListener = () => undefined;
  // Identified by name, because slots before it may be removed meanwhile.
  const { name: device } = member;
  const isOut = new Promise<void>((resolve) => {
    listener = (event) => {
      // A member that was already leaving for another reason emits `memberRemoved`.
      const hasLeft = event.type === 'memberFailed' || event.type === 'memberRemoved';
      if (event.type !== 'arrayRemoved' && !(hasLeft && event.member === device)) return;
      if (event.array === name) resolve();
    };
    listeners.add(listener);
  });
  try {
    if (!array.failMember(slot, reason))
      throw new RaidError('ERR_RAID_BUSY', Status.Busy, `array ${name} cannot do without ${String(member.name)}`);
    await isOut;
  } finally {
    listeners.delete(listener);
  }
}

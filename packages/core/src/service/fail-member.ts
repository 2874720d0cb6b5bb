import type { RaidArray } from '../array/array.js';
import { RaidError } from '../errors.js';
import type { RaidEventListener } from '../events.js';

/** Takes a slot's member out as if it had failed. Resolves when it is out, as the others' superblocks have it, or the array is gone. */
export async function failMember(
  array: RaidArray,
  slot: number,
  reason: string,
  listeners: Set<RaidEventListener>,
): Promise<void> {
  const { name } = array;
  const member = array.slots[slot];
  if (member?.isConfigured !== true) throw new RaidError('ERR_RAID_NOT_FOUND', 19, `array ${name}: slot ${slot} has no member`);
  if (array.state !== 'online') throw new RaidError('ERR_RAID_INVALID', 22, `array ${name} is ${array.state}`);
  let listener: RaidEventListener = () => undefined;
  // By its name: slots before its own may go meanwhile.
  const { name: device } = member;
  const isOut = new Promise<void>((resolve) => {
    listener = (event) => {
      // One that was about to leave for another reason does that.
      const hasLeft = event.type === 'memberFailed' || event.type === 'memberRemoved';
      if (event.type !== 'arrayRemoved' && !(hasLeft && event.member === device)) return;
      if (event.array === name) resolve();
    };
    listeners.add(listener);
  });
  try {
    if (!array.failMember(slot, reason))
      throw new RaidError('ERR_RAID_BUSY', 16, `array ${name} cannot do without ${String(member.name)}`);
    await isOut;
  } finally {
    listeners.delete(listener);
  }
}

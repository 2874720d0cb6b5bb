import type { BdevDescriptor } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { takeOffline } from '../start/start.js';
import type { Slot } from '../members/slot.js';
import type { SlotAbsence } from '../members/slot-view.js';

/** The device of a slot is going away (hot remove). */
export function onMemberRemoved(ctx: RaidContext, array: RaidArray, slot: Slot): void {
  const { awaitedName } = slot;
  removeMember(ctx, array, slot, 'the device was removed')
    .then(() => {
      // An array that is still being put together takes the device when it comes back.
      if (array.state === 'configuring' && !array.isAssembled) slot.awaitedName = awaitedName;
    })
    .catch((error: unknown) => {
      array.log.error({ ...array.logFields(slot), err: error }, 'a member that went away could not be let go cleanly');
    });
}

/**
 * Takes a member out. Resolves when no I/O goes to it and the survivors' metadata says so. An array that cannot do without it
 * goes offline and keeps its superblocks as they are: together with this member they are still the newest state.
 * `goesWithSlot`: for the event.
 */
export async function removeMember(
  ctx: RaidContext,
  array: RaidArray,
  slot: Slot,
  reason: string,
  goesWithSlot = false,
): Promise<void> {
  const member = slot.name ?? '';
  const isRequested = slot.isRemovedByHand;
  // The slot as it is numbered by then.
  const tell = (): void => {
    ctx.emit({
      type: 'memberRemoved',
      array: array.name,
      slot: slot.index,
      member,
      reason,
      isRequested,
      ...(goesWithSlot ? { goesWithSlot } : {}),
    });
  };
  // The call that is about to make it a member finds that it is gone.
  if (!slot.isConfigured || slot.isBeingAppended) return;
  if (isWaiting(array)) {
    releaseWaiting(array, slot);
    return;
  }
  if (slot.isRemoving) {
    await slot.whenDrained();
    return;
  }
  // A stop makes regions clean, and what this member had not kept by then may be gone: it must be on record as out, too.
  if (array.lifecycle.phase !== 'offline' && array.canDoWithout(slot)) {
    array.log.warn(array.logFields(slot), `the member leaves: ${reason}`);
    array.beginLeave(slot, 'missing');
    try {
      await finishLeave(ctx, array, slot, 'missing');
    } finally {
      // It is out, whether or not that could be recorded.
      tell();
    }
    return;
  }
  array.membershipChanged();
  const why = `slot ${slot.index} lost ${member}, and the array cannot do without it: ${reason}`;
  if (array.lifecycle.phase === 'starting') {
    // Nothing has been written to it that the others lack: the array waits for it again.
    slot.leave();
    await takeOffline(ctx, array, why);
    await slot.whenDrained();
    // The array may have been given up meanwhile, and its members with it.
    if (slot.role !== 'leaving') return;
    slot.stay();
    await removeMember(ctx, array, slot, reason, goesWithSlot);
    return;
  }
  array.expectOneLess();
  slot.leave();
  await takeOffline(ctx, array, why);
  await slot.whenFree();
  slot.empty('missing', ctx.registry.runtime.now());
  tell();
  if (array.slots.every(({ descriptor }) => descriptor === null)) forget(ctx, array);
}

/** A member has missed the deadline of an I/O, which may still be carried out: it is not used any more. */
export function onMemberStuck(ctx: RaidContext, array: RaidArray, slot: Slot): void {
  const { descriptor } = slot;
  if (descriptor === null || !slot.isConfigured) return;
  if (isWaiting(array)) return;
  // Requests that wait for something else on it need not wait any longer.
  descriptor.expire();
  if (slot.isRemoving) return;
  const { bdev } = descriptor;
  const reason = 'it has not answered in time';
  if (array.failMember(slot.index, reason)) return;
  removeMember(ctx, array, slot, reason)
    .catch((error: unknown) => {
      array.log.error({ ...array.logFields(slot), err: error }, 'a member that does not answer could not be let go cleanly');
    })
    .finally(() => ctx.examineLater(bdev))
    .catch(() => undefined);
}

/** A member failed: I/O to it has stopped already. Brings the departure to its end. */
export function endFailedMember(ctx: RaidContext, array: RaidArray, slot: Slot, reason: string): void {
  const member = slot.name ?? '';
  const wasFilled = slot.isRebuilding;
  finishLeave(ctx, array, slot, 'failed')
    .catch((error: unknown) => {
      array.log.error({ ...array.logFields(slot), err: error }, 'the failure of a member could not be recorded');
    })
    .finally(() => {
      ctx.emit({ type: 'memberFailed', array: array.name, slot: slot.index, member, reason, wasFilled });
    })
    .catch(() => undefined);
}

/**
 * Ends an array for good: what is under way is called off and waited for, its volume goes, its members are free, and no list
 * has it any more. Rejects, with all that done, if something failed on the way.
 */
export function endArray(ctx: RaidContext, array: RaidArray, reason: string): Promise<void> {
  return array.lifecycle.end(() => closeArray(ctx, array, reason));
}

/** {@link endArray} for what has made sure that nothing is under way. */
export async function closeArray(ctx: RaidContext, array: RaidArray, reason: string): Promise<void> {
  try {
    await takeOffline(ctx, array, reason);
  } finally {
    for (const slot of array.slots) {
      await slot.whenFree();
      slot.closeMember();
    }
    forget(ctx, array);
  }
}

/** Takes the array off the list; nothing of it is open any more. */
export function forget(ctx: RaidContext, array: RaidArray): void {
  array.assembly.endStartWait?.();
  array.sums?.close();
  if (ctx.arrays.get(array.name) !== array) return;
  ctx.arrays.delete(array.name);
  ctx.arrayNames.leave(array.name, array.uuid);
  ctx.emit({ type: 'arrayRemoved', array: array.name });
}

async function finishLeave(ctx: RaidContext, array: RaidArray, slot: Slot, absence: SlotAbsence): Promise<void> {
  const { descriptor, filling } = slot;
  // What waits for its turn with this member need not.
  ctx.resyncExclusion.wake();
  if (slot.isRebuilding) {
    await filling?.leave(`the target ${String(slot.name)} left`);
    await release(ctx, slot, descriptor, absence);
    return;
  }
  try {
    await array.leaveRecorded();
  } finally {
    await release(ctx, slot, descriptor, absence);
  }
}

/** Empties the slot, if this is still its device. */
async function release(
  { registry }: RaidContext,
  slot: Slot,
  descriptor: BdevDescriptor | null,
  absence: SlotAbsence,
): Promise<void> {
  await slot.whenFree();
  if (slot.descriptor === descriptor) slot.empty(absence, registry.runtime.now());
}

/** The array is being put together: nothing of it is in use yet, and nothing has been recorded. */
function isWaiting({ lifecycle }: RaidArray): boolean {
  return lifecycle.phase === 'creating' || lifecycle.phase === 'configuring';
}

/** A member of an array that is not up yet: the slot waits again, for the same uuid. */
function releaseWaiting(array: RaidArray, slot: Slot): void {
  const isCreated = !array.isAssembled;
  slot.closeMember();
  slot.name = null;
  slot.awaitedName = null;
  if (isCreated) array.forgetBlockSizeIfEmpty();
}

import { Status } from '@raidkit/bdev';
import type { Bdev, BdevDescriptor, Runtime } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { flushMember } from '../members/member-io.js';
import { takeOffline } from '../start/start.js';
import type { Slot } from '../members/slot.js';
import type { SlotAbsence } from '../members/slot-view.js';

/** Milliseconds for which users' I/O is held at most before a member is removed. */
const longestHoldMs = 1000;

/** Options of calls that remove or fail a member. */
export interface RemoveOptions {
  /** Even if blocks of the member cannot be reconstructed without it; they return EIO until they are written. Default false. */
  force?: boolean;
}

/**
 * Removes a member on request, as {@link removeMember} does. It is still good, and may be the only one to keep what the others
 * have in their caches, so they are flushed before anything says that it is out. If the array cannot do without it any more
 * after that, because another member has failed or left, rejects with `ERR_RAID_BUSY`, and the member stays. So it does where
 * redundancy is inconsistent, unless forced.
 */
export async function removeOnRequest(
  ctx: RaidContext,
  array: RaidArray,
  slot: Slot,
  reason: string,
  { force = false, goesWithSlot = false }: RemoveOptions & { goesWithSlot?: boolean } = {},
): Promise<void> {
  const { bdev } = array;
  const { descriptor, name } = slot;
  if (!force) requireReplaceable(array, slot);
  const isNeeded = (): boolean => slot.descriptor === descriptor && slot.isInSync && !array.canDoWithout(slot);
  let release: (() => void) | null = null;
  let left: Promise<void>;
  try {
    if (bdev !== null && !array.isReadOnly && slot.isInSync && array.canDoWithout(slot)) {
      await flushOthers(array, slot);
      // It does not cover what was acknowledged meanwhile. The second flush has little to do.
      if (!isNeeded()) {
        release = await hold(bdev, ctx.registry.runtime);
        await flushOthers(array, slot);
      }
      if (isNeeded()) {
        const message = `array ${array.name}: it cannot do without ${String(name)} of slot ${slot.index}, because another member has failed or was removed`;
        throw new RaidError('ERR_RAID_BUSY', Status.Busy, message);
      }
    }
    // The member may have left by itself meanwhile, and another device may have its place.
    if (slot.descriptor !== null && slot.descriptor !== descriptor) return;
    if (!force && slot.descriptor !== null) requireReplaceable(array, slot);
    slot.setRemovedByHand(true);
    left = removeMember(ctx, array, slot, reason, goesWithSlot);
  } finally {
    release?.();
  }
  await left;
}

/**
 * Throws if data of the member could not be reconstructed without it, because redundancy is inconsistent somewhere. That loses
 * nothing if the array is not online, or goes offline without the member: then it is never recorded as out.
 */
export function requireReplaceable(array: RaidArray, slot: Slot): void {
  if (array.bdev === null || !array.isIrreplaceable(slot) || !array.canDoWithout(slot)) return;
  const { bitmap, blockSize, consistency, name } = array;
  const regions = bitmap === null ? 0 : consistency.countRegions(bitmap.regionBlocks);
  const where =
    bitmap === null ? '' : ` in ${regions} regions (${regions * bitmap.regionBlocks * blockSize} bytes of each member)`;
  const message = `array ${name}: it cannot do without ${String(slot.name)} of slot ${slot.index} yet: redundancy may be inconsistent${where} until a resync has ended. Wait for it, or use force: blocks of the member there then return EIO until they are written`;
  throw new RaidError('ERR_RAID_BUSY', Status.Busy, message);
}

/**
 * Flushes the other members. One that cannot be flushed is failed while the array still has `slot`; if the array cannot do
 * without it even so, `slot` does not have its data, and flushes of users fail from then on.
 */
async function flushOthers(array: RaidArray, slot: Slot): Promise<void> {
  const others = array.slots.filter((other) => other !== slot && other.isInSync);
  const why = `a flush failed before ${String(slot.name)} was removed`;
  await Promise.allSettled(others.map((other) => flushMember(array, other, why)));
}

/**
 * Holds users' I/O until the result is called, or for {@link longestHoldMs}. Resolves when none is in flight, or when that time
 * is over: the member that is to be removed may hang, and so may another one that is flushed.
 */
function hold(bdev: Bdev, runtime: Runtime): Promise<() => void> {
  return new Promise((resolve) => {
    let isHeld = true;
    const release = (): void => {
      if (isHeld) bdev.unquiesce(range);
      isHeld = false;
      runtime.clearTimer(timer);
      resolve(release);
    };
    const timer = runtime.setTimer(release, longestHoldMs);
    const range = bdev.quiesce(0, bdev.numBlocks, () => resolve(release));
  });
}

/** The device of a slot has disappeared (hot remove). */
export function onMemberRemoved(ctx: RaidContext, array: RaidArray, slot: Slot): void {
  const { awaitedName } = slot;
  removeMember(ctx, array, slot, 'the device was removed')
    .then(async () => {
      if (array.state !== 'configuring') return;
      // An array that is still configuring accepts the device when it returns.
      if (!array.isAssembled) slot.awaitName(awaitedName);
      await assembleFromOthers(ctx, array);
    })
    .catch((error: unknown) => {
      array.log.error(
        { ...array.logFields(slot), err: error },
        'a member whose device was removed could not be removed cleanly',
      );
    });
}

/**
 * Ends an array that was not started because of devices that are all gone now (`AssemblyFacts.ahead`), and examines the others
 * that are here, which make another array by their superblocks. Returns false, and does nothing, if it is no such array.
 */
export async function assembleFromOthers(ctx: RaidContext, array: RaidArray): Promise<boolean> {
  const { ahead, deferredMembers, outside } = array.assembly;
  const present = array.slots.flatMap(({ descriptor }) => (descriptor === null ? [] : [descriptor.bdev.uuid]));
  if (ahead === null || array.isStarting || array.isDeleting || present.some((uuid) => ahead.has(uuid))) return false;
  const others = new Set([...present, ...outside.keys(), ...deferredMembers]);
  await endArray(ctx, array, 'it is being assembled again');
  for (const uuid of others) {
    const bdev = ctx.registry.get(uuid);
    if (bdev !== undefined) ctx.examineLater(bdev, 0);
  }
  return true;
}

/**
 * Takes a member out. Resolves when it gets no more I/O and the survivors' superblocks record that. If the array cannot do
 * without it, the array goes offline and the superblocks stay as they are: with this member they are still the newest state.
 * `goesWithSlot` is passed on in the event.
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
  // Emitted with the index that the slot has at that time.
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
  // The request that is adding the member will notice that it has gone.
  if (!slot.isConfigured || slot.isBeingAppended) return;
  if (isWaiting(array)) {
    releaseWaiting(array, slot);
    return;
  }
  if (slot.isRemoving) {
    await slot.whenDrained();
    return;
  }
  // A stop makes regions clean. What the member had not stored by then may be lost, so it must be recorded as out in that phase
  // too.
  if (array.lifecycle.phase !== 'offline' && array.canDoWithout(slot)) {
    array.log.warn(array.logFields(slot), `the member is removed: ${reason}`);
    array.beginLeave(slot, 'missing');
    try {
      await finishLeave(ctx, array, slot, 'missing');
    } finally {
      // The member has left, whether or not that could be recorded.
      tell();
    }
    return;
  }
  array.membershipChanged();
  const why = `slot ${slot.index} lost ${member}, and the array cannot do without it: ${reason}`;
  if (array.lifecycle.phase === 'starting') {
    // Nothing was written to the member that the others lack, so the array waits for it again.
    slot.leave();
    await takeOffline(ctx, array, why);
    await slot.whenDrained();
    // The array and its members may have been given up meanwhile.
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

/** An I/O of a member has timed out. The device may still execute it, so the member is not used any more. */
export function onMemberStuck(ctx: RaidContext, array: RaidArray, slot: Slot): void {
  const { descriptor } = slot;
  if (descriptor === null || !slot.isConfigured) return;
  if (isWaiting(array)) return;
  // Other requests in flight on it end too.
  descriptor.expire();
  if (slot.isRemoving) return;
  const { bdev } = descriptor;
  const reason = 'it did not respond in time';
  if (array.failMember(slot.index, reason)) return;
  removeMember(ctx, array, slot, reason)
    .catch((error: unknown) => {
      array.log.error({ ...array.logFields(slot), err: error }, 'an unresponsive member could not be removed cleanly');
    })
    .finally(() => ctx.examineLater(bdev))
    .catch(() => undefined);
}

/** Completes the departure of a failed member, which gets no I/O already. */
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
 * Ends an array permanently: work in progress is cancelled and awaited, the volume is removed, the members are closed, and the
 * array is taken off the list. Rejects if something failed, after all of that was done.
 */
export function endArray(ctx: RaidContext, array: RaidArray, reason: string): Promise<void> {
  return array.lifecycle.end(() => closeArray(ctx, array, reason));
}

/** As {@link endArray}, for callers that have made sure that no work is in progress. */
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

/** Takes the array off the list. Its devices must be closed. */
export function forget(ctx: RaidContext, array: RaidArray): void {
  array.assembly.endStartWait?.();
  array.sums?.close();
  if (ctx.arrays.get(array.name) !== array) return;
  ctx.unlist(array.name);
  ctx.arrayNames.leave(array.name, array.uuid);
  ctx.emit({ type: 'arrayRemoved', array: array.name });
}

async function finishLeave(ctx: RaidContext, array: RaidArray, slot: Slot, absence: SlotAbsence): Promise<void> {
  const { descriptor, filling } = slot;
  // A process that is waiting to run for this member need not wait any longer.
  ctx.resyncExclusion.wake();
  if (slot.isRebuilding) {
    await filling?.leave(`the rebuild target ${String(slot.name)} was removed`);
    await release(ctx, slot, descriptor, absence);
    return;
  }
  try {
    await array.leaveRecorded();
  } finally {
    await release(ctx, slot, descriptor, absence);
  }
}

/** Empties the slot if it still has this device. */
async function release(
  { registry }: RaidContext,
  slot: Slot,
  descriptor: BdevDescriptor | null,
  absence: SlotAbsence,
): Promise<void> {
  await slot.whenFree();
  if (slot.descriptor === descriptor) slot.empty(absence, registry.runtime.now());
}

/** Whether the array is being created or configured: none of it is in use yet, and nothing was recorded. */
function isWaiting({ lifecycle }: RaidArray): boolean {
  return lifecycle.phase === 'creating' || lifecycle.phase === 'configuring';
}

/** Closes the member of an array that is not online yet. The slot waits again for the same uuid. */
function releaseWaiting(array: RaidArray, slot: Slot): void {
  const isCreated = !array.isAssembled;
  slot.release();
  if (isCreated) array.forgetBlockSizeIfEmpty();
}

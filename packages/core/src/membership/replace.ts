import { Status } from '@raidkit/bdev';
import type { Bdev, BdevDescriptor } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { refuseFormerMember } from '../start/identity.js';
import { begin, run } from '../sync/start-process.js';
import { declareMember, undeclareMember } from './nesting.js';
import { chooseDataOffset, onMemberEvent, refuseForeign } from './join.js';
import { addMember } from './add.js';
import { canTakeAlong } from '../sync/start-rebuild.js';
import { RaidProcess } from '../sync/process.js';
import { Replacement } from '../members/replacement.js';
import type { Slot } from '../members/slot.js';

/** Milliseconds between checks whether a failed member has left its slot. */
const lookAgainMs = 50;

/**
 * Replaces a member with a device while the member is in use. Resolves when the copy is queued. If the device fails, nothing
 * changes; if the member fails meanwhile, the device is rebuilt from the other members.
 */
export function replaceMember(ctx: RaidContext, array: RaidArray, slot: Slot, bdev: Bdev): Promise<void> {
  // The end of the array waits until the device is closed, or belongs to a process that can be stopped.
  return array.lifecycle.whileBusy(beginReplacement(ctx, array, slot, bdev));
}

async function beginReplacement(ctx: RaidContext, array: RaidArray, slot: Slot, bdev: Bdev): Promise<void> {
  checkCanReplace(array, slot, bdev);
  let stop: (reason: string) => void = () => undefined;
  const descriptor: BdevDescriptor = ctx.registry.open(bdev, {
    writable: true,
    ioTimeoutMs: ctx.memberOptions.ioTimeoutMs,
    onOverdue: (io) => (slot.descriptor === descriptor ? array.answers.moreTime(slot, io) : 0),
    onEvent: (event) => {
      if (slot.descriptor === descriptor) onMemberEvent(ctx, array, slot, event);
      else if (event.type !== 'resize')
        stop(event.type === 'remove' ? 'the new device was removed' : 'the new device does not respond');
    },
  });
  let outerBefore: string | null | undefined;
  try {
    descriptor.claim(`raid array ${array.name}`);
    refuseFormerMember(array, bdev, await refuseForeign(ctx, descriptor, `array ${array.name}`, array.uuid));
    await array.extension?.clear(descriptor, array.bitmap?.states.length ?? 0);
    outerBefore = await declareMember(ctx, array, bdev);
    // Another request may have taken the slot or the device.
    checkCanReplace(array, slot, bdev);
  } catch (error) {
    descriptor.close();
    if (outerBefore !== undefined) await undeclareMember(ctx, array, bdev, outerBefore);
    throw error;
  }
  const dataOffset = chooseDataOffset(array, slot, bdev);
  const replacement = new Replacement(descriptor, dataOffset, slot.dataSize, array.stripe().memberBlocks);
  array.sums?.openFor(slot, replacement);
  slot.beginReplacement(replacement);
  const replaced = slot.name ?? '';
  let stopReason: Error | null = null;
  let process: RaidProcess | null = null;
  stop = (reason) => {
    stopReason ??= new Error(reason);
    process?.stop(stopReason);
    ctx.resyncExclusion.wake();
  };
  const work = async (): Promise<void> => {
    const isOver = (): boolean =>
      array.state !== 'online' || !slot.isInSync || slot.replacement !== replacement || stopReason !== null;
    let isDone = false;
    try {
      process = await begin(ctx, array, isOver, () => new RaidProcess(ctx, array, 'replace', [], { replace: slot }));
      if (process !== null) {
        await run(ctx, array, process, () => Promise.resolve());
        isDone = true;
        const about = { array: array.name, slot: slot.index };
        const reason = `${bdev.name} has replaced it`;
        ctx.emit({ type: 'memberRemoved', ...about, member: replaced, reason, isRequested: true });
        ctx.emit({ type: 'memberAdded', ...about, member: bdev.name });
      }
    } catch {
      // The error has been logged and reported.
    } finally {
      if (process !== null) ctx.resyncExclusion.release(array);
      slot.setForReplacement(!isDone);
      slot.endReplacement(replacement);
      if (slot.descriptor !== descriptor) {
        await replacement.sums?.close();
        descriptor.close();
      }
      array.growIfPossible();
    }
    if (isDone) ctx.fillFromSpares(array);
    else void continueAsRebuild(ctx, array, slot, bdev, stopReason !== null);
  };
  void array.processes.enqueue(work, true);
  ctx.resyncExclusion.wake();
}

function checkCanReplace(array: RaidArray, slot: Slot, bdev: Bdev): void {
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${array.name}: ${message}`);
  };
  if (array.state !== 'online' || array.isDeleting || array.isReadOnly) refuse('it is not online, or read-only');
  if (array.module.redundancy === 'none') refuse(`level ${array.module.level} cannot replace a member`);
  if (!slot.isInSync) refuse(`slot ${slot.index} has no member to replace`);
  if (array.slots.some(({ isRebuilding, replacement }) => isRebuilding || replacement !== null))
    refuse('a member is being rebuilt or replaced already');
  if (bdev.state !== 'registered') refuse(`${bdev.name} was removed`);
  if (bdev.blockSize !== array.blockSize)
    refuse(`${bdev.name} has ${bdev.blockSize}-byte blocks, but the members have ${array.blockSize}`);
  if (bdev.abandoned > 0) refuse(`${bdev.name} still has ${bdev.abandoned} I/Os in flight from an earlier use`);
  const needed = chooseDataOffset(array, slot, bdev) + array.integrity.blocksNeeded(slot.dataSize);
  if (bdev.numBlocks < needed) refuse(`${bdev.name} has ${bdev.numBlocks} blocks, but ${needed} are needed`);
}

/**
 * The member failed during the copy. Adds the new device as a member to be rebuilt, once the failed member has left and no
 * other rebuild prevents it. If that fails, the slot is treated like any other empty one.
 */
async function continueAsRebuild(
  ctx: RaidContext,
  array: RaidArray,
  slot: Slot,
  bdev: Bdev,
  isDeviceBad: boolean,
): Promise<void> {
  const isWanted = (): boolean =>
    !isDeviceBad && !slot.isInSync && !slot.isRemovedByHand && array.state === 'online' && bdev.claimedBy === null;
  const isInTheWay = (): boolean => slot.descriptor !== null || !canTakeAlong(array, false);
  const later = (): void => ctx.retries.later(lookAgainMs, () => continueAsRebuild(ctx, array, slot, bdev, isDeviceBad));
  if (isWanted()) {
    if (isInTheWay()) {
      later();
      return;
    }
    try {
      await addMember(ctx, array, bdev, slot);
    } catch (error) {
      // Another rebuild has begun meanwhile.
      if (isWanted() && isInTheWay()) {
        later();
        return;
      }
      array.log.error({ ...array.logFields(slot), err: error }, 'the new device cannot be rebuilt from the other members');
    }
  }
  slot.setForReplacement(false);
  ctx.fillFromSpares(array);
}

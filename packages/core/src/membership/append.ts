import { Status } from '@raidkit/bdev';
import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { refuseFormerMember } from '../start/identity.js';
import type { RaidGeometry } from '../level/context.js';
import type { Slot } from '../members/slot.js';
import { checkBlockSize, openMember, refuseForeignMember, setDataArea } from './join.js';
import { declareMember, undeclareMember } from './nesting.js';
import { changeSlots, checkCanChangeSlots, newSlot, whenStill } from './slots.js';

/**
 * Appends a member to an array without redundancy; its blocks follow the existing ones. Resolves when that is recorded and the
 * volume has been resized. If it cannot be recorded, nothing changes.
 */
export async function appendSpace(ctx: RaidContext, array: RaidArray, bdev: Bdev): Promise<void> {
  const check = (): void => checkCanChangeSlots(array, 'space', array.numSlots + 1);
  check();
  const slot = newSlot(array);
  openMember(ctx, array, slot, bdev);
  let outerBefore: string | null | undefined;
  try {
    checkBlockSize(array, bdev);
    refuseFormerMember(array, bdev, await refuseForeignMember(ctx, array, slot, array.uuid));
    // Records of a former use must not be mixed with the array's.
    if (slot.descriptor !== null && array.extension !== undefined)
      await array.lifecycle.whileBusy(array.extension.clear(slot.descriptor, 0));
    outerBefore = await declareMember(ctx, array, bdev);
    check();
    await array.lifecycle.whileBusy(array.afterGrowth(() => append(array, slot, bdev)));
  } catch (error) {
    slot.closeMember();
    if (outerBefore !== undefined) await undeclareMember(ctx, array, bdev, outerBefore);
    throw error;
  }
  ctx.emit({ type: 'memberAdded', array: array.name, slot: slot.index, member: bdev.name });
  ctx.emit({ type: 'arrayResized', array: array.name, numBlocks: array.numBlocks });
}

async function append(array: RaidArray, slot: Slot, bdev: Bdev): Promise<void> {
  const { geometry: kept, name } = array;
  checkCanChangeSlots(array, 'space', array.numSlots + 1);
  const before = [...array.slots];
  setDataArea(array, slot, bdev);
  changeSlots(array, [...before, slot]);
  array.expectMembers(array.numOperational + 1);
  slot.setBeingAppended(true);
  try {
    await array.metadata.update();
    if (array.bdev === null || array.state !== 'online')
      throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name} is ${array.state}`);
    if (bdev.state !== 'registered')
      throw new RaidError('ERR_RAID_MEMBER', Status.NoDevice, `array ${name}: ${bdev.name} was removed`);
  } catch (error) {
    if (array.state === 'online') await takeBack(array, slot, before, kept);
    throw error;
  } finally {
    slot.setBeingAppended(false);
  }
  array.bdev.resize(array.numBlocks);
  array.log.info({ ...array.logFields(slot), from: kept.numBlocks, to: array.numBlocks }, 'a member has been appended');
}

/** Restores the former state. Some members may have recorded the new one, but the volume never had the new blocks. */
async function takeBack(array: RaidArray, slot: Slot, before: readonly Slot[], kept: RaidGeometry): Promise<void> {
  const { metadata, store } = array;
  if (slot.isInSync) slot.leave();
  try {
    await whenStill(array, () => {
      array.setSlots(before);
      array.setGeometry(kept);
      array.expectMembers(array.numOperational - 1);
    });
    await metadata.update();
  } catch (error) {
    const message = 'a member that could not be appended may be recorded: it must be present at the next start';
    array.log.error({ ...array.logFields(slot), err: error }, message);
    return;
  }
  if (slot.descriptor === null || store === null) return;
  await store.clear(slot.descriptor).catch((error: unknown) => {
    const message =
      'the superblock of a member that could not be appended could not be cleared: the device is refused until it is wiped';
    array.log.warn({ ...array.logFields(slot), err: error }, message);
  });
}

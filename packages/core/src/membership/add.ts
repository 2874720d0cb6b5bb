import type { Bdev } from '@raidkit/bdev';
import { BdevError, Status } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import type { ArrayRecord } from '../format/store.js';
import { isAsItLeft, refuseFormerMember, requireCreation } from '../start/identity.js';
import { attach, checkBlockSize, chooseDataOffset, openMember, refuseForeignMember, setDataArea } from './join.js';
import { declareMember, undeclareMember } from './nesting.js';
import { bringOnline } from '../start/start.js';
import { canTakeAlong, startRebuild } from '../sync/start-rebuild.js';
import { appendCopy, checkCanAppendCopy, newSlot, recordNumber } from './slots.js';
import type { Slot } from '../members/slot.js';

/** Throws if the array cannot use another device in its present state, or if the device would have to wait. */
function checkCanAdd(array: RaidArray, bdev: Bdev): void {
  if (!canTakeAlong(array, true)) checkCanFill(array, bdev, false);
  if (array.state === 'offline' || array.isStarting || array.isDeleting || array.isReadOnly) {
    const state = array.isReadOnly ? 'read-only' : array.state;
    const message = `array ${array.name} is ${array.isStarting ? 'starting' : state}: ${bdev.name} cannot be added`;
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
  }
  if (array.state === 'configuring') requireCreation(array, bdev);
}

/** Throws if the device would have to wait. `isPartial`: it lacks only what was written while it was absent. */
function checkCanFill(array: RaidArray, bdev: Bdev, isPartial: boolean): void {
  if (canTakeAlong(array, isPartial)) return;
  const message = `array ${array.name}: a rebuild is running; add ${bdev.name} when it has ended`;
  throw new RaidError('ERR_RAID_BUSY', Status.NotPermitted, message);
}

/**
 * Adds a device to an empty slot or, if there is none, to a new slot if the level allows that. Resolves when its rebuild is
 * queued.
 */
export async function addCopy(ctx: RaidContext, array: RaidArray, bdev: Bdev): Promise<void> {
  const hasRoom = array.slots.some(({ hasDevice }) => !hasDevice);
  if (!hasRoom) checkCanAppendCopy(array);
  await addMember(ctx, array, bdev, hasRoom ? undefined : newSlot(array));
}

/**
 * Adds a device to an empty slot: to `wanted` if given, which may be a new slot. Resolves when it is a member: in sync if the
 * array is configuring, else with its rebuild queued.
 */
export async function addMember(ctx: RaidContext, array: RaidArray, bdev: Bdev, wanted?: Slot): Promise<void> {
  checkCanAdd(array, bdev);
  const empty = array.slots.filter(({ descriptor }) => descriptor === null);
  // A former member goes back to its slot.
  const slot = wanted ?? empty.find(({ recordedUuid }) => recordedUuid === bdev.uuid) ?? empty[0];
  if (slot === undefined) {
    throw new RaidError(
      'ERR_RAID_INVALID',
      Status.Invalid,
      `array ${array.name} has no empty slot: ${bdev.name} cannot be added`,
    );
  }
  openMember(ctx, array, slot, bdev);
  let outerBefore: string | null | undefined;
  try {
    checkBlockSize(array, bdev);
    const found = await refuseForeignMember(ctx, array, slot, array.uuid);
    const lastSeen = found?.seqNumber ?? null;
    const isKnown = lastSeen !== null && array.state === 'online' && (await array.lifecycle.whileBusy(isAsItLeft(array, slot)));
    outerBefore = await declareMember(ctx, array, bdev);
    const join = (): void => takeIn(ctx, array, slot, bdev, { found, lastSeen, isKnown });
    // An update that removes another slot must end first, because headers identify slots by number.
    if (array.slots[slot.index] === slot) join();
    else
      await array.lifecycle.whileBusy(
        array.afterGrowth(async () => {
          await recordNumber(array);
          join();
        }),
      );
  } catch (error) {
    await slot.sums?.close();
    slot.closeMember();
    if (outerBefore !== undefined) await undeclareMember(ctx, array, bdev, outerBefore);
    // The slot's former member may have appeared meanwhile.
    const isOthers = slot.recordedUuid !== bdev.uuid;
    if (isOthers && array.assembly.deferredMembers.has(slot.recordedUuid)) ctx.onPlaceFree(array);
    else ctx.fillFromSpares(array);
    throw BdevError.is(error) ? new RaidError('ERR_RAID_MEMBER', error.errno, error.message, { cause: error }) : error;
  }
  ctx.emit({ type: 'memberAdded', array: array.name, slot: slot.index, member: bdev.name });
  if (array.state === 'configuring' && array.numDiscovered >= array.numOperational) await bringOnline(ctx, array);
}

/** What was found on the device. */
interface Seen {
  readonly found: ArrayRecord | null;
  /** Sequence number of the superblock that was found; null if there is none. */
  readonly lastSeen: number | null;
  /** The device is the slot's last member, unchanged since it left. */
  readonly isKnown: boolean;
}

/** Makes the device, which is open in the slot, a member, without an await. Throws if that is no longer possible. */
function takeIn(ctx: RaidContext, array: RaidArray, slot: Slot, bdev: Bdev, { found, lastSeen, isKnown }: Seen): void {
  // The array may have started or gone offline, and another request may have taken the slot.
  checkCanAdd(array, bdev);
  refuseFormerMember(array, bdev, found);
  if (array.state === 'configuring') {
    setDataArea(array, slot, bdev);
  } else {
    const isNew = array.slots[slot.index] !== slot;
    if (isNew) slot.setDataArea(slot.dataOffset, array.memberCapacity(0));
    const dataOffset = chooseDataOffset(array, slot, bdev);
    const needed = dataOffset + array.integrity.blocksNeeded(slot.dataSize);
    if (bdev.numBlocks < needed) {
      const message = `array ${array.name} slot ${slot.index}: ${bdev.name} has ${bdev.numBlocks} blocks, but ${needed} are needed`;
      throw new RaidError('ERR_RAID_MEMBER', Status.Invalid, message);
    }
    // The device was a member when its superblock was written; the map records what it missed since.
    const isPartial = isKnown && slot.dataOffset === dataOffset && lastSeen === slot.lastSeqNumber;
    checkCanFill(array, bdev, isPartial);
    if (!isPartial) slot.notePagesTaken(0);
    slot.setDataArea(dataOffset, slot.dataSize);
    attach(array, slot, bdev);
    // From here on nothing can fail. Its superblock is former even if a crash leaves it there.
    if (!isPartial) slot.noteFormer(slot.isSuccessor ? 0 : (lastSeen ?? 0));
    if (isNew) appendCopy(array, slot);
    array.sums?.open(slot, isPartial);
    startRebuild(ctx, array, slot, isPartial);
  }
}

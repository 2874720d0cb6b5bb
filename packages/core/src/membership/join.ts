import { BdevError, Status } from '@raidkit/bdev';
import type { Bdev, BdevDescriptor, BdevEvent } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { isOnlyRead } from '../array/context.js';
import type { RaidContext } from '../array/context.js';
import { regionsToReserve } from '../bitmap/region-size.js';
import { RaidError } from '../errors.js';
import { onMemberRemoved, onMemberStuck } from './remove.js';
import { declareMember, undeclareMember } from './nesting.js';
import { dropDuplicateUuid } from '../members/duplicates.js';
import type { ArrayRecord } from '../format/store.js';
import type { Slot } from '../members/slot.js';

/**
 * Opens and claims the device for the slot. Throws EPERM if it is claimed, ENODEV if it is gone, EBUSY if I/O of an earlier use
 * is still in flight.
 */
export function openMember(ctx: RaidContext, array: RaidArray, slot: Slot, bdev: Bdev): void {
  if (bdev.abandoned > 0) {
    const message = `array ${array.name}: ${bdev.name} still has ${bdev.abandoned} I/Os in flight from an earlier use`;
    throw new RaidError('ERR_RAID_BUSY', Status.Busy, message);
  }
  const descriptor: BdevDescriptor = ctx.registry.open(bdev, {
    writable: !isOnlyRead(ctx, array),
    ioTimeoutMs: ctx.memberOptions.ioTimeoutMs,
    onOverdue: (io) => (slot.descriptor === descriptor ? array.answers.moreTime(slot, io) : 0),
    onEvent: (event) => {
      // A member that has been replaced belongs to no slot any more.
      if (slot.descriptor === descriptor) onMemberEvent(ctx, array, slot, event);
    },
  });
  try {
    descriptor.claim(`raid array ${array.name}`);
    slot.open(descriptor);
  } catch (error) {
    descriptor.close();
    throw error;
  }
}

/** Handles an event of the slot's member. */
export function onMemberEvent(ctx: RaidContext, array: RaidArray, slot: Slot, { type }: BdevEvent): void {
  if (type === 'remove') onMemberRemoved(ctx, array, slot);
  else if (type === 'timeout') onMemberStuck(ctx, array, slot);
  else array.growIfPossible();
}

/** Checks the device's block size. The first member determines that of the array. */
export function checkBlockSize(array: RaidArray, bdev: Bdev): void {
  if (array.blockSize === 0) {
    const stripBytes = array.stripSizeKb * 1024;
    if (array.module.manifest.stripSize === 'required' && stripBytes < bdev.blockSize) {
      const message = `array ${array.name}: a strip of ${array.stripSizeKb} KiB is smaller than the ${bdev.blockSize}-byte blocks of ${bdev.name}`;
      throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
    }
    if (!array.isAssembled) requireRoomForRecords(array, bdev);
    array.setBlockSize(bdev.blockSize);
    return;
  }
  if (bdev.blockSize === array.blockSize) return;
  const message = `array ${array.name}: ${bdev.name} has ${bdev.blockSize}-byte blocks, but the other members have ${array.blockSize}`;
  throw new RaidError('ERR_RAID_MEMBER', Status.Invalid, message);
}

/**
 * A new array with superblocks must have room for all records. Superblocks alone cannot show that devices were exchanged or an
 * old image was restored, and their contents would be taken for the array's data.
 */
function requireRoomForRecords({ name, store }: RaidArray, bdev: Bdev): void {
  const most = store?.extension?.mostBlockBytes ?? Infinity;
  if (bdev.blockSize <= most) return;
  const message = `array ${name}: ${bdev.name} has ${bdev.blockSize}-byte blocks, and with superblocks they have ${most} bytes at most (block_size): larger blocks leave no room for the records that identify members. Open the devices with smaller blocks, or create the array without superblocks`;
  throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
}

/**
 * Returns the first block of the data area on a device that joins, at a multiple of its preferred boundary. It lies behind the
 * reserved area, which is larger for a large map. For a new array the device's size determines it; an online array keeps the
 * slot's data offset if the device has room for it.
 */
export function chooseDataOffset(array: RaidArray, slot: Slot, bdev: Bdev): number {
  const { bitmap, extension, level, module, regionLimits, slots, store } = array;
  if (store === null) return 0;
  const likes = Math.max(1, bdev.optimalIoBoundary);
  // Blocks that share a checksum must begin at a multiple of their number.
  let boundary = likes;
  while (boundary % array.blocksTogether !== 0) boundary += likes;
  const behind = (numRegions: number): number => {
    const bytes = Math.max(store.reservedBytes, extension?.reservedBytes(numRegions) ?? 0);
    return Math.ceil(Math.ceil(bytes / bdev.blockSize) / boundary) * boundary;
  };
  if (level === null)
    return behind(
      module.redundancy !== 'none' || array.hasIntegrity ? regionsToReserve(regionLimits, bdev.numBlocks * bdev.blockSize) : 0,
    );
  const least = behind(bitmap?.states.length ?? 0);
  const others = slots.filter(({ isConfigured }) => isConfigured).map(({ dataOffset }) => dataOffset);
  const usual = slot.dataOffset > 0 ? slot.dataOffset : Math.min(...others);
  const isGood =
    usual >= least && usual % boundary === 0 && usual + array.integrity.blocksNeeded(slot.dataSize) <= bdev.numBlocks;
  return isGood ? usual : least;
}

/**
 * Makes an existing device a member of a new array: opens and claims it, makes sure that it has no superblock, and sets the
 * slot's sizes. Closes the device on an error.
 */
export async function configureMember(ctx: RaidContext, array: RaidArray, slot: Slot, bdev: Bdev): Promise<void> {
  openMember(ctx, array, slot, bdev);
  let outerBefore: string | null | undefined;
  try {
    checkBlockSize(array, bdev);
    await refuseForeignMember(ctx, array, slot, null);
    array.lifecycle.mustGoOn();
    outerBefore = await declareMember(ctx, array, bdev);
    array.lifecycle.mustGoOn();
    setDataArea(array, slot, bdev);
  } catch (error) {
    slot.closeMember();
    array.forgetBlockSizeIfEmpty();
    if (outerBefore !== undefined) await undeclareMember(ctx, array, bdev, outerBefore);
    throw error;
  }
}

/** Sets the slot's sizes from its device, and makes it a member in sync. */
export function setDataArea(array: RaidArray, slot: Slot, bdev: Bdev): void {
  const dataOffset = chooseDataOffset(array, slot, bdev);
  const dataSize = array.integrity.roomForData(bdev.numBlocks - dataOffset);
  if (dataSize <= 0) {
    const message = `array ${array.name}: ${bdev.name} is too small: ${bdev.numBlocks} blocks, of which ${dataOffset} are reserved`;
    throw new RaidError('ERR_RAID_MEMBER', Status.Invalid, message);
  }
  slot.setDataArea(dataOffset, dataSize);
  attach(array, slot, bdev);
  slot.join();
}

/**
 * Gives the slot this device; the caller sets its role. Throws ENODEV if the device disappeared while it was being examined.
 */
export function attach(array: RaidArray, slot: Slot, bdev: Bdev): void {
  if (bdev.state !== 'registered') throw new RaidError('ERR_RAID_MEMBER', Status.NoDevice, `${bdev.name} was removed`);
  slot.attach(bdev);
  array.assembly.forgetStranger(bdev.uuid);
  dropDuplicateUuid(array.slots, slot);
}

/**
 * Calls {@link refuseForeign} for a device that is about to become a member. An array without superblocks overwrites nothing
 * outside of its data.
 */
export async function refuseForeignMember(
  ctx: RaidContext,
  array: RaidArray,
  slot: Slot,
  own: string | null,
): Promise<ArrayRecord | null> {
  if (slot.descriptor === null) return null;
  const isData = array.store === null && ctx.holdsData(slot.descriptor.bdev);
  const refused = refuseForeign(ctx, slot.descriptor, `array ${array.name}`, own, {
    all: (array.isForced && array.state === 'configuring') || isData,
    signatures: array.store === null,
  });
  // The array must not end and close the device while it is being read.
  return array.lifecycle.whileBusy(refused);
}

/**
 * Throws EEXIST if the device has the superblock of another array than `own`, or data of other software (a file system, a
 * partition table …) that superblocks would overwrite. Resolves to its superblock of `own`, or null. Messages begin with
 * `what`; `ignore` disables checks.
 */
export async function refuseForeign(
  ctx: RaidContext,
  descriptor: BdevDescriptor,
  what: string,
  own: string | null,
  ignore: { all?: boolean; signatures?: boolean } = {},
): Promise<ArrayRecord | null> {
  if (ctx.store === null) return null;
  const { name } = descriptor.bdev;
  let found;
  let signature = null;
  try {
    found = await ctx.store.read(descriptor);
    const mustLook = found.kind !== 'found' && ignore.all !== true && ignore.signatures !== true;
    if (mustLook) signature = (await ctx.findSignature?.(descriptor)) ?? null;
  } catch (error) {
    if (!BdevError.is(error)) throw error;
    throw new RaidError('ERR_RAID_MEMBER', error.errno, `${what}: ${name} cannot be read: ${error.message}`, { cause: error });
  }
  if (found.kind === 'found') {
    if (found.record.uuid === own) return found.record;
    if (ignore.all === true) return null;
    const message = `${what}: ${name} has the superblock of array ${found.record.name} (${found.record.uuid}); delete that array with clear_sb, wipe the device, or use force`;
    throw new RaidError('ERR_RAID_SUPERBLOCK_FOUND', Status.Exists, message);
  }
  if (signature === null) return null;
  const message = `${what}: ${name} has ${signature}, which would be overwritten; wipe it first, or use force`;
  throw new RaidError('ERR_RAID_SUPERBLOCK_FOUND', Status.Exists, message);
}

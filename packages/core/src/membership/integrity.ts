import type { RaidArray } from '../array/array.js';
import { ArraySums } from '../array/array-sums.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { startSumIfDue } from '../sync/start-process.js';
import { whenStill } from './slots.js';

/**
 * Checksums of an array that is there already are turned on and off, while it is up (docs/decisions/checksums.md, Conversion).
 */

/** How often it is looked whether what gives blocks checksums has ended, in milliseconds. */
const lookAgainMs = 10;
/** How often damage that is found meanwhile is listed before checksums are given up. */
const mostRounds = 5;

/** How an array gets checksums. */
export interface IntegrityOptions {
  /** If its members lack room for them, it waits for larger ones: until then growth leaves it. Default: that is refused. */
  readonly whenRoom?: boolean;
}

function refuse(array: RaidArray, message: string, errno = 22): never {
  throw new RaidError(errno === 16 ? 'ERR_RAID_BUSY' : 'ERR_RAID_INVALID', errno, `array ${array.name}: ${message}`);
}

function checkIsUp(array: RaidArray): void {
  const { isDeleting, isReadOnly, state } = array;
  if (state === 'online' && !isDeleting && !isReadOnly) return;
  const what = isDeleting ? 'being stopped or deleted' : isReadOnly ? 'read-only' : state;
  refuse(array, `it is ${what}: checksums are turned on and off while it is online`);
}

/** Refuses what will not pass by waiting for members, or for room. */
function checkCanHave(array: RaidArray): void {
  const { blockSize, bitmap, extension, module, name } = array;
  checkIsUp(array);
  if (array.hasIntegrity) throw new RaidError('ERR_RAID_EXISTS', 17, `array ${name} has checksums already`);
  if (module.redundancy === 'none')
    refuse(
      array,
      `level ${module.level} has no redundancy, and gets checksums when it is created: create another one, and copy`,
    );
  if (!array.hasSuperblock) refuse(array, 'it has no superblock, and checksums are kept beside one');
  if (extension === undefined || bitmap === null)
    refuse(array, `its members have blocks of ${blockSize} bytes, beside which there is no place for checksums`);
}

/** Refuses what may pass. All members are there, and hold everything: what one of them lacks, it would be said to have. */
function checkMembers(array: RaidArray): void {
  const { process, slots } = array;
  const away = slots.find((slot) => !slot.isInSync);
  if (away !== undefined)
    refuse(array, `slot ${away.index} has no member that holds everything: checksums are turned on when all are there`);
  if (slots.some(({ replacement }) => replacement !== null))
    refuse(array, 'a member is being replaced: turn checksums on when that has ended', 16);
  if (process !== null) refuse(array, `a ${process.type} is running: turn checksums on when it has ended, or cancel it`, 16);
}

function checkPlaces(array: RaidArray): void {
  const { bitmap, blockSize, slots } = array;
  const together = 4096 / blockSize;
  const odd = slots.find(({ dataOffset, dataSize }) => dataOffset % together !== 0 || dataSize % together !== 0);
  if ((bitmap?.regionBlocks ?? 0) % together !== 0)
    refuse(array, 'its region map goes by less than 4096 bytes of members, of which there is one checksum');
  if (odd !== undefined)
    refuse(
      array,
      `it uses ${odd.dataSize} blocks of slot ${odd.index} from block ${odd.dataOffset} on, and checksums are of whole 4096 bytes`,
    );
}

/** What members lack, for people; null if there is room. */
function describeMissing(array: RaidArray): string | null {
  const { blockSize, slots } = array;
  const missing = array.roomMissingForSums();
  const short = slots.filter(({ index }) => (missing[index] ?? 0) > 0);
  if (short.length === 0) return null;
  const each = short.map(
    ({ index, name }) => `${name ?? 'the absent one'} (slot ${index}) lacks ${missing[index] ?? 0} blocks`,
  );
  return `its members have no room for checksums behind their data: ${each.join(', ')} of ${blockSize} bytes. Larger members have, if the array does not grow into it`;
}

/**
 * Turns checksums on. Resolves with true when that is on record on all members: from then on what is written gets them, and a
 * process gives them to what is there. With false if it waits for room. Rejects, with nothing changed, if it cannot be done.
 */
export async function enableIntegrity(ctx: RaidContext, array: RaidArray, options: IntegrityOptions = {}): Promise<boolean> {
  for (;;) {
    // Growth that is under way may take the room.
    await array.resizing;
    checkCanHave(array);
    const missing = describeMissing(array);
    if (missing === null) {
      if (await begin(ctx, array, () => undefined)) return true;
      continue;
    }
    if (options.whenRoom !== true)
      refuse(array, `${missing}: ask for them when there is room (when_room), then replace its members, or enlarge them`);
    if (!array.wantsIntegrity) await want(array, true);
    array.log.warn(array.logFields(), missing);
    return false;
  }
}

/** `mustBeWanted` throws if they are not wanted any more; it is asked anew after each wait. False: growth has taken the room. */
async function begin(ctx: RaidContext, array: RaidArray, mustBeWanted: () => void): Promise<boolean> {
  checkPlaces(array);
  checkMembers(array);
  const work = async (): Promise<boolean> => {
    if (describeMissing(array) !== null) return false;
    await turnOn(ctx, array, mustBeWanted);
    return true;
  };
  if (!(await array.lifecycle.whileBusy(array.afterGrowth(work)))) return false;
  array.log.info(array.logFields(), 'the array has checksums from now on; what is there gets them by and by');
  startSumIfDue(ctx, array);
  array.growIfPossible();
  return true;
}

async function want(array: RaidArray, isWanted: boolean): Promise<void> {
  array.wantsIntegrity = isWanted;
  try {
    await array.lifecycle.whileBusy(array.metadata.update());
  } catch (error) {
    array.wantsIntegrity = !isWanted;
    throw error;
  }
}

/** What was asked for before there was room. */
export function enableIfRoom(ctx: RaidContext, array: RaidArray): void {
  const { state, wantsIntegrity } = array;
  if (!wantsIntegrity || array.hasIntegrity || state !== 'online' || describeMissing(array) !== null) return;
  const mustBeWanted = (): void => {
    if (!array.wantsIntegrity) refuse(array, 'checksums are not wanted any more');
  };
  fulfil(ctx, array, mustBeWanted).catch((error: unknown) => {
    // It was asked for several times, or is not wanted any more.
    if (!array.wantsIntegrity) return;
    array.log.warn({ ...array.logFields(), err: error }, 'the array cannot get its checksums now');
  });
}

async function fulfil(ctx: RaidContext, array: RaidArray, mustBeWanted: () => void): Promise<void> {
  // Growth that is under way may take the room.
  await array.resizing;
  mustBeWanted();
  checkCanHave(array);
  await begin(ctx, array, mustBeWanted);
}

async function turnOn(ctx: RaidContext, array: RaidArray, mustBeWanted: () => void): Promise<void> {
  const { wantsIntegrity } = array;
  const mayBegin = (): void => {
    mustBeWanted();
    checkCanHave(array);
    checkPlaces(array);
    checkMembers(array);
    const missing = describeMissing(array);
    if (missing !== null) refuse(array, missing);
  };
  mayBegin();
  await whenStill(array, () => {
    mayBegin();
    const { extension, registry } = array;
    if (extension === undefined) return true;
    // None of what members have there counts, whatever it is: headers say so before they say anything else.
    const salt = Buffer.from(registry.runtime.randomBytes(32)).toString('hex');
    const tags = array.slots.map(({ index }) => index);
    const none = { areaAt: 0, isForeign: false, salt, summedBlocks: 0, tags };
    array.attachSums(new ArraySums(array, extension.checksums, ctx.sumsMemory, none));
    array.wantsIntegrity = false;
    return true;
  });
  try {
    await array.metadata.update();
  } catch (error) {
    // Whichever headers say it: of none of them anything counts.
    const isGone = await giveUp(array).then(
      () => true,
      () => false,
    );
    if (isGone) {
      array.wantsIntegrity = wantsIntegrity;
      throw error;
    }
    // Background work has begun meanwhile: they stay, and may be recorded now.
    await keep(ctx, array);
  }
}

/** They are not given up, or could not be: headers say so as soon as they can be written, and what has none yet gets some. */
async function keep(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { sums } = array;
  if (sums === null) return;
  sums.isEnding = false;
  sums.isOffRecord = false;
  try {
    await array.metadata.update();
  } finally {
    startSumIfDue(ctx, array);
  }
}

/**
 * Turns checksums off, or what waits for room for them. Resolves when that is on record on all members that are there, and nothing
 * is verified any more: what is behind the data is room for growth. Rejects, with nothing changed, if it cannot be recorded.
 */
export async function disableIntegrity(ctx: RaidContext, array: RaidArray): Promise<void> {
  checkIsUp(array);
  // What is being turned on is there by then.
  const work = (): Promise<void> => (array.wantsIntegrity ? want(array, false) : turnOff(ctx, array));
  await array.lifecycle.whileBusy(array.afterGrowth(work));
  array.growIfPossible();
}

function checkCanTurnOff(array: RaidArray): void {
  const { module, process, slots } = array;
  if (!array.hasIntegrity) refuse(array, 'it has no checksums');
  if (module.redundancy === 'none')
    refuse(array, `level ${module.level} has no redundancy, and keeps the checksums that it was created with`);
  if (slots.some(({ replacement, role }) => replacement !== null || role === 'rebuilding' || role === 'opening'))
    refuse(array, 'a member is being filled or replaced: turn checksums off when that has ended', 16);
  if (process !== null && process.type !== 'sum')
    refuse(array, `a ${process.type} is running: turn checksums off when it has ended, or cancel it`, 16);
}

async function turnOff(ctx: RaidContext, array: RaidArray): Promise<void> {
  checkCanTurnOff(array);
  const { sums } = array;
  if (sums === null) return;
  try {
    sums.isEnding = true;
    array.process?.stop(new Error('checksums are turned off'));
    ctx.resyncExclusion.wake();
    const { runtime } = array.registry;
    while (array.process?.type === 'sum') await new Promise<void>((resolve) => void runtime.setTimer(resolve, lookAgainMs));
    // As long as headers say that sums count they do: all members that are there say otherwise before one is left behind. And no
    // header, whoever has it written, says so before what they alone know is on the list.
    for (let rounds = 0; !array.badBlocks.isSettled; rounds++) {
      if (rounds === mostRounds) refuseUnlisted(array);
      await recordAllDamage(array);
    }
    sums.isOffRecord = true;
    await array.metadata.update();
    await giveUp(array);
  } catch (error) {
    if (array.sums === sums) await keep(ctx, array).catch(() => undefined);
    throw error;
  }
  array.log.info(array.logFields(), 'the array has no checksums any more');
}

/** What sums alone say is on the list of bad blocks before they are gone. */
function recordAllDamage(array: RaidArray): Promise<void> {
  return array.recordDamage(0, Math.max(...array.slots.map(({ dataSize }) => dataSize)));
}

function refuseUnlisted(array: RaidArray): never {
  refuse(array, 'blocks are damaged, and nothing but their checksums says so: the list of bad blocks has no room for them');
}

/** Headers have none of them: nobody goes by them from now on. */
async function giveUp(array: RaidArray): Promise<void> {
  const { sums } = array;
  if (sums === null) return;
  sums.isEnding = true;
  sums.isOffRecord = true;
  for (let isDone = false, rounds = 0; !isDone; rounds++) {
    await recordAllDamage(array);
    if (rounds === mostRounds) refuseUnlisted(array);
    await whenStill(array, () => {
      // Found meanwhile: once more. A page may still be on its way, too.
      const isStill = array.slots.every((slot) => slot.sums === null || slot.sums.isIdle);
      if (!isStill) return false;
      isDone = array.badBlocks.isSettled;
      if (isDone) array.detachSums();
      return true;
    });
  }
}

import type { RaidArray } from '../array/array.js';
import { ArraySums } from '../array/array-sums.js';
import type { RaidContext } from '../array/context.js';
import { layMap } from '../bitmap/lay-map.js';
import type { WriteIntentBitmap } from '../bitmap/write-intent-bitmap.js';
import { summedBytes } from '../checksums/area.js';
import { RaidError } from '../errors.js';
import type { RaidProcess } from '../sync/process.js';
import { startResyncIfDue, startSumIfDue } from '../sync/start-process.js';
import { whenStill } from './slots.js';

/**
 * Checksums of an array that is there already are turned on and off, while it is up (docs/decisions/checksums.md, Conversion).
 */

/** How often it is looked whether what gives blocks checksums has ended, in milliseconds. */
const lookAgainMs = 10;
/** How often damage that is found meanwhile is listed before checksums are given up, and a map made that is overtaken by what happens. */
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
  const isPlain = module.redundancy === 'none';
  checkIsUp(array);
  if (array.hasIntegrity) throw new RaidError('ERR_RAID_EXISTS', 17, `array ${name} has checksums already`);
  if (!array.hasSuperblock) refuse(array, 'it has no superblock, and checksums are kept beside one');
  // Without redundancy it gets its map with them.
  if (extension === undefined || (bitmap === null && !isPlain))
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
  const together = summedBytes / blockSize;
  const odd = slots.find(({ dataOffset, dataSize }) => dataOffset % together !== 0 || dataSize % together !== 0);
  if ((bitmap?.regionBlocks ?? 0) % together !== 0)
    refuse(array, 'its write-intent bitmap goes by less than 4096 bytes of members, of which there is one checksum');
  if (odd !== undefined)
    refuse(
      array,
      `it uses ${odd.dataSize} blocks of slot ${odd.index} from block ${odd.dataOffset} on, and checksums are of whole 4096 bytes`,
    );
}

/** What members lack, for people; null if there is room. */
function describeMissing(array: RaidArray): string | null {
  const { blockSize, slots } = array;
  const missing = array.integrity.roomMissing();
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
  startProcesses(ctx, array);
  array.growIfPossible();
  return true;
}

/** What is there gets checksums: with redundancy it is compared, and without it is taken for right. */
function startProcesses(ctx: RaidContext, array: RaidArray): void {
  startSumIfDue(ctx, array);
  if (array.module.redundancy === 'none') startResyncIfDue(ctx, array);
}

async function want(array: RaidArray, isWanted: boolean): Promise<void> {
  array.integrity.setWanted(isWanted);
  try {
    await array.lifecycle.whileBusy(array.metadata.update());
  } catch (error) {
    array.integrity.setWanted(!isWanted);
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
  await withMap(array, (bitmap) => {
    mayBegin();
    const { extension, registry } = array;
    if (extension === undefined) return;
    // None of what members have there counts, whatever it is: headers say so before they say anything else.
    const salt = Buffer.from(registry.runtime.randomBytes(32)).toString('hex');
    const tags = array.slots.map(({ index }) => index);
    const none = { areaAt: 0, isForeign: false, salt, summedBlocks: 0, tags };
    // Without redundancy the map alone says what has some, and it says of nothing that it has: as if another program had run
    // the array.
    const asForeign = { ...none, isForeign: true, summedBlocks: sumsOf(array) };
    const sums = new ArraySums(array, extension.checksums, ctx.sumsMemory, bitmap === null ? none : asForeign);
    if (bitmap !== null) array.attachMap(bitmap);
    array.integrity.attach(sums);
    array.integrity.setWanted(false);
  });
  try {
    await array.metadata.update();
  } catch (error) {
    // Whichever headers say it: of none of them anything counts.
    const isGone = await giveUp(ctx, array).then(
      () => true,
      () => false,
    );
    if (isGone) {
      array.integrity.setWanted(wantsIntegrity);
      // What some members may have on record by now is put right, if it can be.
      await array.metadata.update().catch(() => undefined);
      throw error;
    }
    // Background work has begun meanwhile: they stay, and may be recorded now.
    await keep(ctx, array);
  }
  // If a member was lost that the array cannot do without, not all members have it on record.
  checkIsUp(array);
}

/** Blocks of checksums in the largest data area. */
function sumsOf({ blockSize, slots }: RaidArray): number {
  return Math.max(...slots.map(({ dataSize }) => dataSize)) / (summedBytes / blockSize);
}

/**
 * Does something in a turn in which nothing of the array's is in flight; without redundancy with the map that it needs, which all
 * members have by then as the array is in that turn: so that a header may say that there are checksums.
 */
async function withMap(array: RaidArray, then: (bitmap: WriteIntentBitmap | null) => void): Promise<void> {
  if (array.module.redundancy !== 'none') {
    await whenStill(array, () => {
      then(null);
    });
    return;
  }
  for (let rounds = 0, isDone = false; !isDone; rounds++) {
    if (rounds === mostRounds)
      refuse(array, 'its members change, or lose flushes, while they are given a map of their checksums', 16);
    const { incarnation, lostFlushes, membership } = array;
    const bitmap = await layMap(array);
    await whenStill(array, () => {
      // What a flush has lost meanwhile, that of the map has not kept.
      isDone = array.lostFlushes === lostFlushes && array.membership === membership && array.incarnation === incarnation;
      if (isDone) then(bitmap);
    });
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
    startProcesses(ctx, array);
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
  const { process, slots } = array;
  if (!array.hasIntegrity) refuse(array, 'it has no checksums');
  if (slots.some(({ replacement, role }) => replacement !== null || role === 'rebuilding' || role === 'opening'))
    refuse(array, 'a member is being filled or replaced: turn checksums off when that has ended', 16);
  if (process !== null && !isOfSums(process))
    refuse(array, `a ${process.type} is running: turn checksums off when it has ended, or cancel it`, 16);
}

/** It is there for checksums alone, and ends with them. */
function isOfSums(process: RaidProcess | null): boolean {
  return process?.type === 'sum' || process?.type === 'resum';
}

async function turnOff(ctx: RaidContext, array: RaidArray): Promise<void> {
  checkCanTurnOff(array);
  const { sums } = array;
  if (sums === null) return;
  try {
    sums.isEnding = true;
    await stopSumming(ctx, array);
    // As long as headers say that sums count they do: all members that are there say otherwise before one is left behind. And
    // no header, whatever caused it to be written, says so before what they alone know is on the list.
    for (let rounds = 0; !array.badBlocks.isSettled; rounds++) {
      if (rounds === mostRounds) refuseUnlisted(array);
      await recordAllDamage(array);
    }
    sums.isOffRecord = true;
    await array.metadata.update();
    await giveUp(ctx, array);
  } catch (error) {
    if (array.sums === sums) await keep(ctx, array).catch(() => undefined);
    throw error;
  }
  array.log.info(array.logFields(), 'the array has no checksums any more');
}

/** Stops the process that gives blocks without a checksum one: none begins after that, as the checksums are ending. */
async function stopSumming(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { runtime } = array.registry;
  if (isOfSums(array.process)) array.process?.stop(new Error('checksums are turned off'));
  ctx.resyncExclusion.wake();
  while (isOfSums(array.process)) await new Promise<void>((resolve) => void runtime.setTimer(resolve, lookAgainMs));
}

/** What sums alone say is on the list of bad blocks before they are gone. If there is no room they stay: nothing else is bad for it. */
function recordAllDamage(array: RaidArray): Promise<void> {
  return array.recordDamage(0, Math.max(...array.slots.map(({ dataSize }) => dataSize)), false);
}

function refuseUnlisted(array: RaidArray): never {
  refuse(array, 'blocks are damaged, and nothing but their checksums says so: the list of bad blocks has no room for them');
}

/** Headers have none of them: nothing relies on them from now on. */
async function giveUp(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { sums } = array;
  if (sums === null) return;
  sums.isEnding = true;
  sums.isOffRecord = true;
  await stopSumming(ctx, array);
  for (let isDone = false, rounds = 0; !isDone; rounds++) {
    await recordAllDamage(array);
    if (rounds === mostRounds) refuseUnlisted(array);
    await whenStill(array, () => {
      // Found meanwhile: once more. A page may still be on its way, too.
      const isStill = array.slots.every((slot) => slot.sums === null || slot.sums.isIdle);
      if (!isStill || array.bitmap?.isIdle === false) return false;
      isDone = array.badBlocks.isSettled;
      if (!isDone) return true;
      array.integrity.detach();
      // Without redundancy the map is there for checksums alone.
      if (array.module.redundancy === 'none') array.forgetMap();
      return true;
    });
  }
}

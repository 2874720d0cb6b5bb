import { Status } from '@raidkit/bdev';
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

/** Turns checksums of an existing array on and off while it is online (docs/decisions/checksums.md, Conversion). */

/** Milliseconds between checks whether a process for checksums has ended. */
const lookAgainMs = 10;
/** Most attempts to list new damage before checksums are removed, and to make a map before the array changes. */
const mostRounds = 5;

/** Options for turning checksums on. */
export interface IntegrityOptions {
  /** If members lack space, wait for larger ones, and keep growth from using that space. Default: refuse. */
  readonly whenRoom?: boolean;
}

function refuse(array: RaidArray, message: string, errno: Status = Status.Invalid): never {
  throw new RaidError(errno === Status.Busy ? 'ERR_RAID_BUSY' : 'ERR_RAID_INVALID', errno, `array ${array.name}: ${message}`);
}

function checkIsUp(array: RaidArray): void {
  const { isDeleting, isReadOnly, state } = array;
  if (state === 'online' && !isDeleting && !isReadOnly) return;
  const what = isDeleting ? 'being stopped or deleted' : isReadOnly ? 'read-only' : state;
  refuse(array, `it is ${what}: checksums can be turned on and off only while it is online`);
}

/** Throws for obstacles that do not pass by waiting for members or space. */
function checkCanHave(array: RaidArray): void {
  const { blockSize, bitmap, extension, module, name } = array;
  const isPlain = module.redundancy === 'none';
  checkIsUp(array);
  if (array.hasIntegrity) throw new RaidError('ERR_RAID_EXISTS', Status.Exists, `array ${name} has checksums already`);
  if (!array.hasSuperblock) refuse(array, 'it has no superblock, which checksums need');
  // An array without redundancy gets its map together with the checksums.
  if (extension === undefined || (bitmap === null && !isPlain))
    refuse(array, `its members have blocks of ${blockSize} bytes, for which there is no room for checksums`);
}

/**
 * Throws for obstacles that may pass. All members must be present and in sync, or headers would claim checksums that one lacks.
 */
function checkMembers(array: RaidArray): void {
  const { process, slots } = array;
  const away = slots.find((slot) => !slot.isInSync);
  if (away !== undefined)
    refuse(array, `slot ${away.index} has no member in sync: checksums can be turned on when all members are in sync`);
  if (slots.some(({ replacement }) => replacement !== null))
    refuse(array, 'a member is being replaced: turn checksums on when that has ended', Status.Busy);
  if (process !== null)
    refuse(array, `a ${process.type} is running: turn checksums on when it has ended, or cancel it`, Status.Busy);
}

function checkPlaces(array: RaidArray): void {
  const { bitmap, blockSize, slots } = array;
  const together = summedBytes / blockSize;
  const odd = slots.find(({ dataOffset, dataSize }) => dataOffset % together !== 0 || dataSize % together !== 0);
  if ((bitmap?.regionBlocks ?? 0) % together !== 0)
    refuse(array, 'the regions of its write-intent bitmap are smaller than the 4096 bytes that a checksum covers');
  if (odd !== undefined)
    refuse(
      array,
      `it uses ${odd.dataSize} blocks of slot ${odd.index} from block ${odd.dataOffset} on, and checksums need multiples of 4096 bytes`,
    );
}

/** Returns a message about the space that members lack; null if there is enough. */
function describeMissing(array: RaidArray): string | null {
  const { blockSize, slots } = array;
  const missing = array.integrity.roomMissing();
  const short = slots.filter(({ index }) => (missing[index] ?? 0) > 0);
  if (short.length === 0) return null;
  const each = short.map(
    ({ index, name }) => `${name ?? 'the absent one'} (slot ${index}) lacks ${missing[index] ?? 0} blocks`,
  );
  return `its members have no room for checksums behind their data: ${each.join(', ')} of ${blockSize} bytes. Larger members have it, if the array does not grow into it`;
}

/**
 * Turns checksums on. Resolves to true when all members have recorded that: writes get checksums from then on, and a process
 * sums the existing data. Resolves to false if the array waits for space. Rejects, without changing anything, if it cannot be
 * done.
 */
export async function enableIntegrity(ctx: RaidContext, array: RaidArray, options: IntegrityOptions = {}): Promise<boolean> {
  for (;;) {
    // Growth in progress may use the space.
    await array.resizing;
    checkCanHave(array);
    const missing = describeMissing(array);
    if (missing === null) {
      if (await begin(ctx, array, () => undefined)) return true;
      continue;
    }
    if (options.whenRoom !== true)
      refuse(array, `${missing}: enable them with when_room, then replace the members by larger ones, or enlarge them`);
    if (!array.wantsIntegrity) await want(array, true);
    array.log.warn(array.logFields(), missing);
    return false;
  }
}

/**
 * `mustBeWanted` throws if checksums are not wanted any more; it is called after each await. Resolves to false if growth has
 * used the space.
 */
async function begin(ctx: RaidContext, array: RaidArray, mustBeWanted: () => void): Promise<boolean> {
  checkPlaces(array);
  checkMembers(array);
  const work = async (): Promise<boolean> => {
    if (describeMissing(array) !== null) return false;
    await turnOn(ctx, array, mustBeWanted);
    return true;
  };
  if (!(await array.lifecycle.whileBusy(array.afterGrowth(work)))) return false;
  array.log.info(array.logFields(), 'checksums are on; existing data gets them in the background');
  startProcesses(ctx, array);
  array.growIfPossible();
  return true;
}

/**
 * Starts the process that gives existing data checksums. With redundancy the data is compared; without, it is taken to be
 * right.
 */
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

/** Turns checksums on if they were requested earlier and there is enough space now. */
export function enableIfRoom(ctx: RaidContext, array: RaidArray): void {
  const { state, wantsIntegrity } = array;
  if (!wantsIntegrity || array.hasIntegrity || state !== 'online' || describeMissing(array) !== null) return;
  const mustBeWanted = (): void => {
    if (!array.wantsIntegrity) refuse(array, 'the request for checksums is cancelled');
  };
  fulfil(ctx, array, mustBeWanted).catch((error: unknown) => {
    // There was another request, or checksums are not wanted any more.
    if (!array.wantsIntegrity) return;
    array.log.warn({ ...array.logFields(), err: error }, 'checksums cannot be turned on now');
  });
}

async function fulfil(ctx: RaidContext, array: RaidArray, mustBeWanted: () => void): Promise<void> {
  // Growth in progress may use the space.
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
    // No checksum that members have in that space is valid; headers record that first.
    const salt = Buffer.from(registry.runtime.randomBytes(32)).toString('hex');
    const tags = array.slots.map(({ index }) => index);
    const none = { areaAt: 0, isForeign: false, salt, summedBlocks: 0, tags };
    // Without redundancy only the map tells which blocks have checksums, and a new map says that none has, as after a run by
    // another program.
    const asForeign = { ...none, isForeign: true, summedBlocks: sumsOf(array) };
    const sums = new ArraySums(array, extension.checksums, ctx.sumsMemory, bitmap === null ? none : asForeign);
    if (bitmap !== null) array.attachMap(bitmap);
    array.integrity.attach(sums);
    array.integrity.setWanted(false);
  });
  try {
    await array.metadata.update();
  } catch (error) {
    // Headers of either kind may exist, but no checksum is valid by any of them.
    const isGone = await giveUp(ctx, array).then(
      () => true,
      () => false,
    );
    if (isGone) {
      array.integrity.setWanted(wantsIntegrity);
      // Some members may have recorded the checksums. Restore the record if possible.
      await array.metadata.update().catch(() => undefined);
      throw error;
    }
    // A background process has begun meanwhile, so the checksums stay and may yet be recorded.
    await keep(ctx, array);
  }
  // If a member was lost that the array cannot do without, not all members have it on record.
  checkIsUp(array);
}

/** Returns the number of checksummed blocks in the largest data area. */
function sumsOf({ blockSize, slots }: RaidArray): number {
  return Math.max(...slots.map(({ dataSize }) => dataSize)) / (summedBytes / blockSize);
}

/**
 * Calls `then` in a turn in which no I/O of the array is in flight. Without redundancy it gets a new map, which all members
 * have by then and which matches the array in that turn, so that headers may record checksums.
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
      refuse(array, 'members change, or their flushes fail, while the bitmap of checksums is written', Status.Busy);
    const { incarnation, lostFlushes, membership } = array;
    const bitmap = await layMap(array);
    await whenStill(array, () => {
      // If a flush was lost meanwhile, the map may be lost too.
      isDone = array.lostFlushes === lostFlushes && array.membership === membership && array.incarnation === incarnation;
      if (isDone) then(bitmap);
    });
  }
}

/** Keeps checksums that were not removed. Headers record them as soon as possible, and processes for them start again. */
async function keep(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { sums } = array;
  if (sums === null) return;
  sums.keep();
  try {
    await array.metadata.update();
  } finally {
    startProcesses(ctx, array);
  }
}

/**
 * Turns checksums off, or cancels waiting for space. Resolves when all present members have recorded that and nothing is
 * verified any more; the space is then available for growth. Rejects, without changing anything, if it cannot be recorded.
 */
export async function disableIntegrity(ctx: RaidContext, array: RaidArray): Promise<void> {
  checkIsUp(array);
  // Checksums that are being turned on are there by the time that `work` runs.
  const work = (): Promise<void> => (array.wantsIntegrity ? want(array, false) : turnOff(ctx, array));
  await array.lifecycle.whileBusy(array.afterGrowth(work));
  array.growIfPossible();
}

function checkCanTurnOff(array: RaidArray): void {
  const { process, slots } = array;
  if (!array.hasIntegrity) refuse(array, 'it has no checksums');
  if (slots.some(({ replacement, role }) => replacement !== null || role === 'rebuilding' || role === 'opening'))
    refuse(array, 'a member is being rebuilt or replaced: turn checksums off when that has ended', Status.Busy);
  if (process !== null && !isOfSums(process))
    refuse(array, `a ${process.type} is running: turn checksums off when it has ended, or cancel it`, Status.Busy);
}

/** Whether the process exists only for checksums, so that it ends with them. */
function isOfSums(process: RaidProcess | null): boolean {
  return process?.type === 'sum' || process?.type === 'resum';
}

async function turnOff(ctx: RaidContext, array: RaidArray): Promise<void> {
  checkCanTurnOff(array);
  const { sums } = array;
  if (sums === null) return;
  try {
    sums.end();
    await stopSumming(ctx, array);
    // Checksums are valid as long as headers record them, so headers of all present members must change before one is left
    // behind. Damage that only checksums show must be on the list before any header is written without them.
    for (let rounds = 0; !array.badBlocks.isSettled; rounds++) {
      if (rounds === mostRounds) refuseUnlisted(array);
      await recordAllDamage(array);
    }
    sums.leaveRecord();
    await array.metadata.update();
    await giveUp(ctx, array);
  } catch (error) {
    if (array.sums === sums) await keep(ctx, array).catch(() => undefined);
    throw error;
  }
  array.log.info(array.logFields(), 'checksums are off');
}

/** Stops a process for checksums. No other one begins, because the checksums are ending. */
async function stopSumming(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { runtime } = array.registry;
  if (isOfSums(array.process)) array.process?.stop(new Error('checksums are turned off'));
  ctx.resyncExclusion.wake();
  while (isOfSums(array.process)) await new Promise<void>((resolve) => void runtime.setTimer(resolve, lookAgainMs));
}

/**
 * Adds damage that only checksums show to the list of bad blocks. If it has no room, checksums stay, and no other blocks are
 * marked bad.
 */
function recordAllDamage(array: RaidArray): Promise<void> {
  return array.recordDamage(0, Math.max(...array.slots.map(({ dataSize }) => dataSize)), false);
}

function refuseUnlisted(array: RaidArray): never {
  refuse(array, 'damaged blocks are detected by their checksums alone, and the list of bad blocks has no room for them');
}

/** Removes the checksums from memory, after headers have ceased to record them. */
async function giveUp(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { sums } = array;
  if (sums === null) return;
  sums.end();
  sums.leaveRecord();
  await stopSumming(ctx, array);
  for (let isDone = false, rounds = 0; !isDone; rounds++) {
    await recordAllDamage(array);
    if (rounds === mostRounds) refuseUnlisted(array);
    await whenStill(array, () => {
      // If more damage was found, try again. A page of checksums may also be in flight.
      const isStill = array.slots.every((slot) => slot.sums === null || slot.sums.isIdle);
      if (!isStill || array.bitmap?.isIdle === false) return false;
      isDone = array.badBlocks.isSettled;
      if (!isDone) return true;
      array.integrity.detach();
      // Without redundancy the map exists for checksums only.
      if (array.module.redundancy === 'none') array.forgetMap();
      return true;
    });
  }
}

import { Bdev, BlockClient, newUuid, Status } from '@raidkit/bdev';
import type { BdevOptions } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { isOnlyRead } from '../array/context.js';
import { ArraySums } from '../array/array-sums.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { judgeForeignRun } from '../journal/foreign-run.js';
import { startResyncIfDue, startSumIfDue } from '../sync/start-process.js';
import { replayJournal } from '../journal/journal-replay.js';
import { Journal } from '../journal/journal.js';
import { flushMember, onEveryMember, writeSums } from '../members/member-io.js';
import { rewriteInPlace } from '../members/rewrite.js';
import { checkGeometry, checkLevel, checkRedundancy } from '../level/geometry.js';
import { adoptRecord, loadBitmap } from '../bitmap/bitmap-load.js';
import type { RegionOrigin } from '../bitmap/bitmap-load.js';
import { describeStrangers, rivalsOf } from '../array/health.js';
import { kickStale } from './kick-stale.js';
import { isBorneOut } from './strangers.js';
import type { RaidLevel } from '../level/level.js';
import type { Slot } from '../members/slot.js';
import type { DoubtList, SumsHeader } from '../format/store.js';

/** Options for starting an array. */
export interface StartOptions {
  /** Start even if that may lose data; see `RaidArrays.startDegraded`. */
  force?: boolean;
  /** Start read-only: nothing is written to the members. */
  readOnly?: boolean;
}

/**
 * Starts the level, writes the superblocks, and registers the volume. The members to start with must have joined. On an error
 * the array is configuring again, as before. Does nothing in any other phase.
 */
export async function bringOnline(ctx: RaidContext, array: RaidArray, options: StartOptions = {}): Promise<void> {
  requireEnough(array);
  if (array.lifecycle.phase !== 'configuring') return;
  await array.lifecycle.start(() => start(ctx, array, options));
}

async function start(ctx: RaidContext, array: RaidArray, options: StartOptions): Promise<void> {
  const { lifecycle, recordedBlocks } = array;
  array.isReadOnly = isOnlyRead(ctx, array) || (options.readOnly ?? false);
  let started: RaidLevel | null = null;
  try {
    const { recorded, wasRunBeside } = await kickStale(array, options.force ?? false);
    lifecycle.mustGoOn();
    requireEnough(array);
    requireMemory(array);
    const level: RaidLevel = array.module.start(array);
    started = level;
    checkLevel(array, level);
    const geometry = level.resize(
      array.slots.map(({ index }) => array.memberCapacity(index)),
      null,
    );
    checkGeometry(array, geometry);
    checkRedundancy(array, level, geometry);
    array.level = level;
    array.setGeometry(geometry);
    const { numBlocks, memberBlocks } = geometry;
    if (numBlocks < 1)
      throw new RaidError('ERR_RAID_MEMBER', Status.Invalid, `array ${array.name}: the members are too small for one stripe`);
    if (recordedBlocks !== null && recordedBlocks !== numBlocks) {
      const message = `array ${array.name}: the superblock records ${recordedBlocks} blocks, but its members make ${numBlocks}`;
      throw new RaidError('ERR_RAID_METADATA', Status.Invalid, message);
    }
    array.slots.forEach((slot, index) => slot.setDataArea(slot.dataOffset, memberBlocks[index] ?? slot.dataSize));
    if (!array.hasUuid) array.uuid = newUuid(ctx.registry.runtime);
    array.metadata.check();
    const loaded = await loadBitmap(array, { force: options.force ?? false, isOutdated: wasRunBeside });
    lifecycle.mustGoOn();
    const origin = loaded?.origin ?? null;
    array.bitmap = loaded?.bitmap ?? null;
    if (origin === null) {
      if (recorded === null) array.metadata.beginIncarnation();
      else adoptRecord(array, recorded);
    }
    openSums(ctx, array, loaded?.sums ?? null, origin?.is === 'unknown');
    // Without redundancy the map exists for checksums only.
    if (array.sums === null && array.module.redundancy === 'none') array.forgetMap();
    refuseHalves(array, options.force ?? false);
    refuseStrangers(array, options.force ?? false);
    if (
      array.extension !== undefined &&
      array.bitmap !== null &&
      array.module.redundancy === 'parity' &&
      array.module.journal
    ) {
      array.journal = new Journal(array, array.extension);
      array.journal.doubt.adopt(doubtOf(origin));
      if (!array.isReadOnly) array.journal.takeMemory();
    }
    array.mustKeepAll = options.force !== true && array.module.redundancy === 'parity' && !array.consistency.isAllInSync;
    // A superblock must not be written before the pages that belong to it: unwritten regions would become unknown, and not read
    // as zeros.
    array.isRecordable = origin?.is === 'recorded';
    await refuseUnsafeStart(array, origin, options.force ?? false);
    await makeGoodLostFlushes(array);
    lifecycle.mustGoOn();
    requireSoundLevel(array);
    if (!array.isReadOnly) {
      if (recordedBlocks === null) await clearExtension(array);
      else if (origin?.is === 'unknown') {
        await clearWhereNothingIs(array);
        // Records that could not be read now may be readable later. Pages beside that header would be a mix of old and new
        // ones.
        if (options.force === true && origin.earlier === null) await array.metadata.giveUpRecord();
      }
      await array.bitmap?.writeAll();
      lifecycle.mustGoOn();
      array.isRecordable = true;
      // Of two superblocks with one number either may be taken. A round that was cut short may have given the next number to a
      // device that is not there: one that was replacing a member, or a new copy. A start with all members that was cut short
      // has left that one out, and may have given the next one to members that are absent now.
      if (recordedBlocks !== null) array.metadata.skipNumbers(array.numInSync < array.numSlots ? 2 : 1);
      await recordMembers(array);
    }
    lifecycle.mustGoOn();
    requireEnough(array);
    requireSoundLevel(array);
    const bdev = new Bdev(volumeOptions(array));
    array.bdev = bdev;
    const examined = ctx.registry.register(bdev);
    array.mustKeepAll = false;
    lifecycle.isUp();
    for (const slot of array.slots) if (slot.descriptor === null) slot.noteEmpty(ctx.registry.runtime.now());
    array.noteStartError(null);
    // Makes regions clean that were found dirty but consistent.
    array.bitmap?.arm();
    ctx.emit({ type: 'arrayOnline', array: array.name, degraded: array.numInSync < array.numSlots });
    const fields = { ...array.logFields(), blocks: numBlocks, members: array.numInSync, slots: array.numSlots };
    array.log.info(fields, 'the array is online');
    examined.catch(() => undefined);
    startResyncIfDue(ctx, array);
    startSumIfDue(ctx, array);
    // Members may have grown while the array was not online.
    array.growIfPossible();
    array.failUnsteady();
  } catch (error) {
    const why = array.mustKeepAll ? whyNotWithout(array, error) : error;
    array.mustKeepAll = false;
    array.isRecordable = false;
    // The error to report is why the start failed. Everything that was allocated for it is freed.
    await stopLevel(array, started);
    await array.integrity.close();
    array.journal?.close();
    array.journal = null;
    array.level = null;
    array.setGeometry(null);
    array.bdev = null;
    array.bitmap = null;
    array.isReadOnly = false;
    awaitAgain(array);
    for (const slot of array.slots) slot.noteFailedStart();
    throw why;
  }
}

/** Throws if the level has thrown in this start: what it was asked for then was counted as failed, and is not to be recorded. */
function requireSoundLevel({ io, module, name }: RaidArray): void {
  if (io.hasLevelThrown)
    throw new RaidError(
      'ERR_RAID_MODULE',
      Status.Invalid,
      `array ${name}: level ${module.level} threw an exception while the array was being started`,
    );
}

/** Throws if there is less free memory than the level declares to need. */
function requireMemory(array: RaidArray): void {
  const { memory, module, name, numSlots } = array;
  const needed = module.memoryBytes?.(array) ?? 0;
  const { bytes, freeBytes } = memory;
  if (!Number.isSafeInteger(needed) || needed < 0)
    throw new RaidError(
      'ERR_RAID_MODULE',
      Status.Invalid,
      `array ${name}: memoryBytes of level ${module.level} returned ${needed}`,
    );
  if (needed <= freeBytes) return;
  const message = `array ${name}: with ${numSlots} slots level ${module.level} needs ${needed} bytes of buffer memory, but only ${freeBytes} of ${bytes} are free; stop another array, or start with more memory`;
  throw new RaidError('ERR_RAID_MEMORY', Status.NoMemory, message);
}

async function stopLevel(array: RaidArray, level: RaidLevel | null): Promise<void> {
  try {
    await level?.stop?.();
  } catch (error) {
    array.log.error({ ...array.logFields(), err: error }, 'the level threw an exception when it was stopped');
  }
}

/** Opens the checksums. `found` is their record in the headers; null if there is none. */
function openSums(ctx: RaidContext, array: RaidArray, found: SumsHeader | null, isForeign: boolean): void {
  const { blockSize, bitmap, extension, name, recordedBlocks, registry, slots } = array;
  if (recordedBlocks !== null) array.integrity.setOn(found !== null);
  const { blocksTogether } = array;
  if (!array.hasIntegrity || extension === undefined || bitmap === null) return;
  const isWhole = [bitmap.regionBlocks, ...slots.flatMap(({ dataOffset, dataSize }) => [dataOffset, dataSize])].every(
    (blocks) => blocks % blocksTogether === 0,
  );
  const cramped = slots.find(({ descriptor, dataOffset, dataSize }) => {
    if (descriptor === null) return false;
    // Their first block is recorded only if they have been moved.
    const areaAt = (found?.areaAt ?? 0) * blocksTogether || dataSize;
    return areaAt < dataSize || descriptor.bdev.numBlocks < dataOffset + areaAt + array.integrity.blocksForPages(dataSize);
  });
  if (!isWhole && recordedBlocks === null) {
    const message = `array ${name}: with integrity level ${array.module.level} must use a multiple of ${blocksTogether * blockSize} bytes of each member; omit integrity`;
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
  }
  if (!isWhole || cramped !== undefined) {
    array.integrity.setOn(false);
    array.log.error(array.logFields(cramped), 'another program grew the array over its checksums: it continues without them');
    return;
  }
  const summedBlocks = Math.max(...slots.map(({ dataSize }) => dataSize)) / blocksTogether;
  const salt = (): string => Buffer.from(registry.runtime.randomBytes(32)).toString('hex');
  const made = found ?? { salt: salt(), summedBlocks, areaAt: 0, tags: slots.map(({ index }) => index) };
  const sums = new ArraySums(array, extension.checksums, ctx.sumsMemory, { ...made, isForeign });
  // Without redundancy only the map tells which blocks have checksums, even after another program has grown the array.
  if (array.module.redundancy === 'none') sums.countTo(summedBlocks * blocksTogether);
  array.integrity.attach(sums);
}

const isInSync = (slot: Slot): boolean => slot.isInSync;

/** Returns the newest doubt list on the members, of this incarnation or the earlier one. */
function doubtOf(origin: RegionOrigin | null): DoubtList | null {
  if (origin?.is === 'recorded') return origin.doubt;
  return origin?.is === 'unknown' ? (origin.earlier?.doubt ?? null) : null;
}

function requireEnough(array: RaidArray): void {
  if (array.canRunWith(isInSync)) return;
  throw new RaidError('ERR_RAID_TOO_FEW_MEMBERS', Status.NoDevice, `array ${array.name}: ${array.whyNotWith(isInSync)}`);
}

/** Throws for a split brain: each half of the array has data that the other lacks, so an operator must choose. */
function refuseHalves(array: RaidArray, force: boolean): void {
  const other = array.assembly.splitBrain.find(({ slot, seqNumber }) => seqNumber > array.slotAt(slot).newestKnown);
  if (other === undefined) return;
  const message = `array ${array.name}: slot ${other.slot} and the members to start were used without each other (split brain), and each has writes that the other lacks. Start with force to discard the writes that only slot ${other.slot} has, or close the others to start from it`;
  if (!force) throw new RaidError('ERR_RAID_METADATA', Status.Busy, message);
  array.log.warn(array.logFields(), `started by force: ${message}`);
}

/**
 * Throws if a device that claims a slot of the array has a newer superblock or other headers, and the members do not know it.
 * An operator must choose, unless the device was merely left behind.
 */
function refuseStrangers(array: RaidArray, force: boolean): void {
  const records = rivalsOf(array).map(({ record }) => record);
  const described = array.assembly.isVouchedFor || isBorneOut(array, records) ? null : describeStrangers(array);
  if (described === null) return;
  const refusal = `array ${array.name}: ${described}; or start with force, without it`;
  if (!force) throw new RaidError('ERR_RAID_METADATA', Status.Busy, refusal);
  array.log.warn(array.logFields(), `started by force: ${refusal}`);
}

/**
 * Throws if parity may be inconsistent and a member is missing whose data would be reconstructed from it: the result might
 * never have been written.
 */
async function refuseUnsafeStart(array: RaidArray, origin: RegionOrigin | null, force: boolean): Promise<void> {
  if (array.module.redundancy !== 'parity' || array.numInSync === array.numSlots) return;
  if (array.consistency.isAllInSync) return;
  if (origin?.is === 'unknown' && (await judgeForeignRun(array, origin.earlier))) return;
  if (origin === null && array.recordedBlocks !== null && (await judgeForeignRun(array, null))) return;
  if (array.isReadOnly) {
    array.log.warn(
      array.logFields(),
      'started read-only after an unclean stop: blocks of an absent member return EIO where writes were in flight',
    );
    return;
  }
  if (origin?.is === 'recorded' && (await replayOrRefuse(array, origin.doubt, force))) return;
  const missing = array.slots.filter((slot) => !slot.isInSync).map((slot) => slot.index);
  const message = `array ${array.name} ${whyUnsafe(array, `slot ${missing.join(', ')}`)}. Bring the member back, or start with force: its blocks there then return EIO until they are written or parity is trusted manually`;
  if (!force) {
    // The refusal must not be reported as that of a member that cannot be taken out.
    array.mustKeepAll = false;
    throw new RaidError('ERR_RAID_METADATA', Status.IoError, message);
  }
  array.log.warn(array.logFields(), `started by force: ${message}`);
  await rewriteUnstable(array);
}

/** As {@link replayJournal}. Its error says what an operator can do, which is not to close a member more. */
async function replayOrRefuse(array: RaidArray, doubt: DoubtList | null, force: boolean): Promise<boolean> {
  try {
    return await replayJournal(array, doubt, force);
  } catch (error) {
    array.mustKeepAll = false;
    throw error;
  }
}

/**
 * Handles a flush that failed in an earlier start. Users' flushes fail until the array is stopped, but a journal can begin once
 * the unstable data has been rewritten. Without a journal, a crash would lose data of absent members.
 */
async function makeGoodLostFlushes(array: RaidArray): Promise<void> {
  const { isReadOnly, journal, lostFlushes, numInSync, numSlots, slots } = array;
  if (journal === null || isReadOnly || numInSync === numSlots) return;
  if (!slots.some(({ hasLostFlush, isInSync }) => hasLostFlush && isInSync)) return;
  if (await rewriteUnstable(array)) journal.onMadeGood(lostFlushes);
}

function whyUnsafe({ bitmap, blockSize }: RaidArray, missing: string): string {
  if (bitmap === null)
    return `has blocks of ${blockSize} bytes, for which there is no write-intent bitmap, and ${missing} is missing: the missing member's data cannot be reconstructed from parity that may be inconsistent`;
  const numRegions = bitmap.regionsToResync;
  const bytes = numRegions * bitmap.regionBlocks * blockSize;
  return `was not stopped cleanly, and ${missing} is missing: in ${numRegions} regions (${bytes} bytes of each member) the missing member's data cannot be reconstructed, because writes were in flight`;
}

/**
 * Rewrites unstable data, because redundancy for new writes must not depend on it, and without all members there is no resync
 * to do that. If it fails, the data stays unstable. Resolves to whether it succeeded.
 */
async function rewriteUnstable(array: RaidArray): Promise<boolean> {
  const { consistency, slots } = array;
  try {
    for (const { start, end } of [...consistency.unstable]) {
      for (const slot of slots) if (slot.isInSync) await rewriteInPlace(array, slot, start, end - start);
    }
    for (const slot of slots) if (slot.isInSync) await flushMember(array, slot, 'a flush failed');
    consistency.markStable(0, Infinity);
    return true;
  } catch (error) {
    array.log.error({ ...array.logFields(), err: error }, 'dirty regions could not be rewritten: they stay inconsistent');
    return false;
  }
}

/**
 * Returns the error that says that the array was not stopped cleanly, so that a member that cannot be written must not be taken
 * out.
 */
function whyNotWithout(array: RaidArray, error: unknown): unknown {
  if (!RaidError.is(error) || error.code !== 'ERR_RAID_METADATA') return error;
  const message = `array ${array.name} was not stopped cleanly, and a member that its resync needs fails: ${error.message}. Fix it, or close it and start with force: its blocks there then return EIO until they are written or parity is trusted manually`;
  return new RaidError('ERR_RAID_METADATA', error.errno, message, { cause: error });
}

async function clearExtension(array: RaidArray): Promise<void> {
  const { bitmap, extension } = array;
  if (extension === undefined) return;
  await onEveryMember(array, (client) => extension.clear(client.descriptor, bitmap?.states.length ?? 0));
}

/**
 * Clears the extension area of members without any headers of the array. On the others, records of the earlier incarnation are
 * valid until a header of the new one exists, so that a crash leaves members that know each other and the facts that tell who
 * ran the array. Afterwards they are invalid, and are overwritten in time.
 */
async function clearWhereNothingIs(array: RaidArray): Promise<void> {
  const { bitmap, extension } = array;
  if (extension === undefined) return;
  await onEveryMember(array, async ({ descriptor }) => {
    const headers = await extension.readHeaders(descriptor, array.uuid).catch(() => null);
    if (headers?.length === 0) await extension.clear(descriptor, bitmap?.states.length ?? 0);
  });
}

/** The start failed: the array waits again for members that left meanwhile. */
function awaitAgain(array: RaidArray): void {
  if (!array.isAssembled) return;
  for (const slot of array.slots) if (slot.isRemoved && slot.descriptor === null) slot.awaitRecorded();
}

/** Writes the superblocks, and again if a member left meanwhile, because none may record that member as current. */
async function recordMembers(array: RaidArray): Promise<void> {
  for (;;) {
    const members = array.numInSync;
    array.expectMembers(members);
    await array.metadata.update();
    array.lifecycle.mustGoOn();
    if (array.numInSync === members) return;
    if (!array.canRunWith(isInSync)) {
      throw new RaidError(
        'ERR_RAID_TOO_FEW_MEMBERS',
        Status.NoDevice,
        `array ${array.name}: members were removed while it was being started`,
      );
    }
  }
}

function volumeOptions(array: RaidArray): BdevOptions {
  const { geometry } = array;
  return {
    name: array.name,
    uuid: array.uuid,
    blockSize: array.blockSize,
    numBlocks: geometry.numBlocks,
    optimalIoBoundary: geometry.optimalIoBoundary ?? 0,
    splitOnBoundary: geometry.splitOnBoundary ?? false,
    writeUnitSize: geometry.writeUnitSize ?? 1,
    splitOnWriteUnit: geometry.splitOnWriteUnit ?? false,
    isReadOnly: array.isReadOnly,
    driver: array.io,
  };
}

/**
 * Ends all I/O: stops background processes, waits for I/O in flight, removes the volume's bdev, and stops the level. If the
 * array is not online yet, cancels its start, and it is configuring afterwards.
 */
export async function takeOffline(ctx: RaidContext, array: RaidArray, reason: string): Promise<void> {
  const { lifecycle } = array;
  if (lifecycle.phase === 'starting') await lifecycle.callOffStart(reason);
  if (lifecycle.state === 'configuring') return;
  await lifecycle.stop(() => stopEverything(ctx, array, reason));
}

async function stopEverything(ctx: RaidContext, array: RaidArray, reason: string): Promise<void> {
  const message = `the array goes offline: ${reason}`;
  if (array.isDeleting) array.log.info(array.logFields(), message);
  else array.log.warn(array.logFields(), message);
  ctx.emit({ type: 'arrayOffline', array: array.name, reason, isOrderly: array.isDeleting });
  array.process?.stop(new Error(reason));
  ctx.resyncExclusion.wake();
  await array.processEnded;
  await array.stopRepairs();
  array.answers.stop();
  const { bdev } = array;
  if (bdev !== null) await ctx.registry.unregister(bdev);
  array.bdev = null;
  // The level may still process requests that users have given up, with its buffers.
  await array.io.whenIdle();
  // The next start knows only damage that is on the list, and damage found by a write may not be on it.
  await recordDamage(array, false);
  await array.journal?.stop();
  if (!array.isReadOnly)
    await array.bitmap?.stop().catch((error: unknown) => {
      array.log.warn(
        { ...array.logFields(), err: error },
        'the bitmap could not be cleared: the array is resynchronised at its next start',
      );
    });
  // Damage for which the list has no room relies on the checksums of regions that are clean now.
  await recordDamage(array, true);
  if (array.bitmap !== null) await array.metadata.saveHeaders();
  await flushMembers(array);
  try {
    await array.level?.stop?.();
  } finally {
    // At the next start, data that a failed flush lost would be missing, so the member's departure must be recorded.
    await array.leaveRecorded().catch(() => undefined);
    array.journal?.close();
    array.io.close();
  }
}

async function recordDamage(array: RaidArray, mayJoin: boolean): Promise<void> {
  await array.recordDamage(0, Infinity, mayJoin).catch((error: unknown) => {
    array.log.error({ ...array.logFields(), err: error }, 'damaged blocks could not be recorded');
  });
}

/** Makes acknowledged data of all members stable. A member that cannot be flushed is failed if the array can do without it. */
async function flushMembers(array: RaidArray): Promise<void> {
  await Promise.all(
    array.slots.map(async (slot) => {
      if (slot.descriptor === null || !slot.isOperational) return;
      slot.partBegan();
      try {
        await writeSums(array, slot);
        await new BlockClient(slot.descriptor).flush();
      } catch (error) {
        array.log.warn({ ...array.logFields(slot), err: error }, 'the last flush of a member failed');
        if (array.module.redundancy !== 'none') array.failMember(slot.index, 'its last flush failed');
      } finally {
        slot.partEnded();
      }
    }),
  );
}

import { Bdev, BlockClient, newUuid } from '@raidkit/bdev';
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
import { checkCopySets, checkGeometry, checkLevel } from '../level/geometry.js';
import { adoptRecord, loadBitmap } from '../bitmap/bitmap-load.js';
import type { RegionOrigin } from '../bitmap/bitmap-load.js';
import { describeStrangers, rivalsOf } from '../array/health.js';
import { kickStale } from './kick-stale.js';
import { isBorneOut } from './strangers.js';
import type { RaidLevel } from '../level/level.js';
import type { Slot } from '../members/slot.js';
import type { DoubtList, SumsHeader } from '../format/store.js';

/** How an array is started. */
export interface StartOptions {
  /** Also where that may cost data; see `RaidArrays.startDegraded`. */
  force?: boolean;
  /** To be looked at: nothing is written to the members. */
  readOnly?: boolean;
}

/**
 * Starts the level, writes the superblocks, and registers the volume. The members that the array starts with are
 * configured. On an error the array is as it was, in state configuring. No effect while the array is in another phase.
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
    const recorded = await kickStale(array, options.force ?? false);
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
    checkCopySets(array, level, geometry);
    array.level = level;
    array.setGeometry(geometry);
    const { numBlocks, memberBlocks } = geometry;
    if (numBlocks < 1)
      throw new RaidError('ERR_RAID_MEMBER', 22, `array ${array.name}: the members are too small for one stripe`);
    if (recordedBlocks !== null && recordedBlocks !== numBlocks) {
      const message = `array ${array.name}: the superblock says ${recordedBlocks} blocks, and its members make ${numBlocks}`;
      throw new RaidError('ERR_RAID_METADATA', 22, message);
    }
    array.slots.forEach((slot, index) => (slot.dataSize = memberBlocks[index] ?? slot.dataSize));
    if (!array.hasUuid) array.uuid = newUuid(ctx.registry.runtime);
    array.metadata.check();
    const loaded = await loadBitmap(array, options.force ?? false);
    lifecycle.mustGoOn();
    const origin = loaded?.origin ?? null;
    array.bitmap = loaded?.bitmap ?? null;
    if (origin === null) {
      if (recorded === null) array.metadata.beginIncarnation();
      else adoptRecord(array, recorded);
    }
    openSums(ctx, array, loaded?.sums ?? null, origin?.is === 'unknown');
    // Without redundancy it is there for checksums alone.
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
    // A record that comes before the pages that go with it would call what was never written unknown: it would not read as zeros.
    array.isRecordable = origin?.is === 'recorded';
    await refuseUnsafeStart(array, origin, options.force ?? false);
    await makeGoodLostFlushes(array);
    lifecycle.mustGoOn();
    if (!array.isReadOnly) {
      if (recordedBlocks === null) await clearExtension(array);
      else if (origin?.is === 'unknown') {
        await clearWhereNothingIs(array);
        // What could not be read may be read again tomorrow, and beside its header would be pages of which the newest are written over.
        if (options.force === true && origin.earlier === null) await array.metadata.giveUpRecord();
      }
      await array.bitmap?.writeAll();
      lifecycle.mustGoOn();
      array.isRecordable = true;
      // Another program that assembles it goes by the number alone: it must not be that of a superblock that counts the absent
      // ones in.
      if (recordedBlocks !== null && array.numInSync < array.numSlots) array.metadata.skipNumber();
      await recordMembers(array);
    }
    lifecycle.mustGoOn();
    requireEnough(array);
    const bdev = new Bdev(volumeOptions(array));
    array.bdev = bdev;
    const examined = ctx.registry.register(bdev);
    array.mustKeepAll = false;
    lifecycle.isUp();
    for (const slot of array.slots) if (slot.descriptor === null) slot.emptySince = ctx.registry.runtime.now();
    array.noteStartError(null);
    // What a start has found to be dirty and good is made clean by and by.
    array.bitmap?.arm();
    ctx.emit({ type: 'arrayOnline', array: array.name, degraded: array.numInSync < array.numSlots });
    const fields = { ...array.logFields(), blocks: numBlocks, members: array.numInSync, slots: array.numSlots };
    array.log.info(fields, 'the array is online');
    examined.catch(() => undefined);
    startResyncIfDue(ctx, array);
    startSumIfDue(ctx, array);
    // Its members may have grown while it was not up.
    array.growIfPossible();
    array.failUnsteady();
  } catch (error) {
    const why = array.mustKeepAll ? whyNotWithout(array, error) : error;
    array.mustKeepAll = false;
    array.isRecordable = false;
    // What is to be told is why the start failed, and all that was taken for it is given back.
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
    for (const slot of array.slots) slot.isUnsteady ||= slot.hasLostFlush;
    throw why;
  }
}

/** What the level says that it will take, before anything is done for it. */
function requireMemory(array: RaidArray): void {
  const { memory, module, name, numSlots } = array;
  const needed = module.memoryBytes?.(array) ?? 0;
  const { bytes, freeBytes } = memory;
  if (!Number.isSafeInteger(needed) || needed < 0)
    throw new RaidError('ERR_RAID_MODULE', 22, `array ${name}: memoryBytes of level ${module.level} returned ${needed}`);
  if (needed <= freeBytes) return;
  const message = `array ${name}: with ${numSlots} slots level ${module.level} needs ${needed} bytes of buffer memory, and ${freeBytes} of ${bytes} are free; stop another array, or start with more memory`;
  throw new RaidError('ERR_RAID_MEMORY', 12, message);
}

async function stopLevel(array: RaidArray, level: RaidLevel | null): Promise<void> {
  try {
    await level?.stop?.();
  } catch (error) {
    array.log.error({ ...array.logFields(), err: error }, 'the level has thrown when it was stopped');
  }
}

/** `found`: what is on record of them; null for none. */
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
    // Where they begin is on record only if they have moved.
    const areaAt = (found?.areaAt ?? 0) * blocksTogether || dataSize;
    return areaAt < dataSize || descriptor.bdev.numBlocks < dataOffset + areaAt + array.integrity.blocksForPages(dataSize);
  });
  if (!isWhole && recordedBlocks === null) {
    const message = `array ${name}: with integrity level ${array.module.level} must use whole ${blocksTogether * blockSize} bytes of each member; leave integrity out`;
    throw new RaidError('ERR_RAID_INVALID', 22, message);
  }
  if (!isWhole || cramped !== undefined) {
    array.integrity.setOn(false);
    array.log.error(
      array.logFields(cramped),
      'another program let the array grow to where its checksums were: it goes on without them',
    );
    return;
  }
  const summedBlocks = Math.max(...slots.map(({ dataSize }) => dataSize)) / blocksTogether;
  const salt = (): string => Buffer.from(registry.runtime.randomBytes(32)).toString('hex');
  const made = found ?? { salt: salt(), summedBlocks, areaAt: 0, tags: slots.map(({ index }) => index) };
  const sums = new ArraySums(array, extension.checksums, ctx.sumsMemory, { ...made, isForeign });
  // Without redundancy the map alone says what has some, also of what another program has added.
  if (array.module.redundancy === 'none') sums.countTo(summedBlocks * blocksTogether);
  array.integrity.attach(sums);
}

const isInSync = (slot: Slot): boolean => slot.isInSync;

/** The newest list of doubt on the members, of this life or of the one before. */
function doubtOf(origin: RegionOrigin | null): DoubtList | null {
  if (origin?.is === 'recorded') return origin.doubt;
  return origin?.is === 'unknown' ? (origin.earlier?.doubt ?? null) : null;
}

function requireEnough(array: RaidArray): void {
  if (array.canRunWith(isInSync)) return;
  throw new RaidError('ERR_RAID_TOO_FEW_MEMBERS', 19, `array ${array.name}: ${array.whyNotWith(isInSync)}`);
}

/** Two halves went on without each other, and each has what the other lacks: which of them counts, a person must say. */
function refuseHalves(array: RaidArray, force: boolean): void {
  const other = array.assembly.splitBrain.find(({ slot, seqNumber }) => seqNumber > array.slotAt(slot).lastSeqNumber);
  if (other === undefined) return;
  const message = `array ${array.name}: slot ${other.slot} and the members that are to be started were used without each other, and each has what the other lacks. Start with force to give up what slot ${other.slot} alone has, or take the others away to start from it`;
  if (!force) throw new RaidError('ERR_RAID_METADATA', 16, message);
  array.log.warn(array.logFields(), `started by force: ${message}`);
}

/**
 * A device in a slot of the array's says that it knows better than the members that are there, and they do not know it: a person
 * must say who is right, unless it is those who were left behind.
 */
function refuseStrangers(array: RaidArray, force: boolean): void {
  const records = rivalsOf(array).map(({ record }) => record);
  const described = array.assembly.isVouchedFor || isBorneOut(array, records) ? null : describeStrangers(array);
  if (described === null) return;
  const refusal = `array ${array.name}: ${described}; or start with force, without it`;
  if (!force) throw new RaidError('ERR_RAID_METADATA', 16, refusal);
  array.log.warn(array.logFields(), `started by force: ${refusal}`);
}

/**
 * Parity that may disagree with its data, and a member that would have to be worked out from it: what comes out may be
 * nothing that was ever written.
 */
async function refuseUnsafeStart(array: RaidArray, origin: RegionOrigin | null, force: boolean): Promise<void> {
  if (array.module.redundancy !== 'parity' || array.numInSync === array.numSlots) return;
  if (array.consistency.isAllInSync) return;
  if (origin?.is === 'unknown' && (await judgeForeignRun(array, origin.earlier))) return;
  if (origin === null && array.recordedBlocks !== null && (await judgeForeignRun(array, null))) return;
  if (array.isReadOnly) {
    array.log.warn(
      array.logFields(),
      'started read-only after an unclean stop: what an absent member held answers EIO where it was being written',
    );
    return;
  }
  if (origin?.is === 'recorded' && (await replayJournal(array, origin.doubt))) return;
  const missing = array.slots.filter((slot) => !slot.isInSync).map((slot) => slot.index);
  const message = `array ${array.name} ${whyUnsafe(array, `slot ${missing.join(', ')}`)}. Bring the member back, or start with force: its blocks there answer EIO then, until they are written or parity is trusted by hand`;
  if (!force) {
    // No member is to be let go: that is not why it is refused.
    array.mustKeepAll = false;
    throw new RaidError('ERR_RAID_METADATA', 5, message);
  }
  array.log.warn(array.logFields(), `started by force: ${message}`);
  await rewriteUnstable(array);
}

/**
 * A flush failed in a start before this one. Flushes of users fail because of that until the array is stopped, but a journal can
 * begin over what has been written anew: without one, a crash would cost what an absent member holds.
 */
async function makeGoodLostFlushes(array: RaidArray): Promise<void> {
  const { isReadOnly, journal, lostFlushes, numInSync, numSlots, slots } = array;
  if (journal === null || isReadOnly || numInSync === numSlots) return;
  if (!slots.some(({ hasLostFlush, isInSync }) => hasLostFlush && isInSync)) return;
  if (await rewriteUnstable(array)) journal.onMadeGood(lostFlushes);
}

function whyUnsafe({ bitmap, blockSize }: RaidArray, missing: string): string {
  if (bitmap === null)
    return `has blocks of ${blockSize} bytes, for which there is no record of what is being written, and ${missing} is missing: the missing member's data cannot be told from parity that may be wrong`;
  const suspect = bitmap.regionsToResync;
  const bytes = suspect * bitmap.regionBlocks * blockSize;
  return `was not stopped cleanly, and ${missing} is missing: in ${suspect} regions (${bytes} bytes of each member) the missing member's data cannot be told from what was being written`;
}

/**
 * What users write from now on must not be worked out from what the next power cut may take back, if a flush failed before the
 * crash: without all members no resync writes it anew. Where that fails, it stays in doubt until there is one.
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
    array.log.error({ ...array.logFields(), err: error }, 'dirty regions could not be written again: they stay in doubt');
    return false;
  }
}

/** As the array was not stopped cleanly, a member to which its records could not be written cannot be let go for that. */
function whyNotWithout(array: RaidArray, error: unknown): unknown {
  if (!RaidError.is(error) || error.code !== 'ERR_RAID_METADATA') return error;
  const message = `array ${array.name} was not stopped cleanly, and a member fails that is needed to tell its data from what was being written: ${error.message}. Bring it back in order, or take it away and start with force: its blocks there answer EIO then, until they are written or parity is trusted by hand`;
  return new RaidError('ERR_RAID_METADATA', error.errno, message, { cause: error });
}

async function clearExtension(array: RaidArray): Promise<void> {
  const { bitmap, extension } = array;
  if (extension === undefined) return;
  await onEveryMember(array, (client) => extension.clear(client.descriptor, bitmap?.states.length ?? 0));
}

/**
 * What members have of an earlier life counts until a header of the new one is there: a crash must leave members that know each
 * other, and what judges who ran the array meanwhile. Then it counts no more, so it is left to be written over, place by place.
 * Members without any of it get the whole of the area that records need.
 */
async function clearWhereNothingIs(array: RaidArray): Promise<void> {
  const { bitmap, extension } = array;
  if (extension === undefined) return;
  await onEveryMember(array, async ({ descriptor }) => {
    const headers = await extension.readHeaders(descriptor, array.uuid).catch(() => null);
    if (headers?.length === 0) await extension.clear(descriptor, bitmap?.states.length ?? 0);
  });
}

/** The start failed: what left meanwhile is waited for as before. */
function awaitAgain(array: RaidArray): void {
  if (!array.isAssembled) return;
  for (const slot of array.slots) if (slot.isRemoved && slot.descriptor === null) slot.uuid = slot.recordedUuid;
}

/** Writes the superblocks, again if a member left meanwhile: none may say that it is current. */
async function recordMembers(array: RaidArray): Promise<void> {
  for (;;) {
    const members = array.numInSync;
    array.expectMembers(members);
    await array.metadata.update();
    array.lifecycle.mustGoOn();
    if (array.numInSync === members) return;
    if (!array.canRunWith(isInSync)) {
      throw new RaidError('ERR_RAID_TOO_FEW_MEMBERS', 19, `array ${array.name}: members left while it was being started`);
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
 * Ends all I/O: no new I/O, background work stopped, what is in flight done, the volume's bdev gone, the level stopped. Of an
 * array that is not online yet a start is called off, and it is configuring afterwards.
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
  // What users have given up the level may still be at work on, with its buffers.
  await array.io.whenIdle();
  // The next start knows only what is on the list: a write that has met damage has not put it there.
  await recordDamage(array, false);
  await array.journal?.stop();
  if (!array.isReadOnly)
    await array.bitmap?.stop().catch((error: unknown) => {
      array.log.warn(
        { ...array.logFields(), err: error },
        'the bitmap could not be cleared: the array is resynchronised at its next start',
      );
    });
  // What has no room there is left to the checksums of regions that are clean now.
  await recordDamage(array, true);
  if (array.bitmap !== null) await array.metadata.saveHeaders();
  await flushMembers(array);
  try {
    await array.level?.stop?.();
  } finally {
    // What a failed flush has dropped is missing at the next start: the member must be on record as out.
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

/** Makes what members have acknowledged survive a power cut. One that cannot is failed, if the array can do without it. */
async function flushMembers(array: RaidArray): Promise<void> {
  await Promise.all(
    array.slots.map(async (slot) => {
      if (slot.descriptor === null || !slot.isOperational) return;
      slot.partsInFlight++;
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

import { BdevError, nullUuid } from '@raidkit/bdev';
import type { Bdev } from '@raidkit/bdev';
import { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { freeName, namesakes, takeName } from './array-names.js';
import { RaidError, mayPass } from '../errors.js';
import { adoptOptions } from '../start/adopt-options.js';
import { awaitedSlots, isStranger, lineagesOf, mayHaveGoneOn, mistakenFor, requireCreation } from '../start/identity.js';
import { attach, checkBlockSize, configureMember, openMember } from '../membership/join.js';
import { endArray } from '../membership/remove.js';
import { addMember } from '../membership/add.js';
import { arrayOfVolume, isClientsVolume, recordOuter } from '../membership/nesting.js';
import { newestTrusted } from '../bitmap/bitmap-load.js';
import { blocksForPages, summedBytes } from '../checksums/area.js';
import { bringOnline } from '../start/start.js';
import { agrees, isBorneOut, isOfStrangers, isOutvoted, keepOut, mayNotDecide } from '../start/strangers.js';
import type { Slot } from '../members/slot.js';
import type { ArrayRecord, ExtensionHeader, ReadResult, SlotRecord } from '../format/store.js';

/** The slot's device is there, and is a member or being made one. */
const isDiscovered = (slot: Slot): boolean => slot.isOperational;

/** Wait before a start or an examination that failed is tried again, in milliseconds. */
const startRetryMs = 5000;
/** The wait for an examination doubles from try to try, up to this. Milliseconds. */
const mostRetryMs = 60_000;

/**
 * Looks at a device that has appeared: a member of an array that is waiting for it, or of one that is not known yet. As long
 * as that fails for something that may pass, it is tried again.
 */
export async function examine(
  ctx: RaidContext,
  bdev: Bdev,
  options: { retryMs?: number; isByHand?: boolean } = {},
): Promise<void> {
  const { retryMs = startRetryMs, isByHand = false } = options;
  if (!mayTake(ctx, bdev)) return;
  if (!isByHand && (!ctx.mayExamine(bdev) || isClientsVolume(ctx, bdev))) {
    await takeAwaited(ctx, bdev);
    return;
  }
  if (bdev.abandoned > 0) {
    examineLater(ctx, bdev, { isByHand });
    return;
  }
  try {
    await examineNow(ctx, bdev, isByHand);
  } catch (error) {
    if (!mayPass(error)) throw error;
    ctx.registry.runtime.log.warn(
      { bdev: bdev.name, err: error, retryMs },
      'the device could not be examined: it is tried again',
    );
    ctx.retries.later(retryMs, () => examine(ctx, bdev, { retryMs: Math.min(2 * retryMs, mostRetryMs), isByHand }));
  }
}

async function examineNow(ctx: RaidContext, bdev: Bdev, isByHand: boolean): Promise<void> {
  const { found, headers } = await readRecords(ctx, bdev, isByHand);
  // It may have been claimed while it was being read.
  if (!mayTake(ctx, bdev)) return;
  if (found.kind === 'found') {
    const { name, uuid } = found.record;
    if (!ctx.mayAssemble(uuid)) {
      const message = `the device carries the superblock of array ${name} (${uuid}), which is not one of those that may run here`;
      if (isByHand) throw new RaidError('ERR_RAID_MEMBER', 1, `${bdev.name}: ${message}`);
      ctx.registry.runtime.log.warn({ bdev: bdev.name, array: name, uuid }, `${message}: it is left alone`);
      return;
    }
    await examineFound(ctx, bdev, found.record, headers, isByHand);
    return;
  }
  if (found.kind === 'unusable') {
    ctx.registry.runtime.log.warn({ bdev: bdev.name }, `there is a damaged superblock: ${found.message}`);
  }
  await takeAwaited(ctx, bdev);
}

/** Has the device examined after a while. */
export function examineLater(ctx: RaidContext, bdev: Bdev, options: { afterMs?: number; isByHand?: boolean } = {}): void {
  const { afterMs = startRetryMs, isByHand = false } = options;
  ctx.retries.later(afterMs, () => examine(ctx, bdev, { isByHand }));
}

/**
 * The device may be taken, and the service has not been stopped. To be asked after each wait. A device that is claimed may be
 * released later: that is noted.
 */
function mayTake(ctx: RaidContext, bdev: Bdev): boolean {
  if (bdev.claimedBy !== null) ctx.passedOver.add(bdev);
  return bdev.claimedBy === null && bdev.state === 'registered' && !ctx.retries.isStopped;
}

/** The array is being put together, and takes members. To be asked after each wait. */
function isOpen({ lifecycle }: RaidArray): boolean {
  return lifecycle.phase === 'configuring' && !lifecycle.isEnding;
}

/** The superblock, and our headers behind it; of headers that cannot be read nothing is known. */
async function readRecords(
  ctx: RaidContext,
  bdev: Bdev,
  isVouchedFor: boolean,
): Promise<{ found: ReadResult; headers: ExtensionHeader[] }> {
  const { store } = ctx;
  if (store === null) return { found: { kind: 'none' }, headers: [] };
  const descriptor = ctx.registry.open(bdev, { ioTimeoutMs: ctx.memberOptions.ioTimeoutMs });
  try {
    const found = await store.read(descriptor, { isVouchedFor });
    if (found.kind !== 'found' || store.extension?.fits(bdev.blockSize, 0) !== true) return { found, headers: [] };
    const headers = await store.extension
      .readHeaders(descriptor, found.record.uuid)
      .catch((error: unknown): ExtensionHeader[] => {
        ctx.registry.runtime.log.warn(
          { bdev: bdev.name, err: error },
          'what lies behind the superblock cannot be read: the device is known by its uuid alone',
        );
        return [];
      });
    return { found, headers };
  } finally {
    descriptor.close();
  }
}

/** A device without a superblock goes to the array that was created with its name, or its uuid, before it was there. */
async function takeAwaited(ctx: RaidContext, bdev: Bdev): Promise<void> {
  for (const array of ctx.arrays.values()) {
    if (!isOpen(array) || array.isAssembled) continue;
    const slot = array.slots.find(
      ({ descriptor, awaitedName, uuid }) => descriptor === null && (awaitedName === bdev.name || uuid === bdev.uuid),
    );
    if (slot === undefined) continue;
    try {
      await configureMember(ctx, array, slot, bdev);
    } catch (error) {
      array.noteStartError(error instanceof Error ? error.message : String(error));
      array.log.warn(array.logFields(slot), `a device that was waited for cannot be used: ${array.startError}`);
      if (mayPass(error)) throw error;
      return;
    }
    await startIfComplete(ctx, array);
    return;
  }
}

/** A device with a superblock. */
async function examineFound(
  ctx: RaidContext,
  bdev: Bdev,
  record: ArrayRecord,
  headers: readonly ExtensionHeader[],
  isByHand: boolean,
): Promise<void> {
  const log = (message: string): void => {
    ctx.registry.runtime.log.warn({ bdev: bdev.name, array: record.name, uuid: record.uuid }, message);
  };
  if (record.blockSize !== bdev.blockSize) {
    log(`its superblock is for ${record.blockSize}-byte blocks, and the device has ${bdev.blockSize}-byte blocks: ignored`);
    return;
  }
  // A client that can write to a device can put any superblock there. One of other devices says nothing of this device or of
  // its array.
  if (!record.slots.some(({ uuid }) => uuid === bdev.uuid)) {
    log('its superblock does not name the device among the members: ignored');
    return;
  }
  const inner = arrayOfVolume(ctx, bdev);
  if (inner !== undefined && inner.outerUuid !== record.uuid) {
    if (!isByHand) {
      log(
        `it is a volume, on record as a member of array ${String(inner.outerUuid)}, and its superblock is another array's: ignored`,
      );
      return;
    }
    await recordOuter(ctx, bdev, record.uuid);
    if (!mayTake(ctx, bdev)) return;
  }
  const lineages = lineagesOf(bdev, record, headers);
  const isMistaken = mistakenFor(bdev, record, headers) !== null;
  const stranger = { record, lineages, isUsable: !isMistaken && isLargeEnough(bdev, record) };
  let array = findByUuid(ctx, record.uuid);
  let isOfMost = false;
  if (array !== undefined && !isByHand) {
    const isUnknown = isStranger(array, lineages) && mayNotDecide(array, record, lineages);
    const mayStay = array.assembly.isOfMost || !stranger.isUsable || isBorneOut(array, [record]);
    const isLeftBehind = !isMistaken && mayStay && isOfStrangers(array, record, lineages);
    if (isUnknown || isLeftBehind) {
      keepOut(array, bdev, stranger, log);
      isOfMost = isUnknown && isOutvoted(array, stranger);
      // It may be of those that replace the array, if this start fails.
      if (array.isStarting) array.assembly.deferredMembers.add(bdev.uuid);
      if (!isOfMost) return;
    }
  }
  const mustMakeAnew = (old: RaidArray): boolean =>
    isOfMost || isReplaceable(old, record) || (!isMistaken && isOfStrangers(old, record, lineages));
  // A device without headers that says what known members say does not make them strangers.
  let known: string[] = [];
  if (array !== undefined && mustMakeAnew(array)) {
    if (!isOfMost && agrees(array, record)) known = [...array.assembly.lineages];
    await endArray(ctx, array, 'it is being assembled anew');
    if (!mayTake(ctx, bdev)) return;
    array = findByUuid(ctx, record.uuid);
  }
  if (array === undefined) {
    array = makeFromRecord(ctx, record, headers, log);
    if (array === undefined) return;
    array.assembly.isVouchedFor = isByHand;
    for (const lineage of known) array.assembly.lineages.add(lineage);
    array.assembly.isOfMost = isOfMost;
    await joinRecorded(ctx, array, bdev, record, headers, log);
    await examineOthers(ctx, array, bdev);
    return;
  }
  await joinRecorded(ctx, array, bdev, record, headers, log);
}

/** The device has room for what its superblock says of it. */
function isLargeEnough(bdev: Bdev, record: ArrayRecord): boolean {
  const entry = record.slots.find(({ uuid }) => uuid === bdev.uuid);
  return entry !== undefined && bdev.numBlocks >= entry.dataOffsetBlocks + entry.dataSizeBlocks;
}

/** The array is not up, and this superblock knows better what it is; or it is offline, and a member has come back. */
function isReplaceable(array: RaidArray, record: ArrayRecord): boolean {
  if (array.isDeleting || array.isStarting || array.lifecycle.isBeingCreated || array.store === null) return false;
  if (array.state === 'configuring') return record.seqNumber > array.metadata.seqNumber;
  // What a round that was cut short left behind may not be on every member.
  return array.state === 'offline' && record.seqNumber >= array.metadata.completedSeqNumber;
}

function findByUuid(ctx: RaidContext, uuid: string): RaidArray | undefined {
  for (const array of ctx.arrays.values()) if (array.uuid === uuid) return array;
  return undefined;
}

function makeFromRecord(
  ctx: RaidContext,
  record: ArrayRecord,
  headers: readonly ExtensionHeader[],
  log: (message: string) => void,
): RaidArray | undefined {
  const module = ctx.modules.byCode(record.level);
  if (module === undefined) {
    log(`its superblock is of level code ${record.level}, for which no module is loaded: ignored`);
    return undefined;
  }
  const name = freeName(ctx, record.name, record.uuid);
  if (name === null) {
    log(`its array cannot be assembled: the name ${record.name} is taken`);
    return undefined;
  }
  const refusal = ctx.arrayNames.enter(name, record.uuid);
  if (refusal !== null) {
    log(`its array cannot be assembled here: ${refusal}`);
    return undefined;
  }
  if (name !== record.name) log(`another array or device has the name ${record.name}: the array is listed as ${name}`);
  const array = new RaidArray(
    {
      name,
      recordedName: record.name,
      uuid: record.uuid,
      module,
      stripSizeKb: (record.stripSizeBlocks * record.blockSize) / 1024,
      slotNames: record.slots.map(() => null),
      store: ctx.store,
      levelOptions: {},
    },
    ctx,
  );
  array.isAssembled = true;
  array.setBlockSize(record.blockSize);
  array.recordedBlocks = record.numBlocks;
  array.metadata.seqNumber = record.seqNumber;
  array.expectMembers(record.slots.filter(({ state }) => state === 'configured').length);
  for (const slot of array.slots) {
    const recorded = record.slots[slot.index];
    if (recorded === undefined) continue;
    slot.recordedUuid = recorded.uuid;
    slot.dataOffset = recorded.dataOffsetBlocks;
    slot.dataSize = recorded.dataSizeBlocks;
    if (recorded.state === 'configured') slot.uuid = recorded.uuid;
    else slot.absence = recorded.state;
  }
  tryOptions(array, headers, log);
  const isRecordedIn = ({ index }: Slot): boolean => record.slots[index]?.state === 'configured';
  if (!array.canRunWith(isRecordedIn)) {
    array.noteStartError(`by its superblock too few members are current: ${array.whyNotWith(isRecordedIn)}`);
    log(`the array cannot be started: ${array.startError}`);
  }
  ctx.arrays.set(array.name, array);
  return array;
}

/**
 * Devices of an array that is up which came while it was being started without them, or while a place could not be given to them. Their
 * places are theirs until then.
 */
export async function examineDeferred(ctx: RaidContext, array: RaidArray): Promise<void> {
  const { deferredMembers, latecomers } = array.assembly;
  const uuids = [...deferredMembers];
  for (const uuid of uuids) latecomers.add(uuid);
  deferredMembers.clear();
  for (const uuid of uuids) {
    await examineLatecomer(ctx, array, uuid);
    latecomers.delete(uuid);
  }
  ctx.fillFromSpares(array);
}

async function examineLatecomer(ctx: RaidContext, array: RaidArray, uuid: string): Promise<void> {
  // The operator removed it, and it has not been plugged in anew: it stays out until it is, or until the operator adds it.
  if (array.slots.some((slot) => slot.recordedUuid === uuid && slot.isRemovedByHand)) return;
  const bdev = ctx.registry.get(uuid);
  if (bdev === undefined || !mayTake(ctx, bdev)) return;
  try {
    await examine(ctx, bdev);
  } catch (error) {
    array.log.warn({ ...array.logFields(), bdev: bdev.name, err: error }, 'a device that came late cannot be examined');
  }
}

/** A person says that a device belongs to an array that waits for its members: it is taken if that is so. */
export async function addAwaited(ctx: RaidContext, array: RaidArray, bdev: Bdev): Promise<void> {
  if (bdev.claimedBy !== null)
    throw new RaidError('ERR_RAID_MEMBER', 1, `array ${array.name}: ${bdev.name} is claimed by ${bdev.claimedBy}`);
  await examine(ctx, bdev, { isByHand: true });
  // A newer superblock makes the array anew.
  const now = findByUuid(ctx, array.uuid);
  if (now?.slots.some(({ descriptor }) => descriptor?.bdev === bdev) === true) return;
  requireCreation(now ?? array, bdev);
}

/** Looks for the members that are there already, those that are current first, so that the array comes up with the first of them. */
async function examineOthers(ctx: RaidContext, array: RaidArray, seen: Bdev): Promise<void> {
  const isIn = ({ recordedUuid, uuid }: Slot): boolean => uuid === recordedUuid;
  for (const slot of [...array.slots.filter(isIn), ...array.slots.filter((one) => !isIn(one))]) {
    const other = slot.recordedUuid === nullUuid ? undefined : ctx.registry.get(slot.recordedUuid);
    if (other !== undefined && other !== seen && other.claimedBy === null) await examine(ctx, other);
  }
}

/** What the level refuses is told, and met again when the array is to be started. */
function tryOptions(array: RaidArray, headers: readonly ExtensionHeader[], log: (message: string) => void): void {
  try {
    adoptOptions(array, headers);
  } catch (error) {
    array.noteStartError(error instanceof Error ? error.message : String(error));
    log(`the array cannot be started: ${array.startError}`);
  }
}

async function joinRecorded(
  ctx: RaidContext,
  array: RaidArray,
  bdev: Bdev,
  record: ArrayRecord,
  headers: readonly ExtensionHeader[],
  log: (message: string) => void,
): Promise<void> {
  // A place that it has goes before one that it had.
  const slot =
    array.slots.find(({ uuid }) => uuid === bdev.uuid) ?? array.slots.find(({ recordedUuid }) => recordedUuid === bdev.uuid);
  if (slot === undefined) {
    log('the device is not among its array’s members: ignored');
    return;
  }
  if (slot.role === 'opening') {
    defer(array, slot, bdev);
    log(`slot ${slot.index} is about to get another member: if it does not, the device is looked at again`);
    return;
  }
  if (slot.descriptor !== null) {
    log(`slot ${slot.index} has a member with the same uuid already: ignored`);
    return;
  }
  const truly = mistakenFor(bdev, record, headers);
  if (truly !== null) {
    const message = `${bdev.name} has the uuid ${bdev.uuid}, of slot ${slot.index}, and is member ${truly} by what we wrote on it: devices have changed places, or a uuid was given to the wrong one`;
    log(`${message}: ignored`);
    if (array.state === 'configuring') array.noteStartError(message);
    return;
  }
  if (array.state === 'online') {
    await reAdd(ctx, array, slot, bdev, record, log);
    return;
  }
  if (!isOpen(array)) {
    // It starts without this member, or is on its way out: the member is looked at again once the array is up.
    array.assembly.deferredMembers.add(bdev.uuid);
    log(`slot ${slot.index} came too late: the array is ${array.isStarting ? 'starting' : 'stopping'}`);
    return;
  }
  for (const lineage of lineagesOf(bdev, record, headers)) array.assembly.lineages.add(lineage);
  tryOptions(array, headers, log);
  const isSeenAgain = array.assembly.seen.has(bdev.uuid);
  array.assembly.seen.add(bdev.uuid);
  if (slot.uuid !== bdev.uuid) {
    array.assembly.deferredMembers.add(bdev.uuid);
    if (isSeenAgain) return;
    if (countsOut(array, slot, record)) array.assembly.splitBrain.push({ slot: slot.index, seqNumber: record.seqNumber });
    log(
      `the device is slot ${slot.index}, which has been taken out of the array: it missed writes, and is filled anew once the array is online`,
    );
    await startWhenAllAreSeen(ctx, array);
    return;
  }
  if (array.assembly.nonFresh.has(bdev.uuid)) {
    array.assembly.deferredMembers.add(bdev.uuid);
    log(`the device is slot ${slot.index}, and has an older state than the array: ignored until the array is online`);
    return;
  }
  if (record.seqNumber > array.metadata.seqNumber) {
    log('the device knows a newer state of the array than the members that are there: ignored');
    return;
  }
  const needed = blocksNeeded(array, slot, bdev, newestTrusted(headers, record.seqNumber));
  if (bdev.numBlocks < needed) {
    log(`the device has ${bdev.numBlocks} blocks, and what is on record there takes ${needed}: ignored`);
    return;
  }
  openMember(ctx, array, slot, bdev);
  checkBlockSize(array, bdev);
  attach(array, slot, bdev);
  slot.join();
  slot.foundSeqNumber = record.seqNumber;
  await startWhenAllAreSeen(ctx, array);
}

/** For the slot's data, and for the checksums of it, if they are on record and no other program has run the array since. */
function blocksNeeded(
  { extension }: RaidArray,
  { dataOffset, dataSize }: Slot,
  { blockSize }: Bdev,
  header: ExtensionHeader | null,
): number {
  if (extension === undefined || (header?.sums ?? null) === null) return dataOffset + dataSize;
  const areaAt = (header?.sums?.areaAt ?? 0) * (summedBytes / blockSize) || dataSize;
  return dataOffset + areaAt + blocksForPages(dataSize, blockSize, extension.checksums);
}

/**
 * Starts the array if it is complete. If its superblock has members that are out, these are waited for a moment first: what
 * they say may be newer, or show that the members were used apart.
 */
async function startWhenAllAreSeen(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (!isOpen(array) || ctx.retries.isStopped) return;
  const { runtime } = ctx.registry;
  const { absentWaitMs, degradedStartMs, start } = ctx.assemblyOptions;
  const isComplete = array.numDiscovered >= array.numOperational;
  const waitMs = isComplete ? absentWaitMs : degradedStartMs;
  const isAnyUnseen = array.slots.some(
    ({ recordedUuid }) => recordedUuid !== nullUuid && !array.assembly.seen.has(recordedUuid),
  );
  array.assembly.endStartWait?.();
  if (start === 'manual') return;
  if (isComplete && (!isAnyUnseen || waitMs === 0)) {
    await startIfComplete(ctx, array);
    return;
  }
  if (waitMs === 0 || !array.canRunWith(isDiscovered)) return;
  const waited = new Promise<boolean>((resolve) => {
    const end = (isOver: boolean): void => {
      array.assembly.endStartWait = null;
      resolve(isOver);
    };
    const timer = runtime.setTimer(() => end(true), waitMs);
    array.assembly.endStartWait = () => {
      runtime.clearTimer(timer);
      end(false);
    };
  }).then((isOver) => {
    if (isOver) return isComplete ? startIfComplete(ctx, array) : startWithout(ctx, array);
    return undefined;
  });
  // A caller of `waitForExamine` waits for complete arrays, not for members that may never come.
  const done = isComplete ? ctx.registry.whileExamining(waited) : waited;
  done.catch((error: unknown) =>
    runtime.log.error({ array: array.name, err: error }, 'an array could not be started after a wait'),
  );
}

/** Long enough waited: starts the array with those that are there, unless that would endanger data. */
async function startWithout(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (!isOpen(array)) return;
  const danger = dangerOfStarting(ctx, array);
  if (danger !== null) {
    array.noteStartError(danger);
    array.log.error(array.logFields(), `the array is not started by itself: ${danger}`);
    return;
  }
  array.log.warn(
    array.logFields(),
    'members are missing, and have been waited for long enough: the array is started without them',
  );
  await tryStart(ctx, array);
}

/** Why only a person may start the array without the members that are absent; null if nothing can be lost by it. */
function dangerOfStarting(ctx: RaidContext, array: RaidArray): string | null {
  const absent = awaitedSlots(array).map(({ index }) => index);
  if (mayHaveGoneOn(array)) {
    return `slot ${absent.join(', ')} may have gone on without the others: bring it, or start the array by hand if it is lost`;
  }
  const [other] = namesakes(ctx, array);
  if (other === undefined) return null;
  return `slot ${absent.join(', ')} is missing, and array ${other.uuid} has the name ${array.recordedName} too: which of them it is, a person must say`;
}

/**
 * The device counts itself in and a current member out, in a superblock that we did not write to it: it went on without us,
 * and rebuilding it would destroy what it alone has.
 */
function wasUsedApart(array: RaidArray, bdev: Bdev, record: ArrayRecord): boolean {
  const own = array.slots.find(({ recordedUuid }) => recordedUuid === bdev.uuid);
  return own !== undefined && record.seqNumber > own.lastSeqNumber && countsOut(array, own, record);
}

/** The superblock of the slot's device counts it in, and one of the array's members out. */
function countsOut(array: RaidArray, own: Slot, record: ArrayRecord): boolean {
  // By uuid: its slots may have other numbers than the array's, if some of these have come or gone.
  const stateOf = ({ recordedUuid }: Slot): SlotRecord['state'] | null =>
    record.slots.find(({ uuid }) => uuid === recordedUuid)?.state ?? null;
  const countsItselfIn = stateOf(own) === 'configured';
  const countsUsOut = array.slots.some((slot) => {
    const isIn = slot.uuid === slot.recordedUuid && slot.uuid !== nullUuid && !slot.isRemoved;
    const state = isIn ? stateOf(slot) : null;
    return state !== null && state !== 'configured';
  });
  return countsItselfIn && countsUsOut;
}

/** The slot's former member is there, and cannot be taken now: it is looked at again, and keeps its place until then. */
function defer(array: RaidArray, slot: Slot, { uuid }: Bdev): void {
  array.assembly.deferredMembers.add(uuid);
  // It has been plugged in anew.
  slot.isRemovedByHand = false;
}

/** A member that was out is back while the array is up: it is filled anew. */
async function reAdd(
  ctx: RaidContext,
  array: RaidArray,
  slot: Slot,
  bdev: Bdev,
  record: ArrayRecord,
  log: (message: string) => void,
): Promise<void> {
  if (record.seqNumber > array.metadata.seqNumber) {
    log('the device knows a newer state than the array that is online (two halves were used apart?): ignored');
    return;
  }
  if (wasUsedApart(array, bdev, record)) {
    log(
      'the device was used apart from the members that are online, and each half has what the other lacks: ignored; add it by hand to give up what it alone has',
    );
    return;
  }
  try {
    await addMember(ctx, array, bdev);
    log('a former member came back: it is being rebuilt');
  } catch (error) {
    if (RaidError.is(error) && error.code === 'ERR_RAID_BUSY' && array.slots.some(({ isRebuilding }) => isRebuilding)) {
      defer(array, slot, bdev);
      log('a former member came back: it is added when the rebuild that is running has ended');
      return;
    }
    log(`a former member came back and could not be added: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Starts the array if every member that its superblock, or its creation, names is there. */
export async function startIfComplete(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (!isOpen(array)) return;
  if (array.numDiscovered < array.numOperational || !array.canRunWith(isDiscovered)) return;
  takeName(ctx, array);
  await tryStart(ctx, array);
}

/** Starts the array. What goes wrong is told once; if it may pass, the array is started again after a while. */
async function tryStart(ctx: RaidContext, array: RaidArray): Promise<void> {
  try {
    await bringOnline(ctx, array);
  } catch (error) {
    const trouble = error instanceof Error ? error.message : String(error);
    if (trouble !== array.startError && !array.isDeleting)
      array.log.error(array.logFields(), `the array cannot be started: ${trouble}`);
    array.noteStartError(trouble);
    if (!RaidError.is(error) && !BdevError.is(error)) throw error;
    if (mayPass(error)) ctx.retries.later(startRetryMs, () => startAgain(ctx, array));
  }
  await examineDeferred(ctx, array);
}

async function startAgain(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (array.isAssembled) await startWhenAllAreSeen(ctx, array);
  else await startIfComplete(ctx, array);
}

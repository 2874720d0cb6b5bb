import { BdevError, nullUuid, Status } from '@raidkit/bdev';
import type { Bdev } from '@raidkit/bdev';
import { RaidArray } from '../array/array.js';
import type { Outside } from '../array/assembly-facts.js';
import type { RaidContext } from '../array/context.js';
import { freeName, namesakes, takeName } from './array-names.js';
import { RaidError, mayPass } from '../errors.js';
import { adoptOptions } from '../start/adopt-options.js';
import { awaitedSlots, isStranger, lineagesOf, mayHaveGoneOn, mistakenFor, requireCreation } from '../start/identity.js';
import { attach, checkBlockSize, configureMember, openMember } from '../membership/join.js';
import { assembleFromOthers, endArray } from '../membership/remove.js';
import { addMember } from '../membership/add.js';
import { arrayOfVolume, isClientsVolume, recordOuter } from '../membership/nesting.js';
import { newestTrusted } from '../bitmap/bitmap-load.js';
import { blocksForPages, summedBytes } from '../checksums/area.js';
import { bringOnline } from '../start/start.js';
import { agrees, isBorneOut, isOfStrangers, isOutvoted, keepOut, mayNotDecide } from '../start/strangers.js';
import type { Slot } from '../members/slot.js';
import type { ArrayRecord, ExtensionHeader, ReadResult, SlotRecord } from '../format/store.js';

/** Whether the slot has a member, possibly one that is being filled. */
const isDiscovered = (slot: Slot): boolean => slot.isOperational;

/** Milliseconds before a failed start or examination is tried again. */
const startRetryMs = 5000;
/** The delay between examinations doubles with each attempt up to this many milliseconds. */
const mostRetryMs = 60_000;

/**
 * Examines a device that has appeared: it may belong to an array that is waiting for it, or to one that is not known yet. Tries
 * again as long as it fails with an error that may pass.
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
      'the device could not be examined: this is tried again',
    );
    ctx.retries.later(retryMs, () => examine(ctx, bdev, { retryMs: Math.min(2 * retryMs, mostRetryMs), isByHand }));
  }
}

async function examineNow(ctx: RaidContext, bdev: Bdev, isByHand: boolean): Promise<void> {
  const { found, headers } = await readRecords(ctx, bdev, isByHand);
  // The device may have been claimed while it was being read.
  if (!mayTake(ctx, bdev)) return;
  if (found.kind === 'found') {
    const { name, uuid } = found.record;
    if (!ctx.mayAssemble(uuid)) {
      const message = `the device has the superblock of array ${name} (${uuid}), which is not allowed to run here`;
      if (isByHand) throw new RaidError('ERR_RAID_MEMBER', Status.NotPermitted, `${bdev.name}: ${message}`);
      ctx.registry.runtime.log.warn({ bdev: bdev.name, array: name, uuid }, `${message}: the device is not used`);
      return;
    }
    await examineFound(ctx, bdev, found.record, headers, isByHand);
    return;
  }
  if (found.kind === 'unusable') {
    ctx.registry.runtime.log.warn({ bdev: bdev.name }, `the superblock is damaged: ${found.message}`);
  }
  await takeAwaited(ctx, bdev);
}

/** Examines the device after a delay. */
export function examineLater(ctx: RaidContext, bdev: Bdev, options: { afterMs?: number; isByHand?: boolean } = {}): void {
  const { afterMs = startRetryMs, isByHand = false } = options;
  ctx.retries.later(afterMs, () => examine(ctx, bdev, { isByHand }));
}

/**
 * Whether the device is available and the service has not been stopped. To be called after each await. A claimed device is
 * noted, because it may be released later.
 */
function mayTake(ctx: RaidContext, bdev: Bdev): boolean {
  if (bdev.claimedBy !== null) ctx.passOver(bdev);
  return bdev.claimedBy === null && bdev.state === 'registered' && !ctx.retries.isStopped;
}

/** Whether the array is configuring and accepts members. To be called after each await. */
function isOpen({ lifecycle }: RaidArray): boolean {
  return lifecycle.phase === 'configuring' && !lifecycle.isEnding;
}

/** Reads the superblock and our headers behind it. Unreadable headers are ignored. */
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
          'the metadata after the superblock cannot be read: the device is identified by its uuid alone',
        );
        return [];
      });
    return { found, headers };
  } finally {
    descriptor.close();
  }
}

/** Gives a device without superblock to the array that was created with its name or uuid before the device existed. */
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
      array.log.warn(array.logFields(slot), `an expected device cannot be used: ${array.startError}`);
      if (mayPass(error)) throw error;
      return;
    }
    await startIfComplete(ctx, array);
    return;
  }
}

/** Handles a device with a superblock. */
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
  // A client that can write to a device can put any superblock there. A superblock that does not name the device proves
  // nothing.
  if (!record.slots.some(({ uuid }) => uuid === bdev.uuid)) {
    log('its superblock does not name the device among the members: ignored');
    return;
  }
  const inner = arrayOfVolume(ctx, bdev);
  if (inner !== undefined && inner.outerUuid !== record.uuid) {
    if (!isByHand) {
      log(
        `it is a volume, recorded as a member of array ${String(inner.outerUuid)}, and has the superblock of another array: ignored`,
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
      // The device may be one of those that replace the array if this start fails.
      if (array.isStarting) array.assembly.defer(bdev);
      if (!isOfMost) return;
    }
  }
  const mustMakeAnew = (old: RaidArray): boolean =>
    isOfMost || isReplaceable(old, record) || (!isMistaken && isOfStrangers(old, record, lineages));
  // Members that are known stay known if a device without headers has the same record as they do.
  let known: string[] = [];
  let outside: ReadonlyMap<string, Outside> = new Map();
  if (array !== undefined && mustMakeAnew(array)) {
    if (!isOfMost && agrees(array, record)) known = [...array.assembly.lineages];
    outside = knownTo(array);
    await endArray(ctx, array, 'it is being assembled again');
    if (!mayTake(ctx, bdev)) return;
    array = findByUuid(ctx, record.uuid);
  }
  if (array === undefined) {
    array = makeFromRecord(ctx, record, headers, log);
    if (array === undefined) return;
    array.assembly.isVouchedFor = isByHand;
    for (const lineage of known) array.assembly.lineages.add(lineage);
    array.assembly.isOfMost = isOfMost;
    for (const [uuid, found] of outside)
      if (!record.slots.some((entry) => entry.uuid === uuid)) array.assembly.noteOutside(uuid, found);
    await joinRecorded(ctx, array, bdev, record, headers, log);
    await examineOthers(ctx, array, bdev);
    return;
  }
  await joinRecorded(ctx, array, bdev, record, headers, log);
}

/** What the array's members and the devices outside it have of it. */
function knownTo({ assembly, slots }: RaidArray): Map<string, Outside> {
  const { lineages, outside } = assembly;
  const known = new Map(outside);
  for (const { descriptor, foundSeqNumber } of slots)
    if (descriptor !== null) known.set(descriptor.bdev.uuid, { seqNumber: foundSeqNumber, lineages });
  return known;
}

/** Whether the device is as large as its superblock says. */
function isLargeEnough(bdev: Bdev, record: ArrayRecord): boolean {
  const entry = record.slots.find(({ uuid }) => uuid === bdev.uuid);
  return entry !== undefined && bdev.numBlocks >= entry.dataOffsetBlocks + entry.dataSizeBlocks;
}

/**
 * Whether the array should be made anew from this superblock: the array is not online and the superblock is newer, or it is
 * offline and a member has returned.
 */
function isReplaceable(array: RaidArray, record: ArrayRecord): boolean {
  if (array.isDeleting || array.isStarting || array.lifecycle.isBeingCreated || array.store === null) return false;
  if (array.state === 'configuring') return record.seqNumber > array.metadata.seqNumber;
  // Some members may lack the superblock of an interrupted update.
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
    log(`its superblock has level code ${record.level}, for which no module is loaded: ignored`);
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
  array.metadata.adoptSeqNumber(record.seqNumber);
  array.expectMembers(record.slots.filter(({ state }) => state === 'configured').length);
  for (const slot of array.slots) {
    const recorded = record.slots[slot.index];
    if (recorded === undefined) continue;
    slot.adoptRecord(recorded);
  }
  tryOptions(array, headers, log);
  const isRecordedIn = ({ index }: Slot): boolean => record.slots[index]?.state === 'configured';
  if (!array.canRunWith(isRecordedIn)) {
    array.noteStartError(`too few members are in sync by its superblock: ${array.whyNotWith(isRecordedIn)}`);
    log(`the array cannot be started: ${array.startError}`);
  }
  ctx.list(array);
  return array;
}

/**
 * To be called after a start. Examines devices that appeared while the array was being started without them, or while it could
 * not accept them. Until then their slots are kept for them.
 */
export async function examineDeferred(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (await assembleFromOthers(ctx, array)) return;
  const { deferredMembers, reexamined } = array.assembly;
  const uuids = [...deferredMembers];
  for (const uuid of uuids) reexamined.add(uuid);
  deferredMembers.clear();
  for (const uuid of uuids) {
    await examineLatecomer(ctx, array, uuid);
    reexamined.delete(uuid);
  }
  ctx.fillFromSpares(array);
}

async function examineLatecomer(ctx: RaidContext, array: RaidArray, uuid: string): Promise<void> {
  // A device that the operator removed stays out until it is plugged in again or the operator adds it.
  if (array.slots.some((slot) => slot.recordedUuid === uuid && slot.isRemovedByHand)) return;
  const bdev = ctx.registry.get(uuid);
  if (bdev === undefined || !mayTake(ctx, bdev)) return;
  try {
    await examine(ctx, bdev);
  } catch (error) {
    array.log.warn({ ...array.logFields(), bdev: bdev.name, err: error }, 'a deferred device cannot be examined');
  }
}

/**
 * An operator says that a device belongs to an array that waits for members. It is accepted if its superblock confirms that.
 */
export async function addAwaited(ctx: RaidContext, array: RaidArray, bdev: Bdev): Promise<void> {
  if (bdev.claimedBy !== null)
    throw new RaidError(
      'ERR_RAID_MEMBER',
      Status.NotPermitted,
      `array ${array.name}: ${bdev.name} is claimed by ${bdev.claimedBy}`,
    );
  await examine(ctx, bdev, { isByHand: true });
  // A newer superblock may have made the array anew.
  const now = findByUuid(ctx, array.uuid);
  if (now?.slots.some(({ descriptor }) => descriptor?.bdev === bdev) === true) return;
  requireCreation(now ?? array, bdev);
}

/** Examines members that exist already, current ones first, so that the array starts as soon as possible. */
async function examineOthers(ctx: RaidContext, array: RaidArray, seen: Bdev): Promise<void> {
  const isIn = ({ recordedUuid, uuid }: Slot): boolean => uuid === recordedUuid;
  for (const slot of [...array.slots.filter(isIn), ...array.slots.filter((one) => !isIn(one))]) {
    const other = slot.recordedUuid === nullUuid ? undefined : ctx.registry.get(slot.recordedUuid);
    if (other !== undefined && other !== seen && other.claimedBy === null) await examine(ctx, other);
  }
}

/** An error is noted. It will occur again when the array is started. */
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
  // The slot that the device has now takes precedence over a former one.
  const slot =
    array.slots.find(({ uuid }) => uuid === bdev.uuid) ?? array.slots.find(({ recordedUuid }) => recordedUuid === bdev.uuid);
  if (slot === undefined) {
    array.assembly.noteOutside(bdev.uuid, { seqNumber: record.seqNumber, lineages: lineagesOf(bdev, record, headers) });
    log('the device is not among its array’s members: ignored');
    return;
  }
  if (slot.role === 'opening') {
    defer(array, slot, bdev);
    log(`slot ${slot.index} is about to get another member: otherwise the device is examined again`);
    return;
  }
  if (slot.descriptor !== null) {
    log(`slot ${slot.index} has a member with the same uuid already: ignored`);
    return;
  }
  const truly = mistakenFor(bdev, record, headers);
  if (truly !== null) {
    const message = `${bdev.name} has the uuid ${bdev.uuid}, of slot ${slot.index}, but the header on it says member ${truly}: devices were swapped, or a uuid was given to the wrong one`;
    log(`${message}: ignored`);
    if (array.state === 'configuring') array.noteStartError(message);
    return;
  }
  if (array.state === 'online') {
    await reAdd(ctx, array, slot, bdev, record, log);
    return;
  }
  if (!isOpen(array)) {
    // The array is starting without this member or is ending. The member is examined again when the array is online.
    array.assembly.defer(bdev);
    log(`slot ${slot.index} came too late: the array is ${array.isStarting ? 'starting' : 'stopping'}`);
    return;
  }
  for (const lineage of lineagesOf(bdev, record, headers)) array.assembly.lineages.add(lineage);
  tryOptions(array, headers, log);
  const isSeenAgain = array.assembly.seen.has(bdev.uuid);
  array.assembly.seen.add(bdev.uuid);
  if (slot.uuid !== bdev.uuid) {
    array.assembly.defer(bdev);
    if (isSeenAgain) return;
    if (countsOut(array, slot, record)) array.assembly.splitBrain.push({ slot: slot.index, seqNumber: record.seqNumber });
    log(
      `the device is slot ${slot.index}, which was removed from the array: it is out of sync, and is rebuilt once the array is online`,
    );
    await startWhenAllAreSeen(ctx, array);
    return;
  }
  if (array.assembly.nonFresh.has(bdev.uuid)) {
    array.assembly.defer(bdev);
    log(`the device is slot ${slot.index}, and its state is stale: ignored until the array is online`);
    return;
  }
  if (record.seqNumber > array.metadata.seqNumber) {
    log('the device has a newer state of the array than the present members: ignored');
    return;
  }
  const needed = blocksNeeded(array, slot, bdev, newestTrusted(headers, record.seqNumber));
  if (bdev.numBlocks < needed) {
    log(`the device has ${bdev.numBlocks} blocks, and the recorded data area needs ${needed}: ignored`);
    return;
  }
  openMember(ctx, array, slot, bdev);
  checkBlockSize(array, bdev);
  attach(array, slot, bdev);
  slot.join();
  slot.noteSuperblock(record.seqNumber);
  await startWhenAllAreSeen(ctx, array);
}

/**
 * Returns the blocks that the slot's data needs, including checksums if the header, which belongs to the superblock, records
 * them.
 */
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
 * Starts the array if it is complete. If the superblock has members that are out, waits for them for a short time: their
 * superblocks may be newer, or show a split brain.
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
  // Callers of `waitForExamine` wait for complete arrays, but not for members that may never come.
  const done = isComplete ? ctx.registry.whileExamining(waited) : waited;
  done.catch((error: unknown) =>
    runtime.log.error({ array: array.name, err: error }, 'an array could not be started after a wait'),
  );
}

/** After the wait, starts the array with the members that are present, unless that would put data at risk. */
async function startWithout(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (!isOpen(array)) return;
  const danger = dangerOfStarting(ctx, array);
  if (danger !== null) {
    array.noteStartError(danger);
    array.log.error(array.logFields(), `the array is not started automatically: ${danger}`);
    return;
  }
  array.log.warn(array.logFields(), 'the time to wait for missing members has passed: the array is started without them');
  await tryStart(ctx, array);
}

/** Returns why only an operator may start the array without the absent members; null if no data is at risk. */
function dangerOfStarting(ctx: RaidContext, array: RaidArray): string | null {
  const absent = awaitedSlots(array).map(({ index }) => index);
  if (mayHaveGoneOn(array)) {
    return `slot ${absent.join(', ')} may have been used without the others: bring it back, or start the array manually if it is lost`;
  }
  const [other] = namesakes(ctx, array);
  if (other === undefined) return null;
  return `slot ${absent.join(', ')} is missing, and array ${other.uuid} has the name ${array.recordedName} too: an operator must choose which of them to start`;
}

/**
 * Whether the device's superblock records the device as current and one of the array's members as out, and was not written by
 * this array. Then the device was used without them, and rebuilding it would destroy data that it alone has.
 */
function wasUsedApart(array: RaidArray, bdev: Bdev, record: ArrayRecord): boolean {
  const own = array.slots.find(({ recordedUuid }) => recordedUuid === bdev.uuid);
  return own !== undefined && record.seqNumber > own.newestKnown && countsOut(array, own, record);
}

/** Whether the superblock of the slot's device records the device as current and one of the array's current members as out. */
function countsOut(array: RaidArray, own: Slot, record: ArrayRecord): boolean {
  // Compared by uuid, because slots may have been renumbered since.
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

/** The slot's former member is present but cannot be accepted now. It is examined again later, and the slot is kept for it. */
function defer(array: RaidArray, slot: Slot, bdev: Bdev): void {
  array.assembly.defer(bdev);
  // The device was plugged in again.
  slot.setRemovedByHand(false);
}

/** Adds a former member that returned to the online array. It is rebuilt. */
async function reAdd(
  ctx: RaidContext,
  array: RaidArray,
  slot: Slot,
  bdev: Bdev,
  record: ArrayRecord,
  log: (message: string) => void,
): Promise<void> {
  if (record.seqNumber > array.metadata.seqNumber) {
    log('the device has a newer state than the online array (split brain?): ignored');
    return;
  }
  if (wasUsedApart(array, bdev, record)) {
    log(
      'split brain: the device and the online members were used without each other, and each has writes that the other lacks: ignored; add it manually to discard the writes that only it has',
    );
    return;
  }
  try {
    await addMember(ctx, array, bdev);
    log('a former member came back: it is being rebuilt');
  } catch (error) {
    if (RaidError.is(error) && error.code === 'ERR_RAID_BUSY' && array.slots.some(({ isRebuilding }) => isRebuilding)) {
      defer(array, slot, bdev);
      log('a former member came back: it is added when the running rebuild has ended');
      return;
    }
    log(`a former member came back and could not be added: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Starts the array if every member is present that its superblock or its creation names. */
export async function startIfComplete(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (!isOpen(array)) return;
  if (array.numDiscovered < array.numOperational || !array.canRunWith(isDiscovered)) return;
  takeName(ctx, array);
  await tryStart(ctx, array);
}

/** Starts the array. An error is logged once; if it may pass, the start is tried again after a delay. */
async function tryStart(ctx: RaidContext, array: RaidArray): Promise<void> {
  try {
    await bringOnline(ctx, array);
  } catch (error) {
    const startError = error instanceof Error ? error.message : String(error);
    if (startError !== array.startError && !array.isDeleting)
      array.log.error(array.logFields(), `the array cannot be started: ${startError}`);
    array.noteStartError(startError);
    if (!RaidError.is(error) && !BdevError.is(error)) throw error;
    if (mayPass(error)) ctx.retries.later(startRetryMs, () => startAgain(ctx, array));
  }
  await examineDeferred(ctx, array);
}

async function startAgain(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (array.isAssembled) await startWhenAllAreSeen(ctx, array);
  else await startIfComplete(ctx, array);
}

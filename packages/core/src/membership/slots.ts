import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { quiesced } from '../io/quiesce.js';
import { checkGeometry, checkLevel, checkRedundancy } from '../level/geometry.js';
import type { RaidGeometry } from '../level/context.js';
import type { CopySet, RaidLevel } from '../level/level.js';
import { doesNotTake } from '../level/options.js';
import { mostSlots } from '../level/registry.js';
import { Slot } from '../members/slot.js';
import { nullUuid, Status } from '@raidkit/bdev';
import { startSumIfDue } from '../sync/start-process.js';
import { recordOuter } from './nesting.js';
import { removeOnRequest } from './remove.js';

/**
 * Changes of the number of slots of an online array (docs/decisions/slots-come-and-go.md). One superblock update records the
 * new number. If it is interrupted, a slot that no superblock has is an empty one.
 */

/** Milliseconds between checks whether any work is in progress. */
const lookAgainMs = 10;

/** Throws if the level does not allow this number of slots, or the array cannot change it now. */
export function checkCanChangeSlots(array: RaidArray, kind: 'copy' | 'space', numSlots: number): void {
  const { module, name, options } = array;
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: ${message}`);
  };
  if (module.addedSlot !== kind) {
    const why =
      module.addedSlot === 'space' && numSlots < array.numSlots
        ? 'each member has data that no other member has'
        : 'its layout depends on the number of members';
    refuse(`level ${module.level} cannot have ${numSlots} slots instead of ${array.numSlots}: ${why}`);
  }
  if (array.state !== 'online' || array.isDeleting || array.isReadOnly)
    refuse(`it is ${array.isReadOnly ? 'read-only' : array.state}: slots can be added and removed only while it is online`);
  if (array.hasIntegrity && kind === 'space')
    refuse(
      'with checksums slots cannot be added or removed: its write-intent bitmap is for the present ones; turn checksums off, or create another array, and copy',
    );
  if (numSlots < module.baseBdevsMin || numSlots > mostSlots)
    refuse(`level ${module.level} takes ${module.baseBdevsMin} to ${mostSlots} members, not ${numSlots}`);
  if (module.acceptsSlots?.(numSlots, options) === false)
    refuse(`${numSlots < array.numSlots ? 'no slot can be removed: ' : ''}${doesNotTake(module, numSlots, options)}`);
}

/**
 * Called before the number of slots changes. Records the present number, if the update that should have done so has failed.
 * Otherwise adding a slot after removing one, or the reverse, would restore the recorded number, and headers of the former
 * slots would be taken for those of the present ones. Rejects if it cannot be recorded.
 */
export async function recordNumber({ metadata, numSlots }: RaidArray): Promise<void> {
  if (metadata.recordedSlots !== 0 && metadata.recordedSlots !== numSlots) await metadata.update();
}

/** Creates a slot that is not part of the array yet. It gets sizes and index once its device has been accepted. */
export function newSlot(array: RaidArray): Slot {
  return new Slot(array.numSlots, null);
}

/** Throws if a copy cannot be added, before its device is changed. */
export function checkCanAppendCopy(array: RaidArray): void {
  checkCanChangeSlots(array, 'copy', array.numSlots + 1);
  const slot = newSlot(array);
  slot.setDataArea(slot.dataOffset, array.memberCapacity(0));
  planSlots(array, [...array.slots, slot]);
}

/** Appends the slot, which has a device without data yet, to the array. Call it in the turn in which the rebuild is queued. */
export function appendCopy(array: RaidArray, slot: Slot): void {
  checkCanChangeSlots(array, 'copy', array.numSlots + 1);
  changeSlots(array, [...array.slots, slot]);
}

/**
 * Removes a slot. Its member, if any, leaves permanently and its superblock is cleared. Resolves when the other members'
 * superblocks have one slot less. Rejects if the array cannot do without the member.
 */
export async function removeSlot(ctx: RaidContext, array: RaidArray, slot: Slot): Promise<void> {
  checkCanRemove(array, slot);
  const bdev = slot.descriptor?.bdev ?? null;
  const { uuid } = array;
  const wasByHand = slot.isRemovedByHand;
  try {
    if (bdev !== null) await removeOnRequest(ctx, array, slot, 'its slot is removed on request', { goesWithSlot: true });
    // Prevents that a spare fills the slot.
    else slot.setRemovedByHand(true);
    await array.lifecycle.whileBusy(array.afterGrowth(() => dropSlot(array, slot)));
  } catch (error) {
    if (bdev === null) slot.setRemovedByHand(wasByHand);
    throw error;
  }
  array.log.info({ ...array.logFields(), slots: array.numSlots }, 'a slot has been removed');
  // The slot may have been the one that was too small, or that had to be filled before blocks can get checksums.
  array.growIfPossible();
  startSumIfDue(ctx, array);
  // Only now, because the member could have come back before. Skipped if an array has claimed the device meanwhile.
  if (bdev !== null) await clearFormer(ctx, array, bdev, uuid);
}

function checkCanRemove(array: RaidArray, slot: Slot): void {
  const refuse = (message: string, errno: Status = Status.Invalid): never => {
    throw new RaidError(errno === Status.Busy ? 'ERR_RAID_BUSY' : 'ERR_RAID_INVALID', errno, `array ${array.name}: ${message}`);
  };
  checkCanChangeSlots(array, 'copy', array.numSlots - 1);
  if (array.slots[slot.index] !== slot) refuse('the slot was removed already');
  slotsWithout(array, slot);
  if (slot.role === 'opening') refuse(`slot ${slot.index} is about to get a member`, Status.Busy);
  if (slot.replacement !== null || array.slots.some((other) => other !== slot && other.replacement !== null))
    refuse('a member is being replaced: remove the slot when that has ended', Status.Busy);
  const { process } = array;
  if (process !== null && !(process.targets.length === 1 && process.target === slot))
    refuse(`a ${process.type} is running: remove the slot when it has ended, or cancel it`, Status.Busy);
  if (array.waitsFor !== null && !slot.isRebuilding)
    refuse(`its background process waits for that of array ${array.waitsFor}: remove the slot when it has ended`, Status.Busy);
  if (slot.isConfigured && !array.canDoWithout(slot))
    refuse(`it cannot do without ${String(slot.name)} of slot ${slot.index}`, Status.Busy);
  // The list of bad blocks identifies slots by number. An interrupted update would leave it with other numbers than the
  // superblock.
  const marked = array.slots.find(({ index }) => index > slot.index && array.badBlocks.countOf(index) > 0);
  if (marked !== undefined)
    refuse(`slot ${marked.index} has bad blocks: remove slot ${slot.index} when they have been written, or replace its member`);
}

/**
 * Returns the array's slots without this one: later slots move up or, if that would move data, the last slot takes its place.
 * Throws if data would move in both cases.
 */
function slotsWithout(array: RaidArray, slot: Slot): readonly Slot[] {
  const tried = tryWithout(array, slot);
  if (tried.slots !== null) return tried.slots;
  const able = array.slots.filter((other) => other !== slot && tryWithout(array, other).slots !== null);
  if (able.length === 0) throw tried.error;
  const indexes = able.map(({ index }) => index).join(', ');
  throw new RaidError(
    'ERR_RAID_INVALID',
    Status.Invalid,
    `array ${array.name}: slot ${slot.index} cannot be removed, because data of other members would move; ${able.length === 1 ? 'this one can be' : 'each of these can be'}: ${indexes}`,
  );
}

function tryWithout(
  array: RaidArray,
  slot: Slot,
): { slots: readonly Slot[]; error?: undefined } | { slots: null; error: unknown } {
  const rest = array.slots.filter((other) => other !== slot);
  const last = rest.at(-1) ?? slot;
  let error: unknown;
  for (const slots of [rest, array.slots.slice(0, -1).map((other) => (other === slot ? last : other))])
    try {
      planSlots(array, slots);
      return { slots };
    } catch (refusal) {
      error ??= refusal;
    }
  return { slots: null, error };
}

/** Removes a slot that is empty. */
async function dropSlot(array: RaidArray, slot: Slot): Promise<void> {
  checkCanRemove(array, slot);
  if (slot.hasDevice)
    throw new RaidError('ERR_RAID_BUSY', Status.Busy, `array ${array.name}: slot ${slot.index} has a member again`);
  await recordNumber(array);
  if (array.badBlocks.countOf(slot.index) > 0) {
    // The list of bad blocks is written before the superblock. If the update is interrupted, a member that comes back to this
    // slot must be filled completely.
    slot.noteLastSeqNumber(0);
    slot.notePagesTaken(0);
    await array.metadata.update();
  }
  await whenStill(array, () => {
    checkCanRemove(array, slot);
    if (slot.hasDevice)
      throw new RaidError('ERR_RAID_BUSY', Status.Busy, `array ${array.name}: slot ${slot.index} has a member again`);
    const before = [...array.slots];
    changeSlots(array, slotsWithout(array, slot));
    array.badBlocks.renumber((index) => array.slots.findIndex((one) => one === before[index]));
  });
  await array.metadata.update();
}

/**
 * Calls `then` in a turn in which nothing of the array is in progress, so that no request holds a slot number or a path to its
 * data. Repeats until `then` does not return false. Rejects if a background process begins meanwhile.
 */
export async function whenStill(array: RaidArray, then: () => unknown): Promise<void> {
  const { runtime } = array.registry;
  for (;;) {
    const { bdev, process } = array;
    if (bdev === null || array.state !== 'online' || array.isDeleting) throw goneOffline(array);
    // A process that is filling the member that has just left is about to end.
    if (process !== null && (process.targets.length === 0 || process.targets.some(({ role }) => role === 'rebuilding')))
      throw new RaidError('ERR_RAID_BUSY', Status.Busy, `array ${array.name}: a ${process.type} has started meanwhile`);
    if (array.waitsFor !== null)
      throw new RaidError(
        'ERR_RAID_BUSY',
        Status.Busy,
        `array ${array.name}: its background process waits for that of array ${array.waitsFor}`,
      );
    // Users' I/O is not held while processes are queued anyway.
    if (array.processes.isIdle && (await doIfStill(array, bdev, then))) return;
    await new Promise<void>((resolve) => void runtime.setTimer(resolve, lookAgainMs));
  }
}

/** Resolves to false if something of the array was in progress, without calling `then`, or if `then` returned false. */
async function doIfStill(array: RaidArray, bdev: Bdev, then: () => unknown): Promise<boolean> {
  const range = await quiesced(bdev, 0, bdev.numBlocks);
  array.holdRepairs();
  try {
    await array.metadata.whenIdle();
    await array.repairsIdle();
    for (const slot of array.slots) await slot.whenDrained();
    const isAtRest = array.processes.isIdle && array.metadata.isIdle() && !array.isRepairing;
    if (!isAtRest || array.slots.some(({ partsInFlight }) => partsInFlight > 0)) return false;
    return then() !== false;
  } finally {
    array.releaseRepairs();
    bdev.unquiesce(range);
  }
}

function goneOffline({ name, state, isDeleting }: RaidArray): RaidError {
  return new RaidError(
    'ERR_RAID_INVALID',
    Status.Invalid,
    `array ${name} is ${isDeleting ? 'being stopped or deleted' : state}`,
  );
}

/** Gives the array these slots with their members. Throws, without changing anything, if the level refuses them. */
export function changeSlots(array: RaidArray, slots: readonly Slot[]): void {
  const geometry = planSlots(array, slots);
  array.setSlots(slots);
  array.setGeometry(geometry);
  for (const [index, slot] of slots.entries()) slot.setDataArea(slot.dataOffset, geometry.memberBlocks[index] ?? slot.dataSize);
}

/**
 * Returns the geometry of the array with these slots, without changing anything. Throws if the level refuses them or data would
 * move.
 */
function planSlots(array: RaidArray, slots: readonly Slot[]): RaidGeometry {
  const { level, geometry: kept } = array;
  if (level === null) throw goneOffline(array);
  const before = { slots: [...array.slots], sets: setsOf(level) };
  return array.asIf(slots, () => {
    const geometry = level.resize(
      slots.map(({ dataSize }) => dataSize),
      kept,
    );
    checkLevel(array, level);
    checkGeometry(array, geometry);
    checkRedundancy(array, level, geometry);
    checkSizes(array, before.slots, kept, geometry);
    checkMovesNothing(array, before, { slots, sets: setsOf(level) });
    return geometry;
  });
}

/** Throws unless copies keep their size, and appended space leaves the other slots unchanged. */
function checkSizes(
  { module, name, slots }: RaidArray,
  before: readonly Slot[],
  kept: RaidGeometry,
  geometry: RaidGeometry,
): void {
  const isCopy = module.redundancy !== 'none';
  const isSame = before.every((slot, index) => {
    const now = slots.indexOf(slot);
    return now < 0 || geometry.memberBlocks[now] === kept.memberBlocks[index];
  });
  const isSameStripe =
    kept.stripe?.arrayBlocks === geometry.stripe?.arrayBlocks && kept.stripe?.memberBlocks === geometry.stripe?.memberBlocks;
  const fits = isCopy ? geometry.numBlocks === kept.numBlocks && isSameStripe : geometry.numBlocks > kept.numBlocks;
  if (isSame && fits) return;
  const sizes = `${kept.numBlocks} blocks become ${geometry.numBlocks}`;
  const message = `array ${name}: level ${module.level} cannot have ${geometry.memberBlocks.length} slots: data would move (${sizes})`;
  throw new RaidError(isCopy ? 'ERR_RAID_MODULE' : 'ERR_RAID_MEMBER', Status.Invalid, message);
}

/** The slots of an array, and the copies that they hold. */
interface Layout {
  readonly slots: readonly Slot[];
  readonly sets: readonly CopySet[];
}

/** Returns the sets of copies of the level as it is now. A group is returned as a set of whole members. */
function setsOf({ copyGroups, copySets }: RaidLevel): readonly CopySet[] {
  if (copySets !== undefined) return copySets;
  return (copyGroups ?? []).map((group) => ({ numBlocks: 1, places: group.map((slot) => ({ slot, offsetBlocks: 0 })) }));
}

/** Throws unless each set keeps exactly those of its former slots that are still there, and at least one. */
function checkMovesNothing({ module, name }: RaidArray, before: Layout, after: Layout): void {
  const kept = ({ sets, slots }: Layout, others: Layout): string[] =>
    sets.map(({ numBlocks, places }) => {
      const same = places.flatMap(({ offsetBlocks, slot }) => {
        const at = before.slots.findIndex((one) => one === slots[slot]);
        return at >= 0 && others.slots.some((one) => one === slots[slot]) ? `${at}+${offsetBlocks}` : [];
      });
      return same.length === 0 ? 'none' : `${numBlocks}: ${same.sort().join()}`;
    });
  const [had, has] = [kept(before, after), kept(after, before)];
  if (had.length === has.length && had.every((set, index) => set === has[index] && set !== 'none')) return;
  throw new RaidError(
    'ERR_RAID_INVALID',
    Status.Invalid,
    `array ${name}: level ${module.level} cannot have these ${after.slots.length} slots: data would move`,
  );
}

/** Clears the superblock of a former member. Failures are logged: the device is not accepted as a member in any case. */
async function clearFormer(ctx: RaidContext, array: RaidArray, bdev: Bdev, uuid: string): Promise<void> {
  const { store } = array;
  if (store === null || bdev.state !== 'registered' || bdev.claimedBy !== null) return;
  try {
    const descriptor = ctx.registry.open(bdev, { writable: true, ioTimeoutMs: ctx.memberOptions.ioTimeoutMs });
    try {
      descriptor.claim(`raid array ${array.name}`);
      const found = await store.read(descriptor, { isVouchedFor: true });
      if (found.kind === 'found' && found.record.uuid === uuid) await store.clear(descriptor);
      await recordOuter(ctx, bdev, nullUuid);
    } finally {
      descriptor.close();
    }
  } catch (error) {
    array.log.warn(
      { ...array.logFields(), bdev: bdev.name, err: error },
      'the superblock of a former member could not be cleared: the device is refused until it is wiped',
    );
  }
}

import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { quiesced } from '../io/quiesce.js';
import { checkCopySets, checkGeometry, checkLevel } from '../level/geometry.js';
import type { RaidGeometry } from '../level/context.js';
import type { CopySet, RaidLevel } from '../level/level.js';
import { doesNotTake } from '../level/options.js';
import { mostSlots } from '../level/registry.js';
import { Slot } from '../members/slot.js';
import { nullUuid } from '@raidkit/bdev';
import { startSumIfDue } from '../sync/start-process.js';
import { recordOuter } from './nesting.js';
import { removeMember } from './remove.js';

/**
 * The number of an array's slots, while it is up (docs/decisions/slots-come-and-go.md). A round of superblocks says the new
 * number; a slot that no superblock has, if the round was cut short, is an empty one.
 */

/** How often it is looked whether nothing is under way, in milliseconds. */
const lookAgainMs = 10;

/** Refuses a level whose data lies where the number of slots says, and a number that it does not take. */
export function checkCanChangeSlots(array: RaidArray, kind: 'copy' | 'space', numSlots: number): void {
  const { module, name, options } = array;
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${name}: ${message}`);
  };
  if (module.addedSlot !== kind) {
    const why =
      module.addedSlot === 'space' && numSlots < array.numSlots
        ? 'each member has data that no other one has'
        : 'where its data lies depends on how many there are';
    refuse(`level ${module.level} cannot have ${numSlots} slots instead of ${array.numSlots}: ${why}`);
  }
  if (array.state !== 'online' || array.isDeleting || array.isReadOnly)
    refuse(`it is ${array.isReadOnly ? 'read-only' : array.state}: slots come and go while it is online`);
  if (array.hasIntegrity && kind === 'space')
    refuse(
      'with checksums it keeps the members that it has: its map of what was written is for these; turn checksums off, or create another array, and copy',
    );
  if (numSlots < module.baseBdevsMin || numSlots > mostSlots)
    refuse(`level ${module.level} takes ${module.baseBdevsMin} to ${mostSlots} members, not ${numSlots}`);
  if (module.acceptsSlots?.(numSlots, options) === false)
    refuse(`${numSlots < array.numSlots ? 'no slot can go: ' : ''}${doesNotTake(module, numSlots, options)}`);
}

/**
 * Before the number of slots changes: has it recorded how many there are, if the round that was to say so has failed. A slot that comes
 * behind one that has gone, or the other way, makes the number what it was, and headers would pass for those of the slots that there
 * were. Rejects if it cannot be recorded.
 */
export async function recordNumber({ metadata, numSlots }: RaidArray): Promise<void> {
  if (metadata.recordedSlots !== 0 && metadata.recordedSlots !== numSlots) await metadata.update();
}

/** A slot that the array does not have yet. It gets its sizes, and its place, when its device is known to be good. */
export function newSlot(array: RaidArray): Slot {
  return new Slot(array.numSlots, null);
}

/** Refuses one more copy before anything is done to its device. */
export function checkCanAppendCopy(array: RaidArray): void {
  checkCanChangeSlots(array, 'copy', array.numSlots + 1);
  const slot = newSlot(array);
  slot.dataSize = array.memberCapacity(0);
  planSlots(array, [...array.slots, slot]);
}

/** The slot, which has a device, is the array's last one from now on: it holds nothing yet. In one turn with what fills it. */
export function appendCopy(array: RaidArray, slot: Slot): void {
  checkCanChangeSlots(array, 'copy', array.numSlots + 1);
  changeSlots(array, [...array.slots, slot]);
}

/**
 * Takes a slot away, with its member if it has one: that is out for good, and its superblock is cleared. Resolves when the others'
 * superblocks have one slot less. Refused if the array cannot do without the member.
 */
export async function removeSlot(ctx: RaidContext, array: RaidArray, slot: Slot): Promise<void> {
  checkCanRemove(array, slot);
  const bdev = slot.descriptor?.bdev ?? null;
  const { uuid } = array;
  const wasByHand = slot.isRemovedByHand;
  // No spare takes the place.
  slot.isRemovedByHand = true;
  try {
    if (bdev !== null) await removeMember(ctx, array, slot, 'its slot is taken away on request', true);
    await array.lifecycle.whileBusy(array.afterGrowth(() => dropSlot(array, slot)));
  } catch (error) {
    if (bdev === null) slot.isRemovedByHand = wasByHand;
    throw error;
  }
  array.log.info({ ...array.logFields(), slots: array.numSlots }, 'a slot has been taken away');
  // It may have been the one that was too small, or for whose member blocks waited to be given checksums.
  array.growIfPossible();
  startSumIfDue(ctx, array);
  // Not before: until then it is a member that may come back. An array that has it meanwhile, or had taken it before, keeps it.
  if (bdev !== null) await clearFormer(ctx, array, bdev, uuid);
}

function checkCanRemove(array: RaidArray, slot: Slot): void {
  const refuse = (message: string, errno = 22): never => {
    throw new RaidError(errno === 16 ? 'ERR_RAID_BUSY' : 'ERR_RAID_INVALID', errno, `array ${array.name}: ${message}`);
  };
  checkCanChangeSlots(array, 'copy', array.numSlots - 1);
  if (array.slots[slot.index] !== slot) refuse('the slot is gone already');
  slotsWithout(array, slot);
  if (slot.role === 'opening') refuse(`slot ${slot.index} is about to get a member`, 16);
  if (slot.replacement !== null || array.slots.some((other) => other !== slot && other.replacement !== null))
    refuse('a member is being replaced: take the slot away when that has ended', 16);
  const { process } = array;
  if (process !== null && !(process.targets.length === 1 && process.target === slot))
    refuse(`a ${process.type} is running: take the slot away when it has ended, or cancel it`, 16);
  if (array.waitsFor !== null && !slot.isRebuilding)
    refuse(`its background work waits for that of array ${array.waitsFor}: take the slot away when it has ended`, 16);
  if (slot.isConfigured && !array.canDoWithout(slot))
    refuse(`it cannot do without ${String(slot.name)} of slot ${slot.index}`, 16);
  // Their list has them by slot, and a round that is cut short would leave it with other numbers than the superblock.
  const marked = array.slots.find(({ index }) => index > slot.index && array.badBlocks.countOf(index) > 0);
  if (marked !== undefined)
    refuse(
      `slot ${marked.index} has bad blocks: take slot ${slot.index} away when they have been written, or replace its member`,
    );
}

/**
 * The array's slots without this one: those behind it one nearer, or, if data of others would move by that, the last one in its
 * place. Refuses a slot without which it would move in any case.
 */
function slotsWithout(array: RaidArray, slot: Slot): readonly Slot[] {
  const tried = tryWithout(array, slot);
  if (tried.slots !== null) return tried.slots;
  const able = array.slots.filter((other) => other !== slot && tryWithout(array, other).slots !== null);
  if (able.length === 0) throw tried.error;
  const indexes = able.map(({ index }) => index).join(', ');
  throw new RaidError(
    'ERR_RAID_INVALID',
    22,
    `array ${array.name}: slot ${slot.index} cannot go, because data of others would move; ${able.length === 1 ? 'this one can' : 'of these each can'}: ${indexes}`,
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

/** The slot is empty, and goes. */
async function dropSlot(array: RaidArray, slot: Slot): Promise<void> {
  checkCanRemove(array, slot);
  if (slot.hasDevice) throw new RaidError('ERR_RAID_BUSY', 16, `array ${array.name}: slot ${slot.index} has a member again`);
  await recordNumber(array);
  if (array.badBlocks.countOf(slot.index) > 0) {
    // Their list is written before the superblock: should that be cut short, a member that comes back is filled with
    // everything.
    slot.lastSeqNumber = 0;
    slot.pagesTaken = 0;
    await array.metadata.update();
  }
  await whenStill(array, () => {
    checkCanRemove(array, slot);
    if (slot.hasDevice) throw new RaidError('ERR_RAID_BUSY', 16, `array ${array.name}: slot ${slot.index} has a member again`);
    const before = [...array.slots];
    changeSlots(array, slotsWithout(array, slot));
    array.badBlocks.renumber((index) => array.slots.findIndex((one) => one === before[index]));
  });
  await array.metadata.update();
}

/**
 * Does something in a turn in which nothing of the array's is under way, so that no request remembers the number of a slot, or
 * the way to its data. Refused if background work begins meanwhile. False of `then`: not yet.
 */
export async function whenStill(array: RaidArray, then: () => unknown): Promise<void> {
  const { runtime } = array.registry;
  for (;;) {
    const { bdev, process } = array;
    if (bdev === null || array.state !== 'online' || array.isDeleting) throw goneOffline(array);
    // One that fills the member which has just left is about to end.
    if (process !== null && (process.targets.length === 0 || process.targets.some(({ role }) => role === 'rebuilding')))
      throw new RaidError('ERR_RAID_BUSY', 16, `array ${array.name}: a ${process.type} has begun meanwhile`);
    if (array.waitsFor !== null)
      throw new RaidError(
        'ERR_RAID_BUSY',
        16,
        `array ${array.name}: background work waits for that of array ${array.waitsFor}`,
      );
    // Users are not made to wait for what is not to be had yet.
    if (array.processes.isIdle && (await doIfStill(array, bdev, then))) return;
    await new Promise<void>((resolve) => void runtime.setTimer(resolve, lookAgainMs));
  }
}

/** False if something of the array's is under way: nothing has been done then. */
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
  return new RaidError('ERR_RAID_INVALID', 22, `array ${name} is ${isDeleting ? 'being stopped or deleted' : state}`);
}

/** The array has these slots from now on, each with what it holds. Throws, with nothing changed, if its level refuses them. */
export function changeSlots(array: RaidArray, slots: readonly Slot[]): void {
  const geometry = planSlots(array, slots);
  array.setSlots(slots);
  array.setGeometry(geometry);
  for (const [index, slot] of slots.entries()) slot.dataSize = geometry.memberBlocks[index] ?? slot.dataSize;
}

/** The geometry of the array with these slots. Changes nothing; throws if its level refuses them, or any data would move. */
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
    checkCopySets(array, level, geometry);
    checkSizes(array, before.slots, kept, geometry);
    checkMovesNothing(array, before, { slots, sets: setsOf(level) });
    return geometry;
  });
}

/** Copies are as large as they were; what follows others leaves these as they are. */
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
  throw new RaidError(isCopy ? 'ERR_RAID_MODULE' : 'ERR_RAID_MEMBER', 22, message);
}

/** An array's slots, and what their members hold together. */
interface Layout {
  readonly slots: readonly Slot[];
  readonly sets: readonly CopySet[];
}

/** What slots hold together, as their level says now. Groups are sets of whole members. */
function setsOf({ copyGroups, copySets }: RaidLevel): readonly CopySet[] {
  if (copySets !== undefined) return copySets;
  return (copyGroups ?? []).map((group) => ({ numBlocks: 1, places: group.map((slot) => ({ slot, offsetBlocks: 0 })) }));
}

/** Throws unless each set keeps, of the slots that were there before, exactly those that it had, and at least one. */
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
    22,
    `array ${name}: level ${module.level} cannot have these ${after.slots.length} slots: data would move`,
  );
}

/** What is left on a device that was a member would say so for ever. Best effort: it is known as none at any later start. */
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
      'the superblock of a former member could not be cleared: it is refused until it is wiped',
    );
  }
}

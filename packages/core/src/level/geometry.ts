import { Status } from '@raidkit/bdev';
import { RaidError } from '../errors.js';
import type { LevelOptions, RaidGeometry, StripeShape } from './context.js';
import type { CopySet, RaidLevel } from './level.js';
import type { RaidModule } from './module.js';
import { maxMissing } from './redundancy.js';

/** The array whose level is being checked. */
export interface LevelSubject {
  readonly name: string;
  readonly module: RaidModule;
  readonly blockSize: number;
  readonly numSlots: number;
  readonly options: LevelOptions;
  /** Size of the slot's data area in blocks: that of its member, or the recorded size if the member is missing. */
  availableBlocks(slot: number): number;
}

/**
 * Checks what the level declared before core relies on it. Otherwise a size of 0 would be processed in an endless loop, and
 * blocks past a device's end or a missing method would be found only during a client's write. Throws `ERR_RAID_MODULE`.
 */
export function checkLevel(array: LevelSubject, level: RaidLevel): void {
  const { manifest, redundancy } = array.module;
  const isRedundant = redundancy !== 'none';
  const methods = [
    ['submitRw', true],
    ['submitNullPayload', manifest.nullPayload],
    ['resize', true],
    ['submitProcessRequest', isRedundant],
    ['redundantSlots', redundancy === 'parity'],
    ['onJournaled', redundancy === 'parity' && array.module.journal],
  ] as const;
  for (const [name, isDeclared] of methods) {
    if ((typeof level[name] === 'function') === isDeclared) continue;
    refuse(array, isDeclared ? `it must have ${name}` : `it has ${name}, but its module does not declare it`);
  }
  checkCopies(array, level);
}

function checkCopies(array: LevelSubject, { copyGroups, copySets }: RaidLevel): void {
  const given = [copyGroups, copySets].filter((copies) => copies !== undefined).length;
  if (array.module.redundancy !== 'copies') {
    if (given > 0) refuse(array, 'copyGroups and copySets are for levels with redundancy copies');
    return;
  }
  if (given !== 1) refuse(array, `it must have one of copyGroups and copySets, but has ${given === 0 ? 'none' : 'both'}`);
  if (copyGroups === undefined) return;
  const slots = copyGroups.flat();
  const isWhole = new Set(slots).size === slots.length && slots.length === array.numSlots;
  if (!isWhole || slots.some((slot) => !Number.isInteger(slot) || slot < 0 || slot >= array.numSlots))
    refuse(array, `copyGroups must have each of the slots 0 to ${array.numSlots - 1} once`);
}

/** Throws `ERR_RAID_MODULE` if what the level says of its redundancy cannot be right for this geometry. */
export function checkRedundancy(array: LevelSubject, level: RaidLevel, { numBlocks, stripe }: RaidGeometry): void {
  if (stripe === undefined) return;
  const most = mostOfStripe(array, level, stripe);
  if (stripe.arrayBlocks > most)
    refuse(
      array,
      `stripe.arrayBlocks is ${stripe.arrayBlocks}, and its redundancy leaves room for ${most} blocks of the array`,
    );
  if (level.copySets !== undefined) checkCopySets(array, level.copySets, stripe.memberBlocks);
  if (level.redundantSlots !== undefined && numBlocks > 0) checkRedundantSlots(array, 0, level.redundantSlots(0));
}

/** Returns how many blocks of the array a stripe can hold: each group or set of copies holds its blocks once. */
function mostOfStripe({ module, numSlots, options }: LevelSubject, level: RaidLevel, { memberBlocks }: StripeShape): number {
  const { copyGroups, copySets } = level;
  if (copyGroups !== undefined) return copyGroups.length * memberBlocks;
  if (copySets !== undefined) return copySets.reduce((sum, { numBlocks }) => sum + numBlocks, 0);
  return (numSlots - maxMissing(module, numSlots, options)) * memberBlocks;
}

/**
 * Throws `ERR_RAID_MODULE` unless these can be the slots that hold a stripe's parity. With too few of them, or wrong ones, a
 * resync would call parity consistent that it has not looked at.
 */
export function checkRedundantSlots(array: LevelSubject, stripe: number, slots: unknown): void {
  const { module, numSlots, options } = array;
  const least = maxMissing(module, numSlots, options);
  const isList =
    Array.isArray(slots) &&
    new Set(slots).size === slots.length &&
    slots.every((slot) => Number.isInteger(slot) && slot >= 0 && slot < numSlots);
  if (isList && slots.length >= least && slots.length < numSlots) return;
  const given = Array.isArray(slots) ? `[${slots.join(', ')}]` : String(slots);
  refuse(
    array,
    `redundantSlots(${stripe}) is ${given}, and must be ${least} to ${numSlots - 1} different slots of 0 to ${numSlots - 1}`,
  );
}

/** Throws `ERR_RAID_MODULE` unless the sets contain each block of each slot's stripe exactly once. */
function checkCopySets(array: LevelSubject, copySets: readonly CopySet[], memberBlocks: number): void {
  const bySlot = Array.from({ length: array.numSlots }, (): [from: number, to: number][] => []);
  for (const { numBlocks, places } of copySets) {
    if (!Number.isSafeInteger(numBlocks) || numBlocks < 1) refuse(array, `a set of copySets has ${numBlocks} blocks`);
    const slots = places.map(({ slot }) => slot);
    if (new Set(slots).size < slots.length) refuse(array, `a set of copySets has a slot twice: ${slots.join(', ')}`);
    for (const { offsetBlocks, slot } of places) {
      const ranges = bySlot[slot];
      if (ranges === undefined) return refuse(array, `copySets has slot ${slot}, but the array has ${array.numSlots}`);
      ranges.push([offsetBlocks, offsetBlocks + numBlocks]);
    }
  }
  for (const [slot, ranges] of bySlot.entries()) {
    let end = 0;
    for (const [from, to] of ranges.sort(([a], [b]) => a - b)) {
      if (from === end) end = to;
    }
    if (end !== memberBlocks || ranges.reduce((sum, [from, to]) => sum + to - from, 0) !== memberBlocks)
      refuse(array, `copySets must have each of the ${memberBlocks} blocks of a stripe on slot ${slot} once`);
  }
}

/** Throws `ERR_RAID_MODULE` if the geometry is inconsistent or exceeds the members' size. */
export function checkGeometry(array: LevelSubject, geometry: RaidGeometry): void {
  const { numBlocks, memberBlocks, optimalIoBoundary = 0, splitOnBoundary = false, writeUnitSize = 1, stripe } = geometry;
  const check = (isGood: boolean, message: string): void => {
    if (!isGood) refuse(array, `its geometry is wrong: ${message}`);
  };
  const isCount = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least;
  const mostBlocks = Math.floor(Number.MAX_SAFE_INTEGER / array.blockSize);
  check(
    isCount(numBlocks, 0) && numBlocks <= mostBlocks,
    `numBlocks is ${numBlocks}, and must be an integer from 0 to ${mostBlocks}`,
  );
  check(memberBlocks.length === array.numSlots, `memberBlocks has ${memberBlocks.length} entries for ${array.numSlots} slots`);
  for (let slot = 0; slot < array.numSlots; slot++) {
    const blocks = memberBlocks[slot] ?? -1;
    const most = array.availableBlocks(slot);
    check(isCount(blocks, 0) && blocks <= most, `memberBlocks of slot ${slot} is ${blocks}, but it has only ${most}`);
  }
  const leastBoundary = splitOnBoundary ? 1 : 0;
  check(
    isCount(optimalIoBoundary, leastBoundary),
    `optimalIoBoundary is ${optimalIoBoundary}, and must be an integer of ${leastBoundary} or more`,
  );
  check(isCount(writeUnitSize, 1), `writeUnitSize is ${writeUnitSize}, and must be an integer of 1 or more`);
  check(
    (stripe !== undefined) === (array.module.redundancy !== 'none'),
    'stripe is required with redundancy, and must be absent without',
  );
  if (stripe === undefined) {
    // Each block of the array has a place of its own on the members.
    const most = memberBlocks.reduce((sum, blocks) => sum + blocks, 0);
    check(numBlocks <= most, `numBlocks is ${numBlocks}, of ${most} in memberBlocks`);
    return;
  }
  check(
    isCount(stripe.arrayBlocks, 1) && isCount(stripe.memberBlocks, 1),
    `a stripe is ${stripe.arrayBlocks} blocks, ${stripe.memberBlocks} of each member`,
  );
  check(
    numBlocks % stripe.arrayBlocks === 0,
    `numBlocks is ${numBlocks}, which is not a multiple of the stripe of ${stripe.arrayBlocks}`,
  );
  const needed = (numBlocks / stripe.arrayBlocks) * stripe.memberBlocks;
  check(
    memberBlocks.every((blocks) => blocks >= needed),
    `its stripes need ${needed} blocks of each member`,
  );
}

/** Throws `ERR_RAID_MODULE` unless an array that grows keeps all blocks of its members, and its stripes. */
export function checkGrowth(array: LevelSubject, kept: RaidGeometry, { memberBlocks, stripe }: RaidGeometry): void {
  for (const [slot, blocks] of kept.memberBlocks.entries()) {
    const now = memberBlocks[slot] ?? 0;
    if (now < blocks) refuse(array, `it grows, and memberBlocks of slot ${slot} is ${now}, after ${blocks}`);
  }
  if (stripe?.arrayBlocks !== kept.stripe?.arrayBlocks || stripe?.memberBlocks !== kept.stripe?.memberBlocks)
    refuse(array, 'it grows, and has another stripe than before, so data would move');
}

function refuse(array: LevelSubject, message: string): never {
  throw new RaidError(
    'ERR_RAID_MODULE',
    Status.Invalid,
    `array ${array.name}: level ${array.module.level} cannot be used: ${message}`,
  );
}

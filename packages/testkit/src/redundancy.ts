import { RegionState, maxMissing } from '@raidkit/core';
import type { CopySet, LevelOptions, RaidArray, RaidModule } from '@raidkit/core';
import { placesOf } from './plain-places.js';
import type { PlainPlace } from './plain-places.js';
import type { SimDisk } from './sim-disk.js';

/** Bytes that one checksum covers. */
const summedBytes = 4096;
/** Number of blocks of copies that are compared at a time, within one region. */
const copyBlocks = 64;

/**
 * Returns where these blocks of an array without redundancy are, extended to whole units of a checksum: such a unit is lost as
 * a whole, even if a part of it has been written since.
 */
export function placesTogether(array: RaidArray, offset: number, numBlocks: number): PlainPlace[] {
  const perSum = array.hasIntegrity ? summedBytes / array.blockSize : 1;
  const first = Math.floor(offset / perSum) * perSum;
  const last = Math.min(Math.ceil((offset + numBlocks) / perSum) * perSum, array.numBlocks);
  return placesOf(array, first, last - first);
}

/** Whether a block is listed as bad in the stripes of these volume blocks; what depends on it is unknown. */
export function hasBadBlock(array: RaidArray, offset: number, numBlocks: number): boolean {
  if (array.badBlocks.size === 0 || array.currentGeometry === null) return false;
  if (array.module.redundancy === 'none') {
    return placesTogether(array, offset, numBlocks).some(({ from, slot, to }) => array.badBlocks.has(slot, from, to - from));
  }
  const { from, to } = array.memberRange(offset, offset + numBlocks);
  return isAnyBad(array, from, to - from);
}

function isAnyBad({ badBlocks, slots }: RaidArray, memberOffset: number, count: number): boolean {
  return badBlocks.size > 0 && slots.some(({ index }) => badBlocks.has(index, memberOffset, count));
}

/** Contents of a stripe's members, all of them present, for a level's own redundancy rule. */
export interface StripeView {
  /** Index of the stripe, from 0. */
  readonly stripe: number;
  /** The stripe's blocks on each slot's member. */
  readonly members: readonly Uint8Array[];
  /** The array's level options. */
  readonly options: LevelOptions;
  /** Block size in bytes. */
  readonly blockSize: number;
}

/** Returns what is wrong with the stripe's redundancy, in words; null if it is consistent. */
export type RedundancyRule = (view: StripeView) => string | null;

const rules = new WeakMap<RaidModule, RedundancyRule>();

/** Sets the rule by which redundancy of the module's arrays is checked from now on. */
export function useRule(module: RaidModule, rule: RedundancyRule): void {
  rules.set(module, rule);
}

/** Whether {@link checkRedundancy} knows a rule for the level. */
export function canCheckRedundancy({ module, numSlots, options }: RaidArray): boolean {
  if (rules.has(module)) return true;
  return module.redundancy === 'copies' || (module.redundancy === 'parity' && maxMissing(module, numSlots, options) === 1);
}

/**
 * Compares members' contents: copies must be equal; the exclusive or of a stripe with single parity must be zero. Blocks that
 * were never written or are listed as bad may hold anything. Returns null if all is well or it cannot be checked ({@link
 * canCheckRedundancy}).
 */
export function checkRedundancy(array: RaidArray, disks: readonly SimDisk[]): string | null {
  const stripe = array.currentGeometry?.stripe;
  const groups = array.level?.copyGroups;
  const isMirror = groups !== undefined;
  if (stripe === undefined || !canCheckRedundancy(array)) return null;
  const rule = rules.get(array.module);
  if (rule !== undefined) return checkByRule(array, disks, rule, stripe);
  const sets = array.level?.copySets;
  if (sets !== undefined) return checkCopySets(array, disks, sets, stripe);
  const members = array.slots.map((slot) => ({ slot, disk: disks.find(({ name }) => name === slot.name) }));
  // Members sorted by group; the others of a group must equal its first.
  const ordered = (groups ?? [members.map((_, index) => index)]).flatMap((group) =>
    members.filter(({ slot }) => group.includes(slot.index)).map((member) => ({ ...member, first: Math.min(...group) })),
  );
  const blocks = Math.floor(array.numBlocks / stripe.arrayBlocks) * stripe.memberBlocks;
  const { bitmap } = array;
  // A region is a power of two of stripes.
  const step = isMirror ? Math.min(copyBlocks, bitmap?.regionBlocks ?? copyBlocks) : stripe.memberBlocks;
  const piece = new Uint8Array(step * array.blockSize);
  const sums = new Int32Array(piece.length / 4);
  for (let start = 0; start < blocks; start += step) {
    const count = Math.min(step, blocks - start);
    if (bitmap?.isAll(RegionState.Unwritten, start, count) === true) {
      // Skips to the first step that begins behind this region.
      const next = (Math.floor(start / bitmap.regionBlocks) + 1) * bitmap.regionBlocks;
      start += Math.max(0, Math.floor((next - start) / step) - 1) * step;
      continue;
    }
    if (isAnyBad(array, start, count)) continue;
    const bytes = piece.subarray(0, count * array.blockSize);
    const one = new Int32Array(bytes.buffer, 0, bytes.length / 4);
    const sum = sums.subarray(0, one.length).fill(0);
    for (const { slot, disk, first } of ordered) {
      if (disk === undefined) return `slot ${slot.index} has no member`;
      disk.media.read(bytes, 0, (slot.dataOffset + start) * array.blockSize, bytes.length);
      if (!isMirror) for (let i = 0; i < one.length; i++) sum[i] = (sum[i] ?? 0) ^ (one[i] ?? 0);
      else if (slot.index === first) sum.set(one);
      else if (!isEqual(sum, one))
        return `member blocks ${start} to ${start + count - 1}: ${disk.name} differs from slot ${first}`;
    }
    if (!isMirror && sum.some((word) => word !== 0))
      return `member blocks ${start} to ${start + count - 1}: the exclusive or of the members is not zero`;
  }
  return null;
}

/** Checks each stripe by the level's own rule. */
function checkByRule(
  array: RaidArray,
  disks: readonly SimDisk[],
  rule: RedundancyRule,
  { arrayBlocks, memberBlocks }: { readonly arrayBlocks: number; readonly memberBlocks: number },
): string | null {
  const { bitmap, blockSize, options, slots } = array;
  const members = slots.map((slot) => ({ slot, disk: disks.find(({ name }) => name === slot.name) }));
  const bytes = members.map(() => new Uint8Array(memberBlocks * blockSize));
  for (let stripe = 0; stripe < array.numBlocks / arrayBlocks; stripe++) {
    const start = stripe * memberBlocks;
    if (bitmap?.isAll(RegionState.Unwritten, start, memberBlocks) === true || isAnyBad(array, start, memberBlocks)) continue;
    for (const [index, { disk, slot }] of members.entries()) {
      const into = bytes[index];
      if (disk === undefined || into === undefined) return `slot ${slot.index} has no member`;
      disk.media.read(into, 0, (slot.dataOffset + start) * blockSize, into.length);
    }
    const problem = rule({ stripe, members: bytes, options, blockSize });
    if (problem !== null) return `stripe ${stripe}: ${problem}`;
  }
  return null;
}

/** Checks each stripe of a level whose copies are at different blocks of their members. */
function checkCopySets(
  array: RaidArray,
  disks: readonly SimDisk[],
  sets: readonly CopySet[],
  { arrayBlocks, memberBlocks }: { readonly arrayBlocks: number; readonly memberBlocks: number },
): string | null {
  const { bitmap, blockSize, slots } = array;
  const members = slots.map((slot) => ({ slot, disk: disks.find(({ name }) => name === slot.name) }));
  const end = (array.numBlocks / arrayBlocks) * memberBlocks;
  for (let start = 0; start < end; start += memberBlocks) {
    if (bitmap?.isAll(RegionState.Unwritten, start, memberBlocks) === true || isAnyBad(array, start, memberBlocks)) continue;
    for (const { numBlocks, places } of sets) {
      const bytes = new Uint8Array(numBlocks * blockSize);
      const one = new Int32Array(bytes.buffer);
      let first: Int32Array | null = null;
      for (const place of places) {
        const { slot, disk } = members[place.slot] ?? {};
        if (slot === undefined || disk === undefined) return `slot ${place.slot} has no member`;
        const from = start + place.offsetBlocks;
        disk.media.read(bytes, 0, (slot.dataOffset + from) * blockSize, bytes.length);
        if (first !== null && !isEqual(first, one))
          return `blocks ${from} to ${from + numBlocks - 1} of ${disk.name} differ from their copy on slot ${places[0]?.slot ?? -1}`;
        first ??= one.slice();
      }
    }
  }
  return null;
}

function isEqual(a: Int32Array, b: Int32Array): boolean {
  return asBytes(a).equals(asBytes(b));
}

function asBytes({ buffer, byteLength, byteOffset }: Int32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

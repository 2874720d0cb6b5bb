import { RegionState, maxMissing } from '@raidkit/core';
import type { CopySet, LevelOptions, RaidArray, RaidModule } from '@raidkit/core';
import { placesOf } from './plain-places.js';
import type { PlainPlace } from './plain-places.js';
import type { SimDisk } from './sim-disk.js';

/** What one checksum is of. */
const summedBytes = 4096;
/** Blocks of copies that are compared at a time, in one region. */
const copyBlocks = 64;

/**
 * Where these blocks of an array without redundancy lie. What has one checksum is lost together, also where a part of it has been
 * written since.
 */
export function placesTogether(array: RaidArray, offset: number, numBlocks: number): PlainPlace[] {
  const perSum = array.hasIntegrity ? summedBytes / array.blockSize : 1;
  const first = Math.floor(offset / perSum) * perSum;
  const last = Math.min(Math.ceil((offset + numBlocks) / perSum) * perSum, array.numBlocks);
  return placesOf(array, first, last - first);
}

/** Whether a block is listed as bad in the stripes of these blocks of the volume: what depends on it cannot be told. */
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

/** What the members of a stripe hold, all there, for a level's own judge. */
export interface StripeView {
  /** From 0 on. */
  readonly stripe: number;
  /** By slot: the stripe's blocks on its member. */
  readonly members: readonly Uint8Array[];
  /** Options of the array's level. */
  readonly options: LevelOptions;
  /** Bytes. */
  readonly blockSize: number;
}

/** What is wrong with the stripe's redundancy, in words; null: it agrees. */
export type RedundancyRule = (view: StripeView) => string | null;

const rules = new WeakMap<RaidModule, RedundancyRule>();

/** From now on redundancy of the module's arrays is judged by this rule. */
export function useRule(module: RaidModule, rule: RedundancyRule): void {
  rules.set(module, rule);
}

/** Whether {@link checkRedundancy} knows the level's rule. */
export function canCheckRedundancy({ module, numSlots, options }: RaidArray): boolean {
  if (rules.has(module)) return true;
  return module.redundancy === 'copies' || (module.redundancy === 'parity' && maxMissing(module, numSlots, options) === 1);
}

/**
 * Compares what the members hold: copies must be equal; of parity with one to lose, the exclusive or of all
 * must be zero. What was never written holds anything, and so do blocks that are listed as bad. Null if all is well, or if it
 * cannot be told ({@link canCheckRedundancy}).
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
  // Those of a group one after the other, the one that the others must equal first.
  const ordered = (groups ?? [members.map((_, index) => index)]).flatMap((group) =>
    members.filter(({ slot }) => group.includes(slot.index)).map((member) => ({ ...member, first: Math.min(...group) })),
  );
  const blocks = Math.floor(array.numBlocks / stripe.arrayBlocks) * stripe.memberBlocks;
  const { bitmap } = array;
  // Regions are powers of two of stripes.
  const step = isMirror ? Math.min(copyBlocks, bitmap?.regionBlocks ?? copyBlocks) : stripe.memberBlocks;
  const piece = new Uint8Array(step * array.blockSize);
  const sums = new Int32Array(piece.length / 4);
  for (let start = 0; start < blocks; start += step) {
    const count = Math.min(step, blocks - start);
    if (bitmap?.isAll(RegionState.Unwritten, start, count) === true) {
      // On to the first step that begins behind this region.
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

/** By the level's own rule, stripe by stripe. */
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

/** Copies at other blocks of each member, stripe by stripe. */
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

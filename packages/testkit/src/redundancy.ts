import { RegionState } from '@raidkit/core';
import type { RaidArray } from '@raidkit/core';
import type { SimDisk } from './sim-disk.js';
import { sectorBytes } from './sector.js';

/**
 * Compares what the members hold: where each alone is a full copy they must be equal, else, with one to lose, their
 * exclusive or must be zero. Looks at stripes that were written to. Null if all is well, or if the level has another rule.
 */
export function checkRedundancy(array: RaidArray, disks: readonly SimDisk[], touched: Iterable<number>): string | null {
  const stripe = array.level?.geometry.stripe;
  const isMirror = array.minOperational === 1;
  if (stripe === undefined || (!isMirror && array.minOperational !== array.numSlots - 1)) return null;
  const members = array.slots.map((slot) => ({ slot, disk: disks.find(({ name }) => name === slot.name) }));
  const perBlock = array.blockSize / sectorBytes;
  const stripes = new Set<number>();
  for (const sector of touched) stripes.add(Math.floor(sector / perBlock / stripe.arrayBlocks));
  const length = stripe.memberBlocks * array.blockSize;
  const sum = new Uint8Array(length);
  const one = new Uint8Array(length);
  for (const index of stripes) {
    // What was never written holds anything, and is never read.
    const start = index * stripe.memberBlocks;
    if (array.regions?.isAll(RegionState.Unwritten, start, stripe.memberBlocks) === true) continue;
    sum.fill(0);
    let count = 0;
    for (const { slot, disk } of members) {
      if (disk === undefined) return `slot ${slot.index} has no member`;
      const at = (slot.dataOffset + index * stripe.memberBlocks) * array.blockSize;
      disk.media.read(one, 0, at, length);
      if (!isMirror) for (let i = 0; i < length; i++) sum[i] = (sum[i] ?? 0) ^ (one[i] ?? 0);
      else if (count === 0) sum.set(one);
      else if (!equal(sum, one)) return `stripe ${index} (member block ${index * stripe.memberBlocks}): ${disk.name} differs from slot 0`;
      count++;
    }
    if (!isMirror && sum.some((byte) => byte !== 0)) return `stripe ${index}: the exclusive or of its members is not zero`;
  }
  return null;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

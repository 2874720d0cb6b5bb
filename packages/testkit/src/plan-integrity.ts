import { CutMode } from './disk-faults.js';
import { lieKinds } from './plan-items.js';
import type { PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';

/** Bytes that a checksum covers, and bytes of data that a page of checksums covers. */
const summedBytes = 4096;
const pageIsFor = 480 * summedBytes;

/**
 * In a fifth of the seeds the array has checksums, with little memory for them.
 */
export function drawIntegrity(seed: number, shape: SimShape): SimShape {
  const random = new Random(seed, 13);
  if (!random.chance(0.2) || shape.kind === 'no superblock') return shape;
  const perSum = summedBytes / shape.blockSize;
  const cachePages = random.pick([2, 3, 8, 64]);
  const list = new Random(seed, 19);
  return {
    ...shape,
    // A list of bad blocks this short is filled by a few corruptions.
    integrity: { cachePages, ...(list.chance(0.25) ? { mostBadRanges: shape.numSlots + list.int(0, 4) } : {}) },
    // Room for the pages, and for the remainder of a block.
    memberBlocks: shape.memberBlocks.map((blocks) => blocks + (Math.ceil((blocks * shape.blockSize) / pageIsFor) + 1) * perSum),
  };
}

/**
 * In half of those with checksums members grow, mostly by more than the additional checksums need. Uses a random stream of its
 * own.
 */
export function drawGrowth(seed: number, shape: SimShape, totalMs: number): PlanItem[] {
  const random = new Random(seed, 16);
  if (shape.integrity === undefined || random.chance(0.5)) return [];
  const perSum = summedBytes / shape.blockSize;
  return Array.from({ length: random.int(1, 2) }, () => ({
    kind: 'grow',
    at: random.unit() * totalMs,
    numBlocks: random.int(1, random.chance(0.3) ? 4 : 200) * perSum,
  }));
}

/**
 * In half of those with checksums they are turned on and off while the array is online; half of these start without. Uses a
 * random stream of its own.
 */
export function drawConversions(seed: number, shape: SimShape, totalMs: number): { shape: SimShape; items: PlanItem[] } {
  const random = new Random(seed, 17);
  if (shape.integrity === undefined || random.chance(0.5)) return { shape, items: [] };
  const isLater = random.chance(0.5);
  const perSum = summedBytes / shape.blockSize;
  const items: PlanItem[] = Array.from({ length: random.int(1, 5) }, (_, index) => ({
    kind: 'integrity',
    at: random.unit() * totalMs,
    isOn: random.chance(index === 0 ? (isLater ? 0.9 : 0.2) : 0.6),
  }));
  // Space that growth has used is not available for checksums.
  for (let left = random.int(0, 3); left > 0; left--)
    items.push({ kind: 'grow', at: random.unit() * totalMs, numBlocks: random.int(2, 40) * perSum });
  return { shape: { ...shape, integrity: { ...shape.integrity, isLater } }, items };
}

/**
 * In half of those with silent corruption a bit flips near a write in flight, a read finds it, and then the array crashes. Uses
 * a random stream of its own.
 */
export function drawFoundLies(seed: number, shape: SimShape, totalMs: number): PlanItem[] {
  const random = new Random(seed, 18);
  if (shape.integrity === undefined || random.chance(0.5)) return [];
  return Array.from({ length: random.int(1, 6) }, () => ({
    kind: 'lie',
    at: random.unit() * totalMs,
    disk: random.int(0, shape.numDisks - 1),
    how: 'corrupt',
    place: random.unit(),
    crash: {
      how: random.pick(['power', 'kill'] as const),
      mode: random.pick([CutMode.KeepAll, CutMode.LoseAll, CutMode.Random]),
      afterMs: random.chance(0.5) ? 0 : random.exponential(2),
    },
  }));
}

/**
 * In two thirds of those with checksums any disk may corrupt data silently at any time, even where others fail or do the same.
 * Uses a random stream of its own.
 */
export function drawLies(seed: number, shape: SimShape, totalMs: number): PlanItem[] {
  const random = new Random(seed, 14);
  if (shape.integrity === undefined || random.chance(0.33)) return [];
  return Array.from({ length: random.int(1, 8) }, () => ({
    kind: 'lie',
    at: random.unit() * totalMs,
    disk: random.int(0, shape.numDisks - 1),
    how: random.pick(lieKinds),
    place: random.unit(),
  }));
}

import { CutMode } from './disk-faults.js';
import { lieKinds } from './plan-items.js';
import type { PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';

/** What a checksum is of, and how much data one page of them is for. Bytes. */
const summedBytes = 4096;
const pageIsFor = 480 * summedBytes;

/** A fifth of the seeds have an array with checksums, and little memory for them. From a stream of its own. */
export function drawIntegrity(seed: number, shape: SimShape): SimShape {
  const random = new Random(seed, 13);
  if (!random.chance(0.2) || shape.kind === 'no superblock') return shape;
  const perSum = summedBytes / shape.blockSize;
  const cachePages = random.pick([2, 3, 8, 64]);
  const list = new Random(seed, 19);
  return {
    ...shape,
    // A few lies fill a list of bad blocks that is so short.
    integrity: { cachePages, ...(list.chance(0.25) ? { mostBadRanges: shape.numSlots + list.int(0, 4) } : {}) },
    // Room for the pages, and for what is left over of a block.
    memberBlocks: shape.memberBlocks.map((blocks) => blocks + (Math.ceil((blocks * shape.blockSize) / pageIsFor) + 1) * perSum),
  };
}

/** In half of these members grow, mostly by more than their checksums take. From a stream of its own. */
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

/** In half of these checksums come and go while the array is up, and half of those begin without. From a stream of its own. */
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
  // What growth has taken is no room for checksums.
  for (let left = random.int(0, 3); left > 0; left--)
    items.push({ kind: 'grow', at: random.unit() * totalMs, numBlocks: random.int(2, 40) * perSum });
  return { shape: { ...shape, integrity: { ...shape.integrity, isLater } }, items };
}

/**
 * In half of those in which disks lie a bit turns over beside what is being written, is met by a read, and then the array crashes. From
 * a stream of its own.
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

/** In two thirds of these any disk lies, at any time, also where others fail or lie too. From a stream of its own. */
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

import type { RaidModule } from '@raidkit/core';
import { shapeKinds } from './plan-items.js';
import type { SimShape } from './plan-items.js';
import { Random } from './random.js';
import { acceptedSlots } from './slots.js';

/**
 * In a quarter of the seeds the array is unusual: it has so many slots that a superblock is longer than a sector, or no
 * superblock, or background processes that take longer than all timers, or what the daemon decides by itself. Uses a random
 * stream of its own.
 */
export function drawShapeKind(seed: number, module: RaidModule, shape: SimShape): SimShape {
  const random = new Random(seed, 7);
  if (!random.chance(0.25)) return shape;
  const kind = random.pick(shapeKinds);
  const accepted = (numSlots: number): number => acceptedSlots(module, numSlots, shape.levelOptions);
  switch (kind) {
    case 'wide':
      return { ...widen(shape, accepted(random.int(5, 9))), kind };
    case 'very wide':
      // The superblock is longer than a block of 4096 bytes.
      return random.chance(0.97)
        ? { ...widen(shape, accepted(random.int(9, 14))), kind }
        : { ...widen({ ...inBlocksOf(shape, 4096), isOverBudget: false }, accepted(62)), kind };
    case 'no superblock':
      return { ...shape, kind, isOverBudget: false };
    case 'slow background work':
      return { ...shape, kind, windowSizeKb: random.pick([16, 64]), maxBandwidthMbSec: random.pick([0.05, 0.2]) };
    default:
      return { ...shape, kind };
  }
}

/**
 * In a third of the seeds there are many small regions in a few groups, which otherwise only huge arrays have. Uses a random
 * stream of its own.
 */
export function drawRegions(seed: number, shape: SimShape): SimShape {
  const random = new Random(seed, 9);
  if (!random.chance(0.33)) return shape;
  const leastBytes = random.pick([64, 256]) * 1024;
  return { ...shape, regions: { leastBytes, zeroBytes: leastBytes, mostGroups: random.int(1, 4) } };
}

function widen(shape: SimShape, numSlots: number): SimShape {
  const more = shape.numDisks - shape.numSlots;
  const numDisks = numSlots + more;
  const at = (list: readonly number[], index: number): number => list[index % list.length] ?? 0;
  const latency = shape.latencies[0] ?? { leastMs: 0.1, meanMs: 1 };
  return {
    ...shape,
    numSlots,
    numDisks,
    memberBlocks: Array.from({ length: numDisks }, (_, index) => at(shape.memberBlocks, index)),
    latencies: Array.from({ length: numDisks }, (_, index) => shape.latencies[index % shape.latencies.length] ?? latency),
  };
}

function inBlocksOf(shape: SimShape, blockSize: number): SimShape {
  const scale = shape.blockSize / blockSize;
  return {
    ...shape,
    blockSize,
    stripSizeKb: shape.stripSizeKb === 0 ? 0 : Math.max(shape.stripSizeKb, 4),
    memberBlocks: shape.memberBlocks.map((blocks) => Math.ceil(blocks * scale)),
  };
}

import { IoType } from '@raidkit/bdev';
import type { RaidModule } from '@raidkit/core';
import type { SimShape } from './plan-items.js';
import { Random } from './random.js';

/** I/O types that a device may lack; the bdev layer or its user copes without them. */
const optional = [IoType.Flush, IoType.Unmap, IoType.WriteZeroes] as const;

/**
 * In an eighth of the seeds devices cannot flush, unmap or write zeroes, all alike or each differently; in another eighth the
 * bitmap has many pages of a few regions each.
 */
export function drawDevices(seed: number, module: RaidModule, shape: SimShape): SimShape {
  const random = new Random(seed, 12);
  const lot = random.int(0, 7);
  if (lot === 0) {
    const same = draw(random);
    const isMixed = random.chance(0.5);
    return { ...shape, lacking: shape.memberBlocks.map(() => (isMixed ? draw(random) : same)) };
  }
  if (lot === 1 && module.redundancy !== 'none') {
    // A region is a MiB, unless regions are smaller.
    const more = shape.regions === undefined ? (random.int(1, 6) * 1024 * 1024) / shape.blockSize : 0;
    return {
      ...shape,
      regionsPerPage: random.pick([1, 1, 2, 3, 7]),
      memberBlocks: shape.memberBlocks.map((blocks) => blocks + more),
    };
  }
  return shape;
}

function draw(random: Random): IoType[] {
  return optional.filter(() => random.chance(0.5));
}

/** The levels' address maps, written down once more, from the tables and not from the code: array block → (slot, block). */
export type LevelName = 'raid0' | 'raid1' | 'raid5f' | 'concat';

export interface Shape {
  level: LevelName;
  /** Blocks; 0 for raid1. */
  strip: number;
  /** Blocks of each slot's data area that exist, before the level cuts them. */
  capacities: number[];
}

export interface Place {
  slot: number;
  block: number;
}

export function volumeBlocks({ level, strip, capacities }: Shape): number {
  const n = capacities.length;
  const least = Math.min(...capacities);
  if (level === 'raid1') return least;
  if (level === 'concat') return capacities.reduce((sum, blocks) => sum + blocks - (blocks % strip), 0);
  const strips = Math.floor(least / strip);
  return strips * strip * (level === 'raid0' ? n : n - 1);
}

/** Every place that holds the block's data. */
export function placesOf(shape: Shape, block: number): Place[] {
  const { level, strip, capacities } = shape;
  const n = capacities.length;
  if (level === 'raid1') return capacities.map((_, slot) => ({ slot, block }));
  if (level === 'concat') {
    let left = block;
    for (let slot = 0; slot < n; slot++) {
      const size = capacities[slot]! - (capacities[slot]! % strip);
      if (left < size) return [{ slot, block: left }];
      left -= size;
    }
    throw new RangeError('past the end');
  }
  const k = Math.floor(block / strip);
  const inStrip = block % strip;
  if (level === 'raid0') return [{ slot: k % n, block: Math.floor(k / n) * strip + inStrip }];
  const stripe = Math.floor(k / (n - 1));
  const chunk = k % (n - 1);
  const parity = n - 1 - (stripe % n);
  return [{ slot: chunk < parity ? chunk : chunk + 1, block: stripe * strip + inStrip }];
}

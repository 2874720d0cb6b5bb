import type { RaidArray } from '@raidkit/core';

/** Blocks `[from, to)` of a slot's data area, which hold the volume's blocks from `start` on. */
export interface PlainPlace {
  slot: number;
  from: number;
  to: number;
  start: number;
}

/**
 * Returns where `count` blocks of an array without redundancy from `offset` on are. Core does not know this, but a test must.
 */
export function placesOf(array: RaidArray, offset: number, count: number): PlainPlace[] {
  const end = offset + count;
  const places: PlainPlace[] = [];
  for (let at = offset; at < end;) {
    const { slot, from, to } = runAt(array, at);
    const blocks = Math.min(to - from, end - at);
    places.push({ slot, from, to: from + blocks, start: at });
    at += blocks;
  }
  return places;
}

/** Returns the volume's block at a block of a slot's data area. */
export function volumeBlockOf(array: RaidArray, slot: number, block: number): number {
  const { memberBlocks = [] } = array.currentGeometry ?? {};
  if (array.module.level !== 'raid0') return memberBlocks.slice(0, slot).reduce((sum, blocks) => sum + blocks, 0) + block;
  const strip = stripOf(array);
  return (Math.floor(block / strip) * array.numSlots + slot) * strip + (block % strip);
}

/** Returns the longest run of volume blocks from `at` on that is consecutive on one slot. */
function runAt(array: RaidArray, at: number): Omit<PlainPlace, 'start'> {
  const { memberBlocks = [] } = array.currentGeometry ?? {};
  if (array.module.level === 'raid0') {
    const strip = stripOf(array);
    const index = Math.floor(at / strip);
    const row = Math.floor(index / array.numSlots);
    return { slot: index % array.numSlots, from: row * strip + (at % strip), to: (row + 1) * strip };
  }
  let start = 0;
  for (const [slot, blocks] of memberBlocks.entries()) {
    if (at < start + blocks) return { slot, from: at - start, to: blocks };
    start += blocks;
  }
  throw new RangeError(`the array has no block ${at}`);
}

function stripOf({ blockSize, stripSizeKb }: RaidArray): number {
  return (stripSizeKb * 1024) / blockSize;
}

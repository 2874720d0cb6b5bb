import { IoType } from '@raidkit/bdev';
import type { RaidArray } from '@raidkit/core';
import type { VolumeClient } from '../volume-client.js';

/** The run whose array has a short list of bad blocks. */
export interface ListingRun {
  array(): RaidArray | undefined;
  up(): Promise<VolumeClient>;
  io(volume: VolumeClient, type: IoType, offset: number, numBlocks: number): Promise<void>;
}

/**
 * Writes all stripes of an array with parity in which there are bad blocks, so that the list of bad blocks has room again. Each range
 * is written stripe by stripe from its beginning, because a write in the middle would split a range of a full list, and is refused.
 */
export async function makeRoom(run: ListingRun): Promise<void> {
  const array = run.array();
  if (array?.module.redundancy !== 'parity' || array.currentGeometry?.stripe === undefined) return;
  const volume = await run.up();
  const { arrayBlocks, memberBlocks } = array.stripe();
  const stripes = new Set<number>();
  for (const { index } of array.slots) {
    for (const { start, end } of array.badBlocks.rangesOf(index))
      for (let at = Math.floor(start / memberBlocks); at * memberBlocks < end; at++) stripes.add(at);
  }
  for (const stripe of [...stripes].sort((a, b) => a - b)) {
    const end = Math.min((stripe + 1) * arrayBlocks, volume.numBlocks);
    for (let at = stripe * arrayBlocks; at < end; at += volume.mostBlocks)
      await run.io(volume, IoType.Write, at, Math.min(end - at, volume.mostBlocks));
  }
}

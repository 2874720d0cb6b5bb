import { IoType } from '@raidkit/bdev';
import type { RaidArray } from '@raidkit/core';
import type { VolumeClient } from '../volume-client.js';

/** The run whose array has a short list of bad blocks. */
export interface ListingRun {
  array(): RaidArray | undefined;
  up(): Promise<VolumeClient>;
  io(volume: VolumeClient, type: IoType, offset: number, numBlocks: number): Promise<void>;
}

/** Most times that all of it is written. */
const mostPasses = 3;

/**
 * Writes all stripes in which there are bad blocks, so that the list of bad blocks has room again. Each range is written stripe by
 * stripe from its beginning, because a write in the middle would split a range of a full list, and is refused. If a member has a
 * stripe in two places, the later one may be written first, and is refused: so all is written again.
 */
export async function makeRoom(run: ListingRun): Promise<void> {
  const array = run.array();
  if (array?.currentGeometry?.stripe === undefined) return;
  const volume = await run.up();
  const { arrayBlocks, memberBlocks } = array.stripe();
  for (let pass = 0; pass < mostPasses && array.badBlocks.size > 0; pass++) {
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
}

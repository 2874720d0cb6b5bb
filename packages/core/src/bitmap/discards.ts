import { Status } from '@raidkit/bdev';
import type { BitmapHost } from './host.js';
import type { RaidIo } from '../level/raid-io.js';
import { copyInto } from './region-state.js';

/**
 * Which run of each region's blocks reads as zeros because users have unmapped it, as far as that is known since the last
 * write there. In memory only: a region that is filled by its run goes on record as unwritten.
 */
export class Discards {
  readonly #array: BitmapHost;
  /** Of each region, in blocks of the array. */
  readonly #regionBlocks: number;
  /** A region's run, in blocks of the array; empty if both are equal. */
  #from: Float64Array;
  #to: Float64Array;
  /** When the last write to a region ended. */
  #writtenAt: Float64Array;
  #moment = 0;

  /** @param regionBlocks of each member */
  constructor(array: BitmapHost, numRegions: number, regionBlocks: number) {
    const { arrayBlocks, memberBlocks } = array.stripe();
    this.#array = array;
    this.#regionBlocks = (regionBlocks / memberBlocks) * arrayBlocks;
    this.#from = new Float64Array(numRegions);
    this.#to = new Float64Array(numRegions);
    this.#writtenAt = new Float64Array(numRegions);
  }

  growTo(numRegions: number): void {
    this.#from = copyInto(new Float64Array(numRegions), this.#from);
    this.#to = copyInto(new Float64Array(numRegions), this.#to);
    this.#writtenAt = copyInto(new Float64Array(numRegions), this.#writtenAt);
  }

  /** For an unmap that begins: what ends after this moment may have overtaken it. */
  now(): number {
    return this.#moment;
  }

  /** A write to the region has ended, well or not. */
  wrote(region: number): void {
    this.#writtenAt[region] = ++this.#moment;
    this.#from[region] = 0;
    this.#to[region] = 0;
  }

  /** An unmap has ended that touched the region. Of runs that do not meet only the longest is kept. */
  unmapped(region: number, io: RaidIo): void {
    const from = Math.max(io.trimmedOffset, region * this.#regionBlocks);
    const to = Math.min(io.trimmedOffset + io.trimmedBlocks, this.#endOf(region));
    if (io.status !== Status.Ok || from >= to || (this.#writtenAt[region] ?? 0) > io.begunAt) return;
    const knownFrom = this.#from[region] ?? 0;
    const knownTo = this.#to[region] ?? 0;
    const meets = from <= knownTo && knownFrom <= to && knownFrom < knownTo;
    if (!meets && to - from <= knownTo - knownFrom) return;
    this.#from[region] = meets ? Math.min(from, knownFrom) : from;
    this.#to[region] = meets ? Math.max(to, knownTo) : to;
  }

  /** Whether all of the region reads as zeros; no write is in flight there. */
  isWhole(region: number): boolean {
    const start = region * this.#regionBlocks;
    const end = this.#endOf(region);
    return start < end && (this.#from[region] ?? 0) <= start && end <= (this.#to[region] ?? 0);
  }

  #endOf(region: number): number {
    return Math.min((region + 1) * this.#regionBlocks, this.#array.numBlocks);
  }
}

import { Status } from '@raidkit/bdev';
import type { BitmapHost } from './host.js';
import type { RaidIo } from '../level/raid-io.js';
import { RegionState, copyInto } from './region-state.js';
import type { RegionStates } from './region-state.js';

/**
 * For each group of regions, one run of blocks that reads as zeros because users unmapped it or never wrote it, as far as known
 * since the last write to the group. It is kept in memory only; a region that lies within its group's run is recorded as
 * unwritten.
 */
export class Discards {
  readonly #array: BitmapHost;
  readonly #regions: RegionStates;
  /** Size of a region in blocks of the array. */
  readonly #regionBlocks: number;
  /** The run of each group, in blocks of the array; empty if both are equal. */
  #from: Float64Array;
  #to: Float64Array;
  /** Time on the counter at which the last write to each group ended. */
  #writtenAt: Float64Array;
  #moment = 0;

  constructor(array: BitmapHost, regions: RegionStates) {
    const { arrayBlocks, memberBlocks } = array.stripe();
    this.#array = array;
    this.#regions = regions;
    this.#regionBlocks = (regions.regionBlocks / memberBlocks) * arrayBlocks;
    this.#from = new Float64Array(regions.numGroups);
    this.#to = new Float64Array(regions.numGroups);
    this.#writtenAt = new Float64Array(regions.numGroups);
  }

  /** Makes room for the regions of an array that has grown. */
  grow(): void {
    const { numGroups } = this.#regions;
    this.#from = copyInto(new Float64Array(numGroups), this.#from);
    this.#to = copyInto(new Float64Array(numGroups), this.#to);
    this.#writtenAt = copyInto(new Float64Array(numGroups), this.#writtenAt);
  }

  /** Returns the present time on the counter, when an unmap begins. A write that ends later may have overtaken the unmap. */
  now(): number {
    return this.#moment;
  }

  /** A write to the group has ended, successfully or not. */
  wrote(group: number): void {
    this.#writtenAt[group] = ++this.#moment;
    this.#from[group] = 0;
    this.#to[group] = 0;
  }

  /** An unmap that touches the group has ended. Of runs that do not touch, only the longest is kept. */
  unmapped(group: number, io: RaidIo): void {
    const first = group * this.#regions.groupRegions * this.#regionBlocks;
    let from = Math.max(io.trimmedOffset, first);
    let to = Math.min(io.trimmedOffset + io.trimmedBlocks, this.#endOf(this.#regions.endOfGroup(group) - 1));
    if (io.status !== Status.Ok || from >= to || (this.#writtenAt[group] ?? 0) > io.begunAt) return;
    from = this.#beginOfZeros(from, group);
    to = this.#endOfZeros(to, group);
    const knownFrom = this.#from[group] ?? 0;
    const knownTo = this.#to[group] ?? 0;
    const meets = from <= knownTo && knownFrom <= to && knownFrom < knownTo;
    if (!meets && to - from <= knownTo - knownFrom) return;
    this.#from[group] = meets ? Math.min(from, knownFrom) : from;
    this.#to[group] = meets ? Math.max(to, knownTo) : to;
  }

  /** Whether the whole region reads as zeros. No write may be in flight in its group. */
  isWhole(region: number): boolean {
    const group = this.#regions.groupOf(region);
    const start = region * this.#regionBlocks;
    const end = this.#endOf(region);
    return start < end && (this.#from[group] ?? 0) <= start && end <= (this.#to[group] ?? 0);
  }

  /** An unmap skips unwritten regions, so the ranges on both sides of one form a single run. */
  #beginOfZeros(from: number, group: number): number {
    let begin = from;
    let region = from / this.#regionBlocks;
    while (Number.isInteger(region) && region > group * this.#regions.groupRegions && this.#isUnwritten(region - 1)) {
      region--;
      begin = region * this.#regionBlocks;
    }
    return begin;
  }

  #endOfZeros(to: number, group: number): number {
    let end = to;
    let region = to / this.#regionBlocks;
    while (Number.isInteger(region) && region < this.#regions.endOfGroup(group) && this.#isUnwritten(region)) {
      end = this.#endOf(region);
      region++;
    }
    return end;
  }

  #isUnwritten(region: number): boolean {
    return this.#regions.states[region] === RegionState.Unwritten;
  }

  #endOf(region: number): number {
    return Math.min((region + 1) * this.#regionBlocks, this.#array.numBlocks);
  }
}

import { RegionState } from '@raidkit/core';
import type { RaidArray } from '@raidkit/core';
import type { Coverage } from '../coverage.js';
import type { VolumeModel } from '../model.js';
import type { SimPlan } from '../plan-items.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';

/** The run of which it is kept. */
export interface LenientRun {
  readonly world: World;
  readonly plan: SimPlan;
  readonly model: VolumeModel;
  readonly coverage: Coverage;
  readonly standing: { hasFault(disk: SimDisk): boolean };
  array(): RaidArray | undefined;
}

/** So long after the last of it errors may still be answered, in milliseconds. */
const aftermathMs = 1000;

/** Blocks of the volume. */
export interface Range {
  start: number;
  end: number;
}

/**
 * Where errors are right although an array is up: while more is broken than redundancy covers, and, for good, in the blocks
 * that were being written then, or of which redundancy was in doubt when a member was lost. Nowhere else, and never wrong data.
 */
export class Leniency {
  readonly #run: LenientRun;
  /** Disks that fail although the array cannot do without them. */
  readonly #beyond = new Set<SimDisk>();
  #endedAt = -Infinity;
  #wasBeyond = false;
  #wasEver = false;
  readonly #ranges: Range[] = [];

  constructor(run: LenientRun) {
    this.#run = run;
  }

  /** The disk begins to fail, and the array cannot do without it. */
  exceed(disk: SimDisk): void {
    this.#beyond.add(disk);
    this.#wasBeyond = true;
    this.#wasEver = true;
    this.#run.coverage.mark('beyond redundancy');
    // What is under way now may be torn.
    for (const { firstSector, numSectors } of this.#run.model.pending)
      this.#add(firstSector / this.#perBlock, (firstSector + numSectors) / this.#perBlock);
  }

  /** More is broken than redundancy covers, or was until just now. */
  get isBeyond(): boolean {
    const { standing, world } = this.#run;
    if (this.#beyond.size > 0) {
      for (const disk of this.#beyond) if (!standing.hasFault(disk)) this.#beyond.delete(disk);
      if (this.#beyond.size === 0) this.#endedAt = world.now;
    }
    return this.#beyond.size > 0 || world.now <= this.#endedAt + aftermathMs;
  }

  /** It was so since the array last came up: a flush that failed then is not made up for by a later one. */
  get wasBeyond(): boolean {
    return this.#wasBeyond;
  }

  /** The array has come up: what it knew of flushes that had failed is gone. */
  startAgain(): void {
    this.#wasBeyond = this.isBeyond;
  }

  /** Something is written: if more is broken now than redundancy covers, its stripes may be left torn. */
  noteWrite(offset: number, count: number): void {
    if (this.isBeyond) this.#add(offset, offset + count);
  }

  /** A member is lost, or counted out, where redundancy is in doubt, or listed as bad: what it held there cannot be told. */
  forgiveUnprotected(): void {
    const array = this.#run.array();
    if (array?.currentGeometry?.stripe === undefined) return;
    const { badBlocks, bitmap } = array;
    const { arrayBlocks, memberBlocks } = array.stripe();
    for (const { index } of badBlocks.size > 0 ? array.slots : []) {
      for (const { start, end } of badBlocks.rangesOf(index)) {
        this.#add((start / memberBlocks) * arrayBlocks, (end / memberBlocks) * arrayBlocks);
      }
    }
    // A copy that is left is a whole one, whatever the others held.
    if (bitmap === null || array.module.redundancy !== 'parity') return;
    const { regionBlocks, states } = bitmap;
    for (let region = 0; region < states.length; region++) {
      const from = region * regionBlocks;
      if (array.isInconsistent(from, regionBlocks))
        this.#add((from / memberBlocks) * arrayBlocks, ((from + regionBlocks) / memberBlocks) * arrayBlocks);
    }
  }

  /**
   * An array that lacks a member crashes, and another program will run it that does not know the journal: where that program
   * leaves other data than an entry has, nothing tells any more which of both is right. Gives these stripes, as blocks of the
   * volume.
   */
  forgiveJournaled(): Range[] {
    const array = this.#run.array();
    if (array?.currentGeometry?.stripe === undefined || array.bitmap === null) return [];
    if (array.module.redundancy !== 'parity' || array.numInSync === array.numSlots) return [];
    const { arrayBlocks, memberBlocks } = array.stripe();
    const { regionBlocks, states } = array.bitmap;
    const stripes = new Set<number>();
    for (const sector of this.#run.model.touched) stripes.add(Math.floor(sector / this.#perBlock / arrayBlocks));
    const journaled: Range[] = [];
    for (const stripe of stripes) {
      const region = Math.floor((stripe * memberBlocks) / regionBlocks);
      if (states[region] !== RegionState.Dirty) continue;
      journaled.push({ start: stripe * arrayBlocks, end: (stripe + 1) * arrayBlocks });
      this.#add(stripe * arrayBlocks, (stripe + 1) * arrayBlocks);
    }
    return journaled;
  }

  /** Errors are right in these blocks of the volume from now on. */
  forgive(start: number, end: number): void {
    this.#add(start, end);
  }

  /** What was forgiven so far: whole stripes, as blocks of the volume. */
  get ranges(): readonly Range[] {
    return this.#ranges;
  }

  /** Anything was ever forgiven: redundancy may have come to be in doubt for a good reason. */
  get hasForgiven(): boolean {
    return this.#ranges.length > 0 || this.#wasEver;
  }

  /** Whether a request of these blocks that was made at `askedAt` may have been answered an error. */
  mayFail(offset: number, count: number, askedAt: number): boolean {
    if (this.isBeyond || askedAt <= this.#endedAt + aftermathMs) return true;
    return this.#ranges.some(({ start, end }) => start < offset + count && offset < end);
  }

  get #perBlock(): number {
    return this.#run.plan.shape.blockSize / 512;
  }

  #add(from: number, to: number): void {
    const array = this.#run.array();
    const arrayBlocks = array?.currentGeometry?.stripe?.arrayBlocks ?? 1;
    const range = { start: Math.floor(from / arrayBlocks) * arrayBlocks, end: Math.ceil(to / arrayBlocks) * arrayBlocks };
    if (!this.#ranges.some(({ start, end }) => start <= range.start && range.end <= end)) this.#ranges.push(range);
  }
}

import { RegionState } from '@raidkit/core';
import type { RaidArray } from '@raidkit/core';
import type { Coverage } from '../coverage.js';
import type { VolumeModel } from '../model.js';
import type { SimPlan } from '../plan-items.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';

/** The parts of a run that are needed here. */
export interface LenientRun {
  readonly world: World;
  readonly plan: SimPlan;
  readonly model: VolumeModel;
  readonly coverage: Coverage;
  readonly standing: { hasFault(disk: SimDisk): boolean };
  array(): RaidArray | undefined;
}

/** Milliseconds after its end during which errors are still allowed. */
const aftermathMs = 1000;

/** A range of volume blocks. */
export interface Range {
  start: number;
  end: number;
}

/**
 * Tracks where errors are allowed although the array is online: while more is broken than redundancy covers and, permanently,
 * in blocks that were being written then or whose redundancy was in doubt when a member was lost. Nowhere else, and wrong data
 * never.
 */
export class Leniency {
  readonly #run: LenientRun;
  /** Failing disks that the array cannot do without. */
  readonly #beyond = new Set<SimDisk>();
  #endedAt = -Infinity;
  #wasBeyond = false;
  #wasEver = false;
  readonly #ranges: Range[] = [];

  constructor(run: LenientRun) {
    this.#run = run;
  }

  /** A disk that the array cannot do without begins to fail. */
  exceed(disk: SimDisk): void {
    this.#beyond.add(disk);
    this.#wasBeyond = true;
    this.#wasEver = true;
    this.#run.coverage.mark('beyond redundancy');
    // Writes in flight may be torn.
    for (const { firstSector, numSectors } of this.#run.model.pending)
      this.#add(firstSector / this.#perBlock, (firstSector + numSectors) / this.#perBlock);
  }

  /** Whether more is broken than redundancy covers, or was until just now. */
  get isBeyond(): boolean {
    const { standing, world } = this.#run;
    if (this.#beyond.size > 0) {
      for (const disk of this.#beyond) if (!standing.hasFault(disk)) this.#beyond.delete(disk);
      if (this.#beyond.size === 0) this.#endedAt = world.now;
    }
    return this.#beyond.size > 0 || world.now <= this.#endedAt + aftermathMs;
  }

  /** Whether this was so since the array last started: a flush that failed then is not made up for by a later one. */
  get wasBeyond(): boolean {
    return this.#wasBeyond;
  }

  /** The array has started, and knows nothing of earlier failed flushes. */
  startAgain(): void {
    this.#wasBeyond = this.isBeyond;
  }

  /** Notes a write: if more is broken now than redundancy covers, its stripes may be torn. */
  noteWrite(offset: number, count: number): void {
    if (this.isBeyond) this.#add(offset, offset + count);
  }

  /**
   * A member is lost or removed: what it held where redundancy is in doubt or blocks are listed as bad is unknown. `mayBeInDoubt`:
   * the regions where redundancy may be in doubt; default: all.
   */
  forgiveUnprotected(mayBeInDoubt: (region: number) => boolean = () => true): void {
    const array = this.#run.array();
    if (array?.currentGeometry?.stripe === undefined) return;
    const { badBlocks, bitmap } = array;
    const { arrayBlocks, memberBlocks } = array.stripe();
    for (const { index } of badBlocks.size > 0 ? array.slots : []) {
      for (const { start, end } of badBlocks.rangesOf(index)) {
        this.#add((start / memberBlocks) * arrayBlocks, (end / memberBlocks) * arrayBlocks);
      }
    }
    // A remaining copy is complete, whatever the others held.
    if (bitmap === null || array.module.redundancy !== 'parity') return;
    const { regionBlocks, states } = bitmap;
    for (let region = 0; region < states.length; region++) {
      const from = region * regionBlocks;
      if (array.isInconsistent(from, regionBlocks) && mayBeInDoubt(region))
        this.#add((from / memberBlocks) * arrayBlocks, ((from + regionBlocks) / memberBlocks) * arrayBlocks);
    }
  }

  /**
   * An array that lacks a member crashes, and another program will run it that does not know the journal: where that program
   * leaves other data than an entry has, it cannot be told which is right. Returns these stripes as blocks of the volume. After a
   * stop that holds if it cuts a resync short, because regions stay dirty then.
   */
  forgiveJournaled(isStop = false): Range[] {
    const array = this.#run.array();
    if (array?.currentGeometry?.stripe === undefined || array.bitmap === null) return [];
    if (array.module.redundancy !== 'parity') return [];
    // The journal stands for a member that has been filled until that is on record.
    if (array.numInSync === array.numSlots && array.journal?.isInForce !== true) return [];
    const { arrayBlocks, memberBlocks } = array.stripe();
    const { regionBlocks, states } = array.bitmap;
    const stripes = new Set<number>();
    for (const sector of this.#run.model.touched) stripes.add(Math.floor(sector / this.#perBlock / arrayBlocks));
    const journaled: Range[] = [];
    for (const stripe of stripes) {
      const region = Math.floor((stripe * memberBlocks) / regionBlocks);
      if (states[region] !== RegionState.Dirty) continue;
      if (isStop && array.process?.type !== 'resync') continue;
      journaled.push({ start: stripe * arrayBlocks, end: (stripe + 1) * arrayBlocks });
      this.#add(stripe * arrayBlocks, (stripe + 1) * arrayBlocks);
    }
    return journaled;
  }

  /**
   * Allows errors where an array that lacks a member does not trust redundancy any more in this run, because a member that it cannot
   * spare has lost a flush: in what has entries in the journal, or, while no journal is in force, in all dirty regions.
   */
  forgiveLostFlush(): void {
    const array = this.#run.array();
    if (array?.currentGeometry?.stripe === undefined || array.bitmap === null) return;
    if (array.module.redundancy !== 'parity' || array.numInSync === array.numSlots) return;
    if (array.journal?.isInForce === true) {
      this.forgiveJournaled();
      return;
    }
    const { arrayBlocks, memberBlocks } = array.stripe();
    const { regionBlocks, states } = array.bitmap;
    for (let region = 0; region < states.length; region++) {
      if (states[region] !== RegionState.Dirty) continue;
      const from = region * regionBlocks;
      this.#add((from / memberBlocks) * arrayBlocks, ((from + regionBlocks) / memberBlocks) * arrayBlocks);
    }
  }

  /** Errors are right in these blocks of the volume from now on. */
  forgive(start: number, end: number): void {
    this.#add(start, end);
  }

  /** Blocks of the volume where errors are allowed, in whole stripes. */
  get ranges(): readonly Range[] {
    return this.#ranges;
  }

  /** Whether errors were ever allowed, so that redundancy may be in doubt for a good reason. */
  get hasForgiven(): boolean {
    return this.#ranges.length > 0 || this.#wasEver;
  }

  /** Whether a request for these blocks that was sent at `askedAt` may fail. */
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

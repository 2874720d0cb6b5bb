import type { RaidArray } from '@raidkit/core';
import type { SimPlan } from '../plan-items.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';

/** The run of which it is kept. */
export interface StandingRun {
  readonly world: World;
  readonly plan: SimPlan;
  readonly disks: readonly SimDisk[];
  readonly can: { readonly narrow: boolean; readonly timeouts: boolean };
  readonly isRedundant: boolean;
  readonly isParity: boolean;
  readonly metadataLies: { isSuspect(disk: SimDisk): boolean };
  readonly leniency: { exceed(disk: SimDisk): void; forgiveUnprotected(): void };
  isTolerant: boolean;
  /** Whether all data is there with these members. */
  canRunWith(members: readonly SimDisk[]): boolean;
  array(): RaidArray | undefined;
}

/** Which disks hold the array's data, as far as that may be relied on: what redundancy there is to lose. */
export class Standing {
  /** Members that hold the array's data, and that metadata says so of. */
  readonly good = new Set<SimDisk>();
  /** Disks of which the members' metadata says that they are out. */
  readonly recordedOut = new Set<SimDisk>();
  /** Since when the good ones are. */
  readonly #goodSince = new Map<SimDisk, number>();
  readonly #run: StandingRun;

  constructor(run: StandingRun) {
    this.#run = run;
  }

  /** The array has come up: its metadata says of every member what it is. */
  reset(): void {
    this.good.clear();
    this.recordedOut.clear();
    for (const disk of this.#run.disks) if (!this.#isCurrent(disk)) this.recordedOut.add(disk);
    this.#count();
    // After a crash redundancy cannot make up for what fails already.
    if ([...this.good].some((disk) => this.hasTrouble(disk))) this.#forgiveUnprotected();
  }

  noteCurrent(): void {
    this.refresh();
    this.#count();
  }

  refresh(): void {
    this.#discount();
    // A good member may have been replaced by a disk that fails: that is one too many, also before metadata says so.
    const joined = this.#run.disks.filter((disk) => this.#isCurrent(disk) && !this.good.has(disk));
    for (const disk of joined) if (this.hasTrouble(disk) && !this.mayLose(disk)) this.#exceed(disk);
  }

  #count(): void {
    for (const disk of this.#run.disks) {
      if (!this.#isCurrent(disk)) continue;
      if (!this.good.has(disk)) this.#goodSince.set(disk, this.#run.world.now);
      this.good.add(disk);
      this.recordedOut.delete(disk);
    }
  }

  #discount(): void {
    const state = this.#run.array()?.state ?? 'configuring';
    if (state === 'configuring') return;
    for (const disk of this.good) if (!this.#isCurrent(disk)) this.good.delete(disk);
  }

  /** Whether the disk fails, or has failed and the array has not drawn its conclusion yet. */
  hasTrouble(disk: SimDisk): boolean {
    const hasFailed = disk.lastWriteErrorAt > (this.#goodSince.get(disk) ?? Infinity);
    return hasFailed || this.#run.metadataLies.isSuspect(disk) || this.hasFault(disk);
  }

  /** Whether something is wrong with the disk now. */
  hasFault(disk: SimDisk): boolean {
    const isStuck = this.#run.can.timeouts && disk.faults.stuckUntil > this.#run.world.now;
    return disk.faults.areAny || disk.latent.size > 0 || !disk.isPresent || isStuck;
  }

  /** Whether everything is still there without this disk, or the level has nothing to lose. */
  mayLose(disk: SimDisk): boolean {
    const run = this.#run;
    this.#discount();
    const left = [...this.good].filter((other) => other !== disk && !this.hasTrouble(other));
    if (run.canRunWith(left)) {
      this.#forgiveUnprotected();
      return true;
    }
    return !run.isRedundant;
  }

  /** Parity that has not been resynchronised is none, and neither is a block that is listed as bad: what they would have to give is refused. */
  #forgiveUnprotected(): void {
    const run = this.#run;
    const array = run.array();
    const isInDoubt = run.isParity && (array?.bitmap?.regionsToResync ?? 0) > 0;
    if (!isInDoubt && (array?.badBlocks.size ?? 0) === 0) return;
    if (run.can.narrow) run.leniency.forgiveUnprotected();
    else if (isInDoubt) run.isTolerant = true;
  }

  /** Errors on a disk that redundancy cannot do without, if the plan says so. */
  mayExceed(disk: SimDisk): boolean {
    if (!this.#run.plan.shape.isOverBudget || !disk.isPresent) return false;
    this.#exceed(disk);
    return true;
  }

  #exceed(disk: SimDisk): void {
    if (this.#run.can.narrow) this.#run.leniency.exceed(disk);
    else this.#run.isTolerant = true;
  }

  #isCurrent(disk: SimDisk): boolean {
    return this.#run.array()?.slots.some((slot) => slot.name === disk.name && slot.isInSync) ?? false;
  }
}

import type { RaidArray } from '@raidkit/core';
import type { Coverage } from '../coverage.js';
import type { SimPlan } from '../plan-items.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';

/** The parts of a run that are needed here. */
export interface StandingRun {
  readonly world: World;
  readonly plan: SimPlan;
  readonly coverage: Coverage;
  readonly disks: readonly SimDisk[];
  readonly can: { readonly narrow: boolean; readonly timeouts: boolean };
  readonly isRedundant: boolean;
  readonly isParity: boolean;
  readonly metadataLies: { isSuspect(disk: SimDisk): boolean };
  readonly sumLies: { hasLostWrite(disk: SimDisk): boolean };
  readonly leniency: { exceed(disk: SimDisk): void; forgiveUnprotected(): void };
  isTolerant: boolean;
  /** Whether all data is present with these members. */
  canRunWith(members: readonly SimDisk[]): boolean;
  array(): RaidArray | undefined;
}

/** Tracks which disks reliably hold the array's data, and thus what redundancy there is to lose. */
export class Standing {
  /** Members that hold the array's data and that metadata records as current. */
  readonly good = new Set<SimDisk>();
  /** Disks that the members' metadata records as removed. */
  readonly recordedOut = new Set<SimDisk>();
  /** Time since which each good member is good. */
  readonly #goodSince = new Map<SimDisk, number>();
  readonly #run: StandingRun;

  constructor(run: StandingRun) {
    this.#run = run;
  }

  /** The array has started, so its metadata records the state of every member. */
  reset(): void {
    this.good.clear();
    this.recordedOut.clear();
    for (const disk of this.#run.disks) if (!this.#isCurrent(disk)) this.recordedOut.add(disk);
    this.#count();
    // After a crash redundancy cannot cover members that already fail.
    if ([...this.good].some((disk) => this.hasTrouble(disk))) this.#forgiveUnprotected();
    this.noteLoss();
  }

  noteCurrent(): void {
    this.refresh();
    this.#count();
  }

  refresh(): void {
    this.#discount();
    // A good member may have been replaced by a failing disk: that is one too many, even before metadata records it.
    const joined = this.#run.disks.filter((disk) => this.#isCurrent(disk) && !this.good.has(disk));
    for (const disk of joined) if (this.hasTrouble(disk) && !this.mayLose(disk)) this.#exceed(disk);
    this.noteLoss();
  }

  /**
   * Under checksums disks lie whatever else fails. A member that lost the write that was to heal it is failed, and faults of the
   * others that redundancy covered until then may be one too many.
   */
  noteLoss(): void {
    const run = this.#run;
    if (!run.isRedundant || run.array()?.state !== 'online') return;
    if (!run.disks.some((disk) => run.sumLies.hasLostWrite(disk) && !this.#isCurrent(disk))) return;
    const current = [...this.good].filter((disk) => this.#isCurrent(disk));
    const failing = current.filter((disk) => this.hasFault(disk));
    if (run.canRunWith(current.filter((disk) => !failing.includes(disk)))) return;
    if (failing.length > 0) run.coverage.mark('a member that lost its repair is out while others fail');
    for (const disk of failing) this.#exceed(disk);
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

  /** Whether the disk fails, or has failed without the array having reacted yet. */
  hasTrouble(disk: SimDisk): boolean {
    const hasFailed = disk.lastWriteErrorAt > (this.#goodSince.get(disk) ?? Infinity);
    return hasFailed || this.#run.metadataLies.isSuspect(disk) || this.hasFault(disk);
  }

  /** Whether the disk has a fault now. */
  hasFault(disk: SimDisk): boolean {
    const isStuck = this.#run.can.timeouts && disk.faults.stuckUntil > this.#run.world.now;
    return disk.faults.areAny || disk.latent.size > 0 || !disk.isPresent || isStuck;
  }

  /** Whether all data would still be present without this disk, or the level has no redundancy anyway. */
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

  /**
   * Parity that needs a resync gives no redundancy, and neither do blocks listed as bad: errors are allowed for what depends on
   * them.
   */
  #forgiveUnprotected(): void {
    const run = this.#run;
    const array = run.array();
    const isInDoubt = run.isParity && (array?.bitmap?.regionsToResync ?? 0) > 0;
    if (!isInDoubt && (array?.badBlocks.size ?? 0) === 0) return;
    if (run.can.narrow) run.leniency.forgiveUnprotected();
    else if (isInDoubt) run.isTolerant = true;
  }

  /** Whether the plan allows errors on a disk that redundancy cannot do without; records it then. */
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

import { IoType } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { CutMode, Fate } from '../disk-faults.js';
import { metadataAreas } from '../metadata-areas.js';
import type { SimDisk } from '../sim-disk.js';
import type { SimRun } from '../simulation/sim-run.js';
import type { Ending } from '../simulation/restart.js';
import { sectorBytes } from '../sector.js';
import { comeBack } from '../simulation/trouble.js';
import { forgive } from './silent.js';
import type { Lie } from './silent.js';

/** Faults that can strike at an operation of a device. */
export const tripKinds = ['eio', 'dead', 'readOnly', 'full', 'hang', 'gone', 'lost', 'kill', 'cut', 'torn'] as const;
/**
 * `eio`: the operation fails, once. `dead`: it and all later operations of the device fail. `readOnly`: its writes and flushes
 * fail with EIO from then on. `full`: its writes fail with ENOSPC. `hang`: nothing of the device completes for a minute.
 * `gone`: the device disappears for a second. `lost`: a write is acknowledged but not done. `kill`: the process dies before the
 * operation. `cut`: the power fails and caches are lost. `torn`: the power fails, and each cached sector is kept or lost.
 * `outage`, in a start: for a while all devices fail writes, and in half of the runs flushes, as if they had one controller. In a
 * resync of parity flushes do not fail: it is a known limit that the member whose flush fails takes along what is inconsistent.
 */
export type TripKind = (typeof tripKinds)[number] | 'outage';

const endings: Partial<Record<TripKind, Ending>> = {
  kill: { how: 'kill', mode: CutMode.KeepAll, downMs: 10 },
  cut: { how: 'power', mode: CutMode.LoseAll, downMs: 10 },
  torn: { how: 'power', mode: CutMode.Random, downMs: 10 },
};
const hangMs = 60_000;
export const goneMs = 1000;
/** How long an outage lasts, in milliseconds. */
const outagesMs = [0.3, 2, 20, 150];

/**
 * What follows the fault: a crash `after` operations later; an error of another member at its next operation on the same member
 * blocks; or the loss of another member once everything is at rest.
 */
export type Follow = { kind: 'kill' | 'cut' | 'torn'; after: number } | { kind: 'stripe' } | { kind: 'rest' };

/** Kinds of operations that can be counted apart: those on a member being rebuilt, and metadata writes. */
export type Struck = 'target' | 'records';

/** When the fault strikes, and what follows it. */
export interface TripPlan {
  /** Number of the operation, from 1. */
  at: number;
  /** The fault; null to count operations only. */
  kind: TripKind | null;
  /** Counts only these operations; default: all. */
  of?: Struck;
  follow?: Follow | null;
}

/** A fault that strikes at the n-th operation on the run's disks, whichever disk that is on. */
export class Trip {
  /** Number of counted operations so far. */
  count = 0;
  readonly counts: Record<Struck, number> = { target: 0, records: 0 };
  hasFired = false;
  /** The disk that it struck. */
  struck: SimDisk | null = null;
  /** Set when it ends the process: from then on nothing reaches a disk. */
  ending: Ending | null = null;
  /** The fault struck where it has no meaning, so there is nothing to check. */
  isPointless = false;
  /** Blocks of a write that the device acknowledged but did not do. */
  lost: Lie | null = null;
  readonly #run: SimRun;
  readonly #plan: TripPlan;
  readonly #onEnd: () => void;
  readonly #isInRecovery: boolean;
  /** Number of operations since it struck. */
  #since = 0;
  #hasFollowed = false;
  /** Range that it struck, in blocks of the disk. */
  #place = { from: 0, to: 0 };

  /**
   * `onEnd` is called when the process ends. `isInRecovery`: a new process is recovering from a crash meanwhile. `onOperation` is
   * called before each operation that is not dropped.
   */
  constructor(
    run: SimRun,
    plan: TripPlan,
    onEnd: () => void,
    isInRecovery = false,
    onOperation: (disk: SimDisk, io: BdevIo) => void = () => undefined,
  ) {
    this.#run = run;
    this.#plan = plan;
    this.#onEnd = onEnd;
    this.#isInRecovery = isInRecovery;
    for (const disk of run.disks) {
      disk.onSubmit = (io) => {
        const fate = this.#next(disk, io);
        if (fate !== Fate.Drop) onOperation(disk, io);
        return fate;
      };
    }
  }

  disarm(): void {
    for (const disk of this.#run.disks) disk.onSubmit = null;
  }

  /** The crash that is still to follow; null if there is none. */
  get crashDue(): TripKind | null {
    const { follow = null } = this.#plan;
    if (follow === null || follow.kind === 'stripe' || follow.kind === 'rest') return null;
    return this.hasFired && this.ending === null ? follow.kind : null;
  }

  /** It has struck, and another member must be lost once everything is at rest. */
  get mustLoseAnother(): boolean {
    return this.hasFired && this.#plan.follow?.kind === 'rest';
  }

  /** Two members have failed in one stripe; no rule says whether the array must then start by itself. */
  get hasStruckTwice(): boolean {
    return this.#hasFollowed && this.#plan.follow?.kind === 'stripe';
  }

  /** Crashes now, if a crash is still to follow. */
  crash(): void {
    const kind = this.crashDue;
    if (kind !== null) this.#end(kind);
  }

  #next(disk: SimDisk, io: BdevIo): Fate | undefined {
    if (this.ending !== null) return Fate.Drop;
    const { at, kind, of } = this.#plan;
    if (this.hasFired) return this.#follow(disk, io);
    for (const struck of ['target', 'records'] as const) {
      if (of !== struck && kind !== null) continue;
      const isOne = struck === 'target' ? this.#isTarget(disk) : this.#isRecord(disk, io);
      if (isOne) this.counts[struck]++;
      else if (of === struck) return undefined;
    }
    this.count++;
    if (this.count !== at || kind === null) return undefined;
    this.hasFired = true;
    this.struck = disk;
    this.#place = { from: io.offsetBlocks, to: io.offsetBlocks + io.numBlocks };
    this.#run.mark(`${kind} at a ${['read', 'write', 'unmap', 'flush', 'zero'][io.type] ?? 'request'}`);
    this.#run.world.trace(`== operation ${this.count}, on ${disk.name}: ${kind}`);
    return this.#fire(kind, disk, io);
  }

  /** Handles operations after the first fault: the second one may be due. */
  #follow(disk: SimDisk, io: BdevIo): Fate | undefined {
    this.count++;
    this.#since++;
    const { follow = null } = this.#plan;
    if (follow === null || follow.kind === 'rest' || this.#hasFollowed) return undefined;
    if (follow.kind !== 'stripe') return this.#since >= follow.after ? this.#end(follow.kind) : undefined;
    const isData = io.type === IoType.Read || io.type === IoType.Write;
    const isNear = io.offsetBlocks < this.#place.to && this.#place.from < io.offsetBlocks + io.numBlocks;
    if (!isData || !isNear || disk === this.struck) return undefined;
    this.#hasFollowed = true;
    // No level has redundancy for both faults, but no data may be made up either.
    this.#run.isTolerant = true;
    this.#run.mark('a second error in the stripe');
    this.#run.world.trace(`== ${disk.name}: an error in the same stripe`);
    return this.#fire('eio', disk, io);
  }

  /** Whether the operation writes metadata, which is before the data. */
  #isRecord(disk: SimDisk, { offsetBlocks, type }: BdevIo): boolean {
    return type === IoType.Write && offsetBlocks * disk.blockSize < this.#run.reservedBytes;
  }

  #isTarget(disk: SimDisk): boolean {
    return this.#run.array()?.slots.some(({ isRebuilding, name }) => isRebuilding && name === disk.name) ?? false;
  }

  #end(kind: TripKind): Fate {
    this.#hasFollowed = true;
    this.#run.mark(`${kind} after a fault`);
    this.#run.world.trace(`== ${kind}, ${this.#since} operations later`);
    this.ending = endings[kind] ?? null;
    this.#run.world.after(0, this.#onEnd);
    return Fate.Drop;
  }

  #fire(kind: TripKind, disk: SimDisk, io: BdevIo): Fate | undefined {
    const ending = endings[kind];
    if (ending !== undefined) {
      this.ending = ending;
      this.#run.world.after(0, this.#onEnd);
      return Fate.Drop;
    }
    const run = this.#run;
    if (kind === 'outage') {
      if (run.array()?.state !== 'online') run.hasFaultInStart = true;
      this.#outage();
      return io.type === IoType.Read || (io.type === IoType.Flush && disk.faults.flushErrorRate === 0) ? undefined : Fate.Fail;
    }
    const canSpare = run.standing.mayLose(disk);
    if (!canSpare) run.isTolerant = true;
    // The last good member goes, and of those that it went on without the operator would make an array again.
    if (this.#isInRecovery && !canSpare && kind === 'gone' && run.isRedundant) {
      this.isPointless = true;
      run.world.after(0, this.#onEnd);
      return Fate.Drop;
    }
    if (this.#isInRecovery && run.array()?.state !== 'online') {
      run.hasFaultInStart = true;
      // If the last good member is gone and only a stale one is visible, no program can know better.
      if (!canSpare && !(['eio', 'readOnly', 'full'] as TripKind[]).includes(kind)) {
        this.isPointless = true;
        run.world.after(0, this.#onEnd);
        return Fate.Drop;
      }
    }
    const { faults } = disk;
    switch (kind) {
      case 'eio':
        if (io.type === IoType.Read) this.#forgiveUnproven(disk, io);
        return Fate.Fail;
      case 'dead':
        faults.readErrorRate = faults.writeErrorRate = faults.flushErrorRate = 1;
        return Fate.Fail;
      case 'readOnly':
        faults.writeErrorRate = faults.flushErrorRate = 1;
        return io.type === IoType.Read ? undefined : Fate.Fail;
      case 'full':
        faults.isFull = true;
        return undefined;
      case 'hang':
        faults.stuckUntil = this.#run.world.now + hangMs;
        return undefined;
      case 'gone':
        this.#pullOut(disk);
        return undefined;
      case 'lost':
        // Nothing can detect a lost write of the last copy, or of data without redundancy.
        if (io.type === IoType.Read || io.type === IoType.Flush || !this.#run.isRedundant || !canSpare) this.isPointless = true;
        else this.#lose(disk, io);
        return Fate.Lose;
      default:
        return undefined;
    }
  }

  /** No data is being written by users meanwhile, so nothing may be lost. */
  #outage(): void {
    const { disks, isParity, random, world } = this.#run;
    const isInResync = isParity && this.#run.array()?.process?.type === 'resync';
    const failsFlushes = random.chance(0.5) && !isInResync;
    for (const { faults } of disks) {
      faults.writeErrorRate = 1;
      if (failsFlushes) faults.flushErrorRate = 1;
    }
    world.after(random.pick(outagesMs), () => {
      world.trace('== all devices take writes again');
      for (const { faults } of disks) faults.writeErrorRate = faults.flushErrorRate = 0;
    });
  }

  /**
   * With checksums, the rest of a unit must be read before a part of it is written. If that read fails, the unit is bad until
   * it is repaired; if a crash comes before that, the parity of a stripe that was being written does not prove what the unit
   * held.
   */
  #forgiveUnproven(disk: SimDisk, { numBlocks, offsetBlocks }: BdevIo): void {
    const { isParity, leniency, model, plan } = this.#run;
    const array = this.#run.array();
    const slot = array?.slots.find(({ name }) => name === disk.name);
    if (!isParity || plan.shape.integrity === undefined || array?.state !== 'online' || slot === undefined) return;
    const { arrayBlocks, memberBlocks } = array.stripe();
    const perBlock = disk.blockSize / sectorBytes;
    const first = Math.floor((offsetBlocks - slot.dataOffset) / memberBlocks);
    const last = Math.floor((offsetBlocks - slot.dataOffset + numBlocks - 1) / memberBlocks);
    if (first < 0) return;
    const [start, end] = [first * arrayBlocks, (last + 1) * arrayBlocks];
    for (const { firstSector, numSectors } of model.pending)
      if (firstSector < end * perBlock && start * perBlock < firstSector + numSectors) leniency.forgive(start, end);
  }

  #lose(disk: SimDisk, { addr, numBlocks, offsetBlocks, type }: BdevIo): void {
    this.lost = { disk, offsetBlocks, numBlocks };
    // The scenario may at once read data reconstructed from it, if an absent member leaves nothing to compare with.
    forgive(this.#run, this.lost);
    if (type !== IoType.Write) return;
    if (isHeader(offsetBlocks * disk.blockSize)) this.#run.lostHeader = disk;
    const { lostEntries, memory } = this.#run;
    lostEntries.lostWrite(disk, (offsetBlocks * disk.blockSize) / sectorBytes, memory.u8.subarray(addr, addr + sectorBytes));
  }

  #pullOut(disk: SimDisk): void {
    const run = this.#run;
    run.world.after(0, () => {
      if (!disk.isPresent || run.stack === null) return;
      disk.vanish();
      void run.call(`pulling ${disk.name} out`, run.stack.pullOut(disk));
    });
    run.world.after(goneMs, () => comeBack(run, disk, 'same'));
  }
}

/** Whether a write that begins at this byte of a member is one of a header. */
function isHeader(at: number): boolean {
  const areas = [metadataAreas.header, metadataAreas['other header']];
  return areas.some(([from, end]) => at >= from * 1024 && at < end * 1024);
}

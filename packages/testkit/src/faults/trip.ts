import { IoType } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { CutMode, Fate } from '../disk-faults.js';
import type { SimDisk } from '../sim-disk.js';
import type { SimRun } from '../simulation/sim-run.js';
import type { Ending } from '../simulation/restart.js';
import { sectorBytes } from '../sector.js';
import { comeBack } from '../simulation/trouble.js';
import { forgive } from './silent.js';
import type { Lie } from './silent.js';

/** What happens at one operation of a device. */
export const tripKinds = ['eio', 'dead', 'readOnly', 'full', 'hang', 'gone', 'lost', 'kill', 'cut', 'torn'] as const;
/**
 * `eio`: it fails, once. `dead`: it and whatever the device is asked from then on. `readOnly`: so do its writes and flushes
 * alone, with EIO. `full`: so do its writes, with ENOSPC.
 * `hang`: nothing of the device ends for a minute. `gone`: the device goes away for a second. `lost`: a write is answered and
 * not done. `kill`: the process dies before it. `cut`: the power fails, caches are lost. `torn`: as that, sector by sector.
 */
export type TripKind = (typeof tripKinds)[number];

const endings: Partial<Record<TripKind, Ending>> = {
  kill: { how: 'kill', mode: CutMode.KeepAll, downMs: 10 },
  cut: { how: 'power', mode: CutMode.LoseAll, downMs: 10 },
  torn: { how: 'power', mode: CutMode.Random, downMs: 10 },
};
const hangMs = 60_000;
export const goneMs = 1000;

/**
 * What comes after the fault. A crash so many operations later; an error of another member at the next operation that
 * touches the same member blocks; or the loss of another member once everything is at rest.
 */
export type Follow = { kind: 'kill' | 'cut' | 'torn'; after: number } | { kind: 'stripe' } | { kind: 'rest' };

/** Operations on a member that a rebuild fills, or writes of what is recorded on a member. */
export type Struck = 'target' | 'records';

/** When the fault strikes, and what follows it. */
export interface TripPlan {
  /** The operation, from 1. */
  at: number;
  /** Null: operations are only counted. */
  kind: TripKind | null;
  /** Only these operations are counted; default: all. */
  of?: Struck;
  follow?: Follow | null;
}

/** A fault that waits for the n-th operation on the run's disks, whichever disk that is. */
export class Trip {
  /** Operations so far, of those that count. */
  count = 0;
  readonly counts: Record<Struck, number> = { target: 0, records: 0 };
  hasFired = false;
  /** The disk at which it struck. */
  struck: SimDisk | null = null;
  /** Set when it has ended the process, or rather is about to: nothing reaches a disk any more. */
  ending: Ending | null = null;
  /** The fault came where it means nothing: there is nothing to be seen. */
  isPointless = false;
  /** Bytes of a member that a lying device has not written. */
  lost: Lie | null = null;
  readonly #run: SimRun;
  readonly #plan: TripPlan;
  readonly #onEnd: () => void;
  readonly #isInRecovery: boolean;
  /** Operations since it struck. */
  #since = 0;
  #hasFollowed = false;
  /** Where it struck, in blocks of the disk. */
  #place = { from: 0, to: 0 };

  /** `onEnd` is called as the process ends. `isInRecovery`: a new process puts things right after a crash meanwhile. */
  constructor(run: SimRun, plan: TripPlan, onEnd: () => void, isInRecovery = false) {
    this.#run = run;
    this.#plan = plan;
    this.#onEnd = onEnd;
    this.#isInRecovery = isInRecovery;
    for (const disk of run.disks) disk.onSubmit = (io) => this.#next(disk, io);
  }

  disarm(): void {
    for (const disk of this.#run.disks) disk.onSubmit = null;
  }

  /** The crash that is to follow, and has not come yet; null if there is none. */
  get crashDue(): TripKind | null {
    const { follow = null } = this.#plan;
    if (follow === null || follow.kind === 'stripe' || follow.kind === 'rest') return null;
    return this.hasFired && this.ending === null ? follow.kind : null;
  }

  /** It has struck, and another member is to be lost once everything is at rest. */
  get mustLoseAnother(): boolean {
    return this.hasFired && this.#plan.follow?.kind === 'rest';
  }

  /** Two members have failed in one stripe: whether the array starts by itself after that, no rule says. */
  get hasStruckTwice(): boolean {
    return this.#hasFollowed && this.#plan.follow?.kind === 'stripe';
  }

  /** The crash that is due comes now. */
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

  /** The first fault has struck: perhaps it is the second one's turn. */
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
    // No level has redundancy for both; nothing may be made up all the same.
    this.#run.isTolerant = true;
    this.#run.mark('a second error in the stripe');
    this.#run.world.trace(`== ${disk.name}: an error in the same stripe`);
    return this.#fire('eio', disk, io);
  }

  /** What lies in front of the data. */
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
    const canSpare = run.standing.mayLose(disk);
    if (!canSpare) run.isTolerant = true;
    if (this.#isInRecovery && run.array()?.state !== 'online') {
      run.hasFaultInStart = true;
      // With the last good member away, and only a stale one to be seen, no program can know better.
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
        // A device that lies about the last copy, or about what nothing repeats, cannot be found out.
        if (io.type === IoType.Read || io.type === IoType.Flush || !this.#run.isRedundant || !canSpare) this.isPointless = true;
        else this.#lose(disk, io);
        return Fate.Lose;
      default:
        return undefined;
    }
  }

  /**
   * With checksums, what is left of a unit of which a part is written must be read first. If that fails, it is bad until it has
   * been healed, and after a crash before that the parity of a stripe that was being written does not say what it held.
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
    // The scenario may read at once what is worked out from it, where an absent member leaves nothing to compare it with.
    forgive(this.#run, this.lost);
    if (type !== IoType.Write) return;
    const { lostEntries, memory } = this.#run;
    lostEntries.lostWrite((offsetBlocks * disk.blockSize) / sectorBytes, memory.u8.subarray(addr, addr + sectorBytes));
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

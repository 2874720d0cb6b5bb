import { IoType } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { CutMode, Fate } from '../disk-faults.js';
import type { SimDisk } from '../sim-disk.js';
import type { SimRun } from '../simulation/sim-run.js';
import type { Ending } from '../simulation/restart.js';
import { comeBack } from '../simulation/trouble.js';

/** What happens at one operation of a device. */
export const tripKinds = ['eio', 'dead', 'full', 'hang', 'gone', 'lost', 'kill', 'cut', 'torn'] as const;
/**
 * `eio`: it fails, once. `dead`: it and whatever the device is asked from then on. `full`: so do all its writes, with ENOSPC.
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

/** A fault that waits for the n-th operation on the run's disks, whichever disk that is. */
export class Trip {
  /** Operations so far. */
  count = 0;
  hasFired = false;
  /** Set when it has ended the process, or rather is about to: nothing reaches a disk any more. */
  ending: Ending | null = null;
  /** The fault came where it means nothing: there is nothing to be seen. */
  isPointless = false;
  /** Bytes of a member that a lying device has not written. */
  lost: { disk: SimDisk; offsetBlocks: number; numBlocks: number } | null = null;
  readonly #run: SimRun;
  readonly #at: number;
  readonly #kind: TripKind | null;
  readonly #onEnd: () => void;

  /** Counts from 1. Null: only counts. `onEnd` is called as the process ends. */
  constructor(run: SimRun, at: number, kind: TripKind | null, onEnd: () => void) {
    this.#run = run;
    this.#at = at;
    this.#kind = kind;
    this.#onEnd = onEnd;
    for (const disk of run.disks) disk.onSubmit = (io) => this.#next(disk, io);
  }

  disarm(): void {
    for (const disk of this.#run.disks) disk.onSubmit = null;
  }

  #next(disk: SimDisk, io: BdevIo): Fate | undefined {
    if (this.ending !== null) return Fate.Drop;
    this.count++;
    if (this.count !== this.#at || this.#kind === null) return undefined;
    this.hasFired = true;
    this.#run.mark(`${this.#kind} at a ${['read', 'write', 'unmap', 'flush', 'zero'][io.type] ?? 'request'}`);
    this.#run.world.trace(`== operation ${this.count}, on ${disk.name}: ${this.#kind}`);
    return this.#fire(this.#kind, disk, io);
  }

  #fire(kind: TripKind, disk: SimDisk, io: BdevIo): Fate | undefined {
    const ending = endings[kind];
    if (ending !== undefined) {
      this.ending = ending;
      this.#run.world.after(0, this.#onEnd);
      return Fate.Drop;
    }
    const canSpare = this.#run.standing.mayLose(disk);
    if (!canSpare) this.#run.isTolerant = true;
    const { faults } = disk;
    switch (kind) {
      case 'eio':
        return Fate.Fail;
      case 'dead':
        faults.readErrorRate = faults.writeErrorRate = faults.flushErrorRate = 1;
        return Fate.Fail;
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
        else this.lost = { disk, offsetBlocks: io.offsetBlocks, numBlocks: io.numBlocks };
        return Fate.Lose;
      default:
        return undefined;
    }
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

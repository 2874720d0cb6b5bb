/** How long a device takes, in milliseconds: at least, and on average above that. */
export interface Latency {
  leastMs: number;
  meanMs: number;
}

/** What a power cut leaves of what was cached or in flight. */
export const CutMode = { KeepAll: 0, LoseAll: 1, Prefix: 2, Random: 3 } as const;
export type CutMode = (typeof CutMode)[keyof typeof CutMode];

/** Sectors for which a thin device finds room at once. */
export const thinSectors = 8;

/** Writes that are answered, and are lost or land on something else: the next so many that begin in these sectors. */
export interface ArmedLie {
  readonly from: number;
  readonly end: number;
  /** The sector on which they land; null: they are lost. */
  readonly onto: number | null;
  left: number;
}

/** What is wrong with a device. Changed by the code that runs the simulation, at any time. */
export class DiskFaults {
  /** Reads, writes and flushes fail this often. */
  readErrorRate = 0;
  writeErrorRate = 0;
  flushErrorRate = 0;
  /** So many flushes fail, and what they covered may be lost although later ones succeed. */
  flushErrors = 0;
  /** So many writes fail. */
  writeErrors = 0;
  /** Every write fails with ENOSPC. */
  isFull = false;
  /** Room for so many units of 8 sectors that hold nothing yet; more fail with ENOSPC. */
  thinUnits = Infinity;
  /** Every write fails with EPERM. */
  isReadOnly = false;
  /** So many writes of data are answered, and not done. */
  lostWrites = 0;
  /** So many writes of data are answered, and done so many sectors further on. */
  misdirectedWrites = 0;
  /** What it will lie about, wherever that is. */
  armedLies: ArmedLie[] = [];
  /** "Not now" this often; the bdev layer asks again. */
  busyRate = 0;
  /** Latencies are multiplied by this. */
  slowness = 1;
  /** Nothing that is submitted comes to an end until this virtual time. */
  stuckUntil = 0;

  /** Nothing is wrong any more. Latent errors are the media's, and stay. */
  clear(): void {
    Object.assign(this, new DiskFaults());
  }

  get areAny(): boolean {
    return (
      this.readErrorRate > 0 ||
      this.writeErrorRate > 0 ||
      this.flushErrorRate > 0 ||
      this.flushErrors > 0 ||
      this.writeErrors > 0 ||
      this.isFull ||
      this.thinUnits < Infinity ||
      this.isReadOnly
    );
  }
}

/** What becomes of one I/O, if something particular is to. */
export const Fate = {
  /** It fails with EIO. */
  Fail: 1,
  /** It is answered as if it had been done, and has not been. */
  Lose: 2,
  /** It never reaches the device, and is never answered. */
  Drop: 3,
} as const;
export type Fate = (typeof Fate)[keyof typeof Fate];

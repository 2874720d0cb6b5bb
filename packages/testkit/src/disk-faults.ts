/** Latency of a device in milliseconds: the minimum, and the mean of what is added to it. */
export interface Latency {
  leastMs: number;
  meanMs: number;
}

/** Which writes that were cached or in flight survive a power cut. */
export const CutMode = { KeepAll: 0, LoseAll: 1, Prefix: 2, Random: 3 } as const;
export type CutMode = (typeof CutMode)[keyof typeof CutMode];

/** Allocation unit of a thin device, in sectors. */
export const thinSectors = 8;

/** Writes that are acknowledged but lost or misdirected: the next `left` ones that begin in these sectors. */
export interface ArmedLie {
  readonly from: number;
  readonly end: number;
  /** The sector to which they are misdirected; null: they are lost. */
  readonly onto: number | null;
  left: number;
}

/** Faults of a device. The code that runs the simulation may change them at any time. */
export class DiskFaults {
  /** Probabilities that a read, write or flush fails. */
  readErrorRate = 0;
  writeErrorRate = 0;
  flushErrorRate = 0;
  /** Number of flushes that will fail. What they covered may be lost although later flushes succeed. */
  flushErrors = 0;
  /** Number of writes that will fail. */
  writeErrors = 0;
  /** Every write fails with ENOSPC. */
  isFull = false;
  /** Free space in units of 8 sectors (`thinSectors`) for units that hold nothing yet; beyond it writes fail with ENOSPC. */
  thinUnits = Infinity;
  /** Every write fails with EPERM. */
  isReadOnly = false;
  /** Number of data writes that will be acknowledged but not done. */
  lostWrites = 0;
  /** Number of data writes that will be acknowledged but misdirected, by their own length. */
  misdirectedWrites = 0;
  /** Lost or misdirected writes anywhere on the device. */
  armedLies: ArmedLie[] = [];
  /** Probability of a "not now" answer, after which the bdev layer tries again. */
  busyRate = 0;
  /** Latencies are multiplied by this. */
  slowness = 1;
  /** Nothing that is submitted completes before this virtual time. */
  stuckUntil = 0;

  /** Removes all faults. Latent errors belong to the media and stay. */
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

/** Fate of one I/O, chosen by a script. */
export const Fate = {
  /** It fails with EIO. */
  Fail: 1,
  /** It is acknowledged but not done. */
  Lose: 2,
  /** It does not reach the device and never completes. */
  Drop: 3,
} as const;
export type Fate = (typeof Fate)[keyof typeof Fate];

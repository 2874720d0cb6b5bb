import type { Stats } from 'node:fs';
import { BdevError, Status } from '@raidkit/bdev';

/**
 * Files and devices that this thread has open, and the names of their bdevs. The operating system's locks only exclude other
 * processes.
 */
const claims = new Map<string, string>();

/** Files and devices that the threads of one process have open, each at most once. */
export interface ClaimTable {
  /** Returns false if another thread has it. */
  take(key: string): boolean;
  release(key: string): void;
}

let shared: ClaimTable | null = null;

/** Makes this thread's claims exclude those of other threads of the process. Must be called before anything is opened. */
export function shareClaims(table: ClaimTable): void {
  shared = table;
}

/** The exclusive right of a bdev of this process to a file or device. */
export class ProcessClaim {
  /** Identifies the device or file, whatever path leads to it. */
  readonly key: string;

  /** Throws EBUSY, naming the bdev that has it open. */
  constructor(path: string, stats: Stats, bdevName: string) {
    this.key = stats.isBlockDevice() ? `device ${stats.rdev}` : `file ${stats.dev} ${stats.ino}`;
    const owner = claims.get(this.key);
    if (owner !== undefined) {
      throw new BdevError('ERR_BDEV_CLAIMED', Status.Busy, `${path} is open already, as bdev ${owner}`);
    }
    if (shared?.take(this.key) === false) {
      throw new BdevError('ERR_BDEV_CLAIMED', Status.Busy, `${path} is open already, as a bdev of another reactor`);
    }
    claims.set(this.key, bdevName);
  }

  release(): void {
    claims.delete(this.key);
    shared?.release(this.key);
  }
}

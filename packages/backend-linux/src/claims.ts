import type { Stats } from 'node:fs';
import { BdevError, Status } from '@raidkit/bdev';

/** Files and devices that this thread has open as bdevs, and under which names. The operating system's claims hold between processes. */
const claims = new Map<string, string>();

/** What threads of one process have open, each thing once. */
export interface ClaimTable {
  /** False if another thread has it. */
  take(key: string): boolean;
  release(key: string): void;
}

let shared: ClaimTable | null = null;

/** Has this thread agree with others of its process on what each has open. Before anything is opened. */
export function shareClaims(table: ClaimTable): void {
  shared = table;
}

/** The right to be the only bdev of this process over a file or device. */
export class ProcessClaim {
  /** The same for the same device or file, under whatever path. */
  readonly key: string;

  /** Throws EBUSY, naming the bdev that has it. */
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

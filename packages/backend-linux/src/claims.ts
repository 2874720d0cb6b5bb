import type { Stats } from 'node:fs';
import { BdevError, Status } from '@raidkit/bdev';

/** Files and devices that this process has open as bdevs, and under which names. The operating system's claims hold between processes. */
const claims = new Map<string, string>();

/** The right to be the only bdev of this process over a file or device. */
export class ProcessClaim {
  readonly #key: string;

  /** Throws EBUSY, naming the bdev that has it. */
  constructor(path: string, stats: Stats, bdevName: string) {
    this.#key = stats.isBlockDevice() ? `device ${stats.rdev}` : `file ${stats.dev} ${stats.ino}`;
    const owner = claims.get(this.#key);
    if (owner !== undefined) {
      throw new BdevError('ERR_BDEV_CLAIMED', Status.Busy, `${path} is open already, as bdev ${owner}`);
    }
    claims.set(this.#key, bdevName);
  }

  release(): void {
    claims.delete(this.#key);
  }
}

import { closeSync, openSync, readSync } from 'node:fs';
import type { SpinWorld } from './spin.js';

/** Without schedstat, each involuntary context switch counts as this many milliseconds of waiting. */
const msPerSwitch = 1;

/**
 * Measures how long the calling thread had to wait for a processor: the second number of its schedstat (proc(5), in
 * nanoseconds). The number of involuntary context switches says less, since a thread that wakes another one often yields to it
 * for a moment.
 */
export class RunQueueWait implements SpinWorld {
  readonly #bytes = Buffer.alloc(64);
  #fd = -1;

  /** Must be called in the thread that is measured. */
  open(): void {
    try {
      this.#fd = openSync('/proc/thread-self/schedstat', 'r');
    } catch {
      // Some kernels lack schedstat.
    }
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  waitedMs(): number {
    if (this.#fd < 0) return process.resourceUsage().involuntaryContextSwitches * msPerSwitch;
    const length = readSync(this.#fd, this.#bytes, 0, this.#bytes.length, 0);
    return Number(this.#bytes.toString('latin1', 0, length).split(' ')[1]) / 1e6;
  }
}

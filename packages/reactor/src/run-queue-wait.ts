import { closeSync, openSync, readSync } from 'node:fs';
import type { SpinWorld } from './spin.js';

/** Where the kernel does not count waits: what each time of being put aside is taken for, in milliseconds. */
const msPerSwitch = 1;

/**
 * How long the calling thread had to wait for a processor: the second number of its schedstat (proc(5), in nanoseconds). Its
 * being put aside alone says little: a thread that wakes another one often has to give way to it for a moment.
 */
export class RunQueueWait implements SpinWorld {
  readonly #bytes = Buffer.alloc(64);
  #fd = -1;

  /** In the thread that is meant. */
  open(): void {
    try {
      this.#fd = openSync('/proc/thread-self/schedstat', 'r');
    } catch {
      // Not every kernel has it.
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

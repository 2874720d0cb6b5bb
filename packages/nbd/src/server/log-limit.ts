import type { Logger, Runtime } from '@raidkit/bdev';

/** Lines that may come at once, and how often another one may, in milliseconds. */
const burst = 20;
const msPerLine = 1000;

/** Logs what any host on the network can cause: a few lines at once, then one in a second, with how many there would have been. */
export class LogLimit {
  readonly #log: Logger;
  readonly #runtime: Pick<Runtime, 'now'>;
  #lines = burst;
  #countedAt: number;
  #leftOut = 0;

  constructor(log: Logger, runtime: Pick<Runtime, 'now'>) {
    this.#log = log;
    this.#runtime = runtime;
    this.#countedAt = runtime.now();
  }

  log(level: 'info' | 'warn', fields: object, message: string): void {
    const now = this.#runtime.now();
    this.#lines = Math.min(burst, this.#lines + (now - this.#countedAt) / msPerLine);
    this.#countedAt = now;
    if (this.#lines < 1) {
      this.#leftOut++;
      return;
    }
    this.#lines--;
    const leftOut = this.#leftOut === 0 ? {} : { leftOut: this.#leftOut };
    this.#leftOut = 0;
    this.#log[level]({ ...fields, ...leftOut }, message);
  }
}

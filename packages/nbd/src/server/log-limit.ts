import type { Logger, Runtime } from '@raidkit/bdev';

/** Number of lines that may be logged at once. */
const burst = 20;
/** One more line may be logged each time this many milliseconds have passed. */
const msPerLine = 1000;

/**
 * Limits the log lines that any host on the network can cause: 20 at once, then one per second. `leftOut` in a line is the
 * number of lines that were dropped before it.
 */
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

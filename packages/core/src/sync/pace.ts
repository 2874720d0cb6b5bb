/** Time constant of the moving average in milliseconds: a measurement of that age has a third of the weight of a new one. */
const memoryMs = 10_000;
/** Shortest measurement in milliseconds, because shorter ones are inaccurate. */
const spanMs = 1000;

/**
 * Recent rate of a process, as a moving average that leaves out the time for which it was paused. All times are in milliseconds
 * on the same clock.
 */
export class ProcessPace {
  #rate: number | null = null;
  #blocks = 0;
  #since: number | null;

  constructor(now: number) {
    this.#since = now;
  }

  /** Adds blocks that have been processed. */
  worked(blocks: number, now: number): void {
    this.#blocks += blocks;
    if (this.#since !== null && now - this.#since >= spanMs) this.#take(now - this.#since, now);
  }

  /** Stops the clock until {@link resume}. */
  pause(now: number): void {
    if (this.#since !== null && now - this.#since >= spanMs) this.#take(now - this.#since, now);
    this.#since = null;
  }

  resume(now: number): void {
    this.#since ??= now;
    this.#blocks = 0;
  }

  /** Returns the rate in blocks per millisecond; 0 if it is unknown. */
  rate(now: number): number {
    const passed = this.#since === null ? 0 : now - this.#since;
    // The present measurement counts if there is no other one, or if it is long enough to show that work has become slow.
    if (this.#rate === null) return passed > 0 ? this.#blocks / passed : 0;
    return passed >= spanMs ? mean(this.#rate, this.#blocks / passed, passed) : this.#rate;
  }

  #take(passed: number, now: number): void {
    const rate = this.#blocks / passed;
    this.#rate = this.#rate === null ? rate : mean(this.#rate, rate, passed);
    this.#blocks = 0;
    this.#since = now;
  }
}

function mean(before: number, now: number, passed: number): number {
  return now + (before - now) * Math.exp(-passed / memoryMs);
}

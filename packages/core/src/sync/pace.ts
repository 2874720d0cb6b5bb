/** Over how long the rate is taken, in milliseconds: what was then counts a third of what is now. */
const memoryMs = 10_000;
/** What is measured is at least so long: the work of less says little. */
const spanMs = 1000;

/**
 * How fast a process gets on, of late: the moving average of its rate, in which the time for which it was paused is left out.
 * Times are in milliseconds, of one clock.
 */
export class ProcessPace {
  #rate: number | null = null;
  #blocks = 0;
  #since: number | null;

  constructor(now: number) {
    this.#since = now;
  }

  /** So many blocks have been worked on. */
  worked(blocks: number, now: number): void {
    this.#blocks += blocks;
    if (this.#since !== null && now - this.#since >= spanMs) this.#take(now - this.#since, now);
  }

  /** Until {@link resume} no time passes. */
  pause(now: number): void {
    if (this.#since !== null && now - this.#since >= spanMs) this.#take(now - this.#since, now);
    this.#since = null;
  }

  resume(now: number): void {
    this.#since ??= now;
    this.#blocks = 0;
  }

  /** Blocks in a millisecond; 0 as long as nothing is known. */
  rate(now: number): number {
    const passed = this.#since === null ? 0 : now - this.#since;
    // What is under way counts at once if there is nothing else, or it shows that work has become slow.
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

/** Milliseconds between two checks for changes, and the longest wait between two retries of failed calls. */
const pollMs = 5000;
/** Milliseconds before the first retry after a change. The wait doubles with each retry. */
export const firstRetryMs = 100;

/** Repeats a piece of work: soon after a change, and less and less often while it has no effect. */
export class Ticker {
  /** Resolves with true if the work had an effect. */
  readonly #work: () => Promise<boolean>;
  /** Whether nothing waits for a retry. */
  readonly #isIdle: () => boolean;
  #isBegun = false;
  #isEnded = false;
  #timer: NodeJS.Timeout | null = null;
  /** The run in progress. */
  #ticking: Promise<void> | null = null;
  /** Longest wait in milliseconds before the next run, as requested during a run. */
  #wantedMs = Infinity;
  #retryMs = firstRetryMs;

  constructor(work: () => Promise<boolean>, isIdle: () => boolean) {
    this.#work = work;
    this.#isIdle = isIdle;
  }

  begin(): void {
    this.#isBegun = true;
    this.soon(firstRetryMs);
  }

  end(): void {
    this.#isEnded = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** Has the work run within this many milliseconds. */
  soon(delayMs: number): void {
    if (this.#isEnded || !this.#isBegun) return;
    if (delayMs === firstRetryMs) this.#retryMs = firstRetryMs;
    // Runs must not overlap: a call that two runs retry might be carried out after its result was deleted.
    if (this.#ticking !== null) {
      this.#wantedMs = Math.min(this.#wantedMs, delayMs);
      return;
    }
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.now();
    }, delayMs);
    this.#timer.unref();
  }

  /** Runs the work now; resolves when a run that began after this call has ended. */
  async now(): Promise<void> {
    while (this.#ticking !== null) await this.#ticking;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#ticking = this.#try().finally(() => {
      this.#ticking = null;
      this.soon(Math.min(this.#wantedMs, this.#isIdle() ? pollMs : this.#retryMs));
    });
    await this.#ticking;
  }

  async #try(): Promise<void> {
    this.#wantedMs = Infinity;
    this.#retryMs = (await this.#work()) ? firstRetryMs : Math.min(2 * this.#retryMs, pollMs);
  }
}

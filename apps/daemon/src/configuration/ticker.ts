/** Wait between two looks at what has changed by itself, and the longest between two tries of calls that failed. Milliseconds. */
const pollMs = 5000;
/** Wait before the first try after something has changed. It doubles from try to try. Milliseconds. */
export const firstRetryMs = 100;

/** Does a piece of work again and again: soon after something has changed, later and later while nothing comes of it. */
export class Ticker {
  /** Resolves with whether something has come of it. */
  readonly #work: () => Promise<boolean>;
  /** Whether nothing waits for the next try. */
  readonly #isIdle: () => boolean;
  #isBegun = false;
  #isEnded = false;
  #timer: NodeJS.Timeout | null = null;
  /** The try that is under way. */
  #ticking: Promise<void> | null = null;
  /** Wanted while a try was under way: the next one comes after so many milliseconds at most. */
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

  /** It is done after so many milliseconds at most. */
  soon(delayMs: number): void {
    if (this.#isEnded || !this.#isBegun) return;
    if (delayMs === firstRetryMs) this.#retryMs = firstRetryMs;
    // One at a time: a call that two of them try may come into being after it has been deleted.
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

  /** Resolves when everything has been looked at and tried that there was when it was called. */
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

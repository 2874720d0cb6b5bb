/** Highest value of the score, which is also its initial value. A spin that finds work adds 1. */
const bestScore = 16;
/** Subtracted from the score by a spin that finds nothing. */
const missCost = 2;
/** At a score of 0, one spin in this many is tried all the same. */
const retryEvery = 64;
/** Interval at which to check whether other threads want the processors, in milliseconds. */
const lookEveryMs = 50;
/**
 * The thread does not spin for this many milliseconds when others want the processors; each repetition doubles the time, up to
 * `longestBackOffMs`.
 */
const firstBackOffMs = 100;
const longestBackOffMs = 1600;
/** Others want the processors if this thread waited for one for more than this share of the time. */
const busyShare = 0.25;
/**
 * Milliseconds of such waiting that each sleep may cause without any other thread, because a halted processor takes that long
 * to wake.
 */
const wakeMs = 0.05;

/** What {@link Spin} measures of its thread. */
export interface SpinWorld {
  /** Returns the milliseconds, since an arbitrary time, in which the thread was runnable and waited for a processor. */
  waitedMs(): number;
}

/**
 * Decides whether to poll for completions for a while before sleeping. Polling pays if the next completion comes within that
 * while, and does harm if other threads want the processor. Both are measured.
 */
export class Spin {
  readonly limitMs: number;
  readonly #world: SpinWorld;
  #score = bestScore;
  #refused = 0;
  #until = 0;
  #isSpinning = false;
  #lookAt = 0;
  #waitedMs = 0;
  #sleeps = 0;
  #lookedAt = 0;
  #offUntil = 0;
  #backOffMs = firstBackOffMs;

  /** `limitMs` is the longest spin; 0 disables spinning. */
  constructor(limitMs: number, world: SpinWorld) {
    this.limitMs = limitMs;
    this.#world = world;
    this.#waitedMs = world.waitedMs();
  }

  /** Reports that there was work at `now`: the time limit of a spin starts again. */
  worked(now: number): void {
    if (this.limitMs === 0) return;
    if (now >= this.#lookAt) this.#look(now);
    if (this.#isSpinning) this.#score = Math.min(this.#score + 1, bestScore);
    this.#isSpinning = this.#pays(now);
    this.#until = now + this.limitMs;
  }

  /** Returns whether to poll once more instead of sleeping. */
  goesOn(now: number): boolean {
    if (this.#isSpinning && now < this.#until) return true;
    if (this.#isSpinning) this.#score = Math.max(this.#score - missCost, 0);
    this.#isSpinning = false;
    this.#sleeps++;
    return false;
  }

  #pays(now: number): boolean {
    if (now < this.#offUntil) return false;
    if (this.#score > 0) return true;
    if (++this.#refused < retryEvery) return false;
    this.#refused = 0;
    return true;
  }

  #look(now: number): void {
    const waitedMs = this.#world.waitedMs();
    // Only time in which the thread may spin counts: a thread that sleeps also waits for its processor to wake.
    if (this.#lookedAt >= this.#offUntil) {
      const waitedForOthersMs = waitedMs - this.#waitedMs - this.#sleeps * wakeMs;
      if (waitedForOthersMs / Math.max(now - this.#lookedAt, lookEveryMs) > busyShare) {
        this.#offUntil = now + this.#backOffMs;
        this.#backOffMs = Math.min(this.#backOffMs * 2, longestBackOffMs);
      } else {
        this.#backOffMs = firstBackOffMs;
      }
    }
    this.#waitedMs = waitedMs;
    this.#sleeps = 0;
    this.#lookedAt = now;
    this.#lookAt = Math.max(now + lookEveryMs, this.#offUntil);
  }
}

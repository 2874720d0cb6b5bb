/** How far the score moves, and where it begins. */
const bestScore = 16;
const missCost = 2;
/** While spinning does not pay, one try in this many. */
const retryEvery = 64;
/** How often it is looked whether others want the processors, in milliseconds, and how long they are left alone: ever longer. */
const lookEveryMs = 50;
const firstBackOffMs = 100;
const longestBackOffMs = 1600;
/** Part of the time that this thread could run and was not let: from here on, others want the processors. */
const busyShare = 0.25;
/** What each sleep may have added to that time although no other thread ran: a halted processor takes so long to wake, in milliseconds. */
const wakeMs = 0.05;

/** What a spin needs to know of its thread. */
export interface SpinWorld {
  /** Milliseconds, since some beginning, that the thread could run and had to wait for a processor. */
  waitedMs(): number;
}

/**
 * Whether to look for completions for a while before going to sleep. It pays when the next one comes within that while. It does
 * harm when the processor is wanted by others. Both are watched.
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

  /** @param limitMs longest spin; 0 for none ever. */
  constructor(limitMs: number, world: SpinWorld) {
    this.limitMs = limitMs;
    this.#world = world;
    this.#waitedMs = world.waitedMs();
  }

  /** Something was done at `now`: the time to spin begins anew. */
  worked(now: number): void {
    if (this.limitMs === 0) return;
    if (now >= this.#lookAt) this.#look(now);
    if (this.#isSpinning) this.#score = Math.min(this.#score + 1, bestScore);
    this.#isSpinning = this.#pays(now);
    this.#until = now + this.limitMs;
  }

  /** Whether to look once more instead of sleeping. */
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
    // Only time in which it may spin says something: who sleeps has to wait for the processor to wake.
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

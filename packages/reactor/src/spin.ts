/** How far the score moves, and where it begins. */
const bestScore = 16;
const missCost = 2;
/** While spinning does not pay, one try in this many. */
const retryEvery = 64;
/** How often it is looked whether others want the processors, in milliseconds, and how long they are left alone. */
const lookEveryMs = 50;
const backOffMs = 1000;
/** Times a second that this process is put aside for another one. */
const busySwitchesPerSecond = 200;

/** What a spin needs to know of the process. */
export interface SpinWorld {
  /** Times that the process was put aside for another one, since its beginning (getrusage(2), `ru_nivcsw`). */
  involuntarySwitches(): number;
}

/**
 * Whether to look for completions for a while before going to sleep. It pays when the next one comes within that while; it
 * does harm when the processor is wanted by others. Both are watched.
 */
export class Spin {
  readonly limitMs: number;
  readonly #world: SpinWorld;
  #score = bestScore;
  #refused = 0;
  #until = 0;
  #isSpinning = false;
  #lookAt = 0;
  #switches = 0;
  #lookedAt = 0;
  #offUntil = 0;

  /** @param limitMs longest spin; 0 for none ever. */
  constructor(limitMs: number, world: SpinWorld) {
    this.limitMs = limitMs;
    this.#world = world;
    this.#switches = world.involuntarySwitches();
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
    if (!this.#isSpinning) return false;
    if (now < this.#until) return true;
    this.#isSpinning = false;
    this.#score = Math.max(this.#score - missCost, 0);
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
    const switches = this.#world.involuntarySwitches();
    const seconds = Math.max(now - this.#lookedAt, lookEveryMs) / 1000;
    if ((switches - this.#switches) / seconds > busySwitchesPerSecond) this.#offUntil = now + backOffMs;
    this.#switches = switches;
    this.#lookedAt = now;
    this.#lookAt = now + lookEveryMs;
  }
}

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

/** Work that comes within this of the last, on the mean, comes as a stream: to sleep until more of it is there costs less. */
const streamGapMs = 0.01;
/** How much of a mean the latest value is. */
const meanShare = 1 / 32;
/** Operations that ended between two sleeps, on the mean, up to which that was no stream after all. */
const fewOps = 5;

/** What a spin needs to know of its thread. */
export interface SpinWorld {
  /** Milliseconds, since some beginning, that the thread could run and had to wait for a processor. */
  waitedMs(): number;
}

/**
 * Whether to look for completions for a while before going to sleep. It pays when the next one comes within that while. It does
 * harm when the processor is wanted by others; and when requests come in a dense stream, which would then be worked on one by one,
 * and each pay for what otherwise many share. All three are watched.
 */
export class Spin {
  readonly limitMs: number;
  readonly #world: SpinWorld;
  #score = bestScore;
  #refused = 0;
  #until = 0;
  #isSpinning = false;
  /** When there was nothing to do any more; below 0 while there is. */
  #idleSince = -1;
  #gapMs = 5 * streamGapMs;
  #isStream = false;
  /** Since the last sleep, and on the mean. */
  #ops = 0;
  #meanOps = 0;
  #lookAt = 0;
  #waitedMs = 0;
  #lookedAt = 0;
  #offUntil = 0;
  #backOffMs = firstBackOffMs;

  /** @param limitMs longest spin; 0 for none ever. */
  constructor(limitMs: number, world: SpinWorld) {
    this.limitMs = limitMs;
    this.#world = world;
    this.#waitedMs = world.waitedMs();
  }

  /** `ops` operations were done at `now`: the time to spin begins anew. */
  worked(now: number, ops: number): void {
    if (this.limitMs === 0) return;
    if (now >= this.#lookAt) this.#look(now);
    this.#ops += ops;
    if (this.#idleSince >= 0) {
      this.#gapMs += (now - this.#idleSince - this.#gapMs) * meanShare;
      this.#idleSince = -1;
      if (!this.#isStream && this.#gapMs < streamGapMs) {
        this.#isStream = true;
        this.#meanOps = 4 * fewOps;
      }
    }
    if (this.#isSpinning) this.#score = Math.min(this.#score + 1, bestScore);
    this.#isSpinning = this.#pays(now);
    this.#until = now + this.limitMs;
  }

  /** Whether to look once more instead of sleeping. */
  goesOn(now: number): boolean {
    if (this.#isSpinning && now < this.#until) {
      if (this.#idleSince < 0) this.#idleSince = now;
      return true;
    }
    if (this.#isSpinning) this.#score = Math.max(this.#score - missCost, 0);
    this.#isSpinning = false;
    this.#idleSince = -1;
    this.#slept();
    return false;
  }

  /** A stream that has become thin is none. */
  #slept(): void {
    if (this.#ops === 0) return;
    this.#meanOps += (this.#ops - this.#meanOps) * meanShare;
    this.#ops = 0;
    if (!this.#isStream || this.#meanOps > fewOps) return;
    this.#isStream = false;
    this.#gapMs = 5 * streamGapMs;
  }

  #pays(now: number): boolean {
    if (now < this.#offUntil || this.#isStream) return false;
    if (this.#score > 0) return true;
    if (++this.#refused < retryEvery) return false;
    this.#refused = 0;
    return true;
  }

  #look(now: number): void {
    const waitedMs = this.#world.waitedMs();
    const sinceMs = Math.max(now - this.#lookedAt, lookEveryMs);
    if ((waitedMs - this.#waitedMs) / sinceMs > busyShare) {
      this.#offUntil = now + this.#backOffMs;
      this.#backOffMs = Math.min(this.#backOffMs * 2, longestBackOffMs);
    } else if (this.#lookedAt >= this.#offUntil) {
      // All of the time looked at was time in which to spin.
      this.#backOffMs = firstBackOffMs;
    }
    this.#waitedMs = waitedMs;
    this.#lookedAt = now;
    this.#lookAt = now + lookEveryMs;
  }
}

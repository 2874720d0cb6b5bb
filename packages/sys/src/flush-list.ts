/** Something to be done once a batch of completions has been dealt with. */
export interface RingFlush {
  onFlush(): void;
}

/** What is to be called, once for each time it asked. Allocates nothing once it has grown. */
export class FlushList {
  // Never shortened: an array that is cut to length 0 is thrown away, and made anew by the next push.
  #waiting: (RingFlush | null)[] = [];
  #running: (RingFlush | null)[] = [];
  count = 0;

  add(flush: RingFlush): void {
    this.#waiting[this.count++] = flush;
  }

  /** Calls those that are there now; what is added meanwhile has its turn the next time. Returns how many. */
  run(): number {
    const { count } = this;
    if (count === 0) return 0;
    const batch = this.#waiting;
    this.#waiting = this.#running;
    this.#running = batch;
    this.count = 0;
    for (let i = 0; i < count; i++) {
      const flush = batch[i];
      batch[i] = null;
      flush?.onFlush();
    }
    return count;
  }
}

/** Work to do once a batch of completions has been processed. */
export interface RingFlush {
  onFlush(): void;
}

/** A list of callbacks, each called once for each time it was added. Allocates nothing once it has grown. */
export class FlushList {
  // Never shortened: V8 frees the storage of an array that is cut to length 0, and the next push would allocate it again.
  #waiting: (RingFlush | null)[] = [];
  #running: (RingFlush | null)[] = [];
  count = 0;

  add(flush: RingFlush): void {
    this.#waiting[this.count++] = flush;
  }

  /**
   * Calls all callbacks that are in the list now; what is added meanwhile is called the next time. Returns how many were
   * called.
   */
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

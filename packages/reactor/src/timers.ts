/** One timer. Its creator uses it only as a handle. */
export class Timer {
  readonly at: number;
  readonly order: number;
  /** Null once it has fired or been cancelled. */
  fn: (() => void) | null;

  constructor(at: number, order: number, fn: () => void) {
    this.at = at;
    this.order = order;
    this.fn = fn;
  }
}

/** A binary heap of timers, ordered by due time and then by creation. */
export class TimerQueue {
  readonly #heap: Timer[] = [];
  #made = 0;
  #cancelled = 0;

  add(fn: () => void, at: number): Timer {
    const timer = new Timer(at, this.#made++, fn);
    this.#heap.push(timer);
    this.#up(this.#heap.length - 1);
    return timer;
  }

  /** Has no effect on a timer that has fired. */
  cancel(timer: Timer): void {
    if (timer.fn === null) return;
    timer.fn = null;
    // Most timers are timeouts that are cancelled before they fire; they must not accumulate.
    if (++this.#cancelled > 64 && this.#cancelled > this.#heap.length / 2) this.#sweep();
  }

  /** Time at which the next timer is due; Infinity if there is none. */
  get nextAt(): number {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined) return Infinity;
      if (first.fn !== null) return first.at;
      this.#shift();
      this.#cancelled--;
    }
  }

  /**
   * Calls the functions of timers that are due at `now`, except those added during the call. Returns how many. If a function
   * throws, its timer has fired, and the others run at the next call.
   */
  run(now: number): number {
    const last = this.#made;
    let count = 0;
    while (this.nextAt <= now) {
      const timer = this.#heap[0];
      if (timer === undefined || timer.order >= last) break;
      this.#shift();
      const { fn } = timer;
      timer.fn = null;
      count++;
      fn?.();
    }
    return count;
  }

  #sweep(): void {
    const live = this.#heap.filter(({ fn }) => fn !== null);
    this.#heap.length = 0;
    this.#cancelled = 0;
    for (const timer of live) {
      this.#heap.push(timer);
      this.#up(this.#heap.length - 1);
    }
  }

  #shift(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down();
  }

  #up(start: number): void {
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#swapIfLater(parent, index)) return;
      index = parent;
    }
  }

  #down(): void {
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const right = left + 1;
      const child = right < this.#heap.length && this.#isLater(left, right) ? right : left;
      if (child >= this.#heap.length || !this.#swapIfLater(index, child)) return;
      index = child;
    }
  }

  #isLater(a: number, b: number): boolean {
    const first = this.#heap[a];
    const second = this.#heap[b];
    if (first === undefined || second === undefined) return false;
    return first.at > second.at || (first.at === second.at && first.order > second.order);
  }

  #swapIfLater(a: number, b: number): boolean {
    const first = this.#heap[a];
    const second = this.#heap[b];
    if (first === undefined || second === undefined || !this.#isLater(a, b)) return false;
    this.#heap[a] = second;
    this.#heap[b] = first;
    return true;
  }
}

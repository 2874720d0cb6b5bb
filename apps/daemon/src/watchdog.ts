/** Options of {@link Watchdog}. */
export interface WatchdogOptions {
  /** Counter that the watched thread increases at least once per second while it runs. */
  beat: Int32Array;
  /** Seconds without a change after which the thread counts as stuck; at least 2. */
  stuckAfterSeconds: number;
  /** Seconds without a change after which `onGivenUp` is called; 0 for never. */
  giveUpAfterSeconds: number;
  onStuck: (seconds: number) => void;
  /** Called when a stuck thread runs again, before `onGivenUp` was called. */
  onMoving: () => void;
  onGivenUp: (seconds: number) => void;
}

/**
 * Detects that another thread is stuck. Time is counted in checks, one per second, not by the clock: if the whole process was
 * stopped or the machine asleep, the other thread has missed no more checks than this one.
 */
export class Watchdog {
  isStuck = false;
  readonly #options: WatchdogOptions;
  readonly #timer: NodeJS.Timeout;
  #last = 0;
  #silentSeconds = 0;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.look(), 1000).unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  /** Checks the counter; called once per second. */
  look(): void {
    const { beat, stuckAfterSeconds, giveUpAfterSeconds, onStuck, onMoving, onGivenUp } = this.#options;
    const count = Atomics.load(beat, 0);
    if (count !== this.#last) {
      this.#last = count;
      this.#silentSeconds = 0;
      if (this.isStuck) onMoving();
      this.isStuck = false;
      return;
    }
    this.#silentSeconds++;
    if (!this.isStuck && this.#silentSeconds >= stuckAfterSeconds) {
      this.isStuck = true;
      onStuck(this.#silentSeconds);
    }
    if (giveUpAfterSeconds > 0 && this.#silentSeconds === Math.max(giveUpAfterSeconds, stuckAfterSeconds))
      onGivenUp(this.#silentSeconds);
  }
}

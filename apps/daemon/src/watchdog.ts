/** What a {@link Watchdog} finds out, and how soon. */
export interface WatchdogOptions {
  /** Moves at least once a second as long as the watched thread does. */
  beat: Int32Array;
  /** Seconds without a move after which the thread counts as stuck. 2 at least. */
  stuckAfterSeconds: number;
  /** Seconds without a move after which it is given up; 0 for never. */
  giveUpAfterSeconds: number;
  onStuck: (seconds: number) => void;
  /** It moves again, before it was given up. */
  onMoving: () => void;
  onGivenUp: (seconds: number) => void;
}

/**
 * Notices that another thread does not move any more. Time is counted in looks, one a second, and not by the clock: when the whole
 * process was stopped, or its machine asleep, the other thread has missed no more of it than this one.
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

  /** A second is over. */
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

import type { Runtime, TimerHandle } from './runtime.js';

/**
 * Milliseconds by which a look may be late. If it is later, the process did not run meanwhile, and devices may have answered
 * without being heard.
 */
const mostLateMs = 100;
/** Milliseconds by which such a look is put off, once, so that those answers are heard first. */
export const catchUpMs = 1000;

/** What a {@link LookTimer} uses of a {@link Runtime}. */
export type LookClock = Pick<Runtime, 'now' | 'setWatchTimer' | 'clearTimer'>;

/**
 * A timer for looks at which devices or clients have not answered in time. Timers come before answers in Node's event loop, so
 * after a time in which the process did not run (it was stopped, or had no processor) everything would be overdue. A look that
 * is late is therefore put off, once: a process that always runs badly looks all the same.
 */
export class LookTimer {
  /** Time at which it fires if the process runs, as of {@link Runtime.now}; `Infinity` if it is not set. */
  dueAt = Infinity;
  readonly #look: () => void;
  readonly #onPutOff: ((lateMs: number) => void) | undefined;
  #runtime: LookClock | null = null;
  #timer: TimerHandle | null = null;
  #hasPutOff = false;

  /** `onPutOff` is called when a look is put off, with the milliseconds by which it was late. */
  constructor(look: () => void, onPutOff?: (lateMs: number) => void) {
    this.#look = look;
    this.#onPutOff = onPutOff;
  }

  /** Sets it to fire at a time, in a later turn, whatever it was set to. It does not keep the process alive. */
  set(runtime: LookClock, at: number): void {
    this.clear();
    this.dueAt = at;
    this.#runtime = runtime;
    this.#timer = runtime.setWatchTimer(this.#fire, Math.max(at - runtime.now(), 1));
  }

  /** Milliseconds until it looks: if it is late and would be put off, until the look after that. */
  leftMs(clock: LookClock): number {
    const leftMs = this.dueAt - clock.now();
    return leftMs < -mostLateMs && !this.#hasPutOff ? catchUpMs : Math.max(leftMs, 0);
  }

  clear(): void {
    if (this.#timer !== null) this.#runtime?.clearTimer(this.#timer);
    this.#timer = null;
    this.dueAt = Infinity;
  }

  readonly #fire = (): void => {
    const runtime = this.#runtime;
    if (runtime === null) return;
    const now = runtime.now();
    const lateMs = now - this.dueAt;
    const isLate = lateMs > mostLateMs;
    this.#timer = null;
    this.dueAt = Infinity;
    this.#hasPutOff = isLate && !this.#hasPutOff;
    if (this.#hasPutOff) {
      this.set(runtime, now + catchUpMs);
      this.#onPutOff?.(lateMs);
    } else {
      this.#look();
    }
  };
}

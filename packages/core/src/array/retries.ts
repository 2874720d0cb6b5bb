import type { Runtime, TimerHandle } from '@raidkit/bdev';

/** Runs work after a delay. No caller waits for it, so errors are logged. Nothing runs after {@link stop}. */
export class Retries {
  readonly #runtime: Runtime;
  readonly #timers = new Set<TimerHandle>();
  #isStopped = false;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  later(afterMs: number, work: () => Promise<void> | void): void {
    if (this.#isStopped) return;
    const timer = this.#runtime.setTimer(() => {
      this.#timers.delete(timer);
      void this.#do(work);
    }, afterMs);
    this.#timers.add(timer);
  }

  async #do(work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#runtime.log.error({ err: error }, 'deferred work failed');
    }
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers) this.#runtime.clearTimer(timer);
    this.#timers.clear();
  }
}

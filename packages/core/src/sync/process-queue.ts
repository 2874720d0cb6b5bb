import type { Runtime, TimerHandle } from '@raidkit/bdev';
import type { Slot } from '../members/slot.js';
import type { RaidProcess } from './process.js';
import type { ProcessRecord } from './task.js';

/** Number of ended processes to remember. */
const historyLength = 10;

/** A rebuild to which members may still be added. */
export interface Gathering {
  /** Whether a member can be added that lacks only what was written while it was absent (`isPartial`), or everything. */
  takes(isPartial: boolean): boolean;
  add(slot: Slot): void;
}

/** The background processes of one array. They run one at a time, in the order in which they were requested. */
export class ProcessQueue {
  readonly #onFailure: (error: unknown) => void;
  readonly #history: ProcessRecord[] = [];
  #current: RaidProcess | null = null;
  #ended: Promise<void> = Promise.resolve();
  #timer: TimerHandle | null = null;
  /** A resync waits for its turn or for memory, so another one is not needed. */
  isResyncAwaited = false;
  /** As {@link isResyncAwaited}, for the process that gives blocks checksums. */
  isSumAwaited = false;
  /** The last rebuild; null if there was none. */
  gathering: Gathering | null = null;
  /** Number of queued works that restore redundancy or replace a member. */
  #pressing = 0;
  /** Number of works that have not ended. */
  #unfinished = 0;

  /** @param onFailure called with the error if work rejects */
  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** The process that is running; null if there is none. */
  get current(): RaidProcess | null {
    return this.#current;
  }

  /** Processes that have ended, the newest first. */
  get history(): readonly ProcessRecord[] {
    return this.#history;
  }

  /** Resolves when everything queued so far, and what follows from it, is done. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Nothing is running or queued. */
  get isIdle(): boolean {
    return this.#unfinished === 0;
  }

  /** Urgent work is queued. */
  get isPressing(): boolean {
    return this.#pressing > 0;
  }

  /**
   * Runs the work after everything queued before. Resolves when it has ended, successfully or not. `presses`: the work is
   * urgent; work that is not urgent should give up its turn if it is only waiting while {@link isPressing}.
   */
  enqueue(work: () => Promise<void>, presses: boolean): Promise<void> {
    if (presses) this.#pressing++;
    this.#unfinished++;
    this.#ended = this.#ended
      .then(() => {
        if (presses) this.#pressing--;
        return work();
      })
      .catch(this.#onFailure)
      .finally(() => {
        this.#unfinished--;
      });
    return this.#ended;
  }

  /** Runs a process, then `onDone`. Rejects as they do. */
  async run(process: RaidProcess, onDone: () => Promise<void>): Promise<void> {
    this.#current = process;
    let failure: string | null = null;
    try {
      await process.run();
      await onDone();
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      this.#current = null;
      this.#history.unshift(process.record(failure));
      this.#history.length = Math.min(this.#history.length, historyLength);
    }
  }

  /** Calls `work` after a delay, unless such a call is pending already. */
  later(runtime: Runtime, afterMs: number, work: () => void): void {
    this.#timer ??= runtime.setWatchTimer(() => {
      this.#timer = null;
      work();
    }, afterMs);
  }
}

import type { Runtime, TimerHandle } from '@raidkit/bdev';
import type { Slot } from '../members/slot.js';
import type { RaidProcess } from './process.js';
import type { ProcessRecord } from './task.js';

/** Ended processes that are remembered. */
const historyLength = 10;

/** A rebuild that further members may still be part of. */
export interface Gathering {
  /** Whether a member could be filled along, which lacks only what was written while it was out, or everything. */
  takes(isPartial: boolean): boolean;
  add(slot: Slot): void;
}

/** The background processes of one array: one at a time, in the order in which they were asked for. */
export class ProcessQueue {
  readonly #onFailure: (error: unknown) => void;
  readonly #history: ProcessRecord[] = [];
  #current: RaidProcess | null = null;
  #ended: Promise<void> = Promise.resolve();
  #timer: TimerHandle | null = null;
  /** A resync waits for its turn, or for memory: another one would do the same once more. */
  isResyncAwaited = false;
  /** So does the work that gives blocks checksums. */
  isSumAwaited = false;
  /** The last rebuild; null if there was none. */
  gathering: Gathering | null = null;
  /** Work that restores redundancy, or replaces a member, and has not begun. */
  #pressing = 0;
  /** Work that has not ended. */
  #unfinished = 0;

  /** @param onFailure told of work that rejects */
  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** The process that is running; null if none is. */
  get current(): RaidProcess | null {
    return this.#current;
  }

  /** Processes that have ended, newest first. */
  get history(): readonly ProcessRecord[] {
    return this.#history;
  }

  /** Resolves when what has been enqueued so far has ended, and what it leads to is done. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Nothing runs, and nothing waits for its turn. */
  get isIdle(): boolean {
    return this.#unfinished === 0;
  }

  /** Something presses that has been enqueued and not begun. */
  get isPressing(): boolean {
    return this.#pressing > 0;
  }

  /**
   * Does the work when what has been enqueued before has ended; resolves when it has ended, well or not. What does not press gives
   * its place up, if it only waits, while something {@link isPressing}.
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

  /** Runs a process, and `onDone` when everything is done; rejects as they do. */
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

  /** Does something after a while, unless something is to be done already. */
  later(runtime: Runtime, afterMs: number, work: () => void): void {
    this.#timer ??= runtime.setWatchTimer(() => {
      this.#timer = null;
      work();
    }, afterMs);
  }
}

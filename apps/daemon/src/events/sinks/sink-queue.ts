import type { Logger } from 'pino';
import type { RaidkitEvent } from '../event.js';
import { RefusedError } from './sink.js';
import type { Sink } from './sink.js';

/** Number of events that may wait for one sink; beyond it the oldest are dropped. */
const mostWaiting = 256;
/** Milliseconds before the second attempt. The wait doubles with each attempt. */
const firstRetryMs = 1000;
const longestRetryMs = 300_000;

/** Statistics of a sink. */
export interface SinkState {
  name: string;
  where: string;
  waiting: number;
  told: number;
  /** Events dropped because all attempts failed or because newer ones displaced them. */
  dropped: number;
  /** Error of the last attempt; null if it succeeded. */
  lastError: string | null;
}

/** Sends events to a sink, one after another. Adding an event never waits. */
export class SinkQueue {
  readonly #sink: Sink;
  readonly #log: Logger;
  readonly #waiting: RaidkitEvent[] = [];
  readonly #ending = new AbortController();
  #isRunning = false;
  #told = 0;
  #dropped = 0;
  #lastError: string | null = null;

  constructor(sink: Sink, log: Logger) {
    this.#sink = sink;
    this.#log = log;
  }

  add(event: RaidkitEvent): void {
    if (this.#ending.signal.aborted || !this.#sink.wants(event)) return;
    this.#waiting.push(event);
    if (this.#waiting.length > mostWaiting) {
      const oldest = this.#waiting.shift();
      this.#drop(oldest, `more than ${mostWaiting} events are queued`);
    }
    if (!this.#isRunning) void this.#run();
  }

  /** Aborts the event being sent and drops those that wait. */
  end(): void {
    this.#waiting.length = 0;
    this.#ending.abort();
  }

  describe(): SinkState {
    return {
      name: this.#sink.name,
      where: this.#sink.where,
      waiting: this.#waiting.length + (this.#isRunning ? 1 : 0),
      told: this.#told,
      dropped: this.#dropped,
      lastError: this.#lastError,
    };
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) await this.#tell(event);
    this.#isRunning = false;
  }

  async #tell(event: RaidkitEvent): Promise<void> {
    const { signal } = this.#ending;
    let retryMs = firstRetryMs;
    for (let tries = 1; ; tries++) {
      try {
        await this.#sink.tell(event, signal);
        this.#told++;
        this.#lastError = null;
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#lastError = error instanceof Error ? error.message : String(error);
        if (tries >= this.#sink.tries || error instanceof RefusedError) {
          this.#drop(event, this.#lastError);
          return;
        }
        this.#log.debug(
          { sink: this.#sink.name, id: event.id, retryMs },
          `delivery of an event is tried again: ${this.#lastError}`,
        );
      }
      if (!(await pause(retryMs, signal))) return;
      retryMs = Math.min(2 * retryMs, longestRetryMs);
    }
  }

  #drop(event: RaidkitEvent | undefined, reason: string): void {
    this.#dropped++;
    this.#log.error(
      { sink: this.#sink.name, where: this.#sink.where, id: event?.id, event: event?.event },
      `an event could not be delivered: ${reason}`,
    );
  }
}

/** Resolves with true after the given time, or with false as soon as the signal is aborted. */
function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve(!signal.aborted);
    };
    const timer = setTimeout(end, ms);
    timer.unref();
    signal.addEventListener('abort', end);
  });
}

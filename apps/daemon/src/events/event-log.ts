import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { EventReport, RaidkitEvent } from './event.js';

/** Number of events kept; older ones are dropped. */
const mostKept = 1024;

/** A page of events. */
export interface EventPage {
  /** Changes with each start of the daemon, after which ids start again. */
  readonly instance: string;
  readonly events: readonly RaidkitEvent[];
  /** Id of the newest event; 0 for none. */
  readonly lastId: number;
}

const logLevels = { critical: 'error', warning: 'warn', info: 'info' } as const;

/** Numbers, keeps and logs the daemon's events, and wakes calls that wait for them. */
export class EventLog {
  readonly #instance = randomUUID();
  readonly #log: Logger;
  readonly #kept: RaidkitEvent[] = [];
  readonly #waiters = new Set<() => void>();
  readonly #listeners: ((event: RaidkitEvent) => void)[] = [];
  /** Number of events so far, by severity. */
  readonly counts = new Map<string, number>();
  #lastId = 0;
  #isEnded = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Adds a listener, which is called with every event in the turn in which it is added. */
  onEvent(listener: (event: RaidkitEvent) => void): void {
    this.#listeners.push(listener);
  }

  add(report: EventReport): RaidkitEvent {
    const event: RaidkitEvent = { id: ++this.#lastId, time: new Date().toISOString(), ...report };
    this.counts.set(event.severity, (this.counts.get(event.severity) ?? 0) + 1);
    this.#kept.push(event);
    if (this.#kept.length > mostKept) this.#kept.shift();
    const { array, device, message, severity } = event;
    const about = { event: event.event, ...(array === null ? {} : { array }), ...(device === null ? {} : { device }) };
    this.#log[logLevels[severity]](about, message);
    for (const listener of this.#listeners) listener(event);
    for (const wake of [...this.#waiters]) wake();
    return event;
  }

  /** Returns the oldest `max` kept events with an id above `since`. */
  page(since: number, max: number): EventPage {
    const events = this.#kept.filter(({ id }) => id > since).slice(0, max);
    return { instance: this.#instance, events, lastId: this.#lastId };
  }

  /** As {@link page}, but waits for an event if there is none, for at most `waitMs`. */
  async waitForPage(since: number, max: number, waitMs: number): Promise<EventPage> {
    if (waitMs > 0 && this.#lastId <= since && !this.#isEnded) await this.#next(waitMs);
    return this.page(since, max);
  }

  /** Wakes the calls that wait. */
  end(): void {
    this.#isEnded = true;
    for (const wake of [...this.#waiters]) wake();
  }

  #next(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, waitMs);
      this.#waiters.add(wake);
    });
  }
}

import type { RaidkitEvent } from '../event.js';

/** A receiver of events outside of the daemon. */
export interface Sink {
  /** Name for logs and metrics: `program`, `webhook`, `mail`. */
  readonly name: string;
  /** Destination of the events, for people; contains no secrets. */
  readonly where: string;
  /** Number of attempts per event, the first one included. */
  readonly tries: number;
  wants(event: RaidkitEvent): boolean;
  /** Sends an event; resolves when it was accepted. Rejects if that failed, or when `signal` is aborted. */
  tell(event: RaidkitEvent, signal: AbortSignal): Promise<void>;
}

/** The receiver refuses the event for good, so that another attempt makes no sense. */
export class RefusedError extends Error {}

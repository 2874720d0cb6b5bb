import type { RaidkitEvent } from '../event.js';

/** Something outside that events are sent to. */
export interface Sink {
  /** For logs and metrics: `program`, `webhook`, `mail`. */
  readonly name: string;
  /** Where events go, for people; without secrets. */
  readonly where: string;
  /** How often one event is tried, the first time included. */
  readonly tries: number;
  wants(event: RaidkitEvent): boolean;
  /** Resolves when it has been told. Rejects if that failed, or when `signal` says that it is given up. */
  tell(event: RaidkitEvent, signal: AbortSignal): Promise<void>;
}

/** It makes no sense to try again: the other side will not take it. */
export class RefusedError extends Error {}

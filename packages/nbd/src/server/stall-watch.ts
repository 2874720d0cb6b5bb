/** A connection as {@link StallWatch} sees it. */
export interface WatchedConnection {
  /** Whether the peer has to act next. */
  readonly isWaitingForPeer: boolean;
  /** Number of requests that have not been answered in full. */
  readonly slots: number;
  readonly heldBytes: number;
  /** Bytes that the peer has sent and taken so far. */
  readonly movedBytes: number;
}

/** A client that holds memory must move this many bytes per second, on average over its time limit. */
const leastBytesPerSecond = 8192;
/** A client that holds more than its fair share of the memory gets this fraction of the time limit. */
const hoarderPart = 1 / 5;

/**
 * Finds clients that hold memory and hardly move. It measures how many bytes they move, because one byte now and then must not
 * be enough to keep memory.
 */
export class StallWatch {
  readonly #timeoutMs: number;
  /** For each client that has to act next: since when, and the bytes it had moved by then. */
  readonly #waits = new Map<WatchedConnection, { since: number; movedBytes: number }>();

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Returns whether the client has moved too little within its time limit. Call it several times per limit. `now` is in runtime
   * milliseconds.
   */
  isStalled(connection: WatchedConnection, now: number, fairBytes: number): boolean {
    const { isWaitingForPeer, slots, heldBytes, movedBytes } = connection;
    if (!isWaitingForPeer || slots === 0) {
      this.#waits.delete(connection);
      return false;
    }
    const wait = this.#waits.get(connection);
    if (wait === undefined) {
      this.#waits.set(connection, { since: now, movedBytes });
      return false;
    }
    const waitedMs = now - wait.since;
    if (waitedMs < (heldBytes > fairBytes ? this.#timeoutMs * hoarderPart : this.#timeoutMs)) return false;
    if (movedBytes - wait.movedBytes < (leastBytesPerSecond * waitedMs) / 1000) return true;
    this.#waits.set(connection, { since: now, movedBytes });
    return false;
  }

  /** The process did not run for this long, which counts for no client. */
  excuse(lateMs: number): void {
    for (const wait of this.#waits.values()) wait.since += lateMs;
  }

  forget(connection: WatchedConnection): void {
    this.#waits.delete(connection);
  }
}

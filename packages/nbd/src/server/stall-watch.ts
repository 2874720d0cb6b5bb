/** What a {@link StallWatch} looks at. */
export interface WatchedConnection {
  /** Whether the next step is the peer's. */
  readonly isWaitingForPeer: boolean;
  /** Requests that have not been answered in full. */
  readonly slots: number;
  readonly heldBytes: number;
  /** Bytes that the peer has taken or given so far. */
  readonly movedBytes: number;
}

/** A client that holds memory must move so many bytes in a second, on average over the time that it is given. */
const leastBytesPerSecond = 8192;
/** A client that holds more than its fair part of the memory is given this fraction of the time. */
const hoarderPart = 1 / 5;

/**
 * Finds clients that hold memory and hardly move. What counts is how much they move, not that they do: one byte now and then is
 * not enough to keep memory.
 */
export class StallWatch {
  readonly #timeoutMs: number;
  /** For each client that is to act next: since when, and how much it had moved then. */
  readonly #waits = new Map<WatchedConnection, { since: number; movedBytes: number }>();

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** To be asked several times in a timeout. Whether the client has moved too little for the time that it was given. */
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

  forget(connection: WatchedConnection): void {
    this.#waits.delete(connection);
  }
}

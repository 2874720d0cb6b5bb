import type { Runtime } from '@raidkit/bdev';

/**
 * Number of handshake steps of all clients together in one {@link turnMs}. That is enough for a thousand well-behaved clients
 * per second.
 */
const mostSteps = 8;
/** Length of a turn in milliseconds. While steps wait for the next turn, the thread does other work or sleeps. */
const turnMs = 1;
/** Answers of this many bytes cost as much as one step. */
const bytesOfStep = 256;

/** A connection in its handshake. */
export interface HandshakeTaker {
  /** The step that waited for its turn may run now. */
  onTurn(): void;
}

/**
 * Limits how many steps of handshakes run in a turn. A client can send a thousand options at once, all of which need answers,
 * before it has even identified itself; this must not delay clients in the transmission phase. Steps that wait are run in order
 * of arrival.
 */
export class HandshakeTurns {
  readonly #runtime: Runtime;
  #left = mostSteps;
  #since = -Infinity;
  /** In order of arrival. */
  readonly #waiting = new Set<HandshakeTaker>();
  #isTelling = false;
  /** The timer is set. */
  #isDue = false;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Returns whether the step may run now. If not, `onTurn` will be called later. */
  begin(taker: HandshakeTaker): boolean {
    const now = this.#runtime.now();
    const isFree = this.#waiting.size === 0 && !this.#isTelling;
    if (isFree && now - this.#since >= turnMs) {
      this.#since = now;
      this.#left = mostSteps;
    }
    if (isFree && this.#left > 0) {
      this.#left--;
      return true;
    }
    this.#wait(taker);
    return false;
  }

  /** Removes a client that has disconnected, so that it uses up no turn. */
  leave(taker: HandshakeTaker): void {
    this.#waiting.delete(taker);
  }

  /** Called after a step with the size of its answer, which counts against the turn too. */
  end(bytes: number): void {
    this.#left -= Math.floor(bytes / bytesOfStep);
  }

  #wait(taker: HandshakeTaker): void {
    this.#waiting.add(taker);
    this.#tellLater();
  }

  #tellLater(): void {
    if (this.#isDue || this.#isTelling || this.#waiting.size === 0) return;
    this.#isDue = true;
    this.#runtime.setTimer(this.#nextTurn, turnMs);
  }

  readonly #nextTurn = (): void => {
    this.#isDue = false;
    this.#since = this.#runtime.now();
    this.#left = mostSteps;
    this.#isTelling = true;
    try {
      // A client that asks again during the loop is appended behind all that wait.
      for (let count = this.#waiting.size; count > 0 && this.#left > 0; count--) {
        const [next] = this.#waiting;
        if (next === undefined) break;
        this.#waiting.delete(next);
        this.#left--;
        next.onTurn();
      }
    } finally {
      this.#isTelling = false;
      this.#tellLater();
    }
  };
}

import type { Runtime } from '@raidkit/bdev';

/** Steps of handshakes in one {@link turnMs}, of all clients together: enough for a thousand clients a second that mean it. */
const mostSteps = 8;
/** Milliseconds. While steps wait, the thread works for others, or sleeps. */
const turnMs = 1;
/** What answers of so many bytes cost is as much as a step. */
const bytesOfStep = 256;

/** A handshake that is told that it is its turn. */
export interface HandshakeTaker {
  /** The step that it asked for may be done now. */
  onTurn(): void;
}

/**
 * Whose turn it is to have a step of its handshake done. A client may send a thousand options at a time, which all want
 * answers, and has not even said who it is; the clients that are at work are not to wait for it. The one that has waited
 * longest is the next.
 */
export class HandshakeTurns {
  readonly #runtime: Runtime;
  #left = mostSteps;
  #since = -Infinity;
  /** In the order in which they came. */
  readonly #waiting = new Set<HandshakeTaker>();
  #isTelling = false;
  /** The timer is set. */
  #isDue = false;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** True: the step may be done now. False: `onTurn` will be called later, when it is its turn. */
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

  /** A client that hangs up does not wait any more, and takes no turn from others. */
  leave(taker: HandshakeTaker): void {
    this.#waiting.delete(taker);
  }

  /** The step had an answer of so many bytes. */
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
      // One that asks again meanwhile is behind all that wait.
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

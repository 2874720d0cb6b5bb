import type { Runtime } from '@raidkit/bdev';

/** Steps of handshakes in one turn of the event loop, of all clients together: requests of others come in between. */
const mostSteps = 8;
/** What answers of so many bytes cost is as much as a step. */
const bytesOfStep = 256;

/** Who is told that it is its turn. */
export interface HandshakeTaker {
  /** The step that it asked for may be done now. */
  onTurn(): void;
}

/**
 * Whose turn it is to have a step of its handshake done. A client may send a thousand options at a time, which all want answers, and
 * has not even said who it is; the clients that are at work are not to wait for it. Who has waited longest is the next.
 */
export class HandshakeTurns {
  readonly #runtime: Runtime;
  #left = mostSteps;
  #waiting: HandshakeTaker[] = [];
  #isRenewing = false;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** True: the step may be done now. False: `onTurn` will be called in a later turn of the event loop. */
  begin(taker: HandshakeTaker): boolean {
    this.#renewLater();
    if (this.#left <= 0 || this.#waiting.length > 0) {
      this.#waiting.push(taker);
      return false;
    }
    this.#left--;
    return true;
  }

  /** The step had an answer of so many bytes. */
  end(bytes: number): void {
    this.#left -= Math.floor(bytes / bytesOfStep);
  }

  #renewLater(): void {
    if (this.#isRenewing) return;
    this.#isRenewing = true;
    this.#runtime.soon(this.#renew);
  }

  readonly #renew = (): void => {
    this.#isRenewing = false;
    this.#left = mostSteps;
    const taken = this.#waiting;
    // Who asks again meanwhile is behind all that wait.
    this.#waiting = [];
    let next = 0;
    for (; next < taken.length && this.#left > 0; next++) {
      this.#left--;
      taken[next]?.onTurn();
    }
    this.#waiting = [...taken.slice(next), ...this.#waiting];
    if (this.#waiting.length > 0) this.#renewLater();
  };
}

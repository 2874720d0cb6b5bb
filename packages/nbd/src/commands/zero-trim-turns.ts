import type { NbdRequest, RequestTurns } from './request.js';

/** Steps of one export that its device works on at a time: enough to keep it busy, few enough to be done with soon. */
const mostSteps = 4;

/**
 * Whose turn it is to have a step of a trim or write zeroes carried out. Clients may ask for thousands at a time; the device
 * gets a few, so that none of them has to be waited for long when a client or an export is given up.
 */
export class ZeroTrimTurns implements RequestTurns {
  #steps = 0;
  #head: NbdRequest | null = null;
  #tail: NbdRequest | null = null;
  /** Requests are being given their turns: one that ends at once leaves the next to the loop, not to a call within its own. */
  #isTelling = false;

  /** True: it is the request's turn. False: `onTurn` will be called, inside another request's `end`. */
  begin(request: NbdRequest): boolean {
    if (this.#steps < mostSteps && this.#head === null) {
      this.#steps++;
      return true;
    }
    if (this.#tail === null) this.#head = request;
    else this.#tail.next = request;
    this.#tail = request;
    return false;
  }

  /** A step is over; requests that have waited longest are given to `onTurn`, while there is room. */
  end(onTurn: (request: NbdRequest) => void): void {
    this.#steps--;
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      for (let next = this.#head; next !== null && this.#steps < mostSteps; next = this.#head) {
        this.#head = next.next;
        if (this.#head === null) this.#tail = null;
        next.next = null;
        this.#steps++;
        onTurn(next);
      }
    } finally {
      this.#isTelling = false;
    }
  }
}

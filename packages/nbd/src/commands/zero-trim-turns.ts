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

  /** True: it is the request's turn. False: `onTurn` will be called, inside somebody's `end`. */
  begin(request: NbdRequest): boolean {
    if (this.#steps < mostSteps) {
      this.#steps++;
      return true;
    }
    if (this.#tail === null) this.#head = request;
    else this.#tail.next = request;
    this.#tail = request;
    return false;
  }

  /** A step is over; the request that has waited longest is given to `onTurn`. */
  end(onTurn: (request: NbdRequest) => void): void {
    const next = this.#head;
    if (next === null) {
      this.#steps--;
      return;
    }
    this.#head = next.next;
    if (this.#head === null) this.#tail = null;
    next.next = null;
    onTurn(next);
  }
}

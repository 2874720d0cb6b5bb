import type { NbdRequest, RequestTurns } from './request.js';

/**
 * Number of steps that an export runs on its device at a time. They keep the device busy, and are done soon when a client is
 * dropped.
 */
const mostSteps = 4;

/**
 * Limits how many steps of trims and write zeroes an export runs at a time. Clients may ask for thousands at once; as the
 * device has only a few, little is waited for when a client is dropped or an export is removed.
 */
export class ZeroTrimTurns implements RequestTurns {
  #steps = 0;
  #head: NbdRequest | null = null;
  #tail: NbdRequest | null = null;
  /**
   * `end` is calling `onTurn`. A step that ends during that call leaves the next one to the loop, so that calls do not nest.
   */
  #isTelling = false;

  /** Returns true if the request may run its step now. If not, `onTurn` will be called with it from a later `end`. */
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

  /**
   * Called when a step is over. Calls `onTurn` with requests in the order in which they began to wait, while steps are free.
   */
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

import type { BufferMemory } from '@raidkit/parity';
import { BufferPool } from '@raidkit/parity';
import { summedBytes } from './area.js';

/** I/Os at a time that have buffers for the blocks at their ends. */
const mostUsers = 64;

/** A request that waits for buffers. */
export interface EdgeWaiter {
  nextEdgeWaiter: EdgeWaiter | null;
  /** Two buffers are the request's until it gives them back. */
  onEdges(first: number, second: number): void;
}

/** Buffers for blocks of which an I/O has only a part, at its beginning and at its end: two for each, or none. */
export class EdgeBuffers {
  readonly #pool: BufferPool;
  #firstWaiter: EdgeWaiter | null = null;
  #lastWaiter: EdgeWaiter | null = null;
  /** One of two, the other of which a device still has that was given up. */
  #spare = -1;

  /** Throws a `BufferMemoryError` if there is no memory for them. */
  constructor(memory: BufferMemory) {
    this.#pool = new BufferPool(memory, { slotBytes: summedBytes, count: 2 * mostUsers, onFree: () => this.#serve() });
  }

  /** The waiter is told, now or later. */
  get(waiter: EdgeWaiter): void {
    waiter.nextEdgeWaiter = null;
    if (this.#lastWaiter === null) this.#firstWaiter = waiter;
    else this.#lastWaiter.nextEdgeWaiter = waiter;
    this.#lastWaiter = waiter;
    this.#serve();
  }

  put(first: number, second: number): void {
    this.#pool.put(first);
    this.#pool.put(second);
  }

  /** All have been given back. */
  close(): void {
    if (this.#spare >= 0) this.#pool.put(this.#spare);
    this.#spare = -1;
    this.#pool.close();
  }

  #serve(): void {
    while (this.#firstWaiter !== null) {
      const first = this.#spare >= 0 ? this.#spare : this.#pool.get();
      if (first < 0) return;
      const second = this.#pool.get();
      this.#spare = second < 0 ? first : -1;
      if (second < 0) return;
      const waiter = this.#firstWaiter;
      this.#firstWaiter = waiter.nextEdgeWaiter;
      if (this.#firstWaiter === null) this.#lastWaiter = null;
      waiter.nextEdgeWaiter = null;
      waiter.onEdges(first, second);
    }
  }
}

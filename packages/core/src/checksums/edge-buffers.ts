import type { BufferMemory } from '@raidkit/parity';
import { BufferPool } from '@raidkit/parity';
import { summedBytes } from './area.js';

/** Number of I/Os that can have edge buffers at a time. */
const mostUsers = 64;

/** A request that waits for edge buffers. */
export interface EdgeWaiter {
  nextEdgeWaiter: EdgeWaiter | null;
  /** The request owns both buffers until it returns them. */
  onEdges(first: number, second: number): void;
}

/**
 * Buffers for the first and last checksummed block of an I/O that covers only a part of them. An I/O gets two buffers or none.
 */
export class EdgeBuffers {
  readonly #pool: BufferPool;
  #firstWaiter: EdgeWaiter | null = null;
  #lastWaiter: EdgeWaiter | null = null;
  /** A single free buffer, kept while a timed-out device still holds the other one of a pair; -1 if there is none. */
  #spare = -1;

  /** Throws a `BufferMemoryError` if there is not enough memory. */
  constructor(memory: BufferMemory) {
    this.#pool = new BufferPool(memory, { slotBytes: summedBytes, count: 2 * mostUsers, onFree: () => this.#serve() });
  }

  /** Calls the waiter with two buffers, immediately or later. */
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

  /** Frees the memory. All buffers must have been returned. */
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

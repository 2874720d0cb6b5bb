import { BufferMemoryError } from './error.js';
import type { BufferMemory } from './memory.js';
import { BufferPool } from './pool.js';

export interface SizeClass {
  slotBytes: number;
  count: number;
}

export interface SizeClassPoolOptions {
  /** At least one class, in any order. */
  classes: readonly SizeClass[];
  /** Header bytes of every class, as for BufferPool. Default 0. */
  headerBytes?: number;
}

/** A request that waits for a buffer. `bytesWanted` must not change while it waits. */
export interface BufferWaiter {
  readonly bytesWanted: number;
  /**
   * Called when a buffer of `bytesWanted` is available. It must take it with `get` before returning, because the next waiter is
   * called right after. Must not throw. May use the pool freely, also wait again.
   */
  onBuffer(): void;
}

/** Buffers of several sizes. `get` takes the smallest size that fits, or a larger one when that is used up. */
export class SizeClassPool {
  readonly maxBytes: number;

  /** In ascending order of slot size. */
  readonly #pools: BufferPool[] = [];
  /** The first `#waiting` entries are taken, oldest first. It grows but never shrinks, so that waiting allocates nothing. */
  readonly #waiters: (BufferWaiter | null)[] = [];
  #waiting = 0;
  /** While waiters are being served: number of waiters at the queue's start that a `put` so far may serve. */
  #servable = 0;
  #isServing = false;

  /** Throws a BufferMemoryError with code ERR_BUFFER_MEMORY, and allocates nothing, if the memory has no room. */
  constructor(memory: BufferMemory, options: SizeClassPoolOptions) {
    const classes = options.classes.toSorted((a, b) => a.slotBytes - b.slotBytes);
    const largest = classes.at(-1);
    if (largest === undefined) throw new RangeError('classes must name at least one size');
    const onFree = () => this.#serveWaiters();
    try {
      for (const { slotBytes, count } of classes) {
        this.#pools.push(new BufferPool(memory, { slotBytes, count, headerBytes: options.headerBytes ?? 0, onFree }));
      }
    } catch (error) {
      for (const pool of this.#pools) pool.close();
      throw error;
    }
    this.maxBytes = largest.slotBytes;
  }

  /** Returns the address of a buffer of at least `bytes`; -1 if none is free or none is that large. */
  get(bytes: number): number {
    for (const pool of this.#pools) {
      if (pool.slotBytes < bytes) continue;
      const addr = pool.get();
      if (addr >= 0) return addr;
    }
    return -1;
  }

  /** Calls `take` with the address of a buffer of at least `bytes`: at once, or inside the `put` that frees one. */
  getWhenFree(bytes: number, take: (addr: number) => void): void {
    const addr = this.get(bytes);
    if (addr >= 0) {
      take(addr);
      return;
    }
    this.wait({ bytesWanted: bytes, onBuffer: () => this.getWhenFree(bytes, take) });
  }

  /** Returns a buffer to the pool and calls the waiters that it (or what has been returned meanwhile) suffices for. */
  put(addr: number): void {
    this.#poolOf(addr).put(addr);
  }

  /** Size of the buffer at `addr`: at least what was asked for. */
  slotBytesOf(addr: number): number {
    return this.#poolOf(addr).slotBytes;
  }

  /**
   * Queues `waiter`, after a `get` that failed, until a buffer is returned that suffices for it; it is then removed from the
   * queue and called once. The oldest waiter that a returned buffer suffices for goes first, so a large request neither delays
   * the small ones behind it nor is starved by them. A `get` from outside the queue is not held back.
   */
  wait(waiter: BufferWaiter): void {
    if (!(waiter.bytesWanted <= this.maxBytes)) {
      throw new RangeError(`no buffer of this pool holds ${waiter.bytesWanted} bytes; the largest holds ${this.maxBytes}`);
    }
    if (this.#indexOf(waiter) >= 0) throw new BufferMemoryError('ERR_BUFFER_MISUSE', 'this waiter is in the queue already');
    this.#waiters[this.#waiting++] = waiter;
  }

  /** Removes `waiter` from the queue; no effect if it is not there. */
  cancel(waiter: BufferWaiter): void {
    const index = this.#indexOf(waiter);
    if (index >= 0) this.#dequeue(index);
  }

  /**
   * Closes the pools of all sizes or, if one cannot close, none. Throws while there are waiters, since they would never be
   * called.
   */
  close(): void {
    if (this.#waiting > 0)
      throw new BufferMemoryError('ERR_BUFFER_MISUSE', `the pool cannot close: ${this.#waiting} waiters are queued`);
    for (const pool of this.#pools) pool.assertClosable();
    for (const pool of this.#pools) pool.close();
  }

  #poolOf(addr: number): BufferPool {
    for (const pool of this.#pools) if (pool.contains(addr)) return pool;
    return notOfPool(addr);
  }

  #canGet(bytes: number): boolean {
    for (const pool of this.#pools) if (pool.slotBytes >= bytes && pool.available > 0) return true;
    return false;
  }

  /**
   * A `put` serves the waiters that were queued when it happened. A waiter that waits again inside `onBuffer` waits for the
   * next `put`, so it cannot keep this loop going. One that was queued before a `put` inside another's `onBuffer` is served.
   */
  #serveWaiters(): void {
    this.#servable = this.#waiting;
    if (this.#isServing || this.#servable === 0) return;
    this.#isServing = true;
    try {
      let index = 0;
      while (index < this.#servable) {
        const waiter = this.#waiters[index];
        if (waiter && this.#canGet(waiter.bytesWanted)) {
          this.#dequeue(index);
          waiter.onBuffer();
          index = 0; // The call may have changed the queue and the pools.
        } else {
          index++;
        }
      }
    } finally {
      this.#isServing = false;
    }
  }

  #indexOf(waiter: BufferWaiter): number {
    for (let index = 0; index < this.#waiting; index++) if (this.#waiters[index] === waiter) return index;
    return -1;
  }

  #dequeue(index: number): void {
    this.#waiting--;
    if (index < this.#servable) this.#servable--;
    for (let i = index; i < this.#waiting; i++) this.#waiters[i] = this.#waiters[i + 1] ?? null;
    this.#waiters[this.#waiting] = null;
  }
}

/** This is a function of its own for the reason that `pool.ts` gives. */
function notOfPool(addr: number): never {
  throw new BufferMemoryError('ERR_BUFFER_MISUSE', `address ${addr} is not a buffer of this pool`);
}

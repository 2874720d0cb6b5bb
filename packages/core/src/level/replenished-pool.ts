import { BufferPool } from '@raidkit/parity';
import type { BufferMemory } from '@raidkit/parity';

/** Most additional pools, each with the initial number of buffers, while timed-out devices hold buffers. */
const mostReserves = 3;

export interface ReplenishedPoolOptions {
  readonly slotBytes: number;
  readonly count: number;
  /**
   * Called when a device has released a buffer that was returned while the device held it. No I/O of the pool's user need end
   * then, so requests that wait for a buffer must be served from here.
   */
  readonly onLateRelease: () => void;
}

/**
 * Buffers for members' I/O. A device that has timed out holds its buffers until it answers, which may be never. As long as
 * devices hold buffers, others are added, so that requests to the other members go on.
 */
export class ReplenishedPool {
  readonly slotBytes: number;
  /** Number of buffers without additional ones. */
  readonly count: number;
  readonly #memory: BufferMemory;
  readonly #onLateRelease: () => void;
  readonly #pools: BufferPool[] = [];
  #isPutting = false;

  /** Throws a `BufferMemoryError` if there is not enough memory. */
  constructor(memory: BufferMemory, { count, onLateRelease, slotBytes }: ReplenishedPoolOptions) {
    this.#memory = memory;
    this.slotBytes = slotBytes;
    this.count = count;
    this.#onLateRelease = onLateRelease;
    this.#add();
  }

  /** Number of buffers that are free now. */
  get available(): number {
    let available = 0;
    for (const pool of this.#pools) available += pool.available;
    return available;
  }

  /** Returns the address of a buffer, or -1 if there is none. */
  get(): number {
    const addr = this.#getKnown();
    return addr < 0 && this.#replenish() ? this.#getKnown() : addr;
  }

  /** Whether so many buffers are free, if need be after others have been added. */
  hasFree(wanted: number): boolean {
    return this.available >= wanted || (this.#replenish() && this.available >= wanted);
  }

  /** Returns a buffer. One that a timed-out device holds becomes free when the device releases it. */
  put(addr: number): void {
    this.#isPutting = true;
    try {
      this.#poolOf(addr).put(addr);
    } finally {
      this.#isPutting = false;
    }
  }

  /** Frees the memory that no device holds now, and the rest later. All buffers must have been returned. */
  close(): void {
    for (const pool of this.#pools) pool.close();
  }

  #getKnown(): number {
    for (const pool of this.#pools) {
      const addr = pool.get();
      if (addr >= 0) return addr;
    }
    return -1;
  }

  #poolOf(addr: number): BufferPool {
    for (const pool of this.#pools) if (pool.contains(addr)) return pool;
    throw new RangeError(`address ${addr} is not a buffer of this pool`);
  }

  /** Adds buffers if devices hold some. Returns false if it did not. */
  #replenish(): boolean {
    if (this.#pools.length > mostReserves || !this.#isAnyHeld()) return false;
    try {
      this.#add();
    } catch {
      return false;
    }
    return true;
  }

  #isAnyHeld(): boolean {
    for (const pool of this.#pools) if (pool.held > 0) return true;
    return false;
  }

  #add(): void {
    const onFree = (): void => {
      if (!this.#isPutting) this.#onLateRelease();
    };
    this.#pools.push(new BufferPool(this.#memory, { slotBytes: this.slotBytes, count: this.count, onFree }));
  }
}

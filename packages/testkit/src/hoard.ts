import type { BdevRegistry } from '@raidkit/bdev';

/**
 * Largest and smallest piece of memory that is taken, and what is left free for the journal of an array that loses a member, in
 * bytes.
 */
const pieces = { most: 4 << 20, least: 64 << 10, left: 1 << 20 };

/**
 * Simulates a memory shortage: holds all but a few of the common buffers and, if it leaves none, all memory too. Users that
 * know it get buffers from it.
 */
export class Hoard {
  readonly #registry: BdevRegistry;
  readonly #addrs: number[] = [];
  readonly #regions: number[] = [];
  #isOver = false;

  constructor(registry: BdevRegistry, free: number) {
    this.#registry = registry;
    for (let addr = registry.buffers.get(1); addr >= 0; addr = registry.buffers.get(1)) this.#addrs.push(addr);
    for (let left = free; left > 0; left--) this.#giveBack();
    const { memory } = registry.runtime;
    const left = memory.allocRegion(pieces.left);
    for (let bytes = pieces.most; free === 0 && bytes >= pieces.least; bytes /= 2)
      for (let addr = memory.allocRegion(bytes); addr >= 0; addr = memory.allocRegion(bytes)) this.#regions.push(addr);
    if (left >= 0) memory.freeRegion(left);
  }

  /** Returns a buffer of at least this many bytes; -1 if there is none. */
  take(bytes: number): number {
    const { buffers } = this.#registry;
    const index = this.#addrs.findIndex((addr) => buffers.slotBytesOf(addr) >= bytes);
    return index < 0 ? -1 : (this.#addrs.splice(index, 1)[0] ?? -1);
  }

  /** Takes a buffer back. */
  put(addr: number): void {
    if (this.#isOver) this.#registry.buffers.put(addr);
    else this.#addrs.push(addr);
  }

  /** Ends the shortage: frees everything. */
  end(): void {
    this.#isOver = true;
    while (this.#addrs.length > 0) this.#giveBack();
    for (const addr of this.#regions.splice(0)) this.#registry.runtime.memory.freeRegion(addr);
  }

  #giveBack(): void {
    const addr = this.#addrs.pop();
    if (addr !== undefined) this.#registry.buffers.put(addr);
  }
}

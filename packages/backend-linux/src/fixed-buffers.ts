import type { Ring } from '@raidkit/sys';

/** Size of a huge page: registered memory is then contiguous, and no more is pinned than is in use anyway. */
const pieceBytes = 2 * 1024 * 1024;

const unknown = -1;
const refused = -2;

/**
 * Registers the runtime's memory as fixed buffers of a ring, piece by piece, each at its first use. The kernel pins a
 * registered piece. If it may not (RLIMIT_MEMLOCK) or cannot, there are no fixed buffers.
 */
export class FixedBuffers {
  readonly #ring: Ring;
  /** Start and end of the memory, as process addresses. */
  readonly #startAddr: number;
  readonly #endAddr: number;
  /** Address of the first piece, at or before the start. */
  readonly #firstAddr: number;
  readonly #pieces: Int32Array;

  constructor(ring: Ring, startAddr: number, lengthBytes: number) {
    this.#ring = ring;
    this.#startAddr = startAddr;
    this.#endAddr = startAddr + lengthBytes;
    this.#firstAddr = Math.floor(startAddr / pieceBytes) * pieceBytes;
    this.#pieces = new Int32Array(Math.ceil((this.#endAddr - this.#firstAddr) / pieceBytes)).fill(unknown);
  }

  /** Index of the registered buffer that contains the whole range; below 0 if there is none. */
  find(addr: number, lengthBytes: number): number {
    const offset = addr - this.#firstAddr;
    const index = Math.floor(offset / pieceBytes);
    if (offset + lengthBytes > (index + 1) * pieceBytes) return refused;
    const buffer = this.#pieces[index] ?? refused;
    return buffer === unknown ? this.#register(index) : buffer;
  }

  #register(index: number): number {
    const from = Math.max(this.#startAddr, this.#firstAddr + index * pieceBytes);
    const to = Math.min(this.#endAddr, this.#firstAddr + (index + 1) * pieceBytes);
    const buffer = this.#ring.registerBuffer(from, to - from);
    if (buffer >= 0) this.#pieces[index] = buffer;
    // Another attempt would fail too.
    else this.#pieces.fill(refused);
    return this.#pieces[index] ?? refused;
  }
}

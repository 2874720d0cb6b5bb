import type { Ring } from '@raidkit/sys';

/** A huge page: what of the memory is in the kernel's hands lies in one piece, and no more of it is held than is in use anyway. */
const pieceBytes = 2 * 1024 * 1024;

const unknown = -1;
const refused = -2;

/**
 * The runtime's memory as fixed buffers of a ring: piece by piece, each when it is first used. The kernel holds the memory of a
 * piece from then on; where it may not (RLIMIT_MEMLOCK), or cannot, there are none.
 */
export class FixedBuffers {
  readonly #ring: Ring;
  /** Process addresses. */
  readonly #startAddr: number;
  readonly #endAddr: number;
  /** Address of the first piece: at or before the start. */
  readonly #firstAddr: number;
  readonly #pieces: Int32Array;

  constructor(ring: Ring, startAddr: number, lengthBytes: number) {
    this.#ring = ring;
    this.#startAddr = startAddr;
    this.#endAddr = startAddr + lengthBytes;
    this.#firstAddr = Math.floor(startAddr / pieceBytes) * pieceBytes;
    this.#pieces = new Int32Array(Math.ceil((this.#endAddr - this.#firstAddr) / pieceBytes)).fill(unknown);
  }

  /** Number of the ring's buffer in which the range lies as a whole; below 0 if there is none. */
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
    // Another try would fare no better.
    else this.#pieces.fill(refused);
    return this.#pieces[index] ?? refused;
  }
}

/** Memory is allocated and freed in pieces of this many bytes, a multiple of every block size. */
const chunkBytes = 1024 * 1024;

/** Contents of a device in memory: zeros that take no memory until they are written. */
export class MallocStorage {
  readonly #chunks: (Uint8Array | null)[];

  constructor(bytes: number) {
    this.#chunks = new Array<Uint8Array | null>(Math.ceil(bytes / chunkBytes)).fill(null);
  }

  read(offsetBytes: number, target: Uint8Array, addr: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const start = (offsetBytes + done) % chunkBytes;
      const count = Math.min(chunkBytes - start, lengthBytes - done);
      const chunk = this.#at(offsetBytes + done);
      if (chunk === null) target.fill(0, addr + done, addr + done + count);
      else target.set(chunk.subarray(start, start + count), addr + done);
      done += count;
    }
  }

  /** Throws a RangeError if the system has no memory left; what precedes the missing piece is written by then. */
  write(offsetBytes: number, source: Uint8Array, addr: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const start = (offsetBytes + done) % chunkBytes;
      const count = Math.min(chunkBytes - start, lengthBytes - done);
      const index = Math.floor((offsetBytes + done) / chunkBytes);
      const chunk = (this.#chunks[index] ??= new Uint8Array(chunkBytes));
      chunk.set(source.subarray(addr + done, addr + done + count), start);
      done += count;
    }
  }

  /** Makes the range read as zeros and frees memory where possible. */
  zero(offsetBytes: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const start = (offsetBytes + done) % chunkBytes;
      const count = Math.min(chunkBytes - start, lengthBytes - done);
      if (count === chunkBytes) this.#chunks[Math.floor((offsetBytes + done) / chunkBytes)] = null;
      else this.#at(offsetBytes + done)?.fill(0, start, start + count);
      done += count;
    }
  }

  #at(offsetBytes: number): Uint8Array | null {
    return this.#chunks[Math.floor(offsetBytes / chunkBytes)] ?? null;
  }
}

import { Duplex } from 'node:stream';

/** Moves the bytes of a {@link HandshakeStream}. */
export interface HandshakeCarrier {
  /** Sends bytes to the client, and calls `done` when they may be overwritten. */
  sendHandshake(bytes: Buffer, done: () => void): void;
  /** Nothing more will be written or read. */
  endHandshake(): void;
}

/** A stream that Node's TLS uses as its socket during a handshake. It receives only what is pushed, one record at a time. */
export class HandshakeStream extends Duplex {
  readonly #carrier: HandshakeCarrier;
  /** Number of writes that are not done. */
  #writes = 0;
  /** Number of writes so far. */
  written = 0;
  /** Number of records of which at least the first byte has been written. */
  #records = 0;
  /**
   * Position in the record that is being written: the bytes of its header seen so far, the length read from the header, and,
   * once the header is complete, the bytes that are missing.
   */
  #headerBytes = 0;
  #lengthBytes = 0;
  #missingBytes = 0;
  #isCut = false;

  constructor(carrier: HandshakeCarrier) {
    super({ allowHalfOpen: false });
    this.#carrier = carrier;
  }

  /** Whether all writes of Node are done and all input has been read. */
  get isQuiet(): boolean {
    return this.#writes === 0 && this.writableLength === 0 && this.readableLength === 0;
  }

  /** Number of records that Node has sent so far. */
  get recordsSent(): number {
    return this.#records;
  }

  /**
   * Discards everything that Node writes from now on, because the records after that are sealed elsewhere with the same keys.
   */
  cut(): void {
    this.#isCut = true;
  }

  override _read(): void {
    // Input is pushed.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#isCut) {
      done();
      return;
    }
    this.#count(chunk);
    this.written++;
    this.#writes++;
    this.#carrier.sendHandshake(chunk, () => {
      this.#writes--;
      done();
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#isCut) this.#carrier.endHandshake();
    done(error);
  }

  #count(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#missingBytes > 0) {
        const bytes = Math.min(this.#missingBytes, chunk.length - at);
        this.#missingBytes -= bytes;
        at += bytes;
        continue;
      }
      if (this.#headerBytes === 0) this.#records++;
      const byte = chunk[at++] ?? 0;
      this.#headerBytes++;
      if (this.#headerBytes > 3) this.#lengthBytes = this.#lengthBytes * 256 + byte;
      if (this.#headerBytes < 5) continue;
      this.#missingBytes = this.#lengthBytes;
      this.#headerBytes = this.#lengthBytes = 0;
    }
  }
}

import { Duplex } from 'node:stream';

/** Moves the bytes of a {@link HandshakeStream}. */
export interface HandshakeCarrier {
  /** Sends bytes to the client, and calls `done` when they may be overwritten. */
  sendHandshake(bytes: Buffer, done: () => void): void;
  /** Nothing more is to be sent, or will be read. */
  endHandshake(): void;
}

/** What Node's TLS takes for a socket during a handshake: it gets what it is given, record by record. */
export class HandshakeStream extends Duplex {
  readonly #carrier: HandshakeCarrier;
  /** Writes that are not done. */
  #writes = 0;
  /** Writes so far. */
  written = 0;
  /** Records whose beginning has been written. */
  #records = 0;
  /** Of the record that is being written: header bytes seen, and the bytes that are missing once the header is there. */
  #headerBytes = 0;
  #lengthBytes = 0;
  #missingBytes = 0;
  #isCut = false;

  constructor(carrier: HandshakeCarrier) {
    super({ allowHalfOpen: false });
    this.#carrier = carrier;
  }

  /** Nothing that Node has written is on its way, and all that came has been taken. */
  get isQuiet(): boolean {
    return this.#writes === 0 && this.writableLength === 0 && this.readableLength === 0;
  }

  /** Records that Node has sent so far. */
  get recordsSent(): number {
    return this.#records;
  }

  /** From now on nothing that Node writes is sent: others have gone on with its keys. */
  cut(): void {
    this.#isCut = true;
  }

  override _read(): void {
    // What comes is pushed.
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

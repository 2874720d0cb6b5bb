import type { NbdServer, Transport } from '../src/index.js';
import type { NbdConnection } from '../src/server/connection.js';
import { TestClient } from './client.js';

export interface WireOptions {
  /** How many of the bytes at hand the transport gives the connection at a time. */
  chunk?: (available: number) => number;
  /** Whether the transport delivers as much as there is room for, as a ring does, and not only the requested bytes. */
  isGreedy?: boolean;
  memory: Uint8Array;
  /** Where the client is, as transports say it. Default: at a Unix socket. */
  peer?: string;
  /** The listener of the connection. */
  listener?: string;
  /** Aborted, it is closed by {@link Wire.hangUp} only: as a ring's is, once what it has in flight has ended. */
  closesLate?: boolean;
}

/** A transport without sockets: a queue of bytes in each direction. */
export class Wire implements Transport {
  readonly client: TestClient;
  readonly output: Buffer[] = [];
  connection!: NbdConnection;
  isFinished = false;
  isAborted = false;
  /** A client that takes replies. */
  isReading = true;
  readonly #options: WireOptions;
  readonly #input: Buffer[] = [];
  #isEnding = false;
  #isClosed = false;
  #isScheduled = false;
  #isDelivering = false;

  constructor(options: WireOptions) {
    this.#options = options;
    this.client = new TestClient((bytes) => this.push(bytes));
  }

  /** Bytes from the client. */
  push(bytes: Buffer): void {
    if (this.#isClosed || bytes.length === 0) return;
    this.#input.push(bytes);
    this.#deliver();
  }

  /** The client sends nothing more. */
  pushEnd(): void {
    this.#isEnding = true;
    this.#deliver();
  }

  /** The client has disconnected. */
  hangUp(): void {
    if (this.#isClosed) return;
    this.#close();
  }

  /** Bytes that the server has not read so far. */
  get unwantedBytes(): number {
    return this.#input.reduce((sum, { length }) => sum + length, 0);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  startReading(): void {
    this.isReading = true;
    this.onOutput();
  }

  onOutput(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  onInput(): void {
    this.#deliver();
  }

  onFinish(): void {
    this.isFinished = true;
    this.#close();
  }

  onAbort(): void {
    this.isAborted = true;
    if (this.#options.closesLate === true) this.isReading = false;
    else this.#close();
  }

  release(): never {
    throw new Error('there is no elsewhere');
  }

  startTls(): boolean {
    return false;
  }

  #close(): void {
    this.#isClosed = true;
    this.#input.length = 0;
    this.connection.closed();
    this.client.end();
  }

  #flush(): void {
    const { sendQueue } = this.connection;
    while (!this.#isClosed && this.isReading) {
      const count = sendQueue.beginSend(4, 64 * 1024);
      if (count === 0) return;
      const parts = Array.from({ length: count }, (_, i) => {
        const addr = sendQueue.rangeAddr(i);
        return Buffer.from(this.#options.memory.slice(addr, addr + sendQueue.rangeBytes(i)));
      });
      const bytes = Buffer.concat(parts);
      this.output.push(bytes);
      this.client.feed(bytes);
      this.connection.sent();
    }
  }

  #deliver(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    const { chunk = (available: number) => available, isGreedy = false, memory } = this.#options;
    for (;;) {
      const first = this.#input[0];
      const room = isGreedy ? this.connection.roomBytes : this.connection.wantedBytes;
      if (first === undefined || this.#isClosed || room === 0) break;
      const bytes = Math.min(room, Math.max(1, Math.min(chunk(first.length), first.length)));
      memory.set(first.subarray(0, bytes), this.connection.inputAddr);
      if (bytes === first.length) this.#input.shift();
      else this.#input[0] = first.subarray(bytes);
      this.connection.received(bytes);
    }
    this.#isDelivering = false;
    if (this.#isEnding && this.#input.length === 0 && !this.#isClosed) this.connection.receivedEnd();
  }
}

/** A connection to the server, without a socket. */
export function connectWire(server: NbdServer, options: WireOptions): Wire {
  const wire = new Wire(options);
  const connection = server.connect(wire, options.peer ?? 'unix', options.listener ?? 'unix:/test') as NbdConnection | null;
  if (connection === null) throw new Error('turned away');
  wire.connection = connection;
  wire.onOutput();
  return wire;
}

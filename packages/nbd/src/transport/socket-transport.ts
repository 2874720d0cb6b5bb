import type { Socket } from 'node:net';
import type { BufferMemory } from '@raidkit/parity';
import type { NbdConnection } from '../protocol/connection.js';
import type { Transport } from '../protocol/transport.js';

/** Most that is handed to the socket at a time. */
const mostRanges = 64;
const mostBytes = 1024 * 1024;
/** Below this many bytes a loop is quicker than making a view. */
const smallCopyBytes = 64;

/** Moves a connection's bytes over a socket of Node's. The socket must allow half-open connections. */
export class SocketTransport implements Transport {
  readonly #socket: Socket;
  readonly #memory: BufferMemory;
  #connection: NbdConnection | null = null;
  /** Received, and not wanted for the moment: the rest of one chunk. The socket is paused meanwhile. */
  #chunk: Buffer | null = null;
  #chunkAt = 0;
  #isDelivering = false;
  #hasEnded = false;
  #isScheduled = false;
  /** The client takes nothing any more; replies are thrown away. What it has said before still counts. */
  #isDeaf = false;
  #isClosing = false;

  constructor(socket: Socket, memory: BufferMemory) {
    this.#socket = socket;
    this.#memory = memory;
  }

  /** Starts to move bytes. */
  start(connection: NbdConnection): void {
    this.#connection = connection;
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunk = chunk;
      this.#chunkAt = 0;
      this.#deliver();
    });
    socket.on('end', () => this.#onEnd());
    keepReadingAfterWriteErrors(socket);
    socket.on('error', () => this.#goDeaf());
    socket.on('close', () => {
      this.#goDeaf();
      if (this.#isClosing || this.#chunk === null) connection.closed();
      else this.#onEnd();
    });
    this.onOutput();
  }

  onOutput(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(this.#flush);
  }

  onInput(): void {
    if (this.#chunk === null) this.#socket.resume();
    else this.#deliver();
  }

  onFinish(): void {
    this.#isClosing = true;
    this.#chunk = null;
    const socket = this.#socket;
    if (socket.closed) {
      this.#connection?.closed();
      return;
    }
    if (this.#isDeaf) {
      socket.destroy();
      return;
    }
    // What the client still sends is of no interest; without reading it, closing would reset the connection.
    socket.resume();
    socket.end(() => socket.destroy());
  }

  onAbort(): void {
    this.#isClosing = true;
    this.#chunk = null;
    if (this.#socket.closed) this.#connection?.closed();
    else this.#socket.destroy();
  }

  #onEnd(): void {
    this.#hasEnded = true;
    if (this.#chunk === null) this.#connection?.receivedEnd();
  }

  /** Nothing is being sent any more. */
  #goDeaf(): void {
    if (this.#isDeaf) return;
    this.#isDeaf = true;
    if (this.#connection?.outbox.isSending === true) this.#connection.sent();
    this.onOutput();
  }

  /** Hands over as much of the chunk as the connection takes, and holds the socket back while something is left. */
  #deliver(): void {
    const connection = this.#connection;
    if (connection === null || this.#isDelivering || this.#isClosing) return;
    this.#isDelivering = true;
    while (this.#chunk !== null) {
      const bytes = Math.min(connection.wantedBytes, this.#chunk.length - this.#chunkAt);
      if (bytes === 0) break;
      this.#copy(this.#chunk, bytes, connection.inputAddr);
      this.#chunkAt += bytes;
      if (this.#chunkAt === this.#chunk.length) this.#chunk = null;
      connection.received(bytes);
    }
    this.#isDelivering = false;
    if (this.#isStopped()) return;
    if (this.#chunk !== null || connection.wantedBytes === 0) this.#socket.pause();
    else if (this.#hasEnded) connection.receivedEnd();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** Asked again after calls that may have changed it. */
  #isStopped(): boolean {
    return this.#isClosing;
  }

  #copy(chunk: Buffer, bytes: number, addr: number): void {
    const from = this.#chunkAt;
    const { u8 } = this.#memory;
    if (bytes > smallCopyBytes) {
      u8.set(chunk.subarray(from, from + bytes), addr);
      return;
    }
    for (let i = 0; i < bytes; i++) u8[addr + i] = chunk[from + i] ?? 0;
  }

  readonly #flush = (): void => {
    this.#isScheduled = false;
    const socket = this.#socket;
    const connection = this.#connection;
    if (connection === null || connection.isClosed) return;
    const { outbox } = connection;
    if (this.#isDeaf) {
      while (outbox.beginSend(mostRanges, mostBytes) > 0) connection.sent();
      return;
    }
    const count = outbox.isSending ? 0 : outbox.beginSend(mostRanges, mostBytes);
    if (count === 0) return;
    socket.cork();
    for (let i = 0; i < count; i++) {
      const addr = outbox.rangeAddr(i);
      const range = this.#memory.node.subarray(addr, addr + outbox.rangeBytes(i));
      if (i < count - 1) socket.write(range);
      else socket.write(range, this.#onWritten);
    }
    socket.uncork();
  };

  readonly #onWritten = (error?: Error | null): void => {
    // An error is told as an event too.
    if (error || this.#isDeaf || this.#connection === null) return;
    this.#connection.sent();
    if (!this.#connection.outbox.isEmpty) this.#flush();
  };
}

/**
 * A client may send writes and DISC and hang up without waiting for replies: the first reply fails, and Node would then close
 * the socket with the rest of the client's writes unread. The stream option that prevents it cannot be given to the sockets
 * that a server accepts, so it is set afterwards.
 */
function keepReadingAfterWriteErrors(socket: Socket): void {
  const states = socket as unknown as { _readableState: { autoDestroy: boolean }; _writableState: { autoDestroy: boolean } };
  states._readableState.autoDestroy = false;
  states._writableState.autoDestroy = false;
}

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { BufferMemory } from '@raidkit/parity';
import type { Transport, TransportedConnection } from './transport.js';
import type { TlsAcceptor } from '../tls/acceptor.js';
import { identityMessage, identityOf } from '../tls/identity.js';

/** Largest number of ranges handed to the socket at a time. */
const mostRanges = 64;
/** Most bytes handed to the socket at a time, unless the first range is longer. */
const mostBytes = 1024 * 1024;
/** Up to this many bytes, copying in a loop is faster than creating a view. */
const smallCopyBytes = 64;

/** Moves a connection's bytes over a socket of Node. The socket must allow half-open connections. */
export class SocketTransport implements Transport {
  #socket: Socket;
  readonly #memory: BufferMemory;
  readonly #tlsAcceptor: TlsAcceptor | null;
  #connection: TransportedConnection | null = null;
  /** Received bytes that the connection does not want yet: the rest of one chunk. Meanwhile the socket is paused. */
  #chunk: Buffer | null = null;
  #chunkAt = 0;
  #isDelivering = false;
  #hasEnded = false;
  #isScheduled = false;
  #isClosing = false;
  /** Ends the TLS handshake that is under way; null if there is none. */
  #giveUpTls: (() => void) | null = null;

  constructor(socket: Socket, memory: BufferMemory, tlsAcceptor: TlsAcceptor | null) {
    this.#socket = socket;
    this.#memory = memory;
    this.#tlsAcceptor = tlsAcceptor;
  }

  /** Starts to move bytes. */
  start(connection: TransportedConnection): void {
    this.#connection = connection;
    this.#listen(this.#socket);
    this.onOutput();
  }

  onOutput(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(this.#flush);
  }

  onInput(): void {
    if (this.#giveUpTls !== null) return;
    if (this.#chunk === null) this.#socket.resume();
    else this.#deliver();
  }

  onFinish(): void {
    if (this.#giveUpTls !== null) {
      this.onAbort();
      return;
    }
    this.#isClosing = true;
    this.#chunk = null;
    // What the client still sends is discarded, because closing with unread bytes would reset the connection.
    this.#socket.resume();
    this.#socket.end(() => this.#socket.destroy());
  }

  onAbort(): void {
    this.#isClosing = true;
    this.#chunk = null;
    if (this.#giveUpTls === null) this.#socket.destroy();
    else this.#giveUpTls();
  }

  release(): never {
    throw new Error('a socket of Node.js cannot be passed to another thread');
  }

  startTls(): boolean {
    const connection = this.#connection;
    if (this.#tlsAcceptor === null || connection === null || this.#chunk !== null || this.#hasEnded) return false;
    const raw = this.#socket;
    raw.removeListener('data', this.#onData).removeListener('end', this.#onEnd).removeListener('close', this.#onClose);
    const onSecure = (socket: TLSSocket): void => {
      this.#giveUpTls = null;
      this.#socket = socket;
      if (this.#isClosing) socket.destroy();
      this.#chunk = identityMessage(identityOf(socket));
      this.#chunkAt = 0;
      this.#deliver();
      this.#listen(socket);
    };
    const onFailed = (reason: string): void => {
      connection.abort(`TLS failed: ${reason}`);
      connection.closed();
    };
    this.#giveUpTls = this.#tlsAcceptor.accept(raw, onSecure, onFailed);
    return true;
  }

  #listen(socket: Socket): void {
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    // The peer may disappear at any time; 'close' follows the error. With TLS it does not follow if a record fails
    // authentication: Node reports the error and continues. The socket is destroyed in a later turn, so that the alert is sent
    // first.
    socket.on('error', () => setImmediate(() => socket.destroy()));
    socket.on('close', this.#onClose);
  }

  /** Delivers as much of the chunk as the connection wants, and pauses the socket while something is left. */
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
    if (this.#chunk !== null || connection.wantedBytes === 0) {
      // While the connection closes, the socket is read to its end.
      if (!this.#socket.destroyed && !connection.isDraining) this.#socket.pause();
    } else if (this.#hasEnded) {
      connection.receivedEnd();
    } else if (this.#socket.isPaused()) {
      this.#socket.resume();
    }
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

  readonly #onData = (chunk: Buffer): void => {
    this.#chunk = chunk;
    this.#chunkAt = 0;
    this.#deliver();
  };

  readonly #onEnd = (): void => {
    this.#hasEnded = true;
    if (this.#chunk === null) this.#connection?.receivedEnd();
  };

  readonly #onClose = (): void => {
    this.#isClosing = true;
    this.#chunk = null;
    this.#connection?.closed();
  };

  readonly #flush = (): void => {
    this.#isScheduled = false;
    const socket = this.#socket;
    if (this.#connection === null || !socket.writable) return;
    const { sendQueue: sendQueue } = this.#connection;
    const count = sendQueue.isSending ? 0 : sendQueue.beginSend(mostRanges, mostBytes);
    if (count === 0) return;
    socket.cork();
    for (let i = 0; i < count; i++) {
      const addr = sendQueue.rangeAddr(i);
      const range = Buffer.from(this.#memory.buffer, addr, sendQueue.rangeBytes(i));
      if (i < count - 1) socket.write(range);
      else socket.write(range, this.#onWritten);
    }
    socket.uncork();
  };

  readonly #onWritten = (error?: Error | null): void => {
    // After an error the socket closes, which frees the ranges of the send.
    if (error || this.#connection === null || this.#socket.destroyed) return;
    this.#connection.sent();
    if (!this.#connection.sendQueue.isEmpty) this.#flush();
  };
}

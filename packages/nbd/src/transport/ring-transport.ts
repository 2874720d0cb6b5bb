import { constants } from 'node:os';
import type { Runtime } from '@raidkit/bdev';
import { MessageFlag, RingOp, ShutdownHow, SocketOption } from '@raidkit/sys';
import type { Ring, RingFlush, RingOwner, Sys } from '@raidkit/sys';
import type { Transport, TransportedConnection } from './transport.js';
import type { TlsHandover } from '../tls/terminator.js';

/**
 * Send buffer of a socket, in bytes: replies that the kernel takes before the client reads them. The kernel doubles the number.
 * A buffer that is much larger than the caches makes copying slow.
 */
const sendBufferBytes = 512 * 1024;
const { EAGAIN, EINTR } = constants.errno;
/** Largest number of ranges in one send. */
const mostRanges = 64;
/** Most bytes in one send, unless its first range is longer. */
const mostBytes = 1024 * 1024;
/** Bytes of a struct msghdr (sendmsg(2)), rounded up. The struct iovecs follow it. */
const headerBytes = 64;
const iovecBytes = 16;
/**
 * Before the socket is closed, bytes that the client sent after its last request are received and discarded this many times at
 * most: closing with unread bytes would reset the connection.
 */
const mostLeftovers = 64;

const recvTag = 0;
const sendTag = 1;
const sendFlags = MessageFlag.WAIT_ALL | MessageFlag.NO_SIGNAL;

/** What the transports of a ring share. */
export interface RingTransportHost {
  readonly ring: Ring;
  readonly sys: Sys;
  readonly runtime: Runtime;
  /** Address of the runtime's memory in the process. */
  readonly memoryAddr: number;
  /** Address in the runtime's memory of a range for bytes that are discarded. */
  readonly scratchAddr: number;
  readonly scratchBytes: number;
  /** Passes a client on to the TLS terminator; null if there is none. */
  readonly startTls: ((client: TlsHandover) => void) | null;
}

/** Sets the send buffer of a socket to the size that a ring's transport needs. */
export function growSendBuffer({ sockets }: Sys, fd: number): void {
  if (sockets.setOption(fd, SocketOption.SEND_BUFFER_FORCE, sendBufferBytes) < 0) {
    sockets.setOption(fd, SocketOption.SEND_BUFFER, sendBufferBytes);
  }
}

/**
 * Moves a connection's bytes with a ring. It receives bytes where the connection wants them, and sends bytes from where they
 * are. At most one receive and one send are in flight. The descriptor is closed, and the connection is told, only when both
 * have ended, because the kernel may use the connection's memory until then.
 */
export class RingTransport implements Transport, RingOwner, RingFlush {
  readonly #host: RingTransportHost;
  #fd: number;
  readonly #owner: number;
  /** The struct msghdr and its iovecs in 32-bit words, which need no bigint: addresses and lengths take two words each. */
  readonly #message = new Uint32Array(new ArrayBuffer(headerBytes + mostRanges * iovecBytes));
  readonly #messageAddr: number;
  #connection: TransportedConnection | null = null;
  /** Bytes that another server received and that have not been delivered yet. */
  #early: Uint8Array | null = null;
  #isReceiving = false;
  #askedBytes = 0;
  /** The last receive got fewer bytes than it asked for, so nothing was left in the socket. */
  #isEmptied = false;
  readonly #receiveLater: RingFlush = {
    onFlush: () => {
      if (!this.#isClosed) this.#receive();
    },
  };
  /**
   * The request's buffer that is being received into, which stays pinned until the receive is done; -1 for the connection's own
   * memory.
   */
  #pinnedAddr = -1;
  #hasEnded = false;
  /** Number of ranges in the send in flight; 0 if there is none. */
  #ranges = 0;
  #sentBytes = 0;
  #sendBytes = 0;
  #isFlushing = false;
  #isClosing = false;
  #isClosed = false;

  /** `fd` is a connected stream socket, which the transport owns from now on. */
  constructor(host: RingTransportHost, fd: number) {
    this.#host = host;
    this.#fd = fd;
    this.#owner = host.ring.addOwner(this);
    this.#messageAddr = host.sys.addressOf(this.#message);
    // msg_iov is at byte 16 and msg_iovlen at byte 24.
    this.#message[4] = this.#messageAddr + headerBytes;
    this.#message[5] = (this.#messageAddr + headerBytes) / 4_294_967_296;
  }

  /** Closes the socket of a client that has been refused. */
  refuse(): void {
    this.#isClosed = true;
    this.#host.ring.removeOwner(this.#owner);
    this.#host.sys.close(this.#fd);
  }

  /** Starts to move bytes. The bytes in `early` came before all those that are still in the socket. */
  start(connection: TransportedConnection, early: Uint8Array | null = null): void {
    this.#connection = connection;
    this.#early = early;
    this.#receive();
    this.onOutput();
  }

  onOutput(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    this.#host.ring.flushLater(this);
  }

  onInput(): void {
    this.#receive();
  }

  onFinish(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    // This ends a pending receive. The client can still read everything that was sent to it.
    this.#host.sys.sockets.shutdown(this.#fd, ShutdownHow.BOTH);
    this.#closeLater();
  }

  onAbort(): void {
    this.#isClosing = true;
    this.#host.sys.sockets.shutdown(this.#fd, ShutdownHow.BOTH);
    this.#closeLater();
  }

  release(): { fd: number; undelivered: Uint8Array } {
    this.#isClosing = true;
    this.#isClosed = true;
    this.#host.ring.removeOwner(this.#owner);
    return { fd: this.#fd, undelivered: this.#early ?? new Uint8Array() };
  }

  /**
   * Creates a pair of sockets. The connection continues with one end; the TLS terminator gets the other and the client's
   * socket.
   */
  startTls(): boolean {
    const { sys, startTls } = this.#host;
    const connection = this.#connection;
    if (startTls === null || connection === null || this.#early !== null) return false;
    const pair = sys.sockets.pair();
    if (typeof pair === 'number') return false;
    const [fd, plainFd] = pair;
    for (const end of pair) growSendBuffer(sys, end);
    const clientFd = this.#fd;
    this.#fd = fd;
    startTls({ fd: clientFd, plainFd, peer: connection.peer });
    return true;
  }

  onFlush(): void {
    this.#isFlushing = false;
    if (this.#isClosed) return;
    if (this.#isClosing) {
      this.#closeIfIdle();
      return;
    }
    const connection = this.#connection;
    if (connection === null || this.#ranges > 0) return;
    const { sendQueue: sendQueue } = connection;
    this.#ranges = sendQueue.beginSend(mostRanges, mostBytes);
    if (this.#ranges === 0) return;
    this.#sentBytes = 0;
    this.#sendBytes = sendQueue.sendingBytes;
    this.#send(connection);
  }

  onCompletion(tag: number, result: number): void {
    if (tag === recvTag) this.#onReceived(result);
    else this.#onSent(result);
  }

  #receive(): void {
    const connection = this.#connection;
    if (connection === null) return;
    if (this.#early !== null) this.#deliverEarly(connection);
    if (this.#isReceiving || this.#isClosing || this.#hasEnded) return;
    const { roomBytes } = connection;
    if (roomBytes === 0) return;
    this.#isReceiving = true;
    const { ring, runtime, memoryAddr } = this.#host;
    const { inputAddr } = connection;
    if (!connection.isInputOwn) {
      this.#pinnedAddr = inputAddr;
      runtime.memory.pin(inputAddr);
    }
    this.#askedBytes = roomBytes;
    ring.receive(this.#fd, memoryAddr + inputAddr, roomBytes, this.#isEmptied, this.#owner, recvTag);
  }

  #deliverEarly(connection: TransportedConnection): void {
    while (this.#early !== null) {
      const bytes = Math.min(this.#early.length, connection.roomBytes);
      if (bytes === 0) return;
      this.#host.runtime.memory.u8.set(this.#early.subarray(0, bytes), connection.inputAddr);
      this.#early = bytes < this.#early.length ? this.#early.subarray(bytes) : null;
      connection.received(bytes);
    }
  }

  #onReceived(result: number): void {
    this.#isReceiving = false;
    this.#isEmptied = result >= 0 && result < this.#askedBytes;
    if (this.#pinnedAddr >= 0) {
      this.#host.runtime.memory.unpin(this.#pinnedAddr);
      this.#pinnedAddr = -1;
    }
    const connection = this.#connection;
    if (this.#isClosing || connection === null) {
      this.#closeIfIdle();
      return;
    }
    if (result > 0) {
      // A draining connection discards what it receives.
      if (!connection.isDraining) connection.received(result);
    } else if (result === 0) {
      this.#hasEnded = true;
      connection.receivedEnd();
    } else if (result !== -EINTR && result !== -EAGAIN) {
      this.#hasEnded = true;
      this.onAbort();
      return;
    }
    // A read from the page cache takes less time than finding the socket empty and arming a poll, so the read and its reply go
    // first.
    this.#host.ring.postpone(this.#receiveLater);
  }

  /** Submits what has not been sent of the ranges. */
  #send(connection: TransportedConnection): void {
    const { ring, memoryAddr } = this.#host;
    const { sendQueue: sendQueue } = connection;
    if (this.#ranges === 1) {
      const addr = memoryAddr + sendQueue.rangeAddr(0) + this.#sentBytes;
      ring.prepare(RingOp.SEND, this.#fd, 0, addr, this.#sendBytes - this.#sentBytes, sendFlags, this.#owner, sendTag);
      return;
    }
    let skip = this.#sentBytes;
    let count = 0;
    for (let i = 0; i < this.#ranges; i++) {
      const bytes = sendQueue.rangeBytes(i);
      if (skip >= bytes) {
        skip -= bytes;
        continue;
      }
      this.#setRange(count++, memoryAddr + sendQueue.rangeAddr(i) + skip, bytes - skip);
      skip = 0;
    }
    this.#message[6] = count;
    ring.prepare(RingOp.SENDMSG, this.#fd, 0, this.#messageAddr, 1, sendFlags, this.#owner, sendTag);
  }

  #onSent(result: number): void {
    const connection = this.#connection;
    if (connection === null) return;
    if (result > 0) this.#sentBytes += result;
    if (result <= 0 && result !== -EINTR && result !== -EAGAIN) {
      // The client is gone, so the requests it has sent before are not needed any more.
      this.#ranges = 0;
      this.onAbort();
      this.#closeIfIdle();
      return;
    }
    if (this.#sentBytes < this.#sendBytes && !this.#isClosing) {
      this.#send(connection);
      return;
    }
    this.#ranges = 0;
    if (this.#isClosing) {
      this.#closeIfIdle();
      return;
    }
    connection.sent();
    if (!connection.sendQueue.isEmpty) this.onOutput();
  }

  #setRange(index: number, addr: number, bytes: number): void {
    const at = (headerBytes + index * iovecBytes) >> 2;
    this.#message[at] = addr;
    this.#message[at + 1] = addr / 4_294_967_296;
    this.#message[at + 2] = bytes;
    this.#message[at + 3] = 0;
  }

  /** Closes in a later flush, since `closed` must not be called from inside the connection's own call. */
  #closeLater(): void {
    this.onOutput();
  }

  #closeIfIdle(): void {
    if (this.#isClosed || this.#isReceiving || this.#ranges > 0) return;
    this.#isClosed = true;
    const { ring, sys, memoryAddr, scratchAddr, scratchBytes } = this.#host;
    for (let i = 0; i < mostLeftovers; i++) {
      if (sys.sockets.receive(this.#fd, memoryAddr + scratchAddr, scratchBytes, MessageFlag.DONT_WAIT) <= 0) break;
    }
    sys.close(this.#fd);
    ring.removeOwner(this.#owner);
    this.#connection?.closed();
  }
}

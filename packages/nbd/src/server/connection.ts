import type { ClientOrigin } from './admission.js';
import type { ExportUser, NbdExport } from './export.js';
import type { LogLimit } from './log-limit.js';
import type { ClientIdentity } from '../handshake/identity.js';
import { Handshake } from '../handshake/handshake.js';
import type { HandshakeHost, HandshakeProgress, HandshakeResult } from '../handshake/handshake.js';
import type { HandshakeTaker, HandshakeTurns } from '../handshake/handshake-turns.js';
import { SendQueue } from '../transmission/send-queue.js';
import { maxSmallReplyBytes } from '../transmission/reply-writer.js';
import type { ConnectionLimits, RequestConnection, TransmissionHost } from '../transmission/host.js';
import { Transmission } from '../transmission/transmission.js';
import type { Transport } from '../transport/transport.js';

/** Space in the reply ring for replies of the handshake, in addition to that for requests. Bytes. */
const handshakeReplyBytes = 8192;

/** A client that moves to another server in the middle of its handshake. Plain data. */
export interface Handoff {
  /** The client's socket. Nobody may read, write or close it until the other server adopts it. */
  readonly fd: number;
  readonly peer: string;
  /** The export that the client asks for. */
  readonly exportName: string;
  readonly progress: HandshakeProgress;
  /** Bytes that were received and not answered. They start with the option that names the export. */
  readonly unread: Uint8Array;
}

/** What the connections of a server share. */
export interface ConnectionHost extends HandshakeHost<NbdExport>, TransmissionHost {
  readonly log: LogLimit;
  readonly handshakeTurns: HandshakeTurns;
  /** The client has finished its handshake and uses `target`. */
  onTransmission(connection: NbdConnection, target: NbdExport): void;
  /** The client continues with another server. This connection is over and its memory can be reused. */
  onLeft(connection: NbdConnection, departure: Handoff): void;
  /** The connection is closed and has nothing in flight, so its memory can be reused. */
  onGone(connection: NbdConnection): void;
}

/** Returns the bytes of memory that a connection owns for as long as it exists. */
export function connectionBytes(limits: ConnectionLimits): number {
  return limits.stagingBytes + ringBytes(limits);
}

function ringBytes({ maxRequests }: ConnectionLimits): number {
  return handshakeReplyBytes + maxRequests * maxSmallReplyBytes;
}

/**
 * One client from the greeting to the end, without a socket: a {@link Transport} moves its bytes. `inputAddr`, `wantedBytes`
 * and `roomBytes` tell the transport which bytes to receive and where to put them. `wantedBytes` is 0 while the connection can
 * take nothing, for example for lack of memory; the transport then stops reading, so that the socket's flow control slows the
 * client down.
 */
export class NbdConnection implements RequestConnection, ExportUser, HandshakeTaker {
  readonly sendQueue: SendQueue;
  /** The client's address, for log lines and lists. */
  readonly peer: string;
  /** Address of the connection's own memory, which its owner frees when the connection is gone. */
  readonly addr: number;
  readonly origin: ClientOrigin;
  /** Runtime milliseconds at which the peer last sent or took something. */
  progressAt: number;
  /** Bytes that the peer has sent and taken so far. */
  movedBytes = 0;

  /** The client's identity; null before the end of the handshake. */
  client: ClientIdentity | null = null;
  /** Runtime milliseconds at which the client connected. */
  readonly since: number;

  readonly #host: ConnectionHost;
  readonly #transport: Transport;
  #handshake: Handshake<NbdExport> | null;
  #transmission: Transmission<NbdExport> | null = null;
  /**
   * Output of the handshake that did not fit into the send queue yet. It is null if there is none, because each request checks
   * this.
   */
  #handshakeOutput: Buffer | null = null;
  /** Bytes in the staging area from `head` to `tail` have been received but not processed. */
  #head = 0;
  #tail = 0;
  /** What to do when the send queue is empty. Nothing is received before that. */
  #afterFlush: (HandshakeResult<NbdExport> & { type: 'leave' | 'startTls' }) | null = null;
  /** Whether the next step of the handshake waits for its turn, or its turn has come. */
  #turn: 'none' | 'awaited' | 'come' = 'none';
  /** The client has closed its direction of the connection. */
  #isEnded = false;
  #isDraining = false;
  #isFinished = false;
  #isAdvancing = false;
  /** `wantedBytes` was 0 after the last call of `#advance`. */
  #isHeld = false;
  #isClosed = false;

  /**
   * `addr` is the address of `connectionBytes` of memory. The greeting is queued at once, unless `progress` continues a
   * handshake that another server began.
   */
  constructor(
    host: ConnectionHost,
    transport: Transport,
    addr: number,
    peer: string,
    listener: string,
    origin: ClientOrigin,
    progress: HandshakeProgress | null = null,
  ) {
    this.#host = host;
    this.#transport = transport;
    this.addr = addr;
    this.peer = peer;
    this.origin = origin;
    this.since = this.progressAt = host.runtime.now();
    const owner = {
      onBufferFree: (bufferAddr: number) => host.buffers.put(bufferAddr),
      onSent: (heldBytes: number, slots: number) => this.#transmission?.quota.release(-1, heldBytes, slots),
    };
    this.sendQueue = new SendQueue(
      host.memory,
      owner,
      addr + host.limits.stagingBytes,
      ringBytes(host.limits),
      host.limits.maxRequests + 2,
    );
    this.#handshake = new Handshake(host, listener, (bytes) => this.#say(bytes), progress);
    this.#flushHandshake();
  }

  /** The export in use; null before the end of the handshake. */
  get target(): NbdExport | null {
    return this.#transmission?.target ?? null;
  }

  /** Number of requests, and pieces of large ones, that have not been answered in full. */
  get slots(): number {
    return this.#transmission?.quota.slots ?? 0;
  }

  /** Bytes of buffers that the requests hold. */
  get heldBytes(): number {
    return this.#transmission?.quota.heldBytes ?? 0;
  }

  /** Whether the peer has to act next: to take replies, or to send the rest of a payload. */
  get isWaitingForPeer(): boolean {
    return !this.sendQueue.isEmpty || (this.#transmission?.isInPayload ?? false);
  }

  /** Whether the connection takes no further requests. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Address at which to store the next bytes. There may be more of them than {@link wantedBytes}, up to {@link roomBytes}. */
  get inputAddr(): number {
    const payloadAddr = this.#tail === this.#head ? (this.#transmission?.payloadAddr ?? -1) : -1;
    return payloadAddr >= 0 ? payloadAddr : this.addr + this.#tail;
  }

  /** Number of bytes that the next step needs; 0 while nothing may be received. */
  get wantedBytes(): number {
    if (this.#isDraining || this.#isClosed) return 0;
    // The client must receive the end of the handshake before any reply.
    if (this.#handshakeOutput !== null || this.#turn === 'awaited') return 0;
    const have = this.#tail - this.#head;
    if (this.#transmission !== null) return Math.max(0, this.#transmission.wantedBytes - have);
    return Math.max(0, (this.#handshake?.wantedBytes ?? 0) - have);
  }

  /** Number of bytes that may be received at {@link inputAddr}; 0 whenever {@link wantedBytes} is 0. */
  get roomBytes(): number {
    const wanted = this.wantedBytes;
    if (wanted === 0) return 0;
    const transmission = this.#transmission;
    // A large payload is received into its request's buffer without a copy, so no more than its header is received here.
    if (transmission !== null && this.#tail === this.#head && (transmission.payloadAddr >= 0 || transmission.expectsLargeWrite))
      return wanted;
    return this.#host.limits.stagingBytes - this.#tail;
  }

  /** Whether {@link inputAddr} is in the connection's own memory rather than in a request's buffer. */
  get isInputOwn(): boolean {
    return this.#tail !== this.#head || (this.#transmission?.payloadAddr ?? -1) < 0;
  }

  /** For the transport: `bytes` have been stored at {@link inputAddr}. */
  received(bytes: number): void {
    this.progressAt = this.#host.runtime.now();
    this.movedBytes += bytes;
    if (this.#tail === this.#head && this.#transmission !== null && this.#transmission.payloadAddr >= 0) {
      this.#transmission.tookPayload(bytes);
    } else {
      this.#tail += bytes;
    }
    this.#advance();
  }

  /** The process did not run for this long, from about `stoppedAt` on, which does not count as time without progress. */
  excuse(lateMs: number, stoppedAt: number): void {
    if (this.progressAt <= stoppedAt) this.progressAt += lateMs;
  }

  /** For the transport: the client sends nothing more. The connection answers the requests it has and then closes. */
  receivedEnd(): void {
    this.#isEnded = true;
    this.#drainIfEnded();
  }

  /** For the transport: all ranges of the last `sendQueue.beginSend` have been sent. */
  sent(): void {
    this.progressAt = this.#host.runtime.now();
    this.movedBytes += this.sendQueue.sendingBytes;
    this.sendQueue.endSend();
    this.#flushHandshake();
    this.resume();
    this.#finishIfDone();
  }

  /** Takes no further requests, answers those in flight and then closes. */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#head = this.#tail = 0;
    this.#transmission?.stop();
    this.#finishIfDone();
  }

  /**
   * As {@link drain}, but stops trims and write zeroes where they are, without a reply. I/O that rate limits hold back is
   * cancelled, and its request is answered with ESHUTDOWN.
   */
  callOff(): void {
    this.#transmission?.callOff();
    this.drain();
  }

  /** Closes at once. Requests in flight are carried out without a reply, except that trims and write zeroes stop. */
  abort(reason: string): void {
    if (this.#isClosed || this.#isFinished) return;
    this.#host.log.log('info', { peer: this.peer, export: this.target?.name }, `NBD connection closed: ${reason}`);
    this.#isDraining = true;
    this.#isFinished = true;
    this.#transport.onAbort();
  }

  /** For the transport: the socket is closed, and nothing reads from the send queue any more. */
  closed(): void {
    if (this.#isClosed) return;
    this.#isDraining = true;
    this.#isFinished = true;
    this.#isClosed = true;
    this.#host.handshakeTurns.leave(this);
    this.sendQueue.clear();
    this.#handshakeOutput = null;
    this.#handshake = null;
    this.#transmission?.close();
    if (this.slots === 0) this.#host.onGone(this);
  }

  /** Continues if the connection could take nothing before and the cause is gone. */
  resume(): void {
    if (!this.#isHeld || this.#isAdvancing || this.#isClosed) return;
    this.#advance();
    if (this.wantedBytes > 0) this.#transport.onInput();
  }

  /** The step of the handshake that waited for its turn may run. */
  onTurn(): void {
    this.#turn = 'come';
    this.resume();
  }

  /** For the transmission phase: the send queue may have something to send. */
  onReply(): void {
    if (!this.sendQueue.isEmpty && !this.sendQueue.isSending) this.#transport.onOutput();
  }

  /** For the transmission phase: a request has been carried out. */
  onProgress(): void {
    if (this.#isClosed) {
      if (this.slots === 0) this.#host.onGone(this);
      return;
    }
    this.onReply();
    this.resume();
    this.#finishIfDone();
  }

  #advance(): void {
    // A request that completes at once calls this from inside a step; the loop below continues anyway.
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    while (this.#step()) {
      // Each step consumes one item of the staging area.
    }
    this.#isAdvancing = false;
    if (this.#head === this.#tail) {
      this.#head = this.#tail = 0;
    } else if (this.#head > 0 && this.wantedBytes > 0) {
      this.#host.memory.u8.copyWithin(this.addr, this.addr + this.#head, this.addr + this.#tail);
      this.#tail -= this.#head;
      this.#head = 0;
    }
    this.#isHeld = this.wantedBytes === 0;
    this.#drainIfEnded();
    if (this.#afterFlush !== null) this.#continueAfterFlush();
  }

  /** Drains the connection if it wants bytes that the client will not send. */
  #drainIfEnded(): void {
    if (this.#isEnded && this.wantedBytes > 0) this.drain();
  }

  /** Returns false if nothing more can be done with the bytes received. */
  #step(): boolean {
    // Requests of an aborted connection still complete, and each completion gets here; it must not start another request.
    if (this.#isFinished || this.#handshakeOutput !== null) return false;
    if (this.#transmission !== null) {
      const taken = this.#transmission.step(this.addr + this.#head, this.#tail - this.#head);
      if (taken < 0 || this.#isDraining) return false;
      this.#head += taken;
      return true;
    }
    if (this.#isDraining || this.#handshake === null || this.#afterFlush !== null) return false;
    const { wantedBytes } = this.#handshake;
    if (this.#tail - this.#head < wantedBytes || !this.#hasTurn()) return false;
    const start = this.addr + this.#head;
    this.#head += wantedBytes;
    this.#onHandshake(this.#handshake, this.#handshake.feed(Buffer.from(this.#host.memory.buffer, start, wantedBytes)));
    return true;
  }

  #hasTurn(): boolean {
    if (this.#turn === 'none') {
      if (this.#host.handshakeTurns.begin(this)) return true;
      this.#turn = 'awaited';
    }
    if (this.#turn === 'awaited') return false;
    this.#turn = 'none';
    return true;
  }

  #onHandshake(handshake: Handshake<NbdExport>, result: HandshakeResult<NbdExport>): void {
    this.#flushHandshake();
    switch (result.type) {
      case 'continue':
        return;
      case 'transmission':
        this.#handshake = null;
        this.client = handshake.progress.client;
        this.#transmission = new Transmission(this.#host, this, result.export, handshake.negotiated);
        this.#host.onTransmission(this, result.export);
        return;
      case 'startTls':
        if (this.#head < this.#tail) {
          this.abort('it sent data in the clear after STARTTLS');
          return;
        }
        this.#afterFlush = result;
        return;
      case 'leave':
        this.#afterFlush = result;
        return;
      case 'finish':
        this.drain();
        return;
      case 'drop':
        this.abort(result.reason);
        return;
    }
  }

  #continueAfterFlush(): void {
    const todo = this.#afterFlush;
    const handshake = this.#handshake;
    if (todo === null || handshake === null || this.#isDraining || !this.sendQueue.isEmpty || this.#handshakeOutput !== null)
      return;
    this.#afterFlush = null;
    if (todo.type === 'leave') {
      this.#leave(handshake, todo.exportName, todo.option);
    } else if (this.#transport.startTls()) {
      handshake.tlsStarted();
    } else {
      this.abort('TLS could not start');
    }
  }

  #leave(handshake: Handshake<NbdExport>, exportName: string, option: Buffer): void {
    const staged = Buffer.from(this.#host.memory.buffer, this.addr + this.#head, this.#tail - this.#head);
    const { fd, undelivered } = this.#transport.release();
    const unread = Buffer.concat([option, staged, undelivered]);
    this.#isDraining = true;
    this.#isFinished = true;
    this.#isClosed = true;
    this.#handshake = null;
    this.#host.onLeft(this, { fd, peer: this.peer, exportName, progress: handshake.progress, unread });
  }

  #say(bytes: Buffer): void {
    this.#host.handshakeTurns.end(bytes.length);
    if (bytes.length > 0) this.#handshakeOutput = Buffer.concat([this.#handshakeOutput ?? Buffer.alloc(0), bytes]);
  }

  #flushHandshake(): void {
    const output = this.#handshakeOutput;
    if (output === null) return;
    const queued = this.sendQueue.pushBytes(output, handshakeReplyBytes);
    if (queued === 0) return;
    this.#handshakeOutput = queued < output.length ? output.subarray(queued) : null;
    this.onReply();
  }

  #finishIfDone(): void {
    if (!this.#isDraining || this.#isFinished || this.slots > 0 || !this.sendQueue.isEmpty || this.#handshakeOutput !== null)
      return;
    this.#isFinished = true;
    this.#transport.onFinish();
  }
}

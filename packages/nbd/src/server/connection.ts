import type { ClientOrigin } from './admission.js';
import type { ExportUser, NbdExport } from './export.js';
import type { LogLimit } from './log-limit.js';
import type { ClientIdentity } from './rights.js';
import { Handshake } from '../handshake/handshake.js';
import type { HandshakeHost, HandshakeProgress, HandshakeResult } from '../handshake/handshake.js';
import type { HandshakeTaker, HandshakeTurns } from '../handshake/handshake-turns.js';
import { SendQueue } from '../transmission/send-queue.js';
import { maxSmallReplyBytes } from '../wire/reply-writer.js';
import type { ConnectionLimits, RequestConnection, TransmissionHost } from '../transmission/host.js';
import { Transmission } from '../transmission/transmission.js';
import type { Transport } from '../transport/transport.js';

/** Room for replies of the handshake, beside those of requests. */
const handshakeReplyBytes = 8192;

/** A client that leaves in the middle of its handshake, as plain data. */
export interface Handoff {
  /** Its socket, which must not be read, written or closed by others until it is adopted. */
  readonly fd: number;
  readonly peer: string;
  /** The export that it asks for. */
  readonly exportName: string;
  readonly progress: HandshakeProgress;
  /** What has been received and not answered: begins with the option that names the export. */
  readonly unread: Uint8Array;
}

/** What connections share. */
export interface ConnectionHost extends HandshakeHost<NbdExport>, TransmissionHost {
  readonly log: LogLimit;
  readonly handshakeTurns: HandshakeTurns;
  /** The handshake is over. */
  onTransmission(connection: NbdConnection, target: NbdExport): void;
  /** The client goes on with another server. The connection is over, and its memory is free. */
  onLeft(connection: NbdConnection, departure: Handoff): void;
  /** The connection is closed and nothing of it is in flight: its memory is free. */
  onGone(connection: NbdConnection): void;
}

/** Memory that a connection is given for its life, in bytes. */
export function connectionBytes(limits: ConnectionLimits): number {
  return limits.stagingBytes + ringBytes(limits);
}

function ringBytes({ maxRequests }: ConnectionLimits): number {
  return handshakeReplyBytes + maxRequests * maxSmallReplyBytes;
}

/**
 * One client, from the greeting to the end, without a socket: a {@link Transport} brings and takes bytes. Which bytes are
 * wanted, and where, is in `inputAddr`, `wantedBytes` and `roomBytes`; when nothing can be taken in, `wantedBytes` is 0 and
 * the transport stops reading. That is the back-pressure: no memory, no reading.
 */
export class NbdConnection implements RequestConnection, ExportUser, HandshakeTaker {
  readonly sendQueue: SendQueue;
  /** For people: where the client is. */
  readonly peer: string;
  /** The connection's memory, to be given back when it is gone. */
  readonly addr: number;
  readonly origin: ClientOrigin;
  /** The last time that the peer took or gave something, on the runtime's clock. */
  progressAt: number;
  /** Bytes that the peer has taken or given so far. */
  movedBytes = 0;

  /** Who the client is; null before the end of the handshake. */
  client: ClientIdentity | null = null;
  /** When it came, on the runtime's clock. */
  readonly since: number;

  readonly #host: ConnectionHost;
  readonly #transport: Transport;
  #handshake: Handshake<NbdExport> | null;
  #transmission: Transmission | null = null;
  /** Handshake output that did not fit into the send queue yet. Null if there is none: each request asks that. */
  #handshakeOutput: Buffer | null = null;
  /** Bytes in the staging area that have not been looked at: from `head` to `tail`. */
  #head = 0;
  #tail = 0;
  /** What is to be done as soon as the send queue is empty. Until then nothing is received. */
  #afterFlush: (HandshakeResult<NbdExport> & { type: 'leave' | 'startTls' }) | null = null;
  /** A step of the handshake waits for its turn; or it is that. */
  #turn: 'none' | 'awaited' | 'come' = 'none';
  /** The client sends nothing more. */
  #isEnded = false;
  #isDraining = false;
  #isFinished = false;
  #isAdvancing = false;
  /** `wantedBytes` was 0 when the transport looked last. */
  #isHeld = false;
  #isClosed = false;

  /** `addr` has `connectionBytes`. The greeting is in the send queue at once, unless a handshake with some `progress` goes on here. */
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

  /** Requests, and pieces of large ones, that have not been answered in full. */
  get slots(): number {
    return this.#transmission?.quota.slots ?? 0;
  }

  /** Bytes of buffers that its requests hold. */
  get heldBytes(): number {
    return this.#transmission?.quota.heldBytes ?? 0;
  }

  /** Whether the next step is the peer's: to take replies, or to send the rest of a request. */
  get isWaitingForPeer(): boolean {
    return !this.sendQueue.isEmpty || (this.#transmission?.isInPayload ?? false);
  }

  /** Nothing more is taken in. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Where the next bytes belong. They may be more than {@link wantedBytes}, up to {@link roomBytes}. */
  get inputAddr(): number {
    const payloadAddr = this.#tail === this.#head ? (this.#transmission?.payloadAddr ?? -1) : -1;
    return payloadAddr >= 0 ? payloadAddr : this.addr + this.#tail;
  }

  /** How many bytes the next step needs; 0 while nothing may be received. */
  get wantedBytes(): number {
    if (this.#isDraining || this.#isClosed) return 0;
    // The client must hear the end of the handshake before any reply.
    if (this.#handshakeOutput !== null || this.#turn === 'awaited') return 0;
    const have = this.#tail - this.#head;
    if (this.#transmission !== null) return Math.max(0, this.#transmission.wantedBytes - have);
    return Math.max(0, (this.#handshake?.wantedBytes ?? 0) - have);
  }

  /** How many bytes may be received at {@link inputAddr}; 0 as for {@link wantedBytes}. */
  get roomBytes(): number {
    const wanted = this.wantedBytes;
    if (wanted === 0) return 0;
    const transmission = this.#transmission;
    // What is a large payload belongs into its buffer at once: no more than its header is taken here.
    if (transmission !== null && this.#tail === this.#head && (transmission.payloadAddr >= 0 || transmission.expectsLargeWrite))
      return wanted;
    return this.#host.limits.stagingBytes - this.#tail;
  }

  /** Whether {@link inputAddr} is in memory of the connection's own, and not in a request's buffer. */
  get isInputOwn(): boolean {
    return this.#tail !== this.#head || (this.#transmission?.payloadAddr ?? -1) < 0;
  }

  /** `bytes` have been received at {@link inputAddr}. */
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

  /** The client sends nothing more. What it asked for so far is answered, then the connection is closed. */
  receivedEnd(): void {
    this.#isEnded = true;
    this.#drainIfEnded();
  }

  /** The ranges of `sendQueue.beginSend` are with the client. */
  sent(): void {
    this.progressAt = this.#host.runtime.now();
    this.movedBytes += this.sendQueue.sendingBytes;
    this.sendQueue.endSend();
    this.#flushHandshake();
    this.resume();
    this.#finishIfDone();
  }

  /** Takes in nothing more, answers what is in flight, then closes. */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#head = this.#tail = 0;
    this.#transmission?.stop();
    this.#finishIfDone();
  }

  /** As {@link drain}, but what takes long is left undone where it has come to, and its client hears no answer. */
  callOff(): void {
    this.#transmission?.callOff();
    this.drain();
  }

  /** Closes at once. What is in flight is carried out, but for the rest of what takes long; the client gets no reply. */
  abort(reason: string): void {
    if (this.#isClosed || this.#isFinished) return;
    this.#host.log.log('info', { peer: this.peer, export: this.target?.name }, `NBD connection dropped: ${reason}`);
    this.#isDraining = true;
    this.#isFinished = true;
    this.#transport.onAbort();
  }

  /** From the transport: the socket is closed, and nothing of the send queue is being read. */
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

  /** Goes on after a stall, if there was one and its cause is gone. */
  resume(): void {
    if (!this.#isHeld || this.#isAdvancing || this.#isClosed) return;
    this.#advance();
    if (this.wantedBytes > 0) this.#transport.onInput();
  }

  /** The step of the handshake that waited for it may be done. */
  onTurn(): void {
    this.#turn = 'come';
    this.resume();
  }

  /** For the transmission: there may be something in the send queue. */
  onReply(): void {
    if (!this.sendQueue.isEmpty && !this.sendQueue.isSending) this.#transport.onOutput();
  }

  /** For the transmission: a request has been carried out. */
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
    // Requests that are done at once come back here from inside a step; the loop below goes on by itself.
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    while (this.#step()) {
      // Each step takes one thing from the staging area.
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

  /** More is wanted and will never come. */
  #drainIfEnded(): void {
    if (this.#isEnded && this.wantedBytes > 0) this.drain();
  }

  /** False if nothing more can be done with what has been received. */
  #step(): boolean {
    // What is in flight of one that was dropped goes on to end, and each end would take what is staged for the next request.
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
          this.abort('it sent something in the clear behind STARTTLS');
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
      this.abort('TLS could not begin');
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

import { constants } from 'node:os';
import type { TLSSocket } from 'node:tls';
import { LookTimer } from '@raidkit/bdev';
import { nodeClock } from '@raidkit/bdev/node';
import { MessageFlag, RingOp, ShutdownHow } from '@raidkit/sys';
import type { AeadLibrary, Ring, RingOwner, Sys } from '@raidkit/sys';
import type { TlsAcceptor } from './acceptor.js';
import { offersTls13 } from './client-hello.js';
import { HandshakeStream } from './handshake-stream.js';
import type { HandshakeCarrier } from './handshake-stream.js';
import { identityMessage, identityOf } from './identity.js';
import { suiteOf } from './key-schedule.js';
import {
  RecordLayer,
  alertRecordBytes,
  keyUpdateRecordBytes,
  mostContentBytes,
  mostRecordBytes,
  recordHeaderBytes,
  recordOverheadBytes,
} from './record-layer.js';
import type { Alert, Slab } from './record-layer.js';
import { SecretsLog } from './secrets-log.js';

const { EAGAIN, EINTR, ECANCELED } = constants.errno;

/**
 * Most bytes that are moved at a time. From the client, a large write with its header fits. From the server it is less, because
 * the data passes through the caches several times; with twice as much, the processor time was higher.
 */
const inBytes = 256 * 1024 + mostContentBytes;
const outBytes = 128 * 1024;
/** Room for as many encrypted bytes of the client, and for part of one more record. */
const cipherInBytes = inBytes + mostRecordBytes;
/** Room for {@link outBytes} once encrypted, two KeyUpdates and an alert. */
const cipherOutBytes =
  outBytes + (Math.ceil(outBytes / mostContentBytes) + 1) * recordOverheadBytes + 2 * keyUpdateRecordBytes + alertRecordBytes;
/** If less room than this is left after the received bytes, they are moved to the front before more are received. */
const leastRoomBytes = mostRecordBytes;
/** The other end of the pair is closed or shut down (poll(2), POLLRDHUP). */
const pollGone = 0x2000;
/** Turns of the event loop without a write of Node after which it counts as done with the handshake. */
const quietTurns = 4;
/**
 * Before the client's socket is closed, unwanted bytes are received and discarded this many times at most: closing with unread
 * bytes would reset the connection.
 */
const mostLeftovers = 64;
const sendFlags = MessageFlag.WAIT_ALL | MessageFlag.NO_SIGNAL;

/** Operations of the ring. At most one of each is in flight. */
const Op = { CLIENT_IN: 0, PLAIN_OUT: 1, PLAIN_IN: 2, CLIENT_OUT: 3, GONE: 4, CANCEL: 5 } as const;

/** What the clients of a terminator share. */
export interface RingClientHost {
  readonly ring: Ring;
  readonly sys: Sys;
  readonly aead: AeadLibrary;
  readonly acceptor: TlsAcceptor;
  /** Milliseconds that a client has to receive its last replies after the server has closed its end. */
  readonly lingerMs: number;
  readonly onFailed: (reason: string) => void;
  /** The client must be served by Node's sockets, which own both descriptors from now on. It has sent `hello`. */
  readonly onOther: (hello: Buffer) => void;
  readonly onClosed: () => void;
}

/**
 * A client whose bytes a ring moves. Node does the handshake; after that, records are encrypted and decrypted here, many at a
 * time. Each side is read only as fast as the other takes the data. The descriptors are closed when all operations have ended,
 * because the kernel may use the memory until then.
 */
export class RingTlsClient implements RingOwner, HandshakeCarrier {
  readonly #host: RingClientHost;
  readonly #fd: number;
  readonly #plainFd: number;
  readonly #owner: number;
  #stage: 'hello' | 'handshake' | 'open' | 'leaving' | 'closing' | 'closed' = 'hello';
  /** Operations in flight: bit n is set for operation n. */
  #busy = 0;
  readonly #cipherIn: Slab;
  #cipherStart = 0;
  #cipherEnd = 0;
  #askedBytes = 0;
  #isEmptied = false;
  /** The client sends nothing more, or its further bytes are not wanted. */
  #hasClientEnded = false;
  readonly #plainOut: Slab;
  #plainOutStart = 0;
  #plainOutEnd = 0;
  #isPlainShut = false;
  /** The server accepts nothing more, so what the client sends is discarded. */
  #isServerDeaf = false;
  readonly #plainIn: Slab;
  #plainInStart = 0;
  #plainInEnd = 0;
  #hasServerEnded = false;
  readonly #cipherOut: Slab;
  #cipherOutStart = 0;
  #cipherOutEnd = 0;
  /** The last record is in the slab or has been sent. */
  #isLast = false;
  #stream: HandshakeStream | null = null;
  readonly #writes: { bytes: Buffer; done: () => void }[] = [];
  #giveUp: (() => void) | null = null;
  #tls: TLSSocket | null = null;
  readonly #secrets = new SecretsLog();
  /** Number of records that Node had sent before it was given the client's last handshake record. */
  #sentBefore = 0;
  #layer: RecordLayer | null = null;
  readonly #lingering = new LookTimer(() => this.#close());

  constructor(host: RingClientHost, fd: number, plainFd: number) {
    this.#host = host;
    this.#fd = fd;
    this.#plainFd = plainFd;
    this.#owner = host.ring.addOwner(this);
    const slab = (length: number): Slab => {
      const bytes = new Uint8Array(new ArrayBuffer(length));
      return { bytes, addr: host.sys.addressOf(bytes) };
    };
    this.#cipherIn = slab(cipherInBytes);
    this.#plainOut = slab(cipherInBytes);
    this.#plainIn = slab(outBytes);
    this.#cipherOut = slab(cipherOutBytes);
    this.#prepare(Op.GONE, RingOp.POLL_ADD, plainFd, 0, 0, pollGone);
    this.#receiveCipher();
  }

  onCompletion(tag: number, result: number): void {
    this.#busy &= ~(1 << tag);
    if (!this.#isLive()) {
      if (this.#stage === 'closing') this.#closeIfIdle();
      return;
    }
    const isAgain = result === -EINTR || result === -EAGAIN;
    switch (tag) {
      case Op.CLIENT_IN:
        this.#onCipher(result, isAgain);
        return;
      case Op.PLAIN_OUT:
        this.#onPlainSent(result, isAgain);
        return;
      case Op.PLAIN_IN:
        this.#onPlain(result, isAgain);
        return;
      case Op.CLIENT_OUT:
        this.#onCipherSent(result, isAgain);
        return;
      default:
        this.#onGone(tag, result);
    }
  }

  sendHandshake(bytes: Buffer, done: () => void): void {
    if (this.#stage !== 'handshake' || bytes.length === 0) {
      done();
      return;
    }
    this.#writes.push({ bytes, done });
    this.#sendHandshakes();
  }

  endHandshake(): void {
    if (this.#stage !== 'handshake') return;
    this.#isLast = true;
    this.#linger();
    this.#sendHandshakes();
  }

  /** Ends both connections at once. The ring must be closed next, because the kernel may use the memory until then. */
  abort(): void {
    this.#close();
    if (this.#stage === 'closing') this.#end();
  }

  /** Limits the time in which the client may receive its last bytes. */
  #linger(): void {
    if (this.#lingering.dueAt === Infinity) this.#lingering.set(nodeClock, nodeClock.now() + this.#host.lingerMs);
  }

  /** Ends both connections after a failure, whatever is in flight. */
  #close(): void {
    if (!this.#isLive()) return;
    this.#stage = 'closing';
    const { sockets } = this.#host.sys;
    sockets.shutdown(this.#fd, ShutdownHow.BOTH);
    sockets.shutdown(this.#plainFd, ShutdownHow.BOTH);
    for (const { done } of this.#writes.splice(0)) done();
    this.#secrets.wipe();
    this.#layer?.close();
    const stream = this.#stream;
    const tls = this.#tls;
    // This may have been called from inside OpenSSL, where sockets must not be destroyed.
    setImmediate(() => {
      tls?.destroy();
      stream?.destroy();
    });
    this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    if (this.#busy !== 0) return;
    const { sys, ring } = this.#host;
    const { bytes, addr } = this.#cipherIn;
    for (let i = 0; i < mostLeftovers; i++) {
      if (sys.sockets.receive(this.#fd, addr, bytes.length, MessageFlag.DONT_WAIT) <= 0) break;
    }
    ring.removeOwner(this.#owner);
    this.#end();
  }

  #end(): void {
    this.#stage = 'closed';
    const { sys } = this.#host;
    sys.close(this.#fd);
    sys.close(this.#plainFd);
    this.#lingering.clear();
    this.#host.onClosed();
  }

  #prepare(op: number, what: RingOp, fd: number, addr: number, length: number, flags: number): void {
    this.#busy |= 1 << op;
    this.#host.ring.prepare(what, fd, 0, addr, length, flags, this.#owner, op);
  }

  /** Returns whether operations may be prepared: the descriptors still belong to this client. */
  #isLive(): boolean {
    return this.#stage !== 'closing' && this.#stage !== 'closed';
  }

  #isBusy(op: number): boolean {
    return (this.#busy & (1 << op)) !== 0;
  }

  // These methods receive from the client.

  #receiveCipher(): void {
    if (this.#isBusy(Op.CLIENT_IN) || this.#hasClientEnded || !this.#isLive()) return;
    const { bytes, addr } = this.#cipherIn;
    if (this.#cipherStart === this.#cipherEnd) this.#cipherStart = this.#cipherEnd = 0;
    if (this.#cipherStart > 0 && bytes.length - this.#cipherEnd < leastRoomBytes) {
      bytes.copyWithin(0, this.#cipherStart, this.#cipherEnd);
      this.#cipherEnd -= this.#cipherStart;
      this.#cipherStart = 0;
    }
    const room = bytes.length - this.#cipherEnd;
    if (room === 0) return;
    this.#askedBytes = room;
    this.#busy |= 1 << Op.CLIENT_IN;
    this.#host.ring.receive(this.#fd, addr + this.#cipherEnd, room, this.#isEmptied, this.#owner, Op.CLIENT_IN);
  }

  #onCipher(result: number, isAgain: boolean): void {
    this.#isEmptied = result >= 0 && result < this.#askedBytes;
    if (result > 0) this.#cipherEnd += result;
    else if (result === 0) this.#hasClientEnded = true;
    else if (!isAgain) {
      this.#close();
      return;
    }
    if (this.#stage === 'hello') this.#lookAtHello();
    else if (this.#stage === 'handshake') this.#feed();
    else if (this.#stage === 'open') this.#moveIn();
  }

  /** Returns where the record that begins at #cipherStart ends; -1 if it is incomplete. */
  #recordEnd(): number {
    const { bytes } = this.#cipherIn;
    const at = this.#cipherStart;
    if (this.#cipherEnd - at < recordHeaderBytes) return -1;
    const end = at + recordHeaderBytes + (((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0));
    return end > this.#cipherEnd ? -1 : end;
  }

  // These methods do the handshake.

  #lookAtHello(): void {
    const end = this.#recordEnd();
    const seen = Buffer.from(this.#cipherIn.bytes.subarray(0, this.#cipherEnd));
    if (end >= 0 && offersTls13(seen.subarray(0, end))) {
      this.#beginHandshake();
      return;
    }
    // Node serves and answers a client whose first record is no ClientHello of TLS 1.3 or too long for one, or that has sent no
    // TLS.
    const isDecided = end >= 0 || this.#hasClientEnded || (seen.length > 0 && seen[0] !== 22);
    if (!isDecided && seen.length < this.#cipherIn.bytes.length) {
      this.#receiveCipher();
      return;
    }
    this.#stage = 'leaving';
    this.#busy |= 1 << Op.CANCEL;
    this.#host.ring.cancel(this.#owner, Op.GONE, this.#owner, Op.CANCEL);
  }

  #beginHandshake(): void {
    const { acceptor } = this.#host;
    this.#stage = 'handshake';
    this.#stream = new HandshakeStream(this);
    this.#giveUp = acceptor.accept(this.#stream, this.#onSecure, this.#host.onFailed, this.#onKeyLog);
    this.#feed();
  }

  /** Keeps the secrets that OpenSSL logs, in memory and only until the handshake is over. */
  readonly #onKeyLog = (line: Buffer): void => {
    this.#secrets.take(line);
  };

  /** Node calls this from inside OpenSSL. */
  readonly #onSecure = (tls: TLSSocket): void => {
    tls.on('error', () => undefined);
    this.#tls = tls;
  };

  /**
   * Gives Node one record at a time until the handshake is over. Later records must not reach it, because they are protected
   * with keys whose record count starts there.
   */
  readonly #feed = (): void => {
    const stream = this.#stream;
    if (this.#stage !== 'handshake' || stream === null) return;
    if (this.#tls !== null) {
      this.#settle(stream, stream.written, quietTurns);
      return;
    }
    if (stream.readableLength > 0) {
      setImmediate(this.#feed);
      return;
    }
    const end = this.#recordEnd();
    if (end >= 0) {
      const record = Buffer.from(this.#cipherIn.bytes.subarray(this.#cipherStart, end));
      this.#cipherStart = end;
      this.#sentBefore = stream.recordsSent;
      stream.push(record);
      // Node may process the record in this call or in a later turn.
      setImmediate(this.#feed);
      return;
    }
    if (this.#hasClientEnded) {
      stream.push(null);
      return;
    }
    if (this.#cipherIn.bytes.length - this.#cipherEnd < leastRoomBytes && this.#cipherStart === 0) this.#close();
    else this.#receiveCipher();
  };

  /** Waits until Node has sent all records of the handshake. */
  #settle(stream: HandshakeStream, written: number, turns: number): void {
    if (this.#stage !== 'handshake') return;
    if (turns === 0) {
      this.#open(stream);
      return;
    }
    setImmediate(() => {
      const isQuiet = stream.isQuiet && stream.written === written;
      this.#settle(stream, stream.written, isQuiet ? turns - 1 : quietTurns);
    });
  }

  #open(stream: HandshakeStream): void {
    const tls = this.#tls;
    const { client, server } = this.#secrets;
    const suite = tls === null || tls.destroyed ? null : suiteOf(tls.getCipher().standardName);
    if (tls === null || suite === null || client === null || server === null || tls.getProtocol() !== 'TLSv1.3') {
      this.#close();
      return;
    }
    const message = identityMessage(identityOf(tls));
    stream.cut();
    this.#stream = null;
    this.#giveUp = null;
    setImmediate(() => tls.destroy());
    const sealed = stream.recordsSent - this.#sentBefore;
    this.#layer = new RecordLayer(this.#host.aead, { suite, client, server, sealed });
    this.#secrets.wipe();
    this.#stage = 'open';
    this.#plainOut.bytes.set(message);
    this.#plainOutEnd = message.length;
    this.#sendPlain();
    this.#moveIn();
    this.#moveOut();
  }

  #sendHandshakes(): void {
    if (this.#isBusy(Op.CLIENT_OUT) || this.#stage !== 'handshake') return;
    const [write] = this.#writes;
    if (write === undefined) {
      if (this.#isLast) this.#close();
      return;
    }
    const { bytes } = this.#cipherOut;
    const part = write.bytes.subarray(0, bytes.length);
    bytes.set(part);
    write.bytes = write.bytes.subarray(part.length);
    this.#cipherOutStart = 0;
    this.#cipherOutEnd = part.length;
    this.#sendCipher();
  }

  // These methods send to the server.

  /** Decrypts what the client has sent, and sends it to the server. */
  #moveIn(): void {
    const layer = this.#layer;
    if (layer === null || this.#stage !== 'open') return;
    if (this.#isServerDeaf) {
      this.#cipherStart = this.#cipherEnd = 0;
    } else if (!this.#isBusy(Op.PLAIN_OUT)) {
      layer.open(this.#cipherIn, this.#cipherStart, this.#cipherEnd, this.#plainOut, 0);
      this.#cipherStart = layer.openedTo;
      this.#plainOutStart = 0;
      this.#plainOutEnd = layer.contentTo;
      if (layer.contentTo > 0) this.#sendPlain();
      else if (layer.failure !== 0) {
        this.#refuse();
        return;
      }
      if (layer.hasEnded) this.#hasClientEnded = true;
      if (layer.owesKeyUpdate) this.#moveOut();
      if (!this.#isLive()) return;
      if (this.#hasClientEnded && layer.contentTo === 0 && layer.failure === 0) this.#shutPlain();
    }
    if (layer.failure === 0) this.#receiveCipher();
  }

  #sendPlain(): void {
    const { addr } = this.#plainOut;
    const bytes = this.#plainOutEnd - this.#plainOutStart;
    this.#prepare(Op.PLAIN_OUT, RingOp.SEND, this.#plainFd, addr + this.#plainOutStart, bytes, sendFlags);
  }

  #onPlainSent(result: number, isAgain: boolean): void {
    if (this.#stage !== 'open') return;
    if (result > 0) this.#plainOutStart += result;
    else if (!isAgain) {
      // The last replies of the server may still have to be read.
      this.#isServerDeaf = true;
      this.#moveIn();
      return;
    }
    if (this.#plainOutStart < this.#plainOutEnd) this.#sendPlain();
    else this.#moveIn();
  }

  /** Tells the server that the client sends nothing more. */
  #shutPlain(): void {
    if (this.#isPlainShut) return;
    this.#isPlainShut = true;
    this.#host.sys.sockets.shutdown(this.#plainFd, ShutdownHow.WRITE);
  }

  /**
   * Ends the connection of a client that has violated the protocol. The server has received what came before, and sees the end.
   */
  #refuse(): void {
    this.#isServerDeaf = true;
    this.#hasServerEnded = true;
    this.#plainInStart = this.#plainInEnd = 0;
    this.#host.sys.sockets.shutdown(this.#plainFd, ShutdownHow.BOTH);
    this.#moveOut();
  }

  // These methods send from the server to the client.

  #receivePlain(): void {
    if (this.#isBusy(Op.PLAIN_IN) || this.#hasServerEnded || !this.#isLive() || this.#plainInStart < this.#plainInEnd) return;
    const { bytes, addr } = this.#plainIn;
    this.#prepare(Op.PLAIN_IN, RingOp.RECV, this.#plainFd, addr, bytes.length, 0);
  }

  #onPlain(result: number, isAgain: boolean): void {
    if (this.#stage !== 'open') return;
    if (!this.#hasServerEnded) {
      if (result > 0) {
        this.#plainInStart = 0;
        this.#plainInEnd = result;
      } else if (!isAgain) this.#hasServerEnded = true;
    }
    this.#moveOut();
  }

  /** Encrypts what the server has sent, and KeyUpdates and alerts, and sends it to the client. */
  #moveOut(): void {
    const layer = this.#layer;
    if (layer === null || this.#stage !== 'open' || this.#isBusy(Op.CLIENT_OUT)) return;
    if (this.#isLast) {
      this.#close();
      return;
    }
    const { failure } = layer;
    let end = 0;
    if (layer.owesKeyUpdate) end = layer.sealKeyUpdate(this.#cipherOut, end);
    if (this.#plainInStart < this.#plainInEnd) {
      end = layer.seal(this.#plainIn, this.#plainInStart, this.#plainInEnd, this.#cipherOut, end);
      this.#plainInStart = layer.sealedTo;
    }
    if (this.#hasServerEnded && this.#plainInStart === this.#plainInEnd) {
      this.#isLast = true;
      if (failure >= 0) end = layer.sealAlert(failure as Alert, this.#cipherOut, end);
    }
    this.#receivePlain();
    if (end > 0) {
      this.#cipherOutStart = 0;
      this.#cipherOutEnd = end;
      this.#sendCipher();
    } else if (this.#isLast) this.#close();
  }

  #sendCipher(): void {
    const { addr } = this.#cipherOut;
    const bytes = this.#cipherOutEnd - this.#cipherOutStart;
    this.#prepare(Op.CLIENT_OUT, RingOp.SEND, this.#fd, addr + this.#cipherOutStart, bytes, sendFlags);
  }

  #onCipherSent(result: number, isAgain: boolean): void {
    if (result > 0) this.#cipherOutStart += result;
    else if (!isAgain) {
      this.#close();
      return;
    }
    if (this.#cipherOutStart < this.#cipherOutEnd) {
      this.#sendCipher();
      return;
    }
    if (this.#stage === 'open') {
      this.#moveOut();
      return;
    }
    const [write] = this.#writes;
    if (write?.bytes.length === 0) {
      this.#writes.shift();
      write.done();
    }
    this.#sendHandshakes();
  }

  /**
   * Called when the server has closed its end, or when the poll for that has been cancelled to leave the client to Node's
   * sockets.
   */
  #onGone(tag: number, result: number): void {
    if (this.#stage === 'leaving') {
      if (this.#busy !== 0) return;
      this.#stage = 'closed';
      this.#host.ring.removeOwner(this.#owner);
      this.#host.onOther(Buffer.from(this.#cipherIn.bytes.subarray(0, this.#cipherEnd)));
    } else if (tag === Op.GONE && result !== -ECANCELED) {
      if (this.#stage === 'hello') this.#close();
      else if (this.#stage === 'handshake' && this.#tls === null) this.#giveUp?.();
      else this.#linger();
    }
  }
}

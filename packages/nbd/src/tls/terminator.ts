import { Socket } from 'node:net';
import { DEFAULT_MAX_VERSION } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { LookTimer } from '@raidkit/bdev';
import { nodeClock } from '@raidkit/bdev/node';
import { loadAead, loadSys, whyNoSys } from '@raidkit/sys';
import type { AeadLibrary, Ring, Sys } from '@raidkit/sys';
import type { TlsCredentials } from './credentials.js';
import { TlsAcceptor } from './acceptor.js';
import { identityMessage, identityOf } from './identity.js';
import { RingTlsClient } from './ring-client.js';

/** A client that begins TLS, for the TLS terminator. Plain data, so that it can be sent to another thread. */
export interface TlsHandover {
  /** The client's socket. */
  readonly fd: number;
  /** A socket whose other end the server has. */
  readonly plainFd: number;
  /** The client's address, for log lines. */
  readonly peer: string;
}

/** Options of a {@link TlsTerminator}. */
export interface TlsTerminatorOptions {
  /** Milliseconds that a client has to receive its last replies after the server has closed its end. Default 5,000. */
  lingerMs?: number;
  /**
   * A ring of this thread, which moves the bytes of clients with TLS 1.3, whose records are then encrypted and decrypted here.
   * Default null: Node's sockets do both.
   */
  ring?: Ring | null;
}

/** Interval in milliseconds at which to check whether servers have closed their ends of pairs that are not being read. */
const probeMs = 1000;

/**
 * Does TLS for servers that cannot do it themselves. It moves the decrypted and encrypted bytes between client and server,
 * through Node's sockets or a ring. The first bytes to the server say who the client has proved to be. Each side is read only
 * as fast as the other takes the data. The server limits the number of clients and the time of their handshakes by closing its
 * end.
 */
export class TlsTerminator {
  readonly #acceptor: TlsAcceptor;
  readonly #onFailed: (peer: string, reason: string) => void;
  readonly #lingerMs: number;
  readonly #sys: Sys;
  /** The server's sides of all clients of Node's sockets. */
  readonly #plains = new Set<Socket>();
  readonly #ring: Ring | null;
  /**
   * Null if Node encrypts and decrypts the records, because there is no ring, Node's OpenSSL cannot be called, or TLS 1.3 is
   * disabled.
   */
  readonly #aead: AeadLibrary | null;
  readonly #ringClients = new Set<RingTlsClient>();
  #onEmpty: (() => void) | null = null;

  /** `onFailed` is called for each handshake that fails. */
  constructor(
    credentials: TlsCredentials,
    onFailed: (peer: string, reason: string) => void,
    { lingerMs = 5000, ring = null }: TlsTerminatorOptions = {},
  ) {
    this.#ring = ring;
    this.#aead = ring === null || DEFAULT_MAX_VERSION !== 'TLSv1.3' ? null : loadAead();
    this.#acceptor = new TlsAcceptor(credentials);
    this.#onFailed = onFailed;
    this.#lingerMs = lingerMs;
    const sys = loadSys();
    if (sys === null) throw new Error(whyNoSys());
    this.#sys = sys;
  }

  /** Uses these credentials for clients that begin TLS from now on. */
  renew(credentials: TlsCredentials): void {
    this.#acceptor.renew(credentials);
  }

  /** Takes over a client, with both descriptors. */
  take(client: TlsHandover): void {
    const { fd, plainFd, peer } = client;
    const ring = this.#ring;
    const aead = this.#aead;
    if (ring === null || aead === null) {
      this.#takeToSockets(client, null);
      return;
    }
    const host = {
      ...{ ring, aead, sys: this.#sys, acceptor: this.#acceptor, lingerMs: this.#lingerMs },
      onFailed: (reason: string) => this.#onFailed(peer, reason),
      onOther: (hello: Buffer) => {
        this.#takeToSockets(client, hello);
        gone();
      },
      onClosed: () => gone(),
    };
    const ringClient = new RingTlsClient(host, fd, plainFd);
    const gone = (): void => {
      this.#ringClients.delete(ringClient);
      this.#tellIfEmpty();
    };
    this.#ringClients.add(ringClient);
  }

  /**
   * Ends all clients of the ring because the thread is ending early and its ring with it. Node closes its own sockets, but not
   * these descriptors, so client and server would wait for ever.
   */
  abort(): void {
    for (const client of this.#ringClients) client.abort();
  }

  #tellIfEmpty(): void {
    if (this.#plains.size === 0 && this.#ringClients.size === 0) this.#onEmpty?.();
  }

  /** Lets Node's sockets move the bytes of a client that has already sent `hello`. */
  #takeToSockets({ fd, plainFd, peer }: TlsHandover, hello: Buffer | null): void {
    const raw = new Socket({ fd, readable: true, writable: true });
    if (hello !== null && hello.length > 0) raw.unshift(hello);
    const replies = new Replies();
    // Node 20 accepts `onread` here as in `connect`, although its types mention it only there.
    const options = { fd: plainFd, readable: true, writable: true, allowHalfOpen: true, onread: replies.onread };
    const plain = new Socket(options);
    this.#plains.add(plain);
    plain.once('close', () => {
      this.#plains.delete(plain);
      this.#tellIfEmpty();
    });
    plain.on('error', () => undefined);
    raw.once('close', () => plain.destroy());
    const onSecure = (tls: TLSSocket): void => {
      plain.removeListener('end', giveUp).removeListener('close', giveUp);
      plain.write(identityMessage(identityOf(tls)));
      connect(tls, plain, replies);
      this.#watch(tls, plain, plainFd);
    };
    const giveUp = this.#acceptor.accept(raw, onSecure, (reason) => this.#onFailed(peer, reason));
    // The server sends nothing before the client does, so until then only its end can be read.
    plain.once('end', giveUp).once('close', giveUp).resume();
  }

  /**
   * Resolves when all clients are gone. No further client may be taken, and the server must have closed its ends or be about
   * to.
   */
  async close(): Promise<void> {
    if (this.#plains.size === 0 && this.#ringClients.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }

  /**
   * Drops a client that reads nothing, some time after the server has closed its end. The end can only be read after everything
   * that the server sent, so the socket is probed for it.
   */
  #watch(tls: TLSSocket, plain: Socket, plainFd: number): void {
    const linger = new LookTimer(() => tls.destroy());
    const timer = setInterval(() => {
      if (!plain.destroyed && !this.#sys.sockets.isPeerGone(plainFd)) return;
      clearInterval(timer);
      linger.set(nodeClock, nodeClock.now() + this.#lingerMs);
    }, probeMs);
    tls.once('close', () => {
      clearInterval(timer);
      linger.clear();
    });
  }
}

/** Moves bytes in both directions until both sides have ended. */
function connect(tls: TLSSocket, plain: Socket, replies: Replies): void {
  let isEnding = false;
  // The server closes both directions at once. What the client still sends is read and discarded, because closing with unread
  // bytes would reset the connection.
  const end = (): void => {
    if (isEnding) return;
    isEnding = true;
    tls.unpipe(plain);
    tls.resume();
    tls.end(() => tls.destroy());
  };
  // Node reports an invalid record and continues. The socket is destroyed in a later turn, so that the alert is sent first.
  tls.on('error', () => setImmediate(() => tls.destroy()));
  tls.once('close', () => plain.destroy());
  plain.once('end', end).once('close', end);
  // This writes each record, of at most 16 KiB, on its own. Gathering them took half as much processor time again.
  tls.pipe(plain);
  replies.sendTo(tls, plain);
}

/** Most bytes that are received from the server at a time, which is as much as it sends at once. */
const replyBytes = 256 * 1024;

/** The server is not read while this many buffers are being sent to the client. One more buffer is ready for the next read. */
const mostOut = 2;

/** Buffers on the way from the server to the client. More is read while some are being encrypted and sent. */
class Replies {
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  #out = 0;
  #tls: TLSSocket | null = null;
  #plain: Socket | null = null;

  /** Options of the server's socket: the buffers that it reads into, and the function that it calls. */
  readonly onread = {
    buffer: (): Uint8Array<ArrayBuffer> => this.#free.pop() ?? new Uint8Array(new ArrayBuffer(replyBytes)),
    callback: (bytes: number, buffer: Uint8Array): boolean => {
      if (this.#tls === null) return true;
      this.#out++;
      this.#tls.write(buffer.subarray(0, bytes), () => {
        this.#free.push(buffer as Uint8Array<ArrayBuffer>);
        if (this.#out-- === mostOut) this.#plain?.resume();
      });
      return this.#out < mostOut;
    },
  };

  /** Sends everything from now on to the client. */
  sendTo(tls: TLSSocket, plain: Socket): void {
    this.#tls = tls;
    this.#plain = plain;
  }
}

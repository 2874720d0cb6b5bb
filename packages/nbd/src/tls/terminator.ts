import { Socket } from 'node:net';
import { DEFAULT_MAX_VERSION } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { loadAead, loadSys, whyNoSys } from '@raidkit/sys';
import type { AeadLibrary, Ring, Sys } from '@raidkit/sys';
import type { TlsCredentials } from './credentials.js';
import { TlsAcceptor } from './acceptor.js';
import { identityMessage, identityOf } from './identity.js';
import { RingTlsClient } from './ring-client.js';

/** A client that begins TLS, on its way to the TLS terminator. Plain data: it may go to another thread. */
export interface TlsHandover {
  /** The client's socket. */
  readonly fd: number;
  /** A socket with the server at its other end. */
  readonly plainFd: number;
  /** For people. */
  readonly peer: string;
}

/** Options of a {@link TlsTerminator}. */
export interface TlsTerminatorOptions {
  /** When the server has closed its end, a client may take so long to fetch its last replies. Default 5000. */
  lingerMs?: number;
  /**
   * The ring of this thread: it moves the bytes of clients with TLS 1.3, whose records are then protected here. Default: sockets of
   * Node's do.
   */
  ring?: Ring | null;
}

/** How often it is looked whether servers have closed their ends of pairs that are not being read. */
const probeMs = 1000;

/**
 * Does TLS for servers that cannot do it themselves: stands between a client and a server, and moves what it has decrypted, and
 * encrypted, through sockets of Node's. The server is told first who the client has proved to be. Each side is read only as fast as the other one takes it. The server has the say: it
 * limits how many there are and how long their handshakes take, by closing its end.
 */
export class TlsTerminator {
  readonly #acceptor: TlsAcceptor;
  readonly #onFailed: (peer: string, reason: string) => void;
  readonly #lingerMs: number;
  readonly #sys: Sys;
  /** The server's sides of all clients. */
  readonly #plains = new Set<Socket>();
  readonly #ring: Ring | null;
  /** Null if records are left to Node: there is no ring, or Node's OpenSSL cannot be called, or there is no TLS 1.3. */
  readonly #aead: AeadLibrary | null;
  readonly #ringClients = new Set<RingTlsClient>();
  #onEmpty: (() => void) | null = null;

  /**
   * `onFailed` is told of handshakes that went wrong.
   */
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

  /** Clients that begin TLS from now on are given these. */
  renew(credentials: TlsCredentials): void {
    this.#acceptor.renew(credentials);
  }

  /** Both descriptors belong to the terminator from now on. */
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
   * The thread ends before its time, and its ring with it. Node closes its own sockets then; to it the descriptors of the others are
   * but numbers, and both ends would wait for ever.
   */
  abort(): void {
    for (const client of this.#ringClients) client.abort();
  }

  #tellIfEmpty(): void {
    if (this.#plains.size === 0 && this.#ringClients.size === 0) this.#onEmpty?.();
  }

  /** Has sockets of Node's move the bytes of a client, which has already sent `hello`. */
  #takeToSockets({ fd, plainFd, peer }: TlsHandover, hello: Buffer | null): void {
    const raw = new Socket({ fd, readable: true, writable: true });
    if (hello !== null && hello.length > 0) raw.unshift(hello);
    const replies = new Replies();
    // Node 20 takes `onread` here as it does where it connects; its types say so of the latter alone.
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
    // The server says nothing before the client does: until then there is only its end to wait for.
    plain.once('end', giveUp).once('close', giveUp).resume();
  }

  /** Resolves when all clients are gone. No other may be taken any more, and the server must have closed its ends, or be about to. */
  async close(): Promise<void> {
    if (this.#plains.size === 0 && this.#ringClients.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }

  /** Gives a client that takes nothing up some time after the server has: that the server has shows only behind all that it sent. */
  #watch(tls: TLSSocket, plain: Socket, plainFd: number): void {
    let timer = setInterval(() => {
      if (!plain.destroyed && !this.#sys.sockets.isPeerGone(plainFd)) return;
      clearInterval(timer);
      timer = setTimeout(() => tls.destroy(), this.#lingerMs);
    }, probeMs);
    tls.once('close', () => clearInterval(timer));
  }
}

/** Moves bytes both ways until both sides have ended. */
function connect(tls: TLSSocket, plain: Socket, replies: Replies): void {
  let isEnding = false;
  // The server closes both directions at once: what the client still sends is read and thrown away, or closing would reset it.
  const end = (): void => {
    if (isEnding) return;
    isEnding = true;
    tls.unpipe(plain);
    tls.resume();
    tls.end(() => tls.destroy());
  };
  // Node says what is wrong with a record, and goes on. In a turn of its own: the alert is sent first.
  tls.on('error', () => setImmediate(() => tls.destroy()));
  tls.once('close', () => plain.destroy());
  plain.once('end', end).once('close', end);
  // A write for each record, of 16 KiB at most: to gather them took half as much processor time again.
  tls.pipe(plain);
  replies.sendTo(tls, plain);
}

/** Most that is taken from the server at a time, in bytes: what it sends in one go. */
const replyBytes = 256 * 1024;

/** Most of them that are with the client's socket at a time. Another one is ready to be filled. */
const mostOut = 2;

/** What comes from the server, on its way to the client: while some of it is being encrypted and sent, more is read. */
class Replies {
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  #out = 0;
  #tls: TLSSocket | null = null;
  #plain: Socket | null = null;

  /** For the server's socket: what it reads into, and who is told. */
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

  /** From now on what comes goes to the client. */
  sendTo(tls: TLSSocket, plain: Socket): void {
    this.#tls = tls;
    this.#plain = plain;
  }
}

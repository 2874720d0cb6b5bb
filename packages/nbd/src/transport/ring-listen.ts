import { fchmodSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { lookup } from 'node:dns/promises';
import { Status } from '@raidkit/bdev';
import { RingOp, SocketFamily, SocketOption, readSocketAddress, socketAddressBytes } from '@raidkit/sys';
import type { RingOwner, SocketAddress } from '@raidkit/sys';
import { NbdError } from '../errors.js';
import { addressText, backlog, freeUnixPath, keepAliveMs } from './listen.js';
import type { Listening, NbdAddress } from './listen.js';
import { RingTransport, growSendBuffer } from './ring-transport.js';
import type { RingTransportHost } from './ring-transport.js';

const acceptTag = 0;
const cancelTag = 1;
/** Milliseconds after which accepting is tried again if descriptors or memory have run out. */
const retryMs = 100;
const { EMFILE, ENFILE, ENOBUFS, ENOMEM } = constants.errno;
const EMFILE_AND_KIN = new Set([ENOMEM, ENFILE, EMFILE, ENOBUFS]);

/** Called for each client that connects; `peer` is its address, for log lines and lists. */
export type OnRingClient = (transport: RingTransport, peer: string) => void;

/** Does the same as `listen`, but the ring accepts the clients and moves their bytes. */
export async function listenOnRing(
  host: RingTransportHost,
  address: NbdAddress,
  onClient: OnRingClient,
  onError: (error: Error) => void,
): Promise<Listening> {
  const where = await resolve(address);
  if ('path' in where) await freeUnixPath(where.path);
  const { sockets } = host.sys;
  const fd = check(
    address,
    sockets.socket('path' in where ? SocketFamily.UNIX : where.family === 'IPv4' ? SocketFamily.INET : SocketFamily.INET6),
  );
  try {
    if (!('path' in where)) {
      sockets.setOption(fd, SocketOption.REUSE_ADDRESS, 1);
      // Node's servers accept IPv4 clients on `::` too.
      if (where.family === 'IPv6') sockets.setOption(fd, SocketOption.IPV6_ONLY, 0);
    }
    // The file gets the mode of the descriptor, so it never has another one.
    if ('path' in where) fchmodSync(fd, 0o600);
    check(address, sockets.bind(fd, where));
    check(address, sockets.listen(fd, backlog));
    const bound = sockets.addressOf(fd);
    const actual =
      'unix' in address || typeof bound === 'number' || 'path' in bound ? address : { host: address.host, port: bound.port };
    return new RingListening(host, fd, actual, onClient, onError);
  } catch (error) {
    host.sys.close(fd);
    throw error;
  }
}

class RingListening implements Listening, RingOwner {
  readonly address: NbdAddress;
  readonly #host: RingTransportHost;
  readonly #fd: number;
  readonly #owner: number;
  readonly #onClient: OnRingClient;
  readonly #onError: (error: Error) => void;
  /** The peer's address, followed by the length of the space for it. */
  readonly #peer = Buffer.from(new ArrayBuffer(socketAddressBytes + 4));
  readonly #peerAddr: number;
  #isAccepting = false;
  #isCancelling = false;
  #isClosed = false;

  constructor(
    host: RingTransportHost,
    fd: number,
    address: NbdAddress,
    onClient: OnRingClient,
    onError: (error: Error) => void,
  ) {
    this.#host = host;
    this.#fd = fd;
    this.address = address;
    this.#onClient = onClient;
    this.#onError = onError;
    this.#owner = host.ring.addOwner(this, true);
    this.#peerAddr = host.sys.addressOf(this.#peer);
    this.#accept();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if ('unix' in this.address) rmSync(this.address.unix, { force: true });
    if (this.#isAccepting) {
      this.#isCancelling = true;
      this.#host.ring.cancel(this.#owner, acceptTag, this.#owner, cancelTag);
    } else this.#closeIfIdle();
  }

  onCompletion(tag: number, result: number): void {
    if (tag === cancelTag) {
      this.#isCancelling = false;
      this.#closeIfIdle();
      return;
    }
    this.#isAccepting = false;
    if (this.#isClosed) {
      if (result >= 0) this.#host.sys.close(result);
      this.#closeIfIdle();
      return;
    }
    if (result >= 0) {
      this.#begin(result);
    } else if (EMFILE_AND_KIN.has(-result)) {
      this.#onError(Object.assign(new Error(`a client cannot be accepted: errno ${-result}`), { errno: result }));
      this.#host.runtime.setTimer(() => this.#accept(), retryMs);
      return;
    }
    this.#accept();
  }

  #begin(fd: number): void {
    const { sys } = this.#host;
    // A client that has already disconnected is dropped here, where it costs little; later it would delay clients of the same
    // thread.
    if (sys.sockets.hasEnded(fd)) {
      sys.close(fd);
      return;
    }
    const peer = this.#peerText();
    this.#prepareSocket(fd);
    this.#onClient(new RingTransport(this.#host, fd), peer);
  }

  #accept(): void {
    if (this.#isClosed) return;
    this.#isAccepting = true;
    this.#peer.writeUInt32LE(socketAddressBytes, socketAddressBytes);
    const { ring } = this.#host;
    ring.prepare(
      RingOp.ACCEPT,
      this.#fd,
      this.#peerAddr + socketAddressBytes,
      this.#peerAddr,
      0,
      0o2000000,
      this.#owner,
      acceptTag,
    );
  }

  #peerText(): string {
    if ('unix' in this.address) return 'unix';
    const peer = readSocketAddress(this.#peer);
    return 'path' in peer ? 'unix' : `${peer.address} port ${peer.port}`;
  }

  #prepareSocket(fd: number): void {
    const { sys } = this.#host;
    const { sockets } = sys;
    growSendBuffer(sys, fd);
    if ('unix' in this.address) return;
    sockets.setOption(fd, SocketOption.TCP_NO_DELAY, 1);
    sockets.setOption(fd, SocketOption.KEEP_ALIVE, 1);
    sockets.setOption(fd, SocketOption.TCP_KEEP_IDLE, keepAliveMs / 1000);
  }

  #closeIfIdle(): void {
    if (this.#isAccepting || this.#isCancelling) return;
    this.#host.sys.close(this.#fd);
    this.#host.ring.removeOwner(this.#owner);
  }
}

async function resolve(address: NbdAddress): Promise<SocketAddress> {
  if ('unix' in address) return { path: address.unix };
  try {
    const found = await lookup(address.host);
    return { family: found.family === 6 ? 'IPv6' : 'IPv4', address: found.address, port: address.port };
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    throw new NbdError(
      'ERR_NBD_ADDRESS',
      Status.Invalid,
      `cannot listen on ${addressText(address)}: ${code || String(cause)}`,
      { cause },
    );
  }
}

function check(address: NbdAddress, result: number): number {
  if (result >= 0) return result;
  throw new NbdError('ERR_NBD_ADDRESS', -result, `cannot listen on ${addressText(address)}: errno ${-result}`);
}

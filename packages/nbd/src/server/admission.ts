import { QuotaShare } from '../transmission/server-quota.js';

/** Where a client comes from, and what all clients from there have together. */
export interface ClientOrigin {
  /** Clients of a Unix socket have one, and each network address one of its own. */
  readonly key: string;
  readonly isLocal: boolean;
  /** Shares of the server's memory. */
  readonly shares: readonly QuotaShare[];
  /** Clients that are still choosing their export. */
  handshakes: number;
  /** Clients that have one. */
  connections: number;
}

/** Limits of an {@link Admission}. */
export interface AdmissionLimits {
  /** Clients that have chosen their export. */
  maxConnections: number;
  /** Those of one network address. */
  maxConnectionsPerPeer: number;
  /** Bytes of memory that all clients have in common. */
  commonBytes: number;
}

/** The part of the connections and the memory that is kept for clients of Unix sockets. */
const localPart = 1 / 8;
/** The part of the memory that clients of one network address may have together. */
const peerPart = 1 / 2;

/**
 * Who is let in. Clients of Unix sockets have passed the file's permissions; others may come from anywhere. So one network
 * address gets only a part of the places and of the memory, and all of them together leave some for Unix sockets.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #origins = new Map<string, ClientOrigin>();
  readonly #remote: QuotaShare;
  readonly #maxRemote: number;
  #remoteConnections = 0;
  #connections = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#maxRemote = limits.maxConnections - Math.floor(limits.maxConnections * localPart);
    this.#remote = new QuotaShare(Math.floor(limits.commonBytes * (1 - localPart)));
  }

  /** Where the client comes from that the transport calls `peer`: `unix`, or an address and perhaps ` port ` and a number. */
  originOf(peer: string): ClientOrigin {
    const key = originKey(peer);
    const known = this.#origins.get(key);
    if (known !== undefined) return known;
    const isLocal = key === 'unix';
    const share = new QuotaShare(Math.floor(this.#limits.commonBytes * peerPart));
    return { key, isLocal, shares: isLocal ? [] : [this.#remote, share], handshakes: 0, connections: 0 };
  }

  /** Why there is no place for another client from there; null if there is one. */
  refusal({ isLocal, connections }: ClientOrigin): string | null {
    const { maxConnections, maxConnectionsPerPeer } = this.#limits;
    if (this.#connections >= maxConnections) return `there are ${this.#connections} connections`;
    if (isLocal) return null;
    if (connections >= maxConnectionsPerPeer) return `there are ${connections} connections from its address`;
    if (this.#remoteConnections >= this.#maxRemote) return `there are ${this.#remoteConnections} connections over the network`;
    return null;
  }

  beginHandshake(origin: ClientOrigin): void {
    this.#origins.set(origin.key, origin);
    origin.handshakes++;
  }

  endHandshake(origin: ClientOrigin): void {
    origin.handshakes--;
    this.#forgetIfGone(origin);
  }

  enter(origin: ClientOrigin): void {
    origin.connections++;
    this.#connections++;
    if (!origin.isLocal) this.#remoteConnections++;
  }

  leave(origin: ClientOrigin): void {
    origin.connections--;
    this.#connections--;
    if (!origin.isLocal) this.#remoteConnections--;
    this.#forgetIfGone(origin);
  }

  #forgetIfGone(origin: ClientOrigin): void {
    if (origin.handshakes === 0 && origin.connections === 0) this.#origins.delete(origin.key);
  }
}

/** Addresses of one IPv6 network of 64 bits count as one: a client that has one of them has all. */
function originKey(peer: string): string {
  const address = (peer.split(' port ')[0] ?? peer).replace(/^::ffff:(?=\d+\.)/, '');
  if (!address.includes(':')) return address;
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const behind = tail === '' ? [] : tail.split(':');
    while (groups.length + behind.length < 8) groups.push('0');
    groups.push(...behind);
  }
  return `${groups.slice(0, 4).join(':')}::/64`;
}

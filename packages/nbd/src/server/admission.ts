import { QuotaShare } from '../transmission/server-quota.js';

/** The place that clients come from, and the limits that they share. */
export interface ClientOrigin {
  /** `unix` for all clients of Unix sockets; otherwise a network address, or an IPv6 network of 64 bits. */
  readonly key: string;
  readonly isLocal: boolean;
  /** Shares of the server's buffer memory that limit these clients together; none for Unix sockets. */
  readonly shares: readonly QuotaShare[];
  /** Number of clients in their handshake. */
  handshakes: number;
  /** Number of clients in the transmission phase. */
  connections: number;
}

/** Limits of an {@link Admission}. */
export interface AdmissionLimits {
  /** Clients in the transmission phase, of all origins. */
  maxConnections: number;
  /** Clients in the transmission phase from one network address. */
  maxConnectionsPerPeer: number;
  /** Buffer memory above the guaranteed shares of connections, which all clients share. Bytes. */
  commonBytes: number;
}

/** Fraction of the connections and of the memory that is reserved for clients of Unix sockets. */
const localPart = 1 / 8;
/** Fraction of the memory that the clients of one network address may hold together. */
const peerPart = 1 / 2;

/**
 * Decides which clients are admitted. A client of a Unix socket has passed the permissions of the socket's file; a network
 * client may come from anywhere. So each network address has a limit on connections and memory, and all network clients
 * together leave some for Unix sockets.
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

  /**
   * Returns the origin of a client. `peer` is the transport's name for it: `unix`, or an address that ` port ` and a number may
   * follow.
   */
  originOf(peer: string): ClientOrigin {
    const key = originKey(peer);
    const known = this.#origins.get(key);
    if (known !== undefined) return known;
    const isLocal = key === 'unix';
    const share = new QuotaShare(Math.floor(this.#limits.commonBytes * peerPart));
    return { key, isLocal, shares: isLocal ? [] : [this.#remote, share], handshakes: 0, connections: 0 };
  }

  /** Number of clients in the transmission phase, of all origins. */
  get connections(): number {
    return this.#connections;
  }

  /** Returns how many further clients of this origin could enter the transmission phase. */
  room({ isLocal, connections }: ClientOrigin): number {
    const { maxConnections, maxConnectionsPerPeer } = this.#limits;
    const room = maxConnections - this.#connections;
    return isLocal ? room : Math.min(room, maxConnectionsPerPeer - connections, this.#maxRemote - this.#remoteConnections);
  }

  /** Returns why another client of this origin is refused; null if it is not. */
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

/**
 * Returns the key of an origin. All addresses of an IPv6 network of 64 bits have one key, because a client that has one of them
 * can use all.
 */
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

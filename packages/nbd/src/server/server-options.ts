import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import type { PeerServers } from './handoff.js';
import type { NbdExportStats } from './export.js';
import type { AllocationMap } from '../transmission/host.js';
import type { ClientRule } from './rights.js';
import type { TlsCredentials, TlsMode } from '../tls/credentials.js';
import type { NbdAddress } from '../transport/listen.js';

/** Options of an `NbdServer`. All but the registry have defaults. */
export interface NbdServerOptions {
  registry: BdevRegistry;
  /** Number of clients that may use exports at a time; further ones are refused. Default 256. */
  maxConnections?: number;
  /**
   * Number of these that one network address, or one IPv6 network of 64 bits, may have. Does not apply to Unix sockets.
   * Default: half of `maxConnections`.
   */
  maxConnectionsPerPeer?: number;
  /** Requests in flight on one connection; pieces of large requests count. Default 256. */
  maxRequestsPerConnection?: number;
  /** Buffer bytes that one connection may hold. Default 64 MiB; at most a quarter of the server's. */
  maxBytesPerConnection?: number;
  /** Requests in flight on all connections. Default 16,384. */
  maxRequests?: number;
  /**
   * Buffer bytes that all connections may hold. Default 512 MiB; at most half of the registry's buffers, since volumes need
   * some too.
   */
  maxBytes?: number;
  /** Milliseconds from connecting to the end of the handshake. Default 10,000. */
  handshakeTimeoutMs?: number;
  /** Number of options that a client may send in its handshake. Default 1,024. */
  maxOptions?: number;
  /**
   * A client that has to act next, and moves less than 8 KiB per second for this many milliseconds, is dropped when others wait
   * for memory. If it holds more than its fair share of memory, a fifth of the time is enough. Default 10,000.
   */
  stallTimeoutMs?: number;
  /** A client that has nothing in flight and sends nothing for this many milliseconds is dropped; 0 means never. Default 0. */
  idleTimeoutMs?: number;
  /** Milliseconds that a closing connection has to receive its last replies. Default 5,000. */
  closeTimeoutMs?: number;
  /** Offers TLS on every listener, and refuses clients without it if `isRequired`. Default: no TLS. */
  tls?: { isRequired: boolean; credentials: TlsCredentials };
}

/** Settings of servers that derive from `NbdServer`. */
export interface ServerVariant {
  readonly peers: PeerServers | null;
  readonly tls: TlsMode;
}

/** What to export, and under which name. */
export interface AddExportOptions {
  /** The export's name: at most 256 bytes of UTF-8, unique in the server. */
  name: string;
  bdev: Bdev | string;
  /** Whether all clients may only read. Default: true if the bdev is read-only or claimed. */
  readOnly?: boolean;
  /** Rules for the clients that may use the export; it is hidden from others. Default: all clients may. */
  clients?: readonly ClientRule[];
  /** A text for people, at most 1,024 bytes of UTF-8. */
  description?: string;
  /** Whether clients that ask for the empty name get this export too. Default false. */
  isDefault?: boolean;
  /**
   * Reports the holes of the export. Default: those that the device reports; if it reports none, everything counts as
   * allocated.
   */
  allocation?: AllocationMap;
}

/** An export as it is listed. */
export interface NbdExportInfo {
  name: string;
  bdev: string;
  description: string;
  isDefault: boolean;
  readOnly: boolean;
  /** Rules for the clients that may use the export; null if all clients may. */
  clients: readonly ClientRule[] | null;
  sizeBytes: number;
  connections: number;
  stats: NbdExportStats;
}

/** A client that uses an export, as it is listed. */
export interface NbdClientInfo {
  exportName: string;
  /** The client's address. */
  peer: string;
  /** The listener that it connected to: `unix:PATH` or `tcp:HOST:PORT`. */
  listener: string;
  /** The user whose key the client has proved to have; null if it has proved none. */
  tlsUser: string | null;
  /** The subject of the certificate that the client has proved to have; null if it has proved none. */
  certificate: string | null;
  readOnly: boolean;
  /** Seconds since the client connected. */
  seconds: number;
  /** Number of requests, and pieces of large ones, in flight. */
  requests: number;
  /** Bytes of buffers that the requests hold. */
  bytes: number;
}

/** A socket that accepts clients. */
export interface NbdListener {
  readonly address: NbdAddress;
  /** Returns the URI of an export on this listener, for clients. */
  uri(exportName: string): string;
  /** Accepts no further clients; connected ones stay. Idempotent. */
  close(): void;
}

import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import type { PeerServers } from './handoff.js';
import type { AllocationMap, NbdExportStats } from './export.js';
import type { ClientRule } from './rights.js';
import type { TlsMode } from '../handshake/handshake.js';
import type { TlsCredentials } from '../tls/credentials.js';
import type { NbdAddress } from '../transport/listen.js';

/** Options of an `NbdServer`. All but the registry have defaults. */
export interface NbdServerOptions {
  registry: BdevRegistry;
  /** Clients at a time; further ones are turned away. Default 256. */
  maxConnections?: number;
  /** How many of these one network address may have, or one IPv6 network of 64 bits. Unix sockets have no limit. Default: half. */
  maxConnectionsPerPeer?: number;
  /** Requests of one connection that are not answered yet. Default 256. */
  maxRequestsPerConnection?: number;
  /** Buffer bytes of one connection. Default 64 MiB, and never more than a quarter of the server's. */
  maxBytesPerConnection?: number;
  /** Requests of all connections. Default 16,384. */
  maxRequests?: number;
  /** Buffer bytes of all connections. Default 512 MiB, and never more than half of the registry's buffers: volumes need some too. */
  maxBytes?: number;
  /** Milliseconds from connecting to choosing an export. Default 10,000. */
  handshakeTimeoutMs?: number;
  /** Options that a client may send before it chooses an export. Default 1,024. */
  maxOptions?: number;
  /**
   * A client whose next step it is, and that moves less than 8 KiB in a second for this long, is dropped when others wait for
   * memory; after a fifth of it if it holds more than its fair part. Milliseconds, default 10,000.
   */
  stallTimeoutMs?: number;
  /** A client with nothing in flight that is silent for this long is dropped. Milliseconds; 0, the default, for never. */
  idleTimeoutMs?: number;
  /** How long a closing connection may take to fetch its last replies. Milliseconds, default 5,000. */
  closeTimeoutMs?: number;
  /** Clients can use TLS, or must if it is required, on every listener. Default: there is none. */
  tls?: { isRequired: boolean; credentials: TlsCredentials };
}

/** For servers that are made from this one: what they do otherwise. */
export interface ServerVariant {
  readonly peers: PeerServers | null;
  readonly tls: TlsMode;
}

/** What to export, and how. */
export interface AddExportOptions {
  /** What clients ask for: at most 256 bytes, unique in the server. */
  name: string;
  bdev: Bdev | string;
  /** Default: true if the bdev is read-only or claimed. */
  readOnly?: boolean;
  /** Who may use it; others do not learn that it is there. Default: all clients of the server. */
  clients?: readonly ClientRule[];
  /** For people, at most 1,024 bytes. */
  description?: string;
  /** Also what clients get that ask for the empty name. Default false. */
  isDefault?: boolean;
  /** Where the export has holes. Default: what the device knows of itself, else it is allocated throughout. */
  allocation?: AllocationMap;
}

/** An export as it is shown. */
export interface NbdExportInfo {
  name: string;
  bdev: string;
  description: string;
  isDefault: boolean;
  readOnly: boolean;
  /** Null for all clients. */
  clients: readonly ClientRule[] | null;
  sizeBytes: number;
  connections: number;
  stats: NbdExportStats;
}

/** A client that uses an export, as it is shown. */
export interface NbdClientInfo {
  exportName: string;
  /** For people: where it is. */
  peer: string;
  /** By which it came in: `unix:PATH` or `tcp:HOST:PORT`. */
  listener: string;
  /** The user whose key it has proved to have; null for none. */
  tlsUser: string | null;
  /** The subject of the certificate that it has proved to have; null for none. */
  certificate: string | null;
  readOnly: boolean;
  /** Seconds since it came. */
  seconds: number;
  /** Requests, and pieces of large ones, that are in flight, and bytes of buffers that they hold. */
  requests: number;
  bytes: number;
}

/** A socket that clients can come in by. */
export interface NbdListener {
  readonly address: NbdAddress;
  /** What to tell clients. */
  uri(exportName: string): string;
  /** No further client comes in; those that are in stay. Idempotent. */
  close(): void;
}

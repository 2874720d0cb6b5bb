import type { Handoff } from './connection.js';
import type { ClientRule } from './rights.js';
import type { ListedExport } from '../wire/option-replies.js';

/** A client between two options of its handshake, on its way from one server to another. Plain data: it may go to another thread. */
export interface ConnectionHandoff extends Handoff {
  /** What is left of the time for its handshake. */
  readonly handshakeLeftMs: number;
}

/** The other servers of this process, as one of them sees them. */
export interface PeerServers {
  /** Whether one of them has the export; the empty name is their default export. Only asked for what is not here. */
  has(exportName: string): boolean;
  /** What they export, and who may use it; null for all clients. */
  exports(): readonly (ListedExport & { readonly clients: readonly ClientRule[] | null })[];
  /**
   * Takes a client that asks for one of their exports: its descriptor belongs to the taker from now on, who gives it to
   * `RingNbdServer.adopt` of the right server, or closes it. Called inside the
   * server's own work.
   */
  take(connection: ConnectionHandoff): void;
}

import type { Handoff } from './connection.js';
import type { ClientRule } from './rights.js';
import type { ListedExport } from '../wire/option-replies.js';

/**
 * A client that moves from one server to another between two options of its handshake. Plain data, so that it can be sent to
 * another thread.
 */
export interface ConnectionHandoff extends Handoff {
  /** Milliseconds left for its handshake. */
  readonly handshakeLeftMs: number;
}

/** The other servers of this process, as one server sees them. */
export interface PeerServers {
  /**
   * Returns whether one of them has the export. The empty name means their default export. Called only for exports that this
   * server lacks.
   */
  has(exportName: string): boolean;
  /** Returns their exports and which clients may use each; `clients` is null if all may. */
  exports(): readonly (ListedExport & { readonly clients: readonly ClientRule[] | null })[];
  /**
   * Takes over a client that asks for one of their exports. The callee owns the descriptor: it passes the client to
   * `RingNbdServer.adopt` of the right server, or closes the descriptor. Called from inside the server, into which it must not
   * call back.
   */
  take(connection: ConnectionHandoff): void;
}

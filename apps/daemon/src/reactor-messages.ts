import type { NbdListener, ConnectionHandoff, TlsCredentials } from '@raidkit/nbd';
import type { ServiceOptions } from './compose.js';
import type { NbdLimits, NbdTls } from './daemon.js';
import type { EventReport } from './events/event.js';
import type { Change, MovedDevice, SharedExport } from './shared-state.js';
import type { RefusalData } from './rpc/errors.js';

/** What a reactor's thread is started with. */
export interface ReactorData {
  service: ServiceOptions;
  memoryBytes: number;
  spinMicroseconds: number;
  nbdLimits: NbdLimits;
  tls: NbdTls | null;
  logLevel: string;
  /** Moves as long as the reactor does; shared. */
  beat: Int32Array;
  /** Which of how many reactors it is, and the names that they share; null for the only one. */
  share: { index: number; count: number; names: Int32Array } | null;
}

/** What the router asks a service, besides calls. */
export type Question =
  /** Which of these devices cannot move to another reactor, and why? Answered with a {@link Fixed}. */
  | { ask: 'fixed'; names: readonly string[] }
  /** Close the device, so that it can be opened elsewhere. Answered with a {@link MovedDevice}. */
  | { ask: 'release'; name: string }
  /** Open a device that another reactor has released. */
  | { ask: 'adopt'; device: MovedDevice }
  /** Refuse what the call would be refused for whatever is there; do nothing. */
  | { ask: 'check'; method: string; params: unknown }
  /** NBD clients come in at these addresses of the first reactor. */
  | { ask: 'listening'; addresses: readonly NbdListener['address'][] }
  /** Block devices have come, gone or changed: look at those that are open. */
  | { ask: 'lookAtDevices' }
  /** Nothing: what was sent before has arrived. */
  | { ask: 'nothing' };

/** Devices that cannot move, by name, with the reason and the errno that says so. */
export type Fixed = Record<string, { reason: string; errno: number }>;

/** From the main thread to a reactor's. */
export type ToReactor =
  | { type: 'call'; id: number; name: string; params: unknown; hasDuplicateKey: boolean }
  | { type: 'question'; id: number; question: Question }
  /** An NBD client that another reactor has let go of asks for an export here. */
  | { type: 'client'; connection: ConnectionHandoff }
  /** All exports of the other reactors. */
  | { type: 'exports'; exports: readonly SharedExport[] }
  /** For NBD clients that begin TLS from now on. */
  | { type: 'renewTls'; credentials: TlsCredentials }
  | { type: 'stop' };

/** From a reactor's thread to the main thread. */
export type FromReactor =
  /** There can be no reactor here. The thread ends. */
  | { type: 'unavailable'; reason: string }
  /** The service can be called. */
  | { type: 'composed'; addresses: readonly NbdListener['address'][] }
  | { type: 'result'; id: number; result: unknown }
  /** A call or question was refused: what is in an `RpcError`. */
  | { type: 'refusal'; id: number; code: number; message: string; data: RefusalData }
  | { type: 'change'; change: Change }
  | { type: 'event'; report: EventReport }
  /** An NBD client asks for an export of another reactor. */
  | { type: 'client'; connection: ConnectionHandoff }
  /** Block devices have come, gone or changed. */
  | { type: 'devices' }
  | { type: 'logLevel'; level: string }
  /** Something of the way up or down failed. */
  | { type: 'failed'; message: string }
  | { type: 'stopRequested' }
  | { type: 'stopped' };

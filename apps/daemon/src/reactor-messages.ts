import type { NbdListener, ConnectionHandoff, TlsCredentials } from '@raidkit/nbd';
import type { ServiceOptions } from './compose.js';
import type { NbdLimits, NbdTls } from './daemon.js';
import type { EventReport } from './events/event.js';
import type { Change, MovedDevice, SharedExport } from './shared-state.js';
import type { RefusalData } from './rpc/errors.js';

/** Start data of a reactor's thread. */
export interface ReactorData {
  service: ServiceOptions;
  memoryBytes: number;
  spinMicroseconds: number;
  nbdLimits: NbdLimits;
  tls: NbdTls | null;
  logLevel: string;
  /** Counter in shared memory that increases as long as the reactor runs. */
  beat: Int32Array;
  /** Index and number of reactors, and their shared table of names; null if it is the only one. */
  share: { index: number; count: number; names: Int32Array } | null;
}

/** Requests of the router to a service, besides calls. */
export type Question =
  /** Which of these devices cannot move to another reactor, and why? Answered with {@link Fixed}. */
  | { ask: 'fixed'; names: readonly string[] }
  /** Close the device so that it can be opened elsewhere. Answered with a {@link MovedDevice}. */
  | { ask: 'release'; name: string }
  /** Open a device that another reactor has released. */
  | { ask: 'adopt'; device: MovedDevice }
  /** Refuse the call if it would be refused whatever exists; do nothing else. */
  | { ask: 'check'; method: string; params: unknown }
  /** NBD clients connect at these addresses of the first reactor. */
  | { ask: 'listening'; addresses: readonly NbdListener['address'][] }
  /** Block devices have come, gone or changed: check those that are open. */
  | { ask: 'lookAtDevices' }
  /** Do nothing. The answer proves that what was sent before has arrived. */
  | { ask: 'nothing' };

/** Devices that cannot move, by name, with the reason and an errno for it. */
export type Fixed = Record<string, { reason: string; errno: number }>;

/** Messages from the main thread to a reactor's thread. */
export type ToReactor =
  | { type: 'call'; id: number; name: string; params: unknown; hasDuplicateKey: boolean }
  | { type: 'question'; id: number; question: Question }
  /** An NBD client that another reactor hands over asks for an export here. */
  | { type: 'client'; connection: ConnectionHandoff }
  /** All exports of the other reactors. */
  | { type: 'exports'; exports: readonly SharedExport[] }
  /** Credentials for NBD clients that begin TLS from now on. */
  | { type: 'renewTls'; credentials: TlsCredentials }
  | { type: 'stop' };

/** Messages from a reactor's thread to the main thread. */
export type FromReactor =
  /** Reactors are not available here. The thread ends. */
  | { type: 'unavailable'; reason: string }
  /** The service is ready for calls. */
  | { type: 'composed'; addresses: readonly NbdListener['address'][] }
  | { type: 'result'; id: number; result: unknown }
  /** A call or question was refused, with the fields of an `RpcError`. */
  | { type: 'refusal'; id: number; code: number; message: string; data: RefusalData }
  | { type: 'change'; change: Change }
  | { type: 'event'; report: EventReport }
  /** An NBD client asks for an export of another reactor. */
  | { type: 'client'; connection: ConnectionHandoff }
  /** Block devices have come, gone or changed. */
  | { type: 'devices' }
  | { type: 'logLevel'; level: string }
  /** Starting or stopping failed. */
  | { type: 'failed'; message: string }
  | { type: 'stopRequested' }
  | { type: 'stopped' };

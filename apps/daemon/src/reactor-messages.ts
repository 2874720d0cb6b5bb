import type { PlaneOptions } from './compose.js';
import type { NbdLimits } from './daemon.js';
import type { DemoPlaces } from './demo.js';

/** What the reactor's thread is started with. */
export interface ReactorData {
  plane: PlaneOptions;
  memoryBytes: number;
  spinMicroseconds: number;
  nbdLimits: NbdLimits;
  logLevel: string;
  /** Places of the demonstration, if it was asked for. */
  demo: DemoPlaces | null;
  /** Moves as long as the reactor does; shared. */
  beat: Int32Array;
}

/** From the main thread to the reactor's. */
export type ToReactor =
  | { type: 'call'; id: number; name: string; params: unknown; hasDuplicateKey: boolean }
  | { type: 'begin' }
  | { type: 'stop' };

/** From the reactor's thread to the main thread. */
export type FromReactor =
  /** There can be no reactor here. The thread ends. */
  | { type: 'unavailable'; reason: string }
  /** The plane can be called; it waits for `begin`. */
  | { type: 'composed' }
  | { type: 'result'; id: number; result: unknown }
  /** A call was refused: an `RpcError`'s code and message. */
  | { type: 'refusal'; id: number; code: number; message: string }
  | { type: 'logLevel'; level: string }
  | { type: 'begun'; demoText: string }
  /** Something of the way up or down failed. */
  | { type: 'failed'; message: string }
  | { type: 'stopRequested' }
  | { type: 'stopped' };

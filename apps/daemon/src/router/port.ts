import type { SharedExport } from '../shared-state.js';
import type { Question } from '../reactor-messages.js';
import type { Caller } from '../rpc/dispatcher.js';

/** A reactor, as the router sees it. */
export interface Port extends Caller {
  readonly isStuck: boolean;
  /** Returns the error for calls while it is stuck. */
  stuckError(): Error;
  ask(question: Question): Promise<unknown>;
  /** Sends what the other reactors export; it arrives even if the reactor is stuck for now. */
  tellExports(exports: readonly SharedExport[]): void;
}

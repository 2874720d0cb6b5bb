import type { SharedExport } from '../shared-state.js';
import type { Question } from '../reactor-messages.js';
import type { Caller } from '../rpc/dispatcher.js';

/** A reactor, as the router sees it. */
export interface Port extends Caller {
  readonly isStuck: boolean;
  /** What a call is refused with while it is. */
  stuckError(): Error;
  ask(question: Question): Promise<unknown>;
  /** What the other reactors export; it gets there even if the reactor is stuck for now. */
  tellExports(exports: readonly SharedExport[]): void;
}

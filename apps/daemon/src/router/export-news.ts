import type { Caller } from '../rpc/dispatcher.js';
import type { Directory } from './directory.js';
import type { Port } from './port.js';

/** Tells reactors what the others export, so that a client who is told of an export finds it wherever it comes in. */
export class ExportNews {
  readonly #ports: readonly Port[];
  readonly #directory: Directory;
  /** What the first reactor, where clients come in, has not confirmed yet. */
  #onItsWay: Promise<unknown> | null = null;

  /** `ports` may be filled later. */
  constructor(ports: readonly Port[], directory: Directory) {
    this.#ports = ports;
    this.#directory = directory;
  }

  /** This reactor's exports have changed. */
  spread(from: number): void {
    for (const [reactor, port] of this.#ports.entries()) {
      if (reactor === from) continue;
      port.tellExports(this.#directory.exportsBeside(reactor));
      // A reactor that is stuck serves no clients either.
      if (reactor === 0) this.#waitFor(port.ask({ ask: 'nothing' }).catch(() => undefined));
    }
  }

  /** Answers as `caller` does, once the news that came before the answer has arrived. */
  before(caller: Caller): Caller {
    return {
      call: async (name, params, hasDuplicateKey) => {
        try {
          return await caller.call(name, params, hasDuplicateKey);
        } finally {
          if (this.#onItsWay !== null) await this.#onItsWay;
        }
      },
    };
  }

  #waitFor(told: Promise<unknown>): void {
    this.#onItsWay = told;
    void told.then(() => {
      if (this.#onItsWay === told) this.#onItsWay = null;
    });
  }
}

import type { Caller } from '../rpc/dispatcher.js';
import type { Directory } from './directory.js';
import type { Port } from './port.js';

/**
 * Tells reactors what the others export, so that a client who learns of an export finds it on whichever reactor it connects to.
 */
export class ExportNews {
  readonly #ports: readonly Port[];
  readonly #directory: Directory;
  /** News that the first reactor, where clients connect, has not confirmed yet. */
  #onItsWay: Promise<unknown> | null = null;

  /** The list `ports` may be filled later. */
  constructor(ports: readonly Port[], directory: Directory) {
    this.#ports = ports;
    this.#directory = directory;
  }

  /** Sends the exports of all others to each reactor, after a change in reactor `from`. */
  spread(from: number): void {
    for (const [reactor, port] of this.#ports.entries()) {
      if (reactor === from) continue;
      port.tellExports(this.#directory.exportsBeside(reactor));
      // A stuck reactor serves no clients either.
      if (reactor === 0) this.#waitFor(port.ask({ ask: 'nothing' }).catch(() => undefined));
    }
  }

  /** Returns a caller whose answers are held until the news that preceded them has arrived. */
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

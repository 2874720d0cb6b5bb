import type { Logger } from 'pino';
import { Dispatcher } from './dispatcher.js';
import type { Caller, RpcMethod } from './dispatcher.js';
import { withMethods } from './open-rpc.js';
import type { OpenRpcDocument } from './open-rpc.js';

/** Answers some methods itself, independently of the data path, and passes all others on. */
export class OwnCalls implements Caller {
  readonly #inner: Caller;
  readonly #own: Dispatcher;
  readonly #names: ReadonlySet<string>;

  constructor(inner: Caller, methods: readonly RpcMethod[], log: Logger) {
    this.#inner = inner;
    this.#own = new Dispatcher(log);
    this.#own.state = 'runtime';
    this.#own.register(methods);
    this.#names = new Set(methods.map(({ name }) => name));
  }

  async call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    if (this.#names.has(name)) return this.#own.call(name, params, hasDuplicateKey);
    const answer = await this.#inner.call(name, params, hasDuplicateKey);
    if (name === 'rpc.discover') return withMethods(answer as OpenRpcDocument, this.#own.list());
    return name === 'rpc_get_methods' ? [...(answer as string[]), ...this.#names] : answer;
  }
}

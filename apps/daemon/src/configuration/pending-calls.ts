import type { Logger } from 'pino';
import type { Caller } from '../rpc/dispatcher.js';
import { RpcCode, toRpcError } from '../rpc/errors.js';
import type { RpcError } from '../rpc/errors.js';
import { baseOf, keyOf } from './call-keys.js';
import type { ConfigCall } from './config-file.js';

interface Pending {
  readonly call: ConfigCall;
  error: RpcError;
  tries: number;
  /** When it first failed, in milliseconds since 1970. */
  readonly since: number;
}

/** Calls of the configuration that have failed or whose devices have disappeared; they are retried until they succeed. */
export class PendingCalls {
  readonly #caller: Caller;
  readonly #log: Logger;
  readonly #pending = new Map<string, Pending>();
  /** Keys that are being deleted, with the number of calls that delete each. */
  readonly #held = new Map<string, number>();
  /** The retry in progress. */
  #trying: { readonly key: string; readonly ended: Promise<boolean> } | null = null;
  #isEnded = false;

  constructor(caller: Caller, log: Logger) {
    this.#caller = caller;
    this.#log = log;
  }

  get isEmpty(): boolean {
    return this.#pending.size === 0;
  }

  has(key: string): boolean {
    return this.#pending.has(key);
  }

  get(key: string): ConfigCall | undefined {
    return this.#pending.get(key)?.call;
  }

  add(call: ConfigCall, error: RpcError): void {
    const { method, params } = call;
    this.#pending.set(keyOf(call), {
      call: params === undefined ? { method } : { method, params },
      error,
      tries: 1,
      since: Date.now(),
    });
    const what = canSucceed(error)
      ? 'it is kept, and tried again'
      : 'it is kept, but not tried again, because it cannot succeed';
    const message = `a call of the configuration has no effect: ${error.data.reason}; ${what}`;
    const fields = { call: method, params, code: error.code };
    // A device on top of another one appears with it, sooner or later.
    if (baseOf(call) !== null && error.code === -19) this.#log.info(fields, message);
    else this.#log.error(fields, message);
  }

  delete(key: string): void {
    if (this.#pending.delete(key)) this.#log.debug({ key }, 'a call of the configuration is no longer pending');
  }

  /** Suspends retries of these keys until the returned function is called. */
  hold(keys: readonly string[]): () => void {
    for (const key of keys) this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    return () => {
      for (const key of keys) {
        const count = (this.#held.get(key) ?? 1) - 1;
        if (count === 0) this.#held.delete(key);
        else this.#held.set(key, count);
      }
    };
  }

  isHeld(key: string): boolean {
    return this.#held.has(key);
  }

  isTrying(key: string): boolean {
    return this.#trying?.key === key;
  }

  /** Resolves when none of these is being tried. */
  async settled(keys: readonly string[]): Promise<void> {
    while (this.#trying !== null && keys.includes(this.#trying.key)) await this.#trying.ended;
  }

  calls(): [string, ConfigCall][] {
    return [...this.#pending].map(([key, { call }]) => [key, call]);
  }

  /** Ends all retries. */
  end(): void {
    this.#isEnded = true;
  }

  /** Retries every pending call once. Resolves with true if one of them succeeded. */
  async tryAll(): Promise<boolean> {
    let haveSome = false;
    for (const [key, pending] of [...this.#pending]) {
      if (this.#isEnded) break;
      if (!canSucceed(pending.error) || this.isHeld(key) || this.#pending.get(key) !== pending) continue;
      const trying = { key, ended: this.#try(key, pending) };
      this.#trying = trying;
      haveSome = (await trying.ended) || haveSome;
      this.#trying = null;
    }
    return haveSome;
  }

  describe(): object[] {
    return [...this.#pending.values()].map(({ call, error, tries, since }) => ({
      ...call,
      code: error.code,
      reason: error.data.reason,
      tries,
      since: new Date(since).toISOString(),
      is_tried_again: canSucceed(error),
    }));
  }

  async #try(key: string, pending: Pending): Promise<boolean> {
    const { method, params } = pending.call;
    try {
      await this.#caller.call(method, params);
    } catch (thrown) {
      const error = toRpcError(thrown);
      if (this.#pending.get(key) !== pending) return false;
      if (await this.#isMoot(pending.call, error)) {
        this.#pending.delete(key);
        this.#log.warn({ call: method, params }, `a call of the configuration is dropped: ${error.data.reason}`);
        return true;
      }
      if (error.data.reason !== pending.error.data.reason) {
        this.#log.warn(
          { call: method, params, code: error.code },
          `a call of the configuration still fails: ${error.data.reason}`,
        );
      }
      pending.error = error;
      pending.tries++;
      return false;
    }
    this.#pending.delete(key);
    this.#log.info(
      { call: method, params, tries: pending.tries + 1 },
      'a call of the configuration that had failed has succeeded',
    );
    return true;
  }

  /** Whether the call is not needed any more: another call has made the same thing, or the spare has become a member. */
  async #isMoot({ method, params = {} }: ConfigCall, { code }: RpcError): Promise<boolean> {
    if (method === 'raidkit_add_spare') return code !== -19;
    if (code !== -17) return false;
    if (method === 'raidkit_nbd_export') return true;
    const list = (await this.#caller.call('bdev_get_bdevs', undefined).catch(() => [])) as { name: string }[];
    const arrays = (await this.#caller.call('bdev_raid_get_bdevs', { category: 'all' }).catch(() => [])) as { name: string }[];
    return [...list, ...arrays].some(({ name }) => name === params.name);
  }
}

/** Whether a retry can succeed; not with bad parameters or an unknown method. */
function canSucceed({ code, data }: RpcError): boolean {
  return (
    code !== RpcCode.MethodNotFound && code !== RpcCode.Parse && code !== RpcCode.InvalidParams && data.field === undefined
  );
}

import type { Logger } from '@raidkit/bdev';
import type { z } from 'zod';
import { describeIssues } from './bad-params.js';
import { RpcCode, RpcError, codeOf, errnoOf, strerror, toRpcError } from './errors.js';

/** In which states of the daemon a method may be called: before its subsystems are up, after, or both. */
export type RpcState = 'startup' | 'runtime';

/** A method, as its file defines it. */
export interface RpcMethod<Schema extends z.ZodType = z.ZodType> {
  name: string;
  /** Another name that old clients use. */
  alias?: string;
  states?: readonly RpcState[];
  /** Null: the method takes no parameters, not even an empty object. */
  params: Schema | null;
  /** The code for parameters that do not fit: SPDK's methods differ in it. */
  badParams?: { code: number; message: string };
  run(params: z.infer<Schema>): Promise<unknown>;
}

/** Makes a method with its parameters' types known to `run`. */
export function method<Schema extends z.ZodType>(definition: RpcMethod<Schema>): RpcMethod {
  return definition;
}

const decodeFailed = 'spdk_json_decode_object failed';

/** A method without parameters, as it is registered with `params: null`. */
export const noParams = { code: RpcCode.InvalidParams, message: 'Invalid parameters' } as const;
/** What most methods answer to parameters that do not fit. */
export const parseFailed = { code: RpcCode.Parse, message: decodeFailed } as const;
/** What others do. */
export const invalidParams = noParams;
/** The same code, with the other words. */
export const invalidDecoded = { code: RpcCode.InvalidParams, message: decodeFailed } as const;
/** And others. */
export const internalFailed = { code: RpcCode.Internal, message: decodeFailed } as const;

/** Where calls go: a dispatcher, or the way to one in another thread. */
export interface Caller {
  /** Runs a call. Rejects with an `RpcError` only. `hasDuplicateKey`: the parameters named something twice. */
  call(name: string, params: unknown, hasDuplicateKey?: boolean): Promise<unknown>;
}

/** The methods, and the way of a call through them. */
export class Dispatcher implements Caller {
  readonly #methods = new Map<string, RpcMethod>();
  readonly #aliases = new Set<string>();
  readonly #log: Logger;
  state: RpcState = 'startup';

  constructor(log: Logger) {
    this.#log = log;
  }

  register(methods: readonly RpcMethod[]): void {
    for (const entry of methods) {
      if (this.#methods.has(entry.name)) throw new Error(`the method ${entry.name} is defined twice`);
      this.#methods.set(entry.name, entry);
      if (entry.alias === undefined) continue;
      this.#methods.set(entry.alias, entry);
      this.#aliases.add(entry.alias);
    }
  }

  /** The methods, each once. */
  list(): RpcMethod[] {
    return [...new Set(this.#methods.values())];
  }

  /** Names of the methods: all, or those that can be called now. */
  names(options: { current: boolean; includeAliases: boolean }): string[] {
    return [...this.#methods]
      .filter(([name]) => options.includeAliases || !this.#aliases.has(name))
      .filter(([, entry]) => !options.current || this.#isAllowed(entry))
      .map(([name]) => name);
  }

  async call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    const { entry, checked } = this.#check(name, params, hasDuplicateKey);
    try {
      return await entry.run(checked);
    } catch (error) {
      throw this.#toRpcError(name, error);
    }
  }

  /** Throws the `RpcError` of a call that is refused whatever there is for it to work on. */
  check(name: string, params: unknown): void {
    this.#check(name, params, false);
  }

  #check(name: string, params: unknown, hasDuplicateKey: boolean): { entry: RpcMethod; checked: unknown } {
    const entry = this.#methods.get(name);
    if (entry === undefined) {
      throw new RpcError(RpcCode.MethodNotFound, 'Method not found', {
        reason: `there is no method ${name}: rpc_get_methods lists those that there are`,
      });
    }
    if (!this.#isAllowed(entry)) {
      const when = this.state === 'startup' ? 'after' : 'before';
      const message = `Method may only be called ${when} framework is initialized using framework_start_init RPC.`;
      throw new RpcError(RpcCode.InvalidState, message);
    }
    return { entry, checked: checkParams(entry, params ?? undefined, hasDuplicateKey) };
  }

  #isAllowed(entry: RpcMethod): boolean {
    return (entry.states ?? ['runtime']).includes(this.state);
  }

  #toRpcError(name: string, error: unknown): RpcError {
    // A fault of ours: the caller is told so, the log has where.
    if (!(error instanceof RpcError) && errnoOf(error) === null)
      this.#log.error({ method: name, err: error }, 'a method failed unexpectedly');
    return toRpcError(error);
  }
}

function checkParams(entry: RpcMethod, params: unknown, hasDuplicateKey: boolean): unknown {
  if (entry.params === null) {
    if (params === undefined) return undefined;
    throw new RpcError(noParams.code, `${entry.name} requires no parameters`);
  }
  const bad = entry.badParams ?? parseFailed;
  if (hasDuplicateKey) throw new RpcError(bad.code, bad.message, { reason: 'a parameter is given twice' });
  const result = entry.params.safeParse(params ?? {});
  if (result.success) return result.data;
  throw new RpcError(bad.code, bad.message, describeIssues(result.error.issues, entry.params, params));
}

/** An errno refusal with SPDK's message, what failed and strerror's text; the reason that the engine gave is in the data. */
export function refused(what: string, error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === null || !(error instanceof Error)) return error;
  return new RpcError(-errno, `${what}: ${strerror(errno)}`, { reason: error.message, ...codeOf(error) });
}

import type { Logger } from '@raidkit/bdev';
import type { z } from 'zod';
import { describeIssues } from './bad-params.js';
import { RpcCode, RpcError, codeOf, errnoOf, strerror, toRpcError } from './errors.js';

/** State of the daemon: `startup` before its subsystems are up, `runtime` after that. */
export type RpcState = 'startup' | 'runtime';

/** Definition of a method. */
export interface RpcMethod<Schema extends z.ZodType = z.ZodType> {
  name: string;
  /** Another name that old clients use. */
  alias?: string;
  states?: readonly RpcState[];
  /** Schema of the parameters. Null: the method takes no parameters, not even an empty object. */
  params: Schema | null;
  /** Error for parameters that do not match; it differs among SPDK's methods. */
  badParams?: { code: number; message: string };
  run(params: z.infer<Schema>): Promise<unknown>;
}

/** Makes a method such that `run` knows the types of its parameters. */
export function method<Schema extends z.ZodType>(definition: RpcMethod<Schema>): RpcMethod {
  return definition;
}

const decodeFailed = 'spdk_json_decode_object failed';

/** Error of a method with `params: null` that is given parameters. */
export const noParams = { code: RpcCode.InvalidParams, message: 'Invalid parameters' } as const;
/** Error of most methods for parameters that do not match. */
export const parseFailed = { code: RpcCode.Parse, message: decodeFailed } as const;
/** Error of other methods. */
export const invalidParams = noParams;
/** The same code, with the other message. */
export const invalidDecoded = { code: RpcCode.InvalidParams, message: decodeFailed } as const;
/** Error of yet other methods. */
export const internalFailed = { code: RpcCode.Internal, message: decodeFailed } as const;

/** Accepts calls: a dispatcher, or a proxy of one in another thread. */
export interface Caller {
  /** Runs a call. Rejects only with an `RpcError`. `hasDuplicateKey`: the parameters contained a key twice. */
  call(name: string, params: unknown, hasDuplicateKey?: boolean): Promise<unknown>;
}

/** Holds the methods, and checks and runs calls. */
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

  /** Returns every method once. */
  list(): RpcMethod[] {
    return [...new Set(this.#methods.values())];
  }

  /** Returns the names of all methods, or of those that can be called now. */
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

  /** Throws an `RpcError` if the call would be refused whatever objects exist. */
  check(name: string, params: unknown): void {
    this.#check(name, params, false);
  }

  #check(name: string, params: unknown, hasDuplicateKey: boolean): { entry: RpcMethod; checked: unknown } {
    const entry = this.#methods.get(name);
    if (entry === undefined) {
      throw new RpcError(RpcCode.MethodNotFound, 'Method not found', {
        reason: `there is no method ${name}: rpc_get_methods lists the methods`,
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
    // A bug of ours: the caller gets an error, and the log has the details.
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

/**
 * Makes an errno refusal with SPDK's message, what failed and strerror's text; the error's own message is the reason in its
 * data.
 */
export function refused(what: string, error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === null || !(error instanceof Error)) return error;
  return new RpcError(-errno, `${what}: ${strerror(errno)}`, { reason: error.message, ...codeOf(error) });
}

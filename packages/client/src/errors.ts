const brand = Symbol.for('raidkit.ClientError');

/** Every code that a {@link ClientError} can have; `docs/errors.md` has a heading for each. Stable within a major version. */
export const clientErrorCodes = [
  'ERR_CLIENT_UNREACHABLE',
  'ERR_CLIENT_CLOSED',
  'ERR_CLIENT_TIMEOUT',
  'ERR_CLIENT_ABORTED',
  'ERR_CLIENT_ANSWER',
  'ERR_CLIENT_REFUSED',
] as const;
export type ClientErrorCode = (typeof clientErrorCodes)[number];

/** The daemon's error answer to a call. */
export interface RpcFailure {
  /** A negative errno number, or a code of JSON-RPC (docs/rpc.md). */
  readonly code: number;
  readonly message: string;
  /** Details such as the reason or the parameter; undefined if there are none. */
  readonly data?: unknown;
}

/** Thrown by a call that has no result. */
export class ClientError extends Error {
  readonly code: ClientErrorCode;
  /** The method that was called; null if the error is about the connection. */
  readonly method: string | null;
  /** The daemon's error answer; null unless {@link code} is `ERR_CLIENT_REFUSED`. */
  readonly rpc: RpcFailure | null;

  constructor(
    code: ClientErrorCode,
    message: string,
    { method = null, rpc = null, cause }: { method?: string | null; rpc?: RpcFailure | null; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ClientError';
    this.code = code;
    this.method = method;
    this.rpc = rpc;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Also true for an error made by another copy of this package. */
  static is(error: unknown): error is ClientError {
    return error instanceof Error && brand in error;
  }
}

/** JSON-RPC 2.0 error codes, and SPDK's own -1. Other codes are negative errno numbers. */
export const RpcCode = {
  Parse: -32700,
  InvalidRequest: -32600,
  MethodNotFound: -32601,
  InvalidParams: -32602,
  Internal: -32603,
  /** The method cannot be called in this state (SPDK: "Method may only be called before/after framework is initialized"). */
  InvalidState: -1,
} as const;

/** Details of a refusal besides SPDK's code and message: `error.data`. */
export interface RefusalData {
  /** The reason, in a sentence. Always present. */
  readonly reason: string;
  /** Path of the wrong parameter, such as `base_bdevs.2`. */
  readonly field?: string;
  /** Valid values of that parameter, or the parameters that exist. */
  readonly allowed?: string;
  /** Stable code of the error that caused the refusal: `docs/errors.md`. */
  readonly error_code?: string;
}

/** The error answer of a call. */
export class RpcError extends Error {
  readonly code: number;
  readonly data: RefusalData;

  /** The reason in `data` defaults to the message. */
  constructor(code: number, message: string, data: Partial<RefusalData> = {}) {
    super(message);
    this.name = 'RpcError';
    this.code = code;
    this.data = { reason: message, ...data };
  }
}

/** Makes a refusal with SPDK's message (strerror's text, after `prefix: ` if given) and a reason. */
export function errnoRefusal(errno: number, reason: string, prefix?: string): RpcError {
  const text = strerror(errno);
  return new RpcError(-errno, prefix === undefined ? text : `${prefix}: ${text}`, { reason });
}

/** Converts any error to the `RpcError` that a call is answered with; one without an errno is an internal error. */
export function toRpcError(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const errno = errnoOf(error);
  return new RpcError(errno === null ? RpcCode.Internal : -errno, message, codeOf(error));
}

/** The stable code of an error of raidkit's packages, as answers carry it. */
export function codeOf(error: unknown): Pick<RefusalData, 'error_code'> {
  if (typeof error !== 'object' || error === null || !('code' in error)) return {};
  const { code } = error;
  return typeof code === 'string' && code.startsWith('ERR_') ? { error_code: code } : {};
}

/** glibc's strerror(3) texts, for the numbers that RPC answers use. */
const texts: Readonly<Record<number, string>> = {
  1: 'Operation not permitted',
  2: 'No such file or directory',
  3: 'No such process',
  5: 'Input/output error',
  6: 'No such device or address',
  11: 'Resource temporarily unavailable',
  12: 'Cannot allocate memory',
  13: 'Permission denied',
  16: 'Device or resource busy',
  17: 'File exists',
  19: 'No such device',
  20: 'Not a directory',
  21: 'Is a directory',
  22: 'Invalid argument',
  24: 'Too many open files',
  27: 'File too large',
  28: 'No space left on device',
  30: 'Read-only file system',
  34: 'Numerical result out of range',
  38: 'Function not implemented',
  95: 'Operation not supported',
  98: 'Address already in use',
  110: 'Connection timed out',
  111: 'Connection refused',
  114: 'Operation already in progress',
  125: 'Operation canceled',
};

/** Returns strerror's text of a positive errno. */
export function strerror(errno: number): string {
  return texts[errno] ?? `Unknown error ${errno}`;
}

/** Returns the positive errno of an error of raidkit's or of Node's, or null. */
export function errnoOf(error: unknown): number | null {
  if (typeof error !== 'object' || error === null || !('errno' in error)) return null;
  const { errno } = error;
  return typeof errno === 'number' && errno !== 0 ? Math.abs(errno) : null;
}

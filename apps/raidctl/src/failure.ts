import { ClientError } from '@raidkit/client';
import { ExitCode } from './exit-code.js';

/** The daemon's errnos for something that does not exist: ENOENT, ENXIO, ENODEV. */
const notFound: ReadonlySet<number> = new Set([-2, -6, -19]);
/** The daemon's codes for failures: EIO, ENOMEM, ENOSPC, and JSON-RPC's internal error. */
const broken: ReadonlySet<number> = new Set([-5, -12, -28, -32603]);
const methodNotFound = -32601;

/** Why a command failed, for people, and raidctl's exit code. */
export class Failure extends Error {
  readonly exitCode: ExitCode;
  /** What to do about it; null if that is obvious. */
  readonly hint: string | null;
  /** The daemon's error code, if the daemon refused; otherwise null. */
  readonly rpcCode: number | null;

  constructor(
    exitCode: ExitCode,
    message: string,
    { hint = null, rpcCode = null, cause }: { hint?: string | null; rpcCode?: number | null; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'Failure';
    this.exitCode = exitCode;
    this.hint = hint;
    this.rpcCode = rpcCode;
  }
}

/** Converts any error to a `Failure`. */
export function toFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (ClientError.is(error)) return ofClient(error);
  const message = error instanceof Error ? error.message : String(error);
  return new Failure(ExitCode.Failed, message, { cause: error });
}

function ofClient(error: ClientError): Failure {
  const { code, message, rpc } = error;
  switch (code) {
    case 'ERR_CLIENT_UNREACHABLE':
      return new Failure(ExitCode.Unreachable, message, {
        hint: 'start raidkitd, or give its control socket: --socket PATH, or the variable RAIDKIT_SOCKET',
        cause: error,
      });
    case 'ERR_CLIENT_CLOSED':
    case 'ERR_CLIENT_TIMEOUT':
    case 'ERR_CLIENT_ABORTED':
      return new Failure(ExitCode.Unreachable, message, { cause: error });
    case 'ERR_CLIENT_ANSWER':
      return new Failure(ExitCode.Failed, message, { hint: 'raidctl and raidkitd should have the same version', cause: error });
    case 'ERR_CLIENT_REFUSED':
      return rpc === null ? new Failure(ExitCode.Failed, message, { cause: error }) : ofRpc(error, rpc.code, rpc.data);
  }
}

function ofRpc(error: ClientError, rpcCode: number, data: unknown): Failure {
  if (rpcCode === methodNotFound) {
    const message = `the daemon does not know ${String(error.method)}`;
    return new Failure(ExitCode.Refused, message, {
      hint: 'raidctl and raidkitd should have the same version',
      rpcCode,
      cause: error,
    });
  }
  const reason = reasonOf(data);
  const message = reason === null || error.message.includes(reason) ? error.message : `${error.message}: ${reason}`;
  const exitCode = notFound.has(rpcCode) ? ExitCode.NotFound : broken.has(rpcCode) ? ExitCode.Failed : ExitCode.Refused;
  return new Failure(exitCode, message, { rpcCode, cause: error });
}

/** Returns the reason in the error's data, or null. */
function reasonOf(data: unknown): string | null {
  if (typeof data === 'string') return data;
  if (typeof data !== 'object' || data === null || !('reason' in data)) return null;
  return typeof data.reason === 'string' ? data.reason : null;
}

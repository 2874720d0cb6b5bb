import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { z } from 'zod';
import { ClientError } from './errors.js';
import { methods } from './methods.js';
import type { MethodName, ParamsOf, ResultOf } from './methods.js';

/** Address of a daemon: a Unix socket, or TCP. */
export type DaemonAddress = { path: string } | { host: string; port: number };

/** Limits of a call. */
export interface CallOptions {
  /** Aborts the call. The daemon is not told: it carries out what it has begun. */
  signal?: AbortSignal;
  /** Milliseconds until the call times out; 0 for never. Default: the client's. */
  timeoutMs?: number;
}

/** Options of {@link RaidkitClient.connect}. */
export interface ConnectOptions extends CallOptions {
  /** Maximum size of one answer in bytes; a longer one ends the connection. Default 64 MiB. */
  maxAnswerBytes?: number;
}

const defaultMaxAnswerBytes = 64 * 1024 * 1024;

/** A line from the daemon: an answer, with a result or an error. */
const answerSchema = z.looseObject({
  id: z.union([z.number(), z.string(), z.null()]),
  result: z.unknown().optional(),
  error: z.looseObject({ code: z.number(), message: z.string(), data: z.unknown().optional() }).optional(),
});

interface Waiting {
  method: string;
  resolve: (result: unknown) => void;
  reject: (error: ClientError) => void;
}

/**
 * A connection to a daemon's control socket. Calls run concurrently and may end in any order. Once the connection has ended,
 * every pending or new call rejects with `ERR_CLIENT_CLOSED`, and a new client has to be connected.
 */
export class RaidkitClient {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #maxAnswerBytes: number;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  /** Received part of an incomplete answer. */
  #pieces: string[] = [];
  #heldChars = 0;
  #ended: ClientError | null = null;

  private constructor(socket: Socket, { timeoutMs = 0, maxAnswerBytes = defaultMaxAnswerBytes }: ConnectOptions) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    this.#maxAnswerBytes = maxAnswerBytes;
    socket.setEncoding('utf8');
    socket.on('data', (piece: string) => this.#onData(piece));
    socket.on('error', (error) => this.#end(`the connection to the daemon failed: ${error.message}`, error));
    socket.on('close', () => this.#end('the daemon closed the connection'));
  }

  /**
   * Connects to a daemon. Rejects with `ERR_CLIENT_UNREACHABLE` if nothing listens at `address`, with `ERR_CLIENT_TIMEOUT` or
   * `ERR_CLIENT_ABORTED` if it takes too long. `timeoutMs` is also the default for calls.
   */
  static connect(address: DaemonAddress, options: ConnectOptions = {}): Promise<RaidkitClient> {
    const where = describe(address);
    return new Promise((resolve, reject) => {
      const socket = 'path' in address ? connect(address.path) : connect(address.port, address.host);
      const stopWatching = giveUpAfter(options, options.timeoutMs ?? 0, `connecting to ${where}`, null, (error) => {
        socket.destroy();
        reject(error);
      });
      const onError = (error: NodeJS.ErrnoException): void => {
        stopWatching();
        const message = `no daemon can be reached at ${where}: ${reasonOf(error)}`;
        reject(new ClientError('ERR_CLIENT_UNREACHABLE', message, { cause: error }));
      };
      socket.once('error', onError);
      socket.once('connect', () => {
        stopWatching();
        socket.off('error', onError);
        resolve(new RaidkitClient(socket, options));
      });
    });
  }

  /**
   * Calls a method of docs/rpc.md. Rejects with a `ClientError`: `ERR_CLIENT_REFUSED`, with the daemon's code in `rpc`, if the
   * daemon answers with an error; `ERR_CLIENT_ANSWER` if the answer does not match the method's schema.
   */
  async call<M extends MethodName>(
    method: M,
    ...[params, options]: ParamsOf<M> extends undefined
      ? [params?: undefined, options?: CallOptions]
      : [params: ParamsOf<M>, options?: CallOptions]
  ): Promise<ResultOf<M>> {
    const result = await this.callAny(method, params, options);
    const checked = methods[method].result.safeParse(result);
    if (checked.success) return checked.data as ResultOf<M>;
    const message = `${method}: the daemon's answer is not what was expected: ${z.prettifyError(checked.error)}`;
    throw new ClientError('ERR_CLIENT_ANSWER', message, { method, cause: checked.error });
  }

  /** Calls a method whose answers this package has no schema for. Rejects as {@link call} does. */
  callAny(method: string, params?: object, options: CallOptions = {}): Promise<unknown> {
    if (this.#ended !== null) return Promise.reject(this.#closed(method));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const forget = (): void => {
        stopWatching();
        this.#waiting.delete(id);
      };
      const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
      const stopWatching = giveUpAfter(options, timeoutMs, method, method, (error) => {
        this.#waiting.delete(id);
        reject(error);
      });
      if (options.signal?.aborted === true) return;
      this.#waiting.set(id, {
        method,
        resolve: (result) => {
          forget();
          resolve(result);
        },
        reject: (error) => {
          forget();
          reject(error);
        },
      });
      this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, ...(params === undefined ? {} : { params }) })}\n`);
    });
  }

  /** Closes the connection; pending calls reject. */
  close(): void {
    this.#end('the client was closed');
    this.#socket.destroy();
  }

  #onData(piece: string): void {
    let start = 0;
    for (let end = piece.indexOf('\n'); end >= 0; end = piece.indexOf('\n', start)) {
      this.#pieces.push(piece.slice(start, end));
      const line = this.#pieces.join('');
      this.#pieces = [];
      this.#heldChars = 0;
      start = end + 1;
      if (line.trim() !== '') this.#onAnswer(line);
    }
    if (start === piece.length) return;
    this.#pieces.push(piece.slice(start));
    this.#heldChars += piece.length - start;
    if (this.#heldChars > this.#maxAnswerBytes)
      this.#fail(`the daemon sent an answer of more than ${this.#maxAnswerBytes} bytes`);
  }

  #onAnswer(line: string): void {
    const answer = answerSchema.safeParse(parseJson(line));
    if (!answer.success) {
      this.#fail('the other side does not speak JSON-RPC: is this the control socket of a daemon?');
      return;
    }
    const { id, result, error } = answer.data;
    // Nothing waits for the answer to a call that was aborted or timed out.
    const waiting = typeof id === 'number' ? this.#waiting.get(id) : undefined;
    if (waiting === undefined) return;
    if (error === undefined) {
      waiting.resolve(result);
      return;
    }
    const rpc = { code: error.code, message: error.message, ...(error.data === undefined ? {} : { data: error.data }) };
    waiting.reject(new ClientError('ERR_CLIENT_REFUSED', error.message, { method: waiting.method, rpc }));
  }

  #fail(message: string): void {
    this.#end(message);
    this.#socket.destroy();
  }

  #end(message: string, cause?: unknown): void {
    if (this.#ended !== null) return;
    this.#ended = new ClientError('ERR_CLIENT_CLOSED', message, { cause });
    for (const waiting of [...this.#waiting.values()]) waiting.reject(this.#closed(waiting.method));
  }

  #closed(method: string): ClientError {
    const message = `${method}: ${this.#ended?.message ?? 'the connection has ended'}; it is not known whether the call was carried out`;
    return new ClientError('ERR_CLIENT_CLOSED', message, { method, cause: this.#ended?.cause });
  }
}

/** Calls `giveUp` when the time is over or the signal is aborted; returns a function that stops this. */
function giveUpAfter(
  { signal }: CallOptions,
  timeoutMs: number,
  what: string,
  method: string | null,
  giveUp: (error: ClientError) => void,
): () => void {
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  };
  const onAbort = (): void => {
    stop();
    giveUp(new ClientError('ERR_CLIENT_ABORTED', `${what}: it was cancelled on request`, { method, cause: signal?.reason }));
  };
  if (signal?.aborted === true) {
    onAbort();
    return stop;
  }
  signal?.addEventListener('abort', onAbort);
  if (timeoutMs > 0) {
    timer = setTimeout(() => {
      stop();
      giveUp(new ClientError('ERR_CLIENT_TIMEOUT', `${what}: there was no answer in ${timeoutMs} ms`, { method }));
    }, timeoutMs);
  }
  return stop;
}

function describe(address: DaemonAddress): string {
  return 'path' in address ? address.path : `${address.host}:${address.port}`;
}

function reasonOf(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return 'there is no such socket';
  if (error.code === 'ECONNREFUSED') return 'nothing listens on it';
  if (error.code === 'EACCES') return 'permission denied';
  return error.message;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

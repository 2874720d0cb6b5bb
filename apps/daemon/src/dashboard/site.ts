import type { IncomingMessage, ServerResponse } from 'node:http';
import { LogLimit } from '@raidkit/nbd';
import type { Logger } from 'pino';
import type { EventLog } from '../events/event-log.js';
import { readPageFile } from '../page-files.js';
import type { Caller } from '../rpc/dispatcher.js';
import { act, httpActions } from './actions.js';
import { isOwnHost, isOwnOrigin } from './host-check.js';
import { LoadHistory } from './load-history.js';
import { makeStatus } from './status.js';
import type { HttpToken } from './token.js';

/** What the dashboard gets its data from. */
export interface SiteSources {
  caller: Caller;
  events: EventLog;
  /** Whether the daemon is up and not shutting down. */
  isReady: () => boolean;
  /** The token that a request needs to change something; null: no request can. */
  token: HttpToken | null;
  /** Names under which browsers may know the daemon, besides addresses and `localhost`; in lower case. */
  names: ReadonlySet<string>;
  log: Logger;
}

/** Size limit of a request's body, in bytes. */
const mostBodyBytes = 64 * 1024;
/** Number of events in one answer. */
const mostEvents = 1024;
/** Shortest time between two status queries to the daemon in milliseconds, however many clients there are. */
const statusMs = 500;

const json = 'application/json; charset=utf-8';
const text = 'text/plain; charset=utf-8';

/** Headers of every answer: nothing may be loaded from elsewhere, run inline, framed, or have its type guessed. */
const safeHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
};

interface Answer {
  status: number;
  type: string;
  body: string | Buffer;
  headers?: Readonly<Record<string, string>>;
}

/** Serves the dashboard: a page, and the JSON that it shows. */
export class DashboardSite {
  readonly #sources: SiteSources;
  readonly #history: LoadHistory;
  /** Limits log messages that any client can cause. */
  readonly #strangers: LogLimit;
  /** The latest status, possibly still being made, and when it was requested. */
  #status: { readonly at: number; readonly body: Promise<string> } | null = null;

  constructor(sources: SiteSources) {
    this.#sources = sources;
    this.#history = new LoadHistory(sources.caller, sources.log);
    this.#strangers = new LogLimit(sources.log, performance);
  }

  /** Starts to record the load of arrays. */
  begin(): void {
    this.#history.begin();
  }

  end(): void {
    this.#history.end();
  }

  /** Whether {@link serve} handles this path. */
  has(path: string): boolean {
    return path === '/' || path.startsWith('/api/') || /^\/(app|icon)\.[a-z]+$/.test(path);
  }

  /** Answers a request. `isLocal`: it arrived at a Unix socket, which no browser uses by itself. */
  async serve(request: IncomingMessage, response: ServerResponse, isLocal: boolean): Promise<void> {
    const answer = await this.#answer(request, isLocal);
    const bytes = Buffer.from(answer.body);
    // Does not wait for the rest of a body that is not read.
    const rest = request.complete ? {} : { connection: 'close' };
    response.writeHead(answer.status, {
      ...safeHeaders,
      'content-type': answer.type,
      'content-length': bytes.length,
      ...answer.headers,
      ...rest,
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  }

  async #answer(request: IncomingMessage, isLocal: boolean): Promise<Answer> {
    const { names } = this.#sources;
    const { headers, method = 'GET', url = '/' } = request;
    const [path = '/', query = ''] = url.split('?');
    if (!isLocal && !isOwnHost(headers.host, names)) {
      return plain(421, 'this daemon does not have that name: use its address, or start it with --http-name NAME');
    }
    if (path === '/api/call') return method === 'POST' ? this.#call(request) : notAllowed('POST');
    if (method !== 'GET' && method !== 'HEAD') return notAllowed('GET, HEAD');
    switch (path) {
      case '/api/status':
        return { status: 200, type: json, body: await this.#readStatus() };
      case '/api/history':
        return withSince(query, (since) => this.#history.page(since));
      case '/api/events':
        return withSince(query, (since) => this.#events(since));
      case '/api/actions':
        return this.#whyNot(request) ?? answerJson(200, { methods: httpActions });
    }
    const file = await readPageFile(path);
    return file === null ? plain(404, 'no such page') : { status: 200, ...file };
  }

  /** Requests that arrive at about the same time get the same answer. */
  #readStatus(): Promise<string> {
    const now = performance.now();
    if (this.#status === null || now - this.#status.at > statusMs) this.#status = { at: now, body: this.#makeStatus() };
    return this.#status.body;
  }

  async #makeStatus(): Promise<string> {
    const { caller, isReady, token } = this.#sources;
    return JSON.stringify(await makeStatus(caller, { isReady: isReady(), actions: token === null ? [] : httpActions }));
  }

  #events(since: number): object {
    const { instance, lastId, events } = this.#sources.events.page(since, mostEvents);
    return { instance, last_id: lastId, events };
  }

  async #call(request: IncomingMessage): Promise<Answer> {
    const whyNot = this.#whyNot(request);
    if (whyNot !== null) return whyNot;
    if (!/^application\/json *(;|$)/i.test(request.headers['content-type'] ?? ''))
      return plain(415, 'the content type must be application/json');
    const body = await readBody(request);
    if (body === null) return plain(413, `a request must have at most ${mostBodyBytes} bytes`);
    const { status, body: answer } = await act(this.#sources.caller, body);
    const outcome = 'error' in answer ? answer.error.message : 'done';
    this.#sources.log.info(
      { from: request.socket.remoteAddress, call: body.slice(0, 500), status },
      `a call over HTTP: ${outcome}`,
    );
    // The change must show at once.
    this.#status = null;
    return answerJson(status, answer);
  }

  /** Returns why the request may not change anything; null if it may. */
  #whyNot({ headers, socket }: IncomingMessage): Answer | null {
    const { token } = this.#sources;
    if (token === null) return plain(403, 'HTTP is read-only: --http-token-file allows more');
    if (!isOwnOrigin(headers)) return plain(403, 'the request comes from a page of another server');
    if (token.isIn(headers.authorization)) return null;
    if (headers.authorization !== undefined)
      this.#strangers.log('warn', { from: socket.remoteAddress }, 'a wrong token was sent over HTTP');
    return { ...plain(401, 'the token is wrong'), headers: { 'www-authenticate': 'Bearer' } };
  }
}

/** Reads a request's body; null if it is too long. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  // The connection is kept, so that the client gets an answer to a body that is too long.
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > mostBodyBytes) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function withSince(query: string, page: (since: number) => object): Answer {
  const given = new URLSearchParams(query).get('since') ?? '0';
  const since = Number(given);
  if (!/^\d+$/.test(given) || !Number.isSafeInteger(since)) return plain(400, 'since must be the id of the last entry, or 0');
  return answerJson(200, page(since));
}

function answerJson(status: number, value: object): Answer {
  return { status, type: json, body: `${JSON.stringify(value)}\n` };
}

function plain(status: number, message: string): Answer {
  return { status, type: text, body: `${message}\n` };
}

function notAllowed(allow: string): Answer {
  return { ...plain(405, `this page supports ${allow}`), headers: { allow } };
}

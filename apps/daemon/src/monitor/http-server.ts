import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ListenOptions, Socket } from 'node:net';
import { LookTimer } from '@raidkit/bdev';
import { nodeClock } from '@raidkit/bdev/node';
import { LogLimit, freeUnixPath } from '@raidkit/nbd';
import type { Logger } from 'pino';
import type { DashboardSite } from '../dashboard/site.js';
import type { EventLog } from '../events/event-log.js';
import type { EventSinks } from '../events/sinks/sinks.js';
import { portOf, startListening } from '../listening.js';
import type { Caller } from '../rpc/dispatcher.js';
import type { ScheduledArray } from '../schedule/check-schedule.js';
import { formatMetrics } from './metrics.js';
import { askHealth, takeSnapshot } from './snapshot.js';

/** Address at which HTTP is served: a Unix socket's path, or a TCP address. */
export type HttpAddress = { unix: string } | { host: string; port: number };

/** What the server gets its data from. */
export interface HttpSources {
  caller: Caller;
  events: EventLog;
  sinks: EventSinks;
  checks: () => readonly ScheduledArray[];
  /** Whether the daemon is up and not shutting down. */
  isReady: () => boolean;
  site: Pick<DashboardSite, 'has' | 'serve'>;
}

/** A listening HTTP server. */
export interface HttpListener {
  /** `HOST:PORT` with the actual port, or the path. */
  readonly address: string;
  close(): Promise<void>;
}

const mostConnections = 64;
const requestMs = 10_000;
/** Milliseconds after which an idle connection is closed: longer than an answer takes to make. */
const idleMs = 20_000;
/**
 * Milliseconds within which a client must have read an answer, else its connection is closed: a client may read a byte now and
 * then.
 */
const answerMs = 30_000;
/** Milliseconds between two checks for requests that take too long. */
const checkMs = 1000;
const metricsType = 'text/plain; version=0.0.4; charset=utf-8';

interface Page {
  status: number;
  type: string;
  body: string;
}

/** Time limits of {@link listenHttp} that tests shorten. */
export interface HttpTimes {
  /** Milliseconds that a client may take to send a request and to read an answer. */
  requestMs: number;
  answerMs: number;
}

/** Serves the dashboard, `/metrics`, `/healthz` and `/readyz`. Rejects if it cannot listen at the address. */
export async function listenHttp(
  address: HttpAddress,
  sources: HttpSources,
  log: Logger,
  times: HttpTimes = { requestMs, answerMs },
): Promise<HttpListener> {
  if ('unix' in address) await freeUnixPath(address.unix);
  const pages = new Pages(sources);
  const fewMessages = new LogLimit(log, performance);
  /** Connections, the least recently used first. */
  const used = new Set<Socket>();
  const answering = new WeakSet<Socket>();
  const limits = { requestTimeout: times.requestMs, headersTimeout: times.requestMs, connectionsCheckingInterval: checkMs };
  const server = createServer(limits, (request, response) => {
    const { socket } = request;
    used.delete(socket);
    used.add(socket);
    // A second request during an answer ends the connection. A request has 30 bytes and an answer up to megabytes: thousands of
    // them at once would fill memory for a client that does not read.
    if (answering.has(socket)) {
      socket.destroy();
      return;
    }
    answering.add(socket);
    const timer = new LookTimer(() => socket.destroy());
    timer.set(nodeClock, nodeClock.now() + times.answerMs);
    response.once('finish', () => answering.delete(socket));
    response.once('close', () => timer.clear());
    const served = sources.site.has(pathOf(request))
      ? sources.site.serve(request, response, 'unix' in address)
      : serve(request, response, pages);
    served.catch((error: unknown) => {
      fewMessages.log('warn', { err: error, path: pathOf(request).slice(0, 200) }, 'a page could not be served');
      response.destroy();
    });
  });
  server.on('connection', (socket) => {
    // Closes the idle connection that was used least recently; connections that are being answered have a time limit.
    if (used.size >= mostConnections) ([...used].find((one) => !answering.has(one)) ?? socket).destroy();
    if (socket.destroyed) return;
    used.add(socket);
    socket.once('close', () => used.delete(socket));
  });
  server.timeout = idleMs;
  const where: ListenOptions = 'unix' in address ? { path: address.unix } : address;
  await startListening(server, where);
  server.on('error', (error) => log.warn({ err: error }, 'the HTTP server failed'));
  return {
    address: 'unix' in address ? address.unix : `${address.host}:${portOf(server)}`,
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Does not wait for clients that read slowly.
      server.closeAllConnections();
      return closed;
    },
  };
}

/** Makes the pages. Requests that arrive at the same time share one answer. */
class Pages {
  readonly #sources: HttpSources;
  readonly #coming = new Map<string, Promise<Page>>();

  constructor(sources: HttpSources) {
    this.#sources = sources;
  }

  get(path: string): Promise<Page> {
    const coming = this.#coming.get(path);
    if (coming !== undefined) return coming;
    const page = this.#make(path).finally(() => this.#coming.delete(path));
    this.#coming.set(path, page);
    return page;
  }

  #make(path: string): Promise<Page> {
    switch (path) {
      case '/metrics':
        return this.#metrics();
      case '/healthz':
        return this.#health(false);
      case '/readyz':
        return this.#health(true);
      default:
        return Promise.resolve({ status: 404, type: 'text/plain', body: 'the pages are /, /metrics, /healthz and /readyz\n' });
    }
  }

  async #metrics(): Promise<Page> {
    const { caller, checks, events, isReady, sinks } = this.#sources;
    let isStuck = false;
    const snapshot = await takeSnapshot(caller).catch(async () => {
      // Perhaps only one device does not answer.
      isStuck = !(await askHealth(caller)).isHealthy;
      return null;
    });
    const state = { isReady: isReady(), isStuck, eventCounts: events.counts, sinks: sinks.states(), checks: checks() };
    return { status: 200, type: metricsType, body: formatMetrics(snapshot, state) };
  }

  async #health(mustBeUp: boolean): Promise<Page> {
    const health = await askHealth(this.#sources.caller);
    const isUp = this.#sources.isReady();
    const reason = health.isHealthy ? (mustBeUp && !isUp ? 'it is starting or stopping' : null) : health.reason;
    const body = `${JSON.stringify({ status: reason === null ? 'ok' : 'unavailable', reason })}\n`;
    return { status: reason === null ? 200 : 503, type: 'application/json', body };
  }
}

async function serve(request: IncomingMessage, response: ServerResponse, pages: Pages): Promise<void> {
  const { method } = request;
  // The request's body is ignored.
  request.resume();
  if (method !== 'GET' && method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
    return;
  }
  const { body, status, type } = await pages.get(pathOf(request));
  const bytes = Buffer.from(body);
  response.writeHead(status, { 'content-type': type, 'content-length': bytes.length, 'cache-control': 'no-store' });
  response.end(method === 'HEAD' ? undefined : bytes);
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?')[0] ?? '/';
}

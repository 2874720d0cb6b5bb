import { createHmac } from 'node:crypto';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { hostname } from 'node:os';
import { RefusedError } from './sink.js';
import type { Sink } from './sink.js';

/** A server to which events are posted over HTTP. */
export interface WebhookOptions {
  /** `http:` or `https:`. */
  url: URL;
  /** Key that signs bodies; undefined for no signature. */
  key?: Buffer;
  /** Time limit of one attempt in milliseconds. Default 10,000. */
  limitMs?: number;
}

/** Posts each event as JSON. Tried ten times over some minutes; redirects are not followed. */
export function webhookSink({ key, limitMs = 10_000, url }: WebhookOptions): Sink {
  return {
    name: 'webhook',
    // Many servers put a secret into the path.
    where: url.origin,
    tries: 10,
    wants: () => true,
    tell(event, signal) {
      const body = Buffer.from(JSON.stringify({ ...event, host: hostname() }));
      return post({ body, headers: headersOf(body, key), limitMs, signal, url });
    },
  };
}

function headersOf(body: Buffer, key: Buffer | undefined): Record<string, string | number> {
  const signature = key === undefined ? null : createHmac('sha256', key).update(body).digest('hex');
  return {
    'content-type': 'application/json',
    'content-length': body.length,
    'user-agent': 'raidkitd',
    ...(signature === null ? {} : { 'x-raidkit-signature': `sha256=${signature}` }),
  };
}

interface Post {
  url: URL;
  headers: Record<string, string | number>;
  body: Buffer;
  limitMs: number;
  signal: AbortSignal;
}

function post({ body, headers, limitMs, signal, url }: Post): Promise<void> {
  const whole = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const request = send(url, { method: 'POST', headers, signal: whole, agent: false }, (response) => {
      const { statusCode = 0 } = response;
      // The answer's body is of no interest, however long it is.
      response.destroy();
      if (statusCode >= 200 && statusCode < 300) resolve();
      else reject(answered(statusCode));
    });
    request.on('error', (error) => {
      const isLate = whole.aborted && !signal.aborted;
      reject(isLate ? new Error(`there was no answer in ${limitMs / 1000} s`) : error);
    });
    request.end(body);
  });
}

/** A client error is final, since a repeated request would fail too; except when it was too early or too frequent. */
function answered(status: number): Error {
  const message = `the answer was ${status}`;
  const isFinal = status >= 300 && status < 500 && status !== 408 && status !== 425 && status !== 429;
  return isFinal ? new RefusedError(message) : new Error(message);
}

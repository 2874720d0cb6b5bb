import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EventLog } from '../src/events/event-log.js';
import { EventSinks } from '../src/events/sinks/sinks.js';
import { listenHttp } from '../src/monitor/http-server.js';
import type { HttpListener } from '../src/monitor/http-server.js';

// The HTTP server takes 64 connections, and no client can keep one by being slow.

const log = pino({ level: 'silent' });
const MiB = 1 << 20;
/** This is more than the kernel buffers for a socket. */
const page = Buffer.alloc(16 * MiB, 'x');
let folder: string;
let path: string;
let listener: HttpListener;
const sockets: Socket[] = [];

async function begin(requestMs: number, answerMs: number): Promise<void> {
  const sources = {
    caller: { call: () => Promise.resolve([]) },
    events: new EventLog(log),
    sinks: new EventSinks({}, log),
    checks: () => [],
    isReady: () => true,
    site: {
      has: (asked: string) => asked === '/large',
      serve: (_: unknown, response: { end: (bytes: Buffer) => void }) => {
        response.end(page);
        return Promise.resolve();
      },
    },
  };
  listener = await listenHttp({ unix: path }, sources, log, { requestMs, answerMs });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-http-'));
  path = join(folder, 'http.sock');
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await listener.close();
  rmSync(folder, { recursive: true });
});

async function open(text: string): Promise<Socket> {
  const socket = connect(path);
  sockets.push(socket);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

const get = (what: string): string => `GET ${what} HTTP/1.1\r\nHost: x\r\n\r\n`;

async function isAnswered(): Promise<boolean> {
  const socket = await open(get('/healthz'));
  const ended = new Promise<null>((resolve) => socket.once('close', () => resolve(null)));
  const answered = new Promise<string>((resolve) => socket.once('data', (piece: Buffer) => resolve(piece.toString())));
  return (await Promise.race([answered, ended]))?.startsWith('HTTP/1.1 200') ?? false;
}

it('a client that takes an answer byte by byte is dropped when its time is over', async () => {
  // Time enough for all of them to be there before the first is dropped, on a machine with other work.
  await begin(60_000, 3000);
  const slow = await Promise.all(Array.from({ length: 64 }, () => open(get('/large'))));
  await Promise.all(slow.map((socket) => once(socket, 'readable')));
  expect(await isAnswered()).toBe(false);
  const dripping = setInterval(() => {
    for (const socket of slow) socket.read(1);
  }, 20);
  await expect.poll(isAnswered, { timeout: 20_000 }).toBe(true);
  clearInterval(dripping);
});

it('a client that has not asked for anything makes way for new ones', async () => {
  await begin(60_000, 60_000);
  const silent = await Promise.all(Array.from({ length: 64 }, () => open('GET / HTTP/1.1\r\nX-A: ')));
  expect(await isAnswered()).toBe(true);
  expect(await isAnswered()).toBe(true);
  await expect.poll(() => silent.filter(({ destroyed }) => destroyed).length).toBe(2);
});

it.each([
  ['one header without end', `GET / HTTP/1.1\r\nHost: x\r\nX-A: ${'a'.repeat(MiB)}`],
  ['headers without number', `GET / HTTP/1.1\r\nHost: x\r\n${'a: b\r\n'.repeat(MiB / 6)}`],
  ['a path without end', `GET /${'a'.repeat(MiB)}`],
])('%s, from 60 clients: they are dropped, and no other client waits for that', async (_what, flood) => {
  await begin(60_000, 60_000);
  const flooding = await Promise.all(Array.from({ length: 60 }, () => open(flood)));
  expect(await isAnswered()).toBe(true);
  for (const socket of flooding) socket.resume();
  await expect
    .poll(() => flooding.every(({ destroyed, readableEnded }) => destroyed || readableEnded), { timeout: 10_000 })
    .toBe(true);
  expect(await isAnswered()).toBe(true);
});

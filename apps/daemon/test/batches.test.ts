import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Caller } from '../src/rpc/dispatcher.js';
import { listenRpc } from '../src/rpc/listen.js';
import type { RpcListener } from '../src/rpc/listen.js';

// Tests of a client that sends many calls at once, and invalid ones.

interface Answer {
  id: number | null;
  result?: unknown;
  error?: { code: number; data: { reason: string } };
}

let folder: string;
let listener: RpcListener;
let socket: Socket;
/** Lines of the log. */
let lines: { msg: string; leftOut?: number }[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-batch-'));
  lines = [];
});

afterEach(async () => {
  socket.destroy();
  await listener.close();
  rmSync(folder, { recursive: true });
});

async function begin(call: Caller['call']): Promise<void> {
  const path = join(folder, 'rpc.sock');
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line) as { msg: string }) });
  listener = await listenRpc({ path }, { call }, log);
  socket = connect(path);
}

/** Resolves with the next lines that come. */
function answers(count: number): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let ends = 0;
    socket.on('data', (piece: Buffer) => {
      pieces.push(piece);
      for (let at = piece.indexOf(0x0a); at >= 0; at = piece.indexOf(0x0a, at + 1)) ends++;
      if (ends < count) return;
      const texts = Buffer.concat(pieces).toString().trimEnd().split('\n');
      resolve(texts.map((text) => JSON.parse(text) as unknown));
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection was closed')));
  });
}

const request = (id: number): object => ({ jsonrpc: '2.0', method: 'any', id });

it('a batch whose answers are too long together is carried out in part, and the rest refused', async () => {
  const long = 'x'.repeat(1 << 20);
  let calls = 0;
  await begin(() => {
    calls++;
    return Promise.resolve(long);
  });
  const coming = answers(1);
  // Together they would be longer than a string can be.
  const batch = Array.from({ length: 600 }, (_, id) => request(id));
  socket.write(JSON.stringify(batch));
  const [answer] = (await coming) as Answer[][];
  expect(answer!.map(({ id }) => id)).toEqual(batch.map((_, id) => id));
  expect(answer!.filter(({ error }) => error === undefined)).toHaveLength(calls);
  expect(calls).toBeLessThan(40);
  expect(answer!.at(-1)?.error).toMatchObject({
    code: -12,
    data: { reason: expect.stringMatching(/send fewer calls at once/) as string },
  });
});

it('what the answers to batches hold is bounded for all batches of a client together', async () => {
  const long = 'x'.repeat(4 << 20);
  let longOnes = 0;
  let release: (result: unknown) => void = () => undefined;
  const released = new Promise((resolve) => (release = resolve));
  await begin((name) => {
    if (name === 'long') longOnes++;
    return name === 'last' ? released : Promise.resolve(long);
  });
  // No batch is complete before the last call of it.
  const batch = JSON.stringify([...[1, 2, 3, 4].map((id) => ({ method: 'long', id })), { method: 'last' }]);
  socket.write(batch.repeat(10));
  await expect.poll(() => longOnes).toBeGreaterThan(7);
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  // There were 40 batches. The first call of each had begun while there was room.
  expect(longOnes).toBeLessThan(22);
  release(true);
});

it('a batch of more calls than are answered at once is refused as a whole', async () => {
  let calls = 0;
  await begin(() => Promise.resolve(++calls));
  const coming = answers(1);
  // The limit applies also to entries that are not calls, because each would be answered.
  socket.write(JSON.stringify(Array.from({ length: 5000 }, () => 1)));
  expect(await coming).toMatchObject([
    { id: null, error: { code: -32600, data: { reason: 'a batch has at most 4096 calls: none of these was carried out' } } },
  ]);
  expect(calls).toBe(0);
});

it('of calls that come in one piece, so many are under way at a time, and all are answered', async () => {
  const count = 2000;
  let underWay = 0;
  let most = 0;
  await begin(async () => {
    most = Math.max(most, ++underWay);
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    underWay--;
    return true;
  });
  const coming = answers(count);
  socket.write(Array.from({ length: count }, (_, id) => `{"method":"m","id":${id}}`).join(''));
  const ids = ((await coming) as Answer[]).map(({ id }) => Number(id));
  expect(ids.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, id) => id));
  expect(most).toBeLessThanOrEqual(128);
});

it('thousands of calls that are refused, and long names, are a few short lines in the log', async () => {
  await begin((name) => Promise.reject(new Error(`there is no method ${name}`)));
  const coming = answers(2000);
  const long = JSON.stringify({ method: 'x'.repeat(900_000), id: 0 });
  socket.write(long + JSON.stringify({ method: 'm', id: 1 }).repeat(1999));
  await coming;
  expect(lines.length).toBeGreaterThanOrEqual(20);
  expect(lines.length).toBeLessThan(40);
  expect(JSON.stringify(lines).length).toBeLessThan(20_000);
});

it('what is odd in a request stays what it is, and changes nothing else', async () => {
  const calls: unknown[] = [];
  await begin((name, params, hasDuplicateKey) => {
    calls.push([
      name,
      params,
      hasDuplicateKey,
      ({} as { polluted?: unknown }).polluted,
      (params as { polluted?: unknown }).polluted,
    ]);
    return Promise.resolve(true);
  });
  const coming = answers(5);
  socket.write('{"method":"a","params":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}},"id":1}');
  socket.write('{"method":"b","params":{"x":1,"\\u0078":2},"id":2}');
  socket.write('{"method":"c","params":{"x":1e999},"id":3}');
  socket.write('{"method":"e","id":1e999}');
  socket.write('{"method":"d","__proto__":{"params":{}},"id":4}');
  socket.write('\ufeff{}');
  // No JSON begins with a byte order mark: the connection ends, and what came before has been answered.
  const ended = new Promise((resolve) => socket.once('close', resolve));
  const codes = ((await coming) as Answer[]).map(({ error, id }) => [id, error?.code]);
  await ended;
  expect(codes).toHaveLength(5);
  expect(codes.filter(([id]) => id !== null)).toHaveLength(3);
  expect(codes.filter(([id, code]) => id === null && code === -32600)).toHaveLength(2);
  expect(calls.map((call) => (call as unknown[])[0])).toEqual(['a', 'b', 'c']);
  expect(calls).toMatchObject([
    ['a', {}, false, undefined, undefined],
    ['b', { x: 2 }, true, undefined, undefined],
    ['c', { x: Infinity }, false, undefined, undefined],
  ]);
  expect(lines.map(({ msg }) => msg).join('\n')).toMatch(/sent invalid JSON/);
});

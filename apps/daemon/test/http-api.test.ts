import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventPageSchema, httpResources, loadPageSchema, statusPageSchema } from '@raidkit/client';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isOwnHost } from '../src/dashboard/host-check.js';
import { HttpToken } from '../src/dashboard/token.js';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import type { Daemon } from '../src/index.js';
import { until } from './support/devices.js';
import { run } from './support/process.js';

/* What the dashboard is made from, as any client of HTTP sees it. With RAIDKIT_WRITE_DOCS=1 its schema is written anew. */

const schemaFile = new URL('../../../docs/http-api.schema.json', import.meta.url);
const bin = join(import.meta.dirname, '../bin/raidkitd.js');
const token = 'a-token-of-the-tests';

let folder: string;
let daemon: Daemon | null;
let port: number;

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

interface Asked {
  agent?: Agent;
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

function ask(path: string, { agent, body, headers = {}, method = 'GET' }: Asked = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, method, headers, agent: agent ?? false }, (response) => {
      let text = '';
      response.on('data', (piece: Buffer) => (text += piece.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const withToken = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };

function act(method: string, params: object, headers: Record<string, string> = withToken): Promise<Answer> {
  return ask('/api/call', { method: 'POST', headers, body: JSON.stringify({ method, params }) });
}

function call(method: string, params?: object): Promise<unknown> {
  return daemon!.caller.call(method, params);
}

async function start(hasToken: boolean, names: string[] = [], log: Logger = pino({ level: 'silent' })): Promise<void> {
  daemon = await startDaemon({
    rpc: [],
    nbd: [],
    http: [{ host: '127.0.0.1', port: 0 }],
    httpNames: names,
    ...(hasToken ? { httpToken: new HttpToken(token) } : {}),
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 64 << 20,
    log,
  });
  port = Number(daemon.httpAddresses[0]!.split(':').at(-1));
  for (const name of ['a', 'b', 'c']) await call('bdev_malloc_create', { name, num_blocks: 4096, block_size: 512 });
  await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b'] });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  daemon = null;
});

afterEach(async () => {
  await daemon?.stop();
  rmSync(folder, { recursive: true });
});

it('answers what its schema says, to every client that can reach it', async () => {
  await start(false);
  const status = statusPageSchema.parse(JSON.parse((await ask('/api/status')).body));
  expect(status.daemon).toMatchObject({ is_ready: true, stuck: null });
  expect(status.actions).toEqual([]);
  expect(status.snapshot?.arrays[0]).toMatchObject({ name: 'vol', ext: { health: 'optimal' } });
  expect(status.snapshot?.bdevs.map(({ name }) => name)).toEqual(['a', 'b', 'c', 'vol']);

  const events = eventPageSchema.parse(JSON.parse((await ask('/api/events')).body));
  expect(events.events.map(({ event }) => event)).toEqual(['NewArray']);
  const later = eventPageSchema.parse(JSON.parse((await ask(`/api/events?since=${events.last_id}`)).body));
  expect(later.events).toEqual([]);

  let samples = 0;
  await until('there are two samples', async () => {
    const load = loadPageSchema.parse(JSON.parse((await ask('/api/history')).body));
    samples = load.samples.length;
    return samples > 1 && load.samples.at(-1)?.arrays[0]?.name === 'vol';
  });
  const rest = loadPageSchema.parse(JSON.parse((await ask(`/api/history?since=${samples - 1}`)).body));
  expect(rest.samples[0]?.id).toBe(samples);
  expect((await ask('/api/history?since=x')).status).toBe(400);
  expect((await ask('/api/nothing')).status).toBe(404);
  expect((await ask('/api/status', { method: 'PUT' })).headers.allow).toBe('GET, HEAD');

  const schema = `${JSON.stringify(
    Object.fromEntries(Object.entries(httpResources).map(([path, resource]) => [path, z.toJSONSchema(resource)])),
    null,
    2,
  )}\n`;
  if (process.env.RAIDKIT_WRITE_DOCS === '1') writeFileSync(schemaFile, schema);
  expect(readFileSync(schemaFile, 'utf8')).toBe(schema);
});

it('tells browsers with every answer to load nothing from elsewhere', async () => {
  await start(false);
  for (const path of ['/', '/app.js', '/app.css', '/icon.svg', '/api/status', '/api/nothing']) {
    const { headers } = await ask(path);
    expect(headers['content-security-policy']).toContain("default-src 'none'; script-src 'self'");
    expect(headers['content-security-policy']).not.toContain('unsafe');
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' });
    expect(headers['access-control-allow-origin']).toBeUndefined();
  }
  const page = (await ask('/')).body;
  expect(page).not.toMatch(/ style=|<style|<script>|https?:/);
});

it('asks the daemon once for many who look at the same time', async () => {
  await start(false);
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask('/api/status')));
  expect(new Set(answers.map(({ body }) => body)).size).toBe(1);
});

it('makes one answer at a time for a connection, so that they do not pile up for a client that reads none', async () => {
  await start(false);
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (piece: Buffer) => (text += piece.toString()));
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.write('GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'.repeat(1000));
  await closed;
  expect(text.split('HTTP/1.1 ').length - 1).toBeLessThanOrEqual(1);

  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (let one = 0; one < 20; one++)
    for (const path of ['/api/status', '/app.js', '/metrics']) expect((await ask(path, { agent })).status).toBe(200);
  agent.destroy();
});

describe('changes', () => {
  it('are for those who have the token, and of a few kinds', async () => {
    await start(true);
    const spare = { bdev_name: 'c' };
    expect((await act('raidkit_add_spare', spare, { 'content-type': 'application/json' })).status).toBe(401);
    for (const wrong of [`Bearer ${token}x`, 'Bearer', `Basic ${token}`, token])
      expect((await act('raidkit_add_spare', spare, { ...withToken, authorization: wrong })).status).toBe(401);
    expect((await act('raidkit_add_spare', spare, { ...withToken, 'content-type': 'text/plain' })).status).toBe(415);
    expect((await act('bdev_raid_delete', { name: 'vol' })).status).toBe(400);
    expect((await act('raidkit_wipe', spare)).status).toBe(400);
    for (const field of ['source', 'wrong']) {
      const repair = await act('raidkit_start_process', { name: 'vol', type: 'repair', [field]: 'b' });
      expect(repair.status).toBe(400);
      expect(JSON.parse(repair.body)).toMatchObject({ error: { data: { field } } });
    }
    expect((await ask('/api/call', { method: 'POST', headers: withToken, body: '{' })).status).toBe(400);
    expect((await ask('/api/call', { method: 'POST', headers: withToken, body: ' '.repeat(70_000) })).status).toBe(413);
    expect((await ask('/api/call', { headers: withToken })).status).toBe(405);
    expect(await call('raidkit_get_spares')).toEqual([]);

    const { body, status } = await act('raidkit_add_spare', spare);
    expect({ status, answer: JSON.parse(body) as unknown }).toEqual({ status: 200, answer: { result: true } });
    expect(await call('raidkit_get_spares')).toEqual([{ bdev_name: 'c', name: null }]);
    const refused = await act('raidkit_add_spare', { bdev_name: 'none' });
    expect(refused.status).toBe(409);
    expect(JSON.parse(refused.body)).toMatchObject({ error: { data: { reason: expect.any(String) as string } } });
    // The change is visible at once.
    expect(statusPageSchema.parse(JSON.parse((await ask('/api/status')).body)).snapshot?.spares).toHaveLength(1);
  });

  it('that a client tries with wrong tokens are logged in bounds', async () => {
    const lines: string[] = [];
    await start(true, [], pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) }));
    for (let one = 0; one < 100; one++) await ask('/api/actions', { headers: { authorization: 'Bearer a-wrong-one' } });
    const said = lines.filter((line) => line.includes('wrong token'));
    expect(said.length).toBeGreaterThan(0);
    expect(said.length).toBeLessThan(50);
    expect(said.join('')).not.toContain('a-wrong-one');
  });

  it('are refused to all without --http-token-file', async () => {
    await start(false);
    const { body, status } = await act('raidkit_add_spare', { bdev_name: 'c' });
    expect({ status, body }).toMatchObject({ status: 403, body: expect.stringContaining('--http-token-file') as string });
  });

  it('are not for pages of other servers, whatever they know', async () => {
    await start(true);
    const add = (headers: Record<string, string>): Promise<Answer> =>
      act('raidkit_add_spare', { bdev_name: 'c' }, { ...withToken, ...headers });
    expect((await add({ origin: 'http://elsewhere.example' })).status).toBe(403);
    expect((await add({ origin: 'null' })).status).toBe(403);
    expect((await add({ 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    expect(await call('raidkit_get_spares')).toEqual([]);
    expect((await add({ origin: `http://127.0.0.1:${port}`, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
  });
});

describe('a name that points here', () => {
  it('is answered if the daemon was told of it', async () => {
    await start(true, ['Storage.example']);
    const as = async (host: string, path = '/api/status'): Promise<number> => (await ask(path, { headers: { host } })).status;
    expect(await as('rebound.example')).toBe(421);
    expect(await as('rebound.example', '/')).toBe(421);
    expect(await as(`storage.example:${port}`)).toBe(200);
    expect(await as('localhost')).toBe(200);
    // Monitoring systems may use any host name.
    expect(await as('rebound.example', '/metrics')).toBe(200);
  });

  it.each([
    ['127.0.0.1:9000', true],
    ['[::1]:9000', true],
    ['192.0.2.7', true],
    ['localhost:1', true],
    ['localhost.example', false],
    ['127.0.0.1.example', false],
    ['user@127.0.0.1', false],
    ['127.0.0.1/x', false],
    ['', false],
    [undefined, false],
  ])('%s: %s', (host, isOwn) => {
    expect(isOwnHost(host, new Set())).toBe(isOwn);
  });
});

describe('the command line', () => {
  const attempt = (...args: string[]): Promise<{ code: number | null; stderr: string }> =>
    run(process.execPath, [bin, ...args]);

  it('refuses a token that every user can read, or that is none', async () => {
    const file = join(folder, 'token');
    writeFileSync(file, `${token}\n`, { mode: 0o600 });
    chmodSync(file, 0o644);
    const open = await attempt('--http', '127.0.0.1:0', '--http-token-file', file);
    expect(open).toMatchObject({ code: 1, stderr: expect.stringContaining('chmod o-rwx') as string });
    execFileSync('mkfifo', ['-m', '600', join(folder, 'pipe')]);
    const pipe = await attempt('--http', '127.0.0.1:0', '--http-token-file', join(folder, 'pipe'));
    expect(pipe).toMatchObject({ code: 1, stderr: expect.stringContaining('is not a file of at most') as string });
    writeFileSync(file, 'short\n');
    chmodSync(file, 0o600);
    const short = await attempt('--http', '127.0.0.1:0', '--http-token-file', file);
    expect(short).toMatchObject({ code: 1, stderr: expect.stringContaining('16 or more') as string });
    const useless = await attempt('--http-token-file', file);
    expect(useless).toMatchObject({ code: 1, stderr: expect.stringContaining('need --http') as string });
  });
});

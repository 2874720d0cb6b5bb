import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RaidkitClient, clientErrorCodes, defaultSocketPath } from '../src/index.js';

interface Request {
  id: number;
  method: string;
  params?: unknown;
}

let folder: string;
let path: string;
let server: Server;
/** What a test's daemon does with a call. */
let onCall: (request: Request, socket: Socket) => void;
const clients: RaidkitClient[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-client-'));
  path = join(folder, 'rpc.sock');
  server = createServer((socket) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('error', () => undefined);
    socket.on('data', (piece: string) => {
      text += piece;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) onCall(JSON.parse(line) as Request, socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

async function connect(options: Parameters<typeof RaidkitClient.connect>[1] = {}): Promise<RaidkitClient> {
  const client = await RaidkitClient.connect({ path }, options);
  clients.push(client);
  return client;
}

function answer(socket: Socket, id: number, result: unknown): void {
  socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);
}

it('gives each call its own answer, in whatever order and pieces they come', async () => {
  const held: Request[] = [];
  onCall = (request, socket) => {
    held.push(request);
    if (held.length < 3) return;
    const lines = held.reverse().map(({ id, params }) => JSON.stringify({ jsonrpc: '2.0', id, result: params }));
    // The answer is cut at every byte, also within a character of several bytes.
    for (const byte of Buffer.from(`${lines.join('\n')}\n`)) socket.write(Buffer.of(byte));
  };
  const client = await connect();
  const asked = [{ text: 'ä€😀' }, { text: '' }, { text: '\n{"id":1}' }];
  expect(await Promise.all(asked.map((params) => client.callAny('echo', params)))).toEqual(asked);
});

it('tells a refusal with the code, the words and the data of the daemon', async () => {
  onCall = ({ id }, socket) =>
    socket.write(`${JSON.stringify({ id, error: { code: -19, message: 'there is no array x', data: { reason: 'none' } } })}\n`);
  const client = await connect();
  await expect(client.call('raidkit_get_arrays', { name: 'x' })).rejects.toMatchObject({
    name: 'ClientError',
    code: 'ERR_CLIENT_REFUSED',
    method: 'raidkit_get_arrays',
    message: 'there is no array x',
    rpc: { code: -19, message: 'there is no array x', data: { reason: 'none' } },
  });
});

it('refuses an answer that the method cannot have, and keeps what a newer daemon adds', async () => {
  onCall = ({ id, method }, socket) =>
    answer(socket, id, method === 'spdk_get_version' ? { version: 'raidkit v9', fields: { major: 9 } } : [{ name: 7 }]);
  const client = await connect();
  expect(await client.call('spdk_get_version')).toEqual({ version: 'raidkit v9', fields: { major: 9 } });
  await expect(client.call('raidkit_get_spares')).rejects.toMatchObject({
    code: 'ERR_CLIENT_ANSWER',
    method: 'raidkit_get_spares',
  });
});

it('gives a call up when its time is over or its signal says so, and lets the others be', async () => {
  const held: [Request, Socket][] = [];
  onCall = (request, socket) => void held.push([request, socket]);
  const client = await connect({ timeoutMs: 20 });
  await expect(client.call('spdk_get_version')).rejects.toMatchObject({ code: 'ERR_CLIENT_TIMEOUT' });
  const abort = new AbortController();
  const given = client.callAny('slow', {}, { signal: abort.signal, timeoutMs: 0 });
  const kept = client.callAny('kept', {}, { timeoutMs: 0 });
  abort.abort(new Error('enough'));
  await expect(given).rejects.toMatchObject({
    code: 'ERR_CLIENT_ABORTED',
    cause: new Error('enough'),
  });
  await expect(client.callAny('late', {}, { signal: abort.signal })).rejects.toMatchObject({ code: 'ERR_CLIENT_ABORTED' });
  await expect.poll(() => held.length).toBe(3);
  // Answers to calls that were given up reach no caller.
  for (const [{ id, method }, socket] of held) answer(socket, id, method);
  expect(await kept).toBe('kept');
});

it('rejects what waits, and what comes later, when the daemon goes away', async () => {
  onCall = (_request, socket) => socket.destroy();
  const client = await connect();
  const waiting = [client.callAny('a'), client.callAny('b')];
  for (const call of waiting) await expect(call).rejects.toMatchObject({ code: 'ERR_CLIENT_CLOSED' });
  await expect(client.callAny('c')).rejects.toThrow(/c: .*it is not known whether the call was carried out/);
});

it('rejects what waits when it is closed', async () => {
  onCall = () => undefined;
  const client = await connect();
  const waiting = client.callAny('a');
  client.close();
  client.close();
  await expect(waiting).rejects.toMatchObject({ code: 'ERR_CLIENT_CLOSED' });
});

it('does not take for an answer what is none, nor one without end', async () => {
  onCall = (_request, socket) => socket.write('HTTP/1.1 400 Bad Request\r\n');
  await expect((await connect()).callAny('a')).rejects.toThrow(/does not speak JSON-RPC/);
  onCall = (_request, socket) => socket.write('x'.repeat(4096));
  await expect((await connect({ maxAnswerBytes: 1024 })).callAny('a')).rejects.toThrow(/more than 1024 bytes/);
});

it('says that no daemon is there, and why', async () => {
  const missing = { path: join(folder, 'none.sock') };
  await expect(RaidkitClient.connect(missing)).rejects.toMatchObject({ code: 'ERR_CLIENT_UNREACHABLE', method: null });
  await expect(RaidkitClient.connect(missing)).rejects.toThrow(/none\.sock: there is no such socket/);
  const signal = AbortSignal.abort();
  await expect(RaidkitClient.connect({ path }, { signal })).rejects.toMatchObject({ code: 'ERR_CLIENT_ABORTED' });
});

it('looks for the socket where a daemon listens that was not told where', () => {
  mkdirSync(join(folder, 'run'));
  expect(defaultSocketPath({ XDG_RUNTIME_DIR: join(folder, 'run') })).toBe(join(folder, 'run/raidkitd.sock'));
  expect(defaultSocketPath({ XDG_RUNTIME_DIR: join(folder, 'gone') })).toMatch(
    /^(\/run\/raidkitd\.sock|\/tmp\/raidkitd-\d+\.sock)$/,
  );
});

it('has a heading in docs/errors.md for each of its codes', async () => {
  const { readFileSync } = await import('node:fs');
  const text = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
  const section = /## ClientError\n([\s\S]*?)(\n## |$)/.exec(text)?.[1] ?? '';
  expect([...section.matchAll(/^### (\S+)/gm)].map((match) => match[1])).toEqual([...clientErrorCodes]);
});

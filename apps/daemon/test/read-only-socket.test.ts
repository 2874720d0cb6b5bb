import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { parseCommandLine } from '../src/cli.js';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import type { Daemon } from '../src/index.js';
import { readOnlyMethods } from '../src/rpc/read-only.js';
import { groupId } from '../src/socket-access.js';
import { spawnDaemon } from './support/process.js';
import { RpcClient } from './support/rpc-client.js';

let folder: string;
let daemon: Daemon;
let writer: RpcClient;
let reader: RpcClient;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-reader-'));
  daemon = await startDaemon({
    rpc: [{ path: join(folder, 'rpc.sock') }],
    readOnlyRpc: [join(folder, 'read.sock')],
    nbd: [],
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 64 << 20,
    log: pino({ level: 'silent' }),
  });
  writer = await RpcClient.connect(join(folder, 'rpc.sock'));
  reader = await RpcClient.connect(join(folder, 'read.sock'));
});

afterEach(async () => {
  writer.close();
  reader.close();
  await daemon.stop();
  rmSync(folder, { recursive: true });
});

it('a control socket for reading answers what changes nothing, and refuses all else', async () => {
  const methods = (await writer.call('rpc_get_methods')) as string[];
  expect(((await reader.call('rpc_get_methods')) as string[]).sort()).toEqual([...readOnlyMethods].sort());
  await writer.call('bdev_null_create', { name: 'n', num_blocks: 4096, block_size: 512 });
  for (const method of methods.filter((name) => !readOnlyMethods.has(name))) {
    await expect(reader.call(method, { name: 'n' }), method).rejects.toThrow(/read-only/);
  }
  expect(await reader.call('bdev_get_bdevs')).toMatchObject([{ name: 'n' }]);
  expect(await reader.call('raidkit_nbd_get_exports')).toEqual([]);
  await reader.call('bdev_get_iostat');
  await expect(reader.call('bdev_get_iostat', { reset_mode: 'all' })).rejects.toThrow(/read-only/);
  await expect(reader.call('no_such_method')).rejects.toThrow(/not found/);
});

/** Where events are told may be a secret: the address of a webhook has one in it. */
const withSecrets = ['raidkit_get_event_sinks'];

it('every method that only asks is answered there', async () => {
  const asks = ((await writer.call('rpc_get_methods')) as string[]).filter((name) => /_(get|wait)_/.test(name));
  expect(asks.filter((name) => !readOnlyMethods.has(name))).toEqual(withSecrets);
});

const ownGroup = process.getgid?.() ?? 0;
/** A group that sockets do not have by themselves, where there is one that they can be given to. */
const another = process.getuid?.() === 0 ? 12_345 : (process.getgroups?.().find((id) => id !== ownGroup) ?? ownGroup);

it.each([
  ['a group that is named may use every socket, and no other user may', { socketGroup: another }, 0o660, 0],
  ['with --socket-mode 660 the group may that they have', { socketMode: 0o660 as const }, 0o660, 0],
  ['with --socket-mode 666 every user may, with a warning', { socketMode: 0o666 as const }, 0o666, 1],
])('%s', async (_what, access, mode, warnings) => {
  let warned = 0;
  const write = (line: string): void =>
    void (warned += Number(line.includes('every user of this machine can use the Unix sockets')));
  const paths = ['control', 'read', 'nbd', 'http'].map((name) => join(folder, `shared-${name}.sock`));
  const [control = '', read = '', nbd = '', http = ''] = paths;
  const shared = await startDaemon({
    rpc: [{ path: control }],
    readOnlyRpc: [read],
    nbd: [{ unix: nbd }],
    http: [{ unix: http }],
    ...access,
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 64 << 20,
    log: pino({ level: 'warn' }, { write }),
  });
  try {
    const gid = 'socketGroup' in access ? access.socketGroup : ownGroup;
    for (const path of paths) expect(statSync(path), path).toMatchObject({ mode: 0o140000 | mode, gid });
    expect(warned).toBe(warnings);
  } finally {
    await shared.stop();
  }
  expect(statSync(join(folder, 'rpc.sock')).mode).toBe(0o140600);
});

it('the command line says who may use the sockets', async () => {
  const path = join(folder, 'own.sock');
  const { child, client, exited, stderr } = await spawnDaemon(path, [
    ...['-r', path, '--state', 'none', '--engine', 'portable', '--memory', '64'],
    ...['--socket-mode', '0666'],
  ]);
  try {
    expect(statSync(path).mode, stderr).toBe(0o140666);
  } finally {
    client.close();
    child.kill();
    await exited;
  }
});

it.each([
  ['644', [], /must be 600, 660 or 666/],
  ['1666', [], /must be 600, 660 or 666/],
  ['rw', [], /must be 600, 660 or 666/],
  ['600', ['--socket-group', '0'], /keeps the group of --socket-group out/],
])('--socket-mode %s %j is refused', (mode, others, reason) => {
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  vi.spyOn(process, 'exit').mockImplementation((code) => {
    throw new Error(`exit ${String(code)}`);
  });
  try {
    expect(() => parseCommandLine(['node', 'raidkitd', '--socket-mode', mode, ...others], '0')).toThrow('exit 1');
    expect(said.mock.calls.join('')).toMatch(reason);
  } finally {
    vi.restoreAllMocks();
  }
});

it('a group is known by name and by number', () => {
  expect(groupId('root')).toBe(0);
  expect(groupId('4294967294')).toBe(4294967294);
  expect(() => groupId('4294967295')).toThrow(/there is no group 4294967295/);
  expect(() => groupId('no-such-group')).toThrow(/there is no group no-such-group/);
});

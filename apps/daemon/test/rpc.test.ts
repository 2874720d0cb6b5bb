import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';
import { RpcClient } from './support/rpc-client.js';

let test: TestDaemon;

/** One daemon for all tests of the part, which leave nothing but memory devices behind; each with a client of its own. */
function shareDaemon(): void {
  beforeAll(async () => {
    test = await startTestDaemon();
  });
  afterAll(() => test.end());
  beforeEach(async () => {
    test.client.close();
    test.client = await RpcClient.connect(test.rpcPath);
  });
  afterEach(async () => {
    const other = await RpcClient.connect(test.rpcPath);
    for (const { name } of (await other.call('bdev_get_bdevs')) as { name: string }[])
      await other.call('bdev_malloc_delete', { name });
    other.close();
  });
}

describe('the wire', () => {
  shareDaemon();

  it('takes requests in pieces of one byte, run together, and pretty-printed', async () => {
    const one = JSON.stringify({ jsonrpc: '2.0', id: 'a', method: 'bdev_get_bdevs' }, null, '\t');
    const two = '{"id":2.5,"method":"spdk_get_version"}';
    for (const char of one) test.client.socket.write(char);
    expect((await test.client.answer('a')).result).toEqual([]);
    test.client.socket.write(two + two.replace('2.5', '3') + '\n\n  ');
    expect((await test.client.answer(2.5)).result).toHaveProperty('fields');
    expect((await test.client.answer(3)).result).toHaveProperty('version');
    expect(test.client.raw.endsWith('\n')).toBe(true);
    expect(test.client.raw.startsWith('{"jsonrpc":"2.0","id":"a","result":[]}\n')).toBe(true);
  });

  it('answers a thousand pipelined requests, each with its id', async () => {
    const ids = Array.from({ length: 1000 }, (_, i) => i + 1);
    test.client.socket.write(ids.map((id) => `{"jsonrpc":"2.0","id":${id},"method":"rpc_get_methods","params":{}}`).join(''));
    for (const id of ids) expect((await test.client.answer(id)).error).toBeUndefined();
  });

  it('answers a slow call after a quick one that came later', async () => {
    test.client.socket.write(
      '{"id":"slow","method":"bdev_get_bdevs","params":{"name":"late","timeout":60000}}{"id":"quick","method":"bdev_get_bdevs"}',
    );
    await test.client.answer('quick');
    expect(test.client.answers.some(({ id }) => id === 'slow')).toBe(false);
    await test.client.call('bdev_malloc_create', { name: 'late', num_blocks: 64, block_size: 512 });
    expect((await test.client.answer('slow')).result).toMatchObject([{ name: 'late' }]);
  });

  it('does what a notification says and sends nothing', async () => {
    const create = { method: 'bdev_malloc_create', params: { name: 'n', num_blocks: 64, block_size: 512 } };
    test.client.socket.write(
      JSON.stringify({ jsonrpc: '2.0', ...create }) +
        JSON.stringify({ ...create, params: { ...create.params, name: 'm' }, id: null }),
    );
    expect(await test.client.call('bdev_get_bdevs')).toHaveLength(2);
    expect(test.client.answers).toHaveLength(1);
  });

  it('answers an error of a notification with id null', async () => {
    test.client.socket.write('{"method":"no_such_method"}');
    expect(await test.client.answer(null)).toMatchObject({
      jsonrpc: '2.0',
      id: null,
      error: { code: -32601, message: 'Method not found' },
    });
  });

  it.each([
    ['an empty batch', '[]'],
    ['a number', '42 '],
    ['an unknown key', '{"id":1,"method":"bdev_get_bdevs","extra":1}'],
    ['another version', '{"jsonrpc":"1.0","id":1,"method":"bdev_get_bdevs"}'],
    ['an id that is an object', '{"id":{},"method":"bdev_get_bdevs"}'],
    ['no method', '{"id":1}'],
  ])('answers %s with Invalid request and goes on', async (_, text) => {
    test.client.socket.write(text);
    expect((await test.client.answer(null)).error).toMatchObject({ code: -32600, message: 'Invalid request' });
    await test.client.call('bdev_get_bdevs');
  });

  it.each([
    ['what is not JSON', '{"id":1,"method":}'],
    ['a stray bracket', ']'],
    ['nesting without end', '['.repeat(100)],
    ['a request without end', `{"id":1,"method":"${'x'.repeat(2 << 20)}`],
  ])('closes the connection at %s, after the answers before it', async (_, text) => {
    test.client.socket.write(`{"id":7,"method":"bdev_get_bdevs"}${text}`);
    await test.client.closed;
    expect(test.client.answers.map(({ id }) => id)).toEqual([7]);
    // Other clients are not affected.
    const other = await RpcClient.connect(test.rpcPath);
    await other.call('bdev_get_bdevs');
    other.close();
  });

  it('survives clients that hang up at every byte of a request', async () => {
    const text = '{"id":1,"method":"bdev_get_bdevs","params":{"name":"x"}}';
    for (let length = 0; length < text.length; length++) {
      const client = await RpcClient.connect(test.rpcPath);
      client.socket.end(text.slice(0, length));
      await client.closed;
    }
    await test.client.call('bdev_get_bdevs');
  });
});

describe('parameters', () => {
  shareDaemon();

  it.each([
    ['spdk_get_version', {}, -32602],
    ['bdev_raid_get_bdevs', {}, -32700],
    ['bdev_raid_get_bdevs', { category: 'ALL' }, -32700],
    ['bdev_raid_add_base_bdev', { raid_bdev: 1 }, -32603],
    ['bdev_malloc_create', { num_blocks: -1, block_size: 512 }, -32603],
    ['bdev_malloc_create', { num_blocks: 1, block_size: 512, nonsense: true }, -32603],
    ['bdev_malloc_create', { num_blocks: 64, block_size: 500 }, -22],
    ['bdev_aio_create', { name: 'f', filename: '/nonexistent/file' }, -2],
    ['bdev_get_bdevs', { name: 'absent' }, -19],
    ['raidkit_get_arrays', { name: 'absent' }, -19],
    ['raidkit_control_process', { name: 1 }, -32602],
    ['nbd_start_disk', { bdev_name: 'absent' }, -19],
    ['framework_start_init', undefined, -1],
    ['no_such_method', undefined, -32601],
  ])('%s with %j is answered %i', async (method, params, code) => {
    expect((await test.client.ask(method, params)).error?.code).toBe(code);
  });

  it('refuses a key that is given twice', async () => {
    test.client.socket.write('{"id":1,"method":"bdev_raid_get_bdevs","params":{"category":"all","category":"all"}}');
    expect((await test.client.answer(1)).error?.code).toBe(-32700);
  });
});

describe('the daemon', () => {
  beforeEach(async () => {
    test = await startTestDaemon();
  });
  afterEach(() => test.end());

  it('waits for framework_start_init if it is told to', async () => {
    const waiting = await startTestDaemon({ waitForRpc: true });
    const { client } = waiting;
    expect((await client.ask('bdev_get_bdevs')).error?.code).toBe(-1);
    expect(await client.call('rpc_get_methods', { current: true })).not.toContain('bdev_raid_create');
    await client.call('bdev_raid_set_options', { process_window_size_kb: 512 });
    await client.call('framework_start_init');
    expect(await client.call('rpc_get_methods', { current: true })).toContain('bdev_raid_create');
    expect((await client.ask('framework_start_init')).error?.code).toBe(-1);
    await client.call('bdev_get_bdevs');
    await waiting.end();
  });

  it('listens on TCP when asked to', async () => {
    const log = pino({ level: 'silent' });
    const rpc = [{ host: '127.0.0.1', port: 0 }];
    const daemon = await startDaemon({
      rpc,
      nbd: [],
      levels: defaultLevelPackages,
      conditions: ['@raidkit/source'],
      memoryBytes: 64 << 20,
      log,
    });
    const [host = '', port = ''] = daemon.rpcAddresses[0]!.split(':');
    const client = await RpcClient.connect({ host, port: Number(port) });
    await client.call('bdev_get_bdevs');
    client.close();
    await daemon.stop();
  });

  it('makes its socket for its owner alone, and replaces one that a dead daemon left', async () => {
    expect(statSync(test.rpcPath).mode & 0o777).toBe(0o600);
    const folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
    const path = join(folder, 's');
    const server = createServer().listen(path);
    await new Promise((resolve) => server.once('listening', resolve));
    const options = {
      nbd: [],
      levels: defaultLevelPackages,
      conditions: ['@raidkit/source'],
      memoryBytes: 64 << 20,
      log: pino({ level: 'silent' }),
    };
    // Another program listens on the socket, which is not replaced.
    await expect(startDaemon({ ...options, rpc: [{ path }] })).rejects.toMatchObject({ errno: 98 });
    await new Promise((resolve) => server.close(resolve));
    // A file that is not a socket is not replaced either.
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    await expect(startDaemon({ ...options, rpc: [{ path: file }] })).rejects.toMatchObject({ errno: 17 });
    const daemon = await startDaemon({ ...options, rpc: [{ path }] });
    await daemon.stop();
    rmSync(folder, { recursive: true });
  });

  it('saves its configuration so that it can be replayed', async () => {
    const { client } = test;
    await client.call('bdev_malloc_create', { name: 'm0', num_blocks: 4096, block_size: 512 });
    await client.call('bdev_malloc_create', { name: 'm1', num_blocks: 4096, block_size: 512 });
    await client.call('bdev_passthru_create', { base_bdev_name: 'm0', name: 'p0' });
    await client.call('bdev_raid_create', { name: 'r', raid_level: 'raid1', base_bdevs: ['p0', 'm1'] });
    await client.call('bdev_raid_create', { name: 'w', raid_level: 'concat', strip_size_kb: 4, base_bdevs: ['later'] });
    const optional = {
      name: 'o',
      raid_level: 'raid5f',
      strip_size_kb: 4,
      base_bdevs: ['x', 'y', 'z'],
      level_options: { full_stripe_only: true },
    };
    await client.call('bdev_raid_create', optional);
    await expect(client.call('bdev_raid_create', { ...optional, name: 'q', level_options: { no_such: 1 } })).rejects.toThrow(
      /Invalid argument/,
    );
    const config = await client.call('framework_get_config', { name: 'bdev' });
    expect(config).toContainEqual({
      method: 'bdev_raid_create',
      params: expect.objectContaining({ name: 'o', level_options: { full_stripe_only: true } }) as object,
    });
    const configPath = join(test.folder, 'config.json');
    writeFileSync(
      configPath,
      JSON.stringify({
        subsystems: [
          { subsystem: 'accel', config: [{ method: 'accel_set_options' }] },
          { subsystem: 'bdev', config },
        ],
      }),
    );
    const again = await startTestDaemon({ configPath });
    expect(await again.client.call('framework_get_config', { name: 'bdev' })).toEqual(config);
    expect(await again.client.call('bdev_raid_get_bdevs', { category: 'all' })).toEqual(
      await client.call('bdev_raid_get_bdevs', { category: 'all' }),
    );
    await again.end();
  });

  it('saves no member of an array without superblocks that has left it', async () => {
    const { client } = test;
    for (const name of ['m0', 'm1']) await client.call('bdev_malloc_create', { name, num_blocks: 4096, block_size: 512 });
    await client.call('bdev_raid_create', { name: 'r', raid_level: 'raid1', base_bdevs: ['m0', 'm1'] });
    const members = async (array: string): Promise<unknown> => {
      const config = (await client.call('framework_get_config', { name: 'bdev' })) as {
        method: string;
        params?: { name: string; base_bdevs: string[] };
      }[];
      return config.find(({ method, params }) => method === 'bdev_raid_create' && params?.name === array)?.params?.base_bdevs;
    };
    expect(await members('r')).toEqual(['m0', 'm1']);
    await client.call('bdev_raid_remove_base_bdev', { name: 'm1' });
    expect(await members('r')).toEqual(['m0', 'removed_base_bdev_1']);
  });

  it('that is strict does not start on a configuration that fails, and says where', async () => {
    const configPath = join(test.folder, 'config.json');
    const config = [
      { method: 'bdev_malloc_create', params: { name: 'x', num_blocks: 64, block_size: 512 } },
      { method: 'bdev_raid_create', params: { name: 'r' } },
    ];
    writeFileSync(configPath, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
    await expect(startTestDaemon({ configPath, isStrict: true })).rejects.toThrow(
      /call 2, bdev_raid_create: spdk_json_decode_object failed.*raid_level is missing/,
    );
    writeFileSync(configPath, '{"subsystems": 3}');
    await expect(startTestDaemon({ configPath })).rejects.toThrow(/subsystems/);
  });

  it('ends when spdk_kill_instance says so', async () => {
    expect(await test.client.call('spdk_kill_instance', { sig_name: 'SIGTERM' })).toBe(true);
    await test.stopRequested;
  });
});

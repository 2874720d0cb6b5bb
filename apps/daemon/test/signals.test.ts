import { spawn } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startListening } from '../src/listening.js';
import { until } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';
import { hasCommands, run } from './support/process.js';
import { RpcClient } from './support/rpc-client.js';

const test = oneDaemon();
const portable = ['--engine', 'portable', '--memory', '64'];
const bin = new URL('../bin/raidkitd.js', import.meta.url).pathname;

describe('signals', () => {
  it('stop a daemon in good order that is still replaying its configuration', async () => {
    // Each call waits for a device that never comes: the replay would take a day.
    const call = { method: 'bdev_get_bdevs', params: { name: 'absent', timeout: 86_400_000 } };
    const config = join(test.folder, 'config.json');
    writeFileSync(config, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config: [call] }] }));
    const child = spawn(process.execPath, [bin, ...portable, '-r', join(test.folder, 'rpc.sock'), '-c', config]);
    let said = '';
    child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
    const exited = new Promise((resolve) => child.on('close', resolve));
    try {
      await until('it answers', () => canConnect(join(test.folder, 'rpc.sock')));
      const client = await RpcClient.connect(join(test.folder, 'rpc.sock'));
      expect(await client.call('raidkit_get_configuration')).toMatchObject({ is_starting: true });
      client.close();
      child.kill('SIGTERM');
      expect(await exited).toBe(0);
      expect(said).toContain('SIGTERM: stopping');
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('SIGHUP does not end it', async () => {
    const { client, child, exited } = await test.start(portable);
    child.kill('SIGHUP');
    await until('it has heard', () => test.daemon!.stderr.includes('SIGHUP'));
    expect(await client.call('bdev_get_bdevs')).toEqual([]);
    expect(await client.call('raidkit_get_configuration')).toMatchObject({ is_starting: false });
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
  });

  it('stop a daemon one of whose clients does not read its answers', async () => {
    const { client, child, exited } = await test.start(portable);
    const silent = await RpcClient.connect(join(test.folder, 'rpc.sock'));
    silent.socket.pause();
    // This is far more than the buffers of a socket hold.
    for (let id = 1; id <= 64; id++) silent.socket.write(JSON.stringify({ jsonrpc: '2.0', method: 'rpc.discover', id }));
    for (let calls = 0; calls < 3; calls++) await client.call('rpc.discover');
    child.kill('SIGTERM');
    try {
      expect(await exited).toBe(0);
    } finally {
      silent.close();
    }
  });

  it('an orderly stop is not called a deletion', async () => {
    const { client, child, exited } = await test.start(portable);
    for (const name of ['a', 'b', 'c']) {
      makeFile(join(test.folder, name), 8 << 20);
      await client.call('bdev_aio_create', { name, filename: join(test.folder, name), block_size: 512 });
    }
    await client.call('bdev_raid_create', { name: 'v', raid_level: 'raid1', base_bdevs: ['a', 'b'], superblock: true });
    await client.call('bdev_raid_create', {
      name: 'w',
      raid_level: 'raid0',
      strip_size_kb: 4,
      base_bdevs: ['c'],
      superblock: true,
    });
    await client.call('raidkit_stop', { name: 'w' });
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
    expect(test.daemon!.stderr).toContain('it is being stopped');
    expect(test.daemon!.stderr).not.toContain('being deleted');
  });
});

it('a control socket is its owner’s alone, and the umask that does it applies to nothing else', async () => {
  const path = join(test.folder, 'private.sock');
  const server = createServer();
  const umask = process.umask(0o022);
  try {
    const listening = startListening(server, { path });
    expect(process.umask(0o022)).toBe(0o022);
    await listening;
    expect(statSync(path).mode & 0o777).toBe(0o600);
  } finally {
    process.umask(umask);
    server.close();
  }
});

describe('a start that fails', () => {
  it('because another daemon has the control socket: at once, though that one accepts no connection', async () => {
    // A server whose queue is full: connecting fails, and it is alive all the same.
    const path = join(test.folder, 'rpc.sock');
    const holder = spawn('/usr/bin/python3', ['-c', fullQueue, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    try {
      const second = await run(process.execPath, [bin, ...portable, '-r', path]);
      expect(second.code).toBe(1);
      expect(second.stderr).toContain(`another server listens on ${path}`);
    } finally {
      holder.kill('SIGKILL');
    }
  });

  it.runIf(hasCommands('script'))('says so in words on a terminal', async () => {
    const command = `${process.execPath} ${bin} -c /nonexistent/config.json -r ${join(test.folder, 'r')} ${portable.join(' ')}`;
    const { stdout } = await run('/usr/bin/script', ['-qec', command, '/dev/null']);
    const lines = stdout.trim().split(/\r?\n/);
    expect(lines.filter((line) => line.includes('cannot start'))).toEqual([
      expect.stringMatching(/^raidkitd cannot start: the configuration \/nonexistent\/config.json cannot be read: /),
    ]);
    expect(stdout).not.toContain('    at ');
  });
});

/** Listens on argv[1], accepts no connection, and has clients until the queue is full. */
const fullQueue = `
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(0)
clients = []
while True:
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(sys.argv[1])
    except BlockingIOError:
        break
    clients.append(client)
print('full', flush=True)
sys.stdin.read()
`;

function canConnect(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket: Socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

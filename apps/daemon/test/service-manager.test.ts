import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takeServiceManager } from '../src/service-manager.js';
import { until } from './support/devices.js';
import { spawnDaemon } from './support/process.js';

/** Listens where a service manager would, and prints each datagram as a line of JSON. */
const manager = `
import json, socket, sys
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
heard.bind("\\0" + name[1:] if name.startswith("@") else name)
print(json.dumps("listening"), flush=True)
while True:
    print(json.dumps(heard.recv(4096).decode()), flush=True)
`;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-manager-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe('a service manager', () => {
  it.each([
    ['a path', () => join(folder, 'notify')],
    ['an abstract name', () => `@raidkit-test-${process.pid}`],
  ])('hears of the start, that the daemon lives, and of its stop: %s', async (_kind, place) => {
    const listener = spawn('/usr/bin/python3', ['-c', manager, place()], { stdio: ['ignore', 'pipe', 'inherit'] });
    const heard: string[] = [];
    createInterface({ input: listener.stdout }).on('line', (line) => heard.push(JSON.parse(line) as string));
    try {
      await until('it listens', () => heard.length === 1);
      const rpc = join(folder, 'rpc.sock');
      const env = { ...process.env, NOTIFY_SOCKET: place(), WATCHDOG_USEC: '200000' };
      const daemon = await spawnDaemon(rpc, ['-r', rpc, '--memory', '64'], folder, env);
      await until('it is ready', () => heard.length > 1);
      expect(heard[1]).toBe(`READY=1\nSTATUS=serving, ${rpc}`);
      await until('it lives', () => heard.includes('WATCHDOG=1'));
      daemon.client.close();
      daemon.child.kill('SIGTERM');
      expect(await daemon.exited).toBe(0);
      await until('it has stopped', () => heard.includes('STOPPING=1'));
    } finally {
      listener.kill('SIGKILL');
    }
  });

  it('that is gone does not stop the daemon', async () => {
    const rpc = join(folder, 'rpc.sock');
    const env = { ...process.env, NOTIFY_SOCKET: join(folder, 'absent') };
    const daemon = await spawnDaemon(rpc, ['-r', rpc, '--memory', '64'], folder, env);
    daemon.client.close();
    await until('it says so', () => daemon.stderr.includes('cannot be reported to the service manager'));
    daemon.child.kill('SIGTERM');
    expect(await daemon.exited).toBe(0);
  });
});

describe('what the environment says of a service manager', () => {
  it('is taken from it, so that other programs do not speak for the daemon', () => {
    const env = { NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(process.pid), PATH: '/bin' };
    expect(takeServiceManager(env)).toEqual({ socket: '/run/notify', watchdogMs: 30_000 });
    expect(env).toEqual({ PATH: '/bin' });
  });

  it.each([
    [{}, null],
    [{ NOTIFY_SOCKET: '' }, null],
    [{ NOTIFY_SOCKET: 'vsock:1:2' }, null],
    [
      { NOTIFY_SOCKET: '@name', WATCHDOG_USEC: 'soon' },
      { socket: '\0name', watchdogMs: 0 },
    ],
    [
      { NOTIFY_SOCKET: '/n', WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' },
      { socket: '/n', watchdogMs: 0 },
    ],
  ])('is none of our business if it makes no sense, or is for another process: %j', (env, place) => {
    expect(takeServiceManager(env)).toEqual(place);
  });
});

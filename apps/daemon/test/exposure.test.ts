import { BdevRegistry } from '@raidkit/bdev';
import type { Logger } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultRpcPath } from '../src/cli.js';
import { Exports } from '../src/exports.js';
import { listenRpc } from '../src/rpc/listen.js';
import { startTestDaemon } from './support/daemon.js';

// Tests of what a daemon exposes to others, and of its warnings about that.

let folder: string;
let warnings: string[];
let log: Logger;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkitd-exposure-'));
  warnings = [];
  const nothing = (): void => undefined;
  log = { debug: nothing, info: nothing, error: nothing, warn: (_fields, message) => void warnings.push(message) };
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const refusing = { call: () => Promise.reject(new Error('no call is served')) };

describe('addresses', () => {
  it.each([
    ['127.0.0.1', /every user of this machine can use every export/],
    ['0.0.0.0', /every client that can reach it can use every export/],
  ])('NBD without TLS on %s is warned of', async (host, message) => {
    const exports = new Exports(new BdevRegistry(nodeRuntime({ memoryBytes: 32 << 20 })), log);
    await exports.listen({ unix: join(folder, 's') });
    expect(warnings).toEqual([]);
    await exports.listen({ host, port: 0 });
    expect(warnings).toEqual([expect.stringMatching(message)]);
    await exports.close();
  });

  it.each(['127.0.0.1', 'localhost'])('a control socket on %s is warned of', async (host) => {
    const listener = await listenRpc({ host, port: 0 }, refusing, log);
    await listener.close();
    expect(warnings).toEqual([expect.stringMatching(/every user of this machine can do everything/)]);
  });

  it.each(['0.0.0.0', '::', '192.0.2.1', 'example.invalid', '127.0.0.1.example.invalid', '::ffff:192.0.2.1'])(
    'a control socket on %s, which other machines can reach, is refused',
    async (host) => {
      await expect(listenRpc({ host, port: 0 }, refusing, log)).rejects.toThrow(/no authentication.*use a loopback address/);
    },
  );

  it('a control socket is not made where every user could put another in its place', async () => {
    chmodSync(folder, 0o777);
    await expect(listenRpc({ path: join(folder, 's') }, refusing, log)).rejects.toThrow(/every user can write to/);
  });

  it.runIf(process.getuid?.() === 0)('the runtime folder of another user, as sudo -E hands it on, is not used', () => {
    const before = process.env.XDG_RUNTIME_DIR;
    const own = join(folder, 'own');
    mkdirSync(own);
    try {
      process.env.XDG_RUNTIME_DIR = own;
      expect(defaultRpcPath()).toBe(join(own, 'raidkitd.sock'));
      chownSync(own, 12_345, 12_345);
      expect(defaultRpcPath()).toBe('/run/raidkitd.sock');
    } finally {
      if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
      else process.env.XDG_RUNTIME_DIR = before;
    }
  });
});

it('a device that the kernel could not be attached to is not exported either', async () => {
  const test = await startTestDaemon();
  try {
    await test.client.call('bdev_malloc_create', { name: 'm', num_blocks: 1024, block_size: 512 });
    // No device of the kernel's NBD client; or there is no nbd-client to say so.
    const params = { bdev_name: 'm', nbd_device: '/dev/null' };
    expect((await test.client.ask('nbd_start_disk', params)).error).toMatchObject({
      message: expect.stringMatching(/^nbd-client/) as string,
    });
    expect(await test.client.call('raidkit_nbd_get_exports')).toEqual([]);
    expect(await test.client.call('bdev_malloc_delete', { name: 'm' })).toBe(true);
  } finally {
    await test.end();
  }
});

it('a name that no client could ask for is refused, whatever it is to name', async () => {
  const test = await startTestDaemon();
  try {
    await expect(
      test.client.call('bdev_malloc_create', { name: 'a\ud800', num_blocks: 1024, block_size: 512 }),
    ).rejects.toThrow();
    await test.client.call('bdev_malloc_create', { name: 'm', num_blocks: 1024, block_size: 512 });
    await expect(test.client.call('raidkit_nbd_export', { bdev_name: 'm', name: 'a\ud800' })).rejects.toThrow();
    expect(await test.client.call('raidkit_nbd_get_exports')).toEqual([]);
  } finally {
    await test.end();
  }
});

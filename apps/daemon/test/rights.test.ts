import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestDaemon } from './support/daemon.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-rights-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

it('who may use an export is shown, kept, and there again after a restart', async () => {
  const statePath = join(folder, 'state.json');
  const clients = [{ tls_user: 'alice' }, { certificate: 'O=example,CN=reader', read_only: true }];
  const first = await startTestDaemon({ statePath });
  await first.client.call('bdev_null_create', { name: 'n', num_blocks: 4096, block_size: 512 });
  await first.client.call('raidkit_nbd_export', { bdev_name: 'n', name: 'private', clients });
  await first.client.call('raidkit_nbd_export', { bdev_name: 'n', name: 'public', read_only: true });
  await first.end();
  const second = await startTestDaemon({ statePath });
  expect(await second.client.call('raidkit_nbd_get_exports')).toMatchObject([
    { name: 'private', read_only: false, clients },
    { name: 'public', read_only: true, clients: null },
  ]);
  await second.end();
});

it('rules that let no client in are refused, with the place and what there is', async () => {
  const test = await startTestDaemon();
  await test.client.call('bdev_null_create', { name: 'n', num_blocks: 4096, block_size: 512 });
  const add = (clients: object[]): Promise<unknown> =>
    test.client.call('raidkit_nbd_export', { bdev_name: 'n', name: 'x', clients });
  await expect(add([{ tls_user: 'alice' }, { listener: 'tcp:127.0.0.1:1' }])).rejects.toThrow(
    `clients.1.listener is tcp:127.0.0.1:1, but NBD is served at unix:${test.nbdPath}`,
  );
  await expect(add([])).rejects.toThrow(/1 to 1000 access rules/);
  await expect(add([{}])).rejects.toThrow(/rule 0 .* names no listener/);
  await expect(add([{ user: 'alice' }])).rejects.toThrow(/user/);
  await add([{ listener: `unix:${test.nbdPath}` }]);
  await test.end();
});

import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { until } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';
import { spawnDaemon } from './support/process.js';

const test = oneDaemon();

function call(method: string, params?: unknown): Promise<unknown> {
  return test.daemon!.client.call(method, params);
}

const device = (): string => join(test.folder, 'nbd0');
const log = (): string => readFileSync(join(test.folder, 'log'), 'utf8');
const disks = (): Promise<unknown> => call('nbd_get_disks');

/** The daemon, with a program in place of nbd-client that notes what it is told, and fails while there is a file `fail`. */
async function start(): Promise<void> {
  const bin = join(test.folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const script = `#!/bin/sh\necho "$*" >> '${join(test.folder, 'log')}'\n[ ! -e '${join(test.folder, 'fail')}' ] || { echo busy >&2; exit 1; }\n`;
  writeFileSync(join(bin, 'nbd-client'), script);
  chmodSync(join(bin, 'nbd-client'), 0o755);
  const rpc = join(test.folder, 'rpc.sock');
  const args = ['-r', rpc, '--nbd', `unix:${test.nbdPath}`, '--memory', '64', '--state', join(test.folder, 'state.json')];
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH ?? ''}` };
  test.daemon = await spawnDaemon(rpc, args, test.folder, env);
}

async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  test.daemon!.client.close();
  test.daemon!.child.kill(signal);
  await test.daemon!.exited;
}

async function makeMirror(): Promise<void> {
  for (const name of ['a', 'b']) {
    makeFile(join(test.folder, name), 4 << 20);
    await call('bdev_aio_create', { name, filename: join(test.folder, name), block_size: 512 });
  }
  await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b'], superblock: true });
}

it('what the kernel had is attached again after a stop and after a kill, and nothing once it is detached', async () => {
  writeFileSync(device(), '');
  await start();
  await makeMirror();
  expect(await call('nbd_start_disk', { bdev_name: 'vol', nbd_device: device() })).toBe(device());
  const attached = [{ nbd_device: device(), bdev_name: 'vol' }];
  const connect = `-unix ${test.nbdPath} -N vol ${device()}\n`;
  expect(log()).toBe(connect);

  await end('SIGTERM');
  // The kernel was told before its server went.
  expect(log()).toBe(`${connect}-d ${device()}\n`);
  await start();
  await until('it is attached', async () => JSON.stringify(await disks()) === JSON.stringify(attached));

  await end('SIGKILL');
  // The kernel still has the old connection, for a while.
  writeFileSync(join(test.folder, 'fail'), '');
  await start();
  const pending = async (): Promise<{ method: string; reason: string }[]> =>
    ((await call('raidkit_get_configuration')) as { pending: { method: string; reason: string }[] }).pending;
  await until('it is tried', async () => (await pending()).some(({ reason }) => reason.includes('nbd-client failed: busy')));
  rmSync(join(test.folder, 'fail'));
  await until('it is attached again', async () => JSON.stringify(await disks()) === JSON.stringify(attached));
  expect(await pending()).toEqual([]);

  expect(await call('nbd_stop_disk', { nbd_device: device() })).toBe(true);
  expect(await disks()).toEqual([]);
  expect(readFileSync(join(test.folder, 'state.json'), 'utf8')).not.toContain('nbd_start_disk');
});

it('an attachment goes with its volume, and comes back with it', async () => {
  writeFileSync(device(), '');
  await start();
  await makeMirror();
  await call('nbd_start_disk', { bdev_name: 'vol', nbd_device: device() });
  await call('raidkit_stop', { name: 'vol' });
  await until('the kernel was told', () => log().includes(`-d ${device()}`));
  expect(await disks()).toEqual([]);
  for (const name of ['a', 'b']) {
    await call('bdev_aio_delete', { name });
    await call('bdev_aio_create', { name, filename: join(test.folder, name), block_size: 512 });
  }
  await until('it is attached again', async () => JSON.stringify(await disks()).includes('"vol"'));
});

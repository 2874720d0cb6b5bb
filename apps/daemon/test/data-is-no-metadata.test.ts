import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';

// What a client writes to its export is data, even if it is the superblock of an array.

let folder: string;
let daemon: TestDaemon | null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-data-'));
  daemon = null;
});

afterEach(async () => {
  await daemon?.end();
  rmSync(folder, { recursive: true });
});

const path = (name: string): string => join(folder, name);
const open = (name: string, file = name) => ({
  method: 'bdev_aio_create',
  params: { name, filename: path(file), block_size: 512 },
});

async function start(calls: object[]): Promise<TestDaemon> {
  writeFileSync(path('config.json'), JSON.stringify({ subsystems: [{ subsystem: 'bdev', config: calls }] }));
  daemon = await startTestDaemon({ configPath: path('config.json') });
  await daemon.client.call('bdev_wait_for_examine');
  return daemon;
}

async function stop(): Promise<void> {
  await daemon?.end();
  daemon = null;
}

/** Two files with the superblocks of a mirror. */
async function makeMirror(): Promise<void> {
  for (const name of ['d0', 'd1']) {
    writeFileSync(path(name), '');
    truncateSync(path(name), 8 << 20);
  }
  const { client } = await start([open('d0'), open('d1')]);
  await client.call('bdev_raid_create', { name: 'x', raid_level: 'raid1', base_bdevs: ['d0', 'd1'], superblock: true });
  await stop();
}

async function arrays({ client }: TestDaemon): Promise<string[]> {
  return ((await client.call('bdev_raid_get_bdevs', { category: 'all' })) as { name: string; state: string }[]).map(
    ({ name, state }) => `${name} ${state}`,
  );
}

it('a device that the configuration exports is not looked at for a superblock, and is what its clients made of it', async () => {
  await makeMirror();
  const exported = { method: 'raidkit_nbd_export', params: { bdev_name: 'd1', name: 'plain' } };
  const test = await start([open('d0'), open('d1'), exported]);
  expect(await arrays(test)).toEqual(['x configuring']);
  expect(await test.client.call('raidkit_nbd_get_exports')).toMatchObject([
    { name: 'plain', bdev_name: 'd1', read_only: false },
  ]);
  await stop();
  // On its own it does not form an array either.
  expect(await arrays(await start([open('d1'), exported]))).toEqual([]);
  await stop();
  // Without an export it is a member as usual.
  expect(await arrays(await start([open('d0'), open('d1')]))).toEqual(['x online']);
});

it('a superblock that was copied to another device makes no array of that name', async () => {
  await makeMirror();
  copyFileSync(path('d0'), path('copy'));
  expect(await arrays(await start([open('other', 'copy')]))).toEqual([]);
});

it('with bdev_auto_examine off devices are examined by hand alone', async () => {
  await makeMirror();
  const options = { method: 'bdev_set_options', params: { bdev_auto_examine: false } };
  const test = await start([options, open('d0'), open('d1')]);
  expect(await arrays(test)).toEqual([]);
  const calls = (await test.client.call('framework_get_config', { name: 'bdev' })) as {
    method: string;
    params?: { bdev_auto_examine?: boolean };
  }[];
  expect(calls.find(({ method }) => method === 'bdev_set_options')?.params?.bdev_auto_examine).toBe(false);
  for (const name of ['d0', 'd1']) await test.client.call('bdev_examine', { name });
  expect(await arrays(test)).toEqual(['x online']);
  await test.client.call('bdev_set_options', { bdev_auto_examine: true });
  await expect(test.client.call('bdev_examine', { name: 'd0' })).rejects.toThrow();
});

it('a client of an array without superblocks, whose data begins with one, does not keep the array down', async () => {
  await makeMirror();
  const file = readFileSync(path('d0'));
  for (const index of [0, 1]) {
    writeFileSync(path(`p${index}`), '');
    truncateSync(path(`p${index}`), 8 << 20);
  }
  const create = {
    method: 'bdev_raid_create',
    params: { name: 'plain', raid_level: 'concat', strip_size_kb: 64, base_bdevs: ['d0', 'p1'] },
  };
  // What the volume begins with is what its first member begins with; the superblock names that very device.
  expect(file.subarray(0, 8).toString()).toBe('SPDKRAID');
  const test = await start([open('d0'), open('p1'), create]);
  expect(await arrays(test)).toEqual(['plain online']);
  expect(((await test.client.call('raidkit_nbd_get_exports')) as { name: string }[]).map(({ name }) => name)).toEqual([
    'plain',
  ]);
  await stop();
  // A manual call is still refused, because nothing says that the superblock is data.
  const other = await start([open('p0')]);
  await other.client.call('bdev_aio_create', { ...open('d0').params });
  await other.client.call('raidkit_stop', { name: 'x' });
  await expect(other.client.call('bdev_raid_create', { ...create.params, base_bdevs: ['d0', 'p0'] })).rejects.toThrow(
    /has the superblock of array x/,
  );
});

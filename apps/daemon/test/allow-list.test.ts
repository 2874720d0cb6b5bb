import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import type { Daemon, DaemonOptions } from '../src/index.js';
import { makeFile } from './support/files.js';
import { run } from './support/process.js';

// Tests of which devices may be opened, and which arrays may run.

const mine = '11111111-2222-4333-8444-555555555555';
const theirs = '99999999-2222-4333-8444-555555555555';
let folder: string;
let daemon: Daemon | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-allow-'));
  mkdirSync(join(folder, 'disks'));
  for (const name of ['disks/a', 'disks/b', 'disks/c', 'disks/d', 'other']) makeFile(join(folder, name), 16 << 20);
});

afterEach(async () => {
  await end();
  rmSync(folder, { recursive: true });
});

async function end(): Promise<void> {
  await daemon?.stop();
  daemon = null;
}

async function start(options: Partial<DaemonOptions>): Promise<void> {
  await end();
  daemon = await startDaemon({
    rpc: [],
    nbd: [],
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 64 << 20,
    log: pino({ level: 'silent' }),
    ...options,
  });
}

function call(method: string, params?: unknown): Promise<unknown> {
  return daemon!.caller.call(method, params);
}

const open = (path: string, name = 'x'): Promise<unknown> =>
  call('bdev_aio_create', { name, filename: join(folder, path), block_size: 512 });

const create = (params: object): Promise<unknown> =>
  call('bdev_raid_create', { raid_level: 'raid1', superblock: true, ...params });

async function arrayNames(): Promise<string[]> {
  return ((await call('raidkit_get_arrays')) as { name: string }[]).map(({ name }) => name);
}

function configure(...config: object[]): string {
  const path = join(folder, 'config.json');
  writeFileSync(path, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
  return path;
}

it('no device is opened but those that match, by whatever path', async () => {
  await start({ allow: { devices: [join(folder, 'disks/*')], arrays: null } });
  await open('disks/a');
  symlinkSync(join(folder, 'disks/b'), join(folder, 'link'));
  await open('link', 'y');
  const patterns = join(folder, 'disks/*');
  for (const path of ['other', 'disks/../other', 'gone']) {
    await expect(open(path, 'z'), path).rejects.toMatchObject({
      code: -1,
      message: 'Operation not permitted',
      data: { field: 'filename', allowed: patterns, reason: expect.stringMatching(/is not one of the devices/) as string },
    });
  }
  await expect(call('bdev_uring_create', { name: 'z', filename: join(folder, 'other') })).rejects.toMatchObject({ code: -1 });
});

it('what stands behind a link and .. is where the kernel finds it, not where the text leads to', async () => {
  await start({ allow: { devices: [join(folder, 'disks/*')], arrays: null } });
  // Read as text, the path is disks/a; the kernel resolves it to the file beside the folder that the link leads to.
  mkdirSync(join(folder, 'x/disks'), { recursive: true });
  mkdirSync(join(folder, 'x/deep'));
  makeFile(join(folder, 'x/disks/a'), 16 << 20);
  symlinkSync(join(folder, 'x/deep'), join(folder, 'link'));
  const filename = `${folder}/link/../disks/a`;
  const params = { name: 'z', filename, block_size: 512 };
  await expect(call('bdev_aio_create', params)).rejects.toMatchObject({ code: -1, data: { field: 'filename' } });
  expect(await call('bdev_get_bdevs')).toEqual([]);
  expect(await call('bdev_aio_create', { ...params, filename: `${folder}/x/../disks/a` })).toBe('z');
  const disk = { bdev_name: 'z', nbd_device: join(folder, 'other') };
  await expect(call('nbd_start_disk', disk)).rejects.toMatchObject({ code: -1, data: { field: 'nbd_device' } });
});

it('what a path leads to is judged again when it is opened, by what has been opened', async () => {
  await start({ allow: { devices: [join(folder, 'disks/*')], arrays: null } });
  symlinkSync(join(folder, 'other'), join(folder, 'link'));
  // This is what happens if the link led to disks/b when the call arrived.
  const { dispatcher } = daemon!.service;
  const opening = dispatcher.call('bdev_aio_create', { name: 'z', filename: join(folder, 'link'), block_size: 512 });
  await expect(opening).rejects.toMatchObject({ code: -1, data: { field: 'filename', allowed: join(folder, 'disks/*') } });
  expect(await call('bdev_get_bdevs')).toEqual([]);
});

it('a scan does not even look at other devices', async () => {
  await start({});
  for (const name of ['a', 'b', 'c', 'd']) await open(`disks/${name}`, name);
  await create({ name: 'mine', uuid: mine, base_bdevs: ['a', 'b'] });
  await create({ name: 'theirs', uuid: theirs, base_bdevs: ['c', 'd'] });

  await start({
    allow: { devices: [join(folder, 'disks/[ab]')], arrays: null },
    scan: { patterns: [join(folder, 'disks/*')], policy: 'all' },
  });
  expect(await arrayNames()).toEqual(['mine']);
  const { found } = (await call('raidkit_get_configuration')) as { found: { path: string }[] };
  expect(found.map(({ path }) => path)).toEqual(['a', 'b'].map((name) => join(folder, 'disks', name)));
});

it('no array runs but those that are listed, wherever its disks come from, and none is made', async () => {
  await start({});
  for (const name of ['a', 'b', 'c', 'd']) await open(`disks/${name}`, name);
  await create({ name: 'mine', uuid: mine, base_bdevs: ['a', 'b'] });
  await create({ name: 'theirs', uuid: theirs, base_bdevs: ['c', 'd'] });

  await start({
    allow: { devices: null, arrays: [mine.toUpperCase()] },
    scan: { patterns: [join(folder, 'disks/*')], policy: 'all' },
  });
  expect(await arrayNames()).toEqual(['mine']);
  // The data on it is still protected from being overwritten.
  await call('bdev_malloc_create', { name: 'm', num_blocks: 32_768, block_size: 512 });
  await expect(create({ name: 'new', base_bdevs: ['m'] })).rejects.toMatchObject({
    code: -1,
    data: { field: 'uuid', allowed: mine },
  });
  await expect(create({ name: 'new', uuid: theirs, base_bdevs: ['m'] })).rejects.toMatchObject({ data: { field: 'uuid' } });
  await call('bdev_raid_delete', { name: 'mine', clear_sb: true });
  await expect(create({ name: 'mine', uuid: mine, base_bdevs: ['c', 'm'] })).rejects.toMatchObject({
    code: -17,
    data: { reason: expect.stringContaining('array theirs') as string },
  });
});

it('a configuration narrows what is allowed, at start alone; one that cannot say what ends the start', async () => {
  const allow = (params: object): object => ({ method: 'raidkit_allow', params });
  const config = configure(
    { method: 'raidkit_allow' },
    allow({ devices: [join(folder, 'disks/*')] }),
    allow({ devices: [join(folder, '**/a')] }),
  );
  await start({ configPath: config });
  await open('disks/a');
  await expect(open('disks/b', 'y')).rejects.toMatchObject({ code: -1 });
  await expect(call('raidkit_allow', { devices: ['/**'] })).rejects.toThrow(/before framework is initialized/);
  await expect(start({ configPath: configure(allow({ device: ['/dev/sdx'] })) })).rejects.toThrow(/no parameter device/);
  const misspelt = { method: 'raidkit_alow', params: { devices: ['/dev/sdx'] } };
  await expect(start({ configPath: configure(misspelt) })).rejects.toThrow(/call 1, raidkit_alow: .*no method raidkit_alow/);
});

it('the command line takes uuids only', async () => {
  const bin = join(import.meta.dirname, '../bin/raidkitd.js');
  const { code, stderr } = await run(process.execPath, [bin, '--allow-array', 'vol']);
  expect(code).toBe(1);
  expect(stderr).toContain('must be a uuid, as raidctl examine shows it');
});

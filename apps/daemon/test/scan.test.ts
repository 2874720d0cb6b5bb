import { copyFileSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { until } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';

const test = oneDaemon();
const base = ['--memory', '64'];

const place = (name: string): string => join(test.folder, 'disks', name);
const state = (): string => join(test.folder, 'state.json');

function call(method: string, params?: unknown): Promise<unknown> {
  return test.daemon!.client.call(method, params);
}

async function end(): Promise<void> {
  const { daemon } = test;
  daemon!.client.close();
  daemon!.child.kill('SIGTERM');
  expect(await daemon!.exited).toBe(0);
  test.daemon = null;
}

/** Makes the daemon scan for new devices now. */
function look(): void {
  test.daemon!.child.kill('SIGHUP');
}

const scan = (...more: string[]): Promise<unknown> =>
  test.start([...base, '--state', state(), '--scan', join(test.folder, 'disks', '*'), ...more]);

async function statesOf(): Promise<Record<string, string>> {
  const list = (await call('raidkit_get_arrays')) as { name: string; ext: { health: string } }[];
  return Object.fromEntries(list.map(({ name, ext }) => [name, ext.health]));
}

async function namesOf(method: string, params?: unknown): Promise<string[]> {
  return ((await call(method, params)) as { name: string }[]).map(({ name }) => name).sort();
}

interface Found {
  path: string;
  array: string;
  bdev_name: string | null;
  reason: string | null;
}

async function found(): Promise<Found[]> {
  return ((await call('raidkit_get_configuration')) as { found: Found[] }).found;
}

/** Two mirrors on files, stopped cleanly, beside a file that belongs to no array. */
beforeEach(async () => {
  mkdirSync(join(test.folder, 'disks'));
  for (const name of ['a0', 'a1', 'b0', 'b1', 'other']) makeFile(place(name), 16 << 20);
  await test.start(base);
  for (const name of ['a0', 'a1', 'b0', 'b1'])
    await call('bdev_aio_create', { name, filename: place(name), block_size: name.startsWith('a') ? 512 : 4096 });
  await call('bdev_raid_create', { name: 'a', raid_level: 'raid1', base_bdevs: ['a0', 'a1'], superblock: true });
  await call('bdev_raid_create', { name: 'b', raid_level: 'raid1', base_bdevs: ['b0', 'b1'], superblock: true });
  await end();
});

describe('a scan', () => {
  it('opens the members of all arrays under whatever names they have now, and nothing else', async () => {
    renameSync(place('a0'), place('z'));
    renameSync(place('a1'), place('a0'));
    const before = statSync(place('other'));
    await scan();
    await until('both arrays are up', async () => Object.values(await statesOf()).every((health) => health === 'optimal'));
    expect(await namesOf('raidkit_nbd_get_exports')).toEqual(['a', 'b']);
    expect(await namesOf('bdev_get_bdevs')).toEqual(['a', 'a0', 'b', 'b0', 'b1', 'z']);
    expect(statSync(place('other')).mtimeMs).toBe(before.mtimeMs);
    // Devices that were found are not saved, because they are found again.
    await call('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 });
    await end();
    renameSync(place('z'), place('y'));
    await scan();
    await until('both arrays are up', async () => Object.values(await statesOf()).every((health) => health === 'optimal'));
    expect(await namesOf('bdev_get_bdevs')).toEqual(['a', 'a0', 'b', 'b0', 'b1', 'm', 'y']);
    expect(await call('raidkit_get_configuration')).toMatchObject({ pending: [] });
  });

  it('notices members that come later, and those that come back', async () => {
    mkdirSync(join(test.folder, 'shelf'));
    const shelf = join(test.folder, 'shelf', 'a1');
    renameSync(place('a1'), shelf);
    await scan();
    expect(await statesOf()).toMatchObject({ a: 'configuring', b: 'optimal' });
    renameSync(shelf, place('a1'));
    look();
    await until('it is taken', async () => (await statesOf()).a === 'optimal');

    copyFileSync(place('a1'), shelf);
    writeFileSync(place('a1'), '');
    await call('bdev_aio_rescan', { name: 'a1' });
    await until('it is gone', async () => (await statesOf()).a === 'degraded');
    rmSync(place('a1'));
    renameSync(shelf, place('new-name'));
    look();
    await until('it is taken back', async () => (await statesOf()).a === 'optimal');
    expect(await call('raidkit_get_configuration')).toMatchObject({ pending: [] });
  });

  it('leaves a device alone that was deleted by hand', async () => {
    await scan('--start-array', 'a');
    await call('raidkit_stop', { name: 'a' });
    await call('bdev_aio_delete', { name: 'a0' });
    look();
    await call('raidkit_start_found', { name: 'a' });
    expect(await namesOf('bdev_get_bdevs')).not.toContain('a0');
  });

  it('leaves devices alone that the state file has opened, and that were deleted by hand', async () => {
    await test.start([...base, '--state', state()]);
    for (const name of ['a0', 'a1']) await call('bdev_aio_create', { name, filename: place(name), block_size: 512 });
    await end();
    await scan('--start-array', 'a');
    await until('it is optimal', async () => (await statesOf()).a === 'optimal');
    await call('raidkit_stop', { name: 'a' });
    for (const name of ['a0', 'a1']) await call('bdev_aio_delete', { name });
    look();
    // Resolves after a scan of its own.
    await call('raidkit_start_found', { name: 'b' });
    expect(await namesOf('bdev_get_bdevs')).not.toContain('a0');
  });

  it('writes to no member of an array that is not to start by itself, until a call asks for it', async () => {
    const before = ['a0', 'a1', 'b0', 'b1'].map((name) => statSync(place(name)).mtimeMs);
    await scan('--auto-start', 'none');
    expect(await namesOf('bdev_get_bdevs')).toEqual([]);
    expect((await found()).map(({ path, array, bdev_name: bdev }) => [basename(path), array, bdev])).toEqual([
      ['a0', 'a', null],
      ['a1', 'a', null],
      ['b0', 'b', null],
      ['b1', 'b', null],
    ]);
    expect((await found())[0]!.reason).toContain('raidkit_start_found');
    expect(['a0', 'a1', 'b0', 'b1'].map((name) => statSync(place(name)).mtimeMs)).toEqual(before);
    await expect(call('raidkit_start_found', { name: 'c' })).rejects.toThrow(
      /no device that was found is a member of an array c/,
    );
    await call('raidkit_start_found', { name: 'b' });
    await until('it is up', async () => (await statesOf()).b === 'optimal');
    expect(await namesOf('bdev_get_bdevs')).toEqual(['b', 'b0', 'b1']);
  });

  it('opens neither of two devices that say they are the same member', async () => {
    copyFileSync(place('a1'), place('copy'));
    await scan();
    expect(await namesOf('bdev_get_bdevs')).toEqual(['a0', 'b', 'b0', 'b1']);
    expect((await found()).filter(({ bdev_name: bdev }) => bdev === null).map(({ reason }) => reason)).toEqual([
      expect.stringContaining('copy claims to be the same member'),
      expect.stringContaining('a1 claims to be the same member'),
    ]);
    rmSync(place('copy'));
    look();
    await until('the other one is taken', async () => (await statesOf()).a === 'optimal');
  });
});

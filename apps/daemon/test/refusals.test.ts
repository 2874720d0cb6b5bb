import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';
import { until } from './support/devices.js';
import { makeFile } from './support/files.js';

let test: TestDaemon;
beforeEach(async () => {
  test = await startTestDaemon();
});
afterEach(() => test.end());

const call = (method: string, params?: unknown): Promise<unknown> => test.client.call(method, params);

async function malloc(...names: string[]): Promise<void> {
  for (const name of names) await call('bdev_malloc_create', { name, num_blocks: 16_384, block_size: 512 });
}

describe('a refusal says why', () => {
  it('for a disk with a file system on it: which one', async () => {
    const path = join(test.folder, 'disk');
    makeFile(path, 8 << 20);
    const fd = openSync(path, 'r+');
    // ext4's magic number, at offset 56 of its superblock.
    writeSync(fd, Buffer.from([0x53, 0xef]), 0, 2, 1024 + 56);
    closeSync(fd);
    await call('bdev_aio_create', { name: 'd', filename: path, block_size: 512 });
    await malloc('m');
    const { error } = await test.client.ask('bdev_raid_create', {
      name: 'r',
      raid_level: 'raid1',
      base_bdevs: ['m', 'd'],
      superblock: true,
    });
    expect(error).toMatchObject({
      code: -17,
      message: 'Failed to create RAID bdev r: File exists',
      data: { error_code: 'ERR_RAID_SUPERBLOCK_FOUND' },
    });
    expect(error?.data?.reason).toMatch(/d\b.*ext/);
  });

  const raid = { name: 'r', raid_level: 'raid1', base_bdevs: ['a', 'b'] };
  it.each([
    [
      'bdev_raid_create',
      { ...raid, supeblock: true },
      { field: 'supeblock', allowed: expect.stringContaining('superblock') as string },
    ],
    [
      'bdev_raid_create',
      { ...raid, raid_level: 'raid7' },
      { field: 'raid_level', allowed: expect.stringContaining('raid5f') as string },
    ],
    ['bdev_raid_create', { ...raid, base_bdevs: ['a', 7] }, { field: 'base_bdevs.1' }],
    ['bdev_raid_create', { ...raid, uuid: 'x' }, { field: 'uuid', allowed: expect.stringContaining('hexadecimal') as string }],
    ['bdev_raid_create', { ...raid, strip_size_kb: -1 }, { field: 'strip_size_kb', allowed: '0 or more' }],
    ['bdev_raid_get_bdevs', { category: 'ALL' }, { field: 'category', allowed: expect.stringContaining('"online"') as string }],
    ['bdev_raid_get_bdevs', {}, { field: 'category', reason: expect.stringContaining('missing') as string }],
    ['bdev_malloc_create', { num_blocks: '1', block_size: 512 }, { field: 'num_blocks', allowed: 'an integer' }],
    ['bdev_raid_set_options', { process_window_size_kb: 0 }, { field: 'process_window_size_kb' }],
  ])('for parameters of %s: %j', async (method, params, data) => {
    const { error } = await test.client.ask(method, params);
    expect(error?.data).toMatchObject(data);
    expect(error?.data?.reason).toContain(data.field);
  });

  it.each([
    ['bdev_aio_delete', { name: 'm' }, /Malloc disk/],
    ['bdev_get_bdevs', { name: 'absent' }, /no bdev absent/],
    ['bdev_raid_remove_base_bdev', { name: 'm' }, /no array has a member m/],
    ['bdev_raid_create', { ...raid, raid_level: 'concat', base_bdevs: ['m'], strip_size_kb: 3 }, /power of two/],
    ['no_such_method', {}, /no method no_such_method/],
  ])('for what %s is about: %j', async (method, params, reason) => {
    await malloc('m');
    expect((await test.client.ask(method, params)).error?.data?.reason).toMatch(reason);
  });
});

describe('an array that is not optimal has a reason and an action', () => {
  interface Shown {
    state: string;
    ext: { health: string; reason: string | null; action: string | null };
  }
  const shown = async (): Promise<Shown> => ((await call('raidkit_get_arrays')) as Shown[])[0]!;
  const text = (part: string): string => expect.stringContaining(part) as string;

  it('when it waits, is degraded, and is offline', async () => {
    await malloc('a', 'b');
    await call('bdev_raid_create', { name: 'r', raid_level: 'raid1', base_bdevs: ['a', 'later'] });
    expect(await shown()).toMatchObject({
      state: 'configuring',
      ext: { health: 'configuring', reason: text('slot 1 (later)'), action: text('later') },
    });
    await malloc('later');
    expect(await shown()).toMatchObject({ state: 'online', ext: { health: 'optimal', reason: null, action: null } });
    await call('bdev_raid_remove_base_bdev', { name: 'later' });
    expect((await shown()).ext).toMatchObject({
      health: 'degraded',
      reason: text('slot 1 (later)'),
      action: text('bdev_raid_add_base_bdev'),
    });
    await call('bdev_raid_delete', { name: 'r' });

    await call('bdev_raid_create', { name: 's', raid_level: 'raid0', strip_size_kb: 4, base_bdevs: ['a', 'b'] });
    await call('bdev_raid_remove_base_bdev', { name: 'b' });
    await until('it is offline', async () => (await shown()).state === 'offline');
    expect((await shown()).ext).toMatchObject({ health: 'offline', reason: text('cannot do without'), action: text('back') });
  });
});

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';

const disks = [0, 1, 2, 3];

async function addDisks({ client }: TestDaemon, folder: string): Promise<void> {
  for (const index of disks)
    await client.call('bdev_aio_create', { name: `d${index}`, filename: join(folder, `d${index}`), block_size: 512 });
  await client.call('bdev_wait_for_examine');
}

async function exportsOf({ client }: TestDaemon): Promise<string[]> {
  return ((await client.call('raidkit_nbd_get_exports')) as { name: string }[]).map(({ name }) => name).sort();
}

async function statesOf({ client }: TestDaemon): Promise<Record<string, string>> {
  const list = (await client.call('bdev_raid_get_bdevs', { category: 'all' })) as { name: string; state: string }[];
  return Object.fromEntries(list.map(({ name, state }) => [name, state]));
}

it('a stripe over mirrors comes back when the daemon does, and only the stripe is exported', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'raidkit-nested-'));
  try {
    for (const index of disks) {
      writeFileSync(join(folder, `d${index}`), '');
      truncateSync(join(folder, `d${index}`), 8 << 20);
    }
    const first = await startTestDaemon();
    await addDisks(first, folder);
    for (const [name, members] of [
      ['x', ['d0', 'd1']],
      ['y', ['d2', 'd3']],
    ] as const) {
      await first.client.call('bdev_raid_create', { name, raid_level: 'raid1', base_bdevs: members, superblock: true });
    }
    expect(await exportsOf(first)).toEqual(['x', 'y']);
    // A creation that fails gives the exports back that made way for it.
    await expect(
      first.client.call('bdev_raid_create', { name: 'x', raid_level: 'raid0', strip_size_kb: 64, base_bdevs: ['x', 'y'] }),
    ).rejects.toThrow();
    expect(await exportsOf(first)).toEqual(['x', 'y']);
    await first.client.call('bdev_raid_create', {
      name: 'out',
      raid_level: 'raid0',
      strip_size_kb: 64,
      base_bdevs: ['x', 'y'],
      superblock: true,
    });
    expect(await exportsOf(first)).toEqual(['out']);
    await first.end();

    const second = await startTestDaemon();
    await addDisks(second, folder);
    expect(await statesOf(second)).toEqual({ x: 'online', y: 'online', out: 'online' });
    expect(await exportsOf(second)).toEqual(['out']);
    // Members of nothing any more.
    await second.client.call('bdev_raid_delete', { name: 'out', clear_sb: true });
    await second.client.call('bdev_wait_for_examine');
    expect(await exportsOf(second)).toEqual(['x', 'y']);
    await second.end();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('a volume that carries the superblock of an array which is not there is not exported', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'raidkit-nested-'));
  try {
    for (const index of disks) {
      writeFileSync(join(folder, `d${index}`), '');
      truncateSync(join(folder, `d${index}`), 8 << 20);
    }
    const first = await startTestDaemon();
    await addDisks(first, folder);
    await first.client.call('bdev_raid_create', { name: 'x', raid_level: 'raid1', base_bdevs: ['d0', 'd1'], superblock: true });
    await first.client.call('bdev_raid_create', {
      name: 'out',
      raid_level: 'raid0',
      strip_size_kb: 64,
      base_bdevs: ['x', 'd2'],
      superblock: true,
    });
    await first.end();
    const second = await startTestDaemon();
    for (const index of [0, 1])
      await second.client.call('bdev_aio_create', { name: `d${index}`, filename: join(folder, `d${index}`), block_size: 512 });
    await second.client.call('bdev_wait_for_examine');
    expect(await statesOf(second)).toEqual({ x: 'online', out: 'configuring' });
    expect(await exportsOf(second)).toEqual([]);
    await second.end();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFile } from '../../daemon/test/support/files.js';
import { bench } from './support/raidctl.js';

const test = bench();
const MiB = 1 << 20;

function disks(...names: string[]): void {
  for (const name of names) makeFile(join(test.folder, name), 16 * MiB);
}

function slots(array: string): Promise<{ device: string | null; state: string }[]> {
  return test.json('status', `status ${array}`, 5).then(({ arrays }) => arrays[0]?.slots ?? []);
}

it('fails a member, and a spare takes its place; without one the array is degraded', async () => {
  disks('a', 'b', 'c');
  await test.ok('create raid1 vol ./a ./b');
  expect((await test.run('fail', 'vol', 'b')).code).toBe(4);
  expect((await test.json('change', 'fail vol b -n')).steps).toMatchObject([{ method: 'raidkit_fail' }]);
  await test.ok('fail vol b --yes');
  expect(await slots('vol')).toMatchObject([{ device: 'a' }, { device: null, state: 'failed' }]);
  // The last member cannot be failed.
  const last = await test.run('fail', 'vol', 'a', '--yes');
  expect(last).toMatchObject({ code: 4, stderr: expect.stringContaining('cannot do without a') as string });
  await test.ok('spare add ./c');
  await test.ok('wait vol --for optimal');
  expect((await test.json('status', 'status vol')).arrays[0]?.slots).toMatchObject([{ device: 'a' }, { device: 'c' }]);
});

it('takes a member offline without a spare for it, and brings it back', async () => {
  disks('a', 'b', 'c');
  await test.ok('create raid1 vol ./a ./b');
  await test.ok('spare add ./c');
  await test.ok('offline vol b --yes');
  expect(await slots('vol')).toMatchObject([{ device: 'a' }, { device: null, state: 'missing' }]);
  expect((await test.json('devices', 'devices')).devices.map(({ name }) => name)).toContain('b');
  await test.ok('online vol b --wait');
  expect((await test.json('status', 'status vol')).arrays[0]?.slots).toMatchObject([{ device: 'a' }, { device: 'b' }]);
  expect((await test.json('spares', 'spare list')).spares).toMatchObject([{ device: 'c' }]);
});

it('grows an array whose members have grown, and says when they have not', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  truncateSync(join(test.folder, 'a'), 32 * MiB);
  expect(await test.ok('grow vol --limit 0')).toContain('it grows when every member has room');
  truncateSync(join(test.folder, 'b'), 32 * MiB);
  expect(await test.ok('grow vol')).toContain('has grown from');
  expect((await test.json('change', 'grow vol -n')).steps).toMatchObject([
    { method: 'bdev_aio_rescan' },
    { method: 'bdev_aio_rescan' },
  ]);
});

it('shows how long I/O has taken', async () => {
  expect(await test.ok('latency')).toBe('there has been no I/O\n');
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  const { devices } = await test.json('latency', 'latency a');
  expect(devices.map(({ name }) => name)).toEqual(['a']);
  const write = devices[0]?.operations.find(({ type }) => type === 'write');
  expect(write?.count).toBeGreaterThan(0);
  expect(write?.buckets.reduce((sum, [, count]) => sum + count, 0)).toBe(write?.count);
  const { most_us: most, p50_us: half } = write ?? { most_us: null, p50_us: null };
  expect(most).toBeGreaterThanOrEqual(half ?? Infinity);
  expect(await test.ok('latency a')).toMatch(/^NAME +OPERATION +COUNT[^\n]*\na +read/);
  expect((await test.run('latency', 'absent')).code).toBe(3);
});

it('checks and imports a configuration of SPDK, whose stacked devices come first', async () => {
  disks('a', 'b');
  const file = (name: string, config: readonly object[], others: readonly object[] = []): string => {
    writeFileSync(join(test.folder, name), JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }, ...others] }));
    return name;
  };
  const open = (name: string): object => ({
    method: 'bdev_aio_create',
    params: { name, filename: join(test.folder, name), block_size: 512 },
  });
  const create = {
    method: 'bdev_raid_create',
    params: { name: 'vol', raid_level: 'raid1', base_bdevs: ['p', 'b'], superblock: true },
  };
  const passthru = { method: 'bdev_passthru_create', params: { base_bdev_name: 'a', name: 'p' } };
  const good = file('good.json', [passthru, [open('a'), open('b')], create]);
  expect(await test.json('config check', `config check ${good}`)).toMatchObject({ calls: 4, problems: [] });
  const bad = file(
    'bad.json',
    [{ method: 'bdev_nvme_attach_controller' }, open('a')],
    [{ subsystem: 'nvmf', config: [{ method: 'nvmf_create_transport' }] }],
  );
  const { problems } = await test.json('config check', `config check ${bad}`, 1);
  expect(problems).toEqual([
    'call 1: raidkitd has no method bdev_nvme_attach_controller',
    'raidkitd has no subsystem nvmf: its calls are skipped',
  ]);
  writeFileSync(join(test.folder, 'no.json'), '{}');
  expect((await test.run('config', 'check', 'no.json')).code).toBe(1);
  expect((await test.run('config', 'check', 'nowhere.json')).code).toBe(3);

  expect(await test.ok(`config import ${good} -n`)).toContain('bdev_raid_create for vol');
  expect((await test.json('devices', 'devices')).devices).toEqual([]);
  await test.ok(`config import ${good} --yes`);
  expect((await test.json('devices', 'devices')).devices.map(({ name }) => name)).toEqual(['a', 'b', 'p', 'vol']);
  await test.ok('stop vol --keep-open --yes');
  await test.daemon.client.call('bdev_passthru_delete', { name: 'p' });
});

it('says why there is nothing to assume of a new array', async () => {
  disks('a', 'b');
  const { code, stderr } = await test.run('create', 'raid1', 'vol', './a', './b', '--assume-clean');
  expect(code).toBe(4);
  expect(stderr).toContain('reads zeros until it is written');
});

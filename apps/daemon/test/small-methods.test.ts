import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { connectSocket } from '../../../packages/nbd/test/socket-client.js';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';
import { makeFile, noise } from './support/files.js';

let test: TestDaemon;

beforeEach(async () => {
  test = await startTestDaemon();
});

afterEach(async () => {
  await test.end();
});

function call(method: string, params?: unknown): Promise<unknown> {
  return test.client.call(method, params);
}

async function delays(): Promise<object | undefined> {
  const [bdev] = (await call('bdev_get_bdevs', { name: 'slow' })) as { driver_specific: { delay: object } }[];
  return bdev?.driver_specific.delay;
}

it('changes the times of a delay bdev, and keeps an average below its p99', async () => {
  await call('bdev_malloc_create', { name: 'm', num_blocks: 1024, block_size: 512 });
  const times = { avg_read_latency: 10, p99_read_latency: 20, avg_write_latency: 10, p99_write_latency: 20 };
  await call('bdev_delay_create', { base_bdev_name: 'm', name: 'slow', ...times });
  const update = (latency_type: string, latency_us: number): Promise<unknown> =>
    call('bdev_delay_update_latency', { delay_bdev_name: 'slow', latency_type, latency_us });
  await update('avg_read', 15);
  expect(await delays()).toMatchObject({ ...times, avg_read_latency: 15 });
  await update('avg_write', 50);
  expect(await delays()).toMatchObject({ avg_write_latency: 50, p99_write_latency: 50 });
  await update('p99_write', 5);
  expect(await delays()).toMatchObject({ avg_write_latency: 5, p99_write_latency: 5 });
  await expect(update('avg_read', 2 ** 45)).rejects.toThrow(/0 to 2\^31 ms/);
  await expect(update('middle', 1)).rejects.toThrow();
  await expect(
    call('bdev_delay_update_latency', { delay_bdev_name: 'm', latency_type: 'avg_read', latency_us: 1 }),
  ).rejects.toThrow('No such device');
});

it('lets go of what an error bdev holds', async () => {
  await call('bdev_malloc_create', { name: 'm', num_blocks: 65_536, block_size: 512 });
  await call('bdev_malloc_create', { name: 'n', num_blocks: 65_536, block_size: 512 });
  await call('bdev_error_create', { base_name: 'm' });
  await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['EE_m', 'n'] });
  await call('bdev_error_inject_error', { name: 'EE_m', io_type: 'read', error_type: 'pending', num: 1 });
  await call('raidkit_start_process', { name: 'vol', type: 'check' });
  const isRunning = async (): Promise<boolean> => {
    const [array] = (await call('raidkit_get_arrays')) as { ext: { process: object | null } }[];
    return array?.ext.process !== null;
  };
  const holds = async (): Promise<boolean> => {
    const { bdevs } = (await call('bdev_get_iostat', { name: 'EE_m' })) as { bdevs: { queue_depth: number }[] };
    return (bdevs[0]?.queue_depth ?? 0) > 0;
  };
  await expect.poll(holds).toBe(true);
  expect(await isRunning()).toBe(true);
  await call('bdev_error_resume_pending', { name: 'EE_m' });
  await expect.poll(isRunning, { timeout: 10_000 }).toBe(false);
});

it('answers what scripts of SPDK ask besides', async () => {
  expect(await call('log_enable_timestamps', { enabled: false })).toBe(true);
  const stats = (await call('thread_get_stats')) as { tick_rate: number; threads: { name: string; busy: number }[] };
  expect(stats.threads[0]?.name).toBe('app_thread');
  expect(stats.threads[0]?.busy).toBeGreaterThan(0);
  expect(stats.tick_rate).toBe(1_000_000);
});

it('takes and saves how long members that are counted out are waited for', async () => {
  expect(await call('bdev_raid_set_options', { absent_wait_ms: 0 })).toBe(true);
  const config = (await call('framework_get_config', { name: 'bdev' })) as { method: string; params: object }[];
  expect(config.find(({ method }) => method === 'bdev_raid_set_options')?.params).toMatchObject({ absent_wait_ms: 0 });
  await expect(call('bdev_raid_set_options', { absent_wait_ms: 60_001 })).rejects.toThrow();
});

it('fails a member that is about to leave for another reason', async () => {
  for (const name of ['a', 'b']) await call('bdev_malloc_create', { name, num_blocks: 65_536, block_size: 512 });
  await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b'], superblock: true });
  const removed = call('bdev_raid_remove_base_bdev', { name: 'b' });
  // It comes while the other one is being carried out.
  expect(await call('raidkit_fail', { name: 'vol', member: 'b' })).toBe(true);
  expect(await removed).toBe(true);
});

it.each([8192, 65_536])('opens files in blocks of %d bytes, makes arrays of them, and serves those', async (blockSize) => {
  for (const name of ['a', 'b']) {
    makeFile(join(test.folder, name), 4 << 20);
    await call('bdev_aio_create', { name, filename: join(test.folder, name), block_size: blockSize });
  }
  const array = { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b'] };
  const { error } = await test.client.ask('bdev_raid_create', { ...array, superblock: true });
  expect(error?.data?.reason).toMatch(
    new RegExp(`a has ${blockSize}-byte blocks, and with superblocks they have 4096 bytes at most`),
  );
  await call('bdev_raid_create', array);
  const [info] = (await call('bdev_get_bdevs', { name: 'vol' })) as { block_size: number }[];
  expect(info?.block_size).toBe(blockSize);
  const { client, socket } = await connectSocket({ unix: test.nbdPath });
  await client.open('vol');
  const bytes = noise(256 << 10);
  expect((await client.pwrite(0, bytes)).errno).toBe(0);
  // Parts of blocks are read, changed and written.
  expect((await client.pwrite(5000, bytes.subarray(0, 70_000))).errno).toBe(0);
  bytes.copyWithin(5000, 0, 70_000);
  expect(Buffer.compare((await client.pread(0, bytes.length)).data, bytes)).toBe(0);
  socket.destroy();
});

it.each([131_072, 12_288, 256])('says which block sizes there are, instead of %d', async (blockSize) => {
  makeFile(join(test.folder, 'a'), 1 << 20);
  const { error } = await test.client.ask('bdev_aio_create', {
    name: 'a',
    filename: join(test.folder, 'a'),
    block_size: blockSize,
  });
  expect(error).toMatchObject({ code: -22 });
  expect(error?.data?.reason).toContain(`the block size must be a power of two from 512 to 65536, not ${blockSize}`);
});

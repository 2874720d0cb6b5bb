import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { says, until } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';
import { spawnDaemon } from './support/process.js';

/** These tests start the daemon as it is installed, in a process of its own, several times. */
const test = oneDaemon();

const base = ['--memory', '64'];

const disk = (index: number): string => join(test.folder, `disk${index}`);

function makeDisks(count: number): void {
  for (let index = 0; index < count; index++) makeFile(disk(index), 16 << 20);
}

function call(method: string, params?: unknown): Promise<unknown> {
  return test.daemon!.client.call(method, params);
}

async function openDisks(indexes: readonly number[]): Promise<void> {
  for (const index of indexes) await call('bdev_aio_create', { name: `d${index}`, filename: disk(index), block_size: 512 });
}

async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const { daemon } = test;
  daemon!.client.close();
  daemon!.child.kill(signal);
  await daemon!.exited;
  test.daemon = null;
}

interface Array_ {
  name: string;
  state: string;
  ext: { health: string; reason: string | null; action: string | null };
}

async function arrayOf(name: string): Promise<Array_ | undefined> {
  return ((await call('raidkit_get_arrays')) as Array_[]).find((array) => array.name === name);
}

interface PendingCall {
  method: string;
  params?: { name?: string; bdev_name?: string };
  code: number;
  reason: string;
  is_tried_again: boolean;
}

async function pending(): Promise<PendingCall[]> {
  return ((await call('raidkit_get_configuration')) as { pending: PendingCall[] }).pending;
}

async function namesOf(method: string, params?: unknown): Promise<string[]> {
  return ((await call(method, params)) as { name: string }[]).map(({ name }) => name);
}

function saveConfig(calls: readonly object[]): string {
  const path = join(test.folder, 'config.json');
  writeFileSync(path, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config: calls }] }));
  return path;
}

const open = (index: number): object => ({
  method: 'bdev_aio_create',
  params: { name: `d${index}`, filename: disk(index), block_size: 512 },
});

describe('a configuration of which something is gone', () => {
  it('comes up: the rest is served, degraded; what is gone is shown, kept, and taken when it is back', async () => {
    makeDisks(4);
    await test.start(base);
    await openDisks([0, 1, 2]);
    await call('bdev_raid_create', {
      name: 'v',
      raid_level: 'raid5f',
      strip_size_kb: 4,
      base_bdevs: ['d0', 'd1', 'd2'],
      superblock: true,
    });
    await end('SIGTERM');
    renameSync(disk(1), disk(9));

    const config = saveConfig([
      { method: 'bdev_raid_set_options', params: { degraded_start_sec: 1 } },
      open(0),
      open(1),
      open(2),
      open(3),
    ]);
    await test.start([...base, '-c', config]);
    expect(await namesOf('bdev_get_bdevs')).toEqual(expect.arrayContaining(['d0', 'd2', 'd3']));
    expect(await pending()).toMatchObject([
      { method: 'bdev_aio_create', params: { name: 'd1' }, code: -2, is_tried_again: true },
    ]);
    expect((await pending())[0]!.reason).toContain('no such file');
    expect(await call('framework_get_config', { name: 'bdev' })).toContainEqual(open(1));
    await says(test.daemon!, 'it is kept, and tried again');
    await until('the array is up without it', async () => (await arrayOf('v'))?.state === 'online');
    const { ext } = (await arrayOf('v'))!;
    expect(ext).toMatchObject({
      health: 'degraded',
      reason: expect.stringContaining('slot 1') as string,
      action: expect.stringContaining('bdev_raid_add_base_bdev') as string,
    });

    renameSync(disk(9), disk(1));
    await until('it is taken', async () => (await pending()).length === 0);
    await until('the array is whole', async () => (await arrayOf('v'))?.ext.health === 'optimal');
    expect((await arrayOf('v'))!.ext).toMatchObject({ reason: null, action: null });
  });

  it('opens a device again that went away while it was up, and its array takes it', async () => {
    makeDisks(2);
    await test.start(base);
    await openDisks([0, 1]);
    await call('bdev_raid_create', { name: 'v', raid_level: 'raid1', base_bdevs: ['d0', 'd1'], superblock: true });
    copyFileSync(disk(1), disk(9));
    truncateSync(disk(1));
    await call('bdev_aio_rescan', { name: 'd1' });
    await until('it is gone', async () => (await arrayOf('v'))?.ext.health === 'degraded');
    await until('it is missed', async () => (await pending()).some(({ params }) => params?.name === 'd1'));
    expect((await arrayOf('v'))!.ext.reason).toContain('slot 1 (d1)');
    renameSync(disk(9), disk(1));
    await until('the array is whole', async () => (await arrayOf('v'))?.ext.health === 'optimal');
    expect(await pending()).toEqual([]);
  });

  it('ends the start if it is strict, in words for people', async () => {
    makeDisks(1);
    const config = saveConfig([open(0), open(1)]);
    await expect(test.start([...base, '--strict', '-c', config])).rejects.toThrow(
      /call 2, bdev_aio_create.*no such file or device/,
    );
  });

  it('says why a strict start has failed to clients that wait for its end', async () => {
    makeDisks(1);
    await test.start([...base, '--strict', '--wait-for-rpc', '-c', saveConfig([open(0), open(1)])]);
    const waiting = call('framework_wait_init');
    const reason = /call 2, bdev_aio_create.*no such file/;
    await Promise.all([expect(call('framework_start_init')).rejects.toThrow(reason), expect(waiting).rejects.toThrow(reason)]);
  });

  it('keeps each kernel device that could not be attached, until it is stopped', async () => {
    const attach = (index: number): object => ({
      method: 'nbd_start_disk',
      params: { bdev_name: 'd0', nbd_device: join(test.folder, `nbd${index}`) },
    });
    makeDisks(1);
    await test.start([...base, '-c', saveConfig([open(0), attach(0), attach(1)])]);
    expect(await pending()).toHaveLength(2);
    expect(await call('nbd_stop_disk', { nbd_device: join(test.folder, 'nbd0') })).toBe(true);
    expect((await pending()).map(({ params }) => params)).toEqual([{ bdev_name: 'd0', nbd_device: join(test.folder, 'nbd1') }]);
  });

  it('forgets what is gone for good when it is deleted', async () => {
    makeDisks(1);
    await test.start([...base, '-c', saveConfig([open(0), open(1)])]);
    expect(await pending()).toHaveLength(1);
    expect(await call('bdev_aio_delete', { name: 'd1' })).toBe(true);
    expect(await pending()).toEqual([]);
    await expect(call('bdev_aio_delete', { name: 'd1' })).rejects.toThrow(/No such device/);
  });

  it('keeps a call that can never succeed, says why, and does not try it again', async () => {
    const config = saveConfig([
      { method: 'bdev_raid_create', params: { name: 'r' } },
      { method: 'no_such_method' },
      { method: 'bdev_malloc_create', params: { name: 'm', num_blocks: 64, block_size: 512 } },
    ]);
    await test.start([...base, '-c', config]);
    expect(await namesOf('bdev_get_bdevs')).toEqual(['m']);
    expect(await pending()).toMatchObject([
      {
        method: 'bdev_raid_create',
        code: -32700,
        reason: expect.stringContaining('raid_level') as string,
        is_tried_again: false,
      },
      { method: 'no_such_method', code: -32601, is_tried_again: false },
    ]);
  });

  it('takes stacked devices before what they stand on, as SPDK saves them', async () => {
    const config = saveConfig([
      { method: 'bdev_passthru_create', params: { base_bdev_name: 'EE_m', name: 'p' } },
      { method: 'bdev_error_create', params: { base_name: 'm' } },
      {
        method: 'bdev_delay_create',
        params: {
          base_bdev_name: 'p',
          name: 'y',
          avg_read_latency: 0,
          p99_read_latency: 0,
          avg_write_latency: 0,
          p99_write_latency: 0,
        },
      },
      { method: 'bdev_malloc_create', params: { name: 'm', num_blocks: 64, block_size: 512 } },
    ]);
    await test.start([...base, '--strict', '-c', config]);
    expect((await namesOf('bdev_get_bdevs')).sort()).toEqual(['EE_m', 'm', 'p', 'y']);
  });
});

describe('what is set up by calls', () => {
  const state = (): string => join(test.folder, 'state', 'state.json');
  const start = (...more: string[]): Promise<unknown> => test.start([...base, '--state', state(), ...more]);

  it('is there after a kill, without a call to save it', async () => {
    makeDisks(4);
    await start();
    await openDisks([0, 1, 2, 3]);
    await call('bdev_raid_create', { name: 'v', raid_level: 'raid1', base_bdevs: ['d0', 'd1'], superblock: true });
    await call('bdev_raid_create', { name: 'w', raid_level: 'raid0', strip_size_kb: 4, base_bdevs: ['d2'] });
    // Without superblocks nothing would say, after a crash, which copy is current.
    for (const name of ['k0', 'k1']) await call('bdev_malloc_create', { name, num_blocks: 4096, block_size: 512 });
    await call('bdev_raid_create', { name: 'u', raid_level: 'raid1', base_bdevs: ['k0', 'k1'] });
    await call('raidkit_nbd_export', { bdev_name: 'v', name: 'for-reading', read_only: true, description: 'a look' });
    await call('raidkit_add_spare', { bdev_name: 'd3' });
    await call('bdev_raid_set_options', { grace_sec: 7, io_timeout_ms: 5000, process_latency_target_ms: 3 });
    await call('bdev_malloc_create', { name: 'gone', num_blocks: 64, block_size: 512 });
    await call('bdev_malloc_delete', { name: 'gone' });
    const config = (await call('framework_get_config', { name: 'bdev' })) as { method: string; params?: { name?: string } }[];
    await says(test.daemon!, 'without superblocks is not saved');
    await end('SIGKILL');

    await start();
    await until('the export is there', async () => (await namesOf('raidkit_nbd_get_exports')).includes('for-reading'));
    expect(await call('raidkit_nbd_get_exports')).toContainEqual(
      expect.objectContaining({ name: 'for-reading', bdev_name: 'v', read_only: true, description: 'a look' }),
    );
    expect(await call('raidkit_get_spares')).toEqual([{ bdev_name: 'd3', name: null }]);
    expect(await namesOf('bdev_raid_get_bdevs', { category: 'online' })).toEqual(['v', 'w']);
    expect(await namesOf('bdev_get_bdevs')).not.toContain('gone');
    expect(await call('framework_get_config', { name: 'bdev' })).toEqual(config.filter(({ params }) => params?.name !== 'u'));
    expect(JSON.parse(readFileSync(state(), 'utf8'))).toMatchObject({ subsystems: [{ subsystem: 'bdev' }] });

    // A call that was undone stays undone.
    await call('raidkit_nbd_unexport', { name: 'for-reading' });
    await call('raidkit_remove_spare', { bdev_name: 'd3' });
    await end('SIGTERM');
    await start();
    expect(await call('raidkit_get_spares')).toEqual([]);
    expect(await namesOf('bdev_get_bdevs')).toContain('d3');
    await call('bdev_wait_for_examine');
    expect(await pending()).toEqual([]);
    expect((await namesOf('raidkit_nbd_get_exports')).sort()).toEqual(['v', 'w']);
  });

  it('is taken over from SPDK’s file, which may name it again at the next start', async () => {
    makeDisks(2);
    const config = saveConfig([open(0), open(1)]);
    await start('-c', config);
    await call('raidkit_nbd_export', { bdev_name: 'd0', name: 'e' });
    await end('SIGTERM');
    await start('-c', config);
    expect(await namesOf('bdev_get_bdevs')).toEqual(['d0', 'd1']);
    expect(await namesOf('raidkit_nbd_get_exports')).toEqual(['e']);
    await end('SIGTERM');
    await start();
    expect(await namesOf('bdev_get_bdevs')).toEqual(['d0', 'd1']);
    expect(await namesOf('raidkit_nbd_get_exports')).toEqual(['e']);
  });

  it('keeps what was gone at one start for the next', async () => {
    makeDisks(2);
    await start();
    await openDisks([0, 1]);
    await call('raidkit_nbd_export', { bdev_name: 'd1', name: 'e' });
    await end('SIGTERM');
    renameSync(disk(1), disk(9));
    await start();
    expect((await pending()).map(({ method }) => method).sort()).toEqual(['bdev_aio_create', 'raidkit_nbd_export']);
    await call('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 });
    await end('SIGKILL');
    renameSync(disk(9), disk(1));
    await start();
    expect((await namesOf('bdev_get_bdevs')).sort()).toEqual(['d0', 'd1', 'm']);
    expect(await namesOf('raidkit_nbd_get_exports')).toEqual(['e']);
  });

  it('is not lost to a damaged file: that is kept aside, and the daemon comes up', async () => {
    await start();
    await call('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 });
    await end('SIGTERM');
    writeFileSync(state(), '{"subsystems": [');
    await start();
    expect(await namesOf('bdev_get_bdevs')).toEqual([]);
    const kept = /kept as (\S+damaged-\d+)/.exec(test.daemon!.stderr)?.[1];
    expect(readFileSync(kept!, 'utf8')).toBe('{"subsystems": [');
  });

  it('ends a strict start again and again if its file is damaged', async () => {
    const damaged = '{"subsystems": [';
    mkdirSync(join(test.folder, 'state'));
    writeFileSync(state(), damaged);
    for (let count = 0; count < 2; count++) {
      const strict = spawnDaemon(join(test.folder, 'no.sock'), [...base, '--state', state(), '--strict']);
      await expect(strict).rejects.toThrow(/is damaged/);
      expect(readFileSync(state(), 'utf8')).toBe(damaged);
    }
  });

  it('that cannot be saved is done all the same, and the trouble is shown', async () => {
    await start();
    rmSync(join(test.folder, 'state'), { recursive: true });
    writeFileSync(join(test.folder, 'state'), 'a file where the folder was');
    await call('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 });
    expect(await call('raidkit_get_configuration')).toMatchObject({
      state_file: state(),
      state_error: expect.stringMatching(/EEXIST|ENOTDIR/) as string,
    });
    rmSync(join(test.folder, 'state'));
    await call('bdev_malloc_create', { name: 'n', num_blocks: 64, block_size: 512 });
    expect(await call('raidkit_get_configuration')).toMatchObject({ state_error: null });
    expect(readFileSync(state(), 'utf8')).toContain('"n"');
  });

  it('is written by one daemon: a second one on the same control socket changes nothing', async () => {
    await start();
    await call('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 });
    const before = readFileSync(state(), 'utf8');
    const rpc = join(test.folder, 'rpc.sock');
    const second = spawnDaemon(join(test.folder, 'no.sock'), [...base, '-r', rpc, '--state', state()]);
    await expect(second).rejects.toThrow(/another server listens/);
    expect(readFileSync(state(), 'utf8')).toBe(before);
    expect(await namesOf('bdev_get_bdevs')).toEqual(['m']);
  });
});

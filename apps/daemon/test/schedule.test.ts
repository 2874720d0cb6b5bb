import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { CheckSchedule } from '../src/schedule/check-schedule.js';
import { formatWindow, isWithin, parseWindow } from '../src/schedule/check-window.js';
import { until } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';

const test = oneDaemon();
const MiB = 1 << 20;
const uuid = '11111111-2222-4333-8444-555555555555';

function call(method: string, params?: unknown): Promise<unknown> {
  return test.daemon!.client.call(method, params);
}

interface Scheduled {
  name: string;
  completed_at: string | null;
  mismatch_blocks: number;
  due_at: string;
  unfinished_percent: number | null;
  is_running: boolean;
}

async function scheduled(): Promise<Scheduled | undefined> {
  return ((await call('raidkit_get_schedule')) as { arrays: Scheduled[] }).arrays[0];
}

/** A mirror of files, without superblocks: there is no map, so a check goes everywhere. */
function configure(): string {
  for (const name of ['a', 'b']) makeFile(join(test.folder, name), 16 * MiB);
  const open = (name: string): object => ({
    method: 'bdev_aio_create',
    params: { name, filename: join(test.folder, name), block_size: 512 },
  });
  const create = { method: 'bdev_raid_create', params: { name: 'vol', uuid, raid_level: 'raid1', base_bdevs: ['a', 'b'] } };
  const path = join(test.folder, 'config.json');
  const config = [open('a'), open('b'), create];
  writeFileSync(path, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
  return path;
}

function overwrite(name: string, offset: number): void {
  const fd = openSync(join(test.folder, name), 'r+');
  writeSync(fd, Buffer.alloc(512, 0xaa), 0, 512, offset);
  closeSync(fd);
}

async function start(config: string, ...args: string[]): Promise<void> {
  const state = ['--state', join(test.folder, 'state.json')];
  await test.start(['--memory', '64', '-c', config, ...state, '--check-every', '0.00001', ...args]);
}

it('checks an array when it is due, and goes on where it was after a restart', async () => {
  const config = configure();
  // One block in the part that is checked before the restart, one behind it.
  overwrite('b', MiB);
  overwrite('b', 15 * MiB);
  await start(config, '--check-limit', '4');
  await until('a part is checked', async () => ((await scheduled())?.unfinished_percent ?? 0) >= 20);
  expect(await scheduled()).toMatchObject({ name: 'vol', completed_at: null, is_running: true });
  test.daemon!.client.close();
  test.daemon!.child.kill('SIGTERM');
  expect(await test.daemon!.exited).toBe(0);

  await start(config);
  await until('the check is complete', async () => typeof (await scheduled())?.completed_at === 'string');
  const from = (): number => Number(/"from":(\d+)[^\n]*the scheduled check continues/.exec(test.daemon!.stderr)?.[1] ?? 0);
  await until('the log says where it went on', () => from() > 0);
  expect(from()).toBeGreaterThan((16 * MiB * 0.15) / 512);
  expect(await scheduled()).toMatchObject({ mismatch_blocks: 2 });
  await until('that is saved', () => {
    const saved = JSON.parse(readFileSync(join(test.folder, 'state-checks.json'), 'utf8')) as {
      arrays: Record<string, { mismatch_blocks: number }>;
    };
    return saved.arrays[uuid]?.mismatch_blocks === 2;
  });
});

it('lets go of an array that needs its disks for something else', async () => {
  await start(configure(), '--check-limit', '4');
  await until('it is being checked', async () => (await scheduled())?.is_running === true);
  await call('bdev_raid_remove_base_bdev', { name: 'b' });
  await until('the check was called off', async () => (await scheduled())?.is_running === false);
  const [array] = (await call('raidkit_get_arrays')) as { ext: { process: unknown; history: { error: string | null }[] } }[];
  expect(array?.ext.process).toBeNull();
  expect(array?.ext.history[0]?.error).not.toBeNull();
  expect((await scheduled())?.completed_at).toBeNull();
  await call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: 'b' });
  await until('it is complete all the same', async () => typeof (await scheduled())?.completed_at === 'string');
});

it('lets a check rest that was ended on request', async () => {
  // The period is 8.64 s.
  const args = ['--check-every', '0.0001', '--check-limit', '4'];
  const checks = {
    version: 1,
    arrays: { [uuid]: { due_from: 0, completed_at: null, mismatch_blocks: 0, next_block: null, mismatches_so_far: 0 } },
  };
  writeFileSync(join(test.folder, 'state-checks.json'), JSON.stringify(checks));
  await start(configure(), ...args);
  await until('it is being checked', async () => ((await scheduled())?.unfinished_percent ?? 0) > 0);
  await expect(call('raidkit_control_process', { name: 'vol', type: 'rebuild', action: 'cancel' })).rejects.toThrow(
    /no rebuild/,
  );
  const before = Date.now();
  await call('raidkit_control_process', { name: 'vol', type: 'check', action: 'cancel' });
  await until('the schedule has noticed', async () => (await scheduled())?.is_running === false);
  expect(Date.parse((await scheduled())?.due_at ?? '')).toBeGreaterThanOrEqual(before + 8640);
});

it('begins nothing outside the hours that are given, and nothing at all unless it is asked to', async () => {
  const config = configure();
  const hour = (new Date().getHours() + 2) % 24;
  const other = `${hour}:00-${(hour + 1) % 24}:30`;
  await start(config, '--check-window', other);
  await until('it is due', async () => Date.parse((await scheduled())?.due_at ?? '9999') < Date.now());
  // A check on request is not a scheduled one.
  await call('raidkit_start_process', { name: 'vol', type: 'check' });
  await until('that has ended, and counts', async () => typeof (await scheduled())?.completed_at === 'string');
  expect(await call('raidkit_get_schedule')).toMatchObject({ enabled: true, window_is_open: false });
  expect(test.daemon?.stderr).not.toContain('the scheduled check');
});

it('has no schedule without --check-every', async () => {
  await test.start(['--memory', '64']);
  expect(await call('raidkit_get_schedule')).toEqual({ enabled: false, arrays: [] });
});

it('refuses to begin elsewhere than an array has blocks, and to repair a part', async () => {
  await test.start(['--memory', '64', '-c', configure()]);
  await expect(call('raidkit_start_process', { name: 'vol', type: 'check', from_block: 1e9 })).rejects.toThrow(/0 to 32767/);
  await expect(call('raidkit_start_process', { name: 'vol', type: 'resync', from_block: 1 })).rejects.toThrow(/only a check/);
});

it('does not take a check that began behind the first block for a whole one', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  const history: object[] = [];
  const array = { name: 'vol', uuid, raid_level: 'raid1', state: 'online' };
  const ext = { health: 'optimal', num_blocks: 1000, process: null, waits_for: null, history };
  const caller = {
    call: (name: string) =>
      Promise.resolve(name === 'raidkit_get_modules' ? [{ level: 'raid1', redundant: true }] : [{ ...array, ext }]),
  };
  const schedule = new CheckSchedule(
    caller,
    { everyDays: 30, window: null, limitMbSec: null },
    null,
    pino({ level: 'silent' }),
  );
  schedule.begin();
  const check = async (from: number): Promise<number | null | undefined> => {
    await vi.advanceTimersByTimeAsync(60_000);
    const record = { type: 'check', started_at: Date.now(), seconds: 1, blocks: 1000, mismatch_blocks: 0, error: null };
    history.unshift({ ...record, from_block: from });
    await vi.advanceTimersByTimeAsync(60_000);
    return schedule.list()[0]?.completedAt;
  };
  expect(await check(500)).toBeNull();
  expect(await check(0)).toBeGreaterThan(0);
  schedule.end();
  vi.useRealTimers();
});

describe('hours of the day', () => {
  const at = (text: string): Date => new Date(`2026-01-01T${text}:00`);
  it.each([
    ['01:00-05:30', '01:00', true],
    ['01:00-05:30', '05:29', true],
    ['01:00-05:30', '05:30', false],
    ['22:00-04:00', '23:59', true],
    ['22:00-04:00', '03:59', true],
    ['22:00-04:00', '12:00', false],
    ['20:00-24:00', '23:59', true],
  ])('%s: at %s %s', (window, time, isOpen) => {
    const parsed = parseWindow(window);
    expect(isWithin(parsed, at(time))).toBe(isOpen);
    expect(parsed === null ? '' : formatWindow(parsed)).toBe(window);
  });

  it.each(['', '1-5', '24:00-25:00', '01:60-02:00', '01:00-01:00', '01:00-24:01'])('refuses %s', (text) => {
    expect(parseWindow(text)).toBeNull();
  });
});

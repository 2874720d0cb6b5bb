import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import type { Daemon } from '../src/index.js';
import { makeFile } from './support/files.js';

// What was counted before a restart is counted after it.

let folder: string;
let daemon: Daemon | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-lasting-'));
  for (const name of ['a', 'b']) makeFile(join(folder, name), 1 << 20);
  const uuid = (digit: number): string => `${digit}1111111-2222-4333-8444-555555555555`;
  const call = (method: string, params: object): object => ({ method, params });
  // Without superblocks there is no map of what was written: a check goes everywhere.
  const config = [
    ...['a', 'b'].map((name, index) =>
      call('bdev_aio_create', { name, filename: join(folder, name), block_size: 512, uuid: uuid(index) }),
    ),
    call('bdev_error_create', { base_name: 'a', uuid: uuid(2) }),
    call('bdev_raid_create', { name: 'vol', uuid: uuid(3), raid_level: 'raid1', base_bdevs: ['EE_a', 'b'] }),
  ];
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
});

afterEach(async () => {
  await daemon?.stop();
  daemon = null;
  rmSync(folder, { recursive: true });
});

async function restart(): Promise<void> {
  await daemon?.stop();
  daemon = await startDaemon({
    rpc: [],
    nbd: [],
    http: [{ unix: join(folder, 'http.sock') }],
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 64 << 20,
    statePath: join(folder, 'state.json'),
    configPath: join(folder, 'config.json'),
    log: pino({ level: 'silent' }),
  });
  await expect.poll(async () => (await arrays()).map(({ state }) => state)).not.toContain('configuring');
}

function call(method: string, params?: unknown): Promise<unknown> {
  return daemon!.caller.call(method, params);
}

interface ArrayAnswer {
  state: string;
  ext: {
    process: unknown;
    history: { type: string; started_at: number; mismatch_blocks: number }[];
    members: { name: string; read_errors: number; repaired_blocks: number }[];
  };
}

async function arrays(): Promise<ArrayAnswer[]> {
  return (await call('raidkit_get_arrays')) as ArrayAnswer[];
}

async function errors(): Promise<[number, number] | undefined> {
  const member = (await arrays())[0]?.ext.members.find(({ name }) => name === 'EE_a');
  return member === undefined ? undefined : [member.read_errors, member.repaired_blocks];
}

/** Has everything compared, while reads of the first member fail so often. */
async function check(failures: number): Promise<void> {
  const before = (await arrays())[0]?.ext.history[0]?.started_at ?? 0;
  await call('bdev_error_inject_error', { name: 'EE_a', io_type: 'read', error_type: 'failure', num: failures });
  await call('raidkit_start_process', { name: 'vol', type: 'check' });
  await expect
    .poll(async () => (await arrays())[0]?.ext.history[0]?.started_at ?? 0, { timeout: 20_000 })
    .toBeGreaterThan(before);
}

it('errors, repairs and what a check found are there after a restart, go on, and can be cleared', async () => {
  await restart();
  await check(100_000);
  const first = await errors();
  expect(first?.[0]).toBeGreaterThan(0);
  const history = (await arrays())[0]?.ext.history;
  expect(history).toMatchObject([{ type: 'check' }]);

  await restart();
  expect(await errors()).toEqual(first);
  expect((await arrays())[0]?.ext.history).toEqual(history);

  await check(100_000);
  const second = await errors();
  expect(second?.[0]).toBeGreaterThan(first?.[0] ?? 0);
  await call('raidkit_clear_errors', { name: 'vol' });
  expect(await errors()).toEqual([0, 0]);
  await restart();
  expect(await errors()).toEqual([0, 0]);
  await expect(call('raidkit_clear_errors', { name: 'nix' })).rejects.toThrow('No such device');
});

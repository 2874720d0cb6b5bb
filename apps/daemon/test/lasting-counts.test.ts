import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockClient } from '@raidkit/bdev';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import type { Daemon } from '../src/index.js';
import { LastingCounts } from '../src/lasting/lasting-counts.js';
import { readLasting } from '../src/lasting/lasting-file.js';
import { makeFile } from './support/files.js';

// Counts of errors survive a restart.

let folder: string;
let daemon: Daemon | null = null;

const uuid = (digit: number): string => `${digit}1111111-2222-4333-8444-555555555555`;
const plain = { name: 'vol', uuid: uuid(3), raid_level: 'raid1', base_bdevs: ['EE_a', 'b'] };

const none = { read: 0, write: 0, repaired: 0 };
const figures = ['seconds', 'blocks', 'mismatch', 'repaired', 'undecided', 'unreadable', 'lost'];
const record = {
  ...Object.fromEntries(figures.map((name, index) => [index < 2 ? name : `${name}_blocks`, 0])),
  ...{ type: 'check', target: null, started_at: 1, unreadable: [], error: null },
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-lasting-'));
});

/** These devices are present at each start. */
function configure(mebibytes: number, ...more: object[]): void {
  const names = ['a', 'b', 'c'];
  for (const name of names) makeFile(join(folder, name), mebibytes << 20);
  const config = [
    ...names.map((name, index) =>
      setUp('bdev_aio_create', { name, filename: join(folder, name), block_size: 512, uuid: uuid(index + 5) }),
    ),
    setUp('bdev_error_create', { base_name: 'a', uuid: uuid(2) }),
    ...more,
  ];
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
}

function setUp(method: string, params: object): object {
  return { method, params };
}

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

async function errors(name = 'EE_a'): Promise<[number, number] | undefined> {
  const member = (await arrays())[0]?.ext.members.find((one) => one.name === name);
  return member === undefined ? undefined : [member.read_errors, member.repaired_blocks];
}

/** Runs a check of the array, while this many reads of the first member fail. */
async function check(failures: number): Promise<void> {
  const before = (await arrays())[0]?.ext.history[0]?.started_at ?? 0;
  await call('bdev_error_inject_error', { name: 'EE_a', io_type: 'read', error_type: 'failure', num: failures });
  await call('raidkit_start_process', { name: 'vol', type: 'check' });
  await expect
    .poll(async () => (await arrays())[0]?.ext.history[0]?.started_at ?? 0, { timeout: 20_000 })
    .toBeGreaterThan(before);
}

/** Makes the first member fail a read of the volume. */
async function failOneRead(): Promise<void> {
  const client = new BlockClient(daemon!.service.registry.open('vol', { writable: true }));
  await client.write(0, Buffer.alloc(4096, 1));
  await call('bdev_error_inject_error', { name: 'EE_a', io_type: 'read', error_type: 'failure', num: 1 });
  // Readers take turns with the members.
  for (let one = 0; one < 4; one++) await client.read(0, 8);
  client.descriptor.close();
}

it('errors, repairs and what a check found are there after a restart, go on, and can be cleared', async () => {
  // Without superblocks there is no map of what was written: a check goes everywhere.
  configure(1, setUp('bdev_raid_create', plain));
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

it('errors that superblocks keep, too, are counted once, and not as those of a device that comes later', async () => {
  configure(16);
  await restart();
  await call('bdev_raid_create', { ...plain, superblock: true });
  await failOneRead();
  const first = await errors();
  expect(first?.[0]).toBe(1);

  await restart();
  expect(await errors()).toEqual(first);
  await restart();
  expect(await errors()).toEqual(first);
  await call('raidkit_clear_errors', { name: 'vol' });
  expect(await errors()).toEqual([0, 0]);
  await restart();
  expect(await errors()).toEqual([0, 0]);

  await failOneRead();
  expect(await errors()).toEqual(first);
  await restart();
  await call('raidkit_replace', { name: 'vol', member: 'EE_a', bdev_name: 'c' });
  await expect.poll(async () => (await arrays())[0]?.ext.members[0]?.name, { timeout: 20_000 }).toBe('c');
  expect(await errors('c')).toEqual([0, 0]);
});

it.each([
  ['counts that are no counts', (array) => (array.slots = [{ read: -1, write: 0, repaired: 0 }])],
  ['more slots than an array has', (array) => (array.slots = Array.from({ length: 256 }, () => none))],
  ['a member that is none', (array) => (array.members = { x: none })],
  ['a record without its figures', (array) => (array.history = [{ type: 'check', started_at: 1 }])],
  ['a record of no time that there is', (array) => (array.history = [{ ...record, started_at: 1e300 }])],
  ['more records than are kept', (array) => (array.history = Array.from({ length: 21 }, () => record))],
] as [string, (array: Record<string, unknown>) => void][])('a file with %s is not believed', (_, spoil) => {
  const path = join(folder, 'counts.json');
  const array = { members: { [uuid(2)]: none }, slots: [none], history: [record] };
  const read = (): [number, number] => {
    let warnings = 0;
    const log = pino({ level: 'warn' }, { write: () => (warnings += 1) });
    writeFileSync(path, JSON.stringify({ version: 1, arrays: { [uuid(3)]: array } }));
    return [readLasting(path, log).size, warnings];
  };
  expect(read()).toEqual([1, 0]);
  spoil(array);
  expect(read()).toEqual([0, 1]);
});

it('which device an empty slot had is known after a restart', async () => {
  const arrays = (members: object[], uuids: string[]): object[] => [
    {
      name: 'vol',
      uuid: uuid(3),
      state: 'online',
      superblock: true,
      base_bdevs_list: uuids.map((one) => ({ uuid: one })),
      ext: {
        history: [],
        members: members.map((member, slot) => ({
          slot,
          read_errors: 0,
          write_errors: 0,
          repaired_blocks: 0,
          checksum_errors: 0,
          ...member,
        })),
      },
    },
  ];
  const noMember = uuid(0).replaceAll(/[1-9]/g, '0');
  const a = { name: 'a', serial: 'WD-1', last_member: null };
  const both = arrays([a, { name: 'b', serial: 'WD-2', last_member: null }], [uuid(5), uuid(6)]);
  const path = join(folder, 'counts.json');
  const log = pino({ level: 'silent' });
  const before = new LastingCounts({ call: () => Promise.resolve(both) }, path, log);
  await before.look();
  const one = arrays([a, { name: null, serial: null, last_member: null }], [uuid(5), noMember]);
  const after = new LastingCounts({ call: () => Promise.resolve(one) }, path, log);
  const known = { name: 'b', uuid: uuid(6), serial: 'WD-2' };
  expect(await after.call('raidkit_get_arrays', undefined)).toMatchObject([
    { ext: { members: [{ last_member: null }, { last_member: known }] } },
  ]);
  // It also stays when that has been recorded and the daemon starts once more.
  await after.look();
  const again = new LastingCounts({ call: () => Promise.resolve(one) }, path, log);
  expect(await again.call('raidkit_get_arrays', undefined)).toMatchObject([{ ext: { members: [{}, { last_member: known }] } }]);
});

import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';
import { makeFile } from './support/files.js';
import { RpcClient } from './support/rpc-client.js';

/** Checksums are turned on and off by calls of any client, at any time. */
let test: TestDaemon;
beforeEach(async () => {
  test = await startTestDaemon();
});
afterEach(() => test.end());

interface Array_ {
  state: string;
  ext: { checksums: string };
}

const call = (method: string, params?: unknown): Promise<unknown> => test.client.call(method, params);
const disk = (name: string): string => join(test.folder, name);

async function open(...names: string[]): Promise<void> {
  for (const name of names) await call('bdev_aio_create', { name, filename: disk(name), block_size: 512 });
}

async function makeArray(name: string, level: string, members: readonly string[], options: object = {}): Promise<void> {
  for (const member of members) makeFile(disk(member), 4 << 20);
  await open(...members);
  await call('bdev_raid_create', { name, raid_level: level, base_bdevs: members, superblock: true, ...options });
}

async function arrayOf(name: string): Promise<Array_ | undefined> {
  return ((await call('raidkit_get_arrays')) as (Array_ & { name: string })[]).find((array) => array.name === name);
}

async function checksumsOf(name: string): Promise<string | undefined> {
  return (await arrayOf(name))?.ext.checksums;
}

it('refuses what has no sense, and says why', async () => {
  await makeArray('r', 'raid1', ['a', 'b']);
  await makeArray('s', 'raid0', ['c', 'd'], { strip_size_kb: 16 });
  await makeArray('n', 'raid1', ['e', 'f'], { superblock: false });
  for (const method of ['raidkit_integrity_enable', 'raidkit_integrity_disable']) {
    for (const params of [undefined, {}, [], { name: 7 }, { name: 'r', when_rom: true }, { name: null }])
      expect((await test.client.ask(method, params)).error, JSON.stringify(params)).toMatchObject({ code: -32_602 });
    expect((await test.client.ask(method, { name: 'absent' })).error).toMatchObject({ code: -19 });
    expect((await test.client.ask(method, { name: 'a' })).error).toMatchObject({ code: -19 });
  }
  for (const when_room of [1, 'true', null])
    expect((await test.client.ask('raidkit_integrity_enable', { name: 'r', when_room })).error).toMatchObject({
      code: -32_602,
    });
  for (const when_room of [true, false])
    expect((await test.client.ask('raidkit_integrity_enable', { name: 'n', when_room })).error).toMatchObject({ code: -22 });
  expect((await test.client.ask('raidkit_integrity_enable', { name: 's' })).error).toMatchObject({ code: -22 });
  expect((await test.client.ask('raidkit_integrity_disable', { name: 's' })).error).toMatchObject({ code: -22 });
  expect((await test.client.ask('raidkit_integrity_enable', { name: 'r' })).error).toMatchObject({ code: -22 });
  expect((await test.client.ask('raidkit_integrity_disable', { name: 'r' })).error).toMatchObject({ code: -22 });
  expect(await checksumsOf('r')).toBe('none');
});

it('are given to an array without redundancy as soon as it has room, and taken away', async () => {
  await makeArray('s', 'raid0', ['a', 'b'], { strip_size_kb: 16 });
  expect(await call('raidkit_integrity_enable', { name: 's', when_room: true })).toBe(false);
  expect(await checksumsOf('s')).toBe('awaiting-room');
  for (const name of ['a', 'b']) {
    truncateSync(disk(name), 5 << 20);
    await call('bdev_aio_rescan', { name });
  }
  await expect.poll(() => checksumsOf('s')).toBe('all');
  expect(await call('raidkit_integrity_disable', { name: 's' })).toBe(true);
  expect(await checksumsOf('s')).toBe('none');
});

it('is refused while an array waits to be started, or is only read', async () => {
  await makeArray('r', 'raid1', ['a', 'b'], { integrity: true });
  await call('raidkit_stop', { name: 'r' });
  for (const name of ['a', 'b']) await call('bdev_aio_delete', { name });
  // It waits for the other one.
  await open('a');
  const refused = async (): Promise<void> => {
    for (const method of ['raidkit_integrity_enable', 'raidkit_integrity_disable'])
      expect((await test.client.ask(method, { name: 'r' })).error).toMatchObject({ code: -22 });
  };
  await expect.poll(async () => (await arrayOf('r'))?.state).toBe('configuring');
  await refused();
  await call('raidkit_assemble', { name: 'r', read_only: true });
  expect((await arrayOf('r'))?.state).toBe('online');
  await refused();
  expect(await checksumsOf('r')).toBe('all');
});

it('is done once, also if other clients ask at the same time, go away, or stop the array', async () => {
  await makeArray('r', 'raid1', ['a', 'b'], { integrity: true });
  expect(await checksumsOf('r')).toBe('all');
  const ask = (method: string, params: object = {}): Promise<number> =>
    test.client.ask(method, { name: 'r', ...params }).then(({ error }) => error?.code ?? 0);
  const on = (): Promise<number> => ask('raidkit_integrity_enable', { when_room: true });
  const off = (): Promise<number> => ask('raidkit_integrity_disable');
  expect(new Set(await Promise.all([off(), off()]))).toEqual(new Set([0, -22]));
  expect(await checksumsOf('r')).toBe('none');
  // The array has grown into their room, so that only the request for checksums is turned on and off.
  expect(await Promise.all([on(), off(), on()])).toEqual([0, 0, 0]);
  expect(await checksumsOf('r')).toBe('awaiting-room');
  const other = await RpcClient.connect(test.rpcPath);
  other.ask('raidkit_integrity_disable', { name: 'r' }).catch(() => undefined);
  other.close();
  await expect.poll(() => checksumsOf('r')).toBe('none');
  // Each call is answered, in whatever order they are carried out.
  const [, stopped] = await Promise.all([on(), ask('raidkit_stop'), off(), on()]);
  expect(stopped).toBe(0);
  expect(await arrayOf('r')).toBeUndefined();
});

it('is as it was when the daemon starts again from what it has saved', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  const again = async (): Promise<void> => {
    await test.end();
    test = await startTestDaemon({ statePath: join(folder, 'state.json') });
    await expect.poll(async () => (await arrayOf('r'))?.state).toBe('online');
  };
  try {
    await test.end();
    test = await startTestDaemon({ statePath: join(folder, 'state.json') });
    const members = ['a', 'b'];
    for (const name of members) {
      makeFile(join(folder, name), 4 << 20);
      await call('bdev_aio_create', { name, filename: join(folder, name), block_size: 512 });
    }
    const options = { raid_level: 'raid1', base_bdevs: members, superblock: true, integrity: true };
    await call('bdev_raid_create', { name: 'r', ...options });
    await again();
    expect(await checksumsOf('r')).toBe('all');
    await call('raidkit_integrity_disable', { name: 'r' });
    await again();
    expect(await checksumsOf('r')).toBe('none');
    expect(await call('raidkit_integrity_enable', { name: 'r', when_room: true })).toBe(false);
    await again();
    expect(await checksumsOf('r')).toBe('awaiting-room');
    // This device is larger than needed by a stripe and a page of its checksums.
    for (const name of members) truncateSync(join(folder, name), (4 << 20) + (64 << 10));
    await again();
    await expect.poll(() => checksumsOf('r'), { timeout: 10_000 }).toBe('all');
  } finally {
    await test.end();
    test = await startTestDaemon();
    rmSync(folder, { recursive: true });
  }
});

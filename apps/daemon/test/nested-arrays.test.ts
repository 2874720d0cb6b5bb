import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';

const disks = [0, 1, 2, 3];
const MiB = 1 << 20;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-nested-'));
  for (const index of disks) {
    writeFileSync(join(folder, `d${index}`), '');
    truncateSync(join(folder, `d${index}`), 8 * MiB);
  }
});

afterEach(() => rmSync(folder, { recursive: true }));

async function addDisks({ client }: TestDaemon, wanted = disks): Promise<void> {
  for (const index of wanted)
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

it('an array has the URIs of its exports, under whatever names, and none where it has no export', async () => {
  const test = await startTestDaemon();
  try {
    const call = test.client.call.bind(test.client);
    const uris = async (name: string): Promise<string[]> => {
      const [array] = (await call('raidkit_get_arrays', { name })) as [{ ext: { uris: string[] } }];
      return array.ext.uris.map((uri) => uri.replace(/\?.*/, ''));
    };
    for (const name of ['a', 'b', 'c', 'd']) await call('bdev_malloc_create', { name, num_blocks: 8192, block_size: 512 });
    await call('bdev_raid_create', { name: 'x', raid_level: 'raid1', base_bdevs: ['a', 'b'] });
    await call('bdev_raid_create', { name: 'y', raid_level: 'raid1', base_bdevs: ['c', 'd'] });
    await call('raidkit_nbd_export', { bdev_name: 'x', name: 'other' });
    expect(await uris('x')).toEqual(['nbd+unix:///x', 'nbd+unix:///other']);
    await call('raidkit_nbd_unexport', { name: 'x' });
    expect(await uris('x')).toEqual(['nbd+unix:///other']);
    await call('raidkit_nbd_unexport', { name: 'other' });
    expect(await uris('x')).toEqual([]);
    await call('bdev_raid_create', { name: 'vol', raid_level: 'raid0', strip_size_kb: 64, base_bdevs: ['x', 'y'] });
    expect([await uris('vol'), await uris('y')]).toEqual([['nbd+unix:///vol'], []]);
  } finally {
    await test.end();
  }
});

it('a stripe over mirrors comes back when the daemon does, and only the stripe is exported', async () => {
  const first = await startTestDaemon();
  await addDisks(first);
  for (const [name, members] of [
    ['x', ['d0', 'd1']],
    ['y', ['d2', 'd3']],
  ] as const) {
    await first.client.call('bdev_raid_create', { name, raid_level: 'raid1', base_bdevs: members, superblock: true });
  }
  expect(await exportsOf(first)).toEqual(['x', 'y']);
  // A creation that fails restores the exports that were removed for it.
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
  await addDisks(second);
  expect(await statesOf(second)).toEqual({ x: 'online', y: 'online', out: 'online' });
  expect(await exportsOf(second)).toEqual(['out']);
  // They are not members of any array any more.
  await second.client.call('bdev_raid_delete', { name: 'out', clear_sb: true });
  await second.client.call('bdev_wait_for_examine');
  expect(await exportsOf(second)).toEqual(['x', 'y']);
  await second.end();
});

it('a volume that carries the superblock of an array which is not there is not exported', async () => {
  const first = await startTestDaemon();
  await addDisks(first);
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
  await addDisks(second, [0, 1]);
  expect(await statesOf(second)).toEqual({ x: 'online', out: 'configuring' });
  expect(await exportsOf(second)).toEqual([]);
  await second.end();
});

async function makeMirror({ client }: TestDaemon): Promise<void> {
  await client.call('bdev_raid_create', { name: 'x', raid_level: 'raid1', base_bdevs: ['d0', 'd1'], superblock: true });
}

/** `out`, over the volume `x` and the disk `d2`. */
async function makeOuter({ client }: TestDaemon): Promise<void> {
  const params = { name: 'out', raid_level: 'raid0', strip_size_kb: 64, base_bdevs: ['x', 'd2'], superblock: true };
  await client.call('bdev_raid_create', params);
}

/** What the mirror `x` has in its first MiB, where its member d0 keeps it. */
function readVolume(): Uint8Array {
  const bytes = new Uint8Array(MiB);
  const file = openSync(join(folder, 'd0'), 'r');
  readSync(file, bytes, 0, MiB, MiB);
  closeSync(file);
  return bytes;
}

function overwrite(disk: number, bytes: Uint8Array, at: number): void {
  const file = openSync(join(folder, `d${disk}`), 'r+');
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}

it('a superblock that a client wrote to its volume makes no array, and does not stop the volume’s export', async () => {
  const first = await startTestDaemon();
  await addDisks(first);
  await makeMirror(first);
  await makeOuter(first);
  const superblock = readVolume();
  await first.client.call('bdev_raid_delete', { name: 'out', clear_sb: true });
  expect(await exportsOf(first)).toEqual(['x']);
  await first.end();
  expect(Buffer.from(superblock.subarray(0, 8)).toString()).toBe('SPDKRAID');
  // It names the volume by its uuid.
  for (const disk of [0, 1]) overwrite(disk, superblock, MiB);
  const second = await startTestDaemon();
  await addDisks(second);
  expect(await statesOf(second)).toEqual({ x: 'online' });
  expect(await exportsOf(second)).toEqual(['x']);
  // An operator may decide otherwise: from then on it is a member.
  await second.client.call('bdev_examine', { name: 'x' });
  expect(await statesOf(second)).toEqual({ x: 'online', out: 'configuring' });
  expect(await exportsOf(second)).toEqual([]);
  await second.end();
  const third = await startTestDaemon();
  await addDisks(third);
  expect(await statesOf(third)).toEqual({ x: 'online', out: 'configuring' });
  // When it is removed from the array, clients can use it again.
  await third.client.call('raidkit_stop', { name: 'out' });
  await third.client.call('raidkit_wipe', { bdev_name: 'x' });
  expect(await exportsOf(third)).toEqual(['x']);
  await third.end();
});

it('of an array that was made elsewhere a person says once that its volume is a member', async () => {
  const first = await startTestDaemon();
  await addDisks(first);
  await makeMirror(first);
  await makeOuter(first);
  await first.end();
  // SPDK keeps nothing but the superblock.
  for (const disk of [0, 1]) overwrite(disk, new Uint8Array(MiB - (32 << 10)), 32 << 10);
  for (const isSaid of [false, true]) {
    const again = await startTestDaemon();
    await addDisks(again);
    expect(await statesOf(again)).toEqual({ x: 'online', out: isSaid ? 'online' : 'configuring' });
    expect(await exportsOf(again)).toEqual(isSaid ? ['out'] : []);
    if (!isSaid) await again.client.call('bdev_examine', { name: 'x' });
    expect(await exportsOf(again)).toEqual(['out']);
    await again.end();
  }
});

it('a volume whose array keeps nothing on its members is a member by what is saved', async () => {
  const statePath = join(folder, 'state.json');
  const first = await startTestDaemon({ statePath });
  await addDisks(first);
  const params = { name: 'x', raid_level: 'raid0', strip_size_kb: 64, base_bdevs: ['d0', 'd1'] };
  await first.client.call('bdev_raid_create', params);
  await makeOuter(first);
  await first.end();
  expect(readFileSync(statePath, 'utf8')).toContain('"bdev_examine"');
  const second = await startTestDaemon({ statePath });
  await second.client.call('bdev_wait_for_examine');
  expect(await statesOf(second)).toEqual({ x: 'online', out: 'online' });
  expect(await exportsOf(second)).toEqual(['out']);
  await second.client.call('bdev_raid_delete', { name: 'out', clear_sb: true });
  expect(await exportsOf(second)).toEqual(['x']);
  await second.end();
  expect(readFileSync(statePath, 'utf8')).not.toContain('"bdev_examine"');
});

it('a volume that an array was to have, and whose creation failed, is exported as before, also after a restart', async () => {
  const first = await startTestDaemon();
  await addDisks(first);
  await makeMirror(first);
  await first.client.call('bdev_malloc_create', { name: 'small', num_blocks: 1024, block_size: 512 });
  const params = { name: 'out', raid_level: 'raid1', base_bdevs: ['x', 'small'], superblock: true };
  await expect(first.client.call('bdev_raid_create', params)).rejects.toThrow(/too small/);
  expect(await exportsOf(first)).toEqual(['x']);
  await first.end();
  const second = await startTestDaemon();
  await addDisks(second);
  expect(await exportsOf(second)).toEqual(['x']);
  await second.end();
});

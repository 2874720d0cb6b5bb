import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFile } from '../../daemon/test/support/files.js';
import { hasCommands, runOk, spawnDaemon } from '../../daemon/test/support/process.js';
import { makeProgram } from '../src/run.js';
import { bench } from './support/raidctl.js';

const MiB = 1 << 20;
const test = bench();
/** These write to the volume as an NBD client. */
const itWrites = it.skipIf(!hasCommands('nbdsh'));

const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern);
const containing = (part: string): unknown => expect.stringContaining(part);

/** Sparse files in the test's folder. */
function disks(...names: string[]): void {
  for (const name of names) makeFile(join(test.folder, name), 32 * MiB);
}

/** What makes a device one with an ext file system, for a program that looks for signatures. */
function putFileSystem(name: string): void {
  overwrite(name, 1024 + 0x38, Buffer.of(0x53, 0xef));
}

function overwrite(name: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(join(test.folder, name), 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

it('creates, shows, degrades and mends an array, with exit codes that say how it is', async () => {
  disks('a', 'b', 'c');
  expect(await test.ok('create raid1 vol ./a ./b')).toContain('array vol is online');
  expect((await test.json('status', 'status vol')).arrays).toMatchObject([
    {
      name: 'vol',
      level: 'raid1',
      health: 'optimal',
      action: null,
      members: 2,
      slots: [
        { slot: 0, device: 'a', path: join(test.folder, 'a'), state: 'current' },
        { slot: 1, device: 'b', path: join(test.folder, 'b'), state: 'current' },
      ],
      uris: [containing('nbd+unix:///vol?socket=')],
    },
  ]);

  // There is no terminal to ask on, so that the confirmation must be an option.
  expect(await test.run('remove', 'vol', 'b')).toMatchObject({
    code: 4,
    stderr: matching(/1 of 2 members[^]*--yes/),
  });
  await test.ok('remove vol b --yes');
  const degraded = await test.json('status', 'status', 5);
  expect(degraded.arrays[0]).toMatchObject({
    health: 'degraded',
    members: 1,
    action: 'bring the absent device back, or add a new one: raidctl add vol DEVICE',
    slots: [{}, { device: null, state: 'missing', last_device: 'b' }],
    findings: [{ severity: 'degraded', commands: ['raidctl add vol DEVICE'] }],
  });
  expect((await test.json('list', 'list', 5)).arrays).toMatchObject([
    { name: 'vol', health: 'degraded', members: 1, slots: 2 },
  ]);
  expect(await test.ok('list', 5)).toMatch(/vol +DEGRADED +raid1 .* 1\/2/);
  expect((await test.json('doctor', 'doctor', 5)).findings).toMatchObject([{ severity: 'degraded', array: 'vol' }]);
  // A member that was removed is closed.
  expect((await test.json('devices', 'devices')).devices.map(({ name }) => name)).toEqual(['a', 'vol']);

  await test.ok('add vol ./c --wait');
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', slots: [{ device: 'a' }, { device: 'c' }] },
  ]);
  expect((await test.json('history', 'history vol')).processes).toMatchObject([{ type: 'rebuild', target: 'c', error: null }]);
  expect((await test.json('doctor', 'doctor')).findings).toEqual([]);
});

it('says what it would do, and does nothing, with --dry-run', async () => {
  disks('a', 'b', 'c');
  const change = await test.json('change', 'create raid1 vol ./a ./b --dry-run');
  expect(change).toMatchObject({
    dry_run: true,
    warnings: [],
    steps: [
      { method: 'bdev_aio_create', params: { name: 'a', filename: join(test.folder, 'a') } },
      { method: 'bdev_aio_create', params: { name: 'b' } },
      { method: 'bdev_raid_create', params: { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b'], superblock: true } },
    ],
  });
  expect((await test.json('devices', 'devices')).devices).toEqual([]);
  await test.ok('create raid1 vol ./a ./b');
  for (const args of [
    'destroy vol',
    'stop vol',
    'remove vol a',
    'replace vol a ./c',
    'spare add ./c',
    'check vol',
    'repair vol --source a',
    'unexport vol',
    'export vol --name other',
    'close a',
  ]) {
    const code = args === 'close a' ? 4 : 0;
    if (code === 0) expect((await test.json('change', `${args} -n`)).steps.length).toBeGreaterThan(0);
    else await test.ok(`${args} -n`, code);
  }
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', slots: [{ device: 'a' }, { device: 'b' }] },
  ]);
  expect((await test.json('spares', 'spare list')).spares).toEqual([]);
});

it('overwrites what others keep on a device only if told so, and takes back what it did before a failure', async () => {
  disks('a', 'b');
  putFileSystem('b');
  const refused = await test.run('create', 'raid1', 'vol', './a', './b', '--yes');
  expect(refused).toMatchObject({ code: 4, stderr: matching(/\.\/b has an ext[^]*will be lost[^]*--force/) });
  expect((await test.json('devices', 'devices')).devices).toEqual([]);
  await test.ok('create raid1 vol ./a ./b --force');
  await test.ok('destroy vol --yes');

  putFileSystem('b');
  for (const daemon of ['', `-s ${join(test.folder, 'absent.sock')}`]) {
    const wiped = await test.run('wipe', './b', '--yes', ...daemon.split(' ').filter((word) => word !== ''));
    expect(wiped).toMatchObject({ code: 4, stderr: matching(/\.\/b loses an ext[^]*--force/) });
  }
  await test.ok('wipe ./b --force');

  // An open device with a file system is looked at by the daemon.
  disks('c');
  putFileSystem('c');
  await test.ok('open ./c');
  expect((await test.json('examine', 'examine c')).devices).toMatchObject([
    { superblock: 'none', signature: containing('ext'), opened_by_daemon: true },
  ]);
  expect(await test.run('create', 'raid1', 'vol', './a', 'c')).toMatchObject({
    code: 4,
    stderr: containing('c has an ext'),
  });
  await test.ok('close c');

  // 32 MiB are too few for strips of a gigabyte: the daemon refuses, after both devices were opened.
  const failed = await test.run('create', 'raid0', 'vol', './a', './b', '--strip-size', '1048576');
  expect(failed).toMatchObject({ code: 4, stderr: containing('could not create the raid0 array vol') });
  expect((await test.json('devices', 'devices')).devices).toEqual([]);
});

it('makes an array with an empty slot, and keeps a former member out until it is wiped', async () => {
  disks('a', 'b', 'old');
  await test.ok('create raid1 half ./a missing', 0);
  expect((await test.json('list', 'list', 5)).arrays).toMatchObject([
    { name: 'half', health: 'degraded', members: 1, slots: 2 },
  ]);
  await test.ok('create raid1 other ./old missing');
  await test.ok('stop other --yes');
  expect(await test.run('add', 'half', './old')).toMatchObject({
    code: 4,
    stderr: matching(/superblock of array other[^]*--force/),
  });
  // Opening it to examine it would have started its array.
  expect((await test.json('list', 'list', 5)).arrays.map(({ name }) => name)).toEqual(['half']);
  await test.ok('add half ./old --force --wait');
  expect((await test.json('list', 'list')).arrays).toMatchObject([{ name: 'half', members: 2 }]);
});

it('makes striped mirrors with options, and says what can be lost of them', async () => {
  disks('a', 'b', 'c', 'd', 'e', 'f');
  await test.ok('create raid10 vol ./a ./b ./c ./d -o copies=2 -o layout=near');
  expect(await test.ok('status vol')).toMatch(/raid10: layout near, copies 2\n/);
  await test.ok('remove vol a --yes');
  await test.ok('remove vol c --yes');
  expect((await test.json('list', 'list', 5)).arrays).toMatchObject([{ name: 'vol', level: 'raid10', members: 2, slots: 4 }]);
  // The other copy of the data on b is lost: --yes does not confirm that.
  for (const command of ['remove', 'offline'])
    expect(await test.run(command, 'vol', 'b', '--yes')).toMatchObject({ code: 4, stderr: containing('it goes offline') });
  expect((await test.json('list', 'list', 5)).arrays).toMatchObject([{ name: 'vol', members: 2 }]);
  await test.ok('add vol ./a --wait', 5);
  await test.ok('add vol ./c --wait');
  // One more copy of the group that has the fewest, which takes the place of one that goes.
  await test.ok('add vol ./e --mirror --wait');
  expect(await test.ok('status vol')).toContain('raid10: layout near, copies 2, further copies 1, groups 0+1+4, 2+3\n');
  expect(await test.run('remove', 'vol', 'c', '--mirror', '--yes')).toMatchObject({
    stderr: containing('each of these can be: 0, 1, 4'),
  });
  expect(await test.ok('remove vol b --mirror --yes')).toContain('array vol has 4 members');
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', slots: [{ device: 'a' }, { device: 'e' }, { device: 'c' }, { device: 'd' }] },
  ]);
  expect(await test.run('create', '10', 'other', './b', './f', '-o', 'layout=far')).toMatchObject({
    stderr: containing('layout must be near or offset'),
  });
});

it('gives a member that was away its place back', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  await test.ok('remove vol ./b --yes');
  await test.ok('add vol ./b --wait');
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { slots: [{ device: 'a' }, { device: 'b', state: 'current' }] },
  ]);
  expect(await test.run('add', 'vol', './b')).toMatchObject({
    code: 4,
    stderr: containing('in use by array vol, slot 1'),
  });
});

it('knows members by what is on them when their files have moved, and takes no copy for a member', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b --block-size 4096');
  await test.ok('stop vol --yes');
  mkdirSync(join(test.folder, 'moved'), { recursive: true });
  for (const name of ['a', 'b']) renameSync(join(test.folder, name), join(test.folder, 'moved', `new-${name}`));
  copyFileSync(join(test.folder, 'moved', 'new-b'), join(test.folder, 'copy'));
  const both = ['open', './moved/new-b', './copy'];
  const twice = { code: 4, stderr: containing('both claim to be slot 1 of array vol') };
  expect(await test.run(...both)).toMatchObject(twice);
  expect((await test.json('devices', 'devices')).devices).toEqual([]);
  const opened = await test.ok('open ./moved/new-b ./moved/new-a');
  expect(opened).toContain('./moved/new-b is open as new-b: array vol, slot 1');
  expect(opened).toContain('./moved/new-a is open as new-a: array vol, slot 0');
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', block_size: 4096, slots: [{ data_offset_bytes: MiB }, { data_offset_bytes: MiB }] },
  ]);
  expect(await test.run('open', './copy')).toMatchObject(twice);
  const [examined] = (await test.json('examine', 'examine ./copy')).devices;
  expect(examined?.array?.slots.map((slot) => slot.data_offset_bytes)).toEqual([MiB, MiB]);
});

it('examines and wipes without the daemon', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  const examined = await test.json('examine', 'examine ./a');
  expect(examined.devices).toMatchObject([
    { opened_by_daemon: true, superblock: 'found', array: { name: 'vol', level: 'raid1', slot: 0 } },
  ]);
  // A device that the daemon has open cannot be changed by another program, whether or not the daemon is asked.
  expect(await test.run('wipe', './a', '--yes')).toMatchObject({ code: 4, stderr: containing('in use by array vol, slot 0') });
  const absent = join(test.folder, 'absent.sock');
  expect(await test.run('wipe', './a', '--yes', '-s', absent)).toMatchObject({ code: 4 });
  expect((await test.json('status', 'status')).arrays).toMatchObject([{ health: 'optimal' }]);
  await test.ok('stop vol --yes');
  const [device] = (await test.json('examine', `examine ./a -s ${absent}`)).devices;
  expect(device).toMatchObject({
    opened_by_daemon: false,
    superblock: 'found',
    array: { name: 'vol', level: null, level_code: 1, slot: 0, slots: [{ state: 'configured' }, { state: 'configured' }] },
  });
  expect(await test.run('wipe', './a', '-s', absent)).toMatchObject({ code: 4, stderr: containing('--yes') });
  await test.ok(`wipe ./a -s ${absent} --yes`);
  expect((await test.json('examine', 'examine ./a ./b')).devices.map(({ superblock }) => superblock)).toEqual([
    'none',
    'found',
  ]);
});

itWrites('finds with a check what disagrees, and repairs it as it is told', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  // A region that was never written needs no check.
  await test.ok('remove vol b --yes --keep-open');
  await test.ok('add vol b --wait');
  await write(0, Buffer.alloc(64 * 1024, 7));
  await test.ok('stop vol --yes');
  const offset = await dataOffset('a');
  overwrite('b', offset + 4096, Buffer.alloc(512, 1));
  await test.ok('open ./a ./b');
  await test.ok('check vol --wait', 5);
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', last_check: { type: 'check', mismatch_blocks: 1 }, action: 'repair them: raidctl repair vol' },
  ]);
  expect(await test.run('repair', 'vol', '--source', 'a', '--wrong', 'b', '--yes')).toMatchObject({ code: 2 });
  await test.ok('repair vol --source a --yes --wait');
  await test.ok('check vol --wait');
  expect((await test.json('doctor', 'doctor')).findings).toEqual([]);
});

itWrites('has a disk that lies found out, and healed, in an array with checksums', async () => {
  disks('a', 'b');
  await test.ok('create --integrity raid1 vol ./a ./b');
  expect((await test.json('examine', 'examine ./b')).devices).toMatchObject([{ array: { has_integrity: true } }]);
  await write(0, Buffer.alloc(64 * 1024, 7));
  await test.ok('stop vol --yes');
  overwrite('b', (await dataOffset('a')) + 4096, Buffer.alloc(512, 1));
  expect((await test.json('examine', 'examine ./b')).devices).toMatchObject([{ array: { has_integrity: true } }]);
  await test.ok('open ./a ./b');
  await test.ok('check vol --wait');
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', has_integrity: true, last_check: { mismatch_blocks: 0 }, slots: [{ checksum_errors: 0 }, {}] },
  ]);
  const status = await test.ok('status vol');
  expect(status).toMatch(/with checksums/);
  expect(status).toMatch(/b +in sync .* [1-9]\d* checksum errors?/);
  await test.ok('stop vol --yes');
  expect(readFileSync(join(test.folder, 'b'))[(await dataOffset('a')) + 4096]).toBe(7);
});

it('gives an array checksums when its members have room, and takes them away', async () => {
  disks('a', 'b');
  for (const name of ['c', 'd']) makeFile(join(test.folder, name), 40 * MiB);
  await test.ok('create raid1 vol ./a ./b');
  const refused = await test.run('integrity', 'enable', 'vol');
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toMatch(/lacks \d+ blocks/);
  expect(await test.ok('integrity enable --when-room vol')).toMatch(/as soon as its members have room/);
  expect((await test.json('status', 'status')).arrays).toMatchObject([{ checksums: 'awaiting-room', has_integrity: false }]);
  const arrayNow = async (): Promise<{ checksums: string; process: unknown; slots: { device: string | null }[] }> =>
    ((await test.json('status', 'status')).arrays as never[])[0]!;
  for (const [index, [from, to]] of [['a', 'c'] as const, ['b', 'd'] as const].entries()) {
    await test.ok(`replace vol ${from} ./${to}`);
    for (let now = await arrayNow(); now.slots[index]?.device !== to || now.process !== null;) now = await arrayNow();
  }
  for (let now = await arrayNow(); now.checksums !== 'all';) now = await arrayNow();
  expect(await test.ok('status vol')).toMatch(/with checksums/);
  expect(await test.run('integrity', 'enable', 'vol')).toMatchObject({ stderr: containing('has checksums already') });
  expect((await test.run('integrity', 'disable', 'vol')).stderr).toMatch(/no longer verified/);
  await test.ok('integrity disable vol --yes');
  expect(await arrayNow()).toMatchObject({ checksums: 'none', has_integrity: false });
  await test.ok('stop vol --yes');
});

/** Writes through the volume, as an NBD client, and flushes. */
async function write(offset: number, bytes: Buffer): Promise<void> {
  const file = join(test.folder, 'data');
  writeFileSync(file, bytes);
  const uri = `nbd+unix:///vol?socket=${join(test.folder, 'nbd.sock')}`;
  const code = `h.pwrite(open(${JSON.stringify(file)}, 'rb').read(), ${offset}); h.flush()`;
  await runOk('nbdsh', ['-u', uri, '-c', code]);
}

async function dataOffset(device: string): Promise<number> {
  const { found } = await (await import('../src/local-device.js')).examineLocally(join(test.folder, device));
  if (found.kind !== 'found') throw new Error('there is no superblock');
  return found.record.slots[0]!.dataOffsetBlocks * found.record.blockSize;
}

it('adds copies to a mirror and takes them away, down to one, and keeps which of them are read', async () => {
  disks('a', 'b', 'c', 'd');
  const arrays = async (): Promise<unknown> => (await test.json('status', 'status')).arrays;
  await test.ok('create raid1 vol ./a ./b --read-policy round-robin --write-mostly ./b');
  await test.ok('add vol ./c --mirror --wait');
  expect(await test.run('add', 'vol', './d')).toMatchObject({ code: 4, stderr: matching(/raidctl add vol .*d --mirror/) });
  expect(await arrays()).toMatchObject([
    {
      health: 'optimal',
      read_policy: 'round-robin',
      slots: [{ reads: 'normal' }, { reads: 'write-mostly' }, { device: 'c', state: 'current', reads: 'normal' }],
    },
  ]);
  expect(await test.run('reads', 'vol')).toMatchObject({ code: 2, stderr: containing('--write-mostly') });
  expect(await test.run('reads', 'vol', '--prefer', 'vol')).toMatchObject({ code: 3, stderr: containing('a, b, c') });
  await test.ok('reads vol --policy least-outstanding --prefer c --normal b');
  // The policy is recorded on the members.
  await test.ok('stop vol --yes');
  await test.ok('open ./a ./b ./c');
  expect(await arrays()).toMatchObject([
    { read_policy: 'least-outstanding', slots: [{ reads: 'normal' }, { reads: 'normal' }, { device: 'c', reads: 'prefer' }] },
  ]);

  expect(await test.run('remove', 'vol', 'b', '--mirror')).toMatchObject({ code: 4, stderr: matching(/2 copies[^]*--yes/) });
  await test.ok('remove vol b --mirror --yes');
  // Named by its slot, a member is told of and closed all the same.
  const bySlot = ['remove', 'vol', 'slot 0', '--mirror'];
  expect(await test.run(...bySlot)).toMatchObject({ code: 4, stderr: containing('a is no longer a member') });
  expect(await test.run(...bySlot, '--yes')).toMatchObject({ code: 0, stdout: 'array vol has 1 copy\n' });
  expect((await test.json('devices', 'devices')).devices.map(({ name }) => name)).toEqual(['c', 'vol']);
  expect((await test.json('examine', 'examine ./a ./b')).devices).toMatchObject([
    { superblock: 'none' },
    { superblock: 'none' },
  ]);
  expect(await arrays()).toMatchObject([{ health: 'optimal', slots: [{ slot: 0, device: 'c', reads: 'prefer' }] }]);
  expect(await test.run('remove', 'vol', 'c', '--mirror', '--yes')).toMatchObject({
    code: 4,
    stderr: containing('raidctl destroy vol'),
  });
});

it('appends space to a concat, and says what an array cannot have', async () => {
  disks('a', 'b', 'c');
  await test.ok('create concat vol ./a');
  const [before] = (await test.json('status', 'status')).arrays;
  expect(await test.run('add', 'vol', './b', '--mirror')).toMatchObject({ code: 4, stderr: containing('--append') });
  await test.ok('add vol ./b --append');
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', size_bytes: 2 * before!.size_bytes, slots: [{ device: 'a' }, { device: 'b' }] },
  ]);
  expect(await test.run('add', 'vol', './c', '--append', '--mirror')).toMatchObject({ code: 2, stderr: containing('exclude') });
  expect(await test.run('remove', 'vol', 'b', '--mirror', '--yes')).toMatchObject({
    code: 4,
    stderr: containing('data that no other member has'),
  });
});

it('replaces a member, keeps spares, and has one take the place of what fails', async () => {
  disks('a', 'b', 'c', 's');
  await test.ok('create raid1 vol ./a ./b');
  await test.ok('replace vol a ./c --wait');
  expect((await test.json('status', 'status')).arrays).toMatchObject([
    { health: 'optimal', slots: [{ device: 'c' }, { device: 'b' }] },
  ]);
  await test.ok('spare add ./s --for vol');
  expect((await test.json('spares', 'spare')).spares).toEqual([{ device: 's', array: 'vol' }]);
  expect(await test.ok('status')).toContain('spare: s, for vol');
  await test.ok('spare remove s');
  expect(await test.run('spare', 'remove', 'b')).toMatchObject({ code: 3, stderr: containing('b is not a spare') });
  // The device is too small for the array, which would otherwise be noticed only when it is needed.
  makeFile(join(test.folder, 'tiny'), 8 * MiB);
  await test.ok('spare add ./tiny');
  expect((await test.json('doctor', 'doctor')).findings).toMatchObject([
    { severity: 'notice', what: matching(/the spare tiny \(8 MiB\) is too small/) },
  ]);
});

itWrites('pauses, limits, resumes and cancels a rebuild, and gives no estimate while it is paused', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a missing');
  await write(0, Buffer.alloc(16 * MiB, 5));
  await test.daemon.client.call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 1, process_window_size_kb: 256 });
  await test.ok('add vol ./b');
  await expect.poll(async () => (await test.json('status', 'status', 5)).arrays[0]!.process).not.toBeNull();
  await test.ok('rebuild pause vol');
  const [paused] = (await test.json('status', 'status', 5)).arrays;
  expect(paused).toMatchObject({
    health: 'rebuilding',
    process: { type: 'rebuild', target: 'b', is_paused: true, at_most_sec: null },
  });
  expect(paused!.action).toBe('resume the rebuild: raidctl rebuild resume vol');
  expect(await test.ok('status', 5)).toMatch(/process: rebuild of b \[[#-]{24}\] \d+ %, .* of 31 MiB, paused/);
  await test.ok('wait vol --limit 1', 4);
  await test.ok('rebuild limit vol 0');
  await test.ok('rebuild resume vol');
  await test.ok('wait vol');
  expect(await test.run('rebuild', 'pause', 'vol')).toMatchObject({
    code: 3,
    stderr: containing('no background process'),
  });
  await test.daemon.client.call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 0, process_window_size_kb: 1024 });
});

it('shows an array that is a member below the slot that it is in', async () => {
  disks('a', 'b', 'c', 'd');
  await test.ok('create raid1 left ./a ./b');
  await test.ok('create raid1 right ./c ./d');
  await test.ok('create raid0 vol left right');
  const text = await test.ok('status');
  expect(text).toMatch(
    /\|- slot 0 {2}left .* array left: optimal\n\| {2}\|- slot 0 {2}a .*\n\| {2}`- slot 1 {2}b .*\n`- slot 1 {2}right .*\n {3}\|- slot 0 {2}c/,
  );
  expect(text.match(/array: /g)).toHaveLength(1);
  expect((await test.json('devices', 'devices')).devices.find(({ name }) => name === 'left')).toMatchObject({
    used_by: 'array vol, slot 0',
  });
  for (const command of ['stop', 'destroy'])
    expect(await test.run(command, 'left', '--yes')).toMatchObject({
      code: 4,
      stderr: containing('member in slot 0 of array vol'),
    });
  expect((await test.json('list', 'list vol')).arrays).toMatchObject([{ health: 'optimal' }]);
  // An array without redundancy that loses a member is offline, and says what to do.
  await test.ok('remove vol right --force');
  const [vol] = (await test.json('status', 'status vol', 1)).arrays;
  expect(vol).toMatchObject({ health: 'offline', size_bytes: 0 });
  expect(vol!.action).toContain('bring the device back');
});

it('takes an array with a slash in its name for what it is, and files for files', async () => {
  disks('a', 'b', 'c', 'd');
  await test.ok('create raid1 rack/1 ./a ./b');
  await test.ok('create raid1 ./c ./c ./d');
  const [left] = (await test.json('status', 'status rack/1')).arrays;
  expect(left).toMatchObject({ name: 'rack/1', uris: [containing('nbd+unix:///rack%2F1?socket=')] });
  if (hasCommands('nbdsh')) await runOk('nbdsh', ['-u', left!.uris[0]!, '-c', 'assert h.get_size() > 0']);
  expect((await test.json('examine', 'examine ./a')).devices).toMatchObject([{ array: { name: 'rack/1', slot: 0 } }]);
  await test.ok('stop rack/1 --yes');
  await test.ok('open ./b ./a');
  await test.ok('wait rack/1');

  expect((await test.json('examine', 'examine rack/1')).devices).toMatchObject([{ opened_by_daemon: true }]);
  // A path is a path, whatever foreign disks call their arrays.
  expect((await test.json('examine', 'examine ./c')).devices).toMatchObject([{ array: { name: './c', slot: 0 } }]);
  mkdirSync(join(test.folder, 'rack'));
  makeFile(join(test.folder, 'rack', '1'), MiB);
  expect(await test.run('examine', 'rack/1')).toMatchObject({
    code: 2,
    stderr: containing(`./rack/1 for the file, ${left!.uuid}`),
  });
  rmSync(join(test.folder, 'rack'), { recursive: true });
  await test.ok(`create raid0 vol rack/1 ${(await test.json('status', 'status ./c')).arrays[0]!.uuid}`);
  expect((await test.json('devices', 'devices')).devices.find(({ name }) => name === 'rack/1')).toMatchObject({
    used_by: 'array vol, slot 0',
  });
  await test.ok('remove vol rack/1 --force');
  // No array is left that this would take offline.
  await test.ok('remove vol ./a --yes', 3);
});

itWrites('exports a volume, shows what is exported, and what is read and written', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  await test.ok('export vol --name copy --read-only');
  expect((await test.json('exports', 'exports')).exports).toMatchObject([
    { name: 'vol' },
    { name: 'copy', volume: 'vol', read_only: true, connections: 0 },
  ]);
  await test.ok('unexport copy');
  await test.ok('unexport copy', 3);
  // zpool has such a command; here it is an option of `remove`.
  const detached = await test.run('detach', 'vol', 'b');
  expect(detached.code).toBe(2);
  expect(detached.stderr).toContain('raidctl remove vol b --mirror');
  await write(0, Buffer.alloc(64 * 1024, 1));
  const { devices, seconds } = await test.json('iostat', 'iostat vol');
  expect(seconds).toBeNull();
  expect(devices).toMatchObject([
    { name: 'vol', write_bytes: 64 * 1024 },
    { name: 'a', array: 'vol' },
    { name: 'b', array: 'vol' },
  ]);
  expect(await test.ok('iostat vol -i 1 --count 2')).toMatch(/vol +0\/s +0\/s +0 B\/s[^]*\n\nNAME/);
  expect((await test.json('modules', 'modules')).modules.map(({ level }) => level)).toEqual([
    'raid0',
    'raid1',
    'raid10',
    'raid5f',
    'raid6',
    'concat',
  ]);
  const text = await test.ok('modules');
  expect(text).toMatch(/^raid10 +copies +2 to 255 +2 +number of copies of each block/m);
  expect(text).toMatch(/^raid5f +full_stripe_only +true, false +false +refuse writes/m);
});

it('keeps the configuration as a file that the daemon takes', async () => {
  disks('a', 'b');
  await test.ok('create raid0 plain ./a ./b --no-superblock', 4);
  await test.ok('create raid0 plain ./a ./b --no-superblock --yes');
  expect((await test.json('doctor', 'doctor')).findings).toMatchObject([
    { severity: 'notice', commands: ['raidctl config export FILE'] },
  ]);
  const { calls } = await test.json('config', 'config show');
  expect(calls.map(({ method }) => method)).toContain('bdev_raid_create');
  await test.ok('config export config.json');
  const text = readFileSync(join(test.folder, 'config.json'), 'utf8');
  const config = await test.daemon.client.call('framework_get_config', { name: 'bdev' });
  expect(JSON.parse(text)).toEqual({ subsystems: [{ subsystem: 'bdev', config }] });
  expect(await test.ok('config export')).toBe(text);
  expect(await test.run('config', 'export', 'nowhere/config.json')).toMatchObject({ code: 1 });
  expect(readdirSync(test.folder).filter((name) => name.startsWith('.'))).toEqual([]);
});

it('shows what the configuration waits for, and forgets it when told so', async () => {
  const socket = join(test.folder, 'second.sock');
  const config = [{ method: 'bdev_aio_create', params: { name: 'x', filename: join(test.folder, 'gone') } }];
  const file = join(test.folder, 'second.json');
  writeFileSync(file, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
  const second = await spawnDaemon(socket, ['-r', socket, '-c', file, '--memory', '128'], test.folder);
  try {
    expect((await test.json('doctor', `doctor -s ${socket}`)).findings).toMatchObject([
      { severity: 'notice', array: null, what: matching(/^bdev_aio_create of x .* failed: /), commands: ['raidctl close x'] },
    ]);
    expect(await test.ok(`status -s ${socket}`)).toContain('note: bdev_aio_create of x');
    await test.ok(`close x -s ${socket}`);
    expect((await test.json('doctor', `doctor -s ${socket}`)).findings).toEqual([]);
  } finally {
    second.client.close();
    second.child.kill('SIGTERM');
    await second.exited;
  }
});

it('ends with a code that says what kind of thing went wrong, and a document with --json', async () => {
  disks('a');
  expect(await test.run('status', 'nix')).toMatchObject({
    code: 3,
    stdout: '',
    stderr: 'raidctl: there is no array nix\n  there is none\n',
  });
  expect((await test.json('error', 'status nix', 3)).error).toEqual({
    exit_code: 3,
    message: 'there is no array nix',
    hint: 'there is none',
    rpc_code: null,
  });
  expect(await test.run('create', 'raid9', 'vol', './a')).toMatchObject({
    code: 3,
    stderr: containing('the levels are: raid0, raid1, raid10, raid5f, raid6, concat'),
  });
  expect(await test.run('create', 'raid1', 'vol', 'a', 'b')).toMatchObject({
    code: 3,
    stderr: containing('give ./a'),
  });
  expect(await test.run('create', 'raid1', 'vol', './a', './gone')).toMatchObject({
    code: 3,
    stderr: 'raidctl: there is no file or device ./gone\n',
  });
  expect(await test.run('create', 'raid1', 'vol', './a', './a')).toMatchObject({
    code: 2,
    stderr: containing('given twice'),
  });
  // The document has the daemon's own refusal and its code.
  expect((await test.json('error', 'create raid5f vol ./a', 4)).error).toMatchObject({
    exit_code: 4,
    rpc_code: -22,
    message: containing('could not create the raid5f array vol'),
  });
  expect(await test.run('unknown')).toMatchObject({ code: 2, stderr: containing("unknown command 'unknown'") });
  expect(await test.run('create', 'raid1')).toMatchObject({ code: 2 });
  expect(await test.run('list', '--timeout', 'soon')).toMatchObject({
    code: 2,
    stderr: containing('--timeout must be a number of seconds'),
  });
  const absent = join(test.folder, 'absent.sock');
  expect(await test.run('list', '-s', absent)).toMatchObject({
    code: 6,
    stderr: matching(/no daemon can be reached at .*absent\.sock[^]*RAIDKIT_SOCKET/),
  });
  expect((await test.json('error', `list -s ${absent}`, 6)).error.exit_code).toBe(6);
});

it('completes commands, options, arrays and devices', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  const complete = async (...words: string[]): Promise<string[]> =>
    (await test.run('complete', '--', ...words)).stdout.split('\n').filter((word) => word !== '');
  expect(await complete('st')).toEqual(['status', 'stop']);
  expect(await complete('rebuild', '')).toEqual(expect.arrayContaining(['pause', 'resume', 'limit', 'cancel']));
  expect(await complete('status', 'v')).toEqual(['vol']);
  expect(await complete('remove', 'vol', '')).toEqual(['vol', 'a', 'b']);
  expect(await complete('create', '--st')).toEqual(['--strip-size']);
  for (const shell of ['bash', 'zsh', 'fish']) expect(await test.ok(`completion ${shell}`)).toContain('raidctl complete --');
});

it('has help with what it does for every command', async () => {
  const program = makeProgram(() => Promise.resolve());
  for (const command of program.commands.flatMap((one) => [one, ...one.commands])) expect(command.description()).not.toBe('');
  const help = await test.ok('create --help');
  expect(help).toMatch(/Examples:\n {2}raidctl create raid1 vol \/dev\/sdx \/dev\/sdy/);
  expect(help).toContain('--socket');
  expect(await test.ok('--help')).toContain('Exit codes: 0 done');
});

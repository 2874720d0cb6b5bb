import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeFile, until } from './support/devices.js';
import { oneDaemon } from './support/one-daemon.js';
import { hasCommands, run, runOk, spawnDaemon } from './support/process.js';
import type { Answer } from './support/rpc-client.js';

/** Tests of a daemon with several reactors, through its sockets. */
const test = oneDaemon();

const uriOf = (name: string): string => `nbd+unix:///${name}?socket=${test.nbdPath}`;
const pathOf = (name: string): string => join(test.folder, `${name}.img`);

async function start(reactors: number, ...args: string[]): Promise<void> {
  await test.start([
    '--nbd',
    `unix:${test.nbdPath}`,
    '--engine',
    'uring',
    '--reactors',
    String(reactors),
    '--memory',
    '64',
    ...args,
  ]);
}

async function stop(): Promise<void> {
  test.daemon?.client.close();
  test.daemon?.child.kill('SIGTERM');
  expect(await test.daemon?.exited).toBe(0);
  test.daemon = null;
}

function ask(method: string, params?: unknown): Promise<Answer> {
  if (test.daemon === null) throw new Error('the daemon is not running');
  return test.daemon.client.ask(method, params);
}

function call(method: string, params?: unknown): Promise<unknown> {
  if (test.daemon === null) throw new Error('the daemon is not running');
  return test.daemon.client.call(method, params);
}

/** A new file of 16 MiB as a device. */
async function openNew(...names: string[]): Promise<void> {
  for (const name of names) makeFile(pathOf(name), 16 << 20);
  await open(...names);
}

async function open(...names: string[]): Promise<void> {
  for (const name of names) {
    const index = String(Number.parseInt(name.slice(1), 10)).padStart(12, '0');
    await call('bdev_aio_create', { name, filename: pathOf(name), block_size: 512, uuid: `ea500000-0000-4000-8000-${index}` });
  }
}

const malloc = (name: string, reactor: number, more: object = {}): Promise<unknown> =>
  call('bdev_malloc_create', { name, num_blocks: 32_768, block_size: 512, reactor, ...more });

const mirror = (name: string, ...members: string[]): Promise<Answer> =>
  ask('bdev_raid_create', { name, raid_level: 'raid1', base_bdevs: members, superblock: true });

async function reactorOf(name: string): Promise<number> {
  const [bdev] = (await call('bdev_get_bdevs', { name })) as { driver_specific: { raidkit: { reactor: number } } }[];
  return bdev!.driver_specific.raidkit.reactor;
}

const namesIn = async (method: string, params?: unknown): Promise<string[]> =>
  ((await call(method, params)) as { name: string }[]).map(({ name }) => name);

/** Starts sixteen client threads: some read, and some disconnect after a random number of bytes of a request. */
const crowd = `
import nbd, random, socket, sys, threading
failed = []
def work(seed):
    rng = random.Random(seed)
    for _ in range(30):
        name = "v%d" % rng.randrange(3)
        try:
            if rng.random() < 0.4:
                s = socket.socket(socket.AF_UNIX)
                s.connect(sys.argv[1])
                s.recv(18)
                data = b"\\0\\0\\0\\3IHAVEOPT\\0\\0\\0\\7\\0\\0\\0\\x08\\0\\0\\0\\2" + name.encode() + b"\\0\\0"
                s.send(data[:rng.randrange(len(data) + 1)])
                s.close()
            else:
                h = nbd.NBD()
                h.connect_uri("nbd+unix:///%s?socket=%s" % (name, sys.argv[1]))
                assert h.get_size() == 16 << 20
                h.pread(4096, 0)
                h.shutdown()
        except Exception as error:
            failed.append(repr(error))
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed[:3]
`;

describe('names', () => {
  it('are unique over all reactors; of many that want one at the same moment one gets it', async () => {
    await start(3);
    const wanted = Array.from({ length: 30 }, (_, i) =>
      ask('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512, reactor: i % 3 }),
    );
    const answers = await Promise.all(wanted);
    expect(answers.filter(({ result }) => result === 'm')).toHaveLength(1);
    for (const { error } of answers)
      if (error !== undefined)
        expect(error).toMatchObject({ code: -17, message: 'bdev m: the name, alias or uuid m is taken' });
    expect(await namesIn('bdev_get_bdevs')).toEqual(['m']);
  });

  it('are found wherever they are, by alias too, and lists have everything once, in the order in which it came', async () => {
    await start(2);
    const uuid = '00000000-0000-4000-8000-0000000000aa';
    await malloc('far', 1, { uuid });
    await malloc('near', 0);
    await malloc('far2', 1);
    await call('bdev_passthru_create', { base_bdev_name: 'far2', name: 'on far2' });
    expect(await namesIn('bdev_get_bdevs')).toEqual(['far', 'near', 'far2', 'on far2']);
    expect(await reactorOf(uuid)).toBe(1);
    expect(await reactorOf('on far2')).toBe(1);
    const { bdevs } = (await call('bdev_get_iostat')) as { bdevs: { name: string }[] };
    expect(bdevs.map(({ name }) => name)).toEqual(['far', 'near', 'far2', 'on far2']);
    expect(await call('bdev_get_iostat', { name: 'far' })).toMatchObject({ bdevs: [{ name: 'far' }] });
    await call('raidkit_nbd_export', { bdev_name: 'far', name: 'e' });
    expect((await ask('raidkit_nbd_export', { bdev_name: 'near', name: 'e' })).error).toMatchObject({
      code: -17,
      message: 'an NBD export e exists already',
    });
    expect(await call('raidkit_nbd_get_exports')).toMatchObject([{ name: 'e', bdev_name: 'far', uris: [uriOf('e')] }]);
    expect(await call('raidkit_nbd_unexport', { name: 'e' })).toBe(true);
    expect((await ask('bdev_malloc_delete', { name: 'absent' })).error?.code).toBe(-19);
    for (const name of ['near', 'far']) expect(await call('bdev_malloc_delete', { name })).toBe(true);
    expect(await namesIn('bdev_get_bdevs')).toEqual(['far2', 'on far2']);
  });

  it('a wait for a device ends wherever it comes', async () => {
    await start(2);
    const waits = ask('bdev_get_bdevs', { name: 'late', timeout: 50_000 });
    expect((await ask('bdev_get_bdevs', { name: 'never', timeout: 10 })).error?.code).toBe(-19);
    expect((await ask('bdev_get_bdevs', { name: 'never', timeout: 'long' })).error?.code).toBe(-32603);
    await malloc('late', 1);
    expect((await waits).result).toMatchObject([{ name: 'late' }]);
  });

  it('options and logs are the same everywhere, and what is refused is refused everywhere', async () => {
    await start(2);
    expect(await call('log_set_print_level', { level: 'WARNING' })).toBe(true);
    expect(await call('bdev_raid_set_options', { process_window_size_kb: 256 })).toBe(true);
    expect((await ask('bdev_raid_set_options', { process_window_size_kb: 0 })).error?.code).toBe(-22);
    expect((await ask('bdev_malloc_create', { num_blocks: 64, block_size: 512, reactor: 2 })).error).toMatchObject({
      code: -22,
      message: 'reactor: there is no reactor 2, only 0 to 1',
    });
    const config = (await call('framework_get_config', { name: 'bdev' })) as { method: string }[];
    expect(config.map(({ method }) => method)).toEqual(['bdev_set_options', 'bdev_raid_set_options', 'bdev_wait_for_examine']);
    expect(config[1]).toMatchObject({ params: { process_window_size_kb: 256 } });
  });
});

describe('placement', () => {
  it('new arrays come to the reactor with the fewest, and their devices move there', async () => {
    await start(2);
    await openNew('m0', 'm1', 'm2', 'm3', 'm4', 'm5');
    for (const [name, ...members] of [
      ['a', 'm0', 'm1'],
      ['b', 'm2', 'm3'],
      ['c', 'm4', 'm5'],
    ] as const)
      expect((await mirror(name, ...members)).result).toBe(true);
    const where = await Promise.all(['a', 'b', 'c'].map(reactorOf));
    expect(where).toEqual([1, 0, 1]);
    for (const [array, member] of [
      ['a', 'm0'],
      ['b', 'm3'],
      ['c', 'm4'],
    ] as const)
      expect(await reactorOf(member)).toBe(await reactorOf(array));
    // Lists keep their order, whether or not devices have moved.
    expect(await namesIn('bdev_get_bdevs')).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'a', 'b', 'c']);
    expect(await namesIn('bdev_raid_get_bdevs', { category: 'all' })).toEqual(['a', 'b', 'c']);
    const arrays = (await call('raidkit_get_arrays')) as { ext: { reactor: number } }[];
    expect(arrays.map(({ ext }) => ext.reactor)).toEqual(where);
    expect(await call('raidkit_get_arrays', { name: 'b' })).toMatchObject([{ name: 'b', ext: { reactor: where[1] } }]);
  });

  it('arrays over devices that cannot move are made where these are; if they are apart, that is said', async () => {
    await start(2);
    await malloc('v0', 1);
    await malloc('v1', 0);
    await openNew('m0');
    expect((await mirror('a', 'm0', 'v0')).result).toBe(true);
    expect([await reactorOf('a'), await reactorOf('m0')]).toEqual([1, 1]);
    await malloc('v2', 1);
    const apart = await mirror('b', 'v1', 'v2');
    expect(apart.error?.code).toBe(-22);
    expect(apart.error?.message).toMatch(/v1 is on reactor 0 .* and v2 is on reactor 1 .* members must be on one reactor/);
    // A call that is refused by itself moves no device, and a name belongs to one array.
    await openNew('m1', 'm2');
    expect((await ask('bdev_raid_create', { name: 'c', raid_level: 'raid9', base_bdevs: ['m1', 'm2'] })).error?.code).toBe(
      -32700,
    );
    expect((await mirror('a', 'm1', 'm2')).error).toMatchObject({
      code: -17,
      message: 'Failed to create RAID bdev a: File exists',
    });
    expect([await reactorOf('m1'), await reactorOf('m2')]).toEqual([0, 0]);
    // A member of one array cannot join another, wherever the others are.
    expect((await mirror('d', 'm0', 'm1')).error).toMatchObject({
      code: -1,
      message: 'Failed to create RAID bdev d: Operation not permitted',
    });
  });

  it('new members, replacements and spares come to their array; what cannot is refused with the reason', async () => {
    await start(2);
    await openNew('m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6');
    await mirror('first', 'm0', 'm1');
    await mirror('a', 'm2', 'm3');
    const there = await reactorOf('a');
    expect(await reactorOf('first')).not.toBe(there);
    await malloc('v', 1 - there);
    await call('bdev_raid_remove_base_bdev', { name: 'm3' });
    const refused = await ask('bdev_raid_add_base_bdev', { raid_bdev: 'a', base_bdev: 'v' });
    expect(refused.error?.message).toBe(
      `v cannot join array a, which is on reactor ${there}: v is on reactor ${1 - there} and cannot be moved (a device of kind malloc cannot be moved)`,
    );
    expect((await ask('bdev_raid_add_base_bdev', { raid_bdev: 'a', base_bdev: 'm0' })).error?.code).toBe(-1);
    expect(await call('bdev_raid_add_base_bdev', { raid_bdev: 'a', base_bdev: 'm4' })).toBe(true);
    for (;;) {
      const [array] = (await call('raidkit_get_arrays', { name: 'a' })) as { ext: { health: string } }[];
      if (array?.ext.health === 'optimal') break;
    }
    expect(await call('raidkit_replace', { name: 'a', member: 'm2', bdev_name: 'm5' })).toBe(true);
    expect(await call('raidkit_add_spare', { bdev_name: 'm6', name: 'a' })).toBe(true);
    expect(await call('raidkit_get_spares')).toEqual([{ bdev_name: 'm6', name: 'a' }]);
    for (const name of ['m4', 'm5', 'm6']) expect(await reactorOf(name)).toBe(there);
    expect(await call('raidkit_remove_spare', { bdev_name: 'm6' })).toBe(true);
  });

  it('a device that an array waits for comes to it', async () => {
    await start(2);
    await openNew('m0');
    await malloc('v0', 1);
    const concat = (name: string, ...members: string[]): Promise<unknown> =>
      call('bdev_raid_create', { name, raid_level: 'concat', strip_size_kb: 64, base_bdevs: members });
    await concat('a', 'v0', 'm7');
    await concat('b', 'm0', 'v1');
    await openNew('m7');
    await call('bdev_malloc_create', { name: 'v1', num_blocks: 4096, block_size: 512 });
    expect(await namesIn('bdev_raid_get_bdevs', { category: 'online' })).toEqual(['a', 'b']);
    expect(await reactorOf('m7')).toBe(1);
    // All calls are sent at the same moment, in either order.
    for (const name of ['m8', 'm9', 'm10', 'm11']) makeFile(pathOf(name), 16 << 20);
    await Promise.all([concat('c', 'm8', 'm9'), open('m8', 'm9'), open('m10', 'm11'), concat('d', 'm10', 'm11')]);
    expect((await namesIn('bdev_raid_get_bdevs', { category: 'online' })).sort()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('a device that is in use stays where it is; one that cannot be opened over there is opened again here', async () => {
    await start(2);
    await openNew('m0', 'm1', 'm2', 'm3', 'm4', 'm5');
    await mirror('first', 'm0', 'm1');
    expect(await reactorOf('first')).toBe(1);
    await call('raidkit_nbd_export', { bdev_name: 'm2', read_only: true });
    expect((await ask('bdev_raid_add_base_bdev', { raid_bdev: 'first', base_bdev: 'm2' })).error?.message).toContain(
      'it is in use',
    );
    expect((await mirror('a', 'm2', 'm3')).result).toBe(true);
    expect(await reactorOf('a')).toBe(0);
    // Its path leads to another file now, so that it would be another device if it were reopened.
    for (const content of ['too short', 'long enough '.repeat(10_000)]) {
      rmSync(pathOf('m5'));
      writeFileSync(pathOf('m5'), content);
      const failed = await mirror('b', 'm4', 'm5');
      const why = content === 'too short' ? 'too small' : 'another device or file';
      expect(failed.error?.message).toMatch(
        new RegExp(
          `Failed to create RAID bdev b: m5 could not be opened on reactor 1: .*${why}.*, nor again on reactor 0, and is now closed`,
        ),
      );
      // It is part of the configuration, and would be opened again as soon as its path leads to anything that can be.
      expect(await call('bdev_aio_delete', { name: 'm5' })).toBe(true);
      if (content === 'too short') await openNew('m5');
    }
    rmSync(pathOf('m5'));
    expect(await namesIn('bdev_get_bdevs')).not.toContain('m5');
    expect(await namesIn('bdev_raid_get_bdevs', { category: 'all' })).toEqual(['first', 'a']);
    await openNew('m5');
    expect((await mirror('b', 'm4', 'm5')).result).toBe(true);
    expect(await reactorOf('b')).toBe(1);
  });

  it('an array that was stopped is not brought back by moving what was its member', async () => {
    await start(2);
    await openNew('m0', 'm1');
    await mirror('old', 'm0', 'm1');
    expect(await reactorOf('m0')).toBe(1);
    await call('raidkit_stop', { name: 'old' });
    await malloc('v0', 1);
    await malloc('v1', 1);
    await mirror('other', 'v0', 'v1');
    // They move to the reactor without arrays, where the superblocks that they carry are refused and not brought to life.
    expect((await mirror('new', 'm0', 'm1')).error?.code).toBe(-17);
    expect(await reactorOf('m0')).toBe(0);
    expect(await namesIn('bdev_raid_get_bdevs', { category: 'all' })).toEqual(['other']);
    expect(
      (
        await ask('bdev_raid_create', {
          name: 'new',
          raid_level: 'raid1',
          base_bdevs: ['m0', 'm1'],
          superblock: true,
          force: true,
        })
      ).result,
    ).toBe(true);
    expect(await namesIn('bdev_raid_get_bdevs', { category: 'all' })).toEqual(['other', 'new']);
    expect(await reactorOf('new')).toBe(0);
  });
});

describe('NBD clients', () => {
  it.skipIf(!hasCommands('nbdinfo', 'nbdsh'))(
    'find all exports at the same sockets, and come to the right reactor',
    async () => {
      await start(3, '--nbd', 'tcp:127.0.0.1:0');
      for (const reactor of [0, 1, 2]) {
        await malloc(`v${reactor}`, reactor, { num_blocks: 2048 * (reactor + 1) });
        await call('raidkit_nbd_export', { bdev_name: `v${reactor}`, description: `the one of reactor ${reactor}` });
        // The export is available when the call has been answered.
        expect(await runOk('nbdinfo', ['--size', uriOf(`v${reactor}`)])).toBe(`${(reactor + 1) << 20}\n`);
      }
      const list = await runOk('nbdinfo', ['--list', `nbd+unix://?socket=${test.nbdPath}`]);
      for (const reactor of [0, 1, 2]) {
        expect(list).toContain(`export="v${reactor}"`);
        expect(list).toContain(`description: the one of reactor ${reactor}`);
      }
      const [{ uris }] = (await call('raidkit_nbd_get_exports')) as [{ uris: string[] }];
      expect(await runOk('nbdinfo', ['--size', uris.find((uri) => uri.startsWith('nbd:'))!.replace('/v0', '/v2')])).toBe(
        `${3 << 20}\n`,
      );
      // One client queries all exports before it chooses, and names one that does not exist.
      await runOk('nbdsh', [
        '-c',
        `
import nbd
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_uri("nbd+unix://?socket=${test.nbdPath}")
for turn in range(2):
    for reactor in (2, 0, 1):
        h.set_export_name("v%d" % reactor)
        h.opt_info()
        assert h.get_size() == (reactor + 1) << 20
    h.set_export_name("absent")
    try:
        h.opt_info()
        raise SystemExit("an export that is not there was found")
    except nbd.Error:
        pass
    names = []
    h.opt_list(lambda name, description: names.append(name))
    assert sorted(names) == ["v0", "v1", "v2"], names
h.set_export_name("v2")
h.opt_go()
h.pwrite(b"x" * 512, 0)
assert h.pread(512, 0) == b"x" * 512
h.shutdown()
`,
      ]);
      await call('raidkit_nbd_unexport', { name: 'v1' });
      expect((await run('nbdinfo', ['--size', uriOf('v1')])).code).not.toBe(0);
      await call('bdev_malloc_delete', { name: 'v2' });
      expect((await run('nbdinfo', ['--size', uriOf('v2')])).code).not.toBe(0);
      expect(await runOk('nbdinfo', ['--size', uriOf('v0')])).toBe(`${1 << 20}\n`);
    },
  );

  it.skipIf(!hasCommands('nbdsh'))(
    'that come and go in crowds, and hang up in the middle of their handshakes, leave nothing behind',
    async () => {
      await start(3);
      for (const reactor of [0, 1, 2]) {
        await malloc(`v${reactor}`, reactor);
        await call('raidkit_nbd_export', { bdev_name: `v${reactor}` });
      }
      const openFiles = (): number => readdirSync(`/proc/${test.daemon!.child.pid!}/fd`).length;
      const before = openFiles();
      await runOk('/usr/bin/python3', ['-c', crowd, test.nbdPath]);
      await until('all descriptors are closed', () => openFiles() <= before);
      const exports = (await call('raidkit_nbd_get_exports')) as { connections: number }[];
      expect(exports.map(({ connections }) => connections)).toEqual([0, 0, 0]);
    },
  );

  it.skipIf(!hasCommands('fio'))(
    'of two reactors write and verify at the same time; a restart with other numbers finds all data',
    async () => {
      await start(2);
      await openNew('m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6');
      await mirror('a', 'm0', 'm1', 'm6');
      await call('bdev_raid_create', {
        name: 'b',
        raid_level: 'raid5f',
        strip_size_kb: 16,
        base_bdevs: ['m2', 'm3', 'm4', 'm5'],
        superblock: true,
      });
      expect([await reactorOf('a'), await reactorOf('b')].sort()).toEqual([0, 1]);
      const fio = (name: string, ...args: string[]): Promise<string> =>
        runOk('fio', [
          `--name=${name}`,
          '--ioengine=nbd',
          `--uri=${uriOf(name)}`,
          '--bs=4608',
          '--iodepth=16',
          '--size=6m',
          '--verify=crc32c',
          '--verify_fatal=1',
          '--randseed=7',
          ...args,
        ]);
      await Promise.all(['a', 'b'].map((name) => fio(name, '--rw=randwrite')));
      await Promise.all(['a', 'b'].map((name) => fio(name, '--rw=randwrite', '--verify_only')));
      // The number of reactors goes 2 → 1 → 3; the daemon is killed once and stopped once, and devices are opened in another
      // order each time.
      const names = ['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6'];
      for (const [reactors, order] of [
        [1, names],
        [3, [...names].reverse()],
        [2, ['m3', 'm0', 'm5', 'm6', 'm2', 'm1', 'm4']],
      ] as const) {
        if (reactors === 1) {
          test.daemon!.child.kill('SIGKILL');
          await test.daemon!.exited;
        } else await stop();
        await start(reactors);
        await open(...order);
        await call('bdev_wait_for_examine');
        expect((await namesIn('bdev_raid_get_bdevs', { category: 'online' })).sort()).toEqual(['a', 'b']);
        await Promise.all(['a', 'b'].map((name) => fio(name, '--rw=randwrite', '--verify_only')));
        if (reactors > 1) expect(await reactorOf('a')).not.toBe(await reactorOf('b'));
      }
    },
  );
});

describe('the daemon', () => {
  it('saves a configuration that more and fewer reactors can replay', async () => {
    await start(2);
    await malloc('v0', 1);
    await malloc('v1', 1);
    await malloc('w', 0);
    await call('bdev_passthru_create', { base_bdev_name: 'v1', name: 'p1' });
    await call('bdev_raid_create', { name: 'r', raid_level: 'raid1', base_bdevs: ['v0', 'p1'] });
    await openNew('m0');
    await call('raidkit_add_spare', { bdev_name: 'm0' });
    const bdevs = await namesIn('bdev_get_bdevs');
    const config = await call('framework_get_config', { name: 'bdev' });
    await stop();
    const configPath = join(test.folder, 'config.json');
    writeFileSync(configPath, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
    for (const reactors of [3, 2, 1]) {
      await start(reactors, '-c', configPath);
      expect(await namesIn('bdev_get_bdevs')).toEqual(bdevs);
      expect(await namesIn('bdev_raid_get_bdevs', { category: 'online' })).toEqual(['r']);
      expect(await call('raidkit_get_spares')).toEqual([{ bdev_name: 'm0', name: null }]);
      if (reactors > 1) expect([await reactorOf('r'), await reactorOf('w')]).toEqual([1, 0]);
      if (reactors === 2) expect(await call('framework_get_config', { name: 'bdev' })).toEqual(config);
      await stop();
    }
  });

  it('demonstrates itself with several', async () => {
    const demo = join(test.folder, 'demo');
    const rpc = join(demo, 'rpc.sock');
    const daemon = await spawnDaemon(rpc, ['--demo', demo, '--engine', 'uring', '--reactors', '2', '--memory', '64']);
    test.daemon = daemon;
    while (!daemon.stdout.includes('Ctrl-C')) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(daemon.stdout).toContain('has created the raid5f volume "demo"');
    expect(daemon.stdout).toContain(`nbd+unix:///demo?socket=${join(demo, 'nbd.sock')}`);
    await stop();
  });
});

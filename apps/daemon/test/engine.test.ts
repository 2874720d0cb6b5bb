import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasLoopDevices, says, until } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';
import { run } from './support/process.js';
import type { DaemonProcess } from './support/process.js';

const test = oneDaemon();

function start(...args: string[]): Promise<DaemonProcess> {
  return test.start(['--nbd', `unix:${test.nbdPath}`, '--memory', '64', ...args]);
}

const bin = new URL('../bin/raidkitd.js', import.meta.url).pathname;

describe('the engine', () => {
  it.each(['uring', 'portable'])('%s: calls, their errors and a stop go as they should', async (engine) => {
    const daemon = await start('--engine', engine);
    const { client, child, exited } = daemon;
    await until('the daemon says what its engine is', () => daemon.stderr.includes(`"engine":"${engine}"`));
    expect(await client.ask('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 })).toMatchObject({
      result: 'm',
    });
    expect((await client.ask('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 })).error?.code).toBe(-17);
    expect((await client.ask('no_such_method')).error).toMatchObject({ code: -32601, message: 'Method not found' });
    expect((await client.ask('bdev_get_bdevs', { name: 'absent' })).error?.code).toBe(-19);
    expect(await client.call('framework_wait_init')).toBe(true);
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
  });

  it.each(['uring', 'portable'])('%s: a client can ask for the stop', async (engine) => {
    const { client, exited } = await start('--engine', engine);
    expect(await client.call('spdk_kill_instance', { sig_name: 'SIGTERM' })).toBe(true);
    expect(await exited).toBe(0);
  });

  it('uring: hundreds of calls at the same moment are all answered, each with its own answer', async () => {
    const { client } = await start('--engine', 'uring');
    const names = Array.from({ length: 200 }, (_, i) => `m${i}`);
    await Promise.all(names.map((name) => client.call('bdev_null_create', { name, num_blocks: 64, block_size: 512 })));
    const found = await Promise.all(names.map((name) => client.call('bdev_get_bdevs', { name })));
    expect(found.map((list) => (list as { name: string }[])[0]?.name)).toEqual(names);
  });

  it.each(['uring', 'portable'])('%s: what cannot start says so and ends', async (engine) => {
    writeFileSync(join(test.folder, 'file'), '');
    const bad = ['--nbd', `unix:${join(test.folder, 'file')}`];
    const nbd = await run(process.execPath, [bin, '-r', join(test.folder, 'r'), '--engine', engine, '--memory', '64', ...bad]);
    expect([nbd.code, nbd.stderr.includes('exists and is not a socket')]).toEqual([1, true]);
    writeFileSync(
      join(test.folder, 'c'),
      JSON.stringify({ subsystems: [{ subsystem: 'bdev', config: [{ method: 'bdev_raid_create', params: {} }] }] }),
    );
    const config = await run(process.execPath, [
      bin,
      '-r',
      join(test.folder, 'r'),
      '--engine',
      engine,
      '--memory',
      '64',
      '--strict',
      '-c',
      join(test.folder, 'c'),
    ]);
    expect([config.code, config.stderr.includes('bdev_raid_create')]).toEqual([1, true]);
  });

  it('auto: without io_uring the portable one serves, and one line says why', async () => {
    process.env.RAIDKIT_NO_FFI = '1';
    try {
      const daemon = await start('--engine', 'auto');
      const { client } = daemon;
      await says(daemon, 'RAIDKIT_NO_FFI is set');
      expect(daemon.stderr.match(/io_uring is not available/g)).toHaveLength(1);
      expect(await client.ask('bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 })).toMatchObject({
        result: 'm',
      });
      const refused = await run(process.execPath, [bin, '-r', join(test.folder, 'r'), '--engine', 'uring', '--memory', '64']);
      expect([refused.code, refused.stderr.includes('io_uring is not available')]).toEqual([1, true]);
    } finally {
      delete process.env.RAIDKIT_NO_FFI;
    }
  });

  it('refuses a number of reactors that cannot be', async () => {
    const tryWith = (...args: string[]): ReturnType<typeof run> =>
      run(process.execPath, [bin, '-r', join(test.folder, 'r'), '--memory', '64', ...args]);
    for (const number of ['0', '65', 'two']) {
      expect(await tryWith('--engine', 'uring', '--reactors', number)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('must be a whole number from 1 to 64') as string,
      });
    }
    const portable = await tryWith('--engine', 'portable', '--reactors', '2');
    expect([portable.code, portable.stderr.includes('--reactors 2 needs io_uring')]).toEqual([1, true]);
    writeFileSync(join(test.folder, 'file'), '');
    const unlucky = await tryWith('--engine', 'uring', '--reactors', '3', '--nbd', `unix:${join(test.folder, 'file')}`);
    expect([unlucky.code, unlucky.stderr.includes('exists and is not a socket')]).toEqual([1, true]);
  });

  it.skipIf(!hasLoopDevices()).each(['1', '2'])(
    '%s reactors: looks for disks when the kernel says that block devices have changed',
    async (reactors) => {
      const args = ['--engine', 'uring', '--reactors', reactors, '--log-level', 'debug'];
      const daemon = await start(...args, '--scan', join(test.folder, 'disks', '*'));
      const { client } = daemon;
      mkdirSync(join(test.folder, 'disks'));
      for (const name of ['a', 'b']) {
        makeFile(join(test.folder, name), 4 << 20);
        await client.call('bdev_aio_create', { name, filename: join(test.folder, name), block_size: 512 });
      }
      await client.call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b'], superblock: true });
      await client.call('raidkit_stop', { name: 'vol' });
      for (const name of ['a', 'b']) await client.call('bdev_aio_delete', { name });
      for (const name of ['a', 'b']) renameSync(join(test.folder, name), join(test.folder, 'disks', name));
      const [device] = readdirSync('/sys/block').filter((name) => name.startsWith('loop'));
      writeFileSync(`/sys/block/${String(device)}/uevent`, 'change');
      await until('it is told', () => daemon.stderr.includes('block devices were added, removed or changed: scanning'));
      const health = async (): Promise<unknown> =>
        ((await client.call('raidkit_get_arrays')) as { ext: { health: string } }[])[0]?.ext.health;
      await until('the array is up', async () => (await health()) === 'optimal');
    },
  );
});

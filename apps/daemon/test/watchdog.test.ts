import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Watchdog } from '../src/watchdog.js';
import { says } from './support/devices.js';
import { spawnDaemon } from './support/process.js';
import type { DaemonProcess } from './support/process.js';
import type { RpcClient } from './support/rpc-client.js';

describe('a watchdog', () => {
  it('tells once that its thread is stuck, that it makes progress again, and when to give it up', () => {
    const beat = new Int32Array(1);
    const told: string[] = [];
    const dog = new Watchdog({
      beat,
      stuckAfterSeconds: 3,
      giveUpAfterSeconds: 5,
      onStuck: (seconds) => told.push(`stuck ${seconds}`),
      onMoving: () => told.push('moving'),
      onGivenUp: (seconds) => told.push(`given up ${seconds}`),
    });
    dog.end();
    const look = (times: number): void => {
      for (let i = 0; i < times; i++) dog.look();
    };
    beat[0] = 1;
    look(3);
    expect([told, dog.isStuck]).toEqual([[], false]);
    look(1);
    expect([told, dog.isStuck]).toEqual([['stuck 3'], true]);
    beat[0] = 2;
    look(1);
    expect(dog.isStuck).toBe(false);
    look(10);
    expect(told).toEqual(['stuck 3', 'moving', 'stuck 3', 'given up 5']);
  });

  it('does not give up what it is not told to', () => {
    const told: string[] = [];
    const say = (what: string) => (): void => void told.push(what);
    const dog = new Watchdog({
      beat: new Int32Array(1),
      stuckAfterSeconds: 2,
      giveUpAfterSeconds: 0,
      onStuck: say('stuck'),
      onMoving: say('moving'),
      onGivenUp: say('given up'),
    });
    dog.end();
    for (let i = 0; i < 100; i++) dog.look();
    expect(told).toEqual(['stuck']);
  });
});

describe('a daemon whose data path is stuck', () => {
  let folder: string;
  let daemon: DaemonProcess;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'raidkitd-watchdog-'));
    // A third party's level that never comes back from its start.
    const level = join(folder, 'node_modules', 'stuck-level');
    mkdirSync(level, { recursive: true });
    writeFileSync(join(level, 'package.json'), JSON.stringify({ name: 'stuck-level', type: 'module', exports: './index.js' }));
    writeFileSync(
      join(level, 'index.js'),
      `export const stuck = {
        level: 'stuck', aliases: [], code: 4096, apiVersion: 1,
        manifest: { stripSize: 'none', nullPayload: false, resize: false }, redundancy: 'none', baseBdevsMin: 1,
        start(raid) {
          // A level that throws outside of all calls ends its thread.
          if (raid.name === 'lost') setTimeout(() => { throw new Error('this is not caught'); });
          else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(process.env.STUCK_MS));
          throw new Error('awake');
        },
      };`,
    );
  });

  afterEach(async () => {
    daemon.client.close();
    daemon.child.kill('SIGKILL');
    await daemon.exited;
    rmSync(folder, { recursive: true });
  });

  async function start(stuckMs: number, ...args: string[]): Promise<void> {
    process.env.STUCK_MS = String(stuckMs);
    const rpc = join(folder, 'rpc.sock');
    daemon = await spawnDaemon(
      rpc,
      ['-r', rpc, '--engine', 'uring', '--memory', '64', '--level', 'stuck-level', '--level-folder', folder, ...args],
      folder,
    );
    await daemon.client.call('bdev_malloc_create', { name: 'm', num_blocks: 65_536, block_size: 512 });
  }
  const getStuck = (): ReturnType<RpcClient['ask']> =>
    daemon.client.ask('bdev_raid_create', { name: 'a', raid_level: 'stuck', base_bdevs: ['m'] });

  it('refuses control calls, those that wait too, until it makes progress again', async () => {
    await start(12_000, '--stuck-after', '4', '--stuck-exit', '0');
    expect((await getStuck()).error?.message).toContain('the data path is stuck');
    expect((await daemon.client.ask('spdk_get_version')).error?.message).toContain('the data path is stuck');
    for (;;) {
      if ((await daemon.client.ask('spdk_get_version')).error === undefined) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await says(daemon, 'the data path is stuck');
    await says(daemon, 'the data path makes progress again');
  });

  it('one of several: the others are called as ever, and what needs it says which one it is', async () => {
    await start(14_000, '--reactors', '2', '--stuck-after', '4', '--stuck-exit', '0');
    const { client } = daemon;
    await client.call('bdev_malloc_create', { name: 'far', num_blocks: 65_536, block_size: 512, reactor: 1 });
    const stuck = client.ask('bdev_raid_create', { name: 'a', raid_level: 'stuck', base_bdevs: ['far'] });
    // The call is answered also before the watchdog has noticed.
    expect(await client.call('bdev_get_bdevs', { name: 'm' })).toHaveLength(1);
    const which = /the data path of reactor 1 is stuck/;
    expect((await stuck).error?.message).toMatch(which);
    expect((await client.ask('bdev_get_bdevs', { name: 'far' })).error?.message).toMatch(which);
    for (const method of ['bdev_get_bdevs', 'bdev_wait_for_examine', 'raidkit_get_arrays'])
      expect((await client.ask(method)).error?.message).toMatch(which);
    expect((await client.ask('bdev_raid_set_options', { process_window_size_kb: 512 })).error?.message).toMatch(which);
    expect(await client.call('bdev_get_bdevs', { name: 'm' })).toHaveLength(1);
    await client.call('bdev_malloc_create', { name: 'n', num_blocks: 64, block_size: 512 });
    await client.call('raidkit_nbd_export', { bdev_name: 'n' });
    await client.call('raidkit_nbd_unexport', { name: 'n' });
    for (;;) {
      const { result } = await client.ask('bdev_get_bdevs');
      if (result !== undefined) {
        expect((result as { name: string }[]).map(({ name }) => name)).toEqual(['m', 'far', 'n']);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await says(daemon, 'the data path of reactor 1 makes progress again');
  });

  it('one of several that is lost ends the daemon, with a word why', async () => {
    await start(0, '--reactors', '2');
    await daemon.client.call('bdev_malloc_create', { name: 'far', num_blocks: 65_536, block_size: 512, reactor: 1 });
    // It may end before its answer is out.
    await daemon.client
      .ask('bdev_raid_create', { name: 'lost', raid_level: 'stuck', base_bdevs: ['far'] })
      .catch(() => undefined);
    expect(await daemon.exited).toBe(1);
    expect(daemon.stderr).toContain('the data path has ended');
    expect(daemon.stderr).toContain('this is not caught');
  });

  it('ends, when it was stuck for too long, with a word why', async () => {
    await start(120_000, '--stuck-after', '4', '--stuck-exit', '5');
    expect((await getStuck()).error?.message).toContain('the data path is stuck');
    expect(await daemon.exited).toBe('SIGKILL');
    expect(daemon.stderr).toContain('the data path has made no progress for too long');
  });
});

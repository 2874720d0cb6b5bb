import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { Status } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { openLinuxBdev } from '@raidkit/backend-linux';
import { Bench, MiB, can, expectBytes, pattern, run } from './kit.js';

/** Whether another process can open the device for itself alone. */
async function isFree(device: string): Promise<boolean> {
  const script = `require('fs').openSync(${JSON.stringify(device)}, require('fs').constants.O_RDWR | require('fs').constants.O_EXCL)`;
  try {
    await promisify(execFile)(process.execPath, ['-e', script]);
    return true;
  } catch {
    return false;
  }
}

/** Open flags of this process's descriptors on a file, as the kernel has them. */
function openFlags(path: string): number[] {
  return fs
    .readdirSync('/proc/self/fd')
    .filter((fd) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`) === path;
      } catch {
        return false;
      }
    })
    .map((fd) => Number.parseInt(/flags:\s*(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!, 8));
}

describe('opening', () => {
  it('says what is in the way', async () => {
    await using bench = new Bench();
    fs.mkdirSync(bench.path('folder'));
    run('mkfifo', bench.path('pipe'));
    const cases = [
      [{ path: bench.path('none') }, { code: 'ERR_BDEV_NOT_FOUND', errno: 2 }, /none: no such file or device/],
      [{ path: bench.path('folder') }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /neither a block device nor a regular file/],
      [{ path: bench.path('pipe') }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /neither/],
      [{ path: '/dev/null' }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /neither/],
      [{ path: bench.file('empty', 0) }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /too small: 0 bytes/],
      [{ path: bench.file('small', 4095), blockSize: 4096 }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /too small: 4095 bytes/],
      [
        { path: bench.file('a', MiB), blockSize: 131_072 },
        { code: 'ERR_BDEV_INVALID', errno: 22 },
        /from 512 to 65536, not 131072/,
      ],
      [{ path: bench.file('a', MiB), blockSize: 12_288 }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /must be a power of two/],
      [{ path: bench.file('a', MiB), blockSize: 256 }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /from 512 to 65536, not 256/],
      [{ path: bench.file('a', MiB), blockSize: 520 }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /block size must be/],
      [{ path: bench.file('a', MiB), uuid: 'x' }, { code: 'ERR_BDEV_INVALID', errno: 22 }, /"x" is not a uuid/],
    ] as const;
    for (const [options, properties, message] of cases) {
      const error: unknown = await bench.open(options).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ ...properties, message: expect.stringMatching(message) as string });
    }
    expect(bench.registry.list()).toEqual([]);
    // Nothing of it is still open or claimed.
    await bench.open({ path: bench.path('a') });
  });

  it('opens what was checked, whatever has its path by then, and nothing that is refused', async () => {
    await using bench = new Bench();
    const path = bench.path('link');
    fs.symlinkSync(bench.file('a', MiB), path);
    const other = bench.file('b', 2 * MiB);
    const checked: string[] = [];
    const bdev = await bench.open({
      path,
      check: (realPath) => {
        checked.push(realPath);
        fs.rmSync(path);
        fs.symlinkSync(other, path);
        fs.renameSync(realPath, bench.path('aside'));
        fs.linkSync(other, realPath);
      },
    });
    expect(checked).toEqual([bench.path('a')]);
    expect(bdev.numBlocks * bdev.blockSize).toBe(MiB);
    const refusal = new Error('not this one');
    const refused = bench.open({
      name: 'd1',
      path,
      check: () => {
        throw refusal;
      },
    });
    await expect(refused).rejects.toBe(refusal);
    // Nothing of it is still open or claimed.
    await bench.open({ name: 'd1', path });
  });

  it('is not held up by a pipe that takes the file’s place meanwhile, nor opens another file instead', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    run('mkfifo', bench.path('pipe'));
    bench.file('other', 2 * MiB);
    // All the time the path leads to another one of the three files.
    const swap = `
      const [path, aside, ...others] = process.argv.slice(1);
      for (let i = 0; ; i++) {
        const other = others[i % 2];
        for (const [from, to] of [[path, aside], [other, path], [aside, other]]) require('fs').renameSync(from, to);
      }`;
    const places = [path, ...['aside', 'pipe', 'other'].map((name) => bench.path(name))];
    const swapper = spawn(process.execPath, ['-e', swap, ...places], { stdio: ['ignore', 'ignore', 'inherit'] });
    const isOver = once(swapper, 'exit');
    const ends = new Set<string>();
    const strange = 'neither a block device nor a regular file';
    try {
      for (let count = 0; count < 10_000 && (count < 20 || !['opened', strange].every((end) => ends.has(end))); count++) {
        const end = await bench.open({ path, readOnly: true }).catch((error: unknown) => error as Error);
        if (end instanceof Error) {
          ends.add(new RegExp(`${strange}|no such file`).exec(end.message)?.[0] ?? end.message);
        } else {
          expect([MiB, 2 * MiB]).toContain(end.numBlocks * end.blockSize);
          await bench.registry.unregister(end);
          ends.add('opened');
        }
      }
    } finally {
      swapper.kill('SIGKILL');
      await isOver;
    }
    // The path may have led nowhere for a moment.
    ends.delete('no such file');
    expect([...ends].sort()).toEqual([strange, 'opened']);
  });

  it('fails without a trace if the name is taken', async () => {
    await using bench = new Bench();
    await bench.open({ path: bench.file('a', MiB) });
    const b = bench.file('b', MiB);
    await expect(bench.open({ path: b })).rejects.toMatchObject({ code: 'ERR_BDEV_EXISTS' });
    expect(openFlags(b)).toEqual([]);
    await bench.open({ name: 'd1', path: b });
  });

  it.runIf(process.getuid?.() === 0)('without permission says so', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    fs.chmodSync(bench.folder, 0o755);
    fs.chmodSync(path, 0o444);
    process.seteuid!(65_534);
    try {
      await expect(bench.open({ path })).rejects.toMatchObject({
        errno: 13,
        message: expect.stringMatching(/for writing.*read-only/) as string,
      });
      await bench.open({ path, readOnly: true });
    } finally {
      process.seteuid!(0);
    }
  });

  it('is past the page cache unless that is not wanted', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    const { O_DIRECT, O_CLOEXEC = 0o2000000 } = fs.constants as typeof fs.constants & { O_CLOEXEC?: number };
    for (const [directIo, expected] of [
      ['require', O_DIRECT],
      ['never', 0],
    ] as const) {
      await bench.open({ path, directIo });
      const [flags] = openFlags(path);
      expect([flags! & O_DIRECT, flags! & O_CLOEXEC]).toEqual([expected, O_CLOEXEC]);
      await bench.closeAll();
    }
    expect(bench.warnings()).toEqual([]);
  });

  it.runIf(can('loop', 'mount'))(
    'falls back to the page cache where it must, with one warning that says where and why',
    async () => {
      await using bench = new Bench();
      const device = bench.loop('disk', 16 * MiB, 4096);
      run('mkfs.ext4', '-q', device);
      const where = bench.mount('mnt', device);
      const path = `${where}/a`;
      fs.writeFileSync(path, pattern(MiB, 1));
      const bdev = await bench.open({ path, blockSize: 512 });
      expect(openFlags(path).map((flags) => flags & fs.constants.O_DIRECT)).toEqual([0]);
      expect(bench.log).toEqual([
        {
          level: 'warn',
          fields: { bdev: 'd0', path, blockSize: 512, reason: expect.stringContaining('EINVAL') as string },
          message: expect.stringContaining('page cache') as string,
        },
      ]);
      expectBytes(await bench.client(bdev).read(3, 2), pattern(MiB, 1).slice(3 * 512, 5 * 512));
      await bench.closeAll();
      await expect(bench.open({ path, blockSize: 512, directIo: 'require' })).rejects.toMatchObject({ errno: Status.Invalid });
      await bench.open({ path, blockSize: 4096, directIo: 'require' });
    },
  );

  it.runIf(can('mount'))('works on tmpfs', async () => {
    await using bench = new Bench();
    const path = `${bench.mount('mnt', '-t', 'tmpfs', '-o', 'size=4M', 'tmpfs')}/a`;
    fs.writeFileSync(path, pattern(MiB, 1));
    const client = bench.client(await bench.open({ path, fallocate: true }));
    await client.write(5, pattern(512, 7));
    await client.unmap(8, 8);
    await client.flush();
    const expected = pattern(MiB, 1).fill(0, 8 * 512, 16 * 512);
    expected.set(pattern(512, 7), 5 * 512);
    expectBytes(await client.read(0, 2048), expected);
  });

  it('leaves the end of a file alone that is not a whole number of blocks', async () => {
    await using bench = new Bench();
    const bdev = await bench.open({ path: bench.file('a', 10_000), blockSize: 4096 });
    expect(bdev.numBlocks).toBe(2);
    expect(bench.log).toMatchObject([{ level: 'warn', fields: { bytes: 10_000, unusedBytes: 1808 } }]);
    const client = bench.client(bdev);
    await client.write(0, pattern(8192, 1));
    expect(fs.statSync(bench.path('a')).size).toBe(10_000);
    await expect(client.write(2, pattern(4096, 1))).rejects.toMatchObject({ errno: Status.Invalid });
  });

  it('read-only refuses writes, and leaves the file alone', async () => {
    await using bench = new Bench();
    const path = bench.path('a');
    fs.writeFileSync(path, pattern(MiB, 1));
    fs.chmodSync(path, 0o444);
    const bdev = await bench.open({ path, readOnly: true, fallocate: true });
    expect(openFlags(path).map((flags) => flags & 3)).toEqual([fs.constants.O_RDONLY]);
    expect(() => bench.registry.open(bdev, { writable: true })).toThrow(/read-only/);
    const client = bench.client(bdev);
    await client.flush();
    const writes = await Promise.allSettled([client.write(0, pattern(512, 2)), client.writeZeroes(0, 1), client.unmap(0, 1)]);
    for (const write of writes) expect(write).toMatchObject({ reason: { errno: Status.NotPermitted } });
    expectBytes(await client.read(0, 2048), pattern(MiB, 1));
  });

  it.runIf(can('mount', 'loop'))('for writing what is read-only is refused, with advice', async () => {
    await using bench = new Bench();
    const where = bench.mount('mnt', '-t', 'tmpfs', 'tmpfs');
    fs.writeFileSync(`${where}/a`, pattern(MiB, 1));
    run('mount', '-o', 'remount,ro', where);
    const device = bench.loop('disk', MiB, 512, '--read-only');
    for (const path of [`${where}/a`, device]) {
      await expect(bench.open({ path })).rejects.toMatchObject({
        message: expect.stringMatching(/open it read-only/) as string,
      });
      await bench.open({ path, readOnly: true });
      await bench.closeAll();
    }
  });

  it('shows and saves itself as SPDK does', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    const uuid = '00000000-0000-0000-0000-00000000000f';
    const { driver } = await bench.open({ path, uuid });
    expect(driver.productName).toBe('AIO disk');
    expect(JSON.stringify(driver.driverSpecific?.())).toBe(
      `{"aio":{"filename":"${path}","block_size_override":false,"readonly":false,"fallocate":false}}`,
    );
    expect(JSON.stringify(driver.configCall?.())).toBe(
      `{"method":"bdev_aio_create","params":{"name":"d0","filename":"${path}","readonly":false,"fallocate":false,"uuid":"${uuid}"}}`,
    );
    await bench.closeAll();
    const other = (await bench.open({ path, uuid, blockSize: 4096, readOnly: true, fallocate: true, directIo: 'never' }))
      .driver;
    expect(JSON.stringify(other.configCall?.())).toBe(
      `{"method":"bdev_aio_create","params":{"name":"d0","block_size":4096,"filename":"${path}","readonly":true,"fallocate":true,"direct_io":"never","uuid":"${uuid}"}}`,
    );
  });
});

describe('exclusive use', () => {
  it('of a file: one bdev of this process, also through a link', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    fs.symlinkSync(path, bench.path('soft'));
    fs.linkSync(path, bench.path('hard'));
    await bench.open({ path });
    for (const same of [path, bench.path('soft'), bench.path('hard')]) {
      for (const readOnly of [false, true]) {
        await expect(bench.open({ name: 'd1', path: same, readOnly })).rejects.toMatchObject({
          code: 'ERR_BDEV_CLAIMED',
          errno: Status.Busy,
          message: expect.stringContaining('as bdev d0') as string,
        });
      }
    }
    await bench.closeAll();
    await bench.open({ name: 'd1', path: bench.path('soft') });
  });

  it('of a file: one process', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    const isLocked = (how: string) =>
      promisify(execFile)('flock', ['--nonblock', how, path, 'true']).then(
        () => false,
        () => true,
      );
    await bench.open({ path });
    expect([await isLocked('--exclusive'), await isLocked('--shared')]).toEqual([true, true]);
    await bench.closeAll();
    await bench.open({ path, readOnly: true });
    expect([await isLocked('--exclusive'), await isLocked('--shared')]).toEqual([true, false]);
    await bench.closeAll();

    const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo locked; read end'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const busy = {
      code: 'ERR_BDEV_CLAIMED',
      errno: Status.Busy,
      message: expect.stringMatching(/locked: in use by another program/) as string,
    };
    await expect(bench.open({ path })).rejects.toMatchObject(busy);
    await expect(bench.open({ path, readOnly: true })).rejects.toMatchObject(busy);
    holder.stdin.end();
    await new Promise((resolve) => holder.once('close', resolve));
    await bench.open({ path });
  });

  it.runIf(can('loop'))('of a block device: one bdev of one process, also read-only', async () => {
    await using bench = new Bench();
    const device = bench.loop('disk', MiB);
    fs.symlinkSync(device, bench.path('by-id'));
    for (const readOnly of [false, true]) {
      await bench.open({ path: device, readOnly });
      expect(await isFree(device)).toBe(false);
      await expect(bench.open({ name: 'd1', path: bench.path('by-id') })).rejects.toMatchObject({
        errno: Status.Busy,
        message: /as bdev d0/,
      });
      await bench.closeAll();
      expect(await isFree(device)).toBe(true);
    }
    const script = `require('fs').openSync(${JSON.stringify(device)}, require('fs').constants.O_RDWR | require('fs').constants.O_EXCL); console.log('open'); process.stdin.resume()`;
    const holder = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    await expect(bench.open({ path: device })).rejects.toMatchObject({
      code: 'ERR_BDEV_CLAIMED',
      errno: Status.Busy,
      message: /in use by another program/,
    });
    holder.stdin.end();
    await new Promise((resolve) => holder.once('close', resolve));
    await bench.open({ path: device });
  });

  it.runIf(can('loop', 'mount'))('is refused where a file system is mounted, naming the place', async () => {
    await using bench = new Bench();
    const device = bench.loop('disk', 16 * MiB);
    run('mkfs.ext4', '-q', device);
    const where = bench.mount('a place', device);
    for (const readOnly of [false, true]) {
      await expect(bench.open({ path: device, readOnly })).rejects.toMatchObject({
        code: 'ERR_BDEV_CLAIMED',
        errno: Status.Busy,
        message: expect.stringContaining(`is in use: mounted at ${where}`) as string,
      });
    }
  });
});

describe('the uuid', () => {
  it('of a file stays, through links and re-opening, until the file has another path', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    fs.symlinkSync(path, bench.path('soft'));
    const uuids: string[] = [];
    for (const each of [path, bench.path('soft'), path]) {
      uuids.push((await bench.open({ path: each, uuid: '00000000-0000-0000-0000-000000000000' })).uuid);
      await bench.closeAll();
    }
    expect(new Set(uuids).size).toBe(1);
    expect(uuids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-/);
    fs.renameSync(path, bench.path('b'));
    expect((await bench.open({ path: bench.path('b') })).uuid).not.toBe(uuids[0]);
    await bench.closeAll();
    const given = 'AAAAAAAA-0000-0000-0000-000000000001';
    expect((await bench.open({ path: bench.path('b'), uuid: given })).uuid).toBe(given.toLowerCase());
  });

  it.runIf(can('loop'))('of a loop device is that of what is behind it, not of its number', async () => {
    await using bench = new Bench();
    const path = bench.file('disk', MiB);
    const uuids: string[] = [];
    const parked = bench.loop('parked', MiB);
    for (let i = 0; i < 2; i++) {
      const device = run('losetup', '--find', '--show', path);
      uuids.push((await bench.open({ path: device })).uuid);
      await bench.closeAll();
      run('losetup', '--detach', device);
      if (i === 0) bench.loop('takes-its-number', MiB);
    }
    expect(uuids[0]).toBe(uuids[1]);
    expect((await bench.open({ path: parked })).uuid).not.toBe(uuids[0]);
  });

  it('cannot be that of another device', async () => {
    await using bench = new Bench();
    const uuid = '00000000-0000-0000-0000-000000000001';
    await bench.open({ path: bench.file('a', MiB), uuid });
    const second = openLinuxBdev(bench.registry, { name: 'd1', path: bench.file('b', MiB), uuid });
    await expect(second).rejects.toMatchObject({ code: 'ERR_BDEV_EXISTS' });
  });
});

import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { BlockClient, IoType, Status } from '@raidkit/bdev';
import type { Bdev } from '@raidkit/bdev';
import { PortableEngine, rescan } from '@raidkit/backend-linux';
import { describe, expect, it } from 'vitest';
import { Bench, FaultyEngine, MiB, can, eventually, expectBytes, pattern, run, submitRaw } from './kit.js';

interface Rig {
  engine: FaultyEngine;
  bdev: Bdev;
  client: BlockClient;
  path: string;
}

async function rig(bench: Bench, maxInFlight?: number): Promise<Rig> {
  const engine = new FaultyEngine(bench.runtime, maxInFlight);
  const path = bench.file('a', MiB);
  const bdev = await bench.open({ path, engine, fallocate: true });
  return { engine, bdev, client: bench.client(bdev), path };
}

/** The descriptor numbers under which this process has the file open. */
function openFds(path: string): string[] {
  return fs.readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith(path);
    } catch {
      return false;
    }
  });
}

describe('an error of the system', () => {
  it('is passed on by its number', async () => {
    await using bench = new Bench();
    const { engine, client } = await rig(bench);
    for (const errno of [Status.IoError, Status.NoSpace, 122, 61, 27, Status.NotPermitted]) {
      engine.answers.set('read', [-errno]);
      engine.answers.set('write', [-errno]);
      await expect(client.read(0, 1)).rejects.toMatchObject({ code: 'ERR_BDEV_IO', errno });
      await expect(client.write(0, pattern(512, 1))).rejects.toMatchObject({ code: 'ERR_BDEV_IO', errno });
    }
    await client.read(0, 1);
  });

  it('that passes is tried again', async () => {
    await using bench = new Bench();
    const { engine, client } = await rig(bench);
    engine.answers.set('write', [-4, -11, -4, -4, -11]);
    engine.answers.set('flush', [-4]);
    engine.answers.set('read', [-11, -4]);
    await client.write(0, pattern(512, 1), { fua: true });
    expectBytes(await client.read(0, 1), pattern(512, 1));
  });

  it('after part of the data fails the request', async () => {
    await using bench = new Bench();
    const { engine, client } = await rig(bench);
    engine.shortBytes = 4096;
    for (const kind of ['read', 'write']) engine.answers.set(kind, [4096, -5]);
    await expect(client.read(0, 64)).rejects.toMatchObject({ errno: Status.IoError });
    await expect(client.write(0, pattern(64 * 512, 1))).rejects.toMatchObject({ errno: Status.IoError });
  });

  it.each([0, 100, 511])('is what a count of %d bytes is: less than a block, the end of the device', async (count) => {
    await using bench = new Bench();
    const { engine, client } = await rig(bench);
    for (const kind of ['read', 'write']) engine.answers.set(kind, [count]);
    await expect(client.read(0, 64)).rejects.toMatchObject({ errno: Status.IoError });
    await expect(client.write(0, pattern(64 * 512, 1))).rejects.toMatchObject({ errno: Status.IoError });
  });

  it.each([
    [-5, 5],
    [0, 5],
    [100, 5],
    [-61, 61],
  ])('at the first read (%d) keeps the device from being opened', async (answer, errno) => {
    await using bench = new Bench();
    const engine = new FaultyEngine(bench.runtime);
    engine.answers.set('read', [answer]);
    const path = bench.file('a', MiB);
    await expect(bench.open({ path, engine })).rejects.toMatchObject({ code: 'ERR_BDEV_IO', errno });
    expect([openFds(path), bench.log]).toEqual([[], []]);
    await bench.open({ path, engine });
  });

  it('on flush is final until the device is opened again', async () => {
    await using bench = new Bench();
    const { engine, client, path, bdev } = await rig(bench);
    await client.write(0, pattern(512, 1));
    engine.answers.set('flush', [-5]);
    await expect(client.flush()).rejects.toMatchObject({ errno: Status.IoError });
    await expect(client.flush()).rejects.toMatchObject({ errno: Status.IoError });
    await expect(client.write(0, pattern(512, 1), { fua: true })).rejects.toMatchObject({ errno: Status.IoError });
    expect(engine.calls.filter((call) => call === 'flush').length).toBe(1);
    expect(bench.log.filter(({ level }) => level === 'error')).toMatchObject([{ fields: { bdev: bdev.name, path, errno: 5 } }]);
    await bench.closeAll();
    await bench.client(await bench.open({ path })).flush();
  });

  it.runIf(can('mount'))('of a full file system is ENOSPC, and no other data is harmed', async () => {
    await using bench = new Bench();
    const path = `${bench.mount('mnt', '-t', 'tmpfs', '-o', 'size=1M', 'tmpfs')}/a`;
    fs.closeSync(fs.openSync(path, 'w'));
    fs.truncateSync(path, 4 * MiB);
    const client = bench.client(await bench.open({ path }));
    await client.write(0, pattern(512 * 1024, 1));
    await expect(client.write(1024, pattern(MiB, 2))).rejects.toMatchObject({ errno: Status.NoSpace });
    expectBytes(await client.read(0, 1024), pattern(512 * 1024, 1));
  });
});

// The tracer reaches system calls, and a ring makes none: these are about the portable engine.
describe.runIf(can('strace'))('the kernel', () => {
  /** Has calls of this process fail from now on, until the function that comes back is called. */
  async function inject(what: string, calls: string): Promise<() => Promise<void>> {
    const args = [
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-e',
      `trace=${calls}`,
      '-e',
      `inject=${calls}:${what}`,
      '-p',
      String(process.pid),
    ];
    const tracer = spawn('strace', args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const isTraced = () => !/^TracerPid:\s*0$/m.test(fs.readFileSync('/proc/self/status', 'utf8'));
    await eventually(isTraced);
    return async () => {
      tracer.kill('SIGINT');
      await new Promise((resolve) => tracer.once('close', resolve));
    };
  }

  it.each([
    ['pread64', 'error=EIO', Status.IoError],
    ['pread64', 'error=ENODATA', 61],
    ['pread64', 'retval=0', Status.IoError],
  ])('failing %s with %s is seen', async (calls, what, errno) => {
    await using bench = new Bench();
    const client = bench.client(await bench.open({ path: bench.file('a', MiB), engine: new PortableEngine(bench.runtime) }));
    const stop = await inject(what, calls);
    try {
      await expect(client.read(0, 8)).rejects.toMatchObject({ errno });
    } finally {
      await stop();
    }
    await client.read(0, 8);
  });

  it.each([
    ['pwrite64', 'error=EIO', Status.IoError],
    ['pwrite64', 'error=EDQUOT', 122],
    ['fdatasync', 'error=EIO', Status.IoError],
    ['fallocate', 'error=ENOSPC', Status.NoSpace],
  ])('failing %s with %s is seen', async (calls, what, errno) => {
    await using bench = new Bench();
    const client = bench.client(
      await bench.open({ path: bench.file('a', MiB), fallocate: true, engine: new PortableEngine(bench.runtime) }),
    );
    const stop = await inject(what, calls);
    try {
      const call =
        calls === 'fallocate' ? client.writeZeroes(0, 8) : client.write(0, pattern(4096, 1), { fua: calls === 'fdatasync' });
      await expect(call).rejects.toMatchObject({ errno });
    } finally {
      await stop();
    }
  });
});

describe('a device that does not answer', () => {
  it('keeps no more than its share of the engine, and the rest waits in order', async () => {
    await using bench = new Bench();
    const { engine, client } = await rig(bench, 3);
    engine.isHolding = true;
    engine.calls.length = 0;
    const calls = Array.from({ length: 10 }, (_, i) => client.write(i, pattern(512, i)));
    await eventually(() => engine.held.length === 3);
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.calls.length).toBe(3);
    while (engine.held.length > 0) {
      engine.held.shift()!();
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(engine.held.length).toBeLessThanOrEqual(3);
    }
    await Promise.all(calls);
    for (let i = 0; i < 10; i++) {
      engine.isHolding = false;
      expectBytes(await client.read(i, 1), pattern(512, i));
    }
  });

  it('does not hold up another one', async () => {
    await using bench = new Bench();
    const { engine, client } = await rig(bench, 3);
    engine.isHolding = true;
    const stuck = Array.from({ length: 10 }, (_, i) => client.write(i, pattern(512, i)));
    const other = bench.client(await bench.open({ name: 'd1', path: bench.file('b', MiB) }));
    await other.write(0, pattern(512, 1));
    engine.release();
    await Promise.all(stuck);
  });

  it('gets nothing any more that was given up while it waited', async () => {
    await using bench = new Bench();
    const { engine, bdev, client: closing } = await rig(bench, 1);
    closing.descriptor.close();
    const client = new BlockClient(bench.registry.open(bdev, { writable: true, ioTimeoutMs: 30 }));
    engine.isHolding = true;
    engine.calls.length = 0;
    const calls = await Promise.allSettled([0, 1, 2].map((i) => client.write(i, pattern(512, i + 1))));
    for (const call of calls) expect(call).toMatchObject({ status: 'rejected', reason: { errno: Status.TimedOut } });
    expect(engine.calls).toEqual(['write']);
    engine.release();
    await eventually(() => bench.registry.ios.outstanding === 0);
    expect(engine.calls).toEqual(['write']);
    const expected = new Uint8Array(3 * 512);
    expected.set(pattern(512, 1));
    expectBytes(await client.read(0, 3), expected);
  });

  it('gets no further step of what was given up in the middle', async () => {
    await using bench = new Bench();
    const engine = new FaultyEngine(bench.runtime);
    engine.shortBytes = 4096;
    const bdev = await bench.open({ path: bench.file('a', 600 * MiB), engine, fallocate: true });
    const client = new BlockClient(bench.registry.open(bdev, { writable: true, ioTimeoutMs: 30 }));
    engine.isHolding = true;
    engine.calls.length = 0;
    const calls = [client.unmap(0, bdev.numBlocks), client.write(0, pattern(8192, 1)), client.read(64, 16)];
    for (const call of await Promise.allSettled(calls)) expect(call).toMatchObject({ reason: { errno: Status.TimedOut } });
    engine.release();
    await eventually(() => bench.registry.ios.outstanding === 0);
    expect(engine.calls.sort()).toEqual(['punchHole', 'read', 'write']);
  });

  it('stays open and claimed until it has let go, though its bdev is gone', async () => {
    await using bench = new Bench();
    const { engine, bdev, client: closing, path } = await rig(bench, 1);
    closing.descriptor.close();
    const descriptor = bench.registry.open(bdev, { writable: true, ioTimeoutMs: 20 });
    const client = new BlockClient(descriptor);
    engine.isHolding = true;
    const calls = [client.write(0, pattern(512, 1)), client.write(1, pattern(512, 2)), client.unmap(8, 8), client.unmap(16, 8)];
    for (const call of await Promise.allSettled(calls)) expect(call).toMatchObject({ reason: { errno: Status.TimedOut } });
    descriptor.close();
    await bench.registry.unregister(bdev);
    expect(bench.registry.get('d0')).toBeUndefined();
    // Requests that were waiting have been released; the write and the unmap that were started have not.
    expect(bench.registry.ios.outstanding).toBe(2);

    const fds = openFds(path);
    expect(fds.length).toBe(1);
    await expect(bench.open({ path })).rejects.toMatchObject({ code: 'ERR_BDEV_CLAIMED', message: /as bdev d0/ });
    // What is opened now must not get the number under which the old write will arrive.
    const other = fs.openSync(bench.file('other', MiB), 'r+');
    expect(fds).not.toContain(String(other));
    engine.release();
    await eventually(() => openFds(path).length === 0);
    fs.closeSync(other);
    expect(fs.readFileSync(bench.path('other')).every((byte) => byte === 0)).toBe(true);
    const expected = new Uint8Array(1024);
    expected.set(pattern(512, 1));
    expectBytes(await bench.client(await bench.open({ path })).read(0, 2), expected);
    expect(bench.registry.ios.outstanding).toBe(0);
  });
});

describe('another size', () => {
  it('of a file is noticed on rescan', async () => {
    await using bench = new Bench();
    const events: unknown[] = [];
    const path = bench.file('a', MiB);
    const bdev = await bench.open({ path });
    const client = bench.client(bdev, (event) => events.push(event));
    fs.truncateSync(path, 2 * MiB + 100);
    await rescan(bdev);
    await rescan(bdev);
    await client.write(4095, pattern(512, 1));
    fs.truncateSync(path, MiB / 2);
    await rescan(bdev);
    expect(events).toEqual([
      { type: 'resize', numBlocks: 4096 },
      { type: 'resize', numBlocks: 1024 },
    ]);
    await expect(client.write(1024, pattern(512, 1))).rejects.toMatchObject({ errno: Status.Invalid });
    expect(fs.statSync(path).size).toBe(MiB / 2);
  });

  it('is noticed by itself', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    const bdev = await bench.open({ path, pollMs: 10 });
    for (const size of [2 * MiB, MiB, 3 * MiB]) {
      fs.truncateSync(path, size);
      await eventually(() => bdev.numBlocks === size / 512);
    }
  });

  it.each(['auto', 'never'] as const)(
    'shows as EIO where the data was, with directIo %s, and then as the new size',
    async (directIo) => {
      await using bench = new Bench();
      const path = bench.file('a', MiB);
      const bdev = await bench.open({ path, directIo });
      const client = bench.client(bdev);
      await client.write(0, pattern(MiB, 1));
      fs.truncateSync(path, MiB / 2 + 700);
      // The ranges are behind the end, across it, and in the block that contains it.
      expect(await submitRaw(client, IoType.Read, 1500, 8, buffer(bench))).toBe(Status.IoError);
      bdev.resize(2048);
      expect(await submitRaw(client, IoType.Read, 1020, 16, buffer(bench))).toBe(Status.IoError);
      bdev.resize(2048);
      expect(await submitRaw(client, IoType.Read, 1025, 1, buffer(bench))).toBe(Status.IoError);
      await eventually(() => bdev.numBlocks === 1025);
      expectBytes(await client.read(0, 1025), pattern(MiB, 1).slice(0, 1025 * 512));
    },
  );

  it.each([
    ['write', IoType.Write],
    ['write zeroes', IoType.WriteZeroes],
    ['unmap', IoType.Unmap],
  ] as const)('of a file that was cut short is not mended by a %s: EIO, and the file stays as it is', async (_, type) => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    const bdev = await bench.open({ path, fallocate: true });
    const client = bench.client(bdev);
    await client.write(0, pattern(MiB, 1));
    fs.truncateSync(path, MiB / 2);
    const addr = buffer(bench);
    expect(await submitRaw(client, type, 2040, 8, addr)).toBe(Status.IoError);
    expect(fs.statSync(path).size).toBe(MiB / 2);
    // Every user of the device is told of the new size, and what is left can be written to.
    await eventually(() => bdev.numBlocks === 1024);
    expect(await submitRaw(client, type, 1016, 8, addr)).toBe(Status.Ok);
    expect(fs.statSync(path).size).toBe(MiB / 2);
  });

  it.runIf(can('loop'))('of a block device is noticed', async () => {
    await using bench = new Bench();
    const device = bench.loop('disk', MiB);
    const bdev = await bench.open({ path: device });
    for (const size of [2 * MiB, MiB / 2]) {
      fs.truncateSync(bench.path('disk'), size);
      run('losetup', '--set-capacity', device);
      await rescan(bdev);
      expect(bdev.numBlocks).toBe(size / 512);
    }
  });

  function buffer(bench: Bench): number {
    return bench.runtime.memory.allocRegion(16 * 512);
  }
});

describe('removal', () => {
  it.each([Status.Gone, Status.NoDevice])('is what errno %d of an I/O means', async (errno) => {
    await using bench = new Bench();
    const { engine, bdev, path } = await rig(bench);
    const events: string[] = [];
    const client = bench.client(bdev, ({ type }) => events.push(type));
    const others = [...bdev.descriptors];
    engine.answers.set('read', [-errno]);
    await expect(client.read(0, 1)).rejects.toMatchObject({ errno });
    await eventually(() => events.length > 0);
    for (const descriptor of others) descriptor.close();
    await eventually(() => bdev.state === 'removed');
    expect(events).toEqual(['remove']);
    expect(openFds(path)).toEqual([]);
  });

  it.runIf(can('loop'))('is what a device without a medium is', async () => {
    await using bench = new Bench();
    const device = bench.loop('disk', MiB);
    const bdev = await bench.open({ path: device, pollMs: 10 });
    fs.truncateSync(bench.path('disk'), 0);
    run('losetup', '--set-capacity', device);
    await eventually(() => bdev.state === 'removed');
    expect(bench.log.filter(({ level }) => level === 'error')).toMatchObject([{ fields: { bdev: 'd0', path: device } }]);
  });

  it('is not what deleting a file is: it works on, with one warning', async () => {
    await using bench = new Bench();
    const path = bench.file('a', MiB);
    const bdev = await bench.open({ path });
    const client = bench.client(bdev);
    fs.unlinkSync(path);
    await rescan(bdev);
    await rescan(bdev);
    expect(bench.warnings()).toEqual(['the file was deleted; its data is lost when the bdev is closed']);
    await client.write(0, pattern(512, 1));
    expectBytes(await client.read(0, 1), pattern(512, 1));
  });

  it('is looked for on devices of this kind only', () => {
    expect(() => rescan({ name: 'x', driver: {} } as never)).toThrow(expect.objectContaining({ errno: 19 }) as Error);
  });
});

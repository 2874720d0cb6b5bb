import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { KiB, MiB, addDevice, assertNoLeak, expectBytes, newRig, pattern, seeded, until } from './kit.js';
import type { MemoryDriver, Rig } from './kit.js';
import { folder, itWith, ok, run, start } from './programs.js';

/** These tests run common NBD client programs beside this process, which must continue serving. */

const sizeBytes = 64 * MiB;
let rig: Rig;
let driver: MemoryDriver;
let unix: (name: string) => string;
let tcp: (name: string) => string;

beforeAll(async () => {
  rig = newRig({
    memoryBytes: 128 * MiB,
    device: { blockSize: 4096, numBlocks: sizeBytes / 4096 },
    export: { description: 'a test' },
  });
  ({ driver } = rig);
  driver.recordsCalls = false;
  driver.chance = seeded(1);
  const small = addDevice(rig.registry, { name: 'm1', numBlocks: 64 });
  rig.server.addExport({ name: 'read only', bdev: small.bdev, readOnly: true });
  const local = await rig.server.listen({ unix: join(folder, 'nbd.sock') });
  const remote = await rig.server.listen({ host: '127.0.0.1', port: 0 });
  unix = (name) => local.uri(name);
  tcp = (name) => remote.uri(name);
});

afterAll(async () => {
  await until(() => rig.server.connectionCount === 0, 'all clients are gone');
  assertNoLeak(rig);
  await rig.server.close();
});

describe('nbdinfo', () => {
  itWith(['nbdinfo'], 'reads everything that an export says', async () => {
    const { exports: found } = JSON.parse(await ok('nbdinfo', '--json', unix('disk'))) as {
      exports: Record<string, unknown>[];
    };
    expect(found[0]).toMatchObject({
      'export-name': 'disk',
      description: 'a test',
      'export-size': sizeBytes,
      is_read_only: false,
      can_cache: true,
      can_df: true,
      can_fast_zero: true,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
      contexts: ['base:allocation'],
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 33554432,
    });
  });

  itWith(['nbdinfo'], 'lists exports, over TCP too', async () => {
    for (const uri of [unix(''), tcp('')]) {
      const { exports: found } = JSON.parse(await ok('nbdinfo', '--list', '--json', uri)) as {
        exports: Record<string, unknown>[];
      };
      expect(found.map((one) => one['export-name'])).toEqual(['disk', 'read only']);
    }
  });

  itWith(['nbdinfo'], 'finds the default export, the map, and no export that is not there', async () => {
    expect((await ok('nbdinfo', '--size', unix(''))).trim()).toBe(String(sizeBytes));
    expect((await ok('nbdinfo', '--map', unix('disk'))).trim().split(/\s+/)).toEqual(['0', String(sizeBytes), '0', 'data']);
    expect((await run('nbdinfo', [unix('nothing')])).code).not.toBe(0);
  });
});

describe('nbdcopy', () => {
  itWith(['nbdcopy'], 'copies a file in and out, with one and with four connections', async () => {
    const source = join(folder, 'source');
    const back = join(folder, 'back');
    const data = pattern(sizeBytes, 11);
    data.fill(0, 10 * MiB, 30 * MiB);
    writeFileSync(source, data);
    for (const [uri, ...options] of [
      [unix('disk'), '--connections=1', '--requests=64'],
      [tcp('disk'), '--connections=4', '--requests=64'],
      [unix('disk'), '--connections=4', '--request-size=33554432', '--requests=4'],
    ] as const) {
      driver.bytes.fill(0x55);
      await ok('nbdcopy', '--flush', ...options, source, uri);
      expectBytes(driver.bytes, data);
      await ok('nbdcopy', ...options, uri, back);
      expectBytes(readFileSync(back), data);
    }
  });
});

describe('nbdsh', () => {
  const script = `
import os
def check(h):
    size = h.get_size()
    data = os.urandom(100000)
    for offset in (0, 1, 511, 4095, 4096, 1000003, size - len(data)):
        h.pwrite(data, offset, nbd.CMD_FLAG_FUA)
        assert h.pread(len(data), offset) == data
    big = os.urandom(33554432)
    h.pwrite(big, 12345)
    assert h.pread(len(big), 12345) == big
    h.zero(5000, 777)
    assert h.pread(5002, 776) == h.pread(1, 776) + bytes(5000) + h.pread(1, 5777)
    h.zero(8192, 0, nbd.CMD_FLAG_NO_HOLE)
    h.zero(1048576, 4096, nbd.CMD_FLAG_FAST_ZERO)
    h.trim(1000000, 3)
    h.cache(1000000, 3)
    h.flush()
    # What libnbd itself would refuse is for the server to refuse.
    h.set_strict_mode(0)
    for call, wanted in (
        (lambda: h.pread(512, size), 'EINVAL'),
        (lambda: h.pwrite(bytes(512), size - 511), 'ENOSPC'),
        (lambda: h.zero(512, size), 'ENOSPC'),
        (lambda: h.trim(512, size), 'EINVAL'),
        (lambda: h.pread(512, 0, nbd.CMD_FLAG_NO_HOLE), 'EINVAL'),
    ):
        try:
            call()
            assert False, 'accepted'
        except nbd.Error as error:
            assert error.errno == wanted, (error.errno, wanted)
    h.pread(1, size - 1)
    # Many at a time, in any order of replies.
    cookies = [h.aio_pread(nbd.Buffer(4096), i * 4096) for i in range(500)]
    while h.aio_in_flight() > 0:
        h.poll(-1)
        for cookie in cookies[:]:
            if h.aio_command_completed(cookie):
                cookies.remove(cookie)
    h.shutdown()
for structured in (True, False):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    if structured:
        h.add_meta_context('base:allocation')
    h.connect_uri('URI')
    assert h.get_structured_replies_negotiated() == structured
    check(h)
`;

  itWith(['nbdsh'], 'gets the right bytes and the right errors, with structured and simple replies', async () => {
    for (const uri of [unix('disk'), tcp('disk')]) await ok('nbdsh', '-c', script.replace('URI', uri));
  });

  itWith(['nbdsh'], 'writes that DISC follows at once are carried out', async () => {
    driver.bytes.fill(0);
    const writes = `
for i in range(200):
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i + 1]) * 5000), i * 5000)
h.shutdown()
`;
    await ok('nbdsh', '-u', unix('disk'), '-c', writes);
    for (let i = 0; i < 200; i++) expect(driver.bytes[i * 5000 + 4999]).toBe(i + 1);
  });

  itWith(['nbdsh'], 'cannot write to a read-only export', async () => {
    const write = `
assert h.is_read_only()
h.set_strict_mode(0)
try:
    h.pwrite(bytes(512), 0)
    assert False
except nbd.Error as error:
    assert error.errno == 'EPERM'
`;
    await ok('nbdsh', '-u', unix('read only'), '-c', write);
  });
});

describe('qemu', () => {
  itWith(['qemu-img'], 'converts, compares, maps and measures', async () => {
    const source = join(folder, 'image');
    const data = pattern(sizeBytes, 12);
    data.fill(0, 5 * MiB, 25 * MiB);
    writeFileSync(source, data);
    driver.bytes.fill(0x77);
    await ok('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', '-W', '-m', '16', source, unix('disk'));
    expectBytes(driver.bytes, data);
    expect(await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, tcp('disk'))).toContain('identical');
    expect(await ok('qemu-img', 'info', '-f', 'raw', unix('disk'))).toContain(`(${sizeBytes} bytes)`);
    const map = JSON.parse(await ok('qemu-img', 'map', '--output=json', '-f', 'raw', unix('disk'))) as {
      length: number;
      data: boolean;
    }[];
    expect(map.reduce((sum, { length }) => sum + length, 0)).toBe(sizeBytes);
    await ok('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', tcp('disk'), join(folder, 'copy.qcow2'));
  });

  itWith(['qemu-io'], 'reads, writes, zeroes and discards at odd offsets', async () => {
    driver.bytes.fill(0x11);
    const steps = [
      'write -P 7 100 5000',
      'read -P 7 100 5000',
      'write -z 511 1000',
      'read -P 0 511 1000',
      'read -P 0x11 0 100',
      'aio_write -P 9 32M 4M',
      'aio_write -P 10 36M 1M',
      'aio_flush',
      'read -P 9 32M 4M',
      'write -f -P 3 1M 64k',
      'discard 2M 1M',
      'flush',
    ];
    const out = await ok('qemu-io', '-f', 'raw', ...steps.flatMap((step) => ['-c', step]), unix('disk'));
    expect(out).not.toMatch(/verification failed|failed:/);
    expect(driver.bytes[100]).toBe(7);
    expect(driver.bytes[36 * MiB]).toBe(10);
  });
});

describe('fio', () => {
  itWith(['fio'], 'verifies what it wrote: 4 KiB, sizes of all kinds, Unix and TCP', async () => {
    const jobs = [
      [unix('disk'), '--bs=4k', '--iodepth=32', '--io_size=32m'],
      [tcp('disk'), '--bsrange=512-256k', '--bs_unaligned', '--iodepth=16', '--io_size=32m'],
    ] as const;
    for (const [uri, ...options] of jobs) {
      const common = [
        '--name=j',
        '--ioengine=nbd',
        `--uri=${uri}`,
        '--rw=randwrite',
        '--size=64m',
        '--verify=crc32c',
        '--verify_fatal=1',
        '--verify_state_save=0',
      ];
      expect(await ok('fio', ...common, ...options)).toContain('err= 0');
    }
  });
});

describe('nbdkit', () => {
  itWith(['nbdkit', 'nbdcopy'], 'passes an export on', async () => {
    const data = pattern(8 * MiB, 6);
    driver.bytes.fill(0);
    writeFileSync(join(folder, 'small'), data);
    await ok('nbdkit', '-U', '-', 'nbd', `uri=${unix('disk')}`, '--run', `nbdcopy ${join(folder, 'small')} "$uri"`);
    expectBytes(driver.bytes.subarray(0, data.length), data);
  });
});

describe('kill -9', () => {
  itWith(['nbdcopy'], 'of a client in the middle of its work leaves nothing behind', async () => {
    for (let round = 0; round < 3; round++) {
      const child = start('nbdcopy', ['--connections=4', '--requests=64', unix('disk'), 'null:']);
      const before = rig.server.exports()[0]!.stats.readBytes;
      await until(() => rig.server.exports()[0]!.stats.readBytes > before + 512 * KiB, 'it reads');
      child.kill('SIGKILL');
      await until(() => rig.server.connectionCount === 0, 'its connections are gone');
      assertNoLeak(rig);
    }
  });
});

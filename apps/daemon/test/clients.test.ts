import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { arrayContent, goldenSets, memberImage } from '../../../test/support/golden.js';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';
import { makeFile, noise } from './support/files.js';
import { hasCommands, runOk } from './support/process.js';

/** These tests use real NBD clients with a volume of each level, served by the daemon over files. */
const levels = [
  { level: 'raid0', members: 3, strip: 64 },
  { level: 'raid1', members: 2, strip: 0 },
  { level: 'raid5f', members: 4, strip: 16 },
  { level: 'concat', members: 2, strip: 64 },
] as const;

let test: TestDaemon;
beforeEach(async () => {
  test = await startTestDaemon();
});
afterEach(() => test.end());

async function makeArray({ level, members, strip }: (typeof levels)[number]): Promise<string> {
  const names: string[] = [];
  for (let index = 0; index < members; index++) {
    const filename = join(test.folder, `m${index}.img`);
    makeFile(filename, 24 << 20);
    await test.client.call('bdev_aio_create', { name: `m${index}`, filename, block_size: 512, fallocate: true });
    names.push(`m${index}`);
  }
  const params = { name: 'vol', raid_level: level, base_bdevs: names, superblock: true };
  await test.client.call('bdev_raid_create', strip === 0 ? params : { ...params, strip_size_kb: strip });
  return uriOf('vol');
}

function uriOf(name: string): string {
  return `nbd+unix:///${name}?socket=${test.nbdPath}`;
}

describe.each(levels)('$level', (shape) => {
  it.skipIf(!hasCommands('nbdinfo', 'nbdcopy', 'nbdsh'))('serves libnbd: nbdinfo, nbdcopy there and back, nbdsh', async () => {
    const uri = await makeArray(shape);
    const size = Number(await runOk('nbdinfo', ['--size', uri]));
    expect(size).toBeGreaterThan(20 << 20);
    expect(await runOk('nbdinfo', ['--list', `nbd+unix://?socket=${test.nbdPath}`])).toContain('export="vol"');
    const source = join(test.folder, 'source');
    const back = join(test.folder, 'back');
    writeFileSync(source, noise(size));
    await runOk('nbdcopy', ['--flush', source, uri]);
    await runOk('nbdcopy', [uri, back]);
    expect(readFileSync(back).equals(readFileSync(source))).toBe(true);
    // Odd offsets and lengths, and everything that a client may ask for.
    const script = `
import nbd
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.connect_uri(${JSON.stringify(uri)})
assert h.can_multi_conn() and h.can_fua() and h.can_flush() and h.can_trim() and h.can_zero()
h.pwrite(b"odd" * 333, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(999, 12345) == b"odd" * 333
before = h.pread(12345, 0)
h.zero(1001, 777)
after = h.pread(12345, 0)
assert after == before[:777] + bytes(1001) + before[1778:]
h.trim(1 << 20, 1 << 20)
h.flush()
seen = []
h.block_status(1 << 20, 0, lambda *a: seen.append(a))
assert seen
try:
    h.set_strict_mode(0)
    h.pwrite(b"x" * 512, h.get_size())
    raise SystemExit("a write past the end succeeded")
except nbd.Error as e:
    assert e.errno in ("ENOSPC", "EINVAL"), e.errno
h.shutdown()
`;
    await runOk('nbdsh', ['-c', script]);
  });

  it.skipIf(!hasCommands('qemu-img', 'qemu-io'))('serves qemu: qemu-img, qemu-io', async () => {
    const uri = await makeArray(shape);
    const source = join(test.folder, 'source');
    writeFileSync(source, noise(4 << 20));
    await runOk('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', source, uri]);
    const back = join(test.folder, 'back');
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, back]);
    expect(
      readFileSync(back)
        .subarray(0, 4 << 20)
        .equals(readFileSync(source)),
    ).toBe(true);
    const commands = [
      'write -P 0x5a 513 70000',
      'read -P 0x5a 513 70000',
      'write -z 1M 128k',
      'read -P 0 1M 128k',
      'discard 2M 1M',
      'flush',
    ];
    const output = await runOk('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri]);
    expect(output).not.toMatch(/failed|error/i);
  });

  it.skipIf(!hasCommands('fio'))('serves fio with verification, several connections at once', async () => {
    const uri = await makeArray(shape);
    const job = (name: string, offset: string): string[] => [`--name=${name}`, `--offset=${offset}`];
    const common = [
      '--ioengine=nbd',
      `--uri=${uri}`,
      '--rw=randrw',
      '--bs=4608',
      '--iodepth=16',
      '--size=6m',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--loops=2',
    ];
    await runOk('fio', [...common, ...job('one', '0'), ...job('two', '8m')]);
  });
});

it.skipIf(!hasCommands('nbdinfo', 'nbdsh', 'qemu-img', 'qemu-io'))(
  'clients see what was never written, or is trimmed, and need not read it',
  async () => {
    for (const shape of levels.filter(({ level }) => level === 'raid1' || level === 'raid5f')) {
      const uri = await makeArray(shape);
      const size = Number(await runOk('nbdinfo', ['--size', uri]));
      const map = async (): Promise<{ offset: number; length: number; type: number }[]> =>
        JSON.parse(await runOk('nbdinfo', ['--map', '--json', uri])) as { offset: number; length: number; type: number }[];
      expect(await map()).toMatchObject([{ offset: 0, length: size, type: 3 }]);
      await runOk('nbdsh', ['-u', uri, '-c', 'h.pwrite(b"x" * 700, (5 << 20) - 350)']);
      const [before, data, after, ...more] = await map();
      expect(more).toEqual([]);
      expect([before!.type, data!.type, after!.type]).toEqual([3, 0, 3]);
      expect(data!.offset).toBeLessThanOrEqual((5 << 20) - 350);
      expect(data!.offset + data!.length).toBeGreaterThanOrEqual((5 << 20) + 350);
      expect(data!.length).toBeLessThan(size / 2);
      // The range does not start at a block's edge, and is cut to the requested length.
      const script = `
import nbd
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.connect_uri(${JSON.stringify(uri)})
seen = []
h.set_strict_mode(0)
h.block_status(1000, ${data!.offset} - 300, lambda context, offset, entries, error: seen.append((offset, list(entries))))
assert seen == [(${data!.offset} - 300, [300, 3, 700, 0])], seen
`;
      await runOk('nbdsh', ['-c', script]);
      const qemu = JSON.parse(await runOk('qemu-img', ['map', '--output=json', '-f', 'raw', uri])) as {
        zero: boolean;
        data: boolean;
      }[];
      expect(qemu.map(({ zero, data: isData }) => [zero, isData])).toEqual([
        [true, false],
        [false, true],
        [true, false],
      ]);
      await runOk('qemu-io', ['-f', 'raw', '-c', `discard 0 ${size}`, uri]);
      await vi.waitFor(async () => expect(await map()).toMatchObject([{ offset: 0, length: size, type: 3 }]), {
        timeout: 30_000,
        interval: 500,
      });
      const check = `assert h.pread(1 << 20, ${data!.offset}) == bytes(1 << 20)`;
      await runOk('nbdsh', ['-u', uri, '-c', check]);
      await test.client.call('bdev_raid_delete', { name: 'vol', clear_sb: true });
      for (let index = 0; index < shape.members; index++) await test.client.call('bdev_aio_delete', { name: `m${index}` });
    }
  },
);

it.skipIf(!hasCommands('nbdsh'))('a client keeps no member in an array that cannot do without it', async () => {
  const uri = await makeArray(levels[0]);
  const ready = join(test.folder, 'ready');
  const script = `
import time
h.pread(512, 0)
open(${JSON.stringify(ready)}, "w").close()
while True:
    time.sleep(0.05)
    try: h.pread(512, 0)
    except nbd.Error: break`;
  const client = runOk('nbdsh', ['-u', uri, '-c', script]);
  await vi.waitFor(() => expect(existsSync(ready)).toBe(true), 20_000);
  expect(await test.client.call('bdev_raid_remove_base_bdev', { name: 'm1' })).toBe(true);
  expect(await test.client.call('bdev_raid_get_bdevs', { category: 'offline' })).toMatchObject([{ name: 'vol' }]);
  // The server has ended its connection.
  await client;
});

it.skipIf(!hasCommands('nbdcopy'))('the data is there, byte for byte, without one member', async () => {
  for (const shape of levels.filter(({ level }) => level === 'raid1' || level === 'raid5f')) {
    const uri = await makeArray(shape);
    const source = join(test.folder, 'source');
    writeFileSync(source, noise(16 << 20));
    await runOk('nbdcopy', ['--flush', source, uri]);
    await test.client.call('bdev_raid_remove_base_bdev', { name: 'm1' });
    const back = join(test.folder, 'back');
    await runOk('nbdcopy', [uri, back]);
    expect(
      readFileSync(back)
        .subarray(0, 16 << 20)
        .equals(readFileSync(source)),
    ).toBe(true);
    await test.client.call('bdev_raid_delete', { name: 'vol', clear_sb: true });
    for (let index = 0; index < shape.members; index++) await test.client.call('bdev_aio_delete', { name: `m${index}` });
  }
});

const golden = goldenSets().filter(({ set }) => set !== 'raid5f-3-two-removed');
it.skipIf(!hasCommands('nbdcopy')).each(golden.map((set) => [set.folder, set] as const))(
  'SPDK’s %s, opened with bdev_aio_create in any order, reads as it was written',
  async (_, set) => {
    for (const index of [...set.membersForAssembly].reverse()) {
      const filename = join(test.folder, `g${index}.img`);
      writeFileSync(filename, memberImage(set, index));
      const { uuid } = set.members[index]!;
      await test.client.call('bdev_aio_create', { name: `g${index}`, filename, block_size: set.blockSize, uuid });
    }
    await test.client.call('bdev_wait_for_examine');
    const back = join(test.folder, 'back');
    await runOk('nbdcopy', [uriOf(set.name), back]);
    expect(readFileSync(back).equals(Buffer.from(arrayContent(set)))).toBe(true);
  },
);

it('exports and unexports by hand', async () => {
  await test.client.call('bdev_malloc_create', { name: 'm', num_blocks: 2048, block_size: 512 });
  expect(await test.client.call('raidkit_nbd_get_exports')).toEqual([]);
  await test.client.call('raidkit_nbd_export', { bdev_name: 'm', name: 'by hand', read_only: true, description: 'a disk' });
  expect(await test.client.call('raidkit_nbd_get_exports')).toMatchObject([
    { name: 'by hand', bdev_name: 'm', read_only: true, description: 'a disk', size_bytes: 1 << 20 },
  ]);
  expect((await test.client.ask('raidkit_nbd_export', { bdev_name: 'm', name: 'by hand' })).error).toBeDefined();
  await test.client.call('raidkit_nbd_unexport', { name: 'by hand' });
  expect(await test.client.call('raidkit_nbd_get_exports')).toEqual([]);
  expect((await test.client.ask('raidkit_nbd_unexport', { name: 'by hand' })).error).toBeDefined();
});

it('says what is missing when the kernel cannot be attached', async () => {
  await test.client.call('bdev_malloc_create', { name: 'm', num_blocks: 2048, block_size: 512 });
  const { error } = await test.client.ask('nbd_start_disk', { bdev_name: 'm', nbd_device: '/dev/nbd-that-is-not-there' });
  expect(error).toMatchObject({ code: -19 });
  expect(error?.message).toContain('nbd module');
  expect(await test.client.call('nbd_get_disks')).toEqual([]);
});

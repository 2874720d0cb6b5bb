import { execFileSync, spawn } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasCommands, run, runOk, spawnDaemon } from './support/process.js';
import type { DaemonProcess } from './support/process.js';

/**
 * These tests kill the daemon, which runs in a process of its own, while I/O is in flight. The page cache survives, so that what
 * the daemon had written is there.
 */
let folder: string;
let daemon: DaemonProcess | null = null;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
});
afterEach(async () => {
  if (daemon !== null) {
    daemon.child.kill('SIGKILL');
    await daemon.exited;
  }
  daemon = null;
  rmSync(folder, { recursive: true, force: true });
});

const shapes = [
  { level: 'raid0', members: 2, strip: 64 },
  { level: 'raid1', members: 2, strip: 0 },
  { level: 'raid5f', members: 3, strip: 16 },
  { level: 'concat', members: 2, strip: 64 },
] as const;

const memberUuid = (index: number): string => `c4a50000-0000-4000-8000-00000000000${index}`;

async function start(): Promise<DaemonProcess> {
  daemon = await spawnDaemon(join(folder, 'rpc.sock'), [
    '-r',
    join(folder, 'rpc.sock'),
    '--nbd',
    `unix:${join(folder, 'nbd.sock')}`,
    '--memory',
    '256',
  ]);
  return daemon;
}

function makeMembers(count: number): void {
  for (let index = 0; index < count; index++) {
    const fd = openSync(join(folder, `m${index}.img`), 'w');
    ftruncateSync(fd, 12 << 20);
    closeSync(fd);
  }
}

async function openMembers({ client }: DaemonProcess, indexes: readonly number[]): Promise<void> {
  for (const index of indexes) {
    await client.call('bdev_aio_create', {
      name: `m${index}`,
      filename: join(folder, `m${index}.img`),
      block_size: 512,
      uuid: memberUuid(index),
    });
  }
  await client.call('bdev_wait_for_examine');
}

const uri = (): string => `nbd+unix:///vol?socket=${join(folder, 'nbd.sock')}`;
const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

async function expectNoMismatch({ client }: DaemonProcess): Promise<void> {
  interface Ext {
    process: object | null;
    history: { type: string; mismatch_blocks: number; error: string | null }[];
  }
  const ext = async (): Promise<Ext> => ((await client.call('raidkit_get_arrays', { name: 'vol' })) as { ext: Ext }[])[0]!.ext;
  while ((await ext()).process !== null) await sleep(10);
  await client.call('raidkit_start_process', { name: 'vol', type: 'check' });
  while ((await ext()).history[0]?.type !== 'check') await sleep(10);
  expect((await ext()).history[0]).toMatchObject({ type: 'check', mismatch_blocks: 0, error: null });
}

/**
 * Writes and remembers: each block of 4 KiB carries its number and its version; what was acknowledged is logged, line by
 * line, before the next write. After the kill every block must hold its last acknowledged version, or the one in flight.
 */
const writer = `
import sys, os, struct, random, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
blocks = h.get_size() // 4096
rng = random.Random(int(sys.argv[2]))
version = int(sys.argv[3])
log = open(sys.argv[4], "ab", buffering=0)
while True:
    count = rng.choice([1, 1, 1, 2, 7, 20])
    start = rng.randrange(blocks - count)
    version += 1
    log.write(b"? %d %d %d\\n" % (start, count, version))
    h.pwrite(b"".join(struct.pack("<QQ", start + i, version) * 256 for i in range(count)), start * 4096)
    log.write(b"! %d %d %d\\n" % (start, count, version))
`;

const checker = `
import sys, struct, nbd
allowed = {}
for line in open(sys.argv[2], "rb"):
    if not line.endswith(b"\\n"): continue
    kind, start, count, version = line.split()
    start, count, version = int(start), int(count), int(version)
    for b in range(start, start + count):
        if kind == b"?": allowed.setdefault(b, {0}).add(version)
        else: allowed[b] = {version}
h = nbd.NBD()
h.connect_uri(sys.argv[1])
blocks = h.get_size() // 4096
settled = open(sys.argv[2] + ".new", "w")
for base in range(0, blocks, 256):
    n = min(256, blocks - base)
    data = h.pread(n * 4096, base * 4096)
    again = h.pread(n * 4096, base * 4096)
    assert data == again, "two reads differ at %d" % base
    for i in range(n):
        sectors = set()
        for s in range(8):
            piece = data[i * 4096 + s * 512 : i * 4096 + (s + 1) * 512]
            block, version = struct.unpack_from("<QQ", piece)
            assert piece == (struct.pack("<QQ", block, version) * 32), "garbage in block %d" % (base + i)
            assert (block, version) == (0, 0) or block == base + i, "block %d holds block %d" % (base + i, block)
            sectors.add(version)
        bad = sectors - allowed.get(base + i, {0})
        assert not bad, "block %d holds %s, allowed %s" % (base + i, sectors, allowed.get(base + i, {0}))
        v = max(sectors)
        if v: settled.write("! %d 1 %d\\n" % (base + i, v))
settled.close()
import os
os.rename(sys.argv[2] + ".new", sys.argv[2])
`;

const hasLibnbd = hasCommands('nbdsh', 'nbdcopy');

describe.each(shapes)('$level', ({ level, members, strip }) => {
  it.skipIf(!hasLibnbd)(
    'loses nothing that was acknowledged when the daemon is killed under load, again and again',
    async () => {
      makeMembers(members);
      let running = await start();
      await openMembers(running, range(members));
      const params = { name: 'vol', raid_level: level, base_bdevs: range(members).map((i) => `m${i}`), superblock: true };
      await running.client.call('bdev_raid_create', strip === 0 ? params : { ...params, strip_size_kb: strip });
      const log = join(folder, 'acked');
      writeFileSync(log, '');
      for (let round = 0; round < 4; round++) {
        const load = spawn('/usr/bin/python3', ['-c', writer, uri(), String(round), String(round * 1_000_000), log], {
          stdio: 'ignore',
        });
        const ended = new Promise((resolve) => load.on('exit', resolve));
        const lines = (): number => readFileSync(log, 'utf8').split('\n').length;
        for (const before = lines(); lines() < before + 20;) await sleep(5);
        await sleep(round * 50);
        running.child.kill('SIGKILL');
        await running.exited;
        await ended;
        running = await start();
        // The members are opened in another order each time.
        await openMembers(running, round % 2 === 0 ? range(members).reverse() : range(members));
        await runOk('/usr/bin/python3', ['-c', checker, uri(), log]);
        if (level === 'raid1' || level === 'raid5f') await expectNoMismatch(running);
      }
      running.child.kill('SIGTERM');
      expect(await running.exited).toBe(0);
    },
    120_000,
  );
});

it('a second signal ends a stop that hangs, and a stale socket does not stop the next start', async () => {
  let running = await start();
  running.child.kill('SIGKILL');
  await running.exited;
  running = await start();
  await running.client.call('bdev_malloc_create', { name: 'm', num_blocks: 2048, block_size: 512 });
  running.child.kill('SIGTERM');
  expect(await running.exited).toBe(0);
});

it('starts as the demonstration, and brings it back with its data', async () => {
  const demo = join(folder, 'demo');
  const rpc = join(demo, 'rpc.sock');
  let running = (daemon = await spawnDaemon(rpc, ['--demo', demo]));
  while (!running.stdout.includes('Ctrl-C')) await sleep(10);
  expect(running.stdout).toContain('has created the raid5f volume "demo"');
  expect(running.stdout).toContain(`export RAIDKIT_SOCKET=${rpc}\n  npx @raidkit/raidctl status\n`);
  const demoUri = `nbd+unix:///demo?socket=${join(demo, 'nbd.sock')}`;
  const isClientThere = hasCommands('nbdcopy');
  const source = join(folder, 'source');
  writeFileSync(source, 'what was written before the stop\n'.repeat(10_000));
  if (isClientThere) await runOk('nbdcopy', ['--flush', source, demoUri]);
  running.child.kill('SIGTERM');
  expect(await running.exited).toBe(0);
  running = daemon = await spawnDaemon(rpc, ['--demo', demo]);
  while (!running.stdout.includes('Ctrl-C')) await sleep(10);
  expect(running.stdout).toContain('has restored, with its data,');
  if (isClientThere) {
    const back = join(folder, 'back');
    await runOk('nbdcopy', [demoUri, back]);
    expect(readFileSync(back).subarray(0, 330_000).equals(readFileSync(source))).toBe(true);
  }
  running.child.kill('SIGTERM');
  expect(await running.exited).toBe(0);
});

/** Loop devices and FUSE are available only on some machines, and only to root. */
function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    execFileSync('losetup', ['-f'], { stdio: 'ignore' });
    execFileSync('test', ['-c', '/dev/fuse']);
  } catch {
    return false;
  }
  return hasCommands('nbdfuse', 'losetup', 'mkfs.ext4', 'mount');
}

it.skipIf(!canMount())(
  'carries a file system: mkfs, mount, write, remount, fsck',
  async () => {
    makeMembers(4);
    const running = await start();
    await openMembers(running, range(4));
    await running.client.call('bdev_raid_create', {
      name: 'vol',
      raid_level: 'raid5f',
      strip_size_kb: 16,
      base_bdevs: range(4).map((i) => `m${i}`),
      superblock: true,
    });
    const point = join(folder, 'fuse');
    const mount = join(folder, 'mnt');
    mkdirSync(point);
    mkdirSync(mount);
    const fuse = spawn('nbdfuse', [join(point, 'disk'), uri()], {
      stdio: 'ignore',
      env: { ...process.env, PATH: `/usr/bin:${process.env.PATH ?? ''}` },
    });
    // nbdfuse makes the file only when it is ready; the mount point is not there before.
    writeFileSync(join(folder, 'wait'), '');
    let loop = '';
    try {
      for (let tries = 0; ; tries++) {
        const attached = await run('losetup', ['-f', '--show', join(point, 'disk')]);
        if (attached.code === 0) {
          loop = attached.stdout.trim();
          break;
        }
        if (tries > 200) throw new Error(attached.stderr);
        await sleep(25);
      }
      await runOk('mkfs.ext4', ['-q', '-F', loop]);
      await runOk('mount', [loop, mount]);
      for (let i = 0; i < 200; i++) writeFileSync(join(mount, `file${i}`), `file ${i} `.repeat(500));
      await runOk('umount', [mount]);
      await runOk('mount', [loop, mount]);
      for (let i = 0; i < 200; i++) expect(readFileSync(join(mount, `file${i}`), 'utf8')).toBe(`file ${i} `.repeat(500));
      await runOk('umount', [mount]);
      await runOk('fsck.ext4', ['-fn', loop]);
    } finally {
      await run('umount', [mount]);
      if (loop !== '') await run('losetup', ['-d', loop]);
      await run('umount', [join(point, 'disk')]);
      fuse.kill();
    }
    await expectNoMismatch(running);
  },
  120_000,
);

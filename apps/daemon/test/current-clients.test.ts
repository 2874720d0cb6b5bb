import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeFile, noise } from './support/files.js';
import { startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';
import { runOk } from './support/process.js';

/**
 * The clients of Debian 13: qemu 10 and libnbd 1.22, which use extended headers. `scripts/debian13-clients.sh` unpacks them;
 * the environment variable RAIDKIT_DEBIAN13 names the folder. In CI it must be set.
 */
const root = process.env.RAIDKIT_DEBIAN13;
if (root === undefined && process.env.CI !== undefined)
  throw new Error('CI needs RAIDKIT_DEBIAN13 (scripts/debian13-clients.sh)');

/** Runs a program of the folder with the folder's own loader and libraries. */
function client(program: string, ...args: string[]): Promise<string> {
  const [machine, loader] =
    process.arch === 'arm64' ? ['aarch64', 'ld-linux-aarch64.so.1'] : ['x86_64', 'ld-linux-x86-64.so.2'];
  const loaders = ['usr/lib64', 'usr/lib', 'lib64', 'lib'].map((folder) => join(root ?? '', folder, loader));
  const found = loaders.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`there is no ${loader} in ${String(root)}`);
  const libraries = join(root ?? '', 'usr/lib', `${machine}-linux-gnu`);
  return runOk(found, ['--library-path', libraries, join(root ?? '', 'usr/bin', program), ...args]);
}

const levels = [
  { level: 'raid0', members: 3, strip: 64 },
  { level: 'raid1', members: 2, strip: 0 },
  { level: 'raid5f', members: 4, strip: 16 },
  { level: 'concat', members: 2, strip: 64 },
] as const;

describe.skipIf(root === undefined).each(levels)('clients of Debian 13 on $level', ({ level, members, strip }) => {
  let test: TestDaemon;
  let uri: string;

  beforeEach(async () => {
    test = await startTestDaemon();
    const names: string[] = [];
    for (let index = 0; index < members; index++) {
      const filename = join(test.folder, `m${index}.img`);
      makeFile(filename, 24 << 20);
      await test.client.call('bdev_aio_create', { name: `m${index}`, filename, block_size: 512, fallocate: true });
      names.push(`m${index}`);
    }
    const params = { name: 'vol', raid_level: level, base_bdevs: names, superblock: true };
    await test.client.call('bdev_raid_create', strip === 0 ? params : { ...params, strip_size_kb: strip });
    uri = `nbd+unix:///vol?socket=${test.nbdPath}`;
  });
  afterEach(() => test.end());

  it('qemu writes, writes zeroes, discards, flushes and reads back', async () => {
    const commands = ['write -P 0x5a 513 70000', 'read -P 0x5a 513 70000', 'write -f -P 0x21 0 4k', 'read -P 0x21 0 512'];
    commands.push(
      'write -z 1M 128k',
      'read -P 0 1M 128k',
      'write -z -u 3M 64k',
      'discard 2M 1M',
      'flush',
      'read -P 0x5a 4k 4k',
    );
    const output = await client('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri);
    expect(output).not.toMatch(/failed|error/i);
  });

  it('qemu-img and nbdcopy copy an image there and back', async () => {
    const source = join(test.folder, 'source');
    const back = join(test.folder, 'back');
    for (const seed of [1, 2]) {
      writeFileSync(source, noise(8 << 20, seed));
      if (seed === 1) await client('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', source, uri);
      else await client('nbdcopy', '--flush', source, uri);
      if (seed === 1) await client('nbdcopy', uri, back);
      else await client('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri, back);
      expect(
        readFileSync(back)
          .subarray(0, 8 << 20)
          .equals(readFileSync(source)),
      ).toBe(true);
    }
  });

  it('nbdinfo shows the export, with extended headers', async () => {
    const { exports } = JSON.parse(await client('nbdinfo', '--json', uri)) as { exports: { 'export-size': number }[] };
    expect(exports[0]?.['export-size']).toBeGreaterThan(20 << 20);
    expect(await client('nbdinfo', uri)).toMatch(/protocol: newstyle-fixed.* using extended/);
  });
});

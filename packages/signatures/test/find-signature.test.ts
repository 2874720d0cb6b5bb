import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Bdev, BdevRegistry, IoType, Status } from '@raidkit/bdev';
import type { BdevDriver } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { findSignature, signatures } from '@raidkit/signatures';
import { expect, it } from 'vitest';

const MiB = 1 << 20;

async function signatureOf(image: Uint8Array, blockSize = 512): Promise<string | null> {
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes: 8 * MiB }));
  const { u8 } = registry.runtime.memory;
  const driver: BdevDriver = {
    kind: 'image',
    productName: 'image',
    hasForceUnitAccess: true,
    supports: (type) => type === IoType.Read,
    submit(io) {
      const start = io.offsetBlocks * blockSize;
      u8.set(image.subarray(start, start + io.numBlocks * blockSize), io.addr);
      io.complete(Status.Ok);
    },
  };
  const bdev = new Bdev({
    name: 'image',
    uuid: '00000000-0000-4000-8000-000000000001',
    blockSize,
    numBlocks: image.length / blockSize,
    driver,
  });
  await registry.register(bdev);
  return findSignature(registry.open(bdev));
}

it('finds nothing on an empty device, whatever its size', async () => {
  for (const bytes of [512, 4096, MiB, 3 * MiB + 512]) expect(await signatureOf(new Uint8Array(bytes))).toBeNull();
  // A boot sector without partitions is not a partition table.
  const image = new Uint8Array(MiB);
  image.set([0x55, 0xaa], 510);
  expect(await signatureOf(image)).toBeNull();
});

it('finds each mark in each of its places', async () => {
  for (const { name, at, magic, confirm } of signatures) {
    for (const offset of [at[0]!, at[at.length - 1]!]) {
      const image = new Uint8Array(2 * MiB);
      const place = offset < 0 ? image.length + offset : offset;
      image.set(Buffer.from(magic, 'latin1'), place);
      if (confirm !== undefined) image[450] = 0x83;
      expect(await signatureOf(image, 4096), `${name} at ${offset}`).toBe(name);
    }
  }
});

const run = promisify(execFile);

it.each([
  { what: 'ext4', command: ['mkfs.ext4', '-q', '-F'], name: 'an ext2, ext3 or ext4 file system' },
  { what: 'swap', command: ['mkswap'], name: 'swap space' },
])('knows what the real tool makes: $what', async ({ command, name }) => {
  const folder = await mkdtemp(join(tmpdir(), 'raidkit-signatures-'));
  try {
    const path = join(folder, 'image');
    await writeFile(path, '');
    await truncate(path, 16 * MiB);
    const [tool, ...args] = command;
    await run(tool!, [...args, path], { env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` } });
    expect(await signatureOf(await readFile(path))).toBe(name);
  } finally {
    await rm(folder, { recursive: true });
  }
});

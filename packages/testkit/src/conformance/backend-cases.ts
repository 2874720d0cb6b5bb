import assert from 'node:assert/strict';
import { BdevError, BlockClient, IoType } from '@raidkit/bdev';
import type { Bdev, BdevRegistry } from '@raidkit/bdev';

/** A device under test, newly made and registered. Cases write to it. */
export interface BackendUnderTest {
  registry: BdevRegistry;
  bdev: Bdev;
  /** Removes the device. */
  readonly close: () => Promise<void>;
}

/** A test of one promise that every bdev makes. */
export interface BackendCase {
  readonly id: string;
  readonly title: string;
  /** Member of bdev's driver.ts, io.ts or descriptor.ts that makes the promise. */
  readonly clause: string;
  readonly run: (make: () => Promise<BackendUnderTest>) => Promise<void>;
}

async function withClient(
  make: () => Promise<BackendUnderTest>,
  steps: (client: BlockClient, under: BackendUnderTest) => Promise<void>,
): Promise<void> {
  const under = await make();
  try {
    const descriptor = under.registry.open(under.bdev, { writable: true, onEvent: () => undefined });
    try {
      await steps(new BlockClient(descriptor), under);
    } finally {
      descriptor.close();
    }
    assert.equal(under.registry.ios.outstanding, 0, 'I/O objects are out');
  } finally {
    await under.close();
  }
}

function pattern(length: number, salt: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (Math.imul(index + 1, 0x9e37_79b1) >>> 24) ^ (salt & 0xff));
}

function assertSame(found: Uint8Array, expected: Uint8Array, what: string): void {
  assert(
    Buffer.from(found.buffer, found.byteOffset, found.byteLength).equals(expected),
    `${what}: other bytes than were written`,
  );
}

/** Cases for any bdev. The device must be writable and have at least 64 blocks. */
export const backendCases: readonly BackendCase[] = [
  {
    id: 'BDEV-01',
    title: 'what is written is read back, block by block, from the first to the last',
    clause: 'BdevDriver.submit',
    run: (make) =>
      withClient(make, async (client) => {
        const { blockSize, numBlocks } = client;
        for (const at of [0, 1, 7, numBlocks - 9]) await client.write(at, pattern(8 * blockSize, at));
        await client.write(numBlocks - 1, pattern(blockSize, 99));
        assertSame(await client.read(numBlocks - 1, 1), pattern(blockSize, 99), 'the last block');
        assertSame(await client.read(7, 8), pattern(8 * blockSize, 7), 'blocks 7 to 14');
        assertSame(await client.read(1, 6), pattern(8 * blockSize, 1).subarray(0, 6 * blockSize), 'blocks 1 to 6');
        assertSame(await client.read(0, 1), pattern(8 * blockSize, 0).subarray(0, blockSize), 'block 0');
      }),
  },
  {
    id: 'BDEV-02',
    title: 'a request that does not lie wholly inside is refused, and changes nothing',
    clause: 'Bdev.submit',
    run: (make) =>
      withClient(make, async (client) => {
        const { blockSize, numBlocks } = client;
        const before = await client.read(numBlocks - 1, 1);
        await assert.rejects(client.read(numBlocks, 1), (error) => BdevError.is(error) && error.errno === 22);
        await assert.rejects(
          client.write(numBlocks - 1, pattern(2 * blockSize, 1)),
          (error) => BdevError.is(error) && error.errno === 22,
        );
        assertSame(await client.read(numBlocks - 1, 1), before, 'the last block');
      }),
  },
  {
    id: 'BDEV-03',
    title: 'many requests at once end, each in its own place',
    clause: 'BdevIo.complete',
    run: (make) =>
      withClient(make, async (client) => {
        const { blockSize, numBlocks } = client;
        const count = Math.min(64, numBlocks);
        const blocks = Array.from({ length: count }, (_, block) => block);
        await Promise.all(blocks.map((block) => client.write(block, pattern(blockSize, block))));
        const found = await Promise.all(blocks.map((block) => client.read(block, 1)));
        found.forEach((data, block) => assertSame(data, pattern(blockSize, block), `block ${block}`));
      }),
  },
  {
    id: 'BDEV-04',
    title: 'flush, and writes with forced unit access, succeed',
    clause: 'BdevDriver.hasForceUnitAccess',
    run: (make) =>
      withClient(make, async (client, { bdev }) => {
        await client.write(2, pattern(client.blockSize, 5), { fua: true });
        if (bdev.supports(IoType.Flush)) await client.flush();
        assertSame(await client.read(2, 1), pattern(client.blockSize, 5), 'block 2');
      }),
  },
  {
    id: 'BDEV-05',
    title: 'write zeroes leaves zeros, there and nowhere else; unmap leaves the neighbours alone',
    clause: 'BdevDriver.supports',
    run: (make) =>
      withClient(make, async (client, { bdev }) => {
        const { blockSize } = client;
        await client.write(0, pattern(32 * blockSize, 3));
        await client.writeZeroes(5, 9);
        assertSame(await client.read(5, 9), new Uint8Array(9 * blockSize), 'blocks 5 to 13');
        if (bdev.supports(IoType.Unmap)) await client.unmap(20, 4);
        const whole = pattern(32 * blockSize, 3);
        assertSame(await client.read(0, 5), whole.subarray(0, 5 * blockSize), 'blocks 0 to 4');
        assertSame(await client.read(14, 6), whole.subarray(14 * blockSize, 20 * blockSize), 'blocks 14 to 19');
        assertSame(await client.read(24, 8), whole.subarray(24 * blockSize), 'blocks 24 to 31');
      }),
  },
  {
    id: 'BDEV-06',
    title: 'the buffer of a write is left as it was',
    clause: 'BdevIo.addr',
    run: (make) =>
      withClient(make, async (client) => {
        const data = pattern(4 * client.blockSize, 8);
        await client.write(3, data);
        assertSame(data, pattern(4 * client.blockSize, 8), 'the caller’s buffer');
      }),
  },
];

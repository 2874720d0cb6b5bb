import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import type { Bdev, BdevEvent, BdevIo, IoOwner, IoType, Logger } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { expect } from 'vitest';

export const KiB = 1024;

export function newRegistry(log?: Logger): BdevRegistry {
  return new BdevRegistry(nodeRuntime({ memoryBytes: 16 * KiB * KiB, ...(log ? { log } : {}) }));
}

/** A writable client on the device. */
export function openClient(registry: BdevRegistry, bdev: Bdev, onEvent?: (event: BdevEvent) => void): BlockClient {
  return new BlockClient(registry.open(bdev, { writable: true, ...(onEvent ? { onEvent } : {}) }));
}

export function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 0xff);
}

/** One raw request; resolves with its status. */
export function submitRaw(
  client: BlockClient,
  type: IoType,
  offsetBlocks: number,
  numBlocks: number,
  addr: number,
): Promise<number> {
  const { ios } = client.descriptor.bdev.registry;
  return new Promise((resolve) => {
    const owner: IoOwner = {
      onIoDone(done: BdevIo) {
        const { status } = done;
        ios.put(done);
        resolve(status);
      },
    };
    const io = ios.get();
    Object.assign(io, { type, flags: 0, offsetBlocks, numBlocks, addr, owner });
    client.descriptor.submit(io);
  });
}

/** Everything that has been put off for a later turn is done after a few. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** The bytes that a device must hold, under the calls of a `BlockClient`. */
export class ByteModel {
  readonly bytes: Uint8Array;
  readonly #blockSize: number;

  constructor(numBlocks: number, blockSize: number) {
    this.bytes = new Uint8Array(numBlocks * blockSize);
    this.#blockSize = blockSize;
  }

  read(offset: number, count: number): Uint8Array {
    return this.bytes.slice(offset * this.#blockSize, (offset + count) * this.#blockSize);
  }

  write(offset: number, data: Uint8Array): void {
    this.bytes.set(data, offset * this.#blockSize);
  }

  zero(offset: number, count: number): void {
    this.bytes.fill(0, offset * this.#blockSize, (offset + count) * this.#blockSize);
  }
}

/** As `toEqual`, but fast for large buffers, and says where they differ. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  expect.fail(`bytes differ from offset ${at} on: ${actual[at]} instead of ${expected[at]}, of ${expected.length}`);
}

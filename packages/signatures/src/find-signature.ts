import { BlockClient } from '@raidkit/bdev';
import type { BdevDescriptor } from '@raidkit/bdev';
import { signatures } from './signatures.js';

/** Bytes that are searched at the device's start and at its end. */
const headBytes = 512 * 1024;
const tailBytes = 128 * 1024;

/**
 * Returns what is stored on the device, in words for people, such as `an XFS file system`; null if no known signature is found.
 * Rejects with a `BdevError` if the device cannot be read.
 */
export async function findSignature(descriptor: BdevDescriptor): Promise<string | null> {
  const { blockSize, numBlocks } = descriptor.bdev;
  const client = new BlockClient(descriptor);
  const head = await client.read(0, Math.min(numBlocks, headBytes / blockSize));
  const tailBlocks = Math.min(numBlocks, tailBytes / blockSize);
  const tail = await client.read(numBlocks - tailBlocks, tailBlocks);
  // Formats count from a device size rounded down to 64 KiB or 4 KiB, so offsets are tried from the size rounded down to 64 KiB
  // and from the exact size.
  const oddBytes = (numBlocks * blockSize) % (64 * 1024);
  for (const { name, at, magic, confirm } of signatures) {
    for (const offset of at) {
      const bytes = offset < 0 ? tail : head;
      for (const place of offset < 0 ? [tail.length + offset, tail.length - oddBytes + offset] : [offset]) {
        if (isAt(bytes, place, magic) && (confirm === undefined || confirm(bytes, place))) return name;
      }
    }
  }
  return null;
}

function isAt(bytes: Uint8Array, place: number, magic: string): boolean {
  if (place < 0 || place + magic.length > bytes.length) return false;
  for (let i = 0; i < magic.length; i++) if (bytes[place + i] !== magic.charCodeAt(i)) return false;
  return true;
}

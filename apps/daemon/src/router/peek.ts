import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { MAX_SUPERBLOCK_BYTES, parseSuperblock } from '@raidkit/superblock';

/** The array that a device belongs to. */
export interface Owner {
  uuid: string;
  name: string;
  /** Block size in bytes. */
  blockSize: number;
}

/**
 * Returns the array that a device's or file's superblock names; null if there is none that can be read. This only serves
 * placement: the code that opens the device reads the superblock again and decides.
 */
export async function peekSuperblock(path: string): Promise<Owner | null> {
  try {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile() && !stats.isBlockDevice()) return null;
      const { buffer, bytesRead } = await file.read(new Uint8Array(MAX_SUPERBLOCK_BYTES), 0, MAX_SUPERBLOCK_BYTES, 0);
      const parsed = parseSuperblock(buffer.subarray(0, bytesRead));
      return parsed.ok
        ? { uuid: parsed.superblock.uuid, name: parsed.superblock.name, blockSize: parsed.superblock.blockSize }
        : null;
    } finally {
      await file.close();
    }
  } catch {
    // Opening the device will report whatever is wrong with it.
    return null;
  }
}

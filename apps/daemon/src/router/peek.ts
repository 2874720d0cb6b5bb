import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { MAX_SUPERBLOCK_BYTES, parseSuperblock } from '@raidkit/superblock';

/** Which array a device belongs to. */
export interface Owner {
  uuid: string;
  name: string;
  /** Bytes. */
  blockSize: number;
}

/**
 * Which array the superblock of a device or file names; null if there is none that can be read. A look beforehand, for placing
 * the device: the code that opens it reads again, and decides.
 */
export async function peekSuperblock(path: string): Promise<Owner | null> {
  try {
    // A pipe would have it wait for a writer.
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
    // Whatever is wrong with it, opening it will tell.
    return null;
  }
}

import { randomFillSync } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export const MiB = 1024 * 1024;

/** Makes a file of random bytes, all of it in the page cache and on disk; returns its path. Equal for all who are compared. */
export function makeHotFile(folder: string, name: string, bytes: number): string {
  const path = join(folder, name);
  const fd = openSync(path, 'w+');
  const piece = Buffer.allocUnsafe(MiB);
  for (let offset = 0; offset < bytes; offset += MiB) {
    randomFillSync(piece);
    writeSync(fd, piece, 0, Math.min(MiB, bytes - offset), offset);
  }
  fsyncSync(fd);
  for (let offset = 0; offset < bytes; offset += MiB) readSync(fd, piece, 0, MiB, offset);
  closeSync(fd);
  return path;
}

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Stats } from 'node:fs';

/** Mode bit: others may read the file. */
const othersRead = 0o004;

/**
 * Reads a regular file of at most `mostBytes` bytes. It is checked through the descriptor that is read, and opening a pipe in
 * its place does not block.
 *
 * @param check throws if the file must not be read, because of who may read or write it
 */
export function readSmallFile(path: string, mostBytes: number, check: (stats: Stats) => void = () => undefined): string {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() || stats.size > mostBytes) throw new Error(`${path} is not a file of at most ${mostBytes} bytes`);
    check(stats);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

/** Reads a file that contains a secret. Throws if every user can read it. */
export function readSecretFile(path: string, mostBytes: number): string {
  return readSmallFile(path, mostBytes, ({ mode }) => {
    if ((mode & othersRead) !== 0) throw new Error(`every user can read ${path}, which holds a secret: chmod o-rwx ${path}`);
  });
}

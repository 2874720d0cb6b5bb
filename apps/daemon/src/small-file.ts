import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Stats } from 'node:fs';

/** Others may read the file. */
const othersRead = 0o004;

/**
 * The text of a regular file of at most so many bytes. It is looked at through the descriptor that is read from, and a pipe in its
 * place is not waited for.
 *
 * @param check throws if the file is not to be read, for who may read or write it
 */
export function readSmallFile(path: string, mostBytes: number, check: (stats: Stats) => void = () => undefined): string {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() || stats.size > mostBytes) throw new Error(`${path} is no file of at most ${mostBytes} bytes`);
    check(stats);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

/** The same, of a file with a secret. Throws if every user can read it. */
export function readSecretFile(path: string, mostBytes: number): string {
  return readSmallFile(path, mostBytes, ({ mode }) => {
    if ((mode & othersRead) !== 0) throw new Error(`every user can read ${path}, which has a secret: chmod o-rwx ${path}`);
  });
}

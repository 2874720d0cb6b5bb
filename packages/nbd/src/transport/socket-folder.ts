import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { NbdError } from '../errors.js';

const othersWrite = 0o002;
const sticky = 0o1000;

/**
 * Refuses a path for a Unix socket in a folder where another user could put another socket in its place: one of another user
 * than this one and root, or one that every user can write to, unless it has the sticky bit, as /tmp has.
 */
export function checkSocketFolder(path: string): void {
  const folder = dirname(path);
  const stats = statSync(folder, { throwIfNoEntry: false });
  if (stats?.isDirectory() !== true) throw new NbdError('ERR_NBD_ADDRESS', 2, `there is no directory ${folder} for a socket`);
  const own = process.geteuid?.() ?? 0;
  if (stats.uid !== 0 && stats.uid !== own) {
    const message = `${folder} belongs to user ${stats.uid}, who could put another socket in place of ${path}; use a folder of user ${own}`;
    throw new NbdError('ERR_NBD_ADDRESS', 13, message);
  }
  if ((stats.mode & othersWrite) !== 0 && (stats.mode & sticky) === 0) {
    const message = `every user can write to ${folder}, and put another socket in place of ${path}; use another folder, or chmod o-w ${folder}`;
    throw new NbdError('ERR_NBD_ADDRESS', 13, message);
  }
}

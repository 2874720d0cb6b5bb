import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { Status } from '@raidkit/bdev';
import { NbdError } from '../errors.js';

const othersWrite = 0o002;
const sticky = 0o1000;

/**
 * Throws if another user could replace a Unix socket in the path's folder by another one. That is so if the folder belongs to a
 * user other than root and this one, or if every user can write to it and it lacks the sticky bit, which /tmp has.
 */
export function checkSocketFolder(path: string): void {
  const folder = dirname(path);
  const stats = statSync(folder, { throwIfNoEntry: false });
  if (stats?.isDirectory() !== true)
    throw new NbdError('ERR_NBD_ADDRESS', Status.NotFound, `there is no directory ${folder} for a socket`);
  const own = process.geteuid?.() ?? 0;
  if (stats.uid !== 0 && stats.uid !== own) {
    const message = `${folder} belongs to user ${stats.uid}, who could replace the socket ${path}; use a directory of user ${own}`;
    throw new NbdError('ERR_NBD_ADDRESS', Status.AccessDenied, message);
  }
  if ((stats.mode & othersWrite) !== 0 && (stats.mode & sticky) === 0) {
    const message = `every user can write to ${folder}, and replace the socket ${path}; use another directory, or chmod o-w ${folder}`;
    throw new NbdError('ERR_NBD_ADDRESS', Status.AccessDenied, message);
  }
}

import { constants } from 'node:os';
import { BdevError, Status, statusName } from '@raidkit/bdev';
import type { BdevErrorCode } from '@raidkit/bdev';

/** Errno numbers, including those that `Status` has no name for. */
export const Errno = constants.errno;

/** Returns the positive errno of an error of Node's; EIO if it has none. */
export function errnoOf(error: unknown): number {
  const errno = (error as NodeJS.ErrnoException | null)?.errno;
  return errno === undefined ? Status.IoError : Math.abs(errno);
}

/** Makes an error that says why a path could not be opened, and what to do. */
export function openError(path: string, errno: number, readOnly: boolean, cause?: unknown): BdevError {
  const options = cause === undefined ? {} : { cause };
  const refuse = (code: BdevErrorCode, what: string): BdevError => new BdevError(code, errno, `${path}: ${what}`, options);
  switch (errno) {
    case Errno.ENOENT:
      return refuse('ERR_BDEV_NOT_FOUND', 'no such file or device');
    case Status.Gone:
    case Status.NoDevice:
      return refuse('ERR_BDEV_NOT_FOUND', 'no device is behind it');
    case Errno.EACCES:
    case Status.NotPermitted:
      return refuse(
        'ERR_BDEV_IO',
        `no permission to open it${readOnly ? '' : ' for writing; give the user access, or open it read-only'}`,
      );
    case Errno.EROFS:
      return refuse('ERR_BDEV_READ_ONLY', 'it is read-only, or on a read-only file system; open it read-only');
    default:
      return refuse('ERR_BDEV_IO', `cannot be opened: ${statusName(errno)}`);
  }
}

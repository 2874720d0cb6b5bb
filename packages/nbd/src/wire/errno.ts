import { Status } from '@raidkit/bdev';
import { NbdErrno } from './constants.js';

/** Returns the NBD error for the status of an I/O; EIO if the protocol has no better one. */
export function nbdErrno(status: Status): number {
  switch (status) {
    case Status.Ok:
      return NbdErrno.Ok;
    case Status.NotPermitted:
    case Status.ReadOnly:
      return NbdErrno.Perm;
    case Status.NoMemory:
      return NbdErrno.NoMem;
    case Status.Invalid:
      return NbdErrno.Inval;
    case Status.NoSpace:
    case 27: // EFBIG; the specification requires ENOSPC for this and the next one
    case 122: // EDQUOT
      return NbdErrno.NoSpace;
    case 75: // EOVERFLOW
      return NbdErrno.Overflow;
    case Status.NotSupported:
      return NbdErrno.NotSup;
    case Status.NoDevice:
    case Status.Gone:
    case Status.Cancelled:
    case 108: // ESHUTDOWN
      return NbdErrno.Shutdown;
    default:
      return NbdErrno.Io;
  }
}

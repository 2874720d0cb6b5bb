/**
 * How an I/O ended: 0, or a Linux errno as a positive number (errno(3)). An I/O carries this number; an `Error` object is
 * made from it once, at the public edge. Errors of other calls have a number of these too, as their `errno`.
 */
export const Status = {
  Ok: 0,
  /** EPERM: the descriptor or the device is read-only. */
  NotPermitted: 1,
  /** ENOENT: nothing has this name. */
  NotFound: 2,
  /** EIO: the device failed the request, or redundancy could not prove the data. */
  IoError: 5,
  /** ENXIO: the device disappeared. */
  Gone: 6,
  /** ENOMEM: the driver is out of resources for the moment. The bdev layer submits the request again; owners never see this. */
  NoMemory: 12,
  /** EACCES: the process may not use a file, or a client an export. */
  AccessDenied: 13,
  /** EBUSY */
  Busy: 16,
  /** EEXIST: the name, uuid or device is in use. */
  Exists: 17,
  /** ENODEV: the device is removed, or no member is left to serve the request. */
  NoDevice: 19,
  /** EINVAL: the range is outside the device or not a whole number of blocks, or the request exceeds the device's limits. */
  Invalid: 22,
  /**
   * ENOSPC: the device refused the write for lack of space; what it acknowledged before is safe. Never the status of a flush.
   */
  NoSpace: 28,
  /** EROFS: the device does not accept writes at present. */
  ReadOnly: 30,
  /** EOPNOTSUPP */
  NotSupported: 95,
  /** ESHUTDOWN: the server is being stopped. */
  ShutDown: 108,
  /** ETIMEDOUT: the deadline passed; the device may still carry out the request. */
  TimedOut: 110,
  /** EALREADY: it has begun already. */
  Already: 114,
  /** ECANCELED */
  Cancelled: 125,
} as const;

/** A value of {@link Status}, or any other errno that an engine reported. */
export type Status = number;

const names: Readonly<Record<number, string>> = {
  0: 'OK',
  1: 'EPERM',
  2: 'ENOENT',
  5: 'EIO',
  6: 'ENXIO',
  9: 'EBADF',
  11: 'EAGAIN',
  12: 'ENOMEM',
  13: 'EACCES',
  16: 'EBUSY',
  17: 'EEXIST',
  19: 'ENODEV',
  22: 'EINVAL',
  24: 'EMFILE',
  27: 'EFBIG',
  28: 'ENOSPC',
  30: 'EROFS',
  61: 'ENODATA',
  84: 'EILSEQ',
  95: 'EOPNOTSUPP',
  110: 'ETIMEDOUT',
  114: 'EALREADY',
  125: 'ECANCELED',
};

/** Name of an errno, such as `EIO` for 5; `errno 200` for a number that has no name here. */
export function statusName(status: Status): string {
  return names[status] ?? `errno ${status}`;
}

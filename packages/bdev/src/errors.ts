import { statusName } from './io/status.js';
import type { IoType } from './io/io.js';
import type { Status } from './io/status.js';

const brand = Symbol.for('raidkit.BdevError');

/** Every code a {@link BdevError} can have. Stable within a major version. */
export type BdevErrorCode =
  | 'ERR_BDEV_EXISTS'
  | 'ERR_BDEV_NOT_FOUND'
  | 'ERR_BDEV_INVALID'
  | 'ERR_BDEV_CLAIMED'
  | 'ERR_BDEV_READ_ONLY'
  | 'ERR_BDEV_REMOVED'
  | 'ERR_BDEV_CLOSED'
  | 'ERR_BDEV_IO'
  | 'ERR_BDEV_MISUSE';

/** A failed I/O. */
export interface FailedIo {
  readonly type: IoType;
  /** Bits of `IoFlag`. */
  readonly flags: number;
}

/** A failure at the public edge of the bdev layer. `errno` is the positive Linux number that RPC and NBD answer with. */
export class BdevError extends Error {
  readonly code: BdevErrorCode;
  readonly errno: Status;
  /** The I/O that failed; undefined if the error is not about a single I/O, or if it is not known. */
  readonly io: FailedIo | undefined;

  constructor(code: BdevErrorCode, errno: Status, message: string, options?: ErrorOptions, io?: FailedIo) {
    super(message, options);
    this.name = 'BdevError';
    this.code = code;
    this.errno = errno;
    this.io = io;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Also true for an error made by another copy of this package. */
  static is(error: unknown): error is BdevError {
    return error instanceof Error && brand in error;
  }

  /** The error for an I/O that ended with `status`. */
  static fromStatus(status: Status, what: string, io?: FailedIo): BdevError {
    return new BdevError('ERR_BDEV_IO', status, `${what}: ${statusName(status)}`, undefined, io);
  }
}

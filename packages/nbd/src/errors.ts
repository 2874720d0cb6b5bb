const brand = Symbol.for('raidkit.NbdError');

/** Every code an {@link NbdError} can have. Stable within a major version. */
export type NbdErrorCode =
  'ERR_NBD_EXPORT_EXISTS' | 'ERR_NBD_EXPORT_NOT_FOUND' | 'ERR_NBD_INVALID' | 'ERR_NBD_ADDRESS' | 'ERR_NBD_CLOSED';

/** A failure that the NBD server reports to its user. `errno` is a positive Linux error number, which RPC passes on. */
export class NbdError extends Error {
  readonly code: NbdErrorCode;
  readonly errno: number;

  constructor(code: NbdErrorCode, errno: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'NbdError';
    this.code = code;
    this.errno = errno;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Returns true also for an error that another copy of this package created. */
  static is(error: unknown): error is NbdError {
    return error instanceof Error && brand in error;
  }
}

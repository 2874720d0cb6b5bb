import { BdevError, IoFlag, IoType, Status } from '@raidkit/bdev';

const brand = Symbol.for('raidkit.RaidError');

/** Every code that a {@link RaidError} can have. `docs/errors.md` describes each. They are stable within a major version. */
export const raidErrorCodes = [
  'ERR_RAID_INVALID',
  'ERR_RAID_EXISTS',
  'ERR_RAID_NOT_FOUND',
  'ERR_RAID_BUSY',
  'ERR_RAID_MEMBER',
  'ERR_RAID_SUPERBLOCK_FOUND',
  'ERR_RAID_TOO_FEW_MEMBERS',
  'ERR_RAID_MODULE',
  'ERR_RAID_METADATA',
  'ERR_RAID_MEMORY',
] as const;
/** One of {@link raidErrorCodes}. */
export type RaidErrorCode = (typeof raidErrorCodes)[number];

/** A control request was refused or has failed. `errno` is the positive Linux errno that an RPC answer has. */
export class RaidError extends Error {
  /** The kind of refusal or failure. */
  readonly code: RaidErrorCode;
  /** A positive Linux errno. */
  readonly errno: number;

  /** `errno` must be positive. `options.cause` is the error that led to this one. */
  constructor(code: RaidErrorCode, errno: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RaidError';
    this.code = code;
    this.errno = errno;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Whether this is a RaidError, possibly of another copy of this package. */
  static is(error: unknown): error is RaidError {
    return error instanceof Error && brand in error;
  }
}

/** Returns the I/O status for this error: ENOSPC if a device refused for lack of space, else EIO. */
export function statusOf(error: unknown): Status {
  const isOurs = BdevError.is(error) || RaidError.is(error);
  return isOurs && error.errno === Status.NoSpace ? Status.NoSpace : Status.IoError;
}

/**
 * Whether this error of a device may mean that earlier writes are lost. It may if the failed I/O was a flush or a write with
 * FUA, if it timed out, or if the I/O is unknown. Any other failed write concerns its own blocks alone, because the device
 * answered.
 */
export function mayHaveLostWrites(error: unknown): boolean {
  if (!BdevError.is(error) || error.io === undefined || error.errno === Status.TimedOut) return true;
  const { flags, type } = error.io;
  return type === IoType.Flush || (flags & IoFlag.ForceUnitAccess) !== 0;
}

const passingErrnos: ReadonlySet<Status> = new Set([
  Status.IoError,
  Status.Gone,
  Status.NoMemory,
  Status.NoDevice,
  Status.NoSpace,
  Status.TimedOut,
]);

/** For an I/O: the device does not accept writes at present. For anything else: the operator must act. */
const refusalErrnos: ReadonlySet<Status> = new Set([Status.NotPermitted, Status.ReadOnly]);

/** Whether the same operation may succeed later without the operator acting: a device error, or a lack of memory or space. */
export function mayPass(error: unknown): boolean {
  if (!RaidError.is(error) && !BdevError.is(error)) return false;
  const isOfDevice = error.code === 'ERR_RAID_METADATA' || error.code === 'ERR_BDEV_IO';
  if (isOfDevice && refusalErrnos.has(error.errno)) return true;
  return error.code === 'ERR_RAID_BUSY' || passingErrnos.has(error.errno);
}

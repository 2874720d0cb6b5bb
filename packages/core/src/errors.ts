import { BdevError, IoFlag, IoType, Status } from '@raidkit/bdev';

const brand = Symbol.for('raidkit.RaidError');

/** Every code that a {@link RaidError} can have; `docs/errors.md` has a heading for each. Stable within a major version. */
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

/** A refusal or failure of a control request. `errno` is the positive Linux number that RPC answers with. */
export class RaidError extends Error {
  /** What kind of refusal or failure it is. */
  readonly code: RaidErrorCode;
  /** A positive Linux errno. */
  readonly errno: number;

  constructor(code: RaidErrorCode, errno: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RaidError';
    this.code = code;
    this.errno = errno;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Also true for an error made by another copy of this package. */
  static is(error: unknown): error is RaidError {
    return error instanceof Error && brand in error;
  }
}

/** The status of an I/O that failed for this: ENOSPC where a device refused for lack of space, else EIO. */
export function statusOf(error: unknown): Status {
  const isOurs = BdevError.is(error) || RaidError.is(error);
  return isOurs && error.errno === Status.NoSpace ? Status.NoSpace : Status.IoError;
}

/**
 * Whether what was written before may be lost where a device has failed for this: it was to end on stable media, or it is not
 * known what it was. Any other write has failed for its own blocks alone, once the device has answered.
 */
export function mayHaveLostWrites(error: unknown): boolean {
  if (!BdevError.is(error) || error.io === undefined || error.errno === Status.TimedOut) return true;
  const { flags, type } = error.io;
  return type === IoType.Flush || (flags & IoFlag.ForceUnitAccess) !== 0;
}

/** EIO, ENXIO, ENOMEM, ENODEV, ENOSPC, ETIMEDOUT. */
const passingErrnos: ReadonlySet<number> = new Set([5, 6, 12, 19, 28, 110]);

/** EPERM, EROFS: of an I/O, that the device takes no writes for now; of anything else that a person must do something. */
const refusalErrnos: ReadonlySet<number> = new Set([1, 30]);

/** Whether what failed for this may succeed later without an action of the operator: a device's fault, a lack of memory or room. */
export function mayPass(error: unknown): boolean {
  if (!RaidError.is(error) && !BdevError.is(error)) return false;
  const isOfDevice = error.code === 'ERR_RAID_METADATA' || error.code === 'ERR_BDEV_IO';
  if (isOfDevice && refusalErrnos.has(error.errno)) return true;
  return error.code === 'ERR_RAID_BUSY' || passingErrnos.has(error.errno);
}

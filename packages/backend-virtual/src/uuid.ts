import { BdevError, Status, isUuid, nullUuid } from '@raidkit/bdev';
import { v5 } from 'uuid';

/**
 * The uuid that was asked for, in lower case; `undefined` if none was, for which the null uuid stands too.
 */
export function givenUuid(uuid: string | undefined): string | undefined {
  if (uuid === undefined) return undefined;
  const lower = uuid.toLowerCase();
  if (!isUuid(lower)) {
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `${JSON.stringify(uuid)} is not a uuid`);
  }
  return lower === nullUuid ? undefined : lower;
}

/** The version 5 uuid that `namespace` and the 16 bytes of `uuid` always give. */
export function derivedUuid(namespace: string, uuid: string): string {
  return v5(Buffer.from(uuid.replaceAll('-', ''), 'hex'), namespace);
}

import { BdevError, Status, isUuid, nullUuid } from '@raidkit/bdev';
import { v5 } from 'uuid';

/** The requested uuid in lower case; `undefined` for no uuid or the null uuid. */
export function givenUuid(uuid: string | undefined): string | undefined {
  if (uuid === undefined) return undefined;
  const lower = uuid.toLowerCase();
  if (!isUuid(lower)) {
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `${JSON.stringify(uuid)} is not a uuid`);
  }
  return lower === nullUuid ? undefined : lower;
}

/** Returns the version 5 uuid of the 16 bytes of `uuid` in `namespace`. */
export function derivedUuid(namespace: string, uuid: string): string {
  return v5(Buffer.from(uuid.replaceAll('-', ''), 'hex'), namespace);
}

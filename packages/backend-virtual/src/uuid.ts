import { BdevError, Status } from '@raidkit/bdev';
import type { Runtime } from '@raidkit/bdev';
import { v4, v5 } from 'uuid';

const nilUuid = '00000000-0000-0000-0000-000000000000';
const uuidText = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The uuid that was asked for, in lower case; `undefined` if none was, for which the nil uuid stands too. Any version and
 * variant: people number their test devices 00000000-0000-0000-0000-000000000001.
 */
export function givenUuid(uuid: string | undefined): string | undefined {
  if (uuid === undefined) return undefined;
  const lower = uuid.toLowerCase();
  if (!uuidText.test(lower)) {
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `${JSON.stringify(uuid)} is not a uuid`);
  }
  return lower === nilUuid ? undefined : lower;
}

/** A new version 4 uuid. */
export function randomUuid(runtime: Runtime): string {
  return v4({ random: runtime.randomBytes(16) });
}

/** The version 5 uuid that `namespace` and the 16 bytes of `uuid` always give. */
export function derivedUuid(namespace: string, uuid: string): string {
  return v5(Buffer.from(uuid.replaceAll('-', ''), 'hex'), namespace);
}

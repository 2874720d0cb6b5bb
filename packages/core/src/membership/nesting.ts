import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { nullUuid } from '@raidkit/bdev';

/**
 * Volumes as members of other arrays. A volume's blocks belong to its clients, so a superblock there proves nothing. Instead
 * the array that provides the volume records, in its own headers where no client can write, the uuid of the array that uses it.
 */

/** Returns the array whose volume the device is; undefined for any other device. */
export function arrayOfVolume({ arrays }: Pick<RaidContext, 'arrays'>, bdev: Bdev): RaidArray | undefined {
  for (const array of arrays.values()) if (array.bdev === bdev) return array;
  return undefined;
}

/** Whether the device is a volume that no array uses, so that a superblock on it is clients' data. */
export function isClientsVolume(ctx: RaidContext, bdev: Bdev): boolean {
  const inner = arrayOfVolume(ctx, bdev);
  return inner !== undefined && (inner.outerUuid === null || inner.outerUuid === nullUuid);
}

/**
 * If the device is a volume, records that the array with this uuid uses it, or with the null uuid that none does. Resolves to
 * the former uuid when that is on stable media of the volume's own members; to null for other devices. Rejects if it cannot be
 * recorded; nothing changes then. If the members have no headers, it is known only until the array ends.
 */
export async function recordOuter(ctx: RaidContext, bdev: Bdev, outerUuid: string | null): Promise<string | null> {
  const inner = arrayOfVolume(ctx, bdev);
  if (inner === undefined) return null;
  const before = inner.outerUuid;
  if (before === outerUuid) return before;
  inner.setOuterUuid(outerUuid);
  try {
    await inner.lifecycle.whileBusy(inner.metadata.update());
  } catch (error) {
    if (inner.outerUuid === outerUuid) inner.setOuterUuid(before);
    throw error;
  }
  return before;
}

/**
 * Calls {@link recordOuter} before the device becomes a member. Not needed without superblocks: such an array is recreated by
 * naming its members.
 */
export async function declareMember(ctx: RaidContext, array: RaidArray, bdev: Bdev): Promise<string | null> {
  if (array.store === null) return null;
  return array.lifecycle.whileBusy(recordOuter(ctx, bdev, array.uuid));
}

/** The device did not become a member: restores the former record, if that can be written. */
export async function undeclareMember(ctx: RaidContext, array: RaidArray, bdev: Bdev, before: string | null): Promise<void> {
  const inner = arrayOfVolume(ctx, bdev);
  if (array.store === null || inner?.outerUuid !== array.uuid || before === array.uuid) return;
  await recordOuter(ctx, bdev, before).catch((error: unknown) => {
    const message = `the volume is still recorded as a member of array ${array.name}: wipe it to export it`;
    inner.log.error({ ...inner.logFields(), err: error }, message);
  });
}

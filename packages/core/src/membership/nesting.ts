import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { nullUuid } from '@raidkit/bdev';

/**
 * Volumes as members of other arrays. What a volume holds is its clients', also where a superblock would be, so a superblock
 * there says nothing. The array below says it: in its own headers, where no client of the volume writes, it has the uuid of the
 * array that its volume is a member of.
 */

/** The array whose volume the device is; undefined for any other device. */
export function arrayOfVolume({ arrays }: Pick<RaidContext, 'arrays'>, bdev: Bdev): RaidArray | undefined {
  for (const array of arrays.values()) if (array.bdev === bdev) return array;
  return undefined;
}

/** Whether the device is a volume on which a superblock is data, and not the word of an array. */
export function isClientsVolume(ctx: RaidContext, bdev: Bdev): boolean {
  const inner = arrayOfVolume(ctx, bdev);
  return inner !== undefined && (inner.outerUuid === null || inner.outerUuid === nullUuid);
}

/**
 * If the device is a volume, puts on record that it is a member of this array, or with the null uuid of none. Resolves when that is on
 * stable media of the volume's own members, with what was on record before; null for any other device. Rejects, with nothing
 * changed, if it cannot be recorded. An array whose members have no headers knows it until it ends.
 */
export async function recordOuter(ctx: RaidContext, bdev: Bdev, outerUuid: string | null): Promise<string | null> {
  const inner = arrayOfVolume(ctx, bdev);
  if (inner === undefined) return null;
  const before = inner.outerUuid;
  if (before === outerUuid) return before;
  inner.outerUuid = outerUuid;
  try {
    await inner.lifecycle.whileBusy(inner.metadata.update());
  } catch (error) {
    if (inner.outerUuid === outerUuid) inner.outerUuid = before;
    throw error;
  }
  return before;
}

/** {@link recordOuter}, before the device becomes the array's member. Without superblocks the array is made again by a call that names its members. */
export async function declareMember(ctx: RaidContext, array: RaidArray, bdev: Bdev): Promise<string | null> {
  if (array.store === null) return null;
  return array.lifecycle.whileBusy(recordOuter(ctx, bdev, array.uuid));
}

/** The device did not become the array's member: what was on record before is again, as far as that can be written. */
export async function undeclareMember(ctx: RaidContext, array: RaidArray, bdev: Bdev, before: string | null): Promise<void> {
  const inner = arrayOfVolume(ctx, bdev);
  if (array.store === null || inner?.outerUuid !== array.uuid || before === array.uuid) return;
  await recordOuter(ctx, bdev, before).catch((error: unknown) => {
    const message = `it is still on record that the volume is a member of array ${array.name}: wipe it to have it exported`;
    inner.log.error({ ...inner.logFields(), err: error }, message);
  });
}

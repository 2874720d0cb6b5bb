import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import { nullUuid, Status } from '@raidkit/bdev';
import type { SuperblockStore } from '../format/store.js';
import { arrayOfVolume, recordOuter } from '../membership/nesting.js';

/** Clears the array's superblocks from unclaimed devices. Rejects, after all have been tried, if one could not be cleared. */
export async function clearSuperblocks(
  ctx: RaidContext,
  { name, uuid }: RaidArray,
  store: SuperblockStore,
  members: readonly Bdev[],
): Promise<void> {
  const results = await Promise.allSettled(
    members.map(async (bdev) => {
      const descriptor = ctx.registry.open(bdev, { writable: true });
      try {
        descriptor.claim(`deleting raid array ${name}`);
        const found = await store.read(descriptor);
        if (found.kind !== 'found' || found.record.uuid === uuid) await store.clear(descriptor);
        await undeclare(ctx, bdev, uuid);
      } finally {
        descriptor.close();
      }
    }),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** Records that the volume is not a member of any array, if it was recorded as a member of this one. */
export async function undeclare(ctx: RaidContext, bdev: Bdev, outerUuid: string): Promise<void> {
  if (arrayOfVolume(ctx, bdev)?.outerUuid === outerUuid) await recordOuter(ctx, bdev, nullUuid);
}

/** Erases what an array has recorded at the start of an unclaimed device: superblock, headers, map and journal. */
export async function wipe(ctx: RaidContext, bdevName: string): Promise<void> {
  const { registry, store } = ctx;
  if (store === null) throw new RaidError('ERR_RAID_INVALID', Status.Invalid, 'there is no superblock store');
  const descriptor = registry.open(bdevName, { writable: true });
  try {
    descriptor.claim('wiping');
    await store.clear(descriptor);
    await recordOuter(ctx, descriptor.bdev, nullUuid);
  } finally {
    descriptor.close();
  }
}

import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { RaidArrays, SuperblockStore } from '@raidkit/core';
import type { ExaminePolicy } from './examine-policy.js';
import type { MemberFinder } from './exports.js';

/** Time that a volume has for the reads that show whether it carries a superblock, in milliseconds. */
const readTimeoutMs = 5000;

/**
 * Finds out of what a volume is a member: what has claimed it, an array that waits for it, or an array that the headers below
 * the volume, or the configuration, name. What is written on the volume counts only if none of these says anything: the volume
 * is held back then until one does.
 */
export function memberFinder(
  registry: BdevRegistry,
  arrays: RaidArrays,
  store: SuperblockStore,
  examining: ExaminePolicy,
): MemberFinder {
  const isKnown = (bdev: Bdev): string | null => {
    if (bdev.claimedBy !== null) return bdev.claimedBy;
    if (examining.isDeclared(bdev)) return 'an array, by the configuration';
    const array = arrays
      .list('configuring')
      .find(
        ({ isAssembled, slots }) =>
          !isAssembled && slots.some((slot) => slot.awaitedName === bdev.name || slot.uuid === bdev.uuid),
      );
    return array === undefined ? null : `raid array ${array.name}`;
  };
  return async (bdev) => {
    const known = isKnown(bdev);
    if (known !== null) return known;
    const outerUuid = arrays.ofVolume(bdev)?.outerUuid ?? null;
    if (outerUuid === nullUuid) return null;
    if (outerUuid !== null) return `raid array ${arrays.list().find(({ uuid }) => uuid === outerUuid)?.name ?? outerUuid}`;
    const descriptor = registry.open(bdev, { ioTimeoutMs: readTimeoutMs });
    try {
      const found = await store.read(descriptor);
      if (found.kind === 'found' && found.record.slots.some(({ uuid }) => uuid === bdev.uuid)) {
        return `raid array ${found.record.name}, if the superblock on it is one and no client's data: bdev_examine says that it is, raidkit_wipe clears it`;
      }
    } finally {
      descriptor.close();
    }
    // From now on clients may write there what they like.
    await arrays.declareNoMember(bdev);
    return isKnown(bdev);
  };
}

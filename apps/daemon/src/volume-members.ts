import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { RaidArrays, SuperblockStore } from '@raidkit/core';
import type { ExaminePolicy } from './examine-policy.js';
import type { MemberFinder } from './exports.js';

/** Time limit in milliseconds for reading a volume to see whether it has a superblock. */
const readTimeoutMs = 5000;

/**
 * Returns a function that finds what a volume is a member of: of the array that has claimed it or waits for it, or of one that
 * the headers below the volume, or the configuration, name. A superblock on the volume counts only if none of these applies:
 * the volume is then held back until one does.
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
        return `raid array ${found.record.name}, if its superblock was not written by a client: bdev_examine confirms it, raidkit_wipe clears it`;
      }
    } finally {
      descriptor.close();
    }
    // From now on the volume's contents are its clients'.
    await arrays.declareNoMember(bdev);
    return isKnown(bdev);
  };
}

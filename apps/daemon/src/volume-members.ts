import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import type { RaidArrays, SuperblockStore } from '@raidkit/core';
import type { MemberFinder } from './exports.js';

/** Time that a volume has for the reads that show whether it carries a superblock, in milliseconds. */
const readTimeoutMs = 5000;

/**
 * Finds out of what a volume is a member: what has claimed it, an array that waits for it, or an array whose superblock it
 * carries, whether that array is known here or not.
 */
export function memberFinder(registry: BdevRegistry, arrays: RaidArrays, store: SuperblockStore): MemberFinder {
  const isKnown = (bdev: Bdev): string | null => {
    if (bdev.claimedBy !== null) return bdev.claimedBy;
    const array = arrays
      .list('configuring')
      .find(({ slots }) => slots.some((slot) => slot.awaitedName === bdev.name || slot.uuid === bdev.uuid));
    return array === undefined ? null : `raid array ${array.name}`;
  };
  return async (bdev) => {
    const known = isKnown(bdev);
    if (known !== null) return known;
    const descriptor = registry.open(bdev, { ioTimeoutMs: readTimeoutMs });
    try {
      const found = await store.read(descriptor);
      return found.kind === 'found' && found.record.slots.some(({ uuid }) => uuid === bdev.uuid)
        ? `raid array ${found.record.name}`
        : isKnown(bdev);
    } finally {
      descriptor.close();
    }
  };
}

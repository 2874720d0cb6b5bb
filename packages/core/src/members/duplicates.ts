import type { Slot } from './slot.js';

/**
 * A superblock must not have the same uuid in two slots, so a member that moved to this slot is forgotten in its former one.
 */
export function dropDuplicateUuid(slots: readonly Slot[], slot: Slot): void {
  for (const other of slots) {
    if (other !== slot && other.descriptor === null && other.recordedUuid === slot.recordedUuid) other.forgetRecordedUuid();
  }
}

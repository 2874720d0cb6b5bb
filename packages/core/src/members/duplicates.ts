import { nullUuid } from '@raidkit/bdev';
import type { Slot } from './slot.js';

/** A member that was in another slot once is remembered in its new one alone: a superblock must not name it twice. */
export function dropDuplicateUuid(slots: readonly Slot[], slot: Slot): void {
  for (const other of slots) {
    if (other !== slot && other.descriptor === null && other.recordedUuid === slot.recordedUuid) other.recordedUuid = nullUuid;
  }
}

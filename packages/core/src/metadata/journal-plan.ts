import type { ExtensionHeader } from '../format/store.js';
import type { Slot } from '../members/slot.js';
import type { JournalPlan } from './host.js';

/**
 * The journal that goes with the superblock of this number. A header may be one round ahead of it: a crash came before any
 * superblock of that round was written.
 */
export function journalInForce(header: ExtensionHeader, seqNumber: number): JournalPlan {
  return header.seqNumber === seqNumber
    ? { slot: header.journalSlot, epoch: header.journalEpoch }
    : { slot: header.previousJournalSlot, epoch: header.previousJournalEpoch };
}

/**
 * The journal stands for what these slots lack: only its own is without a member. Headers from before the slot was recorded
 * are taken at their word.
 */
export function coversAbsence(slots: readonly Slot[], { slot, epoch }: JournalPlan): boolean {
  if (epoch === 0 || slot < 0) return epoch !== 0;
  return slots.every(({ index, isInSync }) => isInSync === (index !== slot));
}

import type { ExtensionHeader } from '../format/store.js';
import type { Slot } from '../members/slot.js';
import type { JournalPlan } from './host.js';

/**
 * The journal that goes with the superblock of this number. A header may be one round ahead of it: a crash came before any
 * superblock of that round was written.
 */
export function journalInForce(header: ExtensionHeader, seqNumber: number): JournalPlan {
  return header.seqNumber === seqNumber
    ? { slots: header.journalSlots, epoch: header.journalEpoch }
    : { slots: header.previousJournalSlots, epoch: header.previousJournalEpoch };
}

/**
 * The journal stands for what these slots lack: some of its own are without members, and no others. Headers from before its slot
 * was recorded are taken at their word.
 */
export function coversAbsence(slots: readonly Slot[], journal: JournalPlan): boolean {
  if (journal.epoch === 0 || journal.slots.length === 0) return journal.epoch !== 0;
  const absent = slots.filter(({ isInSync }) => !isInSync);
  return absent.length > 0 && absent.every(({ index }) => journal.slots.includes(index));
}

export function isSamePlan(one: JournalPlan, other: JournalPlan): boolean {
  const areSameSlots = one.slots.length === other.slots.length && one.slots.every((slot, i) => slot === other.slots[i]);
  return one.epoch === other.epoch && areSameSlots;
}

import type { ExtensionHeader } from '../format/store.js';
import type { Slot } from '../members/slot.js';
import type { JournalPlan } from './host.js';

/**
 * Returns the journal that belongs to the superblock of this number. A header may be one update ahead of the superblock, if a
 * crash came before the update wrote any superblock.
 */
export function journalInForce(header: ExtensionHeader, seqNumber: number): JournalPlan {
  return header.seqNumber === seqNumber
    ? { slots: header.journalSlots, epoch: header.journalEpoch }
    : { slots: header.previousJournalSlots, epoch: header.previousJournalEpoch };
}

/**
 * Whether the journal covers what the array lacks: some of the journal's slots are without members, and no others. A journal
 * without slots, from before they were recorded, is taken to cover it.
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

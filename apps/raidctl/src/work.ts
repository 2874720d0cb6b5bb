import type { RaidProcessRecord } from '@raidkit/client';

/** What background work fills, also as daemons of before say it. */
interface Filling {
  readonly target: string | null;
  readonly targets?: readonly string[] | undefined;
}

/** Devices that the work fills. */
export function targetsOf({ target, targets }: Filling): string[] {
  return targets === undefined ? (target === null ? [] : [target]) : [...targets];
}

/** As `of A and B`, with a space before it; empty for work that fills none. */
export function ofTargets(work: Filling): string {
  const targets = targetsOf(work);
  return targets.length === 0 ? '' : ` of ${targets.join(' and ')}`;
}

/** Slots that redundancy says were wrong. */
export function wrongSlots({ mismatches = [] }: Pick<RaidProcessRecord, 'mismatches'>): number[] {
  return [...new Set(mismatches.filter((place) => place.is_located).map(({ slot }) => slot))].sort((a, b) => a - b);
}

/** As `, and slot 2 is wrong`; empty where that is not known. */
export function whoIsWrong(record: Pick<RaidProcessRecord, 'mismatches'>): string {
  const slots = wrongSlots(record);
  return slots.length === 0 ? '' : `, and ${slots.length === 1 ? 'slot' : 'slots'} ${slots.join(', ')} had what is wrong`;
}

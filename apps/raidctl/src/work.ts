import type { RaidProcessRecord } from '@raidkit/client';

/** Targets of a background process, as old and new daemons report them. */
interface Filling {
  readonly target: string | null;
  readonly targets?: readonly string[] | undefined;
}

/** Names of the devices that the process fills. */
export function targetsOf({ target, targets }: Filling): string[] {
  return targets === undefined ? (target === null ? [] : [target]) : [...targets];
}

/** The text ` of A and B`; empty for a process without targets. */
export function ofTargets(work: Filling): string {
  const targets = targetsOf(work);
  return targets.length === 0 ? '' : ` of ${targets.join(' and ')}`;
}

/** Slots that redundancy proves to have been wrong. */
export function wrongSlots({ mismatches = [] }: Pick<RaidProcessRecord, 'mismatches'>): number[] {
  return [...new Set(mismatches.filter((place) => place.is_located).map(({ slot }) => slot))].sort((a, b) => a - b);
}

/** The text `, and slot 2 had what is wrong`; empty if it is not known. */
export function whoIsWrong(record: Pick<RaidProcessRecord, 'mismatches'>): string {
  const slots = wrongSlots(record);
  return slots.length === 0
    ? ''
    : `, and ${slots.length === 1 ? 'slot' : 'slots'} ${slots.join(', ')} ${slots.length === 1 ? 'was' : 'were'} wrong`;
}

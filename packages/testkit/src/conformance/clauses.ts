/**
 * Obligations of a level's author, with their numbers in the guide (`docs/guides/write-a-level.md`). A number is never reused.
 */
export const clauses = {
  L01: 'Take arrays of the numbers of slots that the module says, and no others.',
  L02: 'Serve all data without any members that maxMissing and canRun say may be missing, and say no more than that.',
  L03: 'Have the methods that the module declares, and no others.',
  L04: 'Let resize return the same, true geometry for the same members, and change nothing.',
  L05: 'Keep every block where it was when the array grows.',
  L06: 'Give each block of the array a place of its own on the members.',
  L07: 'Write to every slot of a block that hasMember says has a member, and all of it.',
  L08: 'Lock what is changed, from its first block to its last, before anything is read or written for it.',
  L09: 'Ask hasMember in each step, and send parts only where it says so.',
  L10: 'Bring every request to an end.',
  L11: 'Read elsewhere what one member cannot read, and answer an error when no member can.',
  L12: 'Read nothing more into a buffer that a part has been given up on with ETIMEDOUT.',
  L13: 'Ask for the repair of what was read around, in blocks of the member.',
  L14: 'Ask isInconsistent before building on redundancy; of copies that may differ read the first, and write it back.',
  L15: 'Call markInconsistent when a write failed on a member that stays.',
  L16: 'Call markInSync only for redundancy that was made from all of its data.',
  L17: 'Declare truly which slots hold the same, or are worked out from others.',
  L18: 'Work out what any slot must hold from other slots alone, parity too.',
  L19: 'Hand to the journal what absent members will hold, before the write that could leave it undone.',
  L20: 'Leave zeros, with redundancy that agrees, where zeroes are written or blocks unmapped, and nowhere else.',
  L21: 'Call trimmed for blocks that read as zeros afterwards, and for no others.',
  L22: 'Give back in stop what start took.',
  L23: 'Wait when memory is used up, and go on when there is some.',
  L24: 'Throw nowhere but in start.',
  L25: 'Let routeRead, if there is one, name a slot in sync and the blocks there that submitRw reads.',
  L26: 'State in memoryBytes what start takes of the memory, and take no more.',
  L27: 'Go by as many slots as the context has, and let no block of the others move when one comes or goes.',
} as const;

/** Number of a clause, such as `L07`. */
export type ClauseId = keyof typeof clauses;

/** Link to a clause's explanation: a file of the documentation with an anchor. */
export function linkTo(clause: ClauseId): string {
  return `docs/guides/write-a-level.md#${clause.toLowerCase()}`;
}

/** Formats a clause: its number, its text and a link to its explanation. */
export function cite(clause: ClauseId): string {
  return `${clause}: ${clauses[clause]} (${linkTo(clause)})`;
}

/** Clauses that are most likely broken when a simulation breaks a rule, by the first word of the violation. */
export const clausesOfRules: Readonly<Record<string, readonly ClauseId[]>> = {
  'G1/G3': ['L07', 'L08', 'L14', 'L15', 'L18', 'L19', 'L21'],
  G2: ['L06', 'L08', 'L14', 'L16', 'L18', 'L19', 'L20'],
  G7: ['L07', 'L08', 'L16', 'L17', 'L20'],
  G8: ['L02', 'L11', 'L24'],
  G9: ['L10', 'L17', 'L23', 'L24'],
  G10: ['L07'],
  G11: ['L22'],
};

/** Thrown when a clause is broken; the message says how. */
export class ClauseError extends Error {
  readonly clause: ClauseId;

  constructor(clause: ClauseId, message: string) {
    super(message);
    this.name = 'ClauseError';
    this.clause = clause;
  }
}

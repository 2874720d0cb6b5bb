import type { RaidArrayInfo, StatusSnapshot } from '@raidkit/client';
import { findingsOf, otherFindings, plural } from '@raidkit/raidctl/findings';
import type { Finding } from '@raidkit/raidctl/findings';

/** Ranks of health, the worst first. */
export const ranks = ['bad', 'poor', 'busy', 'good'] as const;
export type Rank = (typeof ranks)[number];

interface Health {
  rank: Rank;
  word: string;
}

const healths: Readonly<Record<string, Health>> = {
  failed: { rank: 'bad', word: 'Failed' },
  offline: { rank: 'bad', word: 'Offline' },
  configuring: { rank: 'bad', word: 'Waiting' },
  degraded: { rank: 'poor', word: 'Degraded' },
  rebuilding: { rank: 'busy', word: 'Rebuilding' },
  resyncing: { rank: 'busy', word: 'Resyncing' },
  optimal: { rank: 'good', word: 'Optimal' },
};

const members: Readonly<Record<string, Health>> = {
  current: { rank: 'good', word: 'in sync' },
  unresponsive: { rank: 'poor', word: 'slow' },
  rebuilding: { rank: 'busy', word: 'being rebuilt' },
  missing: { rank: 'bad', word: 'missing' },
  failed: { rank: 'bad', word: 'failed' },
};

export function healthOf(array: RaidArrayInfo): Health {
  return healths[array.ext.health] ?? { rank: 'poor', word: array.ext.health };
}

export function memberHealth(state: string): Health {
  return members[state] ?? { rank: 'poor', word: state };
}

/** A sign for each rank, for people who cannot tell the colours apart. */
export const signs: Readonly<Record<Rank, string>> = { bad: '✕', poor: '▲', busy: '↻', good: '✓' };

/** Sorts arrays by rank, the worst first; arrays of equal rank keep their order. */
export function byUrgency(arrays: readonly RaidArrayInfo[]): RaidArrayInfo[] {
  return arrays.toSorted((a, b) => ranks.indexOf(healthOf(a).rank) - ranks.indexOf(healthOf(b).rank));
}

/** Summarizes the state of all arrays in a few words. */
export function summaryOf({ arrays }: StatusSnapshot): { rank: Rank; text: string } {
  if (arrays.length === 0) return { rank: 'good', text: 'There are no arrays yet' };
  const all = plural(arrays.length, 'array');
  const found = byUrgency(arrays).map(healthOf);
  const rank = found[0]?.rank ?? 'good';
  if (rank === 'good') return { rank, text: `${all}, ${arrays.length === 1 ? '' : 'all '}optimal` };
  const words = [...new Set(found.filter((health) => health.rank !== 'good').map(({ word }) => word))];
  const counts = words.map((word) => `${found.filter((health) => health.word === word).length} ${word.toLowerCase()}`);
  return { rank, text: `${all}: ${counts.join(', ')}` };
}

/** Findings about an array. */
export function findings(snapshot: StatusSnapshot, array: RaidArrayInfo): Finding[] {
  return findingsOf(snapshot, array);
}

export function otherwise(snapshot: StatusSnapshot): Finding[] {
  return otherFindings(snapshot);
}

/** Makes a sentence of a text: a capital first, and a full stop. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

/** The id of an array's element in the page. */
export function placeOf(array: { uuid: string }): string {
  return `array-${array.uuid}`;
}

/** Formats a time of day, with the date if it is another day. */
export function formatTime(time: string | number, now = new Date()): string {
  const date = new Date(time);
  const isToday = date.toDateString() === now.toDateString();
  const day = isToday ? {} : ({ day: 'numeric', month: 'short' } as const);
  return date.toLocaleString('en-GB', { ...day, hour: '2-digit', minute: '2-digit', second: '2-digit' });
}

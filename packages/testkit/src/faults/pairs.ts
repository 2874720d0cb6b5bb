import type { RaidModule } from '@raidkit/core';
import type { Random } from '../random.js';
import { settle } from '../simulation/rest.js';
import type { SimRun } from '../simulation/sim-run.js';
import { comeBack } from '../simulation/trouble.js';
import { goneMs } from './trip.js';
import type { Follow, Struck, Trip, TripKind } from './trip.js';

/** A fault and what follows it. */
export interface Pair {
  readonly id: string;
  readonly kind: TripKind;
  readonly of?: Struck;
  /** Whether it is only for levels that can lose a member. */
  readonly isForRedundancy: boolean;
  readonly follow: (random: Random) => Follow;
}

/** Largest number of operations between a fault and a crash. */
const mostOperations = 20;

export const crashKinds = ['kill', 'cut', 'torn'] as const;

/** Faults that may strike in a start, apart from another crash. */
export const inStarts: readonly TripKind[] = ['eio', 'dead', 'readOnly', 'full', 'hang', 'gone', 'outage'];

/** Number of runs with a crash and something in the start after it that a sample makes of each crash. */
export const sampledStarts = 6;

/** Draws a crash soon after the fault: while it is handled, or while its consequences are recorded. */
export function crashSoon(random: Random): Follow {
  return { kind: random.pick(crashKinds), after: random.int(1, mostOperations) };
}

const pairs: readonly Pair[] = [
  { id: 'an error, and a crash', kind: 'eio', isForRedundancy: false, follow: crashSoon },
  { id: 'a device goes away, and a crash', kind: 'gone', isForRedundancy: false, follow: crashSoon },
  { id: 'an error of the target, and a crash', kind: 'eio', of: 'target', isForRedundancy: true, follow: crashSoon },
  { id: 'two errors in a stripe', kind: 'eio', isForRedundancy: true, follow: () => ({ kind: 'stripe' }) },
  {
    id: 'an error, and the loss of another member at rest',
    kind: 'eio',

    isForRedundancy: true,
    follow: () => ({ kind: 'rest' }),
  },
  { id: 'a record that is lost, and a crash', kind: 'lost', of: 'records', isForRedundancy: true, follow: crashSoon },
];

/** Returns the pairs that are meaningful for the level. */
export function pairsFor(module: RaidModule): readonly Pair[] {
  return pairs.filter(({ isForRedundancy }) => !isForRedundancy || module.redundancy !== 'none');
}

/**
 * Removes another member once everything is at rest and consistent: the member that was struck must have all data without it.
 */
export async function loseAnother(run: SimRun, trip: Trip): Promise<void> {
  const others = run.disks.filter((disk) => disk !== trip.struck && run.standing.good.has(disk));
  const lost = others[trip.count % Math.max(1, others.length)];
  if (lost === undefined || run.stack === null || run.isTolerant || !run.standing.mayLose(lost)) return;
  run.world.trace(`== ${lost.name} is lost at rest`);
  run.mark('another member is lost at rest');
  lost.vanish();
  await run.call(`pulling ${lost.name} out`, run.stack.pullOut(lost));
  await run.readAll(`without ${lost.name}`);
  await run.world.sleep(goneMs);
  comeBack(run, lost, 'same');
  await settle(run);
}

import type { PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';

/** Regions become clean, and headers are written, this long after a write, or twice as long. */
const recordsChangeMs = 5000;

/**
 * Draws, for most of the seeds in which errors are allowed, moments in which all disks fail writes, as if they had one controller:
 * while users write, when what is on record changes, or at any time. Uses a random stream of its own.
 */
export function drawOutages(seed: number, shape: SimShape, items: readonly PlanItem[], totalMs: number): PlanItem[] {
  const random = new Random(seed, 23);
  if (!shape.isOverBudget || random.chance(0.3)) return [];
  const writes = items.filter(({ kind }) => kind === 'io');
  const near = (): number => (writes.length === 0 ? random.unit() * totalMs : random.pick(writes).at);
  const places: (() => number)[] = [
    () => near() + random.exponential(2),
    () => near() + random.pick([1, 2]) * recordsChangeMs + random.exponential(100) - 50,
    () => random.unit() * totalMs,
  ];
  return Array.from({ length: random.int(1, 6) }, () => ({
    kind: 'outage',
    at: Math.max(0, random.pick(places)()),
    ms: random.pick([0.5, 5, 50]) + random.exponential(5),
    failsFlushes: random.chance(0.2),
  }));
}

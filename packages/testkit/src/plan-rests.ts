import type { PlanItem } from './plan-items.js';
import { Random } from './random.js';

/** Moments in the middle of it at which everything is looked at; in a third of the seeds. From a stream of its own. */
export function drawRests(seed: number, totalMs: number): PlanItem[] {
  const random = new Random(seed, 6);
  if (!random.chance(0.33)) return [];
  return Array.from({ length: random.int(1, 2) }, () => ({ kind: 'rest', at: random.unit() * totalMs }));
}

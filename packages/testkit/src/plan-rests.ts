import type { PlanItem } from './plan-items.js';
import { Random } from './random.js';

/** Draws moments at which everything is checked during the run, in a third of the seeds. Uses a random stream of its own. */
export function drawRests(seed: number, totalMs: number): PlanItem[] {
  const random = new Random(seed, 6);
  if (!random.chance(0.33)) return [];
  return Array.from({ length: random.int(1, 2) }, () => ({ kind: 'rest', at: random.unit() * totalMs }));
}

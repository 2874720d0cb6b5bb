import type { PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';

/**
 * Draws shortages for a quarter of the seeds: other users hold all buffers for a while, and thin disks have no more space for
 * unwritten blocks: one disk, or all where errors are allowed.
 */
export function drawShortages(seed: number, shape: SimShape, totalMs: number): PlanItem[] {
  const random = new Random(seed, 25);
  const items: PlanItem[] = [];
  const at = (): number => random.unit() * totalMs;
  if (random.chance(0.15)) {
    for (let left = random.int(1, 4); left > 0; left--)
      items.push({ kind: 'hoard', at: at(), ms: random.exponential(totalMs / 4), free: random.pick([0, 0, 1, 3]) });
  }
  if (random.chance(0.15)) {
    const first = random.int(0, shape.numDisks - 1);
    const count = random.chance(0.4) ? shape.numDisks : 1;
    const moment = at();
    const ms = random.exponential(totalMs / 2);
    for (let index = 0; index < count; index++) {
      const disk = (first + index) % shape.numDisks;
      items.push({ kind: 'fault', at: moment, disk, fault: 'thin', ms, amount: random.unit() });
    }
  }
  return items;
}

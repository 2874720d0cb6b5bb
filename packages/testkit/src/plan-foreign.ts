import type { RaidModule } from '@raidkit/core';
import type { CutMode } from './disk-faults.js';
import type { PlanItem } from './plan-items.js';
import { Random } from './random.js';

/**
 * Draws, for an eighth of the seeds, runs of the array by another program by SPDK's rules, followed by starts in close
 * succession, some of them after crashes. Uses a random stream of its own.
 */
export function drawForeign(seed: number, module: RaidModule, totalMs: number): PlanItem[] {
  const random = new Random(seed, 8);
  if (!random.chance(0.125)) return [];
  const items: PlanItem[] = [];
  const hows = ['power', 'kill', 'stop'] as const;
  for (let left = random.int(1, 2); left > 0; left--) {
    let at = random.unit() * totalMs;
    items.push({
      kind: 'foreign',
      at,
      before: random.pick(hows),
      how: random.pick(hows),
      mode: random.int(0, 3) as CutMode,
      writes: random.pick([0, 1, 4, 20]),
    });
    for (let starts = random.int(1, 3); starts > 0; starts--) {
      at += random.pick([0, 1, 5, 50, 3000, 7000]) + random.exponential(10);
      items.push({ kind: 'restart', at, how: random.pick(hows), mode: random.int(0, 3) as CutMode, downMs: 10, absent: -1 });
    }
  }
  return module.redundancy !== 'none' || random.chance(0.3) ? items : [];
}

import type { RaidModule } from '@raidkit/core';
import { lieKinds, processActions } from './plan-items.js';
import type { PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';

/**
 * Draws extra items for half of the seeds: spares, background processes and their control, growth, read-only disks, silent
 * corruption, and a moment at which faults end although users go on. Uses a random stream of its own.
 */
export function drawExtras(seed: number, module: RaidModule, shape: SimShape, totalMs: number): PlanItem[] {
  const random = new Random(seed, 3);
  if (random.chance(0.5)) return [];
  const items: PlanItem[] = [];
  const isRedundant = module.redundancy !== 'none';
  const disk = (): number => random.int(0, shape.numDisks - 1);
  const at = (): number => random.unit() * totalMs;
  const repeat = (most: number, make: () => PlanItem): void => {
    for (let left = random.int(0, most); left > 0; left--) items.push(make());
  };
  if (random.chance(0.2))
    repeat(2, () => ({
      kind: 'fault',
      at: at(),
      disk: disk(),
      fault: 'readOnly',
      ms: random.exponential(totalMs / 4),
      amount: 1,
    }));
  if (random.chance(0.2)) items.push({ kind: 'fault', at: at(), disk: disk(), fault: 'hung', ms: 200_000, amount: 1 });
  if (module.manifest.resize && random.chance(0.2))
    items.push({ kind: 'grow', at: at(), numBlocks: (1 << random.int(0, 9)) * 4 });
  if (random.chance(0.3)) items.push({ kind: 'calm', at: at() });
  if (!isRedundant) return items;
  if (shape.numDisks > shape.numSlots && random.chance(0.5)) items.push({ kind: 'spare', at: at(), disk: shape.numDisks - 1 });
  if (shape.numDisks > shape.numSlots && random.chance(0.4)) items.push({ kind: 'replace', at: at(), disk: disk() });
  if (random.chance(0.4)) repeat(6, () => ({ kind: 'process', at: at(), action: random.pick(processActions) }));
  // Late in the run, because what users write next would overwrite it.
  if (random.chance(0.3))
    repeat(3, () => ({ kind: 'lie', at: totalMs - at() / 4, disk: disk(), how: random.pick(lieKinds), place: random.unit() }));
  return items;
}

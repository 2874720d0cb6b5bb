import type { RaidModule } from '@raidkit/core';
import type { PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';
import { canGetCopies, slotsOfTwoGroups } from './slots.js';

/** A shape, and items that change its slots. */
export interface WithSlots {
  shape: SimShape;
  items: PlanItem[];
}

/**
 * In a quarter of the seeds slots are added and removed, if the level supports that, with one or two additional disks. Uses a
 * random stream of its own.
 */
export function drawSlots(seed: number, module: RaidModule, shape: SimShape, totalMs: number): WithSlots {
  const random = new Random(seed, 15);
  if (module.addedSlot !== 'copy' || !random.chance(0.25)) return { shape, items: [] };
  const extra = random.int(1, 2);
  const hasGroups = module.redundancy !== 'none' && module.canRun !== undefined;
  // A single group is a mirror.
  const numSlots = hasGroups ? Math.max(shape.numSlots, slotsOfTwoGroups(module, shape.levelOptions)) : shape.numSlots;
  // Levels without groups refuse further copies; this is tried now and then.
  if (hasGroups && !canGetCopies(module, numSlots, shape.levelOptions) && !random.chance(0.2)) return { shape, items: [] };
  const more = extra + numSlots - shape.numSlots;
  const last = shape.numDisks - 1;
  const repeated = <T>(list: readonly T[]): T[] => list.concat(Array<T[]>(more).fill(list.slice(last)).flat());
  const { lacking } = shape;
  const larger: SimShape = {
    ...shape,
    numSlots,
    numDisks: shape.numDisks + more,
    memberBlocks: repeated(shape.memberBlocks),
    latencies: repeated(shape.latencies),
    ...(lacking === undefined ? {} : { lacking: repeated(lacking) }),
  };
  const disk = (): number => random.int(0, larger.numDisks - 1);
  const items = Array.from({ length: random.int(1, 6) }, (): PlanItem => ({
    kind: random.chance(0.5) ? 'copy' : 'shrink',
    at: random.unit() * totalMs,
    disk: disk(),
  }));
  // With groups only a copy that was added, or a slot that it copies, can be removed: so it is added first, and a member is
  // removed when it has been rebuilt.
  if (hasGroups) {
    const at = random.unit() * 0.3 * totalMs;
    items.unshift({ kind: 'copy', at, disk: larger.numDisks - 1 });
    for (let more = random.int(0, 3); more > 0; more--)
      items.push({ kind: 'shrink', at: at + random.unit() * (totalMs - at), disk: random.pick([0, 1, disk()]) });
  }
  // A crash while this happens.
  if (random.chance(0.5)) {
    const [first] = items;
    const at = (first?.at ?? 0) + random.exponential(random.pick([1, 20]));
    const how = random.chance(0.7) ? 'power' : 'kill';
    items.push({ kind: 'restart', at, how, mode: random.pick([0, 1, 2, 3] as const), downMs: 10, absent: -1 });
  }
  return { shape: larger, items };
}

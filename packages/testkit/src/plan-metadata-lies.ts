import type { RaidModule } from '@raidkit/core';
import { metadataAreas } from './metadata-areas.js';
import { lieKinds } from './plan-items.js';
import type { LiePlace, PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';

/**
 * In a quarter of the seeds metadata is corrupted silently: bits flip there, and writes of it are lost or misdirected. Uses a
 * random stream of its own. `isConverted`: checksums are turned on and off.
 */
export function drawMetadataLies(
  seed: number,
  module: RaidModule,
  shape: SimShape,
  totalMs: number,
  isConverted: boolean,
): PlanItem[] {
  // The first stream decides whether checksums are turned on and off.
  const random = new Random(seed, isConverted ? 22 : 17);
  // Without copies or checksums nothing can prove metadata right, even if only for a while.
  const isProvable = module.redundancy !== 'none' || (shape.integrity !== undefined && !isConverted);
  if (!random.chance(0.25) || !isProvable || shape.kind === 'no superblock' || shape.isOverBudget) return [];
  const places: LiePlace[] = [...(Object.keys(metadataAreas) as (keyof typeof metadataAreas)[])];
  if (shape.integrity !== undefined) places.push('checksums', 'checksums');
  // One disk at a time; another one follows when all metadata of the first has been rewritten.
  const disks = Array.from({ length: random.int(1, 2) }, () => random.int(0, shape.numDisks - 1));
  return Array.from({ length: random.int(1, 8) }, () => {
    const how = random.pick(lieKinds);
    return {
      kind: 'metadataLie',
      at: random.unit() * totalMs,
      disk: random.pick(disks),
      how,
      where: how === 'misdirected' && random.chance(0.4) ? 'data' : random.pick(places),
      count: random.pick([1, 1, 2, 5]),
      onto: random.pick([...places, 'data']),
      place: random.unit(),
      isAtCrash: random.chance(0.3),
    };
  });
}

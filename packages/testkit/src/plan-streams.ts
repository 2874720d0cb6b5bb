import { IoFlag, IoType } from '@raidkit/bdev';
import type { RaidModule } from '@raidkit/core';
import type { PlanItem, SimShape } from './plan-items.js';
import { Random } from './random.js';

/** Base number of the users who write streams; the plan's other users have lower numbers. */
const streamer = 110;
const mostStreamers = 2;

/**
 * Draws, for half of the seeds of levels with parity, users who write sequentially with several writes in flight, and a user
 * who writes, zeroes or reads among them.
 */
export function drawStreams(seed: number, module: RaidModule, { blockSize }: SimShape, totalMs: number): PlanItem[] {
  const random = new Random(seed, 24);
  if (module.redundancy !== 'parity' || random.chance(0.5)) return [];
  const items: PlanItem[] = [];
  const perBlock = blockSize / 512;
  for (let user = random.int(1, mostStreamers); user > 0; user--) {
    const zone = random.pick([0, random.unit()]);
    const step = Math.ceil(random.pick([1, 4, 8, 32]) / perBlock);
    const inRow = random.pick([2, 3, 8, 16]);
    const hasFua = random.chance(0.2);
    let at = random.unit() * totalMs;
    let delta = random.int(0, 16);
    for (let rows = random.int(2, 8); rows > 0; rows--) {
      const flags = hasFua && random.chance(0.3) ? IoFlag.ForceUnitAccess : 0;
      items.push({ kind: 'io', at, client: streamer + user, type: IoType.Write, flags, zone, delta, numBlocks: step, inRow });
      if (random.chance(0.4)) {
        const types = [IoType.Write, IoType.WriteZeroes, IoType.Read, IoType.Flush];
        const type = random.pick(module.manifest.nullPayload ? types : [IoType.Write, IoType.Read, IoType.Flush]);
        const inside = delta + random.int(0, step * inRow - 1);
        const numBlocks = random.int(1, 2 * step);
        items.push({ kind: 'io', at, client: streamer + user + mostStreamers, type, flags: 0, zone, delta: inside, numBlocks });
      }
      at += random.pick([0, 0, random.exponential(2)]);
      delta += step * inRow;
    }
  }
  return items;
}

import { IoType } from '@raidkit/bdev';
import type { RaidModule } from '@raidkit/core';
import type { CutMode } from './disk-faults.js';
import type { PlanItem } from './plan-items.js';
import { Random } from './random.js';

/** More blocks than any simulated volume has. */
const wholeVolume = 1 << 24;
/** Numbers of users who only do this; the plan may have others. */
const trimmer = 100;
const writer = 101;

/**
 * Draws, for a third of the seeds of arrays with a bitmap, users who unmap whole regions, at once or piece by piece, and write
 * there again, immediately or when the regions have become idle, with a power cut at about that time. Uses a random stream of
 * its own.
 */
export function drawTrims(seed: number, module: RaidModule, totalMs: number): PlanItem[] {
  const random = new Random(seed, 4);
  if (module.redundancy === 'none' || !module.manifest.nullPayload || random.chance(0.65)) return [];
  const items: PlanItem[] = [];
  const io = (at: number, client: number, type: IoType, zone: number, delta: number, numBlocks: number): void => {
    items.push({ kind: 'io', at, client, type, flags: 0, zone, delta, numBlocks });
  };
  for (let left = random.int(1, 3); left > 0; left--) {
    const at = random.unit() * totalMs;
    const pieces = random.pick([1, 1, 2, 5]);
    const pieceBlocks = pieces === 1 ? random.pick([wholeVolume, wholeVolume, 4096]) : random.int(256, 2048);
    for (let piece = 0; piece < pieces; piece++) io(at, trimmer, IoType.Unmap, 0, piece * pieceBlocks, pieceBlocks);
    for (let writes = random.int(0, 4); writes > 0; writes--) {
      const waitMs = random.pick([0, 1, 5, 5000, 7000, 11_000]) + random.exponential(5);
      io(
        at + waitMs,
        writer,
        random.pick([IoType.Write, IoType.Write, IoType.Read, IoType.WriteZeroes, IoType.Flush]),
        random.pick([0, 0, random.unit()]),
        random.int(0, 64),
        random.int(1, 32),
      );
    }
    if (!random.chance(0.3)) continue;
    const mode = random.int(0, 3) as CutMode;
    items.push({
      kind: 'restart',
      at: at + random.pick([5, 5000, 6000, 10_000]) + random.exponential(20),
      how: random.pick(['power', 'kill', 'stop']),
      mode,
      downMs: 10,
      absent: -1,
    });
  }
  return items;
}

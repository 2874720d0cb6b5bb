import { IoType } from '@raidkit/bdev';
import type { PlanItem } from '../plan-items.js';
import { lie } from './lies.js';
import { restart } from './restart.js';
import type { SimRun } from './sim-run.js';

/** Maximum number of reads until one goes to the corrupted member. */
const mostReads = 4;

type Crash = NonNullable<(PlanItem & { kind: 'lie' })['crash']>;

/**
 * A bit flips in a region that is being written, so that its checksum proves nothing after a crash. A user reads it and gets an
 * answer from redundancy, and the array crashes, perhaps before it is healed: later reads must return the same data or an
 * error.
 */
export async function lieAndCrash(run: SimRun, item: PlanItem & { kind: 'lie' }, crash: Crash): Promise<void> {
  const before = run.sumLies.last;
  const { volume } = run;
  const array = run.array();
  if (!run.isRedundant || !run.hasSuperblock || volume === null || array?.state !== 'online') return;
  lie(run, item);
  const { last } = run.sumLies;
  if (last === null || last === before || array.bitmap === null) return;
  const { arrayBlocks } = array.stripe();
  const { regionBlocks } = array.bitmap;
  const isSameRegion = last.to % regionBlocks !== 0 && last.end + arrayBlocks <= volume.numBlocks;
  const beside = isSameRegion ? last.end : last.start - arrayBlocks;
  if (last.end > volume.numBlocks || beside < 0) return;
  await run.io(volume, IoType.Write, beside, Math.min(arrayBlocks, volume.mostBlocks));
  const isTold = (): boolean => last.isTold;
  for (let reads = 0; reads < mostReads && !isTold(); reads++) {
    if (volume !== run.volume || last.end > volume.numBlocks) return;
    const step = Math.min(volume.mostBlocks, last.end - last.start);
    for (let at = last.start; at < last.end && !isTold(); at += step)
      await run.io(volume, IoType.Read, at, Math.min(step, last.end - at));
  }
  if (!isTold()) return;
  if (crash.afterMs > 0) await run.world.sleep(crash.afterMs);
  if (volume === run.volume) await restart(run, { kind: 'restart', at: 0, ...crash, downMs: 1, absent: -1 });
}

import { CutMode } from '../disk-faults.js';
import type { PlanItem } from '../plan-items.js';
import { heal, lookAtRest, settle } from './rest.js';
import { whenClean } from './probes.js';
import { restart } from './restart.js';
import type { SimRun } from './sim-run.js';
import { Twin } from './twin.js';
import { ViolationError } from './violation.js';

/** Rests in the middle of a run: faults end, users wait, and when everything is at rest it is checked. */
export async function rest(run: SimRun): Promise<void> {
  if (run.stack === null || run.areUsersHeld) return;
  const startedAt = run.world.now;
  run.mark('rest');
  run.areUsersHeld = true;
  try {
    await heal(run);
    await run.inTime('what users have asked for', noneOpen(run));
    if (await comeToRest(run)) await lookAtRest(run);
  } finally {
    run.areUsersHeld = false;
    run.heldMs += run.world.now - startedAt;
  }
}

async function noneOpen(run: SimRun): Promise<void> {
  while (run.volume === null || run.volume.pending > 0) await run.world.sleep(10);
}

/**
 * Waits until everything is at rest with complete redundancy, also if a member's metadata was corrupted: with that member as it
 * is, without it, and after another start, which rewrites it. Returns false if that is impossible and need not happen.
 */
export async function comeToRest(run: SimRun): Promise<boolean> {
  const stop: PlanItem & { kind: 'restart' } = {
    kind: 'restart',
    at: 0,
    how: 'stop',
    mode: CutMode.KeepAll,
    downMs: 1,
    absent: -1,
  };
  if (!(await settle(run, () => restart(run, stop)))) return false;
  if (run.metadataLies.suspects.length === 0 || run.isTolerant) return true;
  run.coverage.mark('a member has lied about metadata: started anew');
  await run.sumLies.settle();
  await probeLiars(run);
  const how = run.random.chance(0.5) ? 'stop' : 'power';
  await restart(run, { kind: 'restart', at: 0, how, mode: CutMode.LoseAll, downMs: 1, absent: -1 });
  return !run.isRefused && (await settle(run));
}

async function probeLiars(run: SimRun): Promise<void> {
  const liars = run.metadataLies.suspects;
  const names = liars.map(({ name }) => name).join(', ');
  for (const isLost of run.isRedundant ? [false, true] : [false]) {
    if (isLost) await whenClean(run);
    await Twin.run(run, run.random.bits(), `${names} ${isLost ? 'lied, and is lost' : 'lied about metadata'}`, async (twin) => {
      for (const disk of twin.disks) disk.powerCut(run.random.pick([CutMode.KeepAll, CutMode.LoseAll, CutMode.Random]));
      twin.model.powerCut();
      if (isLost) for (const disk of liars) twin.diskOf(disk).isPresent = false;
      if ((await twin.assemble()) === 'online') {
        await twin.readAll();
        return;
      }
      if (run.isParity && run.metadataLies.mayCostMember) {
        run.coverage.mark('a lie about metadata: its member counts as lost in a crash');
        return;
      }
      if (run.isRedundant) throw new ViolationError(`G8: the array does not start: ${twin.refusal}`);
      run.coverage.mark('a lie about metadata: refused without redundancy');
    });
  }
}

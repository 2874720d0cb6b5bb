import { BdevError } from '@raidkit/bdev';
import { RaidError } from '@raidkit/core';
import { arrayName } from '../simulation/sim-run.js';
import type { SimRun } from '../simulation/sim-run.js';
import { heal } from '../simulation/rest.js';
import { ViolationError } from '../simulation/violation.js';
import { InterruptedError, startAfresh } from './script.js';
import type { Script } from './script.js';

/**
 * A creation or deletion may have succeeded, failed, or been interrupted. Either there is an array that starts, or it can be
 * deleted and created again.
 */
export async function recreate(run: SimRun, script: Script, course: { hasEnded: boolean }): Promise<void> {
  const throwIfEnded = (): void => {
    if (course.hasEnded) throw new InterruptedError();
  };
  for (const disk of run.disks) disk.faults.clear();
  if (run.stack !== null) await heal(run);
  // What a new process finds decides.
  run.bury();
  for (const disk of run.disks) disk.processDied();
  run.memory.reset();
  const stack = run.boot();
  for (const disk of run.disks) await run.call(`examining ${disk.name}`, stack.plugIn(disk));
  await stack.registry.waitForExamine();
  await run.world.sleep(10);
  throwIfEnded();
  const isThere = (): boolean => stack.arrays.get(arrayName) !== undefined;
  if (script.exists === 'yes' && !isThere()) throw new ViolationError('G10: the array is gone');
  if (script.exists === 'no' && isThere())
    throw new ViolationError('G10: the array was deleted with its superblocks, and is there');
  if (isThere() && run.volume === null) await startOrDelete(run, script);
  throwIfEnded();
  if (isThere()) return;
  run.coverage.mark('an array is created where one was');
  script.exists = 'either';
  startAfresh(run);
  await run.inTime('creating anew', stack.arrays.create(run.creation()));
  script.exists = 'yes';
}

async function startOrDelete(run: SimRun, script: Script): Promise<void> {
  const { stack } = run;
  if (stack === null) return;
  try {
    await run.inTime('a degraded start', stack.arrays.startDegraded(arrayName));
    return;
  } catch (error) {
    if (!RaidError.is(error) && !BdevError.is(error)) throw error;
    if (script.exists === 'yes' && !run.isTolerant) throw new ViolationError(`G8: the array does not start: ${error.message}`);
    run.coverage.mark('half of an array is found and deleted');
  }
  await run.inTime('deleting what is left', stack.arrays.delete(arrayName, { clearSuperblock: true }));
  // A former member keeps its superblock, so the operator wipes it.
  for (const disk of run.disks) disk.media.zero(0, run.reservedBytes);
}

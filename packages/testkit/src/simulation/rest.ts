import { IoType } from '@raidkit/bdev';
import type { RaidArray } from '@raidkit/core';
import { checkRedundancy } from '../redundancy.js';
import { sectorBytes } from '../sector.js';
import { checkAndRepair, checkByLevel } from './lies.js';
import { makeRoom } from './make-room.js';
import { probeAll } from './probes.js';
import { corruptOne } from './wrong-member.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { addMember, endHoard, whenBack } from './trouble.js';
import { ViolationError, describeArray, describeError } from './violation.js';
import { hasNoJournal } from '../slots.js';

/** Ends all faults; an operator then looks after their consequences. */
export async function heal(run: SimRun): Promise<void> {
  const { stack } = run;
  calm(run);
  await run.inTime('devices coming back', Promise.all(run.disks.map((disk) => whenBack(run, disk))));
  // The process may have ended meanwhile; its successor must find its devices first.
  if (stack === run.stack) await lookAfter(run);
}

/** Ends all faults. */
export function calm(run: SimRun): void {
  run.world.trace('== faults stop');
  endHoard(run);
  run.metadataLies.calm();
  for (const disk of run.disks) {
    disk.faults.clear();
    disk.latent.clear();
  }
}

/** An operator looks after the consequences of faults. */
export async function lookAfter(run: SimRun): Promise<void> {
  const { stack } = run;
  await run.world.sleep(1000);
  // The operator examines and starts what could not be read or started because of an error.
  for (const disk of run.disks) {
    if (stack !== run.stack) return;
    const bdev = stack?.bdevOf(disk);
    if (run.volume === null && bdev?.claimedBy === null)
      await run.call('examining', stack?.arrays.examine(bdev) ?? Promise.resolve());
  }
  if (stack === run.stack && run.array()?.state === 'configuring')
    await run.call('starting', stack?.arrays.startDegraded(arrayName) ?? Promise.resolve());
}

/** Before a forced start: excludes what redundancy does not know then, before any request completes. */
export function forgiveWhenUp(run: SimRun): void {
  void run.up().then(() => run.leniency.forgiveUnprotected());
}

/**
 * Waits until everything is at rest with complete redundancy. Returns false if that is impossible and need not happen. `startAnew`
 * stops the array and starts it again, which the user does if it has lost a flush and does not come to rest without that.
 */
export async function settle(run: SimRun, startAnew: (() => Promise<void>) | null = null): Promise<boolean> {
  const { stack: booted } = run;
  if (run.volume === null && booted !== null && run.array()?.state === 'configuring' && hasNoJournal(run.module)) {
    // What it lacks is unknown, so the user must confirm that it goes on with what there is.
    run.coverage.mark('parity without a journal: started by force');
    forgiveWhenUp(run);
    await run.call('a forced start', booted.arrays.startDegraded(arrayName, { force: true }));
  }
  await run.inTime('the array coming up', run.up());
  const startedAt = run.world.now;
  const { stack } = run;
  let tries = 0;
  let isDecided = false;
  while (stack === run.stack) {
    const array = run.array();
    if (array?.state === 'online' && run.volume !== null) {
      if ((!run.isRedundant && !array.hasIntegrity) || isSettled(run, array)) return true;
      const free = run.disks.filter((disk) => stack?.bdevOf(disk)?.claimedBy === null);
      // A disk may be too small for the array by now; then the next one is tried.
      const first = tries++ % Math.max(1, free.length);
      // If several members are missing, several disks are added, which may be rebuilt in one pass.
      for (const disk of [...free.slice(first), ...free.slice(0, first)].slice(0, Math.max(1, numEmpty(array))))
        if (run.isRedundant) addMember(run, disk);
      if ((array.process?.targets.length ?? 0) > 1) run.coverage.mark('two members filled in one pass');
    }
    const waitedMs = run.world.now - startedAt;
    // Rebuilds that have no room on the list end and are tried again all the time: the operator waits less for them.
    const isFull = isListFull(run);
    if (!isDecided && (isFull ? waitedMs > 10_000 : run.leniency.hasForgiven && waitedMs > 60_000)) {
      isDecided = true;
      if (startAnew !== null && run.isParity && run.hasLostFlush) {
        run.coverage.mark('a flush was lost: started anew');
        await startAnew();
        return !run.isRefused && (await settle(run));
      }
      await decide(run);
    }
    if (run.isTolerant && waitedMs > 60_000) {
      run.coverage.mark('beyond redundancy: no rest');
      await run.readAll('as far as possible');
      return false;
    }
    if (waitedMs > run.timeLimitMs) {
      throw new ViolationError(`G9: the array does not come to rest: ${array === undefined ? 'gone' : describeArray(array)}`);
    }
    await run.world.sleep(100);
  }
  return false;
}

/** Whether a rebuild may have no room on the list for what its source has lost; only writing these blocks makes some. */
function isListFull(run: SimRun): boolean {
  return run.plan.shape.integrity?.mostBadRanges !== undefined && (run.array()?.badBlocks.size ?? 0) > 0;
}

/** Redundancy is in doubt while a member is missing: the operator rewrites those blocks or decides to trust parity. */
async function decide(run: SimRun): Promise<void> {
  const volume = await run.up();
  const { ranges } = run.leniency;
  const perBlock = volume.blockSize / sectorBytes;
  const isFull = isListFull(run);
  if (run.random.chance(0.5) || isFull) {
    run.mark('blocks in doubt are written');
    if (isFull) await makeRoom(run);
    for (const { start, end } of ranges) {
      const last = Math.min(end, volume.numBlocks);
      // Whole stripes, as far as one request goes, because a part of one would have to be read first.
      const stripe = run.array()?.currentGeometry?.stripe?.arrayBlocks ?? 1;
      const step = Math.max(1, Math.floor(volume.mostBlocks / stripe)) * stripe;
      for (let at = start; at < last; at += step)
        await run.io(volume, IoType.Write, at, Math.min(step, last - at, volume.mostBlocks));
    }
    return;
  }
  run.mark('parity is trusted by hand');
  for (const { start, end } of ranges) run.model.doubtValues(start * perBlock, (end - start) * perBlock);
  await run.call(
    'trusting redundancy',
    Promise.resolve().then(() => run.stack?.arrays.trustRedundancy(arrayName)),
  );
}

function numEmpty({ slots }: RaidArray): number {
  return slots.filter(({ hasDevice }) => !hasDevice).length;
}

function isSettled(run: SimRun, array: RaidArray): boolean {
  if (array.process !== null || array.numInSync < array.numSlots || array.isUnproven) return false;
  return !run.can.resync || (array.bitmap?.regionsToResync ?? 0) === 0;
}

/** Reads everything, compares members, and tests copies of all disks further. */
export async function lookAtRest(run: SimRun): Promise<void> {
  await run.readAll('at rest');
  await run.readAll('at rest, again');
  await run.sumLies.settle();
  // A write that a full list refuses costs a member.
  if (run.plan.shape.integrity?.mostBadRanges !== undefined && run.isRedundant) await settle(run);
  if (run.hasLied && !run.isTolerant) await checkAndRepair(run, null);
  await checkRest(run);
  if (!run.isTolerant) await checkByLevel(run);
  if (!run.isTolerant) await corruptOne(run);
  if (!run.isTolerant) await probeAll(run);
}

/** Checks that members are consistent at rest. */
export async function checkRest(run: SimRun): Promise<void> {
  const array = run.array();
  if (array === undefined || !run.isRedundant) return;
  const isInSync = (array.bitmap?.regionsToResync ?? 0) === 0;
  if (!isInSync || run.isTolerant || run.isUndecided) return;
  run.coverage.mark('redundancy checked');
  const problem = checkRedundancy(array, run.disks);
  if (problem !== null) throw new ViolationError(`G7: ${problem}`);
  await Promise.resolve();
}

/** Checks that nothing is in use after a stop. */
export function checkLeaks(run: SimRun): void {
  const { stack } = run;
  if (stack === null) return;
  const { outstanding } = stack.registry.ios;
  if (outstanding !== 0) throw new ViolationError(`G11: ${outstanding} I/O objects are out at the end`);
  for (const disk of run.disks) {
    if (disk.inFlight > 0) throw new ViolationError(`G11: ${disk.inFlight} I/Os are in flight on ${disk.name} at the end`);
    const claimedBy = stack.bdevOf(disk)?.claimedBy ?? null;
    if (claimedBy !== null) throw new ViolationError(`G11: ${disk.name} is still claimed by ${claimedBy}`);
  }
  try {
    stack.registry.buffers.close();
    stack.registry.reserve.close();
  } catch (error) {
    throw new ViolationError(`G11: ${describeError(error)}`);
  }
}

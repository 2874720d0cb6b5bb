import { RaidError } from '@raidkit/core';
import type { CreateArrayOptions } from '@raidkit/core';
import type { PlanItem } from '../plan-items.js';
import { CutMode } from '../disk-faults.js';
import type { SimDisk } from '../sim-disk.js';
import type { Stack } from '../stack.js';
import { calm, forgiveWhenUp, lookAfter } from './rest.js';
import { arrayName, daemonWaitMs } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { comeBack, endHoard, whenBack } from './trouble.js';
import { ViolationError, describeError } from './violation.js';
import { hasNoJournal } from '../slots.js';

/** After so long a device has been tried again that could not be examined, in milliseconds. */
const examinedAgainMs = 6000;

/** How a process ends, and what of its disks' caches is left if the power fails. */
export type Ending = Pick<PlanItem & { kind: 'restart' }, 'how' | 'mode' | 'downMs'>;

/** The process ends, in one way or another, and a new one puts the array together again. */
export async function restart(run: SimRun, item: PlanItem & { kind: 'restart' }): Promise<void> {
  if (run.stack === null) return;
  if (!run.hasSuperblock) {
    await makeAgain(run, item);
    return;
  }
  await end(run, item);
  await assemble(run, item.absent);
  if (!run.isRefused && run.random.chance(0.4)) {
    await run.readAll('after a restart');
    await run.readAll('after a restart, again');
  }
}

/**
 * Without superblocks nothing is recorded: the program that composes it makes the array again of the same devices. That is
 * right after a clean stop of an array that has all its members; after anything else members may differ, and nothing says so.
 */
async function makeAgain(run: SimRun, { downMs, mode }: PlanItem & { kind: 'restart' }): Promise<void> {
  const array = run.array();
  const isWhole = array?.state === 'online' && array.numInSync === array.numSlots && array.process === null;
  if (!isWhole || run.disks.some((disk) => run.standing.hasTrouble(disk))) return;
  const members = array.slots.map(({ name }) => name);
  await end(run, { how: 'stop', mode, downMs });
  // A member may have left in the middle of it.
  const stack = run.boot();
  for (const disk of run.disks.filter(({ isPresent }) => isPresent))
    await run.inTime(`examining ${disk.name}`, stack.plugIn(disk));
  await run.inTime('making the array again', stack.arrays.create(again(run, members)));
}

/** An array without superblocks that has gone offline does not come back: it is made again once all its devices are there. */
export async function remake(run: SimRun, members: readonly (string | null)[]): Promise<void> {
  const { stack } = run;
  for (;;) {
    await run.world.sleep(200);
    if (stack === null || stack !== run.stack || run.isStopping) return;
    if (run.disks.every((disk) => !members.includes(disk.name) || stack.bdevOf(disk)?.state === 'registered')) break;
  }
  run.coverage.mark('made again');
  await run.call(
    'deleting what is offline',
    stack.arrays.get(arrayName) === undefined ? Promise.resolve() : stack.arrays.delete(arrayName),
  );
  // What has not answered yet is still under way.
  while (stack === run.stack && run.volume === null && stack.arrays.get(arrayName) === undefined) {
    await run.call('making the array again', stack.arrays.create(again(run, members)));
    await run.world.sleep(1000);
  }
}

/** The process ends. Resolves when a new one may begin. */
export async function end(run: SimRun, { how, mode, downMs }: Ending): Promise<void> {
  const { good } = run.standing;
  run.mark(`restart ${how}`);
  run.standing.refresh();
  // A member that is failing now may be out by the end of a stop.
  for (const disk of good) if (how === 'stop' && run.standing.hasTrouble(disk)) good.delete(disk);
  run.world.trace(`== ${how} (mode ${mode})`);
  const array = run.array();
  if (how === 'stop') await stop(run);
  run.sumLies.ended(array, how === 'stop');
  run.lostEntries.beforeCrash(how);
  const hadProcess = run.array()?.process ?? null;
  if (hadProcess !== null) run.coverage.mark(`${how} while ${hadProcess.type}`);
  run.bury();
  for (const disk of run.disks) {
    if (how === 'power') disk.powerCut(disk.isPresent ? mode : CutMode.Random);
    else disk.processDied();
  }
  const wasLost = run.hasUnrecordedDrop;
  // Without redundancy, and without a map of what was being written, nothing writes anew what a failed flush has left behind:
  // it may be read now, and be gone after the next power cut, whatever flush comes in between.
  const hasNoMap = run.plan.shape.integrity === undefined || (array?.state === 'online' && array.bitmap === null);
  const staysLost = wasLost && !run.isRedundant && hasNoMap;
  if (how === 'power' || (how === 'kill' && wasLost && !staysLost)) run.model.powerCut();
  else if (how === 'kill') run.model.killed();
  if (how === 'kill' && staysLost) run.model.dropped();
  run.memory.reset();
  if (how !== 'stop') run.metadataLies.atCrash();
  await run.world.sleep(downMs);
  if (how !== 'stop') {
    run.wasUnclean = true;
    // A crash and a member that is not there, or does not work: parity cannot say what the member's data is.
    const isWhole = good.size === run.numSlots && ![...good].some((disk) => run.standing.hasTrouble(disk));
    if (run.isParity && !isWhole && !run.can.narrow) run.isTolerant = true;
  }
  // A start with the last good member unreadable fails, or, with only a stale one to be seen, cannot know better: no test.
  if (!run.isRedundant || run.plan.shape.isOverBudget) {
    for (const { faults } of run.disks) {
      const { armedLies } = faults;
      faults.clear();
      faults.armedLies = armedLies;
    }
  }
}

/** A clean end: every request answered, nothing left behind. */
export async function stop(run: SimRun): Promise<void> {
  const { stack } = run;
  if (stack === null) return;
  run.isStopping = true;
  run.world.trace('== stop');
  await run.inTime('stopping', stack.arrays.stop());
  while ((run.volume?.pending ?? 0) > 0) await run.world.sleep(1);
  run.volume = null;
  run.isStopping = false;
  // What others have is not the arrays'.
  endHoard(run);
  if (stack.arrays.iosOutstanding !== 0)
    throw new ViolationError(`G11: ${stack.arrays.iosOutstanding} RAID I/O objects are out after a stop`);
  // A device that was given up may still use what it was given.
  const isUsed = run.disks.some(({ inFlight }) => inFlight > 0);
  if (!isUsed && stack.takenBytes !== 0)
    throw new ViolationError(`G11: ${stack.takenBytes} bytes of memory are not given back after a stop`);
}

/** A new process finds the disks, one of them perhaps only later, in any order. */
export async function assemble(run: SimRun, absentIndex: number): Promise<void> {
  const { random } = run;
  const stack = run.boot();
  const wanted = absentIndex < 0 ? undefined : run.disk(absentIndex);
  const absent = wanted !== undefined && wanted.isPresent && run.standing.mayLose(wanted) ? wanted : null;
  if (absent !== null) {
    run.coverage.mark('a disk is absent at assembly');
    absent.isPresent = false;
  }
  for (const disk of random.shuffle(run.disks.filter(({ isPresent }) => isPresent))) {
    const examined = run.call(`examining ${disk.name}`, stack.plugIn(disk));
    if (random.chance(0.5)) await run.inTime(`examining ${disk.name}`, examined);
    if (random.chance(0.3)) await run.world.sleep(random.exponential(20));
  }
  await run.inTime('examining', stack.registry.waitForExamine());
  await start(run, stack, absent);
  if (absent !== null && !run.isRefused) run.world.after(random.exponential(200), () => comeBack(run, absent, 'same'));
}

/** The array comes up by itself, or is started degraded, or refuses for a good reason. */
async function start(run: SimRun, stack: Stack, absent: SimDisk | null): Promise<void> {
  const missing = run.disks.filter((disk) => !disk.isPresent && disk !== absent);
  let array = stack.arrays.get(arrayName);
  if (array?.state === 'online') return;
  if (!run.isRedundant) {
    // It waits for its members; they come back by themselves.
    await run.inTime('members coming back', Promise.all(missing.map((disk) => whenBack(run, disk))));
    if (absent !== null) comeBack(run, absent, 'same');
    if (run.hasFaultInStart) await startMended(run, stack);
    else if (run.metadataLies.suspects.length > 0) await startPastLies(run, stack);
    else await run.inTime('the array coming up', run.up());
    return;
  }
  // The daemon starts it by itself after a while, if that costs nothing.
  if (run.plan.shape.kind === 'daemon') await run.world.sleep(daemonWaitMs + 1000);
  // A device that could not be examined is tried again.
  await run.world.sleep(run.hasFaultInStart ? examinedAgainMs : 1);
  array = stack.arrays.get(arrayName);
  while (array?.isStarting === true) await run.world.sleep(1);
  if (run.volume !== null) {
    run.coverage.mark('started by itself');
    return;
  }
  try {
    await run.inTime('a degraded start', stack.arrays.startDegraded(arrayName));
    run.coverage.mark('degraded start');
  } catch (error) {
    // Two that count each other out, after crashes in the middle of it: the absent member knows which of them is right.
    if (RaidError.is(error) && error.errno === 16 && absent !== null && run.standing.good.has(absent)) {
      run.coverage.mark('used apart: refused');
      comeBack(run, absent, 'same');
      await run.inTime('the array coming up', run.up());
      return;
    }
    // What we last wrote to a member that is out is not known after a foreign run: then a person must say who counts.
    if (RaidError.is(error) && error.errno === 16 && run.wasForeign) {
      run.coverage.mark('used apart, as far as can be told after a foreign run: forced');
      await run.inTime('a forced start', stack.arrays.startDegraded(arrayName, { force: true }));
      return;
    }
    if (run.hasFaultInStart) {
      run.coverage.mark('a device failed in the start: started once it works');
      await startMended(run, stack);
      return;
    }
    const { isParity } = run;
    const isUnsafe = RaidError.is(error) && isParity && run.wasUnclean && error.code === 'ERR_RAID_METADATA';
    if (!isUnsafe && run.isTolerant) {
      run.isRefused = true;
      return;
    }
    if (!RaidError.is(error) || (!isUnsafe && (!run.can.narrow || !run.leniency.isBeyond))) {
      const good = [...run.standing.good].map(({ name }) => name).join(', ');
      throw new ViolationError(`G8: the array does not start: ${describeError(error)}; good were ${good}`);
    }
    run.coverage.mark('dirty and degraded: refused');
    run.world.trace(`== refused: ${error.message}`);
    if (absent !== null && run.standing.good.has(absent) && !run.metadataLies.mayCostMember) {
      comeBack(run, absent, 'same');
      await run.inTime('the array coming up', run.up());
      return;
    }
    if (absent !== null) comeBack(run, absent, 'same');
    if (run.can.narrow) await startMended(run, stack);
    else run.isRefused = true;
  }
}

/** Without redundancy a member that has lied about what is recorded on it may keep the array from starting, until a person says so. */
async function startPastLies(run: SimRun, stack: Stack): Promise<void> {
  await run.world.sleep(examinedAgainMs);
  if (run.volume !== null || run.stack !== stack) return;
  run.coverage.mark('a lie about metadata: refused without redundancy');
  try {
    await run.inTime('a forced start', stack.arrays.startDegraded(arrayName, { force: true }));
    run.coverage.mark('a lie about metadata: started by force');
  } catch (error) {
    if (!RaidError.is(error)) throw error;
    run.world.trace(`== refused: ${error.message}`);
    run.isRefused = true;
  }
}

/** An operator mends what made the array refuse to start; by force only if redundancy had come to be in doubt before that. */
async function startMended(run: SimRun, stack: Stack): Promise<void> {
  calm(run);
  await run.inTime('devices coming back', Promise.all(run.disks.map((disk) => whenBack(run, disk))));
  await run.world.sleep(examinedAgainMs);
  if (run.volume !== null || run.stack !== stack) return;
  await lookAfter(run);
  if (run.array()?.state === 'online') {
    run.coverage.mark('refused, and started when all was there');
    return;
  }
  // Without a journal a crash of an array that lacks a member leaves its data in doubt: then a person must say so.
  const mayLackMember = run.metadataLies.mayCostMember;
  if (!run.leniency.hasForgiven && !run.isTolerant && !hasNoJournal(run.module) && !mayLackMember)
    throw new ViolationError('G8: the array does not start although its devices are all there and nothing was in doubt');
  run.coverage.mark('started by force');
  forgiveWhenUp(run);
  await run.inTime('a forced start', stack.arrays.startDegraded(arrayName, { force: true }));
}

/** What a saved configuration makes the array of: the members that it had last, with the options that it has. */
function again(run: SimRun, members: readonly (string | null)[]): CreateArrayOptions {
  return { ...run.creation(), baseBdevs: members, options: run.recordedOptions };
}

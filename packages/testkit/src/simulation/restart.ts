import { RaidError } from '@raidkit/core';
import type { CreateArrayOptions } from '@raidkit/core';
import type { PlanItem } from '../plan-items.js';
import { CutMode } from '../disk-faults.js';
import type { SimDisk } from '../sim-disk.js';
import type { Stack } from '../stack.js';
import { calm, forgiveWhenUp, lookAfter } from './rest.js';
import { arrayName, daemonWaitMs } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { deviceToTakeAway, startWithout } from './start-without.js';
import { comeBack, endHoard, whenBack } from './trouble.js';
import { ViolationError, describeError } from './violation.js';
import { hasNoJournal } from '../slots.js';

/** Milliseconds after which a device whose examination failed has been examined again. */
const examinedAgainMs = 6000;

/** How a process ends and, if the power fails, which cached writes survive. */
export type Ending = Pick<PlanItem & { kind: 'restart' }, 'how' | 'mode' | 'downMs'>;

/** The process ends, and a new one assembles the array again. */
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
 * Without superblocks nothing is recorded, so the program that composes the array makes it again from the same devices. That is
 * right after a clean stop of an array with all its members; otherwise members may differ undetected.
 */
async function makeAgain(run: SimRun, { downMs, mode }: PlanItem & { kind: 'restart' }): Promise<void> {
  const array = run.array();
  const isWhole = array?.state === 'online' && array.numInSync === array.numSlots && array.process === null;
  if (!isWhole || run.disks.some((disk) => run.standing.hasTrouble(disk))) return;
  const members = array.slots.map(({ name }) => name);
  await end(run, { how: 'stop', mode, downMs });
  // A member may have been lost meanwhile.
  const stack = run.boot();
  for (const disk of run.disks.filter(({ isPresent }) => isPresent))
    await run.inTime(`examining ${disk.name}`, stack.plugIn(disk));
  await run.inTime('making the array again', stack.arrays.create(again(run, members)));
}

/** Makes an array without superblocks again after it went offline, once all its devices are present. */
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
  // Calls that have not completed are still in progress.
  while (stack === run.stack && run.volume === null && stack.arrays.get(arrayName) === undefined) {
    await run.call('making the array again', stack.arrays.create(again(run, members)));
    await run.world.sleep(1000);
  }
}

/** Ends the process. Resolves when a new one may begin. */
export async function end(run: SimRun, { how, mode, downMs }: Ending): Promise<void> {
  const { good } = run.standing;
  run.mark(`restart ${how}`);
  run.standing.refresh();
  // A failing member may be removed by the end of a stop.
  for (const disk of good) if (how === 'stop' && run.standing.hasTrouble(disk)) good.delete(disk);
  run.world.trace(`== ${how} (mode ${mode})`);
  const array = run.array();
  const wasInDoubt = run.isParity && run.hasLostFlush && run.leniency.wasBeyond;
  // Only this process knows that a member has lost a flush that it cannot do without, be it in a start that was tried again.
  if (array?.slots.some((slot) => slot.isInSync && slot.hasLostFlush) === true) run.model.doubt();
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
  // Without redundancy and without a bitmap nothing rewrites what a failed flush left behind: it may be readable now and gone
  // after the next power cut, despite flushes in between.
  const hasNoMap = run.plan.shape.integrity === undefined || (array?.state === 'online' && array.bitmap === null);
  const staysLost = wasLost && !run.isRedundant && hasNoMap;
  if (how === 'power' || (how === 'kill' && wasLost && !staysLost)) run.model.powerCut();
  else if (how === 'kill') run.model.killed();
  if (how === 'kill' && staysLost) run.model.dropped();
  run.memory.reset();
  if (how !== 'stop') run.metadataLies.atCrash();
  await run.world.sleep(downMs);
  // What a flush has lost that could not be made good stays in doubt beyond a stop.
  if (wasInDoubt) run.wasUnclean = true;
  if (how !== 'stop') {
    run.wasUnclean = true;
    // After a crash with a member absent or faulty, parity cannot say what the member's data is.
    const isWhole = good.size === run.numSlots && ![...good].some((disk) => run.standing.hasTrouble(disk));
    if (run.isParity && !isWhole && !run.can.narrow) run.isTolerant = true;
  }
  // A start with the last good member unreadable fails or, if only a stale one is visible, cannot know better, so it tests
  // nothing.
  if (!run.isRedundant || run.plan.shape.isOverBudget) {
    for (const { faults } of run.disks) {
      const { armedLies } = faults;
      faults.clear();
      faults.armedLies = armedLies;
    }
  }
}

/** Stops in an orderly way: every request must complete, and nothing may be left over. */
export async function stop(run: SimRun): Promise<void> {
  const { stack } = run;
  if (stack === null) return;
  run.isStopping = true;
  run.world.trace('== stop');
  run.rememberSlots();
  await run.inTime('stopping', stack.arrays.stop());
  while ((run.volume?.pending ?? 0) > 0) await run.world.sleep(1);
  run.volume = null;
  run.isStopping = false;
  // Buffers that others hold do not count.
  endHoard(run);
  if (stack.arrays.iosOutstanding !== 0)
    throw new ViolationError(`G11: ${stack.arrays.iosOutstanding} RAID I/O objects are out after a stop`);
  // A device that timed out may still use its memory.
  const isUsed = run.disks.some(({ inFlight }) => inFlight > 0);
  if (!isUsed && stack.takenBytes !== 0)
    throw new ViolationError(`G11: ${stack.takenBytes} bytes of memory are not given back after a stop`);
}

/** A new process finds the disks in any order, one of them perhaps later. */
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

/** The array starts by itself, or is started degraded, or refuses for a good reason. */
async function start(run: SimRun, stack: Stack, absent: SimDisk | null): Promise<void> {
  const missing = run.disks.filter((disk) => !disk.isPresent && disk !== absent);
  let array = stack.arrays.get(arrayName);
  if (array?.state === 'online') return;
  if (!run.isRedundant) {
    // It waits for its members, which return by themselves.
    await run.inTime('members coming back', Promise.all(missing.map((disk) => whenBack(run, disk))));
    if (absent !== null) comeBack(run, absent, 'same');
    if (run.hasFaultInStart) await startMended(run, stack);
    else if (run.metadataLies.suspects.length > 0) await startPastLies(run, stack);
    else await run.inTime('the array coming up', run.up());
    return;
  }
  // The daemon starts it after a while, if that loses nothing.
  if (run.plan.shape.kind === 'daemon') await run.world.sleep(daemonWaitMs + 1000);
  // A device whose examination failed is examined again.
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
    // Two members that each record the other as removed, after crashes in between: the absent member knows which is right.
    if (RaidError.is(error) && error.errno === 16 && absent !== null && run.standing.good.has(absent)) {
      run.coverage.mark('used apart: refused');
      comeBack(run, absent, 'same');
      await run.inTime('the array coming up', run.up());
      return;
    }
    const named = await deviceToTakeAway(run, stack, error);
    if (named !== null) {
      await startWithout(run, stack, named);
      return;
    }
    // After a foreign run it is not known what raidkit last wrote to a removed member; then the user must decide which one
    // counts.
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

/** Without redundancy a member with corrupted metadata may keep the array from starting until the user forces it. */
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

/** An operator repairs what made the array refuse to start; by force only if redundancy was already in doubt. */
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
  // Without a journal a crash of an array that lacks a member leaves its data in doubt, so the user must confirm the start.
  const mayLackMember = run.metadataLies.mayCostMember;
  if (!run.leniency.hasForgiven && !run.isTolerant && !hasNoJournal(run.module) && !mayLackMember)
    throw new ViolationError('G8: the array does not start although its devices are all there and nothing was in doubt');
  run.coverage.mark('started by force');
  forgiveWhenUp(run);
  await run.inTime('a forced start', stack.arrays.startDegraded(arrayName, { force: true }));
}

/** Options with which a saved configuration makes the array again: its last members and options. */
function again(run: SimRun, members: readonly (string | null)[]): CreateArrayOptions {
  return { ...run.creation(), baseBdevs: members, options: run.recordedOptions };
}

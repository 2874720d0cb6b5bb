import type { RaidArray, SyncOptions } from '@raidkit/core';
import type { PlanItem } from '../plan-items.js';
import { canCheckRedundancy, checkRedundancy } from '../redundancy.js';
import { sectorBytes } from '../sector.js';
import { doubt } from './doubt.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { ViolationError } from './violation.js';

/** Corrupts a disk silently, if the others hold everything. What depends on it is excluded from checks from then on. */
export function lie(run: SimRun, { disk: index, how, place }: PlanItem & { kind: 'lie' }): void {
  if (run.plan.shape.integrity !== undefined) {
    run.sumLies.lie({ kind: 'lie', at: 0, disk: index, how, place });
    return;
  }
  const disk = run.disk(index);
  const array = run.array();
  if (!run.isRedundant || array?.state !== 'online' || !run.standing.mayLose(disk)) return;
  disk.onLie = (first, count) => doubt(run, disk, first, count);
  disk.dataSector = run.reservedBytes / sectorBytes;
  run.mark(`lie ${how}`);
  run.world.trace(`== ${disk.name}: ${how}`);
  if (how === 'lost') {
    disk.faults.lostWrites++;
  } else if (how === 'misdirected') {
    disk.faults.misdirectedWrites++;
  } else {
    const touched = [...run.model.touched];
    const sector = touched[Math.floor(place * touched.length)];
    const limit = disk.numBlocks * (disk.blockSize / sectorBytes) - disk.dataSector;
    if (sector !== undefined) disk.corrupt(disk.dataSector + (sector % limit), Math.floor(place * 4096));
  }
}

/**
 * A check must find whether members differ and change nothing; a repair must make them consistent. Returns whether they
 * differed. `liar` is the wrong slot, if it is known, for the case of two copies.
 */
export async function checkAndRepair(run: SimRun, liar: number | null): Promise<boolean> {
  const array = run.array();
  if (array === undefined || run.volume === null || !canCheckRedundancy(array)) return false;
  let problem = checkRedundancy(array, run.disks);
  const disagreed = problem !== null;
  for (const type of ['check', 'repair'] as const) {
    for (const options of type === 'repair' ? repairs(run, liar) : [{}]) {
      run.stack?.arrays.startSync(arrayName, type, options);
      await run.inTime(`a ${type}`, array.processEnded);
      if (array.history[0]?.undecidedBlocks === 0) break;
      // There is no majority among the copies, so it must be said which is right.
      run.coverage.mark('no copy has the majority');
    }
    const [record] = array.history;
    if (record?.type === type && record.lostBlocks > 0 && array.badBlocks.size > 0 && run.leniency.hasForgiven) {
      // Redundancy was in doubt when a member was lost or removed; a check must report that each time.
      run.coverage.mark('a check met bad blocks');
      // It may end before it comes to what disagrees, which then stays.
      run.isUndecided = disagreed;
      return disagreed;
    }
    if (record?.type !== type || record.error !== null)
      throw new ViolationError(`G9: the ${type} failed: ${record?.error ?? 'it is not recorded'}`);
    // Where checksums identify the wrong member, the request that meets it repairs it, so that not even a check finds a
    // difference.
    if (array.hasIntegrity && type === 'check') problem = checkRedundancy(array, run.disks);
    if ((problem === null) !== (record.mismatchBlocks === 0)) {
      throw new ViolationError(
        `G7: the ${type} found ${record.mismatchBlocks} blocks that disagree, and ${problem ?? 'there are none'}`,
      );
    }
    if (type === 'check' && problem !== checkRedundancy(array, run.disks))
      throw new ViolationError('G7: the check changed something');
  }
  run.coverage.mark(disagreed ? 'a lie was found and repaired' : 'a lie did no harm');
  return disagreed;
}

/**
 * As {@link checkAndRepair}, for a level whose redundancy only the level can evaluate: its result is compared with whether
 * disks were corrupted. If several were in one stripe, it may be impossible to tell which is right, and the stripe stays in
 * doubt.
 */
export async function checkByLevel(run: SimRun): Promise<void> {
  const array = run.array();
  if (array === undefined || run.volume === null || !run.isParity || canCheckRedundancy(array)) return;
  run.coverage.mark('redundancy checked by the level');
  const found = await process(run, array, 'check', {});
  if (found === null) {
    // Nothing is repaired in this case.
    run.isUndecided = run.hasLied;
    return;
  }
  if (found.mismatchBlocks === 0) {
    run.isUndecided = false;
    return;
  }
  if (!run.hasLied) throw new ViolationError(`G7: the check found ${found.mismatchBlocks} blocks that disagree`);
  let isDecided = false;
  for (const { index } of array.slots) {
    const repaired = await process(run, array, 'repair', { wrong: index });
    isDecided = repaired?.undecidedBlocks === 0;
    if (isDecided) break;
  }
  run.isUndecided = !isDecided;
  run.coverage.mark(isDecided ? 'a lie was found and repaired' : 'a lie was found, and it cannot be told which is right');
  if (!isDecided) return;
  const left = await process(run, array, 'check', {});
  if (left !== null && left.mismatchBlocks > 0)
    throw new ViolationError(`G7: ${left.mismatchBlocks} blocks disagree after a repair that decided all`);
}

/** Runs a process to its end. Returns null if there are bad blocks for a good reason. */
async function process(
  run: SimRun,
  array: RaidArray,
  type: 'check' | 'repair',
  options: SyncOptions,
): Promise<{ mismatchBlocks: number; undecidedBlocks: number } | null> {
  run.stack?.arrays.startSync(arrayName, type, options);
  await run.inTime(`a ${type}`, array.processEnded);
  const [record] = array.history;
  if (record?.type !== type) throw new ViolationError(`G9: the ${type} is not recorded`);
  if (record.lostBlocks > 0 && array.badBlocks.size > 0 && run.mayListBad) {
    run.coverage.mark('a check met bad blocks');
    return null;
  }
  if (record.error !== null && record.undecidedBlocks === 0)
    throw new ViolationError(`G9: the ${type} failed: ${record.error}`);
  return record;
}

/** Options of a repair, which say which copy is right if there are only two. */
export function repairOptions(run: SimRun): SyncOptions {
  return hasFewCopies(run) ? { source: 0 } : {};
}

/** Options of successive repairs until all copies are consistent: each slot has copies of some blocks only. */
function repairs(run: SimRun, liar: number | null): SyncOptions[] {
  const { module, slots = [] } = run.array() ?? {};
  const first = hasFewCopies(run) ? [] : [{}];
  if (module?.redundancy !== 'copies') return first;
  return [...first, ...(liar === null ? [] : [{ wrong: liar }]), ...slots.map(({ index }) => ({ source: index }))];
}

/** Whether there are too few copies for a majority: one or two. */
function hasFewCopies(run: SimRun): boolean {
  const array = run.array();
  const { copyGroups = [], copySets = [] } = array?.level ?? {};
  const copies = [...copyGroups, ...copySets.map(({ places }) => places.map(({ slot }) => slot))];
  return copies.some((slots) => slots.filter((slot) => array?.slots[slot]?.isInSync === true).length < 3);
}

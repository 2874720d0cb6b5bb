import type { RaidArray, SyncOptions } from '@raidkit/core';
import type { PlanItem } from '../plan-items.js';
import { canCheckRedundancy, checkRedundancy } from '../redundancy.js';
import { sectorBytes } from '../sector.js';
import { doubt } from './doubt.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { ViolationError } from './violation.js';

/** A disk lies, if the others hold everything. What depends on it counts as no fault of the array from then on. */
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
 * A check must find where members disagree, and change nothing; a repair must make them agree. Gives whether they disagreed.
 * `liar` is the slot that is wrong, if that is known, for the case that there are two copies.
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
      // As many copies say one thing as another: then it must be said who is right.
      run.coverage.mark('no copy has the majority');
    }
    const [record] = array.history;
    if (record?.type === type && record.lostBlocks > 0 && array.badBlocks.size > 0 && run.leniency.hasForgiven) {
      // It was in doubt when a member was lost, or taken out: a check says so each time, and must.
      run.coverage.mark('a check met bad blocks');
      return disagreed;
    }
    if (record?.type !== type || record.error !== null)
      throw new ViolationError(`G9: the ${type} failed: ${record?.error ?? 'it is not recorded'}`);
    // Where checksums say which member is wrong, the request that meets it has it repaired: not even a check finds that members
    // disagree.
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
 * As {@link checkAndRepair}, of a level whose redundancy only it can work out: what it says is checked against whether a disk
 * has lied. Where several have, in one stripe, it may be that it cannot be told which: then it stays in doubt.
 */
export async function checkByLevel(run: SimRun): Promise<void> {
  const array = run.array();
  if (array === undefined || run.volume === null || !run.isParity || canCheckRedundancy(array)) return;
  run.coverage.mark('redundancy checked by the level');
  const found = await process(run, array, 'check', {});
  if (found === null) {
    // Nothing is repaired then.
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

/** Runs it to its end. Null if blocks are bad, and had a reason to be. */
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

/** The operator says which copy is right where two copies leave it open. */
export function repairOptions(run: SimRun): SyncOptions {
  return hasFewCopies(run) ? { source: 0 } : {};
}

/** What a person says, one after the other, until all copies agree: each slot has copies of some blocks only. */
function repairs(run: SimRun, liar: number | null): SyncOptions[] {
  const { module, slots = [] } = run.array() ?? {};
  const first = hasFewCopies(run) ? [] : [{}];
  if (module?.redundancy !== 'copies') return first;
  return [...first, ...(liar === null ? [] : [{ wrong: liar }]), ...slots.map(({ index }) => ({ source: index }))];
}

/** Too few for a majority: a pair, or one that is alone. */
function hasFewCopies(run: SimRun): boolean {
  const array = run.array();
  const { copyGroups = [], copySets = [] } = array?.level ?? {};
  const copies = [...copyGroups, ...copySets.map(({ places }) => places.map(({ slot }) => slot))];
  return copies.some((slots) => slots.filter((slot) => array?.slots[slot]?.isInSync === true).length < 3);
}

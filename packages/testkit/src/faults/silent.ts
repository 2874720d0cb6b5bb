import { checkRedundancy } from '../redundancy.js';
import { sectorBytes } from '../sector.js';
import { arrayName } from '../simulation/sim-run.js';
import type { SimRun } from '../simulation/sim-run.js';
import { ViolationError } from '../simulation/violation.js';
import type { Trip } from './trip.js';

/** A device has lied: what depends on what it should have written is nobody's fault any more. */
export function forgive(run: SimRun, { lost }: Trip): void {
  const array = run.array();
  if (lost === null || array === undefined) return;
  const slot = array.slots.find(({ name, lastMember }) => name === lost.disk.name || lastMember?.name === lost.disk.name);
  const from = lost.offsetBlocks - (slot?.dataOffset ?? 0);
  if (slot === undefined || from < 0) return;
  const { arrayBlocks, memberBlocks } = array.stripe();
  const perBlock = array.blockSize / sectorBytes;
  const first = Math.floor(from / memberBlocks) * arrayBlocks;
  const end = (Math.floor((from + lost.numBlocks - 1) / memberBlocks) + 1) * arrayBlocks;
  run.model.doubtValues(first * perBlock, (end - first) * perBlock);
}

/** A check must find where members disagree, and say so; a repair must make them agree. Nothing else may change. */
export async function repairSilently(run: SimRun): Promise<void> {
  const array = run.array();
  if (array === undefined || run.volume === null || run.isTolerant) return;
  const problem = checkRedundancy(array, run.disks, run.model.touched);
  for (const type of ['check', 'repair'] as const) {
    run.stack?.arrays.startSync(arrayName, type);
    await run.inTime(`a ${type}`, array.processEnded);
    const [record] = array.history;
    if (record?.type !== type || record.error !== null) throw new ViolationError(`G9: the ${type} failed: ${record?.error ?? 'it is not recorded'}`);
    if (problem !== null && record.mismatchBlocks === 0) throw new ViolationError(`G7: the ${type} found nothing, and ${problem}`);
    if (type === 'check' && problem !== checkRedundancy(array, run.disks, run.model.touched)) throw new ViolationError('G7: the check changed something');
  }
  run.coverage.mark(problem === null ? 'a lost write did no harm' : 'a lost write was found');
  await run.readAll('after a repair');
}

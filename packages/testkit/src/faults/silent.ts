import { sectorBytes } from '../sector.js';
import { doubt } from '../simulation/doubt.js';
import { checkAndRepair } from '../simulation/lies.js';
import type { SimDisk } from '../sim-disk.js';
import type { SimRun } from '../simulation/sim-run.js';

/** A write that a device has acknowledged but not done. */
export interface Lie {
  disk: SimDisk;
  offsetBlocks: number;
  numBlocks: number;
}

/** Excludes what depends on a lost write from checks, since it is no fault of the array. */
export function forgive(run: SimRun, { disk, numBlocks, offsetBlocks }: Lie): void {
  const perBlock = disk.blockSize / sectorBytes;
  doubt(run, disk, offsetBlocks * perBlock, numBlocks * perBlock);
}

/**
 * Checks that the wrong blocks are found, and that a repair which is told the wrong member restores the data where redundancy
 * has it.
 */
export async function repairSilently(run: SimRun, lost: Lie | null): Promise<void> {
  const array = run.array();
  const liar = array?.slots.find(({ name }) => name === lost?.disk.name);
  if (array === undefined || liar === undefined || run.isTolerant) return;
  const hasDiffered = await checkAndRepair(run, liar.index);
  // Copies differed, so one of them had the right data all along; parity may have been computed from wrong data.
  if (hasDiffered && array.module.redundancy === 'copies') run.model.believe();
  await run.readAll('after a repair');
}

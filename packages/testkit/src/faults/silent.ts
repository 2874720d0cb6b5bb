import { sectorBytes } from '../sector.js';
import { doubt } from '../simulation/doubt.js';
import { checkAndRepair } from '../simulation/lies.js';
import type { SimDisk } from '../sim-disk.js';
import type { SimRun } from '../simulation/sim-run.js';

/** What a device has said that it has written, and has not. */
export interface Lie {
  disk: SimDisk;
  offsetBlocks: number;
  numBlocks: number;
}

/** A device has lied: what depends on what it should have written counts as no fault of the array any more. */
export function forgive(run: SimRun, { disk, numBlocks, offsetBlocks }: Lie): void {
  const perBlock = disk.blockSize / sectorBytes;
  doubt(run, disk, offsetBlocks * perBlock, numBlocks * perBlock);
}

/** What the liar holds is found; a repair that is told who is right must bring back what was written, as far as it is there. */
export async function repairSilently(run: SimRun, lost: Lie | null): Promise<void> {
  const array = run.array();
  const liar = array?.slots.find(({ name }) => name === lost?.disk.name);
  if (array === undefined || liar === undefined || run.isTolerant) return;
  const hasDiffered = await checkAndRepair(run, liar.index);
  // Copies still differed, so one of them had it all along; parity may have been made from what was wrong.
  if (hasDiffered && array.module.redundancy === 'copies') run.model.believe();
  await run.readAll('after a repair');
}

import type { RaidArray } from '@raidkit/core';
import type { VolumeModel } from '../model.js';
import { canCheckRedundancy } from '../redundancy.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';

/** The parts of a run that are needed here. */
export interface DoubtingRun {
  readonly world: World;
  readonly model: VolumeModel;
  readonly reservedBytes: number;
  hasLied: boolean;
  array(): RaidArray | undefined;
}

/** Marks the contents of all stripes that contain these sectors of a disk as unknown. */
export function doubt(run: DoubtingRun, disk: SimDisk, firstSector: number, numSectors: number): void {
  run.hasLied = true;
  const array = run.array();
  if (array === undefined || array.level === null) return;
  const { arrayBlocks, memberBlocks } = array.stripe();
  const perBlock = array.blockSize / sectorBytes;
  const slot = array.slots.find(({ name, lastMember }) => name === disk.name || lastMember?.name === disk.name);
  const from = firstSector - (slot?.dataOffset ?? run.reservedBytes / array.blockSize) * perBlock;
  if (from + numSectors <= 0) return;
  const first = Math.floor(Math.max(0, from) / perBlock / memberBlocks) * arrayBlocks;
  const end = (Math.floor((from + numSectors - 1) / perBlock / memberBlocks) + 1) * arrayBlocks;
  run.world.trace(`== ${disk.name} has lied: blocks ${first} to ${end - 1} are in doubt`);
  run.model.doubtValues(first * perBlock, (end - first) * perBlock);
}

/**
 * Whether all bad blocks are in stripes where disks were corrupted silently, of a level whose redundancy only the level itself
 * can evaluate: after a crash their contents may be impossible to determine.
 */
export function areBadInDoubt(run: DoubtingRun): boolean {
  const array = run.array();
  if (!run.hasLied || array?.module.redundancy !== 'parity' || canCheckRedundancy(array)) return false;
  const { arrayBlocks, memberBlocks } = array.stripe();
  const perBlock = array.blockSize / sectorBytes;
  return array.slots.every(({ index }) =>
    [...array.badBlocks.rangesOf(index)].every(({ start, end }) => {
      for (let stripe = Math.floor(start / memberBlocks); stripe * memberBlocks < end; stripe++)
        if (!run.model.isDoubted(stripe * arrayBlocks * perBlock, arrayBlocks * perBlock)) return false;
      return true;
    }),
  );
}

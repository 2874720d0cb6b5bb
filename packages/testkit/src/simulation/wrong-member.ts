import { RegionState, canLoseAny } from '@raidkit/core';
import type { RaidArray } from '@raidkit/core';
import { Random } from '../random.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { ViolationError } from './violation.js';

/** A block of a member that is corrupted. */
interface Victim {
  readonly disk: SimDisk;
  readonly slot: number;
  /** Block number on the disk. */
  readonly block: number;
}

/**
 * Everything is at rest and consistent. If parity covers any two members, it also reveals which one is wrong: one bit of a
 * member is flipped, a check must name the member, and a repair must restore the bit and change nothing else.
 */
export async function corruptOne(run: SimRun): Promise<void> {
  const array = run.array();
  const random = new Random(run.plan.seed, 2000);
  // Checksums reveal it without parity, and a check repairs it by them.
  if (run.plan.shape.integrity !== undefined) return;
  if (array === undefined || run.volume === null || run.isUndecided || !random.chance(0.3)) return;
  const victim = choose(run, array, random);
  if (victim === null) return;
  const { block, disk, slot } = victim;
  const dataOffset = array.slots[slot]?.dataOffset ?? 0;
  const before = contentsOf(array, run.disks);
  const { onLie } = disk;
  disk.onLie = null;
  disk.corrupt(block * (disk.blockSize / sectorBytes), random.int(0, sectorBytes * 8 - 1));
  disk.onLie = onLie;
  run.world.trace(`== a bit of block ${block} of ${disk.name} turns over`);
  for (const type of ['check', 'repair'] as const) {
    const named = await slotsFoundBy(run, array, type);
    // The whole region was unmapped and is recorded as unwritten: it reads as zeros whatever members hold, and is not compared.
    if (array.bitmap?.has(RegionState.Unwritten, block - dataOffset, 1) === true) return;
    if (named !== `${slot}`)
      throw new ViolationError(`G7: slot ${slot} is wrong, and a ${type} found ${named === '' ? 'nothing' : `slot ${named}`}`);
  }
  for (const [index, bytes] of contentsOf(array, run.disks).entries())
    if (Buffer.compare(bytes, before[index] ?? bytes.subarray(1)) !== 0)
      throw new ViolationError(`G7: a repair left slot ${index} otherwise than it was`);
  run.coverage.mark('a wrong member was located and repaired');
}

function choose(run: SimRun, array: RaidArray, random: Random): Victim | null {
  const { badBlocks, bitmap, currentGeometry, module, numInSync, numSlots, options, slots } = array;
  const stripe = currentGeometry?.stripe;
  if (module.redundancy !== 'parity' || canLoseAny(module, numSlots, [], options) < 2 || numInSync < numSlots) return null;
  if (bitmap === null || stripe === undefined || bitmap.regionsToResync > 0 || badBlocks.size > 0) return null;
  const touched = [...run.model.touched];
  const sector = touched.length === 0 ? -1 : random.pick(touched);
  const at = Math.floor((sector * sectorBytes) / array.blockSize / stripe.arrayBlocks);
  const block = at * stripe.memberBlocks + random.int(0, stripe.memberBlocks - 1);
  const slot = random.pick(slots);
  const disk = run.disks.find(({ name }) => name === slot.name);
  if (sector < 0 || disk === undefined || bitmap.has(RegionState.Unwritten, block, 1)) return null;
  return { disk, slot: slot.index, block: slot.dataOffset + block };
}

/** Runs the process and returns the list of slots that it names. */
async function slotsFoundBy(run: SimRun, array: RaidArray, type: 'check' | 'repair'): Promise<string> {
  run.stack?.arrays.startSync(arrayName, type);
  await run.inTime(`a ${type}`, array.processEnded);
  const [record] = array.history;
  if (record?.type !== type || record.error !== null)
    throw new ViolationError(`G9: the ${type} failed: ${record?.error ?? 'it is not recorded'}`);
  return [...new Set(record.mismatches.map(({ isLocated, slot }) => `${slot}${isLocated ? '' : ', perhaps'}`))].join('; ');
}

/** Returns the members' data by slot. */
function contentsOf({ blockSize, slots }: RaidArray, disks: readonly SimDisk[]): Uint8Array[] {
  return slots.map(({ dataOffset, dataSize, name }) => {
    const bytes = new Uint8Array(dataSize * blockSize);
    disks.find((disk) => disk.name === name)?.media.read(bytes, 0, dataOffset * blockSize, bytes.length);
    return bytes;
  });
}

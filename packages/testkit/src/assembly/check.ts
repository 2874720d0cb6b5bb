import { BdevError, BlockClient, IoType } from '@raidkit/bdev';
import { RaidError, canRun } from '@raidkit/core';
import type { RaidArray, RaidModule } from '@raidkit/core';
import { checkRedundancy } from '../redundancy.js';
import { noTag, readTag, sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import { Bench, inVirtualTime } from './bench.js';
import type { BenchParts } from './bench.js';
import type { Arrival, AssemblyCase } from './cases.js';
import type { Image } from './histories.js';

/** How a case ended. */
export type AssemblyOutcome = 'right data' | 'refused';

/** Time limit, in virtual milliseconds, for everything that follows an assembly. */
const timeLimitMs = 10 * 60_000;

interface Found extends Image, Arrival {
  disk: SimDisk;
  /** The device was refused, because its uuid was registered already. */
  isRefused: boolean;
  writes: number;
}

/** Assembles the array from the disks of a case. Rejects with what is wrong unless it ends as it must. */
export async function checkAssembly(parts: BenchParts, one: AssemblyCase): Promise<AssemblyOutcome> {
  const bench = new Bench(parts, 0);
  const found = one.arrivals.map((arrival) => findDisk(bench, one, arrival));
  try {
    return await inVirtualTime(bench.world, () => steps(parts, bench, one, found));
  } finally {
    bench.stack.die();
    parts.memory.reset();
  }
}

function findDisk(bench: Bench, { history }: AssemblyCase, arrival: Arrival): Found {
  const image = history.slots[arrival.slot]?.get(arrival.image);
  if (image === undefined) throw new RangeError(`slot ${arrival.slot} has no image "${arrival.image}"`);
  const disk = bench.newDisk(arrival.slot, Math.floor(image.media.lengthBytes / 512));
  disk.media.restore(image.media);
  const found: Found = { ...image, ...arrival, disk, isRefused: false, writes: 0 };
  disk.onSubmit = (io) => {
    if (io.type !== IoType.Read && io.type !== IoType.Flush) found.writes++;
  };
  return found;
}

async function steps(
  parts: BenchParts,
  bench: Bench,
  { history }: AssemblyCase,
  all: readonly Found[],
): Promise<AssemblyOutcome> {
  const { stack } = bench;
  for (const one of all) {
    try {
      await stack.plugIn(one.disk);
    } catch (error) {
      if (!BdevError.is(error)) throw error;
      one.isRefused = true;
    }
  }
  await stack.registry.waitForExamine();
  await bench.world.sleep(1);
  const found = all.filter(({ isRefused }) => !isRefused);
  let refusal = 'nothing was found';
  if (stack.arrays.get(bench.arrayName)?.state === 'configuring') {
    try {
      await stack.arrays.startDegraded(bench.arrayName);
    } catch (error) {
      if (!RaidError.is(error)) throw error;
      refusal = error.message;
    }
  }
  const array = stack.arrays.get(bench.arrayName);
  const isUp = array?.state === 'online';
  if (isUp) {
    const epochs = new Set(found.map(({ epoch }) => epoch).filter((epoch) => epoch !== null));
    const newest = Math.max(...epochs);
    const seen = await readEpoch(bench);
    if (history.isApart ? !epochs.has(seen) : seen !== newest)
      throw new Error(`the volume holds ${named(seen)}, not epoch ${newest}`);
    await settle(bench, array);
    const again = await readEpoch(bench);
    if (again !== seen) throw new Error(`the volume held ${named(seen)} and holds ${named(again)} once everything is at rest`);
    checkMembers(bench, array, found);
  } else {
    const isSettled = found.some((one) => one.isSettled === true);
    const current = found.filter(({ isBehind, isCurrent }) => isCurrent && !(isSettled && isBehind === true));
    const missing = [...history.slots.keys()].filter((index) => !current.some(({ slot }) => slot === index));
    const isNeeded = canRun(parts.module, history.slots.length, missing, parts.levelOptions);
    const mayRefuse =
      history.isApart || isUnproven(parts.module, history.slots.length, found) || isUnknown(parts.module, found);
    if (isNeeded && !mayRefuse)
      throw new Error(`the array does not start although ${current.length} members are current: ${refusal}`);
  }
  checkUntouched(bench, array, all);
  await stack.arrays.stop();
  const { outstanding } = stack.registry.ios;
  if (outstanding !== 0 || stack.arrays.iosOutstanding !== 0) throw new Error('I/O objects are out after a stop');
  return isUp ? 'right data' : 'refused';
}

/**
 * Whether an array with parity lacks a member, and no present member's header records with the newest superblock what was being
 * written: the parity is then unproven, and only the user may decide to trust it.
 */
function isUnproven(module: RaidModule, numSlots: number, found: readonly Found[]): boolean {
  const current = found.filter(({ isCurrent }) => isCurrent);
  const isParity = module.redundancy === 'parity';
  if (!isParity || current.length === numSlots) return false;
  return (
    current.some(({ isBlind }) => isBlind) && current.every(({ isBehind, isBlind }) => isBlind === true || isBehind === true)
  );
}

/**
 * Whether all members with the newest state have lost their headers, and a member that has its header contradicts them, so that
 * the user must decide who is right; or the lost headers would have said where data is.
 */
function isUnknown({ optionsDefineLayout = false }: RaidModule, found: readonly Found[]): boolean {
  const current = found.filter(({ isCurrent }) => isCurrent);
  return (
    current.every(({ isBlind }) => isBlind === true) &&
    (optionsDefineLayout || found.some(({ epoch, isBlind, isCurrent }) => epoch !== null && isBlind !== true && !isCurrent))
  );
}

/** Waits until members that came later were examined and rebuilds have ended. */
async function settle(bench: Bench, array: RaidArray): Promise<void> {
  const until = bench.world.now + timeLimitMs;
  do {
    await bench.world.sleep(50);
    if (bench.world.now > until) throw new Error('the array does not come to rest');
  } while (array.process !== null || array.slots.some(({ isRebuilding }) => isRebuilding));
}

/** Returns the epoch that the whole volume holds; {@link noTag} if there is more than one. */
async function readEpoch(bench: Bench): Promise<number> {
  const descriptor = bench.stack.registry.open(bench.arrayName);
  const client = new BlockClient(descriptor);
  const bytes = await client.read(0, client.numBlocks);
  descriptor.close();
  const words = new Int32Array(bytes.buffer);
  const epoch = readTag(words, 0, 0);
  for (let sector = 1; sector < bytes.length / sectorBytes; sector++) {
    if (readTag(words, (sector * sectorBytes) / 4, sector) !== epoch) return noTag;
  }
  return epoch;
}

function named(epoch: number): string {
  return epoch === noTag ? 'a mixture' : `epoch ${epoch}`;
}

/** Checks that members that count as current are consistent. */
function checkMembers(bench: Bench, array: RaidArray, found: readonly Found[]): void {
  if (array.module.redundancy === 'none' || array.numInSync < array.numSlots) return;
  const disks = found.map(({ disk }) => disk);
  const problem = checkRedundancy(array, disks);
  if (problem !== null) throw new Error(problem);
}

/** Checks that nothing was written to a disk that is not known to be this array's, nor to the other of two halves. */
function checkUntouched(bench: Bench, array: RaidArray | undefined, found: readonly Found[]): void {
  for (const { disk, epoch, image, isRefused, writes } of found) {
    const isMember =
      array?.slots.some(
        ({ name, hasDevice, uuid }) => name === disk.name && hasDevice && uuid === bench.stack.bdevOf(disk)?.uuid,
      ) ?? false;
    const isForeignArrays = image === 'foreign' && bench.stack.bdevOf(disk)?.claimedBy !== null;
    if (writes > 0 && (isRefused || (epoch === null && !isForeignArrays) || (!isMember && image.endsWith('half')))) {
      throw new Error(`${disk.name} (${image}) was written to`);
    }
  }
}

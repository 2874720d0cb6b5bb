import { IoType } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { CutMode } from '../disk-faults.js';
import { Random } from '../random.js';
import { checkRedundancy } from '../redundancy.js';
import { hasNoJournal } from '../slots.js';
import type { SimDisk } from '../sim-disk.js';
import { attackOne } from './attacks.js';
import type { SimRun } from './sim-run.js';
import { Twin } from './twin.js';
import { ViolationError, describeArray } from './violation.js';

/** Longest time until no region is dirty at rest, in milliseconds. */
const longestDirtyMs = 60_000;

/** Largest number of members that are lost in turn at one rest; of a wide array not every member is tried. */
const mostLosses = 5;

/** What happens to lost members. */
const fates = ['stay away', 'come back', 'are replaced by blank ones'] as const;
type LostFate = (typeof fates)[number];

/** Parameters of a probe. */
interface Probe {
  lost: SimDisk[];
  cut: CutMode;
  fate: LostFate;
  /** Whether users write and the array is assembled once more. */
  isUsedAgain: boolean;
}

/**
 * The array is at rest with all its members. On copies of it the power fails, each member in turn is lost, and everything is
 * read; in some of them users write and the array is assembled again, or the member returns, as it was or blank.
 */
export async function probeAll(run: SimRun): Promise<void> {
  if (!run.hasSuperblock) return;
  await whenClean(run);
  const { numSlots } = run;
  const members = run.disks.filter((disk) => run.array()?.slots.some(({ name }) => name === disk.name) === true);
  const random = new Random(run.plan.seed, 20 + (run.numProbes++ % 1000));
  // All members were flushed for that, but users may rely on it only if they flush themselves.
  if (random.chance(0.8)) await run.io(await run.up(), IoType.Flush, 0, 1);
  const most = numSlots - run.least;
  // Without redundancy it must not start with a member missing; a single copy cannot be lost.
  const losses = most > 0 ? mostLosses : run.isRedundant ? 0 : 1;
  for (const member of [null, ...random.shuffle(members).slice(0, losses)]) {
    const others = random.shuffle(members.filter((other) => other !== member));
    const drawn = most > 1 && random.chance(0.5) ? others.slice(0, random.int(0, most - 1)) : [];
    const left = members.filter((other) => other !== member && !drawn.includes(other));
    const more = run.canRunWith(left) ? drawn : [];
    const probe: Probe = {
      lost: member === null ? [] : [member, ...more],
      cut: random.pick([CutMode.KeepAll, CutMode.LoseAll, CutMode.Random]),
      fate: random.chance(0.7) ? 'stay away' : random.pick(fates),
      isUsedAgain: random.chance(0.25),
    };
    const names = probe.lost.map(({ name }) => name).join(', ');
    const what = names === '' ? 'a restart' : `${names} ${probe.fate}`;
    run.coverage.mark(names === '' ? 'probe: restart' : `probe: ${probe.fate}${probe.isUsedAgain ? ', used again' : ''}`);
    await Twin.run(run, random.bits(), `${what}${probe.isUsedAgain ? ', used again' : ''}`, (twin) =>
      run.isRedundant ? withRedundancy(run, twin, probe) : withoutRedundancy(twin, probe),
    );
  }
  await attackOne(run);
  if (random.chance(0.5)) run.takeImages();
}

/** Waits until regions are clean, so that losing a member costs nothing, even where parity cannot be trusted after a crash. */
export async function whenClean(run: SimRun): Promise<void> {
  const until = run.world.now + longestDirtyMs;
  while ((run.array()?.bitmap?.count(RegionState.Dirty) ?? 0) > 0) {
    const array = run.array();
    if (run.world.now > until && array !== undefined)
      throw new ViolationError(`G7: regions stay dirty at rest: ${describeArray(array)}`);
    await run.world.sleep(500);
  }
  // The bitmap in memory is clean first; the members' copies follow.
  await run.world.sleep(2000);
}

async function withRedundancy(run: SimRun, twin: Twin, probe: Probe): Promise<void> {
  crash(twin, probe.cut);
  for (const disk of probe.lost) twin.diskOf(disk).isPresent = false;
  await mustStart(twin);
  await twin.readAll();
  if (probe.isUsedAgain && !(await useAgain(run, twin, probe))) return;
  if (probe.fate === 'stay away' || probe.lost.length === 0) return;
  // A rebuild ends early if it finds more lost blocks than a short list has room for, until users write them.
  const isListShort = run.plan.shape.integrity?.mostBadRanges !== undefined && (twin.array?.badBlocks.size ?? 0) > 0;
  if (isListShort && probe.fate !== 'come back') return;
  for (const lost of probe.lost) {
    const disk = twin.diskOf(lost);
    disk.isPresent = true;
    if (probe.fate !== 'come back') disk.blank(twin.random.pick([0, 0xdb]));
    await twin.stack.plugIn(disk);
    if (probe.fate !== 'come back') await twin.stack.arrays.addBaseBdev(twin.array?.name ?? '', disk.name);
    while (twin.array?.slots.some(({ name, isInSync }) => name === disk.name && isInSync) !== true) await twin.world.sleep(100);
  }
  const array = await twin.settle();
  const problem = checkRedundancy(array, twin.disks);
  if (problem !== null && !run.hasLied) throw new ViolationError(`G7: ${problem}`);
  await twin.readAll();
}

/** Without a member the array must not start; with it again, all data must be there. */
async function withoutRedundancy(twin: Twin, { cut, lost }: Probe): Promise<void> {
  crash(twin, cut);
  for (const disk of lost) twin.diskOf(disk).isPresent = false;
  if (lost.length > 0) {
    if ((await twin.assemble()) === 'online')
      throw new ViolationError('G2: the array starts without a member that it cannot do without');
    for (const disk of lost) {
      twin.diskOf(disk).isPresent = true;
      await twin.stack.plugIn(twin.diskOf(disk));
    }
    await twin.stack.registry.waitForExamine();
    if ((await twin.start()) === 'refused') throw new ViolationError(`G8: the array does not start: ${twin.refusal}`);
  } else {
    await mustStart(twin);
  }
  await twin.readAll();
}

/**
 * Users write, and then the power fails again or the array stops in an orderly way. Returns false if the array rightly does not
 * start.
 */
async function useAgain(run: SimRun, twin: Twin, { cut, lost }: Probe): Promise<boolean> {
  await twin.writeSome(twin.random.int(1, 6), true);
  const how = twin.random.pick(['stop', 'crash']);
  twin.world.trace(`== ${how}`);
  if (how === 'stop') await twin.stop();
  else twin.bury();
  if (how === 'crash') crash(twin, cut);
  // These regions are dirty, so losing another member would be one too many.
  if ((await twin.assemble()) === 'refused') {
    // After an unclean stop nothing says what the missing member holds.
    if (how === 'crash' && lost.length > 0 && hasNoJournal(run.module)) return false;
    throw new ViolationError(`G8: the array does not start: ${twin.refusal}`);
  }
  twin.world.trace(`== ${lost.length} lost, started again`);
  await twin.readAll();
  await twin.readAll();
  return true;
}

function crash(twin: Twin, cut: CutMode): void {
  for (const disk of twin.disks) disk.powerCut(cut);
  twin.model.powerCut();
}

async function mustStart(twin: Twin): Promise<void> {
  if ((await twin.assemble()) === 'refused') throw new ViolationError(`G8: the array does not start: ${twin.refusal}`);
}

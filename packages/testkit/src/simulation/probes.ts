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

/** Longest time, at rest, until no region is dirty any more, in milliseconds. */
const longestDirtyMs = 60_000;

/** Most members that are lost at one rest: not each member of a wide array is lost each time. */
const mostLosses = 5;

/** What becomes of members that were lost. */
const fates = ['stay away', 'come back', 'are replaced by blank ones'] as const;
type LostFate = (typeof fates)[number];

/** What a probe does. */
interface Probe {
  lost: SimDisk[];
  cut: CutMode;
  fate: LostFate;
  /** Users write, and it is all put together once more. */
  isUsedAgain: boolean;
}

/**
 * The array is at rest with all its members. On copies of it: the power fails, each member in turn is lost, and everything is
 * read; in some of them users write and it is put together again, or the member comes back, as it was or blank.
 */
export async function probeAll(run: SimRun): Promise<void> {
  if (!run.hasSuperblock) return;
  await whenClean(run);
  const { numSlots } = run;
  const members = run.disks.filter((disk) => run.array()?.slots.some(({ name }) => name === disk.name) === true);
  const random = new Random(run.plan.seed, 20 + (run.numProbes++ % 1000));
  // All members have been flushed for that; what users may count on grows only if they ask.
  if (random.chance(0.8)) await run.io(await run.up(), IoType.Flush, 0, 1);
  const most = numSlots - run.least;
  // Without redundancy it must not start without one; a copy that is alone cannot be lost.
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

/** At rest regions become clean: what is lost then costs nothing, not even where parity cannot be trusted after a crash. */
export async function whenClean(run: SimRun): Promise<void> {
  const until = run.world.now + longestDirtyMs;
  while ((run.array()?.bitmap?.count(RegionState.Dirty) ?? 0) > 0) {
    const array = run.array();
    if (run.world.now > until && array !== undefined)
      throw new ViolationError(`G7: regions stay dirty at rest: ${describeArray(array)}`);
    await run.world.sleep(500);
  }
  // Memory first: what members have on record follows.
  await run.world.sleep(2000);
}

async function withRedundancy(run: SimRun, twin: Twin, probe: Probe): Promise<void> {
  crash(twin, probe.cut);
  for (const disk of probe.lost) twin.diskOf(disk).isPresent = false;
  await mustStart(twin);
  await twin.readAll();
  if (probe.isUsedAgain && !(await useAgain(run, twin, probe))) return;
  if (probe.fate === 'stay away' || probe.lost.length === 0) return;
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

/** Without a member, nothing of it: and with it again, all. */
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

/** Users write, and then the power fails again, or everything stops as it should. False: the array does not start, and is right. */
async function useAgain(run: SimRun, twin: Twin, { cut, lost }: Probe): Promise<boolean> {
  await twin.writeSome(twin.random.int(1, 6), true);
  const how = twin.random.pick(['stop', 'crash']);
  twin.world.trace(`== ${how}`);
  if (how === 'stop') await twin.stop();
  else twin.bury();
  if (how === 'crash') crash(twin, cut);
  // The regions of these writes are dirty: a member that is lost besides would be one too many.
  if ((await twin.assemble()) === 'refused') {
    // It was not stopped as it should be, lacks a member, and nothing says what that one holds.
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

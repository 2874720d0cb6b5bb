import { RaidError } from '@raidkit/core';
import type { SimDisk } from '../sim-disk.js';
import type { Stack } from '../stack.js';
import { forgiveWhenUp } from './rest.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { comeBack } from './trouble.js';
import { ViolationError } from './violation.js';

/**
 * Returns the device for which a start was rightly refused, and which the refusal names: it alone has the superblock of a round
 * that the crash cut short, and either has lost a header of that round, or another program has run the array without it since.
 * Null if the refusal has another reason, or no good one.
 */
export async function deviceToTakeAway(run: SimRun, stack: Stack, error: unknown): Promise<SimDisk | null> {
  if (!RaidError.is(error) || error.errno !== 16 || error.code !== 'ERR_RAID_METADATA') return null;
  const { lostHeader } = run;
  if (lostHeader !== null && error.message.includes(` ${lostHeader.name} (${lostHeader.uuid}) `))
    return (await isAhead(run, stack, lostHeader)) ? lostHeader : null;
  const named = run.disks.find(({ isPresent, name }) => isPresent && error.message.includes(`close ${name} (slot `));
  return named !== undefined && run.wasForeign && (await isAhead(run, stack, named)) ? named : null;
}

/** Whether the disk has a higher sequence number than all others. */
async function isAhead(run: SimRun, stack: Stack, disk: SimDisk): Promise<boolean> {
  const number = await sequenceOf(run, stack, disk);
  for (const other of run.disks) {
    if (other === disk || !other.isPresent) continue;
    if ((await sequenceOf(run, stack, other)) >= number) return false;
  }
  return true;
}

/**
 * The operator takes the named device away: the array must start then, and hold everything that redundancy covers without it.
 * Afterwards the device comes back.
 */
export async function startWithout(run: SimRun, stack: Stack, disk: SimDisk): Promise<void> {
  run.coverage.mark('a start is refused for one device: started without it');
  run.world.trace(`== ${disk.name} is taken away`);
  disk.vanish();
  await run.inTime(`taking ${disk.name} away`, stack.pullOut(disk));
  // The others may have to be examined again.
  await run.world.sleep(10);
  await run.inTime('examining', stack.registry.waitForExamine());
  try {
    if (run.volume === null) await run.inTime('a start without it', stack.arrays.startDegraded(arrayName));
  } catch (error) {
    if (!RaidError.is(error)) throw error;
    // With parity it counts as a member that is lost in the crash.
    if (!run.isParity || error.code !== 'ERR_RAID_METADATA' || error.errno !== 5)
      throw new ViolationError(`G8: without ${disk.name} the array does not start either: ${error.message}`);
    forgiveWhenUp(run);
    await run.inTime('a forced start', stack.arrays.startDegraded(arrayName, { force: true }));
  }
  await run.readAll(`without ${disk.name}`);
  comeBack(run, disk, 'same');
}

/** Sequence number of the superblock on the disk; -1 if it has none. */
async function sequenceOf(run: SimRun, stack: Stack, disk: SimDisk): Promise<number> {
  const descriptor = stack.registry.open(disk.name, { writable: false });
  try {
    const found = await run.store.read(descriptor);
    return found.kind === 'found' ? found.record.seqNumber : -1;
  } finally {
    descriptor.close();
  }
}

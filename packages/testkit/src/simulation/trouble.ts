import { RaidError } from '@raidkit/core';
import type { PlanItem } from '../plan-items.js';
import { CutMode } from '../disk-faults.js';
import { Hoard } from '../hoard.js';
import type { SimDisk } from '../sim-disk.js';
import { sectorBytes } from '../sector.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';

/** Gives a disk a temporary fault, if the data survives it or the plan allows more than that. */
export function giveFault(run: SimRun, { disk: index, fault, ms, amount }: PlanItem & { kind: 'fault' }): void {
  const disk = run.disk(index);
  const { world } = run;
  if (run.isCalm) return;
  // Without timeouts a stuck device is merely slow.
  const isStuck = fault === 'stuck' || fault === 'hung';
  const isHarmless = fault === 'slow' || fault === 'busy' || (isStuck && !run.can.timeouts);
  if (!isHarmless && !run.standing.mayLose(disk) && !run.standing.mayExceed(disk)) return;
  const { faults } = disk;
  run.mark(`fault ${fault}`);
  world.trace(`== ${disk.name}: ${fault} for ${ms.toFixed(1)} ms`);
  const end = world.now + ms;
  switch (fault) {
    case 'latent':
      makeLatent(run, disk, Math.ceil(amount * 4));
      break;
    case 'readErrors':
      faults.readErrorRate = amount;
      break;
    case 'writeErrors':
      faults.writeErrorRate = amount;
      break;
    case 'writeErrorOnce':
      faults.writeErrors = 1;
      break;
    case 'flushErrorOnce':
      faults.flushErrors = 1;
      break;
    case 'full':
      faults.isFull = true;
      break;
    case 'thin':
      faults.thinUnits = Math.ceil(amount * amount * 64);
      break;
    case 'slow':
      faults.slowness = 1 + amount * 100;
      break;
    case 'stuck':
    case 'hung':
      faults.stuckUntil = end;
      break;
    case 'readOnly':
      faults.isReadOnly = true;
      break;
    case 'busy':
      faults.busyRate = amount * 0.5;
      break;
  }
  world.after(ms, () => {
    faults.clear();
    disk.latent.clear();
  });
}

/** All disks fail their writes for a while, as if they had one controller. Requests may fail until then, and no others. */
export function outage(run: SimRun, { failsFlushes, ms }: PlanItem & { kind: 'outage' }): void {
  if (run.isCalm || run.areUsersHeld) return;
  run.mark(failsFlushes ? 'outage, of flushes too' : 'outage');
  run.world.trace(`== all disks fail writes${failsFlushes ? ' and flushes' : ''} for ${ms.toFixed(1)} ms`);
  for (const disk of run.disks) {
    if (!disk.isPresent) continue;
    if (!run.standing.mayLose(disk)) run.standing.mayExceed(disk);
    const { faults } = disk;
    faults.writeErrorRate = 1;
    if (failsFlushes) faults.flushErrorRate = 1;
  }
  run.world.after(ms, () => {
    for (const { faults } of run.disks) {
      faults.writeErrorRate = 0;
      if (failsFlushes) faults.flushErrorRate = 0;
    }
  });
}

/** Sectors where data was written become unreadable. */
function makeLatent(run: SimRun, disk: SimDisk, count: number): void {
  const array = run.array();
  const slot = array?.slots.find(({ name }) => name === disk.name);
  if (slot === undefined) return;
  const perBlock = disk.blockSize / sectorBytes;
  const touched = [...run.model.touched];
  for (let i = 0; i < count && touched.length > 0; i++) {
    // Close to where the level may have put it, since members hold the volume's blocks in about the same order.
    const share = run.random.pick(touched) / ((run.volume?.numBlocks ?? 1) * perBlock);
    const near = Math.floor(share * slot.dataSize * perBlock);
    const sector = Math.min(slot.dataSize * perBlock - 1, Math.max(0, near + run.random.int(-4, 4)));
    disk.latent.add(slot.dataOffset * perBlock + sector);
  }
}

/** Lets others hold nearly all buffers for a while. */
export function hoard(run: SimRun, { ms, free }: PlanItem & { kind: 'hoard' }): void {
  const { stack } = run;
  if (stack === null || run.isCalm || run.areUsersHeld || run.hoard !== null) return;
  run.mark('buffers run out');
  run.world.trace(`== others have all buffers but ${free} for ${ms.toFixed(1)} ms`);
  const taken = new Hoard(stack.registry, free);
  run.hoard = taken;
  run.world.after(ms, () => {
    if (run.hoard === taken) endHoard(run);
  });
}

/** Ends a shortage of buffers. */
export function endHoard(run: SimRun): void {
  run.hoard?.end();
  run.hoard = null;
}

/** Removes a disk, which returns after a while. */
export function vanish(run: SimRun, { disk: index, ms, returns }: PlanItem & { kind: 'vanish' }): void {
  const disk = run.disk(index);
  const { stack, world } = run;
  if (run.isCalm || stack?.bdevOf(disk) === undefined || !run.standing.mayLose(disk)) return;
  // Without redundancy, what a device loses is lost.
  const how = run.isRedundant ? returns : 'same';
  run.mark(`vanish ${how}`);
  world.trace(`== ${disk.name} vanishes for ${ms.toFixed(1)} ms, returns ${how}`);
  disk.vanish();
  void run.call(`pulling ${disk.name} out`, stack.pullOut(disk));
  world.after(ms, () => comeBack(run, disk, how));
}

/** Returns a disk that was removed. */
export function comeBack(run: SimRun, disk: SimDisk, how: 'same' | 'cut' | 'old'): void {
  if (disk.isPresent) return;
  // The array must have closed it.
  if (run.stack?.registry.get(disk.name) !== undefined) {
    run.world.after(10, () => comeBack(run, disk, how));
    return;
  }
  const old = run.snapshots.get(disk);
  // It may lose only what is known to be missing, so the others' metadata must record that it is removed.
  const isOut = run.standing.recordedOut.has(disk);
  if (how === 'cut' && isOut) disk.loseCache(CutMode.Random);
  if (how === 'old' && old !== undefined && isOut) {
    disk.loseCache(CutMode.KeepAll);
    disk.media.restore(old);
    run.coverage.mark('old image came back');
  }
  disk.isPresent = true;
  disk.lastErrorAt = run.world.now;
  const { stack } = run;
  run.world.trace(`== ${disk.name} is back`);
  if (stack === null) return;
  if (stack.bdevOf(disk) === undefined) void run.call(`plugging ${disk.name} in`, stack.plugIn(disk));
}

/** Resolves when the disk is present. */
export async function whenBack(run: SimRun, disk: SimDisk): Promise<void> {
  while (!disk.isPresent) await run.world.sleep(50);
}

/** An operator removes a member, if the data survives it. Half of them insist where redundancy is inconsistent. */
export function removeMember(run: SimRun, disk: SimDisk, at: number): void {
  const array = run.array();
  if (run.stack === null || array?.state !== 'online' || !run.standing.mayLose(disk)) return;
  if (!array.slots.some(({ name }) => name === disk.name)) return;
  run.mark('remove');
  run.standing.good.delete(disk);
  const force = Math.floor(at * 1000) % 2 === 0;
  run.world.trace(`== remove ${disk.name}${force ? ' by force' : ''}`);
  const removed = run.stack.arrays.removeBaseBdev(disk.name, { force });
  // It is still a member where that was refused.
  removed.catch(() => run.standing.noteCurrent());
  void run.call(`removing ${disk.name}`, removed, () => {
    run.world.trace(`== ${disk.name} is removed`);
  });
}

/** An operator adds a disk to an empty slot, if there is one. */
export function addMember(run: SimRun, disk: SimDisk): void {
  const array = run.array();
  const bdev = run.stack?.bdevOf(disk);
  if (run.stack === null || array?.state !== 'online' || bdev?.claimedBy !== null) return;
  if (array.process !== null || array.slots.every(({ hasDevice }) => hasDevice)) return;
  run.mark('add');
  run.world.trace(`== add ${disk.name}`);
  const { arrays } = run.stack;
  const added = arrays.addBaseBdev(arrayName, disk.name).catch(async (error: unknown) => {
    // A former member whose slot was removed needs an operator to confirm.
    if (!RaidError.is(error) || error.code !== 'ERR_RAID_SUPERBLOCK_FOUND' || run.standing.good.has(disk)) throw error;
    run.coverage.mark('a former member is wiped');
    await arrays.wipe(disk.name);
    throw error;
  });
  void run.call(`adding ${disk.name}`, added);
}

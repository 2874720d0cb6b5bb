import type { RaidArray, Slot } from '@raidkit/core';
import type { ProcessAction } from '../plan-items.js';
import type { SimDisk } from '../sim-disk.js';
import { repairOptions } from './lies.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';

/** Makes an unclaimed disk a spare. */
export function addSpare(run: SimRun, disk: SimDisk): void {
  if (run.stack?.bdevOf(disk)?.claimedBy !== null) return;
  run.mark('spare');
  run.world.trace(`== spare ${disk.name}`);
  void run.call(`making ${disk.name} a spare`, run.stack.arrays.addSpare(disk.name));
}

/** Replaces a member, which works until then, by an unclaimed disk. */
export function replace(run: SimRun, member: SimDisk): void {
  const { stack } = run;
  const other = run.disks.find((disk) => stack?.bdevOf(disk)?.claimedBy === null);
  if (stack === null || other === undefined || run.array()?.state !== 'online') return;
  if (run.array()?.slots.some(({ name }) => name === member.name) !== true) return;
  run.mark('replace');
  run.world.trace(`== replace ${member.name} by ${other.name}`);
  void run.call(`replacing ${member.name}`, stack.arrays.replaceBaseBdev(arrayName, member.name, other.name));
}

/** Adds an unclaimed disk as a further copy. */
export function addCopy(run: SimRun, disk: SimDisk): void {
  const array = run.array();
  const { stack } = run;
  if (stack === null || array?.state !== 'online') return;
  if (stack.bdevOf(disk)?.claimedBy !== null) return;
  run.mark('copy');
  run.world.trace(`== ${disk.name} becomes one more copy`);
  const { numSlots } = array;
  void run.call(`adding ${disk.name} as a copy`, stack.arrays.growBaseBdev(arrayName, disk.name), () => {
    if (array.numSlots > numSlots)
      run.coverage.mark(`a copy has been added to ${groupsOf(array).length > 1 ? 'a group' : 'all'}`);
  });
}

/** Removes a slot permanently, with its member if the data survives that; an empty one if the disk is not a member. */
export function takeSlot(run: SimRun, disk: SimDisk): void {
  const array = run.array();
  const { stack } = run;
  if (stack === null || array?.state !== 'online') return;
  const wanted = array.slots.find(({ name }) => name === disk.name) ?? array.slots.find(({ hasDevice }) => !hasDevice);
  if (wanted === undefined) return;
  // If that slot cannot be removed, the last one may be.
  const slot = mayGo(run, array, wanted) ? wanted : (array.slots.at(-1) ?? wanted);
  const member = run.disks.find(({ name }) => name === slot.name);
  if (slot.isInSync && (member === undefined || !run.standing.mayLose(member))) return;
  run.mark('shrink');
  // If the call is refused, the member stays.
  if (member !== undefined && mayGo(run, array, slot)) run.standing.good.delete(member);
  run.world.trace(`== slot ${slot.index} (${String(slot.name)}) goes`);
  const isLast = slot.index === array.numSlots - 1;
  void run.call(`taking slot ${slot.index} away`, stack.arrays.removeSlot(arrayName, slot.index), () => {
    run.coverage.mark(
      `a slot has gone from ${groupsOf(array).length > 1 ? `a group${isLast ? '' : ', before others'}` : 'all'}`,
    );
  });
}

const groupsOf = ({ level }: RaidArray): readonly (readonly number[])[] => level?.copyGroups ?? [];

/** Whether the slot may be removed: with several groups only an added slot, or one that the last slot copies. */
function mayGo(run: SimRun, array: RaidArray, { index }: Slot): boolean {
  const groups = groupsOf(array);
  if (groups.length < 2) return groups.length === 1;
  const last = array.numSlots - 1;
  return array.numSlots > run.plan.shape.numSlots && groups.some((group) => group.includes(index) && group.includes(last));
}

/** Removes the remaining spares. */
export function dismissSpares(run: SimRun): void {
  for (const { bdev } of run.stack?.arrays.listSpares() ?? []) run.stack?.arrays.removeSpare(bdev);
}

/** Starts a background process, or controls the running one. */
export function controlProcess(run: SimRun, action: ProcessAction): void {
  const array = run.array();
  const { stack } = run;
  if (stack === null || array?.state !== 'online') return;
  run.mark(`process ${action}`);
  run.world.trace(`== process: ${action}`);
  const { process } = array;
  switch (action) {
    case 'check':
    case 'repair':
      void run.call(
        `starting a ${action}`,
        Promise.resolve().then(() => stack.arrays.startSync(arrayName, action, action === 'repair' ? repairOptions(run) : {})),
      );
      break;
    case 'pause':
      if (process === null) break;
      stack.arrays.pauseProcess(arrayName);
      // The operator resumes it eventually.
      run.world.after(20_000, () => {
        if (stack.arrays.get(arrayName)?.process === process) stack.arrays.resumeProcess(arrayName);
      });
      break;
    case 'resume':
      if (process !== null) stack.arrays.resumeProcess(arrayName);
      break;
    case 'cancel':
      if (process !== null) stack.arrays.cancelProcess(arrayName, 'it was cancelled on request');
      break;
    case 'slow':
      stack.arrays.setProcessOptions({ maxBandwidthMbSec: 0.2 });
      break;
    case 'fast':
      stack.arrays.setProcessOptions({ maxBandwidthMbSec: 0 });
  }
}

/** Turns checksums on or off. */
export function setIntegrity(run: SimRun, isOn: boolean): void {
  const { stack } = run;
  const array = run.array();
  if (stack === null || array === undefined) return;
  run.mark(`checksums ${isOn ? 'on' : 'off'}`);
  run.world.trace(`== checksums ${isOn ? 'on' : 'off'}`);
  const asked = isOn ? stack.arrays.enableIntegrity(arrayName, { whenRoom: true }) : stack.arrays.disableIntegrity(arrayName);
  if (!isOn) run.sumLies.forgetWhile(asked);
  void run.call(`turning checksums ${isOn ? 'on' : 'off'}`, asked, () => {
    run.coverage.mark(`checksums are ${isOn ? 'on' : 'off'}`);
  });
}

/** Enlarges every disk. */
export function grow(run: SimRun, numBlocks: number): void {
  run.mark('grow');
  run.world.trace(`== grow by ${numBlocks}`);
  for (const disk of run.disks) {
    disk.grow(disk.numBlocks + numBlocks);
    run.stack?.bdevOf(disk)?.resize(disk.numBlocks);
  }
}

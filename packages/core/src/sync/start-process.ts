import type { BdevRegistry } from '@raidkit/bdev';
import { BufferMemoryError } from '@raidkit/parity';
import { RaidError } from '../errors.js';
import type { RaidEvent } from '../events.js';
import type { SyncHost } from './host.js';
import { RaidProcess } from './process.js';
import type { ProcessLimits } from './process.js';
import type { ProcessQueue } from './process-queue.js';
import { slotsOfCopies } from './places.js';
import { canCompare } from './task.js';
import type { OwnLimits, ProcessType, SyncOptions } from './task.js';

/** Wait before a resync that is due is tried again, and before memory is asked for again. Milliseconds. */
const resyncRetryMs = 5000;
const memoryRetryMs = 5000;
/** Highest rate that a process can be limited to. MiB a second. */
const mostMbSec = 0xffff_ffff;

/** What starts the processes of all arrays. */
export interface SyncContext extends ProcessLimits {
  readonly registry: BdevRegistry;
  emit(event: RaidEvent): void;
  /** A member is not being filled any more. */
  onPlaceFree(array: { readonly name: string }): void;
}

/** An array whose processes are queued. */
export interface QueueHost extends SyncHost {
  readonly processes: ProcessQueue;
}

/**
 * Resolves with the process when it is the array's turn and there is memory for its buffers; {@link ResyncExclusion.release}
 * follows. With null as soon as it is not wanted any more. Others may have the memory for as long as they like, which is no
 * fault, so it is waited for; in the meantime others have their turn.
 */
export async function begin(
  ctx: SyncContext,
  array: QueueHost,
  isOver: () => boolean,
  make: () => RaidProcess,
): Promise<RaidProcess | null> {
  for (let isFirst = true; await ctx.resyncExclusion.take(array, isOver); isFirst = false) {
    try {
      return make();
    } catch (error) {
      ctx.resyncExclusion.release(array);
      if (!(error instanceof BufferMemoryError)) throw error;
      if (isFirst) array.log.warn({ ...array.logFields(), err: error }, 'a process waits for memory');
    }
    await ctx.resyncExclusion.rest(ctx.registry.runtime, memoryRetryMs, isOver);
  }
  return null;
}

/** An array that lacks too many members has nothing to compare, but what is there may have to be written anew. */
function isResyncDue(array: QueueHost): boolean {
  if (array.module.redundancy === 'none') return array.sums !== null && !array.sums.isEnding && !array.consistency.isSettled;
  return canCompare(array) ? !array.consistency.isSettled : array.consistency.unstable.length > 0;
}

/** Blocks are to be summed, and all members are there: it is done with all of them, or not at all. */
function isSumDue({ consistency, isReadOnly, slots, sums }: QueueHost): boolean {
  if (sums === null || sums.isComplete || sums.isEnding || isReadOnly) return false;
  // What is in doubt gets them when it has been made to agree.
  return consistency.isSettled && slots.every(({ isInSync }) => isInSync);
}

/** Goes on giving checksums to what has none yet, if all that this needs is there. */
export function startSumIfDue(ctx: SyncContext, array: QueueHost): void {
  if (isSumDue(array) && array.processes.current?.type !== 'sum') startSync(ctx, array, 'sum');
}

/** Starts a resync if there is something to resynchronise and everything that it needs is there. */
export function startResyncIfDue(ctx: SyncContext, array: QueueHost): void {
  if (!isResyncDue(array) || array.isReadOnly) return;
  const type = array.module.redundancy === 'none' ? 'resum' : 'resync';
  if (array.processes.current?.type === type) return;
  startSync(ctx, array, type);
}

/**
 * Starts a resync, check or repair when the process that is running has ended. A check or repair that waits for its turn, or for
 * memory, lets those go first that restore redundancy.
 */
export function startSync(
  ctx: SyncContext,
  array: QueueHost,
  type: Exclude<ProcessType, 'rebuild' | 'replace'>,
  options: SyncOptions = {},
): void {
  const { processes } = array;
  const isResync = type === 'resync' || type === 'resum';
  if (isResync && processes.isResyncAwaited) return;
  processes.isResyncAwaited ||= isResync;
  const isSum = type === 'sum';
  if (isSum && processes.isSumAwaited) return;
  processes.isSumAwaited ||= isSum;
  const work = async (): Promise<void> => {
    let process: RaidProcess | null = null;
    const isOffline = (): boolean => array.state !== 'online';
    // Those that checksums ask for are not wanted when these are given up.
    const isWanted = (): boolean => (isSum ? isSumDue(array) : type !== 'resum' || isResyncDue(array));
    const isOver = (): boolean => isOffline() || (!isResync && processes.isPressing) || !isWanted();
    try {
      const begun = begin(ctx, array, isOver, () => new RaidProcess(ctx, array, type, [], options));
      process = await begun.finally(() => {
        if (isResync) processes.isResyncAwaited = false;
        if (isSum) processes.isSumAwaited = false;
      });
      if (process !== null) await run(ctx, array, process, () => Promise.resolve());
      else if (!isOffline() && isWanted()) startSync(ctx, array, type, options);
    } catch {
      // It has been logged and told; a resync that is still due is tried again.
    } finally {
      if (process !== null) ctx.resyncExclusion.release(array);
    }
  };
  void processes.enqueue(work, isResync);
  ctx.resyncExclusion.wake();
}

/** Refuses what a level without redundancy, or an array that is not up, cannot do. */
export function checkCanSync(array: QueueHost, type: ProcessType): void {
  const { name, module, state } = array;
  if (state !== 'online' || array.isReadOnly) {
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${name} is ${array.isReadOnly ? 'read-only' : state}`);
  }
  if (module.redundancy === 'none' && array.hasIntegrity) {
    if (type === 'check') return;
    throw new RaidError(
      'ERR_RAID_INVALID',
      22,
      `array ${name}: level ${module.level} has no redundancy to ${type} from: a check reads all that has checksums`,
    );
  }
  if (module.redundancy === 'none') {
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${name}: level ${module.level} has nothing to compare`);
  }
  if (!canCompare(array)) {
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${name} is degraded: there is nothing to compare`);
  }
}

/** Refuses a repair that would have to guess. */
export function checkCanRepair(array: QueueHost, { source, wrong }: SyncOptions): void {
  const copies = slotsOfCopies(array.level ?? {});
  const named = source ?? wrong;
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${array.name}: ${message}`);
  };
  if (named !== undefined && array.slots[named]?.isInSync !== true) refuse(`slot ${named} has no member that could be named`);
  if (copies.length === 0 && source !== undefined)
    refuse('where there is parity, the member that is wrong is named (wrong), not one that is right');
  const hasFew = copies.some((slots) => slots.filter((slot) => array.slots[slot]?.isInSync === true).length < 3);
  if (hasFew && named === undefined)
    refuse('of two copies that differ nothing tells which is right: name it (source), or the member that is wrong (wrong)');
}

/** Only a check may leave a part out: what others make agree must agree everywhere. */
export function checkFrom({ name, numBlocks }: QueueHost, type: ProcessType, { from = 0 }: SyncOptions): void {
  if (from === 0) return;
  const message =
    type === 'check'
      ? `a check begins at block 0 to ${numBlocks - 1}, not ${from}`
      : `a ${type} goes over the whole array: only a check begins elsewhere than at block 0`;
  if (type !== 'check' || !(Number.isInteger(from) && from >= 0 && from < numBlocks))
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${name}: ${message}`);
}

/** Refuses limits of a process that are none. Throws a RaidError, which names the field and what it may be. */
export function checkLimits(name: string, limits: Partial<OwnLimits>): void {
  for (const [field, value] of Object.entries(limits) as [string, number | null | undefined][]) {
    const isKnown = field === 'maxBandwidthMbSec' || field === 'minBandwidthMbSec';
    const isInRange = value === null || value === undefined || (Number.isInteger(value) && value >= 0 && value <= mostMbSec);
    if (isKnown && isInRange) continue;
    const what = isKnown
      ? `${field} is ${String(value)}; it must be a whole number from 0 (no limit) to ${mostMbSec}, in MiB a second, or null for the shared one`
      : `a process has no limit ${field}: there are maxBandwidthMbSec and minBandwidthMbSec`;
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${name}: ${what}`);
  }
}

/** What could not be done, or has become possible, is done later: a resync, and blocks being given checksums. */
export function resyncLater(ctx: SyncContext, array: QueueHost): void {
  if (array.consistency.isSettled && !isSumDue(array) && !array.wantsIntegrity) return;
  array.processes.later(ctx.registry.runtime, resyncRetryMs, () => {
    if (array.state !== 'online') return;
    startResyncIfDue(ctx, array);
    startSumIfDue(ctx, array);
    if (array.wantsIntegrity) array.growIfPossible();
  });
}

/** Runs a process with everything around it; rejects as it does. */
export async function run(
  ctx: SyncContext,
  array: QueueHost,
  process: RaidProcess,
  onDone: () => Promise<void>,
): Promise<void> {
  const about = { array: array.name, process: process.type };
  const targets = (): { target: string | null; targets: readonly string[] } => ({
    target: process.targetNames[0] ?? null,
    targets: process.targetNames,
  });
  ctx.emit({ type: 'processStarted', ...about, ...targets() });
  array.log.info({ ...array.logFields(), process: process.type, ...targets() }, 'a process starts');
  let failure: string | null = null;
  try {
    await array.processes.run(process, onDone);
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
    throw error;
  } finally {
    const fields = { ...array.logFields(), process: process.type, mismatchBlocks: process.mismatchBlocks };
    if (failure === null) array.log.info(fields, 'the process is complete');
    else array.log.error(fields, `the process ended early: ${failure}`);
    ctx.emit({ type: 'processFinished', ...about, ...targets(), error: failure });
    // It may have been what this waited for.
    if (failure === null && array.state === 'online') startSumIfDue(ctx, array);
    resyncLater(ctx, array);
  }
}

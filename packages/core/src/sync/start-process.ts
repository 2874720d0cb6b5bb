import { Status } from '@raidkit/bdev';
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

/**
 * Milliseconds before a resync that is needed is tried again, and most of them if a member refuses its writes again and again.
 */
const resyncRetryMs = 5000;
const mostRetryMs = 60_000;
/** Milliseconds before memory is tried again. */
const memoryRetryMs = 5000;
/** Highest rate limit of a process in MiB per second. */
const mostMbSec = 0xffff_ffff;

/** The service that starts the processes of all arrays. */
export interface SyncContext extends ProcessLimits {
  readonly registry: BdevRegistry;
  emit(event: RaidEvent): void;
  /** A member is no longer being filled. */
  onPlaceFree(array: { readonly name: string }): void;
}

/** An array with a queue of processes. */
export interface QueueHost extends SyncHost {
  readonly processes: ProcessQueue;
}

/**
 * Resolves to the process when it is the array's turn and there is memory for its buffers; {@link ResyncExclusion.release} must
 * follow. Resolves to null as soon as `isOver` returns true. Memory may be used by others for long, so a lack of it is not an
 * error; while this waits, other arrays have their turn.
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

/** If the array lacks too many members there is nothing to compare, but unstable blocks may have to be rewritten. */
function isResyncDue(array: QueueHost): boolean {
  if (array.module.redundancy === 'none') return array.sums !== null && !array.sums.isEnding && !array.consistency.isSettled;
  return canCompare(array) ? !array.consistency.isSettled : array.consistency.unstable.length > 0;
}

/** Blocks need checksums, and all members are present, which is required because all of them must get them. */
function isSumDue({ consistency, isReadOnly, slots, sums }: QueueHost): boolean {
  if (sums === null || sums.isComplete || sums.isEnding || isReadOnly) return false;
  // Inconsistent blocks get checksums after they have been resynchronised.
  return consistency.isSettled && slots.every(({ isInSync }) => isInSync);
}

/** Continues to give checksums to blocks without one, if all requirements are met. */
export function startSumIfDue(ctx: SyncContext, array: QueueHost): void {
  if (isSumDue(array) && array.processes.current?.type !== 'sum') startSync(ctx, array, 'sum');
}

/** Starts a resync if something is inconsistent and all requirements are met. */
export function startResyncIfDue(ctx: SyncContext, array: QueueHost): void {
  if (!isResyncDue(array) || array.isReadOnly) return;
  const type = array.module.redundancy === 'none' ? 'resum' : 'resync';
  if (array.processes.current?.type === type) return;
  startSync(ctx, array, type);
}

/**
 * Queues a resync, check or repair. While a check or repair waits for its turn or for memory, processes that restore redundancy
 * go first.
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
    // Processes for checksums are not wanted while checksums are being turned off.
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
      // The error has been logged and reported. A resync that is still needed is tried again.
    } finally {
      if (process !== null) ctx.resyncExclusion.release(array);
    }
  };
  void processes.enqueue(work, isResync);
  ctx.resyncExclusion.wake();
}

/** Throws if the array is not online or has nothing to compare. */
export function checkCanSync(array: QueueHost, type: ProcessType): void {
  const { name, module, state } = array;
  if (state !== 'online' || array.isReadOnly) {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name} is ${array.isReadOnly ? 'read-only' : state}`);
  }
  if (module.redundancy === 'none' && array.hasIntegrity) {
    if (type === 'check') return;
    throw new RaidError(
      'ERR_RAID_INVALID',
      Status.Invalid,
      `array ${name}: level ${module.level} has no redundancy to ${type} from: a check reads all blocks that have checksums`,
    );
  }
  if (module.redundancy === 'none') {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: level ${module.level} has nothing to compare`);
  }
  if (!canCompare(array)) {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name} is degraded: there is nothing to compare`);
  }
}

/** Throws if nothing would tell which blocks are right. */
export function checkCanRepair(array: QueueHost, { source, wrong }: SyncOptions): void {
  const copies = slotsOfCopies(array.level ?? {});
  const named = source ?? wrong;
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${array.name}: ${message}`);
  };
  if (named !== undefined && array.slots[named]?.isInSync !== true) refuse(`slot ${named} has no member`);
  if (copies.length === 0 && source !== undefined)
    refuse('where there is parity, the member that is wrong is named (wrong), not one that is right');
  const hasFew = copies.some((slots) => slots.filter((slot) => array.slots[slot]?.isInSync === true).length < 3);
  if (hasFew && named === undefined)
    refuse('nothing determines which of two copies is right: name it (source), or the member that is wrong (wrong)');
}

/**
 * Throws unless the start block is valid. Only a check may begin elsewhere than at 0: the others must cover the whole array.
 */
export function checkFrom({ name, numBlocks }: QueueHost, type: ProcessType, { from = 0 }: SyncOptions): void {
  if (from === 0) return;
  const message =
    type === 'check'
      ? `a check must start at block 0 to ${numBlocks - 1}, not ${from}`
      : `a ${type} covers the whole array: only a check can start after block 0`;
  if (type !== 'check' || !(Number.isInteger(from) && from >= 0 && from < numBlocks))
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: ${message}`);
}

/** Throws a RaidError that names the field and its range, if a limit of a process is invalid. */
export function checkLimits(name: string, limits: Partial<OwnLimits>): void {
  for (const [field, value] of Object.entries(limits) as [string, number | null | undefined][]) {
    const isKnown = field === 'maxBandwidthMbSec' || field === 'minBandwidthMbSec';
    const isInRange = value === null || value === undefined || (Number.isInteger(value) && value >= 0 && value <= mostMbSec);
    if (isKnown && isInRange) continue;
    const what = isKnown
      ? `${field} is ${String(value)}; it must be a whole number from 0 (no limit) to ${mostMbSec}, in MiB/s, or null for the shared one`
      : `a process has no limit ${field}: there are maxBandwidthMbSec and minBandwidthMbSec`;
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: ${what}`);
  }
}

/** Starts later, if needed: a resync, giving blocks checksums, or a growth that makes room for them. */
export function resyncLater(ctx: SyncContext, array: QueueHost): void {
  if (array.consistency.isSettled && !isSumDue(array) && !array.wantsIntegrity) return;
  const refused = Math.max(0, ...array.slots.map(({ isInSync, refusedResyncs }) => (isInSync ? refusedResyncs : 0)));
  const waitMs = Math.min(mostRetryMs, resyncRetryMs * 2 ** Math.max(0, refused - 1));
  array.processes.later(ctx.registry.runtime, waitMs, () => {
    if (array.state !== 'online') return;
    startResyncIfDue(ctx, array);
    startSumIfDue(ctx, array);
    if (array.wantsIntegrity) array.growIfPossible();
  });
}

/** Runs a process, with events and logs. Rejects as it does. */
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
    // The checksums may have waited for this process.
    if (failure === null && array.state === 'online') startSumIfDue(ctx, array);
    resyncLater(ctx, array);
  }
}

import type { JsonObject, QuiesceRange } from '@raidkit/bdev';
import { maxMissing } from '../level/redundancy.js';
import type { SyncHost } from './host.js';
import type { ResyncExclusion } from './resync-exclusion.js';
import { ProcessPace } from './pace.js';
import { RebuildTask } from './rebuild.js';
import type { ProcessView } from './process-view.js';
import { ReplenishedPool } from '../level/replenished-pool.js';
import { ReplaceTask } from './replace.js';
import type { Slot } from '../members/slot.js';
import { ResyncTask } from './resync.js';
import { SumTask } from './sum-blocks.js';
import { SumsTask } from './sums.js';
import { mostListed, pieceBytes } from './task.js';
import type {
  OwnLimits,
  Mismatch,
  ProcessOptions,
  ProcessRecord,
  ProcessStep,
  ProcessTask,
  ProcessType,
  RunningProcess,
  UnreadableRange,
} from './task.js';

/** Number of windows in progress, so that one is written while others are read. Only one while users' I/O is in flight. */
const windowsInFlight = 4;
/** Longest rest between two windows in favour of users, in milliseconds: with a latency target, and without. */
const longestRestMs = { toTarget: 1000, plain: 100 };
/** Limits of a rest's length, as a multiple of the preceding work. */
const restFactor = { least: 1 / 8, most: 16 };
/** Milliseconds over which the rate is measured that decides whether a process may rest. */
const rateSpanMs = 1000;
/** Milliseconds between updates of the process's running time in the headers. */
const saveMs = 30_000;
/** Most remaining windows to examine for the estimate. If there are more, this many samples are examined. */
const mostLookedAt = 256;
/** Smallest number of buffers for one window. A level that can lose more members has one for each. */
const buffersPerWindow = 2;

/** Settings that the processes of all arrays share. */
export interface ProcessLimits {
  readonly processOptions: ProcessOptions;
  readonly resyncExclusion: ResyncExclusion;
}

interface Window {
  start: number;
  end: number;
  done: Promise<void>;
  range: QuiesceRange | null;
  /** Milliseconds of work, without waiting. */
  workMs: number;
}

/**
 * Background process of an array. It works window by window from the start of the array, while users' I/O continues outside the
 * windows. Targets of a rebuild get every write below {@link offsetBlocks}, and none above.
 */
export class RaidProcess implements ProcessView, RunningProcess {
  readonly type: ProcessType;
  /** Number of array blocks, from the start, that are done. */
  offsetBlocks = 0;
  /** Number of blocks where redundancy disagreed, and the first few ranges. */
  mismatchBlocks = 0;
  readonly mismatches: Mismatch[] = [];
  repairedBlocks = 0;
  undecidedBlocks = 0;
  unreadableBlocks = 0;
  lostBlocks = 0;
  unprovenBlocks = 0;
  readonly unreadable: UnreadableRange[] = [];
  isPaused = false;
  /** Own limit in MiB of array space per second, instead of the shared limit; 0 for no limit. Null to use the shared one. */
  maxBandwidthMbSec: number | null = null;
  /** As {@link maxBandwidthMbSec}, instead of `ProcessOptions.minBandwidthMbSec`. */
  minBandwidthMbSec: number | null = null;
  readonly startedAt: number;
  /** Number of array blocks that are quiesced and processed at a time. The last window may be shorter. */
  readonly windowBlocks: number;
  readonly #array: SyncHost;
  readonly #options: ProcessOptions;
  readonly #exclusion: ResyncExclusion;
  readonly #pool: ReplenishedPool;
  readonly #step: ProcessStep;
  #targets: readonly Slot[] = [];
  /** Names of the targets, which are kept after they have left. */
  #targetNames: readonly string[] = [];
  #hasEnded = false;
  #stopReason: Error | null = null;
  #onResume: (() => void) | null = null;
  /** Ends the rest between two windows; null if the process is not resting. */
  #endRest: (() => void) | null = null;
  #allowedAt = 0;
  #userOps = 0;
  #userLatencyMs = 0;
  #restFactor = 1;
  /** Number of blocks done, and time, at the beginning of the present rate measurement. */
  #noted = { blocks: 0, at: 0 };
  /** Seconds that the process had run before a restart. */
  readonly #earlierSec: number;
  #savedAtMs = 0;
  /** The block at which the process begins. */
  readonly #firstBlock: number;
  #startedAtMs = 0;
  #pace: ProcessPace | null = null;
  #workedBlocks = 0;

  /**
   * Creates a process, which must be run at once; only when it is the array's turn. `targets` are the members that a rebuild
   * fills. Throws if the array is not online or there is not enough memory for the buffers.
   */
  constructor(
    { processOptions, resyncExclusion }: ProcessLimits,
    array: SyncHost,
    type: ProcessType,
    targets: readonly Slot[],
    task: ProcessTask = {},
  ) {
    this.#array = array;
    // An array that goes offline stops its running process, so none may begin afterwards.
    this.throwIfStopped();
    this.type = type;
    this.#setTargets(targets);
    this.#options = processOptions;
    this.#exclusion = resyncExclusion;
    this.startedAt = array.registry.runtime.wallClock();
    const { arrayBlocks, memberBlocks } = array.currentGeometry?.stripe ?? { arrayBlocks: 1, memberBlocks: 1 };
    const wanted = Math.max(1, Math.floor((processOptions.windowSizeKb * 1024) / array.blockSize));
    const together = Math.ceil(array.blocksTogether / memberBlocks);
    this.windowBlocks = Math.max(together, Math.floor(wanted / arrayBlocks / together) * together) * arrayBlocks;
    this.#firstBlock = Math.floor((task.from ?? 0) / this.windowBlocks) * this.windowBlocks;
    this.offsetBlocks = this.#firstBlock;
    this.maxBandwidthMbSec = task.maxBandwidthMbSec ?? null;
    const memberBytes = (this.windowBlocks / arrayBlocks) * memberBlocks * array.blockSize;
    const slotBytes = Math.min(pieceBytes, memberBytes);
    const count = windowsInFlight * Math.max(buffersPerWindow, reconstructedAtOnce(array));
    // There is a buffer for each use, unless a device holds some: then others are added. So none waits for a buffer.
    this.#pool = new ReplenishedPool(array.memory, { slotBytes, count, onLateRelease: () => undefined });
    this.#earlierSec = array.metadata.resumeProcess(type);
    this.#step = makeStep(array, this, this.#pool, task);
  }

  get targets(): readonly Slot[] {
    return this.#targets;
  }

  get target(): Slot | null {
    return this.#targets[0] ?? null;
  }

  /** Names of the targets, now or at the end. */
  get targetNames(): readonly string[] {
    return this.#targetNames;
  }

  isFilling(slot: number): boolean {
    if (this.#hasEnded) return false;
    for (const { index } of this.#targets) if (index === slot) return true;
    return false;
  }

  /** Changes the process's own limits; an absent one stays as it is. */
  setLimits({ maxBandwidthMbSec, minBandwidthMbSec }: Partial<OwnLimits>): void {
    if (maxBandwidthMbSec !== undefined) this.maxBandwidthMbSec = maxBandwidthMbSec;
    if (minBandwidthMbSec !== undefined) this.minBandwidthMbSec = minBandwidthMbSec;
  }

  /** Adds a member to be filled with the others. Only before {@link run}, because it needs all windows. */
  addTarget(slot: Slot): void {
    this.#setTargets([...this.#targets, slot]);
  }

  /**
   * Removes a target that is leaving; the others are filled without it. If it is the last one, stops the process and returns
   * false.
   */
  dropTarget(slot: Slot, reason: Error): boolean {
    const others = this.#targets.filter((other) => other !== slot);
    if (others.length === 0) {
      this.stop(reason);
      return false;
    }
    this.#setTargets(others);
    return true;
  }

  failTarget(slot: Slot, error: unknown): void {
    if (!this.isFilling(slot.index)) return;
    if (this.#targets.length === 1) throw error;
    const why = error instanceof Error ? error.message : String(error);
    // It leaves like any member, which also removes it from the targets.
    this.#array.failMember(slot.index, `it could not be rebuilt: ${why}`);
  }

  #setTargets(targets: readonly Slot[]): void {
    this.#targets = [...targets].sort((a, b) => a.index - b.index);
    this.#targetNames = this.#targets.map(({ name }) => name ?? '');
  }

  get percent(): number {
    const { numBlocks } = this.#array;
    return numBlocks === 0 ? 0 : Math.floor((this.offsetBlocks / numBlocks) * 100);
  }

  /** Running time in whole seconds, including that before a restart. */
  get elapsedSec(): number {
    return Math.round(this.#earlierSec + (this.#array.registry.runtime.now() - this.#startedAtMs) / 1000);
  }

  /** Throws the reason if the process was stopped, or an error if the array is not online. */
  throwIfStopped(): void {
    if (this.#stopReason !== null) throw this.#stopReason;
    const { name, state } = this.#array;
    if (state !== 'online') throw new Error(`array ${name} is ${state}`);
  }

  /** Runs the process. Resolves when everything is done and on stable media; rejects if it fails or is stopped. */
  async run(): Promise<void> {
    this.#startedAtMs = this.#array.registry.runtime.now();
    this.#noted.at = this.#startedAtMs;
    this.#savedAtMs = this.#startedAtMs;
    this.#pace = new ProcessPace(this.#startedAtMs);
    if (this.isPaused) this.#pace.pause(this.#startedAtMs);
    try {
      do {
        await this.#allWindows();
        await this.#step.finish?.();
        this.throwIfStopped();
      } while (this.#step.isDone !== true && this.offsetBlocks < this.#array.numBlocks);
      this.#step.complete?.();
    } finally {
      this.close();
    }
  }

  /** Frees the memory. To be called if the process is not run. */
  close(): void {
    this.#hasEnded = true;
    this.#pool.close();
  }

  /** Makes {@link run} reject with `reason` once its I/O in flight has ended. */
  stop(reason: Error): void {
    this.#stopReason ??= reason;
    this.resume();
    this.#endRest?.();
    // The process may be waiting for its turn.
    this.#exclusion.wake();
  }

  /** Begins no new window until {@link resume}. */
  pause(): void {
    this.isPaused = true;
    this.#pace?.pause(this.#array.registry.runtime.now());
  }

  resume(): void {
    if (this.isPaused) this.#pace?.resume(this.#array.registry.runtime.now());
    this.isPaused = false;
    const onResume = this.#onResume;
    this.#onResume = null;
    onResume?.();
  }

  /**
   * Counts and lists unreadable blocks of a member. `isLost`: they could not be reconstructed either; on a target, they are
   * missing.
   */
  noteUnreadable(slot: number, memberOffsetBlocks: number, numBlocks: number, isLost: boolean): void {
    this.unreadableBlocks += numBlocks;
    if (isLost) this.lostBlocks += numBlocks;
    const last = this.unreadable[this.unreadable.length - 1];
    const isNext =
      last?.slot === slot && last.isLost === isLost && last.memberOffsetBlocks + last.numBlocks === memberOffsetBlocks;
    if (isNext) last.numBlocks += numBlocks;
    else if (this.unreadable.length < mostListed) this.unreadable.push({ slot, memberOffsetBlocks, numBlocks, isLost });
  }

  /** The value that `bdev_raid_get_bdevs` shows. */
  describe(): JsonObject {
    const { offsetBlocks: blocks, percent } = this;
    return { type: this.type, target: this.#targetNames[0] ?? null, progress: { blocks, percent } };
  }

  /** As {@link describe}, with rate, estimate and findings. */
  describeFully(): JsonObject {
    const { blockSize, numBlocks, registry } = this.#array;
    const rate = (this.#pace?.rate(registry.runtime.now()) ?? 0) * 1000 * blockSize;
    const left = (numBlocks - this.offsetBlocks) * blockSize;
    // A paused process has no estimate.
    const secondsFor = (bytes: number): number | null => (rate > 0 && !this.isPaused ? Math.round(bytes / rate) : null);
    return {
      ...this.describe(),
      targets: [...this.#targetNames],
      paused: this.isPaused,
      bytes_done: this.offsetBlocks * blockSize,
      bytes_total: numBlocks * blockSize,
      bytes_per_sec: Math.round(rate),
      eta_sec: secondsFor(left),
      eta_least_sec: secondsFor(left * this.#partNeeded()),
      elapsed_sec: this.elapsedSec,
      mismatch_blocks: this.mismatchBlocks,
      repaired_blocks: this.repairedBlocks,
      undecided_blocks: this.undecidedBlocks,
      unreadable_blocks: this.unreadableBlocks,
      lost_blocks: this.lostBlocks,
      unproven_blocks: this.unprovenBlocks,
      mismatches: this.mismatches.map((place) => ({ ...place })),
    };
  }

  /** Returns the fraction of the remaining windows that need work at present. */
  #partNeeded(): number {
    const { numBlocks } = this.#array;
    const windows = Math.ceil((numBlocks - this.offsetBlocks) / this.windowBlocks);
    const count = Math.min(windows, mostLookedAt);
    let needed = 0;
    for (let index = 0; index < count; index++) {
      const start = this.offsetBlocks + Math.floor((index * windows) / count) * this.windowBlocks;
      if (this.#step.isNeeded(start, Math.min(start + this.windowBlocks, numBlocks))) needed++;
    }
    return count === 0 ? 0 : needed / count;
  }

  record(error: string | null): ProcessRecord {
    const seconds = this.#earlierSec + (this.#array.registry.runtime.now() - this.#startedAtMs) / 1000;
    const {
      mismatchBlocks,
      mismatches,
      offsetBlocks: blocks,
      repairedBlocks,
      startedAt,
      type,
      undecidedBlocks,
      unreadableBlocks,
      lostBlocks,
      unprovenBlocks,
      unreadable,
    } = this;
    return {
      type,
      targets: this.#targetNames,
      target: this.#targetNames[0] ?? null,
      startedAt,
      seconds,
      fromBlock: this.#firstBlock,
      blocks,
      mismatchBlocks,
      mismatches,
      repairedBlocks,
      undecidedBlocks,
      unreadableBlocks,
      lostBlocks,
      unreadable,
      unprovenBlocks,
      error,
    };
  }

  async #allWindows(): Promise<void> {
    const windows: Window[] = [];
    let next = this.#firstBlock;
    try {
      while (this.offsetBlocks < this.#array.numBlocks) {
        this.throwIfStopped();
        const depth = this.#isArrayBusy() ? 1 : windowsInFlight;
        // Users wait for a window that is quiesced, so the process finishes its windows before it waits itself.
        const canStart = windows.length === 0 || (!this.isPaused && this.#isWithinLimit());
        if (windows.length < depth && next < this.#array.numBlocks && canStart) {
          await this.#mayGoOn();
          const end = Math.min(next + this.windowBlocks, this.#array.numBlocks);
          windows.push(this.#start(next, end));
          next = end;
          continue;
        }
        const window = windows[0];
        if (window === undefined) return;
        await window.done;
        this.throwIfStopped();
        // From here on, users' writes below the end of the window go to the targets of a rebuild too.
        this.offsetBlocks = window.end;
        await this.#step.onProgress?.(window.end);
        // The window stays on the list until now, so that it is released even if this fails.
        windows.shift();
        this.#release(window);
        await this.#save();
        if (windows.length === 0) await this.#yieldToUsers(window.workMs);
      }
    } finally {
      await Promise.allSettled(windows.map(({ done }) => done));
      for (const window of windows) this.#release(window);
    }
  }

  #start(start: number, end: number): Window {
    const window: Window = { start, end, range: null, done: Promise.resolve(), workMs: 0 };
    window.done = this.#work(window);
    window.done.catch(() => undefined);
    return window;
  }

  async #work(window: Window): Promise<void> {
    const { bdev } = this.#array;
    if (bdev === null) throw new Error(`array ${this.#array.name} is not online`);
    const holds = this.#step.holds?.(window.start, window.end) ?? 'window';
    // A window that needs no work must not hold up all requests.
    if (holds === 'all' && !this.#step.isNeeded(window.start, window.end)) return;
    await new Promise<void>((resolve) => {
      if (holds === 'none') resolve();
      else if (holds === 'all') window.range = bdev.quiesce(0, bdev.numBlocks, resolve);
      else window.range = bdev.quiesce(window.start, window.end - window.start, resolve);
    });
    const { from, to } = this.#array.memberRange(window.start, window.end);
    await this.#array.bitmap?.whenZeroed(from, to - from);
    // Only now no first write to the window's regions can be in flight.
    if (!this.#step.isNeeded(window.start, window.end)) return;
    const startedAt = this.#array.registry.runtime.now();
    await this.#step.run(window.start, window.end, holds);
    // Damage found while reading must be recorded, so that it does not count as good data after a crash.
    if (this.#array.mustRecordDamage(from, to - from)) await this.#array.recordDamage(from, to - from);
    window.workMs = this.#array.registry.runtime.now() - startedAt;
    this.#workedBlocks += window.end - window.start;
    this.#pace?.worked(window.end - window.start, this.#array.registry.runtime.now());
    this.#charge(window.end - window.start);
  }

  #release(window: Window): void {
    if (window.range === null) return;
    this.#array.bdev?.unquiesce(window.range);
    window.range = null;
  }

  async #mayGoOn(): Promise<void> {
    while (this.isPaused && this.#stopReason === null) {
      const resumed = new Promise<void>((resolve) => {
        this.#onResume = resolve;
      });
      // An operator may leave it paused for long, so other processes on the same devices may run.
      this.#exclusion.release(this.#array);
      await resumed;
      await this.#exclusion.take(this.#array, () => this.#stopReason !== null);
    }
    if (!this.#isWithinLimit()) await this.#sleep(this.#allowedAt - this.#array.registry.runtime.now());
    this.throwIfStopped();
  }

  #isWithinLimit(): boolean {
    return this.#allowedAt <= this.#array.registry.runtime.now();
  }

  #charge(blocks: number): void {
    const limit = this.maxBandwidthMbSec ?? this.#options.maxBandwidthMbSec;
    if (limit === 0) return;
    const ms = ((blocks * this.#array.blockSize) / (limit * 1024 * 1024)) * 1000;
    this.#allowedAt = Math.max(this.#allowedAt, this.#array.registry.runtime.now()) + ms;
  }

  /**
   * Rests while users' I/O continues. By default a rest is as long as the preceding work, so that the process uses at most half
   * of the members' time. A latency target makes rests longer or shorter. Below its minimum rate the process does not rest.
   */
  async #yieldToUsers(workMs: number): Promise<void> {
    const { bdev } = this.#array;
    if (bdev === null) return;
    let ops = 0;
    let latencyMs = 0;
    for (const count of bdev.stats.ops) ops += count;
    for (const sum of bdev.stats.latencyMs) latencyMs += sum;
    const userOps = ops - this.#userOps;
    const userMs = (latencyMs - this.#userLatencyMs) / userOps;
    this.#userOps = ops;
    this.#userLatencyMs = latencyMs;
    if (userOps === 0 || workMs === 0) return;
    const { latencyTargetMs } = this.#options;
    if (latencyTargetMs > 0) {
      const factor = userMs > latencyTargetMs ? this.#restFactor * 2 : this.#restFactor / 2;
      this.#restFactor = Math.min(restFactor.most, Math.max(restFactor.least, factor));
    } else {
      this.#restFactor = 1;
    }
    const longest = latencyTargetMs > 0 ? longestRestMs.toTarget : longestRestMs.plain;
    const restMs = Math.min(workMs * this.#restFactor, longest);
    if (this.#mayRest()) await this.#sleep(restMs);
  }

  /** Whether the recent rate is at least the minimum. */
  #mayRest(): boolean {
    const now = this.#array.registry.runtime.now();
    const spanMs = now - this.#noted.at;
    const bytes = (this.#workedBlocks - this.#noted.blocks) * this.#array.blockSize;
    const minimum = (this.minBandwidthMbSec ?? this.#options.minBandwidthMbSec) * 1024 * 1024;
    const isFastEnough = spanMs <= 0 || (bytes / spanMs) * 1000 >= minimum;
    if (spanMs >= rateSpanMs) this.#noted = { blocks: this.#workedBlocks, at: now };
    return isFastEnough;
  }

  async #save(): Promise<void> {
    const { metadata, registry } = this.#array;
    const now = registry.runtime.now();
    if (now - this.#savedAtMs < saveMs) return;
    this.#savedAtMs = now;
    await metadata.saveHeaders();
  }

  #isArrayBusy(): boolean {
    return (this.#array.bdev?.outstanding ?? 0) > 0;
  }

  /**
   * Resolves after this many milliseconds, or when the process is stopped, because a large window may need a rest of minutes.
   */
  async #sleep(ms: number): Promise<void> {
    if (this.#stopReason !== null) return;
    const { runtime } = this.#array.registry;
    await new Promise<void>((resolve) => {
      const timer = runtime.setTimer(resolve, ms);
      this.#endRest = () => {
        runtime.clearTimer(timer);
        resolve();
      };
    });
    this.#endRest = null;
  }
}

function makeStep(
  array: SyncHost,
  process: RaidProcess,
  pool: ReplenishedPool,
  { replace, ...sync }: ProcessTask,
): ProcessStep {
  if (process.type === 'rebuild') return new RebuildTask(array, process, pool);
  if (replace !== undefined) {
    const { replacement } = replace;
    if (replacement === null) throw new Error(`array ${array.name}: slot ${replace.index} has no replacement`);
    return new ReplaceTask(array, process, pool, replace, replacement);
  }
  if (process.type === 'sum') return new SumTask(array, process, pool);
  if (array.module.redundancy === 'none') return new SumsTask(array, process, pool);
  return new ResyncTask(array, process, pool, sync);
}

/** Returns the number of slots that one reconstruct request asks for at most. With parity, one read serves all of them. */
function reconstructedAtOnce({ module, numSlots, options }: SyncHost): number {
  return module.redundancy === 'parity' ? maxMissing(module, numSlots, options) : 1;
}

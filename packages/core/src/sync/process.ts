import type { JsonObject, QuiesceRange } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import { maxMissing } from '../level/redundancy.js';
import type { SyncHost } from './host.js';
import type { ResyncExclusion } from './resync-exclusion.js';
import { ProcessPace } from './pace.js';
import { RebuildTask } from './rebuild.js';
import type { ProcessView } from './process-view.js';
import { ReplaceTask } from './replace.js';
import type { Slot } from '../members/slot.js';
import { ResyncTask } from './resync.js';
import { SumTask } from './sum-blocks.js';
import { SumsTask } from './sums.js';
import { mostListed, pieceBytes } from './task.js';
import type {
  Mismatch,
  ProcessOptions,
  ProcessRecord,
  ProcessStep,
  ProcessTask,
  ProcessType,
  RunningProcess,
  UnreadableRange,
} from './task.js';

/** Windows that are worked on at a time: one is written while others are read. One alone while users are at work. */
const windowsInFlight = 4;
/** Longest rest between two windows for the sake of users, in milliseconds; with a latency target, and without one. */
const longestRestMs = { toTarget: 1000, plain: 100 };
/** A rest lasts so many times the work before it, at least and at most. */
const restFactor = { least: 1 / 8, most: 16 };
/** The rate that decides whether a process may rest is taken over the last so many milliseconds. */
const rateSpanMs = 1000;
/** How often the time that a process has taken is put on record, in milliseconds. */
const saveMs = 30_000;
/** Windows ahead that are looked at for what they would take; more of them than that stand for each other. */
const mostLookedAt = 256;
/** Buffers that one window may hold at a time, at least; a level that loses more members has one for each. */
const buffersPerWindow = 2;

/** What the processes of all arrays share. */
export interface ProcessLimits {
  readonly processOptions: ProcessOptions;
  readonly resyncExclusion: ResyncExclusion;
}

interface Window {
  start: number;
  end: number;
  done: Promise<void>;
  range: QuiesceRange | null;
  /** Milliseconds that the work took, without waiting. */
  workMs: number;
}

/**
 * Background work on an array, window by window from its start, with user I/O flowing outside the windows. A rebuild's
 * targets get every write below {@link offsetBlocks}, and none above.
 */
export class RaidProcess implements ProcessView, RunningProcess {
  readonly type: ProcessType;
  /** Array blocks, from the start, that are done. */
  offsetBlocks = 0;
  /** Blocks at which redundancy disagreed, and the first few places. */
  mismatchBlocks = 0;
  readonly mismatches: Mismatch[] = [];
  repairedBlocks = 0;
  undecidedBlocks = 0;
  unreadableBlocks = 0;
  lostBlocks = 0;
  unprovenBlocks = 0;
  readonly unreadable: UnreadableRange[] = [];
  isPaused = false;
  /** MiB of array space a second for this process; overrides the shared limit. 0 for none. */
  maxBandwidthMbSec: number | null = null;
  /** As {@link maxBandwidthMbSec}: overrides `ProcessOptions.minBandwidthMbSec`. */
  minBandwidthMbSec: number | null = null;
  readonly startedAt: number;
  /** Array blocks that are quiesced and worked on at a time; the last window may be shorter. */
  readonly windowBlocks: number;
  readonly #array: SyncHost;
  readonly #options: ProcessOptions;
  readonly #exclusion: ResyncExclusion;
  readonly #pool: BufferPool;
  readonly #step: ProcessStep;
  #targets: readonly Slot[] = [];
  /** Names of its targets, also when they are members no more. */
  #targetNames: readonly string[] = [];
  #hasEnded = false;
  #stopReason: Error | null = null;
  #onResume: (() => void) | null = null;
  /** It rests between two windows: ends that. */
  #endRest: (() => void) | null = null;
  #allowedAt = 0;
  #userOps = 0;
  #userLatencyMs = 0;
  #restFactor = 1;
  /** Blocks that were done, and when that was noted, for the rate of late. */
  #noted = { blocks: 0, at: 0 };
  /** Seconds that it had taken before a restart. */
  readonly #earlierSec: number;
  #savedAtMs = 0;
  /** Where it begins. */
  readonly #firstBlock: number;
  #startedAtMs = 0;
  #pace: ProcessPace | null = null;
  #workedBlocks = 0;

  /**
   * To be run when it is the array's turn, at once; `targets` are what a rebuild fills. Throws if the array is not online, or there
   * is no memory for its buffers.
   */
  constructor(
    { processOptions, resyncExclusion }: ProcessLimits,
    array: SyncHost,
    type: ProcessType,
    targets: readonly Slot[],
    task: ProcessTask = {},
  ) {
    this.#array = array;
    // An array that goes offline stops the process that is running: none may begin after that.
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
    this.#pool = new BufferPool(array.memory, { slotBytes, count });
    this.#earlierSec = array.metadata.resumeProcess(type);
    this.#step = makeStep(array, this, this.#pool, task);
  }

  get targets(): readonly Slot[] {
    return this.#targets;
  }

  get target(): Slot | null {
    return this.#targets[0] ?? null;
  }

  /** Names of the targets, as they are or were last. */
  get targetNames(): readonly string[] {
    return this.#targetNames;
  }

  isFilling(slot: number): boolean {
    if (this.#hasEnded) return false;
    for (const { index } of this.#targets) if (index === slot) return true;
    return false;
  }

  /** Another member is filled along with the others. Before {@link run} only: it gets all windows. */
  addTarget(slot: Slot): void {
    this.#setTargets([...this.#targets, slot]);
  }

  /** A target leaves, and the others are filled without it; false, and the process stops, if it is the last one. */
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
    // It leaves as any member does, and is taken off the list with that.
    this.#array.failMember(slot.index, `it could not be filled: ${why}`);
  }

  #setTargets(targets: readonly Slot[]): void {
    this.#targets = [...targets].sort((a, b) => a.index - b.index);
    this.#targetNames = this.#targets.map(({ name }) => name ?? '');
  }

  get percent(): number {
    const { numBlocks } = this.#array;
    return numBlocks === 0 ? 0 : Math.floor((this.offsetBlocks / numBlocks) * 100);
  }

  /** Whole seconds, those before a restart included. */
  get elapsedSec(): number {
    return Math.round(this.#earlierSec + (this.#array.registry.runtime.now() - this.#startedAtMs) / 1000);
  }

  /** Throws why the process must not go on: it was stopped, or the array is not online any more. */
  throwIfStopped(): void {
    if (this.#stopReason !== null) throw this.#stopReason;
    const { name, state } = this.#array;
    if (state !== 'online') throw new Error(`array ${name} is ${state}`);
  }

  /** Resolves when everything is done, on stable media. Rejects with why it is not. */
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

  /** Gives its memory back, if it was not run after all. */
  close(): void {
    this.#hasEnded = true;
    this.#pool.close();
  }

  /** Makes {@link run} reject with `reason` once what is in flight is done. */
  stop(reason: Error): void {
    this.#stopReason ??= reason;
    this.resume();
    this.#endRest?.();
    // It may be waiting for its turn.
    this.#exclusion.wake();
  }

  /** No new window is begun until {@link resume}. */
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

  /** Counts and lists blocks that a member could not read; lost ones too if it is a target that does not have them. */
  noteUnreadable(slot: number, memberOffsetBlocks: number, numBlocks: number, isLost: boolean): void {
    this.unreadableBlocks += numBlocks;
    if (isLost) this.lostBlocks += numBlocks;
    const last = this.unreadable[this.unreadable.length - 1];
    const isNext =
      last?.slot === slot && last.isLost === isLost && last.memberOffsetBlocks + last.numBlocks === memberOffsetBlocks;
    if (isNext) last.numBlocks += numBlocks;
    else if (this.unreadable.length < mostListed) this.unreadable.push({ slot, memberOffsetBlocks, numBlocks, isLost });
  }

  /** As `bdev_raid_get_bdevs` shows it. */
  describe(): JsonObject {
    const { offsetBlocks: blocks, percent } = this;
    return { type: this.type, target: this.#targetNames[0] ?? null, progress: { blocks, percent } };
  }

  /** With rate and estimate. */
  describeFully(): JsonObject {
    const { blockSize, numBlocks, registry } = this.#array;
    const rate = (this.#pace?.rate(registry.runtime.now()) ?? 0) * 1000 * blockSize;
    const left = (numBlocks - this.offsetBlocks) * blockSize;
    // One that is paused does not come nearer to its end.
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

  /** Returns the part of what is ahead that would not be passed over as things stand. */
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
        // While a window is held, users wait for it: before the process waits itself, it finishes the windows that it holds.
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
        // From here on user writes below the end go to a rebuild's target too.
        this.offsetBlocks = window.end;
        await this.#step.onProgress?.(window.end);
        // Not before: a window that is on the list is let go however this ends.
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
    // Only now is it certain that no first write to the window's regions is under way.
    if (!this.#step.isNeeded(window.start, window.end)) return;
    const startedAt = this.#array.registry.runtime.now();
    await this.#step.run(window.start, window.end, holds);
    // What was read around must not be taken for good after a crash.
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
      // Others on the same devices need not wait for a person.
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
   * While users are at work, the process rests as long as it worked: it has half of the members' time at most. A latency
   * target makes that longer or shorter; below its minimum rate it does not rest at all.
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

  /** The rate of late is not below the minimum. */
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

  /** Resolves after so many milliseconds, or when the process is stopped: a large window may ask for minutes. */
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

function makeStep(array: SyncHost, process: RaidProcess, pool: BufferPool, { replace, ...sync }: ProcessTask): ProcessStep {
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

/** Slots that a level is asked for in one request at most: of parity what is read for one of them does for all. */
function reconstructedAtOnce({ module, numSlots, options }: SyncHost): number {
  return module.redundancy === 'parity' ? maxMissing(module, numSlots, options) : 1;
}

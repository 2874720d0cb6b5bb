import type { Logger } from 'pino';
import type { ArrayState } from '../array-state.js';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { Caller, RpcMethod } from '../rpc/dispatcher.js';
import { toRpcError } from '../rpc/errors.js';
import { CheckRecords } from './check-records.js';
import type { CheckRecord } from './check-records.js';
import { formatWindow, isWithin } from './check-window.js';
import type { CheckWindow } from './check-window.js';

/** Schedule of checks. */
export interface ScheduleOptions {
  /** Days from the end of one check to the start of the next. */
  everyDays: number;
  /** Hours of the day in which checks run; null for any time. */
  window: CheckWindow | null;
  /** Limit in MiB of the array per second; null for the limit of all background processes. */
  limitMbSec: number | null;
}

/** Longest time between two updates, in milliseconds. */
const lookMs = 30_000;
const shortestLookMs = 50;
const dayMs = 24 * 3600 * 1000;
/** Milliseconds after which a check that was started, but neither runs nor is recorded, counts as lost. */
const forgottenMs = 60_000;

/** A check that the schedule has started. */
interface Running {
  uuid: string;
  /** Records of this check in the history are newer than this. Milliseconds since 1970. */
  since: number;
  /** Mismatches found by earlier parts of this check, in blocks. */
  before: number;
  /** The check was told to pause, and continues another time. */
  isCalledOff: boolean;
}

/** State of an array's checks, for people. */
export interface ScheduledArray {
  name: string;
  uuid: string;
  completedAt: number | null;
  mismatchBlocks: number;
  dueAt: number;
  /** Fraction of the array that the incomplete check has covered, 0 to 1; null if there is none. */
  done: number | null;
  isRunning: boolean;
}

/**
 * Checks every array periodically, one after another, within given hours of the day. A check that is incomplete when these end
 * continues from there when they begin again, also after a restart. It knows arrays only through the daemon's methods.
 */
export class CheckSchedule {
  readonly #caller: Caller;
  readonly #options: ScheduleOptions;
  readonly #records: CheckRecords;
  readonly #log: Logger;
  #redundant: ReadonlySet<string> | null = null;
  #arrays: ArrayState[] = [];
  #running: Running | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isEnded = false;

  /** `path`: file that records the progress of checks; null for none. */
  constructor(caller: Caller, options: ScheduleOptions, path: string | null, log: Logger) {
    this.#caller = caller;
    this.#options = options;
    this.#records = new CheckRecords(path, log);
    this.#log = log;
  }

  /** Starts the schedule; to be called when the daemon is up. */
  begin(): void {
    void this.#look();
  }

  end(): void {
    this.#isEnded = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  list(): ScheduledArray[] {
    return this.#checkable().flatMap((array) => {
      const record = this.#records.get(array.uuid);
      if (record === undefined) return [];
      const { completed_at: completedAt, due_from: dueFrom, mismatch_blocks: mismatchBlocks, next_block: next } = record;
      const done = next === null || array.ext.num_blocks === 0 ? null : next / array.ext.num_blocks;
      const dueAt = Math.max(dueFrom + this.#everyMs, record.not_before ?? 0);
      const isRunning = this.#running?.uuid === array.uuid;
      return [{ name: array.name, uuid: array.uuid, completedAt, mismatchBlocks, dueAt, done, isRunning }];
    });
  }

  get #everyMs(): number {
    return this.#options.everyDays * dayMs;
  }

  async #look(): Promise<void> {
    try {
      await this.#lookNow();
    } catch (error) {
      // The data path does not answer, or the array has been removed.
      this.#log.debug({ err: error }, 'the schedule of checks could not continue');
    }
    if (this.#isEnded) return;
    const pause = Math.max(shortestLookMs, Math.min(lookMs, this.#everyMs / 10));
    this.#timer = setTimeout(() => void this.#look(), pause);
    this.#timer.unref();
  }

  async #lookNow(): Promise<void> {
    this.#redundant ??= await this.#redundantLevels();
    this.#arrays = (await this.#caller.call('raidkit_get_arrays', undefined)) as ArrayState[];
    const now = Date.now();
    for (const array of this.#checkable()) this.#note(array, now);
    if (this.#running !== null) await this.#follow(this.#running);
    if (this.#running === null && !this.#isEnded && isWithin(this.#options.window, new Date(now))) await this.#startNext(now);
    await this.#records.save();
  }

  /** Arrays with redundancy, which a check can compare. */
  #checkable(): ArrayState[] {
    return this.#arrays.filter(({ raid_level: level, state }) => state === 'online' && this.#redundant?.has(level) === true);
  }

  async #redundantLevels(): Promise<ReadonlySet<string>> {
    const levels = (await this.#caller.call('raidkit_get_modules', undefined)) as { level: string; redundant: boolean }[];
    return new Set(levels.filter(({ redundant }) => redundant).map(({ level }) => level));
  }

  /** Updates an array's record: a new array is due after one period, and a completed check on request counts too. */
  #note({ ext, uuid }: ArrayState, now: number): void {
    const record = this.#records.get(uuid);
    if (record === undefined) {
      this.#records.set(uuid, {
        due_from: now,
        completed_at: null,
        mismatch_blocks: 0,
        next_block: null,
        mismatches_so_far: 0,
        not_before: null,
      });
      return;
    }
    if (this.#running?.uuid === uuid) return;
    const whole = ext.history.find(
      ({ blocks, error, from_block: from, type }) =>
        type === 'check' && error === null && from === 0 && blocks === ext.num_blocks,
    );
    if (whole === undefined || whole.started_at < record.due_from) return;
    this.#records.set(uuid, completed(whole.started_at + whole.seconds * 1000, whole.mismatch_blocks));
  }

  /** Follows the progress of the check that was started. */
  async #follow(running: Running): Promise<void> {
    const array = this.#arrays.find(({ uuid }) => uuid === running.uuid);
    const record = this.#records.get(running.uuid);
    if (array === undefined || record === undefined) {
      this.#running = null;
      return;
    }
    const { history, num_blocks: numBlocks, process, waits_for: waitsFor } = array.ext;
    const ended = history.find(({ started_at: startedAt, type }) => type === 'check' && startedAt >= running.since);
    if (ended !== undefined) {
      this.#running = null;
      const mismatches = running.before + ended.mismatch_blocks;
      const isWhole = ended.error === null && ended.blocks >= numBlocks;
      this.#records.set(
        running.uuid,
        isWhole
          ? completed(Date.now(), mismatches)
          : {
              ...record,
              next_block: Math.min(ended.blocks, numBlocks - 1),
              mismatches_so_far: mismatches,
              // A check that failed or was ended on request is not started again at the next update.
              not_before: running.isCalledOff ? null : this.#later(Date.now()),
            },
      );
      this.#log.info(
        { array: array.name, mismatchBlocks: mismatches, error: ended.error },
        isWhole ? 'the scheduled check is complete' : 'the scheduled check is not complete: it continues another time',
      );
      return;
    }
    if (process?.type !== 'check') {
      // The check waits for its turn or is about to start, unless the array was assembled again and has forgotten it.
      const isForgotten = process === null && waitsFor === null && Date.now() - running.since > forgottenMs;
      if (array.state !== 'online' || isForgotten) this.#running = null;
      return;
    }
    this.#records.set(running.uuid, {
      ...record,
      next_block: process.progress.blocks,
      mismatches_so_far: running.before + process.mismatch_blocks,
    });
    const isInTheWay = array.ext.health !== 'optimal';
    if (running.isCalledOff || (isWithin(this.#options.window, new Date()) && !isInTheWay)) return;
    running.isCalledOff = true;
    // The call names the type, since the check may have ended and a rebuild begun.
    await this.#caller.call('raidkit_control_process', { name: array.name, type: 'check', action: 'cancel' });
  }

  /** When to retry: in a day, or after one period if that is less. */
  #later(now: number): number {
    return now + Math.min(dayMs, this.#everyMs);
  }

  /** Starts or continues the check that has been due longest. Only one runs at a time, because arrays may share disks. */
  async #startNext(now: number): Promise<void> {
    const due = this.#checkable()
      .filter(({ ext }) => ext.health === 'optimal' && ext.process === null && ext.waits_for === null)
      .flatMap((array) => {
        const record = this.#records.get(array.uuid);
        if (record === undefined || now < (record.not_before ?? 0)) return [];
        const isDue = record.next_block !== null || now >= record.due_from + this.#everyMs;
        return isDue ? [{ array, record }] : [];
      })
      .sort((a, b) => a.record.due_from - b.record.due_from);
    const [next] = due;
    if (next === undefined) return;
    const { array, record } = next;
    const from = Math.min(record.next_block ?? 0, array.ext.num_blocks - 1);
    const before = record.next_block === null ? 0 : record.mismatches_so_far;
    try {
      const { limitMbSec } = this.#options;
      const limit = limitMbSec === null ? {} : { max_bandwidth_mb_sec: limitMbSec };
      await this.#caller.call('raidkit_start_process', { name: array.name, type: 'check', from_block: from, ...limit });
    } catch (error) {
      this.#log.warn(
        { array: array.name, err: error },
        `the scheduled check could not start: ${toRpcError(error).data.reason}`,
      );
      this.#records.set(array.uuid, { ...record, not_before: this.#later(now) });
      return;
    }
    this.#running = { uuid: array.uuid, since: now, before, isCalledOff: false };
    this.#records.set(array.uuid, { ...record, next_block: from, mismatches_so_far: before, not_before: null });
    this.#log.info({ array: array.name, from }, from === 0 ? 'the scheduled check starts' : 'the scheduled check continues');
    // The check of a small array ends before the next update.
    this.#arrays = (await this.#caller.call('raidkit_get_arrays', undefined)) as ArrayState[];
    await this.#follow(this.#running);
  }

  describeOptions(): { everyDays: number; window: string | null; limitMbSec: number | null; isOpen: boolean } {
    const { everyDays, limitMbSec, window } = this.#options;
    return {
      everyDays,
      window: window === null ? null : formatWindow(window),
      limitMbSec,
      isOpen: isWithin(window, new Date()),
    };
  }
}

function completed(at: number, mismatchBlocks: number): CheckRecord {
  return {
    due_from: at,
    completed_at: at,
    mismatch_blocks: mismatchBlocks,
    next_block: null,
    mismatches_so_far: 0,
    not_before: null,
  };
}

/** raidkit's own method that shows the schedule; null if there is none. */
export function scheduleMethods(schedule: CheckSchedule | null): RpcMethod[] {
  return [
    method({
      name: 'raidkit_get_schedule',
      states: ['startup', 'runtime'],
      params: null,
      badParams: invalidParams,
      run() {
        if (schedule === null) return Promise.resolve({ enabled: false, arrays: [] });
        const { everyDays, isOpen, limitMbSec, window } = schedule.describeOptions();
        return Promise.resolve({
          enabled: true,
          every_days: everyDays,
          window,
          window_is_open: isOpen,
          limit_mb_sec: limitMbSec,
          arrays: schedule.list().map((array) => ({
            name: array.name,
            uuid: array.uuid,
            completed_at: timeOf(array.completedAt),
            mismatch_blocks: array.mismatchBlocks,
            due_at: timeOf(array.dueAt),
            unfinished_percent: array.done === null ? null : Math.floor(array.done * 100),
            is_running: array.isRunning,
          })),
        });
      },
    }),
  ];
}

function timeOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

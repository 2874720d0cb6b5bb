import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { inTime } from '../monitor/snapshot.js';
import type { Caller } from '../rpc/dispatcher.js';

/** Time between two samples, in milliseconds. */
export const sampleMs = 2000;
/** Number of samples kept: ten minutes' worth. */
const mostSamples = 300;
/** Number of entries (an array in a sample) kept in all; with more arrays, fewer samples are kept. */
const mostEntries = 20_000;

/** I/O of an array between two samples. */
export interface ArrayLoad {
  readonly name: string;
  readonly read_bytes_per_sec: number;
  readonly write_bytes_per_sec: number;
  readonly read_ops_per_sec: number;
  readonly write_ops_per_sec: number;
  /** Mean latency; null if nothing was read. */
  readonly read_latency_ms: number | null;
  readonly write_latency_ms: number | null;
}

/** The load at one time. */
export interface LoadSample {
  /** Increases by one with each sample, from 1. */
  readonly id: number;
  /** ISO 8601. */
  readonly time: string;
  readonly arrays: readonly ArrayLoad[];
}

/** Samples of the last minutes. */
export interface LoadPage {
  /** Changes with each start of the daemon, after which ids start again. */
  readonly instance: string;
  readonly interval_sec: number;
  readonly last_id: number;
  readonly samples: readonly LoadSample[];
}

interface Counters {
  name: string;
  bytes_read: number;
  num_read_ops: number;
  read_latency_ticks: number;
  bytes_written: number;
  num_write_ops: number;
  write_latency_ticks: number;
}

interface Iostat {
  tick_rate: number;
  bdevs: Counters[];
}

/** Keeps how much arrays have read and written in the last minutes, whether or not a page is open. */
export class LoadHistory {
  readonly #instance = randomUUID();
  readonly #caller: Caller;
  readonly #log: Logger;
  readonly #samples: LoadSample[] = [];
  #entries = 0;
  #lastId = 0;
  /** Counters of the last sample by array, and its time in milliseconds of a monotonic clock. */
  #before: { at: number; counters: ReadonlyMap<string, Counters> } | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isEnded = false;

  constructor(caller: Caller, log: Logger) {
    this.#caller = caller;
    this.#log = log;
  }

  begin(): void {
    void this.#look();
  }

  end(): void {
    this.#isEnded = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** Returns the samples with an id above `since`. */
  page(since: number): LoadPage {
    const samples = this.#samples.filter(({ id }) => id > since);
    return { instance: this.#instance, interval_sec: sampleMs / 1000, last_id: this.#lastId, samples };
  }

  async #look(): Promise<void> {
    try {
      await this.#lookNow();
    } catch (error) {
      // The daemon is starting or the data path does not answer, so this sample is missing.
      this.#before = null;
      this.#log.debug({ err: error }, 'no sample of the load exists');
    }
    if (this.#isEnded) return;
    this.#timer = setTimeout(() => void this.#look(), sampleMs);
    this.#timer.unref();
  }

  async #lookNow(): Promise<void> {
    const ask = (method: string, params?: object): Promise<unknown> => inTime(this.#caller.call(method, params));
    const [arrays, iostat] = (await Promise.all([
      ask('bdev_raid_get_bdevs', { category: 'online' }),
      ask('bdev_get_iostat'),
    ])) as [{ name: string }[], Iostat];
    const at = performance.now();
    const names = new Set(arrays.map(({ name }) => name));
    const counters = new Map(iostat.bdevs.filter(({ name }) => names.has(name)).map((one) => [one.name, one]));
    if (this.#before !== null) this.#add(this.#before, at, counters, iostat.tick_rate);
    this.#before = { at, counters };
  }

  #add(
    before: { at: number; counters: ReadonlyMap<string, Counters> },
    at: number,
    counters: ReadonlyMap<string, Counters>,
    tickRate: number,
  ): void {
    const seconds = (at - before.at) / 1000;
    const arrays = [...counters.values()].map((now) => loadOf(before.counters.get(now.name), now, seconds, tickRate));
    this.#samples.push({ id: ++this.#lastId, time: new Date().toISOString(), arrays });
    this.#entries += arrays.length;
    while (this.#samples.length > mostSamples || (this.#entries > mostEntries && this.#samples.length > 1))
      this.#entries -= this.#samples.shift()?.arrays.length ?? 0;
  }
}

/** `before` is undefined for an array that was not in the previous sample. */
function loadOf(before: Counters | undefined, now: Counters, seconds: number, tickRate: number): ArrayLoad {
  const since = (of: (counters: Counters) => number): number => {
    const [old, value] = [before === undefined ? 0 : of(before), of(now)];
    // Counters start at 0 after a reset of the statistics, or if the array was stopped and started.
    return value < old ? value : value - old;
  };
  const reads = since(({ num_read_ops: ops }) => ops);
  const writes = since(({ num_write_ops: ops }) => ops);
  const mean = (ticks: number, ops: number): number | null => (ops === 0 ? null : round((ticks / tickRate / ops) * 1000));
  return {
    name: now.name,
    read_bytes_per_sec: round(since(({ bytes_read: bytes }) => bytes) / seconds),
    write_bytes_per_sec: round(since(({ bytes_written: bytes }) => bytes) / seconds),
    read_ops_per_sec: round(reads / seconds),
    write_ops_per_sec: round(writes / seconds),
    read_latency_ms: mean(
      since(({ read_latency_ticks: ticks }) => ticks),
      reads,
    ),
    write_latency_ms: mean(
      since(({ write_latency_ticks: ticks }) => ticks),
      writes,
    ),
  };
}

/** Three decimals are enough for a chart. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

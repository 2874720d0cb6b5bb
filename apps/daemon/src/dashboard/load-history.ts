import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { inTime } from '../monitor/snapshot.js';
import type { Caller } from '../rpc/dispatcher.js';

/** Time between two samples, in milliseconds. */
export const sampleMs = 2000;
/** Samples that are kept: ten minutes. */
const mostSamples = 300;
/** Arrays in all samples together; with more arrays, fewer samples are kept. */
const mostEntries = 20_000;

/** What an array did between one sample and the next. */
export interface ArrayLoad {
  readonly name: string;
  readonly read_bytes_per_sec: number;
  readonly write_bytes_per_sec: number;
  readonly read_ops_per_sec: number;
  readonly write_ops_per_sec: number;
  /** Mean; null if nothing was read. */
  readonly read_latency_ms: number | null;
  readonly write_latency_ms: number | null;
}

/** The load at one time. */
export interface LoadSample {
  /** Grows by one from sample to sample, from 1. */
  readonly id: number;
  /** ISO 8601. */
  readonly time: string;
  readonly arrays: readonly ArrayLoad[];
}

/** Samples of the last minutes. */
export interface LoadPage {
  /** Another one after each start of the daemon: ids begin anew. */
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

/** Keeps what arrays have read and written in the last minutes, whether or not a page is open. */
export class LoadHistory {
  readonly #instance = randomUUID();
  readonly #caller: Caller;
  readonly #log: Logger;
  readonly #samples: LoadSample[] = [];
  #entries = 0;
  #lastId = 0;
  /** The counters of the last look, by array, and when that was, in milliseconds of a clock that does not jump. */
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

  /** The samples with an id above `since`. */
  page(since: number): LoadPage {
    const samples = this.#samples.filter(({ id }) => id > since);
    return { instance: this.#instance, interval_sec: sampleMs / 1000, last_id: this.#lastId, samples };
  }

  async #look(): Promise<void> {
    try {
      await this.#lookNow();
    } catch (error) {
      // It is starting, or the data path does not answer: a gap.
      this.#before = null;
      this.#log.debug({ err: error }, 'there is no sample of the load');
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

/** `before`: undefined for an array that was not there. */
function loadOf(before: Counters | undefined, now: Counters, seconds: number, tickRate: number): ArrayLoad {
  const since = (of: (counters: Counters) => number): number => {
    const [old, value] = [before === undefined ? 0 : of(before), of(now)];
    // Statistics that were reset, or an array that was stopped and started, begin at 0.
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

/** Three digits behind the point are enough to look at. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

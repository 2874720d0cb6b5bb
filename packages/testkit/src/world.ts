import { setImmediate } from 'node:timers';
import type { Logger, Runtime } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';
import { Random } from './random.js';

/** The lifetime of a simulated process: events that it has scheduled are dropped with it. */
export interface Life {
  isDead: boolean;
}

/** How {@link World.run} ended. */
export type RunEnd =
  /** The condition became true. */
  | 'done'
  /** No event is left: whatever still waits would wait for ever. */
  | 'idle'
  /** The limit of virtual time or steps was reached. */
  | 'limit'
  /** Something threw. */
  | 'failed';

interface SimEvent {
  time: number;
  /** Orders events of the same time by when they were scheduled. */
  order: number;
  fn: () => void;
  life: Life | null;
}

/** Maximum number of events per turn of the real event loop, each with its promise continuations. */
const batchSize = 64;
/** Virtual duration of a turn of the event loop, so that code which polls turn by turn makes progress. */
const turnMs = 0.001;
/** Number of lines that the trace keeps. */
const traceLines = 2000;

/**
 * Virtual time and its events. Code under test is ordinary asynchronous code: after each event all promise continuations run
 * before the next one, so the order of everything follows from the seed.
 */
export class World {
  readonly random: Random;
  /** The first error outside any promise. */
  failure: Error | null = null;
  steps = 0;
  readonly #heap: SimEvent[] = [];
  readonly #trace: { at: number; line: string }[] = [];
  #now = 0;
  #order = 0;
  #hash = 0x811c_9dc5;
  /** No event happens until it resolves; null if events may happen. */
  #standstill: Promise<unknown> | null = null;

  constructor(seed: number) {
    this.random = new Random(seed, 1);
  }

  /** Virtual time in milliseconds. */
  get now(): number {
    return this.#now;
  }

  /** Hash of everything that happened so far: two runs with the same hash took the same steps. */
  get traceHash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  /** Calls `fn` after `ms` milliseconds, unless the process that scheduled it is dead by then. */
  after(ms: number, fn: () => void, life: Life | null = null): SimEvent {
    const event: SimEvent = { time: this.#now + Math.max(0, ms), order: this.#order++, fn, life };
    this.#push(event);
    return event;
  }

  /** Cancels an event that {@link after} returned. */
  cancel(event: object): void {
    const known = event as SimEvent;
    known.fn = nothing;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  fail(error: Error): void {
    this.failure ??= error;
  }

  /** Adds a line to the trace, and to the hash. */
  trace(line: string): void {
    this.mix(line.length);
    for (let i = 0; i < line.length; i++) this.mix(line.charCodeAt(i));
    this.#trace.push({ at: this.#now, line });
    if (this.#trace.length > 2 * traceLines) this.#trace.splice(0, traceLines);
  }

  /** The last lines of the trace. */
  traceTail(): string[] {
    return this.#trace.slice(-traceLines).map(({ at, line }) => `${at.toFixed(3).padStart(12)} ${line}`);
  }

  mix(value: number): void {
    this.#hash = Math.imul(this.#hash ^ value, 0x0100_0193);
  }

  /** Includes everything that happened in another world in this one's hash. */
  mixWorld(other: World): void {
    this.mix(other.steps);
    this.mix(other.#hash);
  }

  /**
   * Runs events until the condition holds. Always resolves, with the reason why it ended; `maxMs` and `maxSteps` count from the
   * call.
   */
  run(until: () => boolean, limits: { maxMs: number; maxSteps: number }): Promise<RunEnd> {
    const lastTime = this.#now + limits.maxMs;
    const lastStep = this.steps + limits.maxSteps;
    return new Promise((resolve) => {
      let left = 0;
      let hasEnded = false;
      const turn = (): void => {
        left--;
        if (hasEnded) return;
        if (this.#standstill !== null) {
          if (left === 0) void this.#standstill.then(refill, refill);
          return;
        }
        const end = this.#turn(until, lastTime, lastStep);
        if (end !== null) {
          hasEnded = true;
          resolve(end);
        } else if (left === 0) {
          refill();
        }
      };
      const refill = (): void => {
        left = batchSize;
        for (let i = 0; i < batchSize; i++) setImmediate(turn);
      };
      refill();
    });
  }

  /** Runs work of another world, while nothing happens in this one. */
  async aside<T>(work: () => Promise<T>): Promise<T> {
    const done = work();
    this.#standstill = done;
    try {
      return await done;
    } finally {
      this.#standstill = null;
    }
  }

  /** Returns the runtime of a process in this world. Its uuids and timers follow from the seed too. */
  runtime(life: Life, memory: BufferMemory): Runtime {
    const setTimer: Runtime['setTimer'] = (fn, ms) => this.after(ms, fn, life);
    return {
      now: () => this.#now,
      wallClock: () => 1_700_000_000_000 + this.#now,
      setTimer,
      setWatchTimer: setTimer,
      clearTimer: (timer) => this.cancel(timer),
      soon: (fn) => void this.after(turnMs, fn, life),
      randomBytes: (count) => this.random.bytes(count),
      log: this.#logger(),
      memory,
    };
  }

  #turn(until: () => boolean, lastTime: number, lastStep: number): RunEnd | null {
    if (this.failure !== null) return 'failed';
    if (until()) return 'done';
    const event = this.#pop();
    if (event === null) return 'idle';
    if (event.time > lastTime || this.steps >= lastStep) {
      this.#push(event);
      return 'limit';
    }
    this.#now = event.time;
    if (event.life?.isDead === true) return null;
    this.steps++;
    this.mix(event.order);
    this.mix(event.time * 1000);
    try {
      event.fn();
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    }
    return null;
  }

  #logger(): Logger {
    const line =
      (level: string) =>
      (fields: object, message: string): void => {
        this.trace(`  ${level}: ${message} ${describe(fields)}`);
      };
    return { debug: nothing, info: line('info'), warn: line('warn'), error: line('error') };
  }

  #push(event: SimEvent): void {
    const heap = this.#heap;
    let place = heap.length;
    heap.push(event);
    while (place > 0) {
      const above = (place - 1) >> 1;
      const other = at(heap, above);
      if (isBefore(other, event)) break;
      heap[place] = other;
      heap[above] = event;
      place = above;
    }
  }

  #pop(): SimEvent | null {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined) return null;
    if (heap.length === 0) return first;
    let place = 0;
    for (;;) {
      let below = 2 * place + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(at(heap, below + 1), at(heap, below))) below++;
      const other = at(heap, below);
      if (isBefore(last, other)) break;
      heap[place] = other;
      place = below;
    }
    heap[place] = last;
    return first;
  }
}

function nothing(): void {
  // Does nothing.
}

function at(heap: readonly SimEvent[], index: number): SimEvent {
  const event = heap[index];
  if (event === undefined) throw new RangeError('past the end of the heap');
  return event;
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}

function describe(fields: object): string {
  const entries = Object.entries(fields as Record<string, unknown>).map(([key, value]) => {
    const text = value instanceof Error ? value.message : String(value);
    return `${key}=${text}`;
  });
  return entries.join(' ');
}

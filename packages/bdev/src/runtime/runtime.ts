import type { BufferMemory } from '@raidkit/parity';

/** Structured log lines, `log.warn({ bdev: 'm0' }, 'text')`. A pino logger is one. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What {@link Runtime.setTimer} gives, to hand to {@link Runtime.clearTimer} and to nothing else. */
export type TimerHandle = object;

/**
 * The world as the deterministic packages see it: time, chance, deferral, log and memory. Node's is made by
 * `nodeRuntime()` in `@raidkit/bdev/node`; the simulator hands in its own, and the same seed then gives the same run.
 */
export interface Runtime {
  /** Monotonic time in milliseconds, with fractions. */
  now(): number;
  /** Wall-clock time in milliseconds since 1970, for what is shown to people or stored; never for measuring. */
  wallClock(): number;
  /** Calls `fn` once, after `ms` milliseconds at the earliest. Something waits for it: the process lives until then. */
  setTimer(fn: () => void, ms: number): TimerHandle;
  /** The same, for code that looks at something from time to time: a pending timer keeps no process alive. */
  setWatchTimer(fn: () => void, ms: number): TimerHandle;
  /** No effect on a timer that has fired. */
  clearTimer(timer: TimerHandle): void;
  /** Calls `fn` in a later turn of the event loop, in the order of the calls; never inside `soon` itself. */
  soon(fn: () => void): void;
  /** `count` random bytes, for uuids. */
  randomBytes(count: number): Uint8Array;
  readonly log: Logger;
  /** The one memory in which every data-path buffer of this runtime lies. */
  readonly memory: BufferMemory;
}

import type { BufferMemory } from '@raidkit/parity';

/** A logger of structured lines, `log.warn({ bdev: 'm0' }, 'text')`. A pino logger fits. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Returned by {@link Runtime.setTimer}; only good for {@link Runtime.clearTimer}. */
export type TimerHandle = object;

/**
 * Everything that the deterministic packages use of their environment: time, random numbers, deferral, log and memory.
 * `nodeRuntime()` in `@raidkit/bdev/node` makes Node's; the simulator passes its own, so that the same seed gives the same run.
 */
export interface Runtime {
  /** Monotonic time in milliseconds, with fractions. */
  now(): number;
  /** Wall-clock time in milliseconds since 1970, for what is shown to people or stored; never for measuring. */
  wallClock(): number;
  /** Calls `fn` once, after at least `ms` milliseconds. A pending timer keeps the process alive. */
  setTimer(fn: () => void, ms: number): TimerHandle;
  /** As `setTimer`, for periodic checks: a pending timer does not keep the process alive. */
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

import { randomBytes } from 'node:crypto';
import { BufferMemory } from '@raidkit/parity';
import type { LookClock } from './runtime/look-timer.js';
import type { Logger, Runtime } from './runtime/runtime.js';

const silent = (): void => undefined;
const noLog: Logger = { debug: silent, info: silent, warn: silent, error: silent };

/** Options of {@link nodeRuntime}. */
export interface NodeRuntimeOptions {
  /** Size of the buffer memory in bytes; pages that are never used cost address space only. Default 256 MiB. */
  memoryBytes?: number;
  /** Default: a logger that discards everything. */
  log?: Logger;
}

/** Node's clock and timers, for a `LookTimer` outside of a {@link Runtime}. Its timers keep the process alive. */
export const nodeClock: LookClock = {
  now: () => performance.now(),
  setWatchTimer: (fn, ms) => setTimeout(fn, ms),
  clearTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

/** The {@link Runtime} of a Node process: its clock, timers, event loop and random numbers. */
export function nodeRuntime(options: NodeRuntimeOptions = {}): Runtime {
  return {
    ...nodeClock,
    wallClock: () => Date.now(),
    setTimer: (fn, ms) => setTimeout(fn, ms),
    setWatchTimer: (fn, ms) => setTimeout(fn, ms).unref(),
    soon: (fn) => void setImmediate(fn),
    randomBytes: (count) => randomBytes(count),
    log: options.log ?? noLog,
    memory: new BufferMemory({ bytes: options.memoryBytes ?? 256 * 1024 * 1024 }),
  };
}

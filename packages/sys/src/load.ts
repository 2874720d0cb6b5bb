import { syscallNumbers } from './constants.js';
import type { SyscallNumbers } from './constants.js';
import { loadFfi } from './ffi.js';
import type { Ffi } from './ffi.js';
import { Sys } from './sys.js';

interface Loaded {
  sys: Sys | null;
  reason: string;
  calls: { ffi: Ffi; numbers: SyscallNumbers } | null;
}

let loaded: Loaded | null = null;

/** Returns the system calls, the same object every time; null where they are not available, and {@link whyNoSys} says why. */
export function loadSys(): Sys | null {
  loaded ??= tryToLoad();
  return loaded.sys;
}

/** Why {@link loadSys} returns null, for a log line; empty if it does not. */
export function whyNoSys(): string {
  loaded ??= tryToLoad();
  return loaded.reason;
}

/** For the other files of this package: what {@link loadSys} is built on. */
export function loadCalls(): Loaded['calls'] {
  loaded ??= tryToLoad();
  return loaded.calls;
}

function without(reason: string): Loaded {
  return { sys: null, reason, calls: null };
}

function tryToLoad(): Loaded {
  if (process.platform !== 'linux') return without(`there are no Linux system calls on ${process.platform}`);
  if (process.env.RAIDKIT_NO_FFI === '1') return without('RAIDKIT_NO_FFI is set');
  const arch = Object.keys(syscallNumbers).find((known): known is keyof typeof syscallNumbers => known === process.arch);
  if (arch === undefined) return without(`the system call numbers of ${process.arch} are not known`);
  try {
    const ffi = loadFfi();
    return { sys: new Sys(ffi, arch), reason: '', calls: { ffi, numbers: syscallNumbers[arch] } };
  } catch (error) {
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    return without(`koffi cannot be loaded: ${message}`);
  }
}

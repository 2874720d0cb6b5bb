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

/** The system calls, or null where they cannot be had; {@link whyNoSys} then says why. The same object every time. */
export function loadSys(): Sys | null {
  loaded ??= tryToLoad();
  return loaded.sys;
}

/** Why {@link loadSys} gives null, for a log line; empty if it does not. */
export function whyNoSys(): string {
  loaded ??= tryToLoad();
  return loaded.reason;
}

/** For the other files of this package: what {@link loadSys} is made of. */
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

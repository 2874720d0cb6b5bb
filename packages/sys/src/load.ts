import { syscallNumbers } from './constants.js';
import { loadFfi } from './ffi.js';
import { Sys } from './sys.js';

let loaded: { sys: Sys | null; reason: string } | null = null;

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

function tryToLoad(): { sys: Sys | null; reason: string } {
  if (process.platform !== 'linux') return { sys: null, reason: `there are no Linux system calls on ${process.platform}` };
  if (process.env.RAIDKIT_NO_FFI === '1') return { sys: null, reason: 'RAIDKIT_NO_FFI is set' };
  const arch = Object.keys(syscallNumbers).find((known): known is keyof typeof syscallNumbers => known === process.arch);
  if (arch === undefined) return { sys: null, reason: `the system call numbers of ${process.arch} are not known` };
  try {
    return { sys: new Sys(loadFfi(), arch), reason: '' };
  } catch (error) {
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    return { sys: null, reason: `koffi cannot be loaded: ${message}` };
  }
}

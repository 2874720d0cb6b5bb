import { createRequire } from 'node:module';

/** A system call by number, with up to six arguments; returns its result, or a negative errno. */
export type Syscall = (number: number, a?: number, b?: number, c?: number, d?: number, e?: number, f?: number) => number;

/** A function of {@link Ffi.functionOf}, on the calling thread. */
export type ForeignFunction = (...args: number[]) => number;

/** What this package needs of a foreign function library; the only code that depends on the library. */
export interface Ffi {
  /** syscall(2), on the calling thread. */
  readonly syscall: Syscall;
  /** The same on a thread of the library's own; `done` is called on the main thread. */
  syscallAsync(number: number, args: readonly number[], done: (result: number) => void): void;
  /**
   * Returns a function of the program or of a library that it has loaded, with arguments and a result of these C types; an
   * address is a `long`. Null if there is none of this name.
   */
  functionOf(name: string, result: 'int' | 'long', args: readonly ('int' | 'long')[]): ForeignFunction | null;
  /** Address of the memory. Valid as long as the view is alive and its buffer not detached. */
  addressOf(view: ArrayBufferView | ArrayBuffer): number;
  /** Returns the memory at an address. It must not be accessed once it has been unmapped. */
  viewOf(addr: number, lengthBytes: number): ArrayBuffer;
}

/** The part of koffi 3 that is used. */
interface Koffi {
  load(path: null): { func(name: string, result: string, args: string[]): KoffiFunction };
  errno(): number;
  address(value: unknown): bigint;
  view(pointer: bigint, lengthBytes: number): ArrayBuffer;
}
interface KoffiFunction {
  (...args: number[]): number;
  async(...args: [...number[], (error: unknown, result: number) => void]): void;
}

/** Throws if koffi is not installed or has no binary for this machine. */
export function loadFfi(): Ffi {
  const koffi = createRequire(import.meta.url)('koffi') as Koffi;
  // The C library that Node itself uses.
  const program = koffi.load(null);
  const call = program.func('syscall', 'long', ['long', 'long', 'long', 'long', 'long', 'long', 'long']);
  return {
    syscall: (number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) => {
      const result = call(number, a, b, c, d, e, f);
      return result === -1 ? -koffi.errno() : result;
    },
    syscallAsync: (number, args, done) => {
      const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
      call.async(number, a, b, c, d, e, f, (error, result) => {
        if (error !== null) throw error as Error;
        done(result === -1 ? -koffi.errno() : result);
      });
    },
    functionOf: (name, result, args) => {
      try {
        return program.func(name, result, [...args]);
      } catch {
        return null;
      }
    },
    addressOf: (view) => Number(koffi.address(view)),
    viewOf: (addr, lengthBytes) => koffi.view(BigInt(addr), lengthBytes),
  };
}

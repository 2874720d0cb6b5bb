/**
 * The part of WebAssembly that is used here. TypeScript declares it only in the browser's library, which users of this package
 * should not need.
 */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

/** A compiled module, used as an opaque value. */
export type WasmModule = object;

interface WebAssemblyApi {
  readonly Memory: new (limits: { initial: number; maximum: number }) => WasmMemory;
  readonly Module: new (binary: Uint8Array) => WasmModule;
  readonly Instance: new (module: WasmModule, imports: { env: { memory: WasmMemory } }) => { readonly exports: unknown };
  readonly CompileError: new (message?: string) => Error;
}

export const webAssembly = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;

/**
 * The part of WebAssembly that is used here. TypeScript declares it with the browser's library only, and who installs
 * this package should not need that.
 */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

/** A compiled module; nothing here looks inside. */
export type WasmModule = object;

interface WebAssemblyApi {
  readonly Memory: new (limits: { initial: number; maximum: number }) => WasmMemory;
  readonly Module: new (binary: Uint8Array) => WasmModule;
  readonly Instance: new (module: WasmModule, imports: { env: { memory: WasmMemory } }) => { readonly exports: unknown };
  readonly CompileError: new (message?: string) => Error;
}

export const webAssembly = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;

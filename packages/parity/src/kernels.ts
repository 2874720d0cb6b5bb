import { CheckedKernels } from './kernels-checked.js';
import { JavaScriptKernels } from './kernels-javascript.js';
import { WasmKernels } from './kernels-wasm.js';
import type { KernelImplementation, ParityKernels } from './kernel-types.js';
import { type WasmMemory, webAssembly } from './webassembly.js';

/**
 * Makes the kernels of `memory`. KERNEL_TABLE_BYTES from `tableAddr` on must be used by nothing else. Default: WebAssembly, or
 * JavaScript where the module does not compile (no SIMD, or code generation forbidden).
 */
export function createKernels(memory: WasmMemory, tableAddr: number, choice?: KernelImplementation): ParityKernels {
  return new CheckedKernels(memory.buffer.byteLength, chooseKernels(memory, tableAddr, choice));
}

function chooseKernels(memory: WasmMemory, tableAddr: number, choice?: KernelImplementation): ParityKernels {
  if (choice === 'javascript') return new JavaScriptKernels(memory.buffer);
  try {
    return new WasmKernels(memory, tableAddr);
  } catch (error) {
    if (choice === 'wasm-simd' || !(error instanceof webAssembly.CompileError)) throw error;
    return new JavaScriptKernels(memory.buffer);
  }
}

import { upperHalf } from './block-sums.js';
import { crc32cTables } from './crc32c-table.js';
import { gfMultiply } from './galois.js';
import type { AddressList, ParityKernels } from './kernel-types.js';
import { KERNELS_WASM_BASE64 } from './kernels-wasm-binary.js';
import { type WasmMemory, type WasmModule, webAssembly } from './webassembly.js';

/** For each coefficient, its products with 0..15 and with 0, 16, .. 240: one vector each. */
const GF_ROW_BYTES = 32;
const GF_TABLE_BYTES = 256 * GF_ROW_BYTES;
const CRC_TABLES = 8;

/** Bytes that the kernels' tables take in the memory. */
export const KERNEL_TABLE_BYTES = GF_TABLE_BYTES + CRC_TABLES * 1024;

/** The exports of scripts/generate-kernels.mjs. Addresses are 32-bit numbers of either sign; any length and alignment. */
interface Exports {
  xor2: XorKernel;
  xor3: XorKernel;
  xor4: XorKernel;
  xor5: XorKernel;
  xor6: XorKernel;
  xor7: XorKernel;
  xor8: XorKernel;
  pq1: PqKernel;
  pq2: PqKernel;
  pq3: PqKernel;
  pq4: PqKernel;
  pq5: PqKernel;
  pq6: PqKernel;
  pq7: PqKernel;
  pq8: PqKernel;
  /** As pq8, but p and q already hold the sums over the sources that follow these eight. */
  pqMore8: PqKernel;
  gfMulInto: (d: number, s: number, row: number, length: number) => void;
  isZero: (a: number, length: number) => number;
  equal: (a: number, b: number, length: number) => number;
  crc32c: (a: number, length: number, tables: number, crc: number) => number;
  /** `low` and `high` are the two halves of the first block's number. */
  blockSums: (sums: number, a: number, count: number, key: number, low: number, high: number) => void;
  wrongBlock: (sums: number, a: number, count: number, key: number, low: number, high: number) => number;
}

type XorKernel = (d: number, ...sourcesAndLength: number[]) => void;
type PqKernel = (p: number, q: number, ...sourcesAndLength: number[]) => void;

let compiled: WasmModule | null = null;

/** The kernels in WebAssembly with 128-bit vectors. Arguments must already be checked, as CheckedKernels does. */
export class WasmKernels implements ParityKernels {
  readonly implementation = 'wasm-simd';
  readonly #exports: Exports;
  readonly #u8: Uint8Array;
  readonly #gfAddr: number;
  readonly #crcAddr: number;

  /**
   * Throws a WebAssembly.CompileError if the module cannot be compiled. Writes KERNEL_TABLE_BYTES of tables from `tableAddr`
   * on.
   */
  constructor(memory: WasmMemory, tableAddr: number) {
    compiled ??= new webAssembly.Module(Buffer.from(KERNELS_WASM_BASE64, 'base64'));
    const instance = new webAssembly.Instance(compiled, { env: { memory } });
    this.#exports = instance.exports as Exports;
    this.#u8 = new Uint8Array(memory.buffer);
    this.#gfAddr = tableAddr;
    this.#crcAddr = tableAddr + GF_TABLE_BYTES;
    for (let coefficient = 0; coefficient < 256; coefficient++) {
      for (let nibble = 0; nibble < 16; nibble++) {
        const addr = this.#gfAddr + coefficient * GF_ROW_BYTES + nibble;
        this.#u8[addr] = gfMultiply(coefficient, nibble);
        this.#u8[addr + 16] = gfMultiply(coefficient, nibble << 4);
      }
    }
    const view = new DataView(memory.buffer, this.#crcAddr);
    crc32cTables(CRC_TABLES).forEach((word, index) => view.setUint32(index * 4, word, true));
  }

  xor(dst: number, sources: AddressList, count: number, lengthBytes: number): void {
    if (count <= 8) {
      this.#xorUpTo8(dst, sources, count, lengthBytes);
      return;
    }
    // First the sources left over from groups of seven, then each group together with the result so far.
    let done = ((count - 1) % 7) + 1;
    this.#xorUpTo8(dst, sources, done, lengthBytes);
    for (; done < count; done += 7) {
      const i = done;
      this.#exports.xor8(
        dst,
        dst,
        at(sources, i),
        at(sources, i + 1),
        at(sources, i + 2),
        at(sources, i + 3),
        at(sources, i + 4),
        at(sources, i + 5),
        at(sources, i + 6),
        lengthBytes,
      );
    }
  }

  xorInto(dst: number, src: number, lengthBytes: number): void {
    this.#exports.xor2(dst, dst, src, lengthBytes);
  }

  pq(p: number, q: number, sources: AddressList, count: number, lengthBytes: number): void {
    // Horner's rule runs from the last source to the first. The group that has fewer than eight is at the end of the list.
    let first = Math.floor((count - 1) / 8) * 8;
    this.#pqUpTo8(p, q, sources, first, count - first, lengthBytes);
    while (first > 0) {
      first -= 8;
      const i = first;
      this.#exports.pqMore8(
        p,
        q,
        at(sources, i),
        at(sources, i + 1),
        at(sources, i + 2),
        at(sources, i + 3),
        at(sources, i + 4),
        at(sources, i + 5),
        at(sources, i + 6),
        at(sources, i + 7),
        lengthBytes,
      );
    }
  }

  gfMulInto(dst: number, src: number, coefficient: number, lengthBytes: number): void {
    this.#exports.gfMulInto(dst, src, this.#gfAddr + coefficient * GF_ROW_BYTES, lengthBytes);
  }

  isZero(addr: number, lengthBytes: number): boolean {
    return this.#exports.isZero(addr, lengthBytes) !== 0;
  }

  equal(a: number, b: number, lengthBytes: number): boolean {
    return this.#exports.equal(a, b, lengthBytes) !== 0;
  }

  crc32c(addr: number, lengthBytes: number, initial = 0): number {
    return this.#exports.crc32c(addr, lengthBytes, this.#crcAddr, initial) >>> 0;
  }

  blockSums(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): void {
    this.#exports.blockSums(sums, addr, count, key, firstBlock % 2 ** 32, upperHalf(firstBlock, tag));
  }

  wrongBlock(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): number {
    return this.#exports.wrongBlock(sums, addr, count, key, firstBlock % 2 ** 32, upperHalf(firstBlock, tag));
  }

  #xorUpTo8(dst: number, s: AddressList, count: number, lengthBytes: number): void {
    const e = this.#exports;
    switch (count) {
      case 1:
        this.#u8.copyWithin(dst, at(s, 0) >>> 0, (at(s, 0) >>> 0) + lengthBytes);
        break;
      case 2:
        e.xor2(dst, at(s, 0), at(s, 1), lengthBytes);
        break;
      case 3:
        e.xor3(dst, at(s, 0), at(s, 1), at(s, 2), lengthBytes);
        break;
      case 4:
        e.xor4(dst, at(s, 0), at(s, 1), at(s, 2), at(s, 3), lengthBytes);
        break;
      case 5:
        e.xor5(dst, at(s, 0), at(s, 1), at(s, 2), at(s, 3), at(s, 4), lengthBytes);
        break;
      case 6:
        e.xor6(dst, at(s, 0), at(s, 1), at(s, 2), at(s, 3), at(s, 4), at(s, 5), lengthBytes);
        break;
      case 7:
        e.xor7(dst, at(s, 0), at(s, 1), at(s, 2), at(s, 3), at(s, 4), at(s, 5), at(s, 6), lengthBytes);
        break;
      default:
        e.xor8(dst, at(s, 0), at(s, 1), at(s, 2), at(s, 3), at(s, 4), at(s, 5), at(s, 6), at(s, 7), lengthBytes);
    }
  }

  #pqUpTo8(p: number, q: number, s: AddressList, i: number, count: number, lengthBytes: number): void {
    const e = this.#exports;
    switch (count) {
      case 1:
        e.pq1(p, q, at(s, i), lengthBytes);
        break;
      case 2:
        e.pq2(p, q, at(s, i), at(s, i + 1), lengthBytes);
        break;
      case 3:
        e.pq3(p, q, at(s, i), at(s, i + 1), at(s, i + 2), lengthBytes);
        break;
      case 4:
        e.pq4(p, q, at(s, i), at(s, i + 1), at(s, i + 2), at(s, i + 3), lengthBytes);
        break;
      case 5:
        e.pq5(p, q, at(s, i), at(s, i + 1), at(s, i + 2), at(s, i + 3), at(s, i + 4), lengthBytes);
        break;
      case 6:
        e.pq6(p, q, at(s, i), at(s, i + 1), at(s, i + 2), at(s, i + 3), at(s, i + 4), at(s, i + 5), lengthBytes);
        break;
      case 7:
        e.pq7(p, q, at(s, i), at(s, i + 1), at(s, i + 2), at(s, i + 3), at(s, i + 4), at(s, i + 5), at(s, i + 6), lengthBytes);
        break;
      default:
        e.pq8(
          p,
          q,
          at(s, i),
          at(s, i + 1),
          at(s, i + 2),
          at(s, i + 3),
          at(s, i + 4),
          at(s, i + 5),
          at(s, i + 6),
          at(s, i + 7),
          lengthBytes,
        );
    }
  }
}

function at(sources: AddressList, index: number): number {
  return sources[index] ?? 0;
}

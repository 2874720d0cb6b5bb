import { SUMMED_BYTES, SUM_BYTES, upperHalf } from './block-sums.js';
import { crc32cTables } from './crc32c-table.js';
import { gfMultiply } from './galois.js';
import type { AddressList, ParityKernels } from './kernel-types.js';

/**
 * The kernels without WebAssembly: with 32-bit words if all addresses are multiples of 4, with bytes otherwise. At most a tenth
 * as fast. Arguments must already be checked, as CheckedKernels does.
 */
export class JavaScriptKernels implements ParityKernels {
  readonly implementation = 'javascript';
  readonly #u8: Uint8Array;
  readonly #i32: Int32Array;
  readonly #view: DataView;
  /** Lower and upper half of the block sum that was computed last. */
  #sumLow = 0;
  #sumHigh = 0;
  readonly #crcTable = crc32cTables(1);
  /** Products of the last used coefficient with every byte. */
  readonly #products = new Uint8Array(256);
  #productsOf = 0;

  constructor(buffer: ArrayBuffer) {
    this.#u8 = new Uint8Array(buffer);
    this.#i32 = new Int32Array(buffer);
    this.#view = new DataView(buffer);
  }

  xor(dst: number, sources: AddressList, count: number, lengthBytes: number): void {
    this.#copy(dst, addressAt(sources, 0), lengthBytes);
    for (let i = 1; i < count; i++) this.xorInto(dst, addressAt(sources, i), lengthBytes);
  }

  xorInto(dst: number, src: number, lengthBytes: number): void {
    const u8 = this.#u8;
    const words = ((dst | src) & 3) === 0 ? lengthBytes >>> 2 : 0;
    const i32 = this.#i32;
    const d = dst >>> 2;
    const s = src >>> 2;
    for (let i = 0; i < words; i++) i32[d + i] = word(i32, d + i) ^ word(i32, s + i);
    for (let i = words * 4; i < lengthBytes; i++) u8[dst + i] = byte(u8, dst + i) ^ byte(u8, src + i);
  }

  pq(p: number, q: number, sources: AddressList, count: number, lengthBytes: number): void {
    // Horner's rule: Q = d0 + 2 (d1 + 2 (d2 + ...)).
    const last = addressAt(sources, count - 1);
    this.#copy(p, last, lengthBytes);
    this.#copy(q, last, lengthBytes);
    for (let i = count - 2; i >= 0; i--) {
      const source = addressAt(sources, i);
      this.xorInto(p, source, lengthBytes);
      this.#doubleAndAdd(q, source, lengthBytes);
    }
  }

  gfMulInto(dst: number, src: number, coefficient: number, lengthBytes: number): void {
    const u8 = this.#u8;
    const products = this.#products;
    if (coefficient !== this.#productsOf) {
      for (let x = 0; x < 256; x++) products[x] = gfMultiply(coefficient, x);
      this.#productsOf = coefficient;
    }
    for (let i = 0; i < lengthBytes; i++) u8[dst + i] = byte(u8, dst + i) ^ byte(products, byte(u8, src + i));
  }

  isZero(addr: number, lengthBytes: number): boolean {
    const u8 = this.#u8;
    const words = (addr & 3) === 0 ? lengthBytes >>> 2 : 0;
    for (let i = 0; i < words; i++) if (this.#i32[(addr >>> 2) + i] !== 0) return false;
    for (let i = words * 4; i < lengthBytes; i++) if (u8[addr + i] !== 0) return false;
    return true;
  }

  equal(a: number, b: number, lengthBytes: number): boolean {
    const u8 = this.#u8;
    const words = ((a | b) & 3) === 0 ? lengthBytes >>> 2 : 0;
    for (let i = 0; i < words; i++) if (this.#i32[(a >>> 2) + i] !== this.#i32[(b >>> 2) + i]) return false;
    for (let i = words * 4; i < lengthBytes; i++) if (u8[a + i] !== u8[b + i]) return false;
    return true;
  }

  crc32c(addr: number, lengthBytes: number, initial = 0): number {
    const u8 = this.#u8;
    let crc = initial;
    for (let i = 0; i < lengthBytes; i++) crc = (this.#crcTable[(crc ^ byte(u8, addr + i)) & 255] ?? 0) ^ (crc >>> 8);
    return crc >>> 0;
  }

  blockSums(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): void {
    for (let i = 0; i < count; i++) {
      this.#sumBlock(addr + i * SUMMED_BYTES, key, firstBlock + i, tag);
      this.#view.setUint32(sums + i * SUM_BYTES, this.#sumLow, true);
      this.#view.setUint32(sums + i * SUM_BYTES + 4, this.#sumHigh, true);
    }
  }

  wrongBlock(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): number {
    const view = this.#view;
    for (let i = 0; i < count; i++) {
      this.#sumBlock(addr + i * SUMMED_BYTES, key, firstBlock + i, tag);
      const at = sums + i * SUM_BYTES;
      if (view.getUint32(at, true) !== this.#sumLow || view.getUint32(at + 4, true) !== this.#sumHigh) return i;
    }
    return count;
  }

  #sumBlock(addr: number, key: number, block: number, tag: number): void {
    const view = this.#view;
    this.#sumLow = 0;
    this.#sumHigh = 0;
    for (let at = 0; at < SUMMED_BYTES; at += 32) {
      for (let word = at; word < at + 16; word += 4) {
        this.#addProduct(
          view.getUint32(addr + word, true) + view.getUint32(key + word, true),
          view.getUint32(addr + word + 16, true) + view.getUint32(key + word + 16, true),
        );
      }
    }
    this.#addProduct(
      (block % 2 ** 32) + view.getUint32(key + SUMMED_BYTES, true),
      upperHalf(block, tag) + view.getUint32(key + SUMMED_BYTES + 4, true),
    );
    if (this.#sumLow === 0 && this.#sumHigh === 0) this.#sumLow = 1;
  }

  /** Adds (x + 2^32) (y + 2^32) to the 64-bit sum, where x and y are the two numbers as unsigned 32-bit values. */
  #addProduct(a: number, b: number): void {
    const x = a >>> 0;
    const y = b >>> 0;
    // Numbers are exact below 2^53, so the product of 32 and 16 bits, with carries, is exact.
    const lower = x * (y & 0xffff);
    const upper = x * (y >>> 16) + Math.floor(lower / 65_536);
    const low = this.#sumLow + (upper % 65_536) * 65_536 + (lower % 65_536);
    this.#sumLow = low >>> 0;
    this.#sumHigh = (this.#sumHigh + Math.floor(upper / 65_536) + x + y + (low >= 2 ** 32 ? 1 : 0)) >>> 0;
  }

  #copy(dst: number, src: number, lengthBytes: number): void {
    this.#u8.copyWithin(dst, src, src + lengthBytes);
  }

  /** dst = 2 * dst ^ src */
  #doubleAndAdd(dst: number, src: number, lengthBytes: number): void {
    const u8 = this.#u8;
    const words = ((dst | src) & 3) === 0 ? lengthBytes >>> 2 : 0;
    const i32 = this.#i32;
    const d = dst >>> 2;
    const s = src >>> 2;
    for (let i = 0; i < words; i++) {
      // Four bytes at once: each is shifted by itself, and reduced where its top bit fell off.
      const x = word(i32, d + i);
      i32[d + i] = ((x & 0x7f7f7f7f) << 1) ^ (((x >>> 7) & 0x01010101) * 0x1d) ^ word(i32, s + i);
    }
    for (let i = words * 4; i < lengthBytes; i++) {
      const x = byte(u8, dst + i);
      u8[dst + i] = (x << 1) ^ (x & 0x80 ? 0x11d : 0) ^ byte(u8, src + i);
    }
  }
}

function addressAt(sources: AddressList, index: number): number {
  return (sources[index] ?? 0) >>> 0;
}

function byte(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0;
}

function word(words: Int32Array, index: number): number {
  return words[index] ?? 0;
}

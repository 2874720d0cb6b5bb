import { BLOCK_SUM_KEY_BYTES, SUMMED_BYTES, SUM_BYTES } from './block-sums.js';
import type { AddressList, KernelImplementation, ParityKernels } from './kernel-types.js';

/**
 * Checks the arguments of the kernels, which cannot do so themselves: a typed array ignores writes behind its end, WebAssembly
 * stops in the middle, and both compute nonsense on overlapping ranges. Costs a few nanoseconds per range.
 */
export class CheckedKernels implements ParityKernels {
  readonly implementation: KernelImplementation;
  readonly #memoryBytes: number;
  readonly #kernels: ParityKernels;

  constructor(memoryBytes: number, kernels: ParityKernels) {
    this.implementation = kernels.implementation;
    this.#memoryBytes = memoryBytes;
    this.#kernels = kernels;
  }

  xor(dst: number, sources: AddressList, count: number, lengthBytes: number): void {
    const target = this.#inside(dst, lengthBytes);
    this.#checkSources(target, sources, count, lengthBytes, true);
    this.#kernels.xor(target, sources, count, lengthBytes);
  }

  xorInto(dst: number, src: number, lengthBytes: number): void {
    const target = this.#inside(dst, lengthBytes);
    const source = this.#inside(src, lengthBytes);
    if (target !== source) refuseOverlap(target, source, lengthBytes);
    this.#kernels.xorInto(target, source, lengthBytes);
  }

  pq(p: number, q: number, sources: AddressList, count: number, lengthBytes: number): void {
    const pTarget = this.#inside(p, lengthBytes);
    const qTarget = this.#inside(q, lengthBytes);
    refuseOverlap(pTarget, qTarget, lengthBytes);
    this.#checkSources(pTarget, sources, count, lengthBytes, false);
    this.#checkSources(qTarget, sources, count, lengthBytes, false);
    this.#kernels.pq(pTarget, qTarget, sources, count, lengthBytes);
  }

  gfMulInto(dst: number, src: number, coefficient: number, lengthBytes: number): void {
    if (!(Number.isInteger(coefficient) && coefficient >= 0 && coefficient <= 255)) {
      throw new RangeError(`coefficient must be an integer from 0 to 255, not ${coefficient}`);
    }
    const target = this.#inside(dst, lengthBytes);
    const source = this.#inside(src, lengthBytes);
    if (target !== source) refuseOverlap(target, source, lengthBytes);
    this.#kernels.gfMulInto(target, source, coefficient, lengthBytes);
  }

  isZero(addr: number, lengthBytes: number): boolean {
    return this.#kernels.isZero(this.#inside(addr, lengthBytes), lengthBytes);
  }

  equal(a: number, b: number, lengthBytes: number): boolean {
    return this.#kernels.equal(this.#inside(a, lengthBytes), this.#inside(b, lengthBytes), lengthBytes);
  }

  crc32c(addr: number, lengthBytes: number, initial = 0): number {
    return this.#kernels.crc32c(this.#inside(addr, lengthBytes), lengthBytes, initial);
  }

  blockSums(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): void {
    checkNumbers(count, firstBlock, tag);
    const target = this.#inside(sums, count * SUM_BYTES);
    const source = this.#inside(addr, count * SUMMED_BYTES);
    const keyAddr = this.#inside(key, BLOCK_SUM_KEY_BYTES);
    refuseOverlap(target, source, count * SUM_BYTES, count * SUMMED_BYTES);
    refuseOverlap(target, keyAddr, count * SUM_BYTES, BLOCK_SUM_KEY_BYTES);
    this.#kernels.blockSums(target, source, count, keyAddr, firstBlock, tag);
  }

  wrongBlock(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): number {
    checkNumbers(count, firstBlock, tag);
    return this.#kernels.wrongBlock(
      this.#inside(sums, count * SUM_BYTES),
      this.#inside(addr, count * SUMMED_BYTES),
      count,
      this.#inside(key, BLOCK_SUM_KEY_BYTES),
      firstBlock,
      tag,
    );
  }

  #checkSources(dst: number, sources: AddressList, count: number, lengthBytes: number, mayStartWithDst: boolean): void {
    if (!(Number.isInteger(count) && count >= 1 && count <= 255 && count <= sources.length)) {
      throw new RangeError(`count must be an integer from 1 to 255 and at most the ${sources.length} sources, not ${count}`);
    }
    for (let i = 0; i < count; i++) {
      const source = this.#inside(sources[i] ?? NaN, lengthBytes);
      if (!(i === 0 && mayStartWithDst && source === dst)) refuseOverlap(dst, source, lengthBytes);
    }
  }

  /** Checks a range and returns its address as an unsigned number. */
  #inside(addr: number, lengthBytes: number): number {
    const start = addr < 0 ? addr + 2 ** 32 : addr;
    // Written so that NaN fails.
    if (!(start >= 0 && lengthBytes >= 0 && start + lengthBytes <= this.#memoryBytes)) {
      throw new RangeError(`bytes ${addr} + ${lengthBytes} are not inside the memory of ${this.#memoryBytes} bytes`);
    }
    return start;
  }
}

function checkNumbers(count: number, firstBlock: number, tag: number): void {
  if (!(Number.isSafeInteger(count) && count >= 0)) throw new RangeError(`count must be an integer from 0 on, not ${count}`);
  if (!(Number.isSafeInteger(firstBlock) && firstBlock >= 0 && Number.isSafeInteger(firstBlock + count))) {
    throw new RangeError(`block numbers must be integers from 0 to 2^53 - 1, not ${count} from ${firstBlock} on`);
  }
  if (!(Number.isInteger(tag) && tag >= 0 && tag <= 255))
    throw new RangeError(`tag must be an integer from 0 to 255, not ${tag}`);
}

function refuseOverlap(dst: number, src: number, dstBytes: number, srcBytes = dstBytes): void {
  if (src < dst + dstBytes && dst < src + srcBytes) {
    throw new RangeError(`the result at ${dst} overlaps the source at ${src}: ${dstBytes} bytes and ${srcBytes} bytes`);
  }
}

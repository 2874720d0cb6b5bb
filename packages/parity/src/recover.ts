import { gfInverse, gfMultiply, gfPower } from './galois.js';
import type { ParityKernels } from './kernel-types.js';

/** What {@link recoverPq} needs of the memory in which the ranges lie; a `BufferMemory` has it. */
export interface PqRanges {
  readonly kernels: ParityKernels;
  /** A range of zeros of `zeroBytes`, as a `BufferMemory` has one. */
  readonly zeroAddr: number;
  readonly zeroBytes: number;
}

/**
 * Reconstructs one or two ranges of a RAID 6 stripe from the others. `addrs` has the addresses of the `count` data ranges (1 to
 * 253), then those of P and Q. `first` and `second` are the indices, in ascending order, of the unknown ranges, which are
 * filled; `second` is -1 if there is only one. In that case Q is not read to fill a data range or P, nor P to fill Q, and may
 * be overwritten. No two ranges may overlap. `lengthBytes` is 1 to `zeroBytes`; more throws a RangeError. `addrs` is unchanged
 * on return.
 */
export function recoverPq(
  { kernels, zeroAddr, zeroBytes }: PqRanges,
  addrs: Uint32Array,
  count: number,
  first: number,
  second: number,
  lengthBytes: number,
): void {
  if (!(lengthBytes <= zeroBytes)) throw new RangeError(`lengthBytes must be at most ${zeroBytes}, not ${lengthBytes}`);
  const p = addrs[count] ?? 0;
  const q = addrs[count + 1] ?? 0;
  const one = addrs[first] ?? 0;
  if (first >= count) {
    // Only parity is unknown: it is computed from the data.
    if (first === count && second < 0) kernels.xor(p, addrs, count, lengthBytes);
    else kernels.pq(p, q, addrs, count, lengthBytes);
    return;
  }
  if (second < 0 || second === count + 1) {
    // The data range is the exclusive or of P and all other data.
    addrs[first] = p;
    kernels.xor(one, addrs, count, lengthBytes);
    addrs[first] = one;
    if (second >= 0) kernels.pq(p, q, addrs, count, lengthBytes);
    return;
  }
  // Computes P and Q of the known data into the places of the two unknown ranges. Added to P and Q of all data they give those
  // of the missing data.
  const two = addrs[second] ?? 0;
  addrs[first] = zeroAddr;
  if (second < count) addrs[second] = zeroAddr;
  const knownQ = second < count ? two : one;
  const knownP = second < count ? one : two;
  kernels.pq(knownP, knownQ, addrs, count, lengthBytes);
  addrs[first] = one;
  if (second < count) addrs[second] = two;
  kernels.xorInto(knownQ, q, lengthBytes);
  if (second === count) {
    // Q is 2^first times the data; P lacks only that.
    scale(kernels, one, gfInverse(gfPower(first)), lengthBytes);
    kernels.xorInto(p, one, lengthBytes);
    return;
  }
  kernels.xorInto(knownP, p, lengthBytes);
  // a = x + y, b = 2^first x + 2^second y: x = (b + 2^second a) / (2^first + 2^second), and y = (b + 2^first x) / 2^second.
  const divisor = gfInverse(gfPower(first) ^ gfPower(second));
  scale(kernels, one, gfMultiply(gfPower(second), divisor), lengthBytes);
  kernels.gfMulInto(one, two, divisor, lengthBytes);
  kernels.gfMulInto(two, one, gfPower(first), lengthBytes);
  scale(kernels, two, gfInverse(gfPower(second)), lengthBytes);
}

/** Multiplies a range by a coefficient of 1 to 255. */
function scale(kernels: ParityKernels, addr: number, coefficient: number, lengthBytes: number): void {
  kernels.gfMulInto(addr, addr, coefficient ^ 1, lengthBytes);
}

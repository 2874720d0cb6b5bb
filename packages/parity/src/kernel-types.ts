export type KernelImplementation = 'wasm-simd' | 'javascript';

/** Byte addresses; those from 2^31 on may also be given as the negative 32-bit number with the same bits. */
export type AddressList = Int32Array | Uint32Array | readonly number[];

/**
 * Arithmetic on ranges of one memory. All addresses and lengths are in bytes, of any alignment; multiples of 64 are fast.
 * A range that is not wholly inside the memory, and an overlap that is not explicitly allowed, throw a RangeError with nothing written.
 * GF(2^8) has the polynomial 0x11d and the generator 2.
 */
export interface ParityKernels {
  readonly implementation: KernelImplementation;
  /** dst = XOR of the first `count` sources, 1..255. dst may be the same range as `sources[0]`. */
  xor(dst: number, sources: AddressList, count: number, lengthBytes: number): void;
  /** dst ^= src. The two may be the same range (which zeroes it). */
  xorInto(dst: number, src: number, lengthBytes: number): void;
  /** RAID-6: p = sum d_i, q = sum 2^i d_i over the first `count` sources, 1..255. */
  pq(p: number, q: number, sources: AddressList, count: number, lengthBytes: number): void;
  /** dst ^= coefficient * src, coefficient 0..255. The two may be the same range. */
  gfMulInto(dst: number, src: number, coefficient: number, lengthBytes: number): void;
  isZero(addr: number, lengthBytes: number): boolean;
  /** Whether two ranges have the same bytes. */
  equal(a: number, b: number, lengthBytes: number): boolean;
  /**
   * CRC-32C, reflected polynomial 0x82f63b78, unsigned. Raw: starts from `initial` and inverts nothing, so that
   * `crc32c(b, n, crc32c(a, m))` is the checksum of both. "123456789" gives 0x58e3fa20 from 0.
   */
  crc32c(addr: number, lengthBytes: number, initial?: number): number;
  /**
   * Computes the sums of `count` consecutive blocks of 4096 bytes from `addr` on and stores them from `sums` on, 8 bytes each,
   * little-endian. A sum covers the block's contents, its number (`firstBlock` for the first one; 0 and up, all below 2^53) and
   * `tag` (0..255), which tells several numberings apart. It is never 0. `key` is the address of BLOCK_SUM_KEY_BYTES, as {@link
   * makeBlockSumKey} fills them; sums with different keys are unrelated. The sums must overlap neither the blocks nor the key.
   */
  blockSums(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): void;
  /** Index of the first of these blocks whose sum differs from the one at `sums`; `count` if there is none. */
  wrongBlock(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): number;
}

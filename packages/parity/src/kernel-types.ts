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
   * Sums of `count` blocks of 4096 bytes that lie one behind the other from `addr` on: 8 bytes each, little-endian, from `sums`
   * on. A sum is of the block's contents and of its number, which is `firstBlock` for the first one (0 and up, all below 2^53),
   * with `tag` (0..255) for which of several numberings that is. It is never 0. `key`: BLOCK_SUM_KEY_BYTES, as
   * {@link makeBlockSumKey} fills them; sums of different keys have nothing in common. The sums must overlap neither the blocks
   * nor the key.
   */
  blockSums(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): void;
  /** The first of these blocks whose sum is another than that at `sums`, counted from 0; `count` if there is none. */
  wrongBlock(sums: number, addr: number, count: number, key: number, firstBlock: number, tag: number): number;
}

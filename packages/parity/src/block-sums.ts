import { createHash } from 'node:crypto';

/** Bytes that a sum covers, and its own size. */
export const SUMMED_BYTES = 4096;
export const SUM_BYTES = 8;

/** One key word for each word of a block, and two for its number. */
export const BLOCK_SUM_KEY_BYTES = SUMMED_BYTES + 8;

const HASH_BYTES = 32;

/**
 * Fills `key` (BLOCK_SUM_KEY_BYTES) with the key for block sums that belongs to `salt` (any bytes; at least 16 of them random):
 * SHA-256 of the salt and a number of 4 bytes, little-endian, from 0 on, one result behind the other. Takes about a millisecond.
 */
export function makeBlockSumKey(salt: Uint8Array, key: Uint8Array): void {
  if (key.length !== BLOCK_SUM_KEY_BYTES) {
    throw new RangeError(`a key for block sums has ${BLOCK_SUM_KEY_BYTES} bytes, not ${key.length}`);
  }
  const number = new DataView(new ArrayBuffer(4));
  for (let at = 0; at < key.length; at += HASH_BYTES) {
    number.setUint32(0, at / HASH_BYTES, true);
    const hash = createHash('sha256').update(salt).update(number).digest();
    key.set(hash.subarray(0, Math.min(HASH_BYTES, key.length - at)), at);
  }
}

/** Returns the upper 32 bits of the block number that goes into a sum, with the numbering's tag in the highest byte. */
export function upperHalf(block: number, tag: number): number {
  return tag * 2 ** 24 + Math.floor(block / 2 ** 32);
}

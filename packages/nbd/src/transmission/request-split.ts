import { isUnaligned, writeBufferBytes } from '../commands/write.js';

/** Splits requests that do not fit into one buffer. Offsets are in bytes. */

/** Returns the bytes of the blocks that the range touches. */
export function spanBytes(offset: number, end: number, blockSize: number): number {
  return (Math.ceil(end / blockSize) - Math.floor(offset / blockSize)) * blockSize;
}

/** Returns the bytes of buffer that a write of the range needs, including the space for reading its edges. */
export function writeSpanBytes(offset: number, end: number, blockSize: number): number {
  return writeBufferBytes(spanBytes(offset, end, blockSize) / blockSize, blockSize, isUnaligned(offset, end, blockSize));
}

/**
 * Returns the byte offset at which the piece that starts at `cursor` ends. Its blocks and `spareBytes` take at most
 * `mostBytes`, which is more than one block. The piece ends at the end of the request if that is close enough; otherwise at a
 * multiple of `unitBytes`, which is a multiple of the block size; otherwise at the end of a block.
 */
export function pieceEnd(
  cursor: number,
  end: number,
  mostBytes: number,
  spareBytes: number,
  blockSize: number,
  unitBytes: number,
): number {
  if (spanBytes(cursor, end, blockSize) + spareBytes <= mostBytes) return end;
  const start = Math.floor(cursor / blockSize) * blockSize;
  const last = start + Math.floor((mostBytes - spareBytes) / blockSize) * blockSize;
  const unitEnd = Math.floor(last / unitBytes) * unitBytes;
  return unitEnd > cursor ? unitEnd : last;
}

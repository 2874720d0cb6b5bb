import { isUnaligned, writeBufferBytes } from '../commands/write.js';

/** How requests are cut where they do not fit in one buffer. Offsets in bytes. */

/** Bytes of whole blocks that the range touches. */
export function spanBytes(offset: number, end: number, blockSize: number): number {
  return (Math.ceil(end / blockSize) - Math.floor(offset / blockSize)) * blockSize;
}

/** Buffer that a write of the range needs, with the room for reading its edges. */
export function writeSpanBytes(offset: number, end: number, blockSize: number): number {
  return writeBufferBytes(spanBytes(offset, end, blockSize) / blockSize, blockSize, isUnaligned(offset, end, blockSize));
}

/**
 * Where the piece that starts at `cursor` ends, if a piece's blocks and `spareBytes` may take up `mostBytes` (more than one
 * block): at the end of the request, or at a multiple of `unitBytes` (itself one of the block size) if there is one within
 * reach, or at the end of a block.
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

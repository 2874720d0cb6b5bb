import type { ChecksumPages } from '../format/store.js';

/** Number of bytes that one checksum covers, whatever the block size of the device. */
export const summedBytes = 4096;

/** How the space behind a member's data offset is divided, in units of {@link summedBytes}. */
export interface RoomForSums {
  /** Units for data. */
  readonly data: number;
  /** Units for pages of checksums, which follow the data. */
  readonly pages: number;
}

/** Returns the number of pages that the checksums of `data` units need. */
export function pagesFor(data: number, format: ChecksumPages): number {
  return Math.ceil(data / (format.recordsPerPage * format.sumsPerRecord));
}

/** Divides `room` units so that all data has checksums. All sizes are in units of {@link summedBytes}. */
export function divideRoom(room: number, format: ChecksumPages): RoomForSums {
  const perPage = format.recordsPerPage * format.sumsPerRecord;
  const pages = Math.ceil(room / (perPage + 1));
  return { data: Math.max(0, room - pages), pages };
}

/** Returns the number of device blocks that the pages for a data area of `dataBlocks` blocks need. */
export function blocksForPages(dataBlocks: number, blockSize: number, format: ChecksumPages): number {
  const perSum = summedBytes / blockSize;
  return pagesFor(dataBlocks / perSum, format) * perSum;
}

/**
 * Returns the largest size of a data area, in blocks, whose pages begin at block `areaAt` of it, if the device has `blocks`
 * blocks behind the data offset.
 */
export function mostInFrontOf(areaAt: number, blocks: number, blockSize: number, format: ChecksumPages): number {
  const perSum = summedBytes / blockSize;
  const pages = Math.max(0, Math.floor((blocks - areaAt) / perSum));
  return Math.min(areaAt, pages * format.recordsPerPage * format.sumsPerRecord * perSum);
}

/** Returns how many of the `blocks` blocks behind the data offset remain for data, if it has checksums. */
export function blocksForData(blocks: number, blockSize: number, format: ChecksumPages): number {
  const perSum = summedBytes / blockSize;
  return divideRoom(Math.floor(blocks / perSum), format).data * perSum;
}

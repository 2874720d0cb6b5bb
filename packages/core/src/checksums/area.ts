import type { ChecksumPages } from '../format/store.js';

/** What one sum is of, in bytes, whatever the device's blocks are. */
export const summedBytes = 4096;

/** How the room behind a member's data offset is divided; all in units of {@link summedBytes}. */
export interface RoomForSums {
  /** For data. */
  readonly data: number;
  /** For pages of sums, behind the data. */
  readonly pages: number;
}

/** Pages that have room for the sums of so much data. */
export function pagesFor(data: number, format: ChecksumPages): number {
  return Math.ceil(data / (format.recordsPerPage * format.sumsPerRecord));
}

/** Leaves as much for data as there can be sums for. `room`: in units of {@link summedBytes}, as is the result. */
export function divideRoom(room: number, format: ChecksumPages): RoomForSums {
  const perPage = format.recordsPerPage * format.sumsPerRecord;
  const pages = Math.ceil(room / (perPage + 1));
  return { data: Math.max(0, room - pages), pages };
}

/** Blocks of the device that pages take behind a data area of so many. */
export function blocksForPages(dataBlocks: number, blockSize: number, format: ChecksumPages): number {
  const perSum = summedBytes / blockSize;
  return pagesFor(dataBlocks / perSum, format) * perSum;
}

/**
 * How many blocks a data area can have whose pages begin behind so many blocks from its start on, if there are so many of the device
 * behind the data offset.
 */
export function mostInFrontOf(areaAt: number, blocks: number, blockSize: number, format: ChecksumPages): number {
  const perSum = summedBytes / blockSize;
  const pages = Math.max(0, Math.floor((blocks - areaAt) / perSum));
  return Math.min(areaAt, pages * format.recordsPerPage * format.sumsPerRecord * perSum);
}

/** How many of the blocks behind the data offset are left for data, if sums of them are to be kept. */
export function blocksForData(blocks: number, blockSize: number, format: ChecksumPages): number {
  const perSum = summedBytes / blockSize;
  return divideRoom(Math.floor(blocks / perSum), format).data * perSum;
}

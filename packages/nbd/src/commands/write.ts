import { IoFlag, IoType } from '@raidkit/bdev';
import type { IoOwner } from '@raidkit/bdev';
import { CommandFlag } from '../wire/constants.js';
import type { NbdRequest } from './request.js';
import { finish, moveBuffer, mustRetry, submitIo, targetOf, taken } from './submit.js';

/**
 * Writes whose payload is in the request's buffer at `addr + headPaddingBytes`. A write that begins or ends inside a block is a
 * read-modify-write under an exclusive lock: the first and last block are read into the space after the data
 * ({@link writeBufferBytes}), the bytes that the payload does not cover are copied from there, and all blocks are written at
 * once.
 */

/** Returns the bytes of buffer that a write of `numBlocks` needs. */
export function writeBufferBytes(numBlocks: number, blockSize: number, isUnaligned: boolean): number {
  return (numBlocks + (isUnaligned ? 2 : 0)) * blockSize;
}

/** Returns whether the byte range begins or ends inside a block. */
export function isUnaligned(offset: number, end: number, blockSize: number): boolean {
  return offset % blockSize !== 0 || end % blockSize !== 0;
}

export function startWrite(request: NbdRequest): void {
  const { blockSize, locks } = targetOf(request);
  const { lock } = request;
  const unaligned = isUnaligned(request.offset, request.end, blockSize);
  lock.start = request.firstBlock;
  lock.end = request.firstBlock + request.numBlocks;
  lock.isShared = !unaligned;
  request.onLocked = unaligned ? readEdges : writeAll;
  if (locks.acquire(lock)) request.onLocked(request);
}

/** Returns the address of the space for the first block's old contents; that for the last block follows it. */
function scratchAddr(request: NbdRequest): number {
  return request.addr + request.numBlocks * targetOf(request).blockSize;
}

function readEdges(request: NbdRequest): void {
  const { blockSize } = targetOf(request);
  const { firstBlock, numBlocks } = request;
  const scratch = scratchAddr(request);
  const hasHead = request.offset % blockSize !== 0;
  const hasTail = request.end % blockSize !== 0;
  const isOneBlock = numBlocks === 1;
  const readsTail = hasTail && !(isOneBlock && hasHead);
  request.ioLeft = (hasHead ? 1 : 0) + (readsTail ? 1 : 0);
  if (hasHead) submitIo(request, edgeReader, IoType.Read, firstBlock, 1, scratch, 0);
  if (readsTail) submitIo(request, edgeReader, IoType.Read, firstBlock + numBlocks - 1, 1, tailScratch(request, isOneBlock), 0);
}

function tailScratch(request: NbdRequest, isOneBlock: boolean): number {
  return scratchAddr(request) + (isOneBlock ? 0 : targetOf(request).blockSize);
}

const edgeReader: IoOwner = {
  onIoDone(io) {
    const request = taken(io);
    if (--request.ioLeft > 0) return;
    if (mustRetry(request)) {
      moveBuffer(request, request.headPaddingBytes + request.lengthBytes, readEdges);
      return;
    }
    if (request.errno !== 0) {
      unlock(request);
      return;
    }
    fillEdges(request);
    writeAll(request);
  },
};

/** Copies the old bytes to the places before and after the payload. */
function fillEdges(request: NbdRequest): void {
  const { blockSize, memory } = targetOf(request);
  const { u8 } = memory;
  const { addr, numBlocks } = request;
  const scratch = scratchAddr(request);
  u8.copyWithin(addr, scratch, scratch + (request.offset % blockSize));
  const tailBytes = request.end % blockSize;
  if (tailBytes === 0) return;
  const oldLast = tailScratch(request, numBlocks === 1);
  u8.copyWithin(addr + (numBlocks - 1) * blockSize + tailBytes, oldLast + tailBytes, oldLast + blockSize);
}

function writeAll(request: NbdRequest): void {
  const flags = (request.flags & CommandFlag.Fua) !== 0 ? IoFlag.ForceUnitAccess : 0;
  submitIo(request, writer, IoType.Write, request.firstBlock, request.numBlocks, request.addr, flags);
}

const writer: IoOwner = {
  onIoDone(io) {
    const request = taken(io);
    if (mustRetry(request)) writeAll(request);
    else unlock(request);
  },
};

function unlock(request: NbdRequest): void {
  targetOf(request).locks.release(request.lock);
  finish(request);
}

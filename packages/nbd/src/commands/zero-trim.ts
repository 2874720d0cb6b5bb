import { IoFlag, IoType } from '@raidkit/bdev';
import type { IoOwner } from '@raidkit/bdev';
import { Command, CommandFlag } from '../wire/constants.js';
import { startFlush } from './flush.js';
import type { NbdRequest } from './request.js';
import { finish, moveBuffer, mustRetry, submitIo, targetOf, taken } from './submit.js';

/**
 * Trim and write zeroes. Whole blocks go to the device as they are, at most {@link stepBytes} at a time. Parts of blocks at the
 * edges are left alone by trim, which is a hint, and read-modify-written by write zeroes, which is exact; for those the
 * request's buffer holds one block. The steps are one after the other, each under its own lock and in its turn among those of
 * the export. Before each it is asked whether the client still waits for the request; if not, the rest is left undone, and no
 * reply has said otherwise.
 */

/** Most bytes of one I/O: a bound on how long it takes, and so on what waits for it. A multiple of every block size. */
export const stepBytes = 64 * 1024 * 1024;

export function startZeroTrim(request: NbdRequest): void {
  request.cursor = request.offset;
  nextStep(request);
}

function nextStep(request: NbdRequest): void {
  const { blockSize, zeroTrimTurns } = targetOf(request);
  if (request.command === Command.Trim) skipPartOfBlock(request, blockSize);
  const { cursor, end } = request;
  if (cursor === end || request.errno !== 0) {
    finishErase(request);
  } else if (cursor % blockSize !== 0 || end - cursor < blockSize) {
    const block = Math.floor(cursor / blockSize);
    acquire(request, block, block + 1, false, readEdge);
  } else if (zeroTrimTurns.begin(request)) {
    onTurn(request);
  }
}

/** Moves the cursor to the next whole block of the request, or to its end. */
function skipPartOfBlock(request: NbdRequest, blockSize: number): void {
  const { cursor, end } = request;
  if (cursor % blockSize !== 0) request.cursor = Math.min(end, Math.ceil(cursor / blockSize) * blockSize);
  if (end - request.cursor < blockSize) request.cursor = end;
}

function onTurn(request: NbdRequest): void {
  const { blockSize, zeroTrimTurns } = targetOf(request);
  if (request.owner?.isWanted(request) === false) {
    zeroTrimTurns.end(onTurn);
    request.isAbandoned = true;
    finish(request);
    return;
  }
  const { cursor, end } = request;
  const block = Math.floor(cursor / blockSize);
  const numBlocks = Math.floor(Math.min(end - cursor, stepBytes) / blockSize);
  acquire(request, block, block + numBlocks, true, request.command === Command.Trim ? unmapBlocks : zeroBlocks);
}

function acquire(
  request: NbdRequest,
  start: number,
  end: number,
  isShared: boolean,
  onLocked: (request: NbdRequest) => void,
): void {
  const { lock } = request;
  lock.start = start;
  lock.end = end;
  lock.isShared = isShared;
  request.onLocked = onLocked;
  if (targetOf(request).locks.acquire(lock)) onLocked(request);
}

function unmapBlocks(request: NbdRequest): void {
  const { start, end } = request.lock;
  submitIo(request, stepper, IoType.Unmap, start, end - start, -1, 0);
}

function zeroBlocks(request: NbdRequest): void {
  const { start, end } = request.lock;
  const noHole = (request.flags & CommandFlag.NoHole) !== 0 ? IoFlag.NoUnmap : 0;
  submitIo(request, stepper, IoType.WriteZeroes, start, end - start, -1, noHole | writeFlags(request));
}

function readEdge(request: NbdRequest): void {
  submitIo(request, edgeReader, IoType.Read, request.lock.start, 1, request.addr, 0);
}

const edgeReader: IoOwner = {
  onIoDone(io) {
    const request = taken(io);
    if (mustRetry(request)) {
      moveBuffer(request, 0, readEdge);
      return;
    }
    if (request.errno !== 0) {
      endStep(request);
      return;
    }
    const { blockSize, memory } = targetOf(request);
    const { addr, lock, cursor } = request;
    const from = cursor - lock.start * blockSize;
    const to = Math.min(request.end - lock.start * blockSize, blockSize);
    memory.u8.fill(0, addr + from, addr + to);
    writeEdge(request);
  },
};

function writeEdge(request: NbdRequest): void {
  submitIo(request, edgeWriter, IoType.Write, request.lock.start, 1, request.addr, writeFlags(request));
}

const edgeWriter: IoOwner = {
  onIoDone(io) {
    const request = taken(io);
    if (mustRetry(request)) writeEdge(request);
    else endStep(request);
  },
};

const stepper: IoOwner = {
  onIoDone(io) {
    const { type } = io;
    const request = taken(io);
    if (mustRetry(request)) {
      if (type === IoType.Unmap) unmapBlocks(request);
      else zeroBlocks(request);
      return;
    }
    targetOf(request).zeroTrimTurns.end(onTurn);
    endStep(request);
  },
};

function endStep(request: NbdRequest): void {
  const { blockSize, locks } = targetOf(request);
  request.cursor = Math.min(request.end, request.lock.end * blockSize);
  locks.release(request.lock);
  nextStep(request);
}

function writeFlags(request: NbdRequest): number {
  return (request.flags & CommandFlag.Fua) !== 0 ? IoFlag.ForceUnitAccess : 0;
}

/** An unmap has no forced unit access of its own: a flush follows it. */
function finishErase(request: NbdRequest): void {
  const { bdev } = targetOf(request).descriptor;
  const isForced = request.command === Command.Trim && (request.flags & CommandFlag.Fua) !== 0;
  if (isForced && request.errno === 0 && bdev.supports(IoType.Flush)) startFlush(request);
  else finish(request);
}

import { IoFlag, IoType } from '@raidkit/bdev';
import type { IoOwner } from '@raidkit/bdev';
import { Command, CommandFlag } from '../wire/constants.js';
import { startFlush } from './flush.js';
import type { NbdRequest } from './request.js';
import { finish, moveBuffer, mustRetry, submitIo, targetOf, taken } from './submit.js';

/**
 * Trim and write zeroes. Whole blocks go to the device directly, at most {@link stepBytes} at a time. At edges inside a block,
 * trim does nothing, since it is a hint; write zeroes is exact and does a read-modify-write, for which the request's buffer
 * holds one block. Steps run one after the other, each under its own lock, and whole-block steps in turn with others of the
 * export. Before each of these the owner is asked whether the request is still wanted; if not, the rest is not done and there
 * is no reply.
 */

/**
 * Most bytes of one I/O, a multiple of every block size. It limits how long other requests wait for the lock and the device.
 */
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

/** An unmap has no FUA flag, so a flush follows it. */
function finishErase(request: NbdRequest): void {
  const { bdev } = targetOf(request).descriptor;
  const isForced = request.command === Command.Trim && (request.flags & CommandFlag.Fua) !== 0;
  if (isForced && request.errno === 0 && bdev.supports(IoType.Flush)) startFlush(request);
  else finish(request);
}

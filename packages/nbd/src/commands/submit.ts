import { Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner, IoType } from '@raidkit/bdev';
import { nbdErrno } from '../wire/errno.js';
import type { NbdRequest, Target } from './request.js';

/** Returns the request's target. Throws if there is none, which cannot be while a request is carried out. */
export function targetOf(request: NbdRequest): Target {
  if (request.target === null) throw new Error('an NBD request without a bdev');
  return request.target;
}

/** Submits one I/O for a request. `owner` must call {@link taken} when it is done. */
export function submitIo(
  request: NbdRequest,
  owner: IoOwner,
  type: IoType,
  firstBlock: number,
  numBlocks: number,
  addr: number,
  flags: number,
): void {
  const target = targetOf(request);
  const io = target.ios.get();
  io.type = type;
  io.flags = flags;
  io.offsetBlocks = firstBlock;
  io.numBlocks = numBlocks;
  io.addr = addr;
  io.owner = owner;
  io.context = request;
  target.descriptor.submit(io);
}

/**
 * Releases a completed I/O and returns its request, in which the first error is noted. A first time-out is not an error yet:
 * the code that ends the step calls {@link mustRetry}.
 */
export function taken(io: BdevIo): NbdRequest {
  const request = io.context as NbdRequest;
  if (io.status === Status.TimedOut && !request.wasRetried) request.mustRetry = true;
  else if (io.status !== Status.Ok && request.errno === 0) request.errno = nbdErrno(io.status);
  targetOf(request).ios.put(io);
  return request;
}

/**
 * Returns whether the step that has ended must be repeated, because an I/O timed out. A request repeats one step only: by then
 * an array has failed the member that did not answer, and other members serve the second attempt.
 */
export function mustRetry(request: NbdRequest): boolean {
  if (!request.mustRetry) return false;
  request.mustRetry = false;
  request.wasRetried = true;
  return request.errno === 0;
}

/**
 * Gives the request another buffer, copies the first `keptBytes` of the old one to it, and calls `next`. The device may still
 * write to a buffer whose read timed out; the pool does not reuse it before that is over.
 */
export function moveBuffer(request: NbdRequest, keptBytes: number, next: (request: NbdRequest) => void): void {
  const { buffers, memory, runtime } = targetOf(request);
  let isInPut = false;
  buffers.getWhenFree(request.heldBytes, (addr) => {
    memory.u8.copyWithin(addr, request.addr, request.addr + keptBytes);
    buffers.put(request.addr);
    request.addr = addr;
    if (isInPut) runtime.soon(() => next(request));
    else next(request);
  });
  isInPut = true;
}

/** Tells the request's owner that the request has been carried out. */
export function finish(request: NbdRequest): void {
  request.owner?.onRequestDone(request);
}

import { Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner, IoType } from '@raidkit/bdev';
import { nbdErrno } from '../wire/errno.js';
import type { NbdRequest, Target } from './request.js';

/** A request's target; a request that is being carried out has one. */
export function targetOf(request: NbdRequest): Target {
  if (request.target === null) throw new Error('an NBD request without a target');
  return request.target;
}

/** Submits one I/O on behalf of a request. `owner` gives it back by way of {@link taken}. */
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
 * Ends the I/O and gives its request, with the first error that it met. A time-out is none yet: the code that ends the step
 * asks {@link mustRetry}.
 */
export function taken(io: BdevIo): NbdRequest {
  const request = io.context as NbdRequest;
  if (io.status === Status.TimedOut && !request.wasRetried) request.mustRetry = true;
  else if (io.status !== Status.Ok && request.errno === 0) request.errno = nbdErrno(io.status);
  targetOf(request).ios.put(io);
  return request;
}

/**
 * Whether the step that has ended is to be done again, because an I/O timed out. Once for each request: an array has given the
 * member up by then that did not answer, and others serve the second try.
 */
export function mustRetry(request: NbdRequest): boolean {
  if (!request.mustRetry) return false;
  request.mustRetry = false;
  request.wasRetried = true;
  return request.errno === 0;
}

/**
 * Gives the request another buffer, with the first `keptBytes` of what is in its own, and then calls `next`. Into a buffer whose
 * read timed out the device may yet write; it is held back until that is over.
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

/** Tells the request's owner that it is carried out. */
export function finish(request: NbdRequest): void {
  request.owner?.onRequestDone(request);
}

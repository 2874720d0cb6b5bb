import { Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner, IoType } from '@raidkit/bdev';
import { nbdErrno } from './errno.js';
import type { NbdRequest, Target } from './request.js';

/** A request's target; a request that is being carried out has one. */
export function targetOf(request: NbdRequest): Target {
  if (request.target === null) throw new Error('an NBD request without a target');
  return request.target;
}

/** Submits one I/O on behalf of a request. `owner` gives it back by way of {@link taken}. */
export function submitIo(request: NbdRequest, owner: IoOwner, type: IoType, firstBlock: number, numBlocks: number, addr: number, flags: number): void {
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

/** Ends the I/O and gives its request, with the first error that it met. */
export function taken(io: BdevIo): NbdRequest {
  const request = io.context as NbdRequest;
  if (io.status !== Status.Ok && request.errno === 0) request.errno = nbdErrno(io.status);
  targetOf(request).ios.put(io);
  return request;
}

/** Tells the request's owner that it is carried out. */
export function finish(request: NbdRequest): void {
  request.owner?.onRequestDone(request);
}

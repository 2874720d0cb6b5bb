import { IoType } from '@raidkit/bdev';
import type { IoOwner } from '@raidkit/bdev';
import type { NbdRequest } from './request.js';
import { finish, mustRetry, submitIo, targetOf, taken } from './submit.js';

/** Flushes the device, which must support it: all writes acknowledged so far become stable. */
export function startFlush(request: NbdRequest): void {
  submitIo(request, flusher, IoType.Flush, 0, targetOf(request).descriptor.bdev.numBlocks, -1, 0);
}

const flusher: IoOwner = {
  onIoDone(io) {
    const request = taken(io);
    if (mustRetry(request)) startFlush(request);
    else finish(request);
  },
};

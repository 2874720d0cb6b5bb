import { IoType } from '@raidkit/bdev';
import type { IoOwner } from '@raidkit/bdev';
import type { NbdRequest } from './request.js';
import { finish, moveBuffer, mustRetry, submitIo, taken } from './submit.js';

/**
 * Reads the blocks that the request touches into its buffer. Reads take no lock, since a read concurrent with a write may
 * return old or new data.
 */
export function startRead(request: NbdRequest): void {
  submitIo(request, reader, IoType.Read, request.firstBlock, request.numBlocks, request.addr, 0);
}

const reader: IoOwner = {
  onIoDone(io) {
    const request = taken(io);
    if (mustRetry(request)) moveBuffer(request, 0, startRead);
    else finish(request);
  },
};

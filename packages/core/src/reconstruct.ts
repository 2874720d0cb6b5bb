import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { RaidArray } from './array.js';
import type { RaidIo } from './raid-io.js';

/**
 * Fills the buffer at `addr` with what the slot's member must hold in blocks `[offset, +count)` of its data area. The
 * stripes must be quiesced, or not yet in use.
 */
export function reconstructInto(
  array: RaidArray,
  slot: number,
  offset: number,
  count: number,
  addr: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const io = array.ios.get();
    io.type = IoType.Read;
    io.slot = slot;
    io.offsetBlocks = offset;
    io.numBlocks = count;
    io.addr = addr;
    io.owner = {
      onRaidIoDone: (done: RaidIo) => {
        if (done.status === Status.Ok) resolve();
        else reject(BdevError.fromStatus(done.status, `array ${array.name} slot ${slot}: reconstructing blocks`));
      },
    };
    array.reconstruct(io);
  });
}

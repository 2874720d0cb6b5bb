import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { RaidIo, RaidIoPool } from '../level/raid-io.js';

const noSlots: readonly number[] = [];

/** An array that can be asked what a member must hold. */
export interface Reconstructible {
  readonly name: string;
  readonly ios: RaidIoPool;
  readonly io: { submitOwn(io: RaidIo): void };
}

/**
 * Fills the buffer at `addr` with what the slot's member must hold in blocks `[offset, +count)` of its data area. The
 * stripes must be quiesced, or not yet in use. `excluded`: slots that must not be read.
 */
export function reconstructInto(
  array: Reconstructible,
  slot: number,
  offset: number,
  count: number,
  addr: number,
  excluded: readonly number[] = noSlots,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const io = array.ios.get();
    io.type = IoType.Read;
    io.slot = slot;
    io.offsetBlocks = offset;
    io.numBlocks = count;
    io.addr = addr;
    io.excluded = excluded;
    io.owner = {
      onRaidIoDone: (done: RaidIo) => {
        if (done.status === Status.Ok) resolve();
        else reject(BdevError.fromStatus(done.status, `array ${array.name} slot ${slot}: reconstructing blocks`));
      },
    };
    array.io.submitOwn(io);
  });
}

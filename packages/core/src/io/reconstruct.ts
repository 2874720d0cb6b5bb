import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { RaidIo, RaidIoPool } from '../level/raid-io.js';

/** An array that can reconstruct the data of a member. */
export interface Reconstructible {
  readonly name: string;
  readonly ios: RaidIoPool;
  readonly io: { submitOwn(io: RaidIo): void };
}

/**
 * Reconstructs blocks `[offset, +count)` of the slot's data area into the buffer at `addr`. The stripes must be quiesced, or
 * not be in use yet. `excluded`: other slots that must not be read. Rejects with a `BdevError`.
 */
export function reconstructInto(
  array: Reconstructible,
  slot: number,
  offset: number,
  count: number,
  addr: number,
  excluded: readonly number[] = [],
): Promise<void> {
  return reconstructAll(array, [slot], offset, count, [addr], excluded);
}

/**
 * As {@link reconstructInto}, for several slots at once, in ascending order. Only for levels with parity, and at most as many
 * as may be missing.
 */
export function reconstructAll(
  array: Reconstructible,
  slots: readonly number[],
  offset: number,
  count: number,
  addrs: readonly number[],
  excluded: readonly number[] = [],
): Promise<void> {
  return new Promise((resolve, reject) => {
    const io = array.ios.get();
    io.prepare(IoType.Read, offset, count, addrs[0] ?? -1, {
      onRaidIoDone: (done: RaidIo) => {
        if (done.status === Status.Ok) resolve();
        else reject(BdevError.fromStatus(done.status, `array ${array.name} slot ${slots.join(', ')}: reconstructing blocks`));
      },
    });
    io.slots = slots;
    io.addrs = addrs;
    io.slot = slots[0] ?? -1;
    io.excluded = [...slots, ...excluded];
    array.io.submitOwn(io);
  });
}

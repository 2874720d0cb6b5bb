import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { MembersHost } from './host.js';
import { statusOf } from '../errors.js';
import { memberIo } from './member-io.js';
import { withOwnBuffer } from './own-buffer.js';
import type { Slot } from './slot.js';

/** Bytes that are read and written at a time at most. */
const pieceBytes = 64 * 1024;
/** Errors that say nothing of the blocks: nothing may be read into the buffer again, or the device is gone. */
const otherErrors: readonly number[] = [Status.TimedOut, Status.NoDevice, Status.Gone, Status.NoMemory, Status.Cancelled];

/** The blocks could not be read, or worked out; each by itself may be. */
export function isUnreadable(error: unknown): boolean {
  return BdevError.is(error) && !otherErrors.includes(error.errno);
}

/**
 * Reads blocks `[offset, +count)` of the slot's data area and writes them as they are: a flush that succeeds after that keeps
 * them, whatever became of flushes before. Blocks that cannot be read are passed over, and those for which the member has no
 * room: they have none that it could lose. Zeros are not made to take any. No other write may run there meanwhile. Rejects with
 * a `BdevError` if they cannot be written, or the member is gone; with `ERR_RAID_MEMORY` if nothing was asked of the member.
 */
export async function rewriteInPlace(array: MembersHost, slot: Slot, offset: number, count: number): Promise<void> {
  const { blockSize } = array;
  const most = Math.max(1, Math.floor(pieceBytes / blockSize));
  await withOwnBuffer(array, Math.min(most, count) * blockSize, async (addr) => {
    const end = Math.min(offset + count, slot.dataSize);
    for (let at = offset; at < end; at += most) await rewriteBack(array, slot, at, Math.min(most, end - at), addr);
  });
}

async function rewriteBack(array: MembersHost, slot: Slot, at: number, count: number, addr: number): Promise<void> {
  try {
    await memberIo(array, slot, IoType.Read, at, count, addr);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    if (count === 1) return;
    const half = count >> 1;
    await rewriteBack(array, slot, at, half, addr);
    await rewriteBack(array, slot, at + half, count - half, addr);
    return;
  }
  await writeBack(array, slot, at, count, addr);
}

/** Writes back blocks `[at, +count)` as they have just been read to `addr`, as {@link rewriteInPlace} does. */
export async function writeBack(array: MembersHost, slot: Slot, at: number, count: number, addr: number): Promise<void> {
  const { blockSize, registry } = array;
  const { memory } = registry.runtime;
  const bytes = count * blockSize;
  const isZero = memory.u8[addr] === 0 && memory.equal(addr, addr + 1, bytes - 1);
  try {
    if (isZero) await memberIo(array, slot, IoType.WriteZeroes, at, count, -1);
    else await memberIo(array, slot, IoType.Write, at, count, addr);
  } catch (error) {
    if (statusOf(error) !== Status.NoSpace) throw error;
    if (count === 1) return;
    // Others beside it may have room.
    const half = count >> 1;
    await writeBack(array, slot, at, half, addr);
    await writeBack(array, slot, at + half, count - half, addr + half * blockSize);
  }
}

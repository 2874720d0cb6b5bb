import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { MembersHost } from './host.js';
import { statusOf } from '../errors.js';
import { memberIo } from './member-io.js';
import { withOwnBuffer } from './own-buffer.js';
import type { Slot } from './slot.js';

/** Most bytes that are read and written at a time. */
const pieceBytes = 64 * 1024;
/** Errors that do not concern the blocks: the device may still access the buffer, it is gone, or there is no memory. */
const otherErrors: readonly number[] = [Status.TimedOut, Status.NoDevice, Status.Gone, Status.NoMemory, Status.Cancelled];

/** Whether this error means that the blocks could not be read or reconstructed. Single ones among them may be readable. */
export function isUnreadable(error: unknown): boolean {
  return BdevError.is(error) && !otherErrors.includes(error.errno);
}

/**
 * Reads blocks `[offset, +count)` of the slot's data area and writes them back, so that the next successful flush makes them
 * stable even if an earlier flush failed. Skips blocks that cannot be read, and blocks for which the member has no space (they
 * were never allocated). Zeros are written without allocating space. No other write may run there meanwhile. Rejects with a
 * `BdevError` if a block cannot be written or the member has left; with `ERR_RAID_MEMORY` if nothing was sent to the member.
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

/** Writes back blocks `[at, +count)`, which were just read to `addr`, as {@link rewriteInPlace} does. */
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
    // The device may have space for some of the blocks.
    const half = count >> 1;
    await writeBack(array, slot, at, half, addr);
    await writeBack(array, slot, at + half, count - half, addr + half * blockSize);
  }
}

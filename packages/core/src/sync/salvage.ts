import { IoType } from '@raidkit/bdev';
import type { SyncHost } from './host.js';
import { listDamage } from '../metadata/damage.js';
import { memberIo } from '../members/member-io.js';
import { isUnreadable } from '../members/rewrite.js';
import type { Place } from './places.js';
import type { Slot } from '../members/slot.js';

/** How {@link salvage} reads and writes a range. */
export interface Salvage {
  /** Rejects if a block of the range cannot be read. */
  read(at: number, count: number): Promise<void>;
  /** Writes what was read to its destination. An error ends the whole operation. */
  write(at: number, count: number): Promise<void>;
  /** Called if the block, or the blocks that share a checksum, could not be read in the second attempt either. */
  onLost(at: number, count: number): Promise<void>;
}

/**
 * Reads blocks `[at, +count)` and writes them. If reading fails, tries again with halves, down to blocks that share a checksum.
 * Those that remain unreadable are passed to `onLost` and skipped.
 */
export async function salvage(array: SyncHost, at: number, count: number, how: Salvage): Promise<void> {
  const { membership } = array;
  try {
    await how.read(at, count);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    if (array.state !== 'online') throw error;
    if (array.membership !== membership) {
      // Other members may be available now, or the member that was read has left.
      await salvage(array, at, count, how);
    } else if (count > array.blocksTogether) {
      const half = halfOf(array, count);
      await salvage(array, at, half, how);
      await salvage(array, at + half, count - half, how);
    } else {
      await how.onLost(at, count);
    }
    return;
  }
  await how.write(at, count);
}

/** Returns about half of `count`, in whole groups of blocks that share a checksum. `count` must be more than one group. */
export function halfOf({ blocksTogether }: SyncHost, count: number): number {
  return Math.max(1, Math.floor(count / 2 / blocksTogether)) * blocksTogether;
}

/**
 * As {@link findUnreadable}, for blocks that are lost: adds damage that only checksums show to the list of bad blocks. A
 * superblock update must follow.
 */
export async function listLost(array: SyncHost, places: readonly Place[], count: number, addr: number): Promise<void> {
  await findUnreadable(array, places, count, addr);
  for (const { at } of places) await listDamage(array, at, count);
}

/**
 * Returns the slots of current members that cannot read the blocks at their place. Each is counted as a read error and logged.
 * Uses the buffer at `addr`; the blocks must be quiesced.
 */
export async function findUnreadable(array: SyncHost, places: readonly Place[], count: number, addr: number): Promise<Slot[]> {
  const unreadable: Slot[] = [];
  for (const { at, slot } of places) {
    if (!slot.isInSync) continue;
    try {
      await memberIo(array, slot, IoType.Read, at, count, addr);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      unreadable.push(slot);
      // Blocks on the list were counted when they were found.
      if (array.badBlocks.has(slot.index, at, count)) continue;
      slot.countReadError();
      array.log.warn(
        { ...array.logFields(slot), block: slot.dataOffset + at, blocks: count, err: error },
        'the member cannot read the block',
      );
    }
  }
  return unreadable;
}

import { IoType } from '@raidkit/bdev';
import type { SyncHost } from './host.js';
import { listDamage } from '../metadata/damage.js';
import { memberIo } from '../members/member-io.js';
import { isUnreadable } from '../members/rewrite.js';
import type { Place } from './places.js';
import type { Slot } from '../members/slot.js';

/** How blocks get to where they are wanted, one piece at a time. */
export interface Salvage {
  /** Rejects if a block of the piece cannot be read. */
  read(at: number, count: number): Promise<void>;
  /** What was read goes where it is wanted. An error of this ends it all. */
  write(at: number, count: number): Promise<void>;
  /** The block, or those that have one checksum, could not be read at the second try either. */
  onLost(at: number, count: number): Promise<void>;
}

/**
 * Reads blocks `[at, +count)` and writes them. Where that fails for the reading, in halves, down to blocks that can be read only together: those that
 * cannot be read are told, and passed over.
 */
export async function salvage(array: SyncHost, at: number, count: number, how: Salvage): Promise<void> {
  const { membership } = array;
  try {
    await how.read(at, count);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    if (array.state !== 'online') throw error;
    if (array.membership !== membership) {
      // Others are there to be asked now, or one that has left was asked.
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

/** About half of more blocks than can be read only together; whole ones of those. */
export function halfOf({ blocksTogether }: SyncHost, count: number): number {
  return Math.max(1, Math.floor(count / 2 / blocksTogether)) * blocksTogether;
}

/** As {@link findUnreadable}, of blocks that are lost: what checksums alone say is put on the list. A round of metadata is to follow. */
export async function listLost(array: SyncHost, places: readonly Place[], count: number, addr: number): Promise<void> {
  await findUnreadable(array, places, count, addr);
  for (const { at } of places) await listDamage(array, at, count);
}

/**
 * Current members that cannot read the blocks at their place; each is counted as a read error, and told. The buffer at `addr` is
 * used, and the blocks must be quiesced.
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
      // What is on the list was counted when it was found.
      if (array.badBlocks.has(slot.index, at, count)) continue;
      slot.errors.read++;
      array.log.warn(
        { ...array.logFields(slot), block: slot.dataOffset + at, blocks: count, err: error },
        'the member cannot read the block',
      );
    }
  }
  return unreadable;
}

import { IoType } from '@raidkit/bdev';
import { RaidError } from '../errors.js';
import type { MembersHost } from '../members/host.js';
import { memberIo } from '../members/member-io.js';
import { withOwnBuffer } from '../members/own-buffer.js';
import { isUnreadable } from '../members/rewrite.js';
import type { Slot } from '../members/slot.js';

/**
 * An array with checksums, which tell that a block is damaged, and with a list of bad blocks, which still does when they do
 * not.
 */
export interface DamageHost extends MembersHost {
  readonly isReadOnly: boolean;
  /**
   * Adds the blocks to the list. If it has no room, throws if `mayJoin` is false or if the blocks' checksums would still show the
   * damage after a crash.
   */
  markDamaged(slot: number, memberOffset: number, numBlocks: number, mayJoin: boolean): void;
  /** Whether the checksums of blocks `[start, end)` of members will still be valid after a crash. */
  outlastsCrash(start: number, end: number): boolean;
}

/**
 * Adds known damage in blocks `[from, +count)` of members' data areas to the list of bad blocks, because in a region that is
 * being written a crash invalidates the checksums. Each block and its checksum is read again first; if it matches now, it is
 * good. A superblock update must follow. Damage for which the list has no room, and that a crash would not hide, stays
 * unreadable for as long as its checksum is valid. Rejects with `ERR_RAID_MEMORY` if there is no memory to read the blocks,
 * which may pass.
 */
export async function listDamage(array: DamageHost, from: number, count: number, mayJoin = true): Promise<void> {
  if (array.isReadOnly) return;
  for (const slot of [...array.slots]) {
    const damaged = array.badBlocks.damagedIn(slot.index, from, count);
    if (damaged.length === 0) continue;
    const listing = new Listing(array, slot, mayJoin);
    try {
      for (const { start, end } of damaged) await listing.list(start, end);
    } catch (error) {
      // This may pass, and a write that needs the region marked dirty can be refused until then.
      if (RaidError.is(error) && error.code === 'ERR_RAID_MEMORY') throw error;
      listing.error ??= error;
    }
    if (listing.error !== null)
      array.log.error(
        { ...array.logFields(slot), err: listing.error },
        'damaged blocks could not be added to the list of bad blocks',
      );
  }
}

/** Adds the damage of one slot to the list. */
class Listing {
  readonly #array: DamageHost;
  readonly #slot: Slot;
  readonly #mayJoin: boolean;
  /** Why the first of the blocks that are not on the list could not be added. Others may still fit. */
  error: unknown = null;

  constructor(array: DamageHost, slot: Slot, mayJoin: boolean) {
    this.#array = array;
    this.#slot = slot;
    this.#mayJoin = mayJoin;
  }

  async list(start: number, end: number): Promise<void> {
    const array = this.#array;
    const slot = this.#slot;
    // The blocks cannot be read now, but the member may come back with them.
    if (slot.role === 'empty' || slot.isRemoving) {
      this.#mark(start, end);
      return;
    }
    const step = array.blocksTogether;
    slot.sums?.forgetPages(start, end);
    await withOwnBuffer(array, step * array.blockSize, async (addr) => {
      for (let at = start, next; at < end; at = next) {
        // Read no more than what one checksum covers, because blocks after it may be good.
        next = Math.min(end, (Math.floor(at / step) + 1) * step);
        const count = next - at;
        const isGood = await canRead(array, slot, at, count, addr);
        // A write in the meantime has made the blocks good, and another member in the slot has other data.
        if (isGood === null || !slot.isInSync) continue;
        if (!isGood && (await this.#mayBeProvenLater(at, next))) continue;
        for (const part of array.badBlocks.damagedIn(slot.index, at, count)) {
          if (isGood) array.badBlocks.forgetDamage(slot.index, part.start, part.end - part.start);
          else this.#mark(part.start, part.end);
        }
      }
    });
  }

  /**
   * Whether only the checksum of these blocks is missing, and another read of its page may return it. They stay unreadable until
   * then, and on the list they would be lost. Before a crash could hide that, they are listed all the same.
   */
  async #mayBeProvenLater(start: number, end: number): Promise<boolean> {
    if (!this.#mayJoin || (await this.#slot.sums?.mayFind(start)) !== true) return false;
    return this.#array.outlastsCrash(start, end);
  }

  #mark(start: number, end: number): void {
    try {
      this.#array.markDamaged(this.#slot.index, start, end - start, this.#mayJoin);
    } catch (error) {
      this.error ??= error;
    }
  }
}

/** Returns null if it is unknown. */
async function canRead(array: DamageHost, slot: Slot, at: number, count: number, addr: number): Promise<boolean | null> {
  try {
    await memberIo(array, slot, IoType.Read, at, count, addr);
    // Blocks without a checksum are read without verification.
    return (await slot.sums?.haveSums(at, at + count)) === true;
  } catch (error) {
    return isUnreadable(error) ? false : null;
  }
}

import { IoType } from '@raidkit/bdev';
import { RaidError } from '../errors.js';
import type { MembersHost } from '../members/host.js';
import { memberIo } from '../members/member-io.js';
import { withOwnBuffer } from '../members/own-buffer.js';
import { isUnreadable } from '../members/rewrite.js';
import type { Slot } from '../members/slot.js';

/** An array with checksums, which say of a block that it is damaged, and a list, which goes on saying it when they do not. */
export interface DamageHost extends MembersHost {
  readonly isReadOnly: boolean;
  /**
   * Throws if there is no room and the blocks may stay off the list: their checksums say the same after a crash, or `mayJoin` is
   * false.
   */
  markDamaged(slot: number, memberOffset: number, numBlocks: number, mayJoin: boolean): void;
}

/**
 * Puts blocks `[from, +count)` of members' data areas that are known to be damaged on the list of bad blocks: what checksums say
 * is forgotten by a crash in a region that is being written. Each is read once more before, and its checksum too: one that matches
 * now is good. A round of metadata is to follow. What finds no room on the list, and need not, stays as it is: unreadable for as
 * long as its checksum counts. Rejects with `ERR_RAID_MEMORY` if there is no memory to look again, which may pass.
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
      // That may pass, and a write that needs the region marked can be refused until then.
      if (RaidError.is(error) && error.code === 'ERR_RAID_MEMORY') throw error;
      listing.error ??= error;
    }
    if (listing.error !== null)
      array.log.error({ ...array.logFields(slot), err: listing.error }, 'damaged blocks are not on the list of bad blocks');
  }
}

/** Lists what is damaged of one slot. */
class Listing {
  readonly #array: DamageHost;
  readonly #slot: Slot;
  readonly #mayJoin: boolean;
  /** The first block that is not on the list has this to say for it; others may need a place more. */
  error: unknown = null;

  constructor(array: DamageHost, slot: Slot, mayJoin: boolean) {
    this.#array = array;
    this.#slot = slot;
    this.#mayJoin = mayJoin;
  }

  async list(start: number, end: number): Promise<void> {
    const array = this.#array;
    const slot = this.#slot;
    // The blocks cannot be read, and the member may come back with what it has.
    if (slot.role === 'empty' || slot.isRemoving) {
      this.#mark(start, end);
      return;
    }
    const step = array.blocksTogether;
    slot.sums?.forgetPages(start, end);
    await withOwnBuffer(array, step * array.blockSize, async (addr) => {
      for (let at = start, next; at < end; at = next) {
        // Not beyond what has one checksum: what lies behind it may be good.
        next = Math.min(end, (Math.floor(at / step) + 1) * step);
        const count = next - at;
        const isGood = await canRead(array, slot, at, count, addr);
        // A write has made them good meanwhile, and another member in the slot has others.
        if (isGood === null || !slot.isInSync) continue;
        for (const part of array.badBlocks.damagedIn(slot.index, at, count)) {
          if (isGood) array.badBlocks.forgetDamage(slot.index, part.start, part.end - part.start);
          else this.#mark(part.start, part.end);
        }
      }
    });
  }

  #mark(start: number, end: number): void {
    try {
      this.#array.markDamaged(this.#slot.index, start, end - start, this.#mayJoin);
    } catch (error) {
      this.error ??= error;
    }
  }
}

/** Null: that cannot be told. */
async function canRead(array: DamageHost, slot: Slot, at: number, count: number, addr: number): Promise<boolean | null> {
  try {
    await memberIo(array, slot, IoType.Read, at, count, addr);
    // What has no checksum is read as it is.
    return (await slot.sums?.haveSums(at, at + count)) === true;
  } catch (error) {
    return isUnreadable(error) ? false : null;
  }
}

import { BlockClient } from '@raidkit/bdev';
import type { IoHost } from './host.js';
import { reconstructInto } from './reconstruct.js';
import { quiesced } from './quiesce.js';
import { RegionState } from '../bitmap/region-state.js';
import { flushMember, writeSums } from '../members/member-io.js';
import { withOwnBuffer } from '../members/own-buffer.js';
import { isUnreadable } from '../members/rewrite.js';
import type { Slot } from '../members/slot.js';

/**
 * Most repairs that can wait. A request beyond that is dropped: the device will report the error again, and reads use
 * redundancy until then. Damage found by checksums is known to the array, and is processed when the queue is empty.
 */
const queueLimit = 64;
/** Number of bytes that are rewritten at a time. */
const pieceBytes = 64 * 1024;

interface RepairRequest {
  slot: number;
  offsetBlocks: number;
  numBlocks: number;
}

/**
 * Rewrites blocks that a member could not read, with data from redundancy, and reads them back. One repair runs at a time, with
 * the stripes quiesced so that no write is overtaken. A member that cannot be rewritten is failed if the array can do without
 * it, and none of it is in doubt.
 */
export class ReadRepair {
  readonly #array: IoHost;
  readonly #queue: RepairRequest[] = [];
  /** Slots whose members may have repaired blocks in their caches only. */
  readonly #unflushed = new Set<Slot>();
  #work: Promise<void> | null = null;
  /** Repairs were requested that are not queued and have not begun. */
  #hasDropped = false;
  /** Number of {@link hold} calls that have not been released. */
  #held = 0;
  #isStopped = false;

  constructor(array: IoHost) {
    this.#array = array;
  }

  request(slot: number, offsetBlocks: number, numBlocks: number): void {
    const isKnown = this.#queue.some((wish) => wish.slot === slot && wish.offsetBlocks === offsetBlocks);
    if (this.#isStopped || isKnown) return;
    if (this.#held > 0 || this.#queue.length >= queueLimit) {
      this.#hasDropped = true;
      return;
    }
    this.#queue.push({ slot, offsetBlocks, numBlocks });
    this.#begin();
  }

  /** Repairs all known damage of members that was not tried yet. */
  healDamaged(): void {
    if (this.#isStopped) return;
    this.#hasDropped = true;
    this.#begin();
  }

  /** A repair is running or queued. */
  get isBusy(): boolean {
    return this.#work !== null;
  }

  /**
   * Prevents repairs from beginning until {@link release} has been called as often. Queued ones are dropped, because slots may
   * be renumbered meanwhile.
   */
  hold(): void {
    this.#held++;
    this.#drop();
  }

  release(): void {
    this.#held--;
    if (this.#hasDropped) this.#begin();
  }

  /** Resolves when no repair is running. */
  async whenIdle(): Promise<void> {
    await this.#work;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#drop();
    await this.#work;
  }

  #drop(): void {
    if (this.#queue.length > 0) this.#hasDropped = true;
    this.#queue.length = 0;
  }

  #begin(): void {
    if (this.#isHeld) return;
    this.#work ??= this.#run().finally(() => {
      this.#work = null;
      // A repair was dropped after the last check.
      if (this.#hasDropped) this.#begin();
    });
  }

  get #isHeld(): boolean {
    return this.#isStopped || this.#held > 0;
  }

  async #run(): Promise<void> {
    for (;;) {
      for (let wish = this.#queue.shift(); wish !== undefined; wish = this.#queue.shift()) await this.#healOrList(wish);
      if (this.#hasDropped && !this.#isHeld) {
        this.#hasDropped = false;
        await this.#healAllDamage();
      } else if (this.#unflushed.size > 0) {
        await this.#flushRepaired();
      } else {
        return;
      }
    }
  }

  /**
   * Blocks of clean regions are flushed by nobody else, and after a power failure they would be damaged again, perhaps when the
   * other members have left.
   */
  async #flushRepaired(): Promise<void> {
    const repaired = [...this.#unflushed];
    this.#unflushed.clear();
    for (const slot of repaired) {
      if (hasLeft(slot)) continue;
      try {
        await flushMember(this.#array, slot, 'a flush of repaired blocks failed');
      } catch (error) {
        this.#array.log.warn({ ...this.#array.logFields(slot), err: error }, 'repaired blocks could not be flushed');
      }
    }
  }

  async #healOrList(wish: RepairRequest): Promise<void> {
    const isHealed = await this.#heal(wish);
    this.#array.badBlocks.triedToHeal(wish.slot, wish.offsetBlocks, wish.numBlocks);
    if (!isHealed) await this.#recordLost(wish);
  }

  /** Processes all known damage of members that was not tried yet: it is repaired, or added to the list of bad blocks. */
  async #healAllDamage(): Promise<void> {
    const { badBlocks, blockSize, blocksTogether, slots } = this.#array;
    const most = Math.max(1, Math.floor(pieceBytes / blockSize));
    for (const { index } of [...slots]) {
      for (const range of badBlocks.unhealedIn(index, 0, Infinity)) {
        const first = Math.floor(range.start / blocksTogether) * blocksTogether;
        const end = Math.ceil(range.end / blocksTogether) * blocksTogether;
        for (let at = first; at < end; at += most) {
          if (this.#isHeld) {
            this.#hasDropped = true;
            return;
          }
          // A request may have written the blocks meanwhile.
          const numBlocks = Math.min(most, end - at);
          if (badBlocks.unhealedIn(index, at, numBlocks).length === 0) continue;
          await this.#heal({ slot: index, offsetBlocks: at, numBlocks });
          badBlocks.triedToHeal(index, at, numBlocks);
        }
      }
    }
    await this.#recordDamage(0, Infinity);
  }

  /** Resolves to false if redundancy does not have the data, or the blocks cannot be written. */
  async #heal(wish: RepairRequest): Promise<boolean> {
    if (this.#array.currentGeometry?.stripe === undefined) return false;
    try {
      await this.#rewrite(wish);
      return true;
    } catch (error) {
      const slot = this.#array.slots[wish.slot];
      this.#array.log.warn({ ...this.#array.logFields(slot), err: error }, 'unreadable blocks could not be rewritten');
      return false;
    }
  }

  /**
   * Records the blocks as bad, because perhaps no member that is present has the data, and the checksums that show it may
   * become invalid.
   */
  async #recordLost({ offsetBlocks, numBlocks }: RepairRequest): Promise<void> {
    const array = this.#array;
    const stripe = array.currentGeometry?.stripe;
    const memberBlocks = stripe?.memberBlocks ?? 1;
    const from = Math.floor(offsetBlocks / memberBlocks) * memberBlocks;
    const to = Math.ceil((offsetBlocks + numBlocks) / memberBlocks) * memberBlocks;
    await this.#recordDamage(from, to - from);
  }

  async #recordDamage(from: number, count: number): Promise<void> {
    const array = this.#array;
    try {
      await array.recordDamage(from, count);
    } catch (error) {
      array.log.error({ ...array.logFields(), err: error }, 'damaged blocks could not be recorded');
    }
  }

  async #rewrite(wish: RepairRequest): Promise<void> {
    const { slot: index, offsetBlocks, numBlocks } = wish;
    const array = this.#array;
    const { bdev } = array;
    const slot = array.slots[index];
    const stripe = array.currentGeometry?.stripe;
    if (stripe === undefined || bdev === null || slot === undefined || hasLeft(slot)) return;
    const first = Math.floor(offsetBlocks / stripe.memberBlocks);
    const last = Math.floor((offsetBlocks + numBlocks - 1) / stripe.memberBlocks);
    const range = await quiesced(bdev, first * stripe.arrayBlocks, (last - first + 1) * stripe.arrayBlocks);
    try {
      await array.bitmap?.whenZeroed(offsetBlocks, numBlocks);
      // Blocks that were unmapped meanwhile differ from what redundancy has.
      if (array.bitmap?.has(RegionState.Unwritten, offsetBlocks, numBlocks) === true) return;
      await rewriteUnreadable(array, slot, offsetBlocks, numBlocks);
      this.#unflushed.add(slot);
    } finally {
      bdev.unquiesce(range);
    }
  }
}

/**
 * Rewrites blocks `[offset, +count)` of a slot's data area, which the member cannot read, from redundancy, and reads them back.
 * The stripes must be quiesced. Rejects if redundancy does not have the data or the blocks cannot be written; in the latter
 * case the member is failed if the array can do without it, and if it stays the error is a {@link RewriteRefused}.
 */
export async function rewriteUnreadable(array: IoHost, slot: Slot, offset: number, count: number): Promise<void> {
  const data = await readReconstructed(array, slot.index, offset, count);
  if (hasLeft(slot) || slot.descriptor === null || slot.data === null) return;
  const client = new BlockClient(slot.descriptor, slot.data);
  slot.partBegan();
  try {
    await client.write(slot.dataOffset + offset, data);
    const again = await client.read(slot.dataOffset + offset, count);
    if (!Buffer.from(again).equals(data)) throw new Error('the rewritten blocks differ when read back');
    await writeSums(array, slot, [{ start: offset, end: offset + count }]);
    array.noteWritten(slot.index, offset, count);
    slot.countRepaired(count);
    const fields = { ...array.logFields(slot), block: slot.dataOffset + offset, blocks: count };
    array.log.info(fields, 'unreadable blocks were rewritten from redundancy');
  } catch (error) {
    const why = 'unreadable blocks could not be rewritten';
    // A member that takes the blocks and returns others must go: those would be read. So would damaged ones of which the failed
    // write has removed the checksums.
    const mayStay = isUnreadable(error) && slot.sums === null;
    const isGone = mayStay ? array.failUnlessInDoubt(slot.index, why) : array.failMember(slot.index, why);
    throw isGone ? error : new RewriteRefused(why, { cause: error });
  } finally {
    slot.replacement?.mark(offset, count);
    slot.partEnded();
  }
}

/** Redundancy has what the blocks must hold, but their member did not take it, and is still a member. */
export class RewriteRefused extends Error {}

/** Whether the slot has no member in sync that could be repaired. */
function hasLeft(slot: Slot): boolean {
  return !slot.isInSync;
}

/** Returns what the slot's member must hold in these blocks of its data area. The stripes must be quiesced. */
async function readReconstructed(array: IoHost, slot: number, offset: number, count: number): Promise<Uint8Array> {
  const most = Math.max(1, Math.floor(65_536 / array.blockSize));
  const data = new Uint8Array(count * array.blockSize);
  for (let done = 0; done < count; done += most) {
    const now = Math.min(most, count - done);
    await withOwnBuffer(array, now * array.blockSize, async (addr) => {
      await reconstructInto(array, slot, offset + done, now, addr);
      data.set(array.memory.u8.subarray(addr, addr + now * array.blockSize), done * array.blockSize);
    });
  }
  return data;
}

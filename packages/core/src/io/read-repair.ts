import { BlockClient } from '@raidkit/bdev';
import type { IoHost } from './host.js';
import { reconstructInto } from './reconstruct.js';
import { quiesced } from './quiesce.js';
import { RegionState } from '../bitmap/region-state.js';
import { writeSums } from '../members/member-io.js';
import { withOwnBuffer } from '../members/own-buffer.js';
import type { Slot } from '../members/slot.js';

/** Most repairs that wait; a disk with more bad blocks than this is read around, and found again by the next read. */
const queueLimit = 64;

interface RepairRequest {
  slot: number;
  offsetBlocks: number;
  numBlocks: number;
}

/**
 * Rewrites blocks that a member could not read with what redundancy says, and reads them back. One at a time, with the
 * stripes quiesced, so that no write is overtaken. A member that cannot be rewritten is failed, if the array can do without.
 */
export class ReadRepair {
  readonly #array: IoHost;
  readonly #queue: RepairRequest[] = [];
  #work: Promise<void> | null = null;
  #isStopped = false;

  constructor(array: IoHost) {
    this.#array = array;
  }

  request(slot: number, offsetBlocks: number, numBlocks: number): void {
    const isKnown = this.#queue.some((wish) => wish.slot === slot && wish.offsetBlocks === offsetBlocks);
    if (this.#isStopped || isKnown || this.#queue.length >= queueLimit) return;
    this.#queue.push({ slot, offsetBlocks, numBlocks });
    this.#work ??= this.#run().finally(() => {
      this.#work = null;
    });
  }

  /** One is under way, or waits. */
  get isBusy(): boolean {
    return this.#work !== null;
  }

  /** Resolves when none is under way; what was asked for and not begun is forgotten: the next read asks again. */
  async idle(): Promise<void> {
    this.#queue.length = 0;
    await this.#work;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#queue.length = 0;
    await this.#work;
  }

  async #run(): Promise<void> {
    for (let wish = this.#queue.shift(); wish !== undefined; wish = this.#queue.shift()) {
      try {
        await this.#rewrite(wish);
      } catch (error) {
        const slot = this.#array.slots[wish.slot];
        this.#array.log.warn({ ...this.#array.logFields(slot), err: error }, 'unreadable blocks could not be rewritten');
        await this.#recordLost(wish);
      }
    }
  }

  /** Nobody may know them, or be there to be asked: that must not depend on checksums any more. */
  async #recordLost({ offsetBlocks, numBlocks }: RepairRequest): Promise<void> {
    const array = this.#array;
    const stripe = array.currentGeometry?.stripe;
    const memberBlocks = stripe?.memberBlocks ?? 1;
    const from = Math.floor(offsetBlocks / memberBlocks) * memberBlocks;
    const to = Math.ceil((offsetBlocks + numBlocks) / memberBlocks) * memberBlocks;
    try {
      await array.recordDamage(from, to - from);
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
    if (stripe === undefined) return this.#recordLost(wish);
    if (bdev === null || slot === undefined || hasLeft(slot)) return;
    const first = Math.floor(offsetBlocks / stripe.memberBlocks);
    const last = Math.floor((offsetBlocks + numBlocks - 1) / stripe.memberBlocks);
    const range = await quiesced(bdev, first * stripe.arrayBlocks, (last - first + 1) * stripe.arrayBlocks);
    try {
      await array.bitmap?.whenZeroed(offsetBlocks, numBlocks);
      // What was unmapped meanwhile is not what redundancy remembers.
      if (array.bitmap?.has(RegionState.Unwritten, offsetBlocks, numBlocks) === true) return;
      await rewriteUnreadable(array, slot, offsetBlocks, numBlocks);
    } finally {
      bdev.unquiesce(range);
    }
  }
}

/**
 * Gives a member blocks `[offset, +count)` of its data area, which it cannot read, from redundancy, and reads them back. The
 * stripes must be quiesced. Rejects if redundancy does not know them, or they cannot be written: then the member is failed, if
 * the array can do without it.
 */
export async function rewriteUnreadable(array: IoHost, slot: Slot, offset: number, count: number): Promise<void> {
  const data = await readReconstructed(array, slot.index, offset, count);
  if (hasLeft(slot) || slot.descriptor === null || slot.data === null) return;
  const client = new BlockClient(slot.descriptor, slot.data);
  slot.partsInFlight++;
  try {
    await client.write(slot.dataOffset + offset, data);
    const again = await client.read(slot.dataOffset + offset, count);
    if (!Buffer.from(again).equals(data)) throw new Error('the rewritten blocks read back differently');
    await writeSums(array, slot, [{ start: offset, end: offset + count }]);
    array.noteWritten(slot.index, offset, count);
    slot.errors.repaired += count;
    const fields = { ...array.logFields(slot), block: slot.dataOffset + offset, blocks: count };
    array.log.info(fields, 'unreadable blocks were rewritten from redundancy');
  } catch (error) {
    array.failMember(slot.index, 'unreadable blocks could not be rewritten');
    throw error;
  } finally {
    slot.replacement?.mark(offset, count);
    slot.partEnded();
  }
}

/** The slot's member is not, or no longer, one that may be repaired. */
function hasLeft(slot: Slot): boolean {
  return !slot.isInSync;
}

/** What the slot's member must hold in these blocks of its data area. The stripes must be quiesced. */
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

import { RaidError } from '@raidkit/core';
import type { RaidIo, RaidView } from '@raidkit/core';
import { BufferPool } from '@raidkit/parity';
import { StripeOp } from './stripe-op.js';

/** Memory for one array's stripe buffers, in bytes, where one operation's are not larger. */
const budgetBytes = 16 * 1024 * 1024;
/** Most that one operation holds, in bytes, where a slice a member does not need more. */
const opBytes = 1024 * 1024;
const fewestOps = 4;
const mostOps = 64;

/**
 * The operations that can be at work on stripes at a time, each with a slice of memory for every member. An array has its
 * own, from its start: no request waits for memory that another layer holds.
 */
export class StripeBuffers {
  /** Blocks of a slice: the columns that are worked on at a time when members have to be read. */
  readonly sliceBlocks: number;
  readonly sliceBytes: number;
  readonly #pool: BufferPool;
  readonly #free: StripeOp[] = [];
  /** Requests that wait, linked by their `next`. */
  #first: RaidIo | null = null;
  #last: RaidIo | null = null;

  constructor(raid: RaidView) {
    const { blockSize, numSlots } = raid;
    const stripBytes = raid.stripSizeBlocks * blockSize;
    let sliceBytes = Math.max(blockSize, 4096);
    while (sliceBytes * 2 * numSlots <= opBytes && sliceBytes * 2 <= stripBytes) sliceBytes *= 2;
    this.sliceBytes = Math.min(sliceBytes, stripBytes);
    this.sliceBlocks = this.sliceBytes / blockSize;
    const slotBytes = this.sliceBytes * numSlots;
    const count = Math.min(mostOps, Math.max(fewestOps, Math.floor(budgetBytes / slotBytes)));
    try {
      this.#pool = new BufferPool(raid.memory, { slotBytes, count, onFree: () => this.#wake() });
    } catch (error) {
      const message = `array ${raid.name}: there is no memory for ${count} stripe buffers of ${slotBytes} bytes`;
      throw new RaidError('ERR_RAID_MEMORY', 12, message, { cause: error });
    }
    for (let made = 0; made < count; made++) this.#free.push(new StripeOp());
  }

  /** An operation for the request, or null: `io.onGranted(io)` is then called when there is one (ask again). */
  take(io: RaidIo): StripeOp | null {
    const addr = this.#pool.get();
    const op = addr < 0 ? undefined : this.#free.pop();
    if (op === undefined) {
      this.#queue(io);
      return null;
    }
    op.io = io;
    op.addr = addr;
    if (op.unreadable.length > 0) op.unreadable.length = 0;
    op.isSecondTry = false;
    op.isTaken = false;
    io.levelContext = op;
    return op;
  }

  /** The request is through with its operation, if it has one. */
  give(io: RaidIo): void {
    const op = io.levelContext;
    io.levelContext = null;
    if (!(op instanceof StripeOp)) return;
    op.io = null;
    this.#free.push(op);
    // What a device that was given up may still fill or read is held back by the pool.
    this.#pool.put(op.addr);
  }

  #queue(io: RaidIo): void {
    io.next = null;
    if (this.#last === null) this.#first = io;
    else this.#last.next = io;
    this.#last = io;
  }

  #wake(): void {
    const io = this.#first;
    if (io === null) return;
    this.#first = io.next;
    if (this.#first === null) this.#last = null;
    const { onGranted } = io;
    io.onGranted = null;
    onGranted?.(io);
  }

  close(): void {
    this.#pool.close();
  }
}

/** The request's operation; it must have one. */
export function opOf(io: RaidIo): StripeOp {
  if (io.levelContext instanceof StripeOp) return io.levelContext;
  throw new Error('a stripe request has no buffers');
}

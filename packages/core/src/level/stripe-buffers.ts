import { BufferPool } from '@raidkit/parity';
import { RaidError } from '../errors.js';
import type { ArrayShape, RedundantContext } from './context.js';
import type { LevelRequest } from './requests.js';

/** Memory for one array's stripe buffers, in bytes, where one operation's are not larger. */
const budgetBytes = 16 * 1024 * 1024;
/** Most that one operation holds, in bytes, where a slice a member does not need more. */
const opBytes = 1024 * 1024;
const fewestOps = 4;
const mostOps = 64;
/** As often there is memory for as many operations once more, while devices that were given up hold what there was. */
const mostReserves = 3;

/** What a level keeps of a request that is at work on stripes; its `levelContext`. */
export interface StripeOperation {
  /** Address of its buffers, a slice for each slot; -1 for none. */
  addr: number;
  /** A device that was given up may still use them. */
  isTaken: boolean;
}

/** A slice, and all slices of an operation, in bytes; and how many operations. */
function sizesOf({ blockSize, memory, numSlots, stripSizeBlocks }: ArrayShape): {
  sliceBytes: number;
  operationBytes: number;
  count: number;
} {
  const stripBytes = stripSizeBlocks * blockSize;
  const mostBytes = Math.min(stripBytes, memory.zeroBytes);
  let sliceBytes = Math.max(blockSize, 4096);
  while (sliceBytes * 2 * numSlots <= opBytes && sliceBytes * 2 <= mostBytes) sliceBytes *= 2;
  sliceBytes = Math.min(sliceBytes, stripBytes);
  const operationBytes = sliceBytes * numSlots;
  const count = Math.min(mostOps, Math.max(fewestOps, Math.floor(budgetBytes / operationBytes)));
  return { sliceBytes, operationBytes, count };
}

/** Bytes that {@link StripeBuffers} takes of an array's memory: what the `memoryBytes` of a module with parity returns. */
export function stripeBufferBytes(shape: ArrayShape): number {
  const { count, operationBytes } = sizesOf(shape);
  return BufferPool.bytesFor({ slotBytes: operationBytes, count });
}

/**
 * The operations of a level with parity that can be at work on stripes at a time, each with a slice of memory for every member.
 * An array has its own, from its start to its stop ({@link close}): no request waits for memory that another layer holds.
 */
export class StripeBuffers<Operation extends StripeOperation> {
  /** Blocks of a slice: the columns that are worked on at a time when members have to be read. */
  readonly sliceBlocks: number;
  /** The same in bytes: slot `s` has its slice at `operation.addr + s * sliceBytes`. */
  readonly sliceBytes: number;
  readonly #raid: RedundantContext;
  readonly #pools: BufferPool[] = [];
  readonly #free: Operation[] = [];
  readonly #Operation: new () => Operation;
  /** Requests that wait, linked by their `next`. */
  #first: LevelRequest | null = null;
  #last: LevelRequest | null = null;

  /** Throws `ERR_RAID_MEMORY` if there is no memory for them. */
  constructor(raid: RedundantContext, operation: new () => Operation) {
    this.#raid = raid;
    this.#Operation = operation;
    const { count, operationBytes, sliceBytes } = sizesOf(raid);
    this.sliceBytes = sliceBytes;
    this.sliceBlocks = sliceBytes / raid.blockSize;
    try {
      this.#addPool(operationBytes, count);
    } catch (error) {
      const message = `array ${raid.name}: there is no memory for ${count} stripe buffers of ${operationBytes} bytes`;
      throw new RaidError('ERR_RAID_MEMORY', 12, message, { cause: error });
    }
    for (let made = 0; made < count; made++) this.#free.push(new operation());
  }

  /** An operation for the request, or null: `then` is called when there is one (ask again). */
  take<T extends LevelRequest>(io: T, then: (io: T) => void): Operation | null {
    const addr = this.#get();
    if (addr < 0) {
      io.hold(then);
      this.#queue(io);
      return null;
    }
    // Nearly always there are as many as buffers; not when one waits in `renew`.
    const op = this.#free.pop() ?? new this.#Operation();
    op.addr = addr;
    op.isTaken = false;
    io.levelContext = op;
    return op;
  }

  /**
   * Another buffer for an operation whose own a device that was given up may still use; what is in it does not come along.
   * False if there is none: `then` is called when there is one (ask again).
   */
  renew<T extends LevelRequest>(io: T, op: Operation, then: (io: T) => void): boolean {
    if (op.addr >= 0) this.#put(op.addr);
    op.addr = this.#get();
    op.isTaken = op.addr < 0;
    if (op.isTaken) {
      io.hold(then);
      this.#queue(io);
    }
    return !op.isTaken;
  }

  /** The request is through with its operation, if it has one. */
  give(io: LevelRequest): void {
    const op = io.levelContext;
    io.levelContext = null;
    if (!(op instanceof this.#Operation)) return;
    this.#free.push(op);
    if (op.addr >= 0) this.#put(op.addr);
  }

  #get(): number {
    let held = 0;
    for (const pool of this.#pools) {
      const addr = pool.get();
      if (addr >= 0) return addr;
      held += pool.held;
    }
    const [first] = this.#pools;
    if (held === 0 || first === undefined || this.#pools.length > mostReserves) return -1;
    // A device that never answers must not keep the others waiting.
    try {
      return this.#addPool(first.slotBytes, first.count).get();
    } catch {
      return -1;
    }
  }

  /** What a device that was given up may still fill or read is held back by the pool: requests that wait must look elsewhere. */
  #put(addr: number): void {
    for (const pool of this.#pools) {
      if (!pool.contains(addr)) continue;
      const { held } = pool;
      pool.put(addr);
      if (pool.held > held) this.#wake();
      return;
    }
  }

  /** Throws if there is no memory for it. */
  #addPool(slotBytes: number, count: number): BufferPool {
    const pool = new BufferPool(this.#raid.memory, { slotBytes, count, onFree: () => this.#wake() });
    this.#pools.push(pool);
    return pool;
  }

  #queue(io: LevelRequest): void {
    io.next = null;
    if (this.#last === null) this.#first = io;
    else this.#last.next = io;
    this.#last = io;
  }

  /** Has the first that waits ask again, and others as long as there is something for them. */
  #wake(): void {
    do {
      const io = this.#first;
      if (io === null) return;
      this.#first = io.next;
      if (this.#first === null) this.#last = null;
      io.release();
    } while (this.#hasFree());
  }

  #hasFree(): boolean {
    for (const pool of this.#pools) if (pool.available > 0) return true;
    return false;
  }

  /** For the level's `describe`. */
  describe(): { readonly stripe_operations: number } {
    return { stripe_operations: this.#pools[0]?.count ?? 0 };
  }

  /** Gives the memory back. For the level's `stop`. */
  close(): void {
    for (const pool of this.#pools) pool.close();
  }
}

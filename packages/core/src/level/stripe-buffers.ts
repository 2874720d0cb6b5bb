import { Status } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import { RaidError } from '../errors.js';
import type { ArrayShape, RedundantContext } from './context.js';
import { ReplenishedPool } from './replenished-pool.js';
import type { LevelRequest } from './requests.js';

/** Memory for one array's stripe buffers in bytes, unless {@link fewestOps} operations need more. */
const budgetBytes = 16 * 1024 * 1024;
/** Largest buffer of one operation in bytes, unless one minimal slice for each member needs more. */
const opBytes = 1024 * 1024;
const fewestOps = 4;
const mostOps = 64;

/** The level's state of a request that is processing stripes. It is the request's `levelContext`. */
export interface StripeOperation {
  /** Address of its buffer, which has a slice for each slot; -1 if it has no buffer. */
  addr: number;
  /** A timed-out device may still access the buffer. */
  isTaken: boolean;
}

/** Returns the size of a slice and of all slices of an operation in bytes, and the number of operations. */
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

/**
 * Bytes that {@link StripeBuffers} allocates from an array's memory. The `memoryBytes` of a module with parity returns this.
 */
export function stripeBufferBytes(shape: ArrayShape): number {
  const { count, operationBytes } = sizesOf(shape);
  return BufferPool.bytesFor({ slotBytes: operationBytes, count });
}

/**
 * The operations of a level with parity that can process stripes at a time, each with a slice of memory for every member. Each
 * array allocates its own at its start and frees them at its stop ({@link close}), so no request waits for memory that another
 * layer holds.
 */
export class StripeBuffers<Operation extends StripeOperation> {
  /** Size of a slice in blocks: the number of columns that are processed at a time when members have to be read. */
  readonly sliceBlocks: number;
  /** Size of a slice in bytes. The slice of slot `s` begins at `operation.addr + s * sliceBytes`. */
  readonly sliceBytes: number;
  readonly #pool: ReplenishedPool;
  readonly #free: Operation[] = [];
  readonly #Operation: new () => Operation;
  /** Queue of waiting requests, linked by their `next`. */
  #first: LevelRequest | null = null;
  #last: LevelRequest | null = null;

  /** Throws `ERR_RAID_MEMORY` if there is not enough memory. */
  constructor(raid: RedundantContext, operation: new () => Operation) {
    this.#Operation = operation;
    const { count, operationBytes, sliceBytes } = sizesOf(raid);
    this.sliceBytes = sliceBytes;
    this.sliceBlocks = sliceBytes / raid.blockSize;
    try {
      this.#pool = new ReplenishedPool(raid.memory, {
        slotBytes: operationBytes,
        count,
        onLateRelease: () => this.#wake(),
      });
    } catch (error) {
      const message = `array ${raid.name}: not enough memory for ${count} stripe buffers of ${operationBytes} bytes`;
      throw new RaidError('ERR_RAID_MEMORY', Status.NoMemory, message, { cause: error });
    }
    for (let made = 0; made < count; made++) this.#free.push(new operation());
  }

  /**
   * Returns an operation for the request. Returns null if there is none; `then` is called when there may be one, and must call
   * `take` again.
   */
  take<T extends LevelRequest>(io: T, then: (io: T) => void): Operation | null {
    const addr = this.#pool.get();
    if (addr < 0) {
      io.hold(then);
      this.#queue(io);
      return null;
    }
    // There are as many operations as buffers, unless an operation without a buffer waits in `renew`.
    const op = this.#free.pop() ?? new this.#Operation();
    op.addr = addr;
    op.isTaken = false;
    io.levelContext = op;
    return op;
  }

  /**
   * Gives an operation another buffer because a timed-out device may still access its own; the contents are not copied. Returns
   * false if there is none; `then` is called when there may be one, and must call `renew` again.
   */
  renew<T extends LevelRequest>(io: T, op: Operation, then: (io: T) => void): boolean {
    if (op.addr >= 0) this.#put(op.addr);
    op.addr = this.#pool.get();
    op.isTaken = op.addr < 0;
    if (op.isTaken) {
      io.hold(then);
      this.#queue(io);
    }
    return !op.isTaken;
  }

  /** Returns the request's operation, if it has one, and its buffer. */
  give(io: LevelRequest): void {
    const op = io.levelContext;
    io.levelContext = null;
    if (!(op instanceof this.#Operation)) return;
    this.#free.push(op);
    if (op.addr >= 0) this.#put(op.addr);
  }

  /** Waiting requests must also try again if the device that holds the buffer keeps it: then there may be another one. */
  #put(addr: number): void {
    this.#pool.put(addr);
    this.#wake();
  }

  #queue(io: LevelRequest): void {
    io.next = null;
    if (this.#last === null) this.#first = io;
    else this.#last.next = io;
    this.#last = io;
  }

  /** Lets the first waiting request try again, and further ones while buffers are free. */
  #wake(): void {
    do {
      const io = this.#first;
      if (io === null) return;
      this.#first = io.next;
      if (this.#first === null) this.#last = null;
      io.release();
    } while (this.#pool.available > 0);
  }

  /** For the level's `describe`. */
  describe(): { readonly stripe_operations: number } {
    return { stripe_operations: this.#pool.count };
  }

  /** Frees the memory. For the level's `stop`. */
  close(): void {
    this.#pool.close();
  }
}

import type { BufferWaiter, SizeClassPool } from '@raidkit/parity';
import type { Runtime } from '@raidkit/bdev';
import type { QuotaShare, QuotaUser, ServerQuota } from './server-quota.js';

/** Why the last wish for a slot or buffer was refused. */
const Wait = {
  None: 0,
  /** The connection has reached a limit of its own and waits for its own requests to be answered. */
  Own: 1,
  /** The connection waits in the queue of the server's quota. */
  Budget: 2,
  /** The connection waits for a free buffer of the pool. */
  Buffer: 3,
} as const;

/** What a {@link ConnectionQuota} draws on. */
export interface QuotaSource {
  readonly runtime: Runtime;
  readonly buffers: SizeClassPool;
  readonly budget: ServerQuota;
  readonly limits: { readonly maxRequests: number; readonly maxBytes: number };
}

/**
 * What one connection holds: buffers, and a slot for each request or piece until its reply has been sent. If a slot or buffer
 * is refused, `onMore` tells the connection when to ask again.
 */
export class ConnectionQuota implements BufferWaiter, QuotaUser {
  slots = 0;
  heldBytes = 0;
  /** Size in bytes of the buffer that {@link takeBuffer} returned last. */
  takenBytes = 0;
  /** For the queues: the bytes of the buffer it waits for, or 0 for a slot. */
  bytesWanted = 0;
  readonly shares: readonly QuotaShare[];

  readonly #source: QuotaSource;
  readonly #onMore: () => void;
  #wait: number = Wait.None;
  /** A buffer from the pool's queue that has not been used yet; -1 if there is none. */
  #reservedAddr = -1;

  /** `onMore` is called when the connection should ask again for what was refused last. */
  constructor(source: QuotaSource, shares: readonly QuotaShare[], onMore: () => void) {
    this.#source = source;
    this.shares = shares;
    this.#onMore = onMore;
  }

  /** Whether something was refused and has not been asked for again. */
  get isShort(): boolean {
    return this.#wait !== Wait.None;
  }

  /** Returns whether to ask again now, which is not useful while the connection is in a queue. */
  mayRetry(): boolean {
    if (this.#wait === Wait.Budget || this.#wait === Wait.Buffer) return false;
    this.#wait = Wait.None;
    return true;
  }

  /** Takes a slot for a request or piece. Returns false if there is none. */
  takeSlot(): boolean {
    const { budget, limits } = this.#source;
    if (this.slots >= limits.maxRequests) {
      this.#wait = Wait.Own;
      return false;
    }
    if (!budget.hasRoom(this, 0)) {
      this.#waitForBudget(0);
      return false;
    }
    budget.takeRequest(this);
    return true;
  }

  /** Refuses everything until one of the connection's own replies has been sent. */
  waitForOwn(): void {
    this.#wait = Wait.Own;
  }

  /** Returns whether exactly one slot is in use. If not, the connection must ask again. */
  isAlone(): boolean {
    if (this.slots === 1) return true;
    this.#wait = Wait.Own;
    return false;
  }

  /** Returns the address of a buffer of at least `bytes`; -1 if there is none at present. */
  takeBuffer(bytes: number): number {
    const addr = this.#reservedAddr;
    if (addr < 0) return this.#getBuffer(bytes);
    this.takenBytes = this.#source.buffers.slotBytesOf(addr);
    // Another request, which may have ended meanwhile, asked for this buffer; this one may need more.
    if (this.takenBytes < bytes) {
      this.dropReserved();
      return this.#getBuffer(bytes);
    }
    this.#reservedAddr = -1;
    return addr;
  }

  /** Frees a buffer that came from the pool's queue and is no longer needed. */
  dropReserved(): void {
    const addr = this.#reservedAddr;
    this.#reservedAddr = -1;
    if (addr >= 0) this.release(addr, this.#source.buffers.slotBytesOf(addr), 0);
  }

  /** Gives back slots and, unless `bufferAddr` is -1, a buffer. */
  release(bufferAddr: number, heldBytes: number, slots: number): void {
    const { budget, buffers } = this.#source;
    if (bufferAddr >= 0) buffers.put(bufferAddr);
    budget.release(this, heldBytes, slots);
  }

  /** Leaves all queues. Nothing may be asked for afterwards. */
  endWait(): void {
    const { budget } = this.#source;
    this.#leaveQueue();
    budget.cancel(this);
    this.dropReserved();
  }

  onQuota(): void {
    this.#wait = Wait.None;
    this.#onMore();
  }

  onBuffer(): void {
    const { buffers, runtime } = this.#source;
    const addr = buffers.get(this.bytesWanted);
    if (addr < 0) {
      buffers.wait(this);
      return;
    }
    this.#hold(addr);
    this.#reservedAddr = addr;
    // This is called from inside another user's `put`, so the connection continues in a later turn.
    runtime.soon(this.#onReserved);
  }

  readonly #onReserved = (): void => {
    if (this.#wait !== Wait.Buffer) return;
    this.#leaveQueue();
    this.#onMore();
  };

  #getBuffer(bytes: number): number {
    const { budget, buffers, limits } = this.#source;
    if (this.heldBytes > 0 && this.heldBytes + bytes > limits.maxBytes) {
      this.#wait = Wait.Own;
      return -1;
    }
    if (!budget.hasRoom(this, bytes)) {
      this.#waitForBudget(bytes);
      return -1;
    }
    const addr = buffers.get(bytes);
    if (addr >= 0) {
      this.#hold(addr);
      return addr;
    }
    this.#wait = Wait.Buffer;
    this.bytesWanted = bytes;
    budget.waitingForBuffers++;
    buffers.wait(this);
    return -1;
  }

  #waitForBudget(bytes: number): void {
    this.#wait = Wait.Budget;
    this.bytesWanted = bytes;
    this.#source.budget.wait(this);
  }

  #leaveQueue(): void {
    const { budget, buffers } = this.#source;
    if (this.#wait === Wait.Buffer) {
      budget.waitingForBuffers--;
      buffers.cancel(this);
    }
    this.#wait = Wait.None;
  }

  #hold(addr: number): void {
    const { budget, buffers } = this.#source;
    this.takenBytes = buffers.slotBytesOf(addr);
    budget.takeBytes(this, this.takenBytes);
  }
}

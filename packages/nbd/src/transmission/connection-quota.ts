import type { BufferWaiter, SizeClassPool } from '@raidkit/parity';
import type { Runtime } from '@raidkit/bdev';
import type { QuotaShare, QuotaUser, ServerQuota } from './server-quota.js';

/** What holds up the next step. */
const Wait = {
  None: 0,
  /** The connection's own requests, which must be answered first. */
  Own: 1,
  /** The server's quota. */
  Budget: 2,
  /** All buffers are out. */
  Buffer: 3,
} as const;

/** Where an {@link ConnectionQuota} draws from. */
export interface QuotaSource {
  readonly runtime: Runtime;
  readonly buffers: SizeClassPool;
  readonly budget: ServerQuota;
  readonly limits: { readonly maxRequests: number; readonly maxBytes: number };
}

/**
 * What one connection has in flight: a slot for each request, or piece of one, until its reply has been sent, and buffers. A
 * connection that asks for more than there is gets nothing, and is told to try again when that may help.
 */
export class ConnectionQuota implements BufferWaiter, QuotaUser {
  slots = 0;
  heldBytes = 0;
  /** Bytes of the buffer that {@link takeBuffer} gave last. */
  takenBytes = 0;
  /** For the waiting queues: bytes of buffer, or 0 for a slot. */
  bytesWanted = 0;
  readonly shares: readonly QuotaShare[];

  readonly #source: QuotaSource;
  readonly #onMore: () => void;
  #wait: number = Wait.None;
  /** A buffer that the pool's queue gave, not used yet. */
  #reservedAddr = -1;

  /** `onMore` is called when what was refused last should be asked for again. */
  constructor(source: QuotaSource, shares: readonly QuotaShare[], onMore: () => void) {
    this.#source = source;
    this.shares = shares;
    this.#onMore = onMore;
  }

  /** Something was refused, and has not been asked for again. */
  get isShort(): boolean {
    return this.#wait !== Wait.None;
  }

  /** Whether to ask again now. Not while a queue is to give the sign. */
  mayRetry(): boolean {
    if (this.#wait === Wait.Budget || this.#wait === Wait.Buffer) return false;
    this.#wait = Wait.None;
    return true;
  }

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

  /** Nothing more is given before some of the connection's own has been sent. */
  waitForOwn(): void {
    this.#wait = Wait.Own;
  }

  /** Whether there is one slot in use and no more. If not, that is to be asked again. */
  isAlone(): boolean {
    if (this.slots === 1) return true;
    this.#wait = Wait.Own;
    return false;
  }

  /** The address of a buffer of at least `bytes`; -1 if there is none for the moment. */
  takeBuffer(bytes: number): number {
    const addr = this.#reservedAddr;
    if (addr < 0) return this.#getBuffer(bytes);
    this.takenBytes = this.#source.buffers.slotBytesOf(addr);
    // It was asked for by a request that may have ended meanwhile, and this one may need more.
    if (this.takenBytes < bytes) {
      this.dropReserved();
      return this.#getBuffer(bytes);
    }
    this.#reservedAddr = -1;
    return addr;
  }

  /** Gives back the buffer that was waited for and has come, if it is not needed any more. */
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

  /** Nothing more will be asked for. */
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
    // This runs inside another user's `put`.
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

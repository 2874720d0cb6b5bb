import type { Runtime } from '@raidkit/bdev';

/** Somebody who waits for room in a {@link ServerQuota}. */
export interface BudgetWaiter {
  /** Buffer bytes that it needs next; 0 if it needs room for a request. */
  readonly bytesWanted: number;
  /** There is room: take it before returning. Called in a later turn than the release that made the room. */
  onBudget(): void;
}

/** What all connections of a server may have in flight together: bytes of buffers, and requests. First come, first served. */
export class ServerQuota {
  readonly maxBytes: number;
  readonly maxRequests: number;
  bytes = 0;
  requests = 0;
  /** Connections that wait for one of the runtime's buffers. They are not in the queue here, but are pressure all the same. */
  waitingForBuffers = 0;

  readonly #runtime: Runtime;
  readonly #waiters = new Set<BudgetWaiter>();
  #serving: BudgetWaiter | null = null;
  #isScheduled = false;

  constructor(runtime: Runtime, maxBytes: number, maxRequests: number) {
    this.#runtime = runtime;
    this.maxBytes = maxBytes;
    this.maxRequests = maxRequests;
  }

  /** Whether somebody is held up because memory or requests are short. */
  get isShort(): boolean {
    return this.#waiters.size > 0 || this.waitingForBuffers > 0;
  }

  /** Whether `waiter` may take `bytes` (0: a request) now. Nobody overtakes those who wait. */
  hasRoom(waiter: BudgetWaiter, bytes: number): boolean {
    if (this.#waiters.size > 0 && this.#serving !== waiter) return false;
    return this.#fits(bytes);
  }

  wait(waiter: BudgetWaiter): void {
    this.#waiters.add(waiter);
  }

  cancel(waiter: BudgetWaiter): void {
    if (this.#waiters.delete(waiter)) this.#serveLater();
  }

  release(bytes: number, requests: number): void {
    this.bytes -= bytes;
    this.requests -= requests;
    if (this.#waiters.size > 0) this.#serveLater();
  }

  #fits(bytes: number): boolean {
    if (bytes === 0) return this.requests < this.maxRequests;
    return this.bytes === 0 || this.bytes + bytes <= this.maxBytes;
  }

  #serveLater(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#runtime.soon(this.#serve);
  }

  readonly #serve = (): void => {
    this.#isScheduled = false;
    for (const waiter of this.#waiters) {
      if (!this.#fits(waiter.bytesWanted)) return;
      this.#waiters.delete(waiter);
      this.#serving = waiter;
      waiter.onBudget();
      this.#serving = null;
    }
  };
}

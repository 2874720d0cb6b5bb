import type { DeviceOp } from './device-op.js';

/** Queue of one device's operations: at most `limit` are in flight. */
export class DeviceQueue {
  readonly #limit: number;
  #head: DeviceOp | null = null;
  #tail: DeviceOp | null = null;
  #started = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Number of operations in flight. */
  get started(): number {
    return this.#started;
  }

  push(op: DeviceOp): void {
    if (this.#started < this.#limit) {
      if (op.isRefused()) return;
      this.#started++;
      op.start();
      return;
    }
    op.next = null;
    if (this.#tail === null) this.#head = op;
    else this.#tail.next = op;
    this.#tail = op;
  }

  /** Called when an operation in flight has ended: starts the next. */
  finished(): void {
    this.#started--;
    while (this.#started < this.#limit) {
      const op = this.#shift();
      if (op === null) return;
      if (op.isRefused()) continue;
      this.#started++;
      op.start();
    }
  }

  /** Cancels all operations that have not been started. */
  cancelWaiting(): void {
    for (let op = this.#shift(); op !== null; op = this.#shift()) op.cancel();
  }

  #shift(): DeviceOp | null {
    const op = this.#head;
    if (op === null) return null;
    this.#head = op.next;
    if (this.#head === null) this.#tail = null;
    op.next = null;
    return op;
  }
}

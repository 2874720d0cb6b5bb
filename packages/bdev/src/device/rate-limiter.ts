import { IoType } from '../io/io.js';
import type { BdevIo } from '../io/io.js';
import type { Runtime, TimerHandle } from '../runtime/runtime.js';

/** Limits per second on what a device's users do; 0 for no limit. Only reads and writes count. */
export interface RateLimits {
  readonly iosPerSecond: number;
  readonly bytesPerSecond: number;
  readonly readBytesPerSecond: number;
  readonly writeBytesPerSecond: number;
}

export const noRateLimits: RateLimits = { iosPerSecond: 0, bytesPerSecond: 0, readBytesPerSecond: 0, writeBytesPerSecond: 0 };

/** Milliseconds between two checks of which held requests may start. */
const tickMs = 2;
/** An idle device may take at once what its limits allow in this many milliseconds. */
const burstMs = 20;

/** A token bucket for one limit. It refills with time, and one request may overdraw it. */
class Account {
  perSecond = 0;
  #balance = 0;
  #filledAt = 0;

  set(perSecond: number, now: number): void {
    this.perSecond = perSecond;
    this.#balance = (perSecond * burstMs) / 1000;
    this.#filledAt = now;
  }

  mayGo(now: number): boolean {
    if (this.perSecond === 0) return true;
    const most = (this.perSecond * burstMs) / 1000;
    this.#balance = Math.min(this.#balance + (this.perSecond * (now - this.#filledAt)) / 1000, most);
    this.#filledAt = now;
    return this.#balance > 0;
  }

  take(amount: number): void {
    this.#balance -= amount;
  }
}

/**
 * Holds back requests that exceed the rate limits of a device. They start later in their order; until then they are not in
 * flight, and their deadlines do not run.
 */
export class RateLimiter {
  readonly #runtime: Runtime;
  readonly #blockSize: number;
  readonly #release: (io: BdevIo) => void;
  readonly #ios = new Account();
  readonly #bytes = new Account();
  readonly #readBytes = new Account();
  readonly #writeBytes = new Account();
  /** Queue of held requests, linked by `next`: a held request is on no other list. */
  #head: BdevIo | null = null;
  #tail: BdevIo | null = null;
  #timer: TimerHandle | null = null;
  #limits = noRateLimits;

  /** `release` is called with each held request that may start. */
  constructor(runtime: Runtime, blockSize: number, release: (io: BdevIo) => void) {
    this.#runtime = runtime;
    this.#blockSize = blockSize;
    this.#release = release;
  }

  get limits(): RateLimits {
    return this.#limits;
  }

  set limits(limits: RateLimits) {
    this.#limits = limits;
    const now = this.#runtime.now();
    this.#ios.set(limits.iosPerSecond, now);
    this.#bytes.set(limits.bytesPerSecond, now);
    this.#readBytes.set(limits.readBytesPerSecond, now);
    this.#writeBytes.set(limits.writeBytesPerSecond, now);
    this.#go();
  }

  /** Returns true if the request is held back and will be released later. */
  hold(io: BdevIo): boolean {
    if (io.type !== IoType.Read && io.type !== IoType.Write) return false;
    if (this.#head === null && this.#take(io, this.#runtime.now())) return false;
    this.#append(io);
    this.#wake();
    return true;
  }

  /** Releases all held requests because the device is being removed. */
  releaseAll(): void {
    while (this.#head !== null) this.#releaseFirst(this.#head);
  }

  /** Removes the held requests that `isUnwanted` selects from the queue and returns them in their order. */
  takeOut(isUnwanted: (io: BdevIo) => boolean): BdevIo[] {
    const taken: BdevIo[] = [];
    let io = this.#head;
    this.#head = this.#tail = null;
    while (io !== null) {
      const { next } = io;
      io.next = null;
      if (isUnwanted(io)) taken.push(io);
      else this.#append(io);
      io = next;
    }
    return taken;
  }

  #append(io: BdevIo): void {
    io.next = null;
    if (this.#tail === null) this.#head = io;
    else this.#tail.next = io;
    this.#tail = io;
  }

  #take(io: BdevIo, now: number): boolean {
    const own = io.type === IoType.Read ? this.#readBytes : this.#writeBytes;
    if (!this.#ios.mayGo(now) || !this.#bytes.mayGo(now) || !own.mayGo(now)) return false;
    const bytes = io.numBlocks * this.#blockSize;
    this.#ios.take(1);
    this.#bytes.take(bytes);
    own.take(bytes);
    return true;
  }

  readonly #onTimer = (): void => {
    this.#timer = null;
    this.#go();
  };

  #go(): void {
    const now = this.#runtime.now();
    while (this.#head !== null && this.#take(this.#head, now)) this.#releaseFirst(this.#head);
    if (this.#head !== null) this.#wake();
  }

  #releaseFirst(io: BdevIo): void {
    this.#head = io.next;
    if (this.#head === null) this.#tail = null;
    io.next = null;
    this.#release(io);
  }

  #wake(): void {
    this.#timer ??= this.#runtime.setTimer(this.#onTimer, tickMs);
  }
}

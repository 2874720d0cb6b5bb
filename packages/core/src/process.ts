import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { BdevIo, JsonObject, QuiesceRange } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import type { RaidArray } from './array.js';
import { reconstructInto } from './reconstruct.js';
import type { Slot } from './slot.js';

/** Limits of background processes, shared by all arrays of a composer; changes apply at once. */
export interface ProcessOptions {
  /** KiB of array space that is quiesced at a time; raised to a whole stripe where that is larger. */
  windowSizeKb: number;
  /** MiB of array space a second; 0 for no limit. */
  maxBandwidthMbSec: number;
}

/** Windows that are copied at a time: one is written while others are read. */
const windowsInFlight = 4;
/** Largest member I/O of a process, in bytes. */
const pieceBytes = 256 * 1024;

interface Window {
  start: number;
  end: number;
  copied: Promise<void>;
  range: QuiesceRange | null;
}

/**
 * Fills a new member with what it must hold, window by window from the array's start, with user I/O flowing outside the
 * windows. Below {@link offsetBlocks} the target gets every write; above it gets none.
 */
export class RaidProcess {
  readonly type = 'rebuild';
  readonly target: Slot;
  /** Array blocks, from the start, that are done. A multiple of the stripe, or the whole. */
  offsetBlocks = 0;
  readonly #array: RaidArray;
  readonly #options: ProcessOptions;
  readonly #windowBlocks: number;
  readonly #pool: BufferPool;
  #stopReason: Error | null = null;
  #allowedAt = 0;

  /** Throws if there is no memory for its buffers. */
  constructor(array: RaidArray, target: Slot, options: ProcessOptions) {
    this.#array = array;
    this.target = target;
    this.#options = options;
    const stripe = this.#stripe();
    const wanted = Math.max(1, Math.floor((options.windowSizeKb * 1024) / array.blockSize));
    this.#windowBlocks = Math.max(1, Math.floor(wanted / stripe.arrayBlocks)) * stripe.arrayBlocks;
    const memberBytes = (this.#windowBlocks / stripe.arrayBlocks) * stripe.memberBlocks * array.blockSize;
    const slotBytes = Math.min(pieceBytes, memberBytes);
    this.#pool = new BufferPool(array.memory, { slotBytes, count: windowsInFlight * 2 });
  }

  /** Resolves when the target holds everything, on stable media. Rejects with why it does not; the target is worth nothing then. */
  async run(): Promise<void> {
    try {
      await this.#copyAll();
      await this.#io(IoType.Flush, 0, this.target.dataSize, -1);
    } finally {
      this.#pool.close();
    }
  }

  /** Makes {@link run} reject with `reason` once what is in flight is done. */
  stop(reason: Error): void {
    this.#stopReason ??= reason;
  }

  describe(): JsonObject {
    const { numBlocks } = this.#array;
    const percent = numBlocks === 0 ? 0 : Math.floor((this.offsetBlocks / numBlocks) * 100);
    return { type: this.type, target: this.target.name, progress: { blocks: this.offsetBlocks, percent } };
  }

  async #copyAll(): Promise<void> {
    const windows: Window[] = [];
    let next = 0;
    try {
      while (this.offsetBlocks < this.#array.numBlocks) {
        this.#throwIfStopped();
        if (windows.length < windowsInFlight && next < this.#array.numBlocks) {
          await this.#waitForBandwidth(this.#windowBlocks);
          windows.push(this.#startWindow(next));
          next += this.#windowBlocks;
          continue;
        }
        const window = windows[0];
        if (window === undefined) return;
        await window.copied;
        windows.shift();
        this.#throwIfStopped();
        // From here on user writes below the end go to the target too.
        this.offsetBlocks = window.end;
        this.#release(window);
      }
    } finally {
      await Promise.allSettled(windows.map(({ copied }) => copied));
      for (const window of windows) this.#release(window);
    }
  }

  #startWindow(start: number): Window {
    const end = Math.min(start + this.#windowBlocks, this.#array.numBlocks);
    const window: Window = { start, end, range: null, copied: Promise.resolve() };
    window.copied = this.#copy(window);
    window.copied.catch(() => undefined);
    return window;
  }

  async #copy(window: Window): Promise<void> {
    const { bdev } = this.#array;
    if (bdev === null) throw new Error(`array ${this.#array.name} is not online`);
    await new Promise<void>((resolve) => {
      window.range = bdev.quiesce(window.start, window.end - window.start, resolve);
    });
    const { arrayBlocks, memberBlocks } = this.#stripe();
    const first = (window.start / arrayBlocks) * memberBlocks;
    const last = Math.ceil(window.end / arrayBlocks) * memberBlocks;
    const most = this.#pool.slotBytes / this.#array.blockSize;
    for (let at = first; at < last; at += most) {
      this.#throwIfStopped();
      const count = Math.min(most, last - at);
      const addr = this.#pool.get();
      if (addr < 0) throw new Error('a process ran out of buffers');
      try {
        await reconstructInto(this.#array, this.target.index, at, count, addr);
        await this.#io(IoType.Write, at, count, addr);
      } finally {
        this.#pool.put(addr);
      }
    }
  }

  #release(window: Window): void {
    if (window.range === null) return;
    this.#array.bdev?.unquiesce(window.range);
    window.range = null;
  }

  /** One I/O to the target's data area. */
  #io(type: IoType, offset: number, count: number, addr: number): Promise<void> {
    const { target } = this;
    const { ios } = this.#array.registry;
    return new Promise((resolve, reject) => {
      if (target.descriptor === null || target.isLeaving) {
        reject(BdevError.fromStatus(Status.NoDevice, `the target ${String(target.name)} is gone`));
        return;
      }
      const io = ios.get();
      io.type = type;
      io.offsetBlocks = target.dataOffset + offset;
      io.numBlocks = count;
      io.addr = addr;
      io.owner = {
        onIoDone: (done: BdevIo) => {
          const { status } = done;
          ios.put(done);
          target.partEnded();
          if (status === Status.Ok) resolve();
          else reject(BdevError.fromStatus(status, `the target ${String(target.name)} failed`));
        },
      };
      target.partsInFlight++;
      target.descriptor.submit(io);
    });
  }

  async #waitForBandwidth(blocks: number): Promise<void> {
    const { maxBandwidthMbSec } = this.#options;
    const { runtime } = this.#array.registry;
    const now = runtime.now();
    if (this.#allowedAt > now) {
      await new Promise<void>((resolve) => void runtime.setTimer(resolve, this.#allowedAt - now));
    }
    if (maxBandwidthMbSec === 0) return;
    const bytes = blocks * this.#array.blockSize;
    this.#allowedAt = Math.max(this.#allowedAt, runtime.now()) + (bytes / (maxBandwidthMbSec * 1024 * 1024)) * 1000;
  }

  #stripe(): { arrayBlocks: number; memberBlocks: number } {
    const { stripe } = this.#array.geometry();
    if (stripe === undefined) throw new Error(`level ${this.#array.module.level} has no redundancy`);
    return stripe;
  }

  #throwIfStopped(): void {
    if (this.#stopReason !== null) throw this.#stopReason;
  }
}

import { BufferMemoryError } from './error.js';
import { type BufferMemory, PAGE_BYTES } from './memory.js';

export interface BufferPoolOptions {
  /** Size of each slot's data area, in bytes. */
  slotBytes: number;
  count: number;
  /** Bytes directly before each data area, so that a header and its payload are contiguous. Default 0. */
  headerBytes?: number;
  /** Called after each slot that became free, either at `put` or at the unpin that a `put` waited for. */
  onFree?: () => void;
}

const SlotState = {
  /** On the free stack. */
  Free: 0,
  /** In use. */
  Out: 1,
  /** Put by its user while pinned. */
  Held: 2,
} as const;

/**
 * A pool of slots of one size with page-aligned data areas. A slot's address is that of its data area; its header, if any, ends
 * there. `get` and `put` are O(1) and allocate nothing. The contents of a slot are undefined when it is taken.
 */
export class BufferPool {
  readonly slotBytes: number;
  readonly count: number;
  readonly headerBytes: number;

  readonly #memory: BufferMemory;
  readonly #regionAddr: number;
  readonly #firstAddr: number;
  readonly #strideBytes: number;
  readonly #state: Uint8Array;
  readonly #pins: Uint32Array;
  /** Indices of free slots; the last put is the next taken, while its lines are warm. */
  readonly #free: Uint32Array;
  readonly #onFree: (() => void) | undefined;
  #available: number;
  #held = 0;
  #isClosed = false;

  /** Contiguous bytes of memory that such a pool takes. */
  static bytesFor({
    slotBytes,
    count,
    headerBytes = 0,
  }: Pick<BufferPoolOptions, 'slotBytes' | 'count' | 'headerBytes'>): number {
    return roundUpToPage(headerBytes) + count * roundUpToPage(headerBytes + slotBytes);
  }

  /** Throws a BufferMemoryError with code ERR_BUFFER_MEMORY if the memory has no room. */
  constructor(memory: BufferMemory, options: BufferPoolOptions) {
    const { slotBytes, count, headerBytes = 0, onFree } = options;
    requireInteger('slotBytes', slotBytes, 1);
    requireInteger('count', count, 1);
    requireInteger('headerBytes', headerBytes, 0);
    const leadBytes = roundUpToPage(headerBytes);
    this.#strideBytes = roundUpToPage(headerBytes + slotBytes);
    const wantedBytes = BufferPool.bytesFor(options);
    const freeBytes = memory.freeBytes;
    this.#regionAddr = memory.allocRegion(wantedBytes);
    if (this.#regionAddr < 0) {
      throw new BufferMemoryError(
        'ERR_BUFFER_MEMORY',
        `a pool of ${count} buffers of ${slotBytes} bytes needs ${wantedBytes} bytes in one piece; ` +
          `${freeBytes} of ${memory.bytes} bytes of buffer memory are free`,
      );
    }
    this.slotBytes = slotBytes;
    this.count = count;
    this.headerBytes = headerBytes;
    this.#memory = memory;
    this.#firstAddr = this.#regionAddr + leadBytes;
    this.#state = new Uint8Array(count);
    this.#pins = new Uint32Array(count);
    this.#free = new Uint32Array(count);
    for (let index = 0; index < count; index++) this.#free[index] = count - 1 - index;
    this.#onFree = onFree;
    this.#available = count;
    memory.watchPins(this.#regionAddr, {
      onPin: (addr) => this.#pin(addr),
      onUnpin: (addr) => this.#unpin(addr),
    });
  }

  /** Number of free slots. */
  get available(): number {
    return this.#available;
  }

  /** Number of slots that were put but are held back because a device may still access them. */
  get held(): number {
    return this.#held;
  }

  /** Returns the address of a slot's data area, or -1 if all are in use or the pool is closed. */
  get(): number {
    if (this.#available === 0 || this.#isClosed) return -1;
    const index = this.#free[--this.#available] ?? 0;
    this.#state[index] = SlotState.Out;
    return this.#firstAddr + index * this.#strideBytes;
  }

  /** Returns a slot to the pool, by the address that `get` returned. A pinned slot becomes available at its last unpin. */
  put(addr: number): void {
    const offsetBytes = addr - this.#firstAddr;
    const index = Math.floor(offsetBytes / this.#strideBytes);
    // Written so that NaN fails.
    if (!(index >= 0 && index < this.count && index * this.#strideBytes === offsetBytes)) {
      notOfPool(addr, this.count, this.slotBytes);
    }
    if (this.#state[index] !== SlotState.Out) wasPutTwice(addr);
    if (this.#pins[index] === 0) {
      this.#release(index);
    } else {
      this.#state[index] = SlotState.Held;
      this.#held++;
    }
  }

  /** Whether `addr` is inside this pool's slots. */
  contains(addr: number): boolean {
    return addr >= this.#firstAddr && addr < this.#firstAddr + this.count * this.#strideBytes;
  }

  /** Throws if a slot is in use and not pinned: its user would go on using memory that it no longer owns. */
  assertClosable(): void {
    for (let index = 0; index < this.count; index++) {
      if (this.#state[index] === SlotState.Out && this.#pins[index] === 0) {
        throw new BufferMemoryError(
          'ERR_BUFFER_MISUSE',
          `the pool of ${this.count} x ${this.slotBytes} bytes cannot close: the buffer at address ${this.#firstAddr + index * this.#strideBytes} is in use`,
        );
      }
    }
  }

  /**
   * Frees the pool's region, at once or when the last pinned slot has come back; from now on `get` returns -1. Throws while
   * unpinned slots are in use. A second call does nothing.
   */
  close(): void {
    if (this.#isClosed) return;
    this.assertClosable();
    this.#isClosed = true;
    this.#freeRegionIfDone();
  }

  #pin(addr: number): void {
    const index = this.#indexContaining(addr);
    if (index < 0) return;
    if (this.#state[index] === SlotState.Free) {
      throw new BufferMemoryError(
        'ERR_BUFFER_MISUSE',
        `address ${addr} was pinned after its buffer was released: another user may have it`,
      );
    }
    this.#pins[index] = (this.#pins[index] ?? 0) + 1;
  }

  #unpin(addr: number): void {
    const index = this.#indexContaining(addr);
    if (index < 0) return;
    const pins = this.#pins[index] ?? 0;
    if (pins === 0) throw new BufferMemoryError('ERR_BUFFER_MISUSE', `address ${addr} is not pinned`);
    this.#pins[index] = pins - 1;
    if (pins !== 1 || this.#state[index] !== SlotState.Held) return;
    this.#held--;
    this.#release(index);
  }

  #release(index: number): void {
    this.#state[index] = SlotState.Free;
    this.#free[this.#available++] = index;
    if (this.#isClosed) this.#freeRegionIfDone();
    else this.#onFree?.();
  }

  #freeRegionIfDone(): void {
    if (this.#available === this.count) this.#memory.freeRegion(this.#regionAddr);
  }

  /** The slot whose header or data contains `addr`; -1 for the slack before the first header. */
  #indexContaining(addr: number): number {
    return Math.floor((addr - this.#firstAddr + this.headerBytes) / this.#strideBytes);
  }
}

// These are functions of their own because V8 would otherwise make a string of the address at each `put`, error or not: it
// makes what several texts have in common once, before the checks.

function notOfPool(addr: number, count: number, slotBytes: number): never {
  throw new BufferMemoryError(
    'ERR_BUFFER_MISUSE',
    `address ${addr} is not a buffer of this pool of ${count} x ${slotBytes} bytes`,
  );
}

function wasPutTwice(addr: number): never {
  throw new BufferMemoryError('ERR_BUFFER_MISUSE', `the buffer at address ${addr} was released twice`);
}

function roundUpToPage(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

function requireInteger(name: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > 2 ** 32) {
    throw new RangeError(`${name} must be an integer from ${min} to 2^32, not ${value}`);
  }
}

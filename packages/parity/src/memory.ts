import { BufferMemoryError } from './error.js';
import type { KernelImplementation, ParityKernels } from './kernel-types.js';
import { createKernels } from './kernels.js';
import { KERNEL_TABLE_BYTES } from './kernels-wasm.js';
import { type PinWatcher, RegionMap } from './region-map.js';
import { type WasmMemory, webAssembly } from './webassembly.js';

/** Alignment of every allocation: enough for O_DIRECT on any device. */
export const PAGE_BYTES = 4096;

const WASM_PAGE_BYTES = 65536;

/** 4 GiB less one WebAssembly page, so that the end of the memory is still a 32-bit address. */
export const MAX_MEMORY_BYTES = 65535 * WASM_PAGE_BYTES;

const MAX_ZERO_BYTES = 1 << 20;

/** Page 0 stays unused, so that an address that was never set does not point at a buffer. */
const TABLE_ADDR = PAGE_BYTES;
const ZERO_ADDR = TABLE_ADDR + KERNEL_TABLE_BYTES;

export interface BufferMemoryOptions {
  /** Size, rounded up to 64 KiB. The system allocates pages when they are first touched. */
  bytes: number;
  /** Default: WebAssembly where the module compiles, JavaScript elsewhere. */
  kernels?: KernelImplementation;
}

/**
 * The memory that holds every data-path buffer of a reactor. A buffer is identified by its byte address in it.
 *
 * The memory never grows and never moves: an address or a view stays valid for the object's lifetime. Methods that take a range
 * throw a RangeError if it is not wholly inside the memory; none checks who owns it.
 */
export class BufferMemory {
  readonly bytes: number;
  readonly memory: WasmMemory;
  readonly buffer: ArrayBuffer;
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** A page-aligned range of `zeroBytes` zeros, a source for writes and parity. It must not be written to. */
  readonly zeroAddr: number = ZERO_ADDR;
  /** 1 MiB, or an eighth of the memory if that is less. */
  readonly zeroBytes: number;

  readonly #kernelChoice: KernelImplementation | undefined;
  #kernels: ParityKernels | null = null;
  readonly #regions: RegionMap;

  constructor(options: BufferMemoryOptions) {
    const { bytes } = options;
    if (!Number.isSafeInteger(bytes) || bytes < 1 || bytes > MAX_MEMORY_BYTES) {
      throw new RangeError(`bytes must be an integer from 1 to ${MAX_MEMORY_BYTES}, not ${bytes}`);
    }
    const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
    try {
      this.memory = new webAssembly.Memory({ initial: pages, maximum: pages });
    } catch (cause) {
      throw new BufferMemoryError(
        'ERR_BUFFER_MEMORY',
        `the system refused ${pages * WASM_PAGE_BYTES} bytes of memory for I/O buffers`,
        { cause },
      );
    }
    this.buffer = this.memory.buffer;
    this.bytes = this.buffer.byteLength;
    this.u8 = new Uint8Array(this.buffer);
    this.view = new DataView(this.buffer);
    this.zeroBytes = Math.min(MAX_ZERO_BYTES, Math.floor(this.bytes / 8 / PAGE_BYTES) * PAGE_BYTES);
    this.#kernelChoice = options.kernels;
    this.#regions = new RegionMap(ZERO_ADDR + this.zeroBytes, this.bytes, PAGE_BYTES);
  }

  /** The parity kernels of this memory; compiled at the first use. */
  get kernels(): ParityKernels {
    return (this.#kernels ??= createKernels(this.memory, TABLE_ADDR, this.#kernelChoice));
  }

  /** Free bytes. They need not be contiguous. */
  get freeBytes(): number {
    return this.#regions.freeBytes;
  }

  /**
   * Allocates `bytes`, rounded up to whole pages, for long-lived use. Returns -1 if no gap is large enough. The contents are
   * undefined.
   */
  allocRegion(bytes: number): number {
    return this.#regions.alloc(bytes);
  }

  /** Frees a region by the address that `allocRegion` returned. A region with a pin inside becomes free at its last unpin. */
  freeRegion(addr: number): void {
    this.#regions.free(addr);
  }

  /**
   * Keeps the buffer that contains `addr` from being reused, because a device may still access it although its I/O was reported
   * as failed: a pool's slot that is put, or a region that is freed, is not handed out until each `pin` has had its `unpin`.
   * Must be called before the owner learns of the failure. No effect on addresses outside all regions.
   */
  pin(addr: number): void {
    this.#regions.pin(addr);
  }

  /** Removes one pin; throws if there is none. */
  unpin(addr: number): void {
    this.#regions.unpin(addr);
  }

  /** For the pools: `watcher` is told of each pin inside the region that starts at `addr`. */
  watchPins(addr: number, watcher: PinWatcher): void {
    this.#regions.watch(addr, watcher);
  }

  zero(addr: number, lengthBytes: number): void {
    this.#check(addr, lengthBytes);
    this.u8.fill(0, addr, addr + lengthBytes);
  }

  /** The ranges may overlap. */
  copy(dst: number, src: number, lengthBytes: number): void {
    this.#check(dst, lengthBytes);
    this.#check(src, lengthBytes);
    this.u8.copyWithin(dst, src, src + lengthBytes);
  }

  isZero(addr: number, lengthBytes: number): boolean {
    return this.kernels.isZero(addr, lengthBytes);
  }

  equal(a: number, b: number, lengthBytes: number): boolean {
    return this.kernels.equal(a, b, lengthBytes);
  }

  #check(addr: number, lengthBytes: number): void {
    // Written so that NaN fails.
    if (!(addr >= 0 && lengthBytes >= 0 && addr + lengthBytes <= this.bytes)) {
      throw new RangeError(`bytes ${addr} + ${lengthBytes} are not inside the memory of ${this.bytes} bytes`);
    }
  }
}

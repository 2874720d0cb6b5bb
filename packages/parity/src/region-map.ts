import { BufferMemoryError } from './error.js';

/** Told of the pins inside one region before the region's own count changes; a throw leaves that count unchanged. */
export interface PinWatcher {
  onPin(addr: number): void;
  onUnpin(addr: number): void;
}

interface Region {
  readonly addr: number;
  readonly bytes: number;
  pins: number;
  /** Freed by its owner while pinned. */
  isFreed: boolean;
  watcher: PinWatcher | null;
}

/** Allocates ranges of a memory, first fit. There are tens of regions, which are rarely allocated or freed. */
export class RegionMap {
  /** Sorted by address. */
  readonly #regions: Region[] = [];
  readonly #startAddr: number;
  readonly #endAddr: number;
  readonly #pageBytes: number;
  #usedBytes = 0;

  constructor(startAddr: number, endAddr: number, pageBytes: number) {
    this.#startAddr = startAddr;
    this.#endAddr = endAddr;
    this.#pageBytes = pageBytes;
  }

  get freeBytes(): number {
    return this.#endAddr - this.#startAddr - this.#usedBytes;
  }

  alloc(bytes: number): number {
    if (!(bytes > 0)) throw new RangeError(`a region needs at least one byte, not ${bytes}`);
    const rounded = Math.ceil(bytes / this.#pageBytes) * this.#pageBytes;
    let addr = this.#startAddr;
    let index = 0;
    for (const region of this.#regions) {
      if (region.addr - addr >= rounded) break;
      addr = region.addr + region.bytes;
      index++;
    }
    if (this.#endAddr - addr < rounded) return -1;
    this.#regions.splice(index, 0, { addr, bytes: rounded, pins: 0, isFreed: false, watcher: null });
    this.#usedBytes += rounded;
    return addr;
  }

  free(addr: number): void {
    const region = this.#owned(addr);
    region.isFreed = true;
    if (region.pins === 0) this.#remove(region);
  }

  watch(addr: number, watcher: PinWatcher): void {
    this.#owned(addr).watcher = watcher;
  }

  pin(addr: number): void {
    const region = this.#containing(addr);
    if (region === undefined) return;
    region.watcher?.onPin(addr);
    region.pins++;
  }

  unpin(addr: number): void {
    const region = this.#containing(addr);
    if (region === undefined) return;
    if (region.pins === 0) throw new BufferMemoryError('ERR_BUFFER_MISUSE', `address ${addr} is not pinned`);
    region.watcher?.onUnpin(addr);
    region.pins--;
    if (region.isFreed && region.pins === 0) this.#remove(region);
  }

  #owned(addr: number): Region {
    const region = this.#containing(addr);
    if (region?.addr !== addr || region.isFreed) {
      throw new BufferMemoryError('ERR_BUFFER_MISUSE', `address ${addr} is not the start of a region in use`);
    }
    return region;
  }

  #containing(addr: number): Region | undefined {
    for (const region of this.#regions) if (addr >= region.addr && addr < region.addr + region.bytes) return region;
    return undefined;
  }

  #remove(region: Region): void {
    this.#regions.splice(this.#regions.indexOf(region), 1);
    this.#usedBytes -= region.bytes;
  }
}

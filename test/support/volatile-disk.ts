import { Bdev, IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BdevRegistry } from '@raidkit/bdev';
import { RamDisk } from './ram-disk.js';
import { memberUuid } from './rig.js';

const blockSize = 512;

/** What a disk does with what it was to flush when that fails. */
export type OnFailedFlush =
  /** It shows it until the power fails, and no later flush keeps it. */
  | 'shows it'
  /** It shows at once what was there before. */
  | 'drops it';

/**
 * A disk with a write cache. What a flush failed to keep no later flush keeps, unless it is written again. It outlives
 * processes: {@link copyFor} gives the next one the disk as it is.
 */
export class VolatileDisk extends RamDisk {
  /** What is there after a power cut. */
  readonly stable: Uint8Array;
  onFailedFlush: OnFailedFlush = 'shows it';
  /** Called when a flush has failed. */
  onFailure: () => void = () => undefined;
  readonly #cached = new Set<number>();

  constructor(registry: BdevRegistry, bytes: Uint8Array, stable: Uint8Array = bytes.slice(), cached: Iterable<number> = []) {
    super(registry, bytes, blockSize);
    this.stable = stable;
    for (const block of cached) this.#cached.add(block);
  }

  override finish(io: BdevIo, status: number): void {
    if (io.type === IoType.Flush) this.#flush(status);
    super.finish(io, status);
    const isWrite = io.type === IoType.Write || io.type === IoType.WriteZeroes || io.type === IoType.Unmap;
    if (!isWrite || status !== Status.Ok) return;
    for (let block = io.offsetBlocks; block < io.offsetBlocks + io.numBlocks; block++) this.#cached.add(block);
  }

  /** The power fails: the cache is lost. */
  cutPower(): void {
    this.bytes.set(this.stable);
    this.#cached.clear();
  }

  /** The disk as it is now, for another process. */
  copyFor(registry: BdevRegistry): VolatileDisk {
    const copy = new VolatileDisk(registry, this.bytes.slice(), this.stable.slice(), this.#cached);
    copy.onFailedFlush = this.onFailedFlush;
    return copy;
  }

  #flush(status: number): void {
    for (const block of this.#cached) {
      const [start, end] = [block * blockSize, (block + 1) * blockSize];
      if (status === Status.Ok) this.stable.set(this.bytes.subarray(start, end), start);
      else if (this.onFailedFlush === 'drops it') this.bytes.set(this.stable.subarray(start, end), start);
    }
    this.#cached.clear();
    if (status !== Status.Ok) this.onFailure();
  }
}

/** Registers the disk as member `index`. Resolves when it has been examined. */
export async function plugInDisk(registry: BdevRegistry, index: number, disk: VolatileDisk): Promise<Bdev> {
  const numBlocks = disk.bytes.length / blockSize;
  const bdev = new Bdev({ name: `m${index}`, uuid: memberUuid(index), blockSize, numBlocks, driver: disk });
  await registry.register(bdev);
  return bdev;
}

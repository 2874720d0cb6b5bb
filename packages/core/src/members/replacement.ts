import type { BdevDescriptor, IoPath } from '@raidkit/bdev';
import type { SummedPath } from './summed-path.js';

/** A chunk of a member that is copied as a whole, in bytes at least. */
const chunkBytes = 1024 * 1024;

/** A device that is to take a member's place, and what of the member has changed since it was copied there. */
export class Replacement {
  readonly descriptor: BdevDescriptor;
  /** As `Slot.sums`. */
  sums: SummedPath | null = null;
  /** First block of data on the device. */
  readonly dataOffset: number;
  /** Whole stripes. Blocks of a member's data area. */
  readonly chunkBlocks: number;
  readonly #changed: Uint8Array;
  #count = 0;

  constructor(descriptor: BdevDescriptor, dataOffset: number, dataSize: number, stripeBlocks: number) {
    this.descriptor = descriptor;
    this.dataOffset = dataOffset;
    this.chunkBlocks = Math.ceil(chunkBytes / descriptor.bdev.blockSize / stripeBlocks) * stripeBlocks;
    this.#changed = new Uint8Array(Math.ceil(dataSize / this.chunkBlocks));
  }

  /** As `Slot.data`. */
  get data(): IoPath {
    return this.sums ?? this.descriptor;
  }

  /** Chunks that have to be copied again. */
  get changedChunks(): number {
    return this.#count;
  }

  /** The member is being written here, or has been. */
  mark(offset: number, numBlocks: number): void {
    const last = Math.floor((offset + numBlocks - 1) / this.chunkBlocks);
    for (let chunk = Math.floor(offset / this.chunkBlocks); chunk <= last; chunk++) {
      if (this.#changed[chunk] !== 0) continue;
      this.#changed[chunk] = 1;
      this.#count++;
    }
  }

  /** The first changed chunk's first block; -1 if none has changed. */
  next(): number {
    return this.#count === 0 ? -1 : this.#changed.indexOf(1) * this.chunkBlocks;
  }

  /** The chunk that begins at this block is about to be copied. */
  clear(offset: number): void {
    const chunk = offset / this.chunkBlocks;
    if (this.#changed[chunk] === 1) this.#count--;
    this.#changed[chunk] = 0;
  }
}

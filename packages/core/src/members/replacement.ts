import type { BdevDescriptor, IoPath } from '@raidkit/bdev';
import type { SummedPath } from './summed-path.js';

/** Smallest chunk of a member that is copied as a whole, in bytes. */
const chunkBytes = 1024 * 1024;

/** A device that will replace a member, with a record of the chunks of the member that changed after they were copied. */
export class Replacement {
  readonly descriptor: BdevDescriptor;
  /** As `Slot.sums`. */
  sums: SummedPath | null = null;
  /** First block of the data area on the device. */
  readonly dataOffset: number;
  /** Size of a chunk in blocks of the data area, a multiple of the stripe. */
  readonly chunkBlocks: number;
  /** Checksums that the device was given could not be read back or written, so it cannot become a member. */
  hasLostSums = false;
  readonly #changed: Uint8Array;
  #count = 0;

  constructor(descriptor: BdevDescriptor, dataOffset: number, dataSize: number, stripeBlocks: number) {
    this.descriptor = descriptor;
    this.dataOffset = dataOffset;
    this.chunkBlocks = Math.ceil(chunkBytes / descriptor.bdev.blockSize / stripeBlocks) * stripeBlocks;
    this.#changed = new Uint8Array(Math.ceil(dataSize / this.chunkBlocks));
  }

  /** As `Slot.setSums`. */
  setSums(sums: SummedPath | null): void {
    this.sums = sums;
  }

  /** See {@link hasLostSums}. */
  loseSums(): void {
    this.hasLostSums = true;
  }

  /** As `Slot.data`. */
  get data(): IoPath {
    return this.sums ?? this.descriptor;
  }

  /** Number of chunks to copy again. */
  get changedChunks(): number {
    return this.#count;
  }

  /** To be called when these blocks of the member are written. */
  mark(offset: number, numBlocks: number): void {
    const last = Math.floor((offset + numBlocks - 1) / this.chunkBlocks);
    for (let chunk = Math.floor(offset / this.chunkBlocks); chunk <= last; chunk++) {
      if (this.#changed[chunk] !== 0) continue;
      this.#changed[chunk] = 1;
      this.#count++;
    }
  }

  /** Returns the first block of the first changed chunk; -1 if none has changed. */
  next(): number {
    return this.#count === 0 ? -1 : this.#changed.indexOf(1) * this.chunkBlocks;
  }

  /** To be called before the chunk that begins at this block is copied. */
  clear(offset: number): void {
    const chunk = offset / this.chunkBlocks;
    if (this.#changed[chunk] === 1) this.#count--;
    this.#changed[chunk] = 0;
  }
}

import { IoType, Status } from '@raidkit/bdev';
import type { BdevRegistry } from '@raidkit/bdev';
import type { RamDisk } from './ram-disk.js';

/** Blocks that get their room together. */
const unit = 8;

/** Space that a disk takes as it is written, as a sparse file or a thin volume does. */
export interface ThinSpace {
  /** Whether no space is left: only blocks that have space already can be written. */
  isFull: boolean;
}

/**
 * Makes the disk a thin one. Zeroing gives no room. Of a write for which there is not enough the beginning may have been done:
 * as far as there was room.
 */
export function makeThin(registry: BdevRegistry, disk: RamDisk): ThinSpace {
  const { memory } = registry.runtime;
  const allocated = new Set<number>();
  const space: ThinSpace = { isFull: false };
  disk.fault = (io) => {
    if (io.type !== IoType.Write) return Status.Ok;
    const end = io.offsetBlocks + io.numBlocks;
    for (let block = io.offsetBlocks; block < end; block = (Math.floor(block / unit) + 1) * unit) {
      const index = Math.floor(block / unit);
      if (allocated.has(index)) continue;
      if (space.isFull) {
        const done = (block - io.offsetBlocks) * disk.blockSize;
        disk.bytes.set(memory.u8.subarray(io.addr, io.addr + done), io.offsetBlocks * disk.blockSize);
        return Status.NoSpace;
      }
      allocated.add(index);
    }
    return Status.Ok;
  };
  return space;
}

import { IoType, Status } from '@raidkit/bdev';
import type { FoundEntry } from '../format/store.js';
import { levelIo, withBuffer } from './entry-io.js';
import type { JournalHost } from './host.js';

/** Whether an array reads as an entry of its journal says; `unreadable`: where it can be read. */
export type EntryMatch = 'same' | 'different' | 'unreadable';

/** Compares what the array holds with an entry of its journal. Blocks of the array that are in `passedOver` do not count. */
export function compareEntry(array: JournalHost, entry: FoundEntry, passedOver: ReadonlySet<number>): Promise<EntryMatch> {
  const { blockSize, memory } = array;
  return withBuffer(array, entry, async (addr) => {
    const isWholeRead = (await levelIo(array, IoType.Read, entry, addr)) === Status.Ok;
    const zeros = new Uint8Array(blockSize);
    let match: EntryMatch = 'same';
    for (let i = 0; i < entry.numBlocks; i++) {
      const block = { ...entry, offsetBlocks: entry.offsetBlocks + i, numBlocks: 1 };
      if (passedOver.has(block.offsetBlocks)) continue;
      const at = addr + i * blockSize;
      if (!isWholeRead && (await levelIo(array, IoType.Read, block, at)) !== Status.Ok) {
        match = 'unreadable';
        continue;
      }
      const said = entry.isZero ? zeros : entry.data.subarray(i * blockSize, (i + 1) * blockSize);
      if (Buffer.compare(said, memory.u8.subarray(at, at + blockSize)) !== 0) return 'different';
    }
    return match;
  });
}

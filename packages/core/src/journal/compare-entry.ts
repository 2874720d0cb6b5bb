import { IoType, Status } from '@raidkit/bdev';
import { BlockRanges } from '../format/block-ranges.js';
import type { FoundEntry } from '../format/store.js';
import { levelIo, withBuffer } from './entry-io.js';
import type { JournalHost } from './host.js';

/** Result of comparing an array with a journal entry. `unreadable`: some blocks cannot be read, and the others match. */
export type EntryMatch = 'same' | 'different' | 'unreadable';

/** Compares the array with an entry of its journal. Array blocks in `passedOver` are ignored. */
export async function compareEntry(
  array: JournalHost,
  entry: FoundEntry,
  passedOver: ReadonlySet<number>,
): Promise<EntryMatch> {
  let match: EntryMatch = 'same';
  await eachBlock(array, entry, passedOver, (_, found) => {
    if (found !== 'same') match = found;
    return found !== 'different';
  });
  return match;
}

/** Returns the parts of the entry whose blocks cannot be read, as runs. Array blocks in `passedOver` are ignored. */
export async function unreadableParts(
  array: JournalHost,
  entry: FoundEntry,
  passedOver: ReadonlySet<number>,
): Promise<FoundEntry[]> {
  const unreadable = new BlockRanges();
  await eachBlock(array, entry, passedOver, (block, found) => {
    if (found === 'unreadable') unreadable.add(block, block + 1);
    return true;
  });
  const { blockSize } = array;
  return unreadable.list().map(({ start, end }) => {
    const from = start - entry.offsetBlocks;
    const data = entry.isZero ? entry.data : entry.data.subarray(from * blockSize, (end - entry.offsetBlocks) * blockSize);
    return { ...entry, offsetBlocks: start, numBlocks: end - start, data };
  });
}

/** Calls `onBlock` with the result for each block that is not ignored, until it returns false. */
function eachBlock(
  array: JournalHost,
  entry: FoundEntry,
  passedOver: ReadonlySet<number>,
  onBlock: (block: number, found: EntryMatch) => boolean,
): Promise<void> {
  const { blockSize, memory } = array;
  return withBuffer(array, entry, async (addr) => {
    const isWholeRead = (await levelIo(array, IoType.Read, entry, addr)) === Status.Ok;
    const zeros = new Uint8Array(blockSize);
    for (let i = 0; i < entry.numBlocks; i++) {
      const block = { ...entry, offsetBlocks: entry.offsetBlocks + i, numBlocks: 1 };
      if (passedOver.has(block.offsetBlocks)) continue;
      const at = addr + i * blockSize;
      if (!isWholeRead && (await levelIo(array, IoType.Read, block, at)) !== Status.Ok) {
        if (!onBlock(block.offsetBlocks, 'unreadable')) return;
        continue;
      }
      const said = entry.isZero ? zeros : entry.data.subarray(i * blockSize, (i + 1) * blockSize);
      const isSame = Buffer.compare(said, memory.u8.subarray(at, at + blockSize)) === 0;
      if (!onBlock(block.offsetBlocks, isSame ? 'same' : 'different')) return;
    }
  });
}

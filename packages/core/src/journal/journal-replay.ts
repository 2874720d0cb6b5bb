import { BdevError, IoType, Status } from '@raidkit/bdev';
import { levelIo, readEntries, withBuffer } from './entry-io.js';
import type { JournalHost } from './host.js';
import { memberIo } from '../members/member-io.js';
import type { DoubtList, FoundEntry } from '../format/store.js';

/**
 * Writes once more, through the level, what the journal says of the absent member's blocks, and flushes. After that its
 * blocks are what they were before the crash, or what was being written then; only where that did not succeed are they still
 * in doubt, and where they were before, by the list beside the journal. False if the journal does not tell: there is none for
 * this state of the array, or it cannot be read.
 */
export async function replayJournal(array: JournalHost, doubt: DoubtList | null): Promise<boolean> {
  const { consistency, metadata, bitmap } = array;
  if (array.journal === null || bitmap === null || metadata.journalEpoch === 0) return false;
  const entries = await readEntries(array, array, metadata.journalEpoch);
  if (entries === null) return false;
  consistency.forget();
  for (const { start, count } of doubt?.ranges ?? []) consistency.load(start, count);
  const failed: { from: number; to: number }[] = [];
  for (const entry of entries.sort((a, b) => a.id - b.id)) {
    try {
      await writeAgain(array, entry);
    } catch (error) {
      array.log.error(
        { ...array.logFields(), block: entry.offsetBlocks, blocks: entry.numBlocks, err: error },
        'an entry of the journal could not be written again',
      );
      failed.push(array.memberRange(entry.offsetBlocks, entry.offsetBlocks + entry.numBlocks));
    }
  }
  for (const slot of array.slots) if (slot.isInSync) await memberIo(array, slot, IoType.Flush, 0, slot.dataSize, -1);
  for (const { from, to } of failed) consistency.load(from, to - from);
  array.log.info({ ...array.logFields(), entries: entries.length, failed: failed.length }, 'the journal was written again');
  return true;
}

function writeAgain(array: JournalHost, entry: FoundEntry): Promise<void> {
  return withBuffer(array, entry, async (addr) => {
    if (entry.isZero) array.memory.zero(addr, entry.numBlocks * array.blockSize);
    else array.memory.u8.set(entry.data, addr);
    const status = await levelIo(array, IoType.Write, entry, addr);
    if (status !== Status.Ok) throw BdevError.fromStatus(status, `array ${array.name}: writing journaled blocks again`);
  });
}

import type { IoType, Status } from '@raidkit/bdev';
import type { FoundEntry, MapLife } from '../format/store.js';
import type { RaidIo } from '../level/raid-io.js';
import { withOwnBuffer } from '../members/own-buffer.js';
import type { JournalHost } from './host.js';

/**
 * Reads the entries of this incarnation and epoch from all members in sync, in any order. Resolves to null if a member's
 * journal cannot be read. Entries of a write are left out unless all of them are there: either the write had not begun, or it
 * was flushed before the place of a missing entry was reused. To write one alone would change redundancy that other members'
 * data depends on, for which there is no entry.
 */
export async function readEntries(array: JournalHost, life: MapLife, epoch: number): Promise<FoundEntry[] | null> {
  const journal = array.extension?.journal;
  const entries: FoundEntry[] = [];
  for (const slot of array.slots) {
    if (!slot.isInSync || slot.descriptor === null || journal === undefined) continue;
    try {
      entries.push(...(await journal.read(slot.descriptor, life, epoch)));
    } catch (error) {
      array.log.error({ ...array.logFields(slot), err: error }, 'the member’s journal cannot be read');
      return null;
    }
  }
  const ids = new Set(entries.map(({ id }) => id));
  return entries.filter((entry) => isWhole(entry, ids));
}

function isWhole({ id, indexTogether, numTogether }: FoundEntry, ids: ReadonlySet<number>): boolean {
  for (let index = 0; index < numTogether; index++) if (!ids.has(id - indexTogether + index)) return false;
  return true;
}

/** Calls `work` with a buffer for the entry's blocks. Rejects as {@link withOwnBuffer} does. */
export function withBuffer<T>(array: JournalHost, { numBlocks }: FoundEntry, work: (addr: number) => Promise<T>): Promise<T> {
  return withOwnBuffer(array, numBlocks * array.blockSize, work);
}

/** Reads or writes the entry's blocks through the level. Resolves to the status. */
export function levelIo(array: JournalHost, type: IoType, entry: FoundEntry, addr: number): Promise<Status> {
  return new Promise((resolve) => {
    const io = array.ios.get();
    io.prepare(type, entry.offsetBlocks, entry.numBlocks, addr, { onRaidIoDone: (done: RaidIo) => resolve(done.status) });
    array.io.submitOwn(io);
  });
}

import type { IoType, Status } from '@raidkit/bdev';
import type { FoundEntry, MapLife } from '../format/store.js';
import type { RaidIo } from '../level/raid-io.js';
import { withOwnBuffer } from '../members/own-buffer.js';
import type { JournalHost } from './host.js';

/**
 * The entries of this life and epoch that the members in sync have, in no order. Null if one of them cannot be read. Those of a
 * write of which not all are there say nothing: either it had not begun, or it was flushed before the place of another one was
 * used again. Written again by itself, such an entry would change what others are worked out from, for which no entry stands.
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

/** Works with a buffer for the entry's blocks. Rejects as {@link withOwnBuffer} does. */
export function withBuffer<T>(array: JournalHost, { numBlocks }: FoundEntry, work: (addr: number) => Promise<T>): Promise<T> {
  return withOwnBuffer(array, numBlocks * array.blockSize, work);
}

/** Reads or writes the entry's blocks through the level. Gives how that ended. */
export function levelIo(array: JournalHost, type: IoType, entry: FoundEntry, addr: number): Promise<Status> {
  return new Promise((resolve) => {
    const io = array.ios.get();
    io.type = type;
    io.offsetBlocks = entry.offsetBlocks;
    io.numBlocks = entry.numBlocks;
    io.addr = addr;
    io.owner = { onRaidIoDone: (done: RaidIo) => resolve(done.status) };
    array.io.submitOwn(io);
  });
}

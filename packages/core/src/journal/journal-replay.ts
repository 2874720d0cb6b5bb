import { BdevError, IoType, Status } from '@raidkit/bdev';
import { levelIo, readEntries, withBuffer } from './entry-io.js';
import type { JournalHost } from './host.js';
import { RaidError, statusOf } from '../errors.js';
import { compareEntry, unreadableParts } from './compare-entry.js';
import { BlockRanges } from '../format/block-ranges.js';
import type { BlockRange } from '../format/block-ranges.js';
import { flushMember } from '../members/member-io.js';
import { rewriteInPlace } from '../members/rewrite.js';
import type { DoubtList, FoundEntry } from '../format/store.js';

/**
 * Writes journal entries again through the level where the array does not match them, and flushes. The stripes concerned are
 * rewritten on all members too, because what they return may not be on stable media if a flush failed, and the entries are
 * given up afterwards. If more members can be lost, only blocks are written that redundancy cannot prove.
 *
 * Afterwards the absent members' blocks are what they were before the crash, or what was being written. They are inconsistent
 * only where something could not be read, and where the list beside the journal says so. Resolves to false if there is no
 * journal for this state of the array, or if it cannot be read. Rejects if a member refused a write: the journal is in force
 * then as before. With `mayGiveUp` what could not be written is inconsistent, too.
 */
export async function replayJournal(array: JournalHost, doubt: DoubtList | null, mayGiveUp: boolean): Promise<boolean> {
  const { consistency, metadata, bitmap } = array;
  if (array.journal === null || bitmap === null || metadata.journalEpoch === 0) return false;
  const found = await readEntries(array, array, metadata.journalEpoch);
  if (found === null) return false;
  // In other regions all writes were on stable media, so an entry can only be older than the data.
  const entries = found.filter((entry) => {
    const { from, to } = rangeOf(array, entry);
    return consistency.isInconsistent(from, to - from);
  });
  // With redundancy left, parity may disagree with data outside of the entries, so everything stays inconsistent until a
  // resync.
  const isProvable = array.canLose > 0;
  if (!isProvable) consistency.forget();
  for (const { start, count } of doubt?.ranges ?? []) consistency.load(start, count);
  const failed: { from: number; to: number }[] = [];
  let refusal: unknown = null;
  const written = new Set<number>();
  for (const { entry, newer } of withNewer(entries)) {
    const match = isProvable ? 'unreadable' : await compareEntry(array, entry, newer);
    if (match === 'same' && !hasAny(entry, written)) continue;
    // What redundancy proves is at least as new as any entry: the newest entry may be damaged or lost.
    for (const part of isProvable ? await unreadableParts(array, entry, newer) : [entry]) {
      for (let i = 0; i < part.numBlocks; i++) written.add(part.offsetBlocks + i);
      const errorsBefore = numWriteErrors(array);
      try {
        await writeTogether(array, part, isProvable ? [part] : entriesWith(entry, entries));
      } catch (error) {
        if (isLackOfMemory(error)) throw error;
        array.log.error(
          { ...array.logFields(), block: part.offsetBlocks, blocks: part.numBlocks, err: error },
          'a journal entry could not be replayed',
        );
        const range = rangeOf(array, part);
        // A write that was refused for lack of space before and is again is on the list already.
        const isListed = match === 'unreadable' && consistency.isInconsistent(range.from, range.to - range.from);
        if (statusOf(error) !== Status.NoSpace || !isListed) failed.push(range);
        if (statusOf(error) !== Status.NoSpace && numWriteErrors(array) > errorsBefore) refusal ??= error;
      }
    }
  }
  for (const { start, end } of stripesOf(array, entries)) {
    try {
      for (const slot of array.slots) if (slot.isInSync) await tryTwice(() => rewriteInPlace(array, slot, start, end - start));
    } catch (error) {
      if (isLackOfMemory(error)) throw error;
      array.log.error(
        { ...array.logFields(), block: start, blocks: end - start, err: error },
        'stripes of the journal could not be replayed',
      );
      refusal ??= error;
      failed.push({ from: start, to: end });
    }
  }
  if (refusal !== null && !mayGiveUp) throw notWrittenAgain(array, refusal);
  for (const slot of array.slots) if (slot.isInSync) await flushMember(array, slot, 'a flush for the journal failed');
  for (const { from, to } of failed) consistency.load(from, to - from);
  array.log.info({ ...array.logFields(), entries: entries.length, failed: failed.length }, 'the journal was replayed');
  return true;
}

/** Tries again after a failure: a temporary error would make the absent member's blocks unreadable until they are written. */
async function tryTwice(work: () => Promise<void>, again: () => Promise<void> = work): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (isLackOfMemory(error) || statusOf(error) === Status.NoSpace) throw error;
    await again();
  }
}

/**
 * Writes the entry's blocks again, twice if needed. A try that fails half-way leaves parity that is wrong for all absent
 * members. Therefore the second try writes all entries of the write, one after another, and the ranges that the first try
 * marked as inconsistent do not count meanwhile.
 */
async function writeTogether(array: JournalHost, entry: FoundEntry, together: readonly FoundEntry[]): Promise<void> {
  const { consistency } = array;
  const { from, to } = rangeOf(array, entry);
  const known = new BlockRanges();
  for (let block = from; block < to; block++) if (!consistency.isInconsistent(block, 1)) known.add(block, block + 1);
  const told = rowsToldOf(array, together);
  if (told !== null) known.add(told.start, told.end);
  await tryTwice(
    () => writeAgain(array, entry),
    async () => {
      for (const { start, end } of known.list()) consistency.markInSync(start, end - start);
      for (const other of together) await writeAgain(array, other);
    },
  );
}

/**
 * Returns the blocks of members for which the entries of one write contain the data of all absent members that have data there,
 * so that no parity is needed, which may be inconsistent (as after a lost flush). Returns null if there are none.
 */
function rowsToldOf(array: JournalHost, together: readonly FoundEntry[]): BlockRange | null {
  const { arrayBlocks, memberBlocks } = array.stripe();
  const stripe = Math.floor((together[0]?.offsetBlocks ?? 0) / arrayBlocks);
  const parity = array.redundantSlots(stripe);
  // If more members could be lost, another unreadable block would be reconstructed from inconsistent parity.
  if (array.canLose > 0) return null;
  const numAbsent = array.slots.filter(({ index, isInSync }) => !isInSync && !parity.includes(index)).length;
  const starts = together.map(({ offsetBlocks }) => stripe * memberBlocks + (offsetBlocks % memberBlocks));
  const ends = together.map(({ numBlocks }, index) => (starts[index] ?? 0) + numBlocks);
  const told = { start: Math.max(...starts), end: Math.min(...ends) };
  return together.length >= numAbsent && told.start < told.end ? told : null;
}

/** Returns all entries of the entry's write, in order. */
function entriesWith({ id, indexTogether, numTogether }: FoundEntry, entries: readonly FoundEntry[]): FoundEntry[] {
  const first = id - indexTogether;
  return entries.filter((other) => other.id >= first && other.id < first + numTogether).sort((one, other) => one.id - other.id);
}

/** Number of writes that members have failed. */
function numWriteErrors({ slots }: JournalHost): number {
  let count = 0;
  for (const { errors } of slots) count += errors.write;
  return count;
}

function notWrittenAgain(array: JournalHost, cause: unknown): RaidError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `array ${array.name}: its journal could not be written again, because a member refuses writes: ${why}. The start is tried again; start with force to give up what the journal says of the absent members' blocks there: they return EIO then, until they are written`;
  return new RaidError('ERR_RAID_METADATA', Status.IoError, message, { cause });
}

/** A lack of memory makes the start fail, to be tried again. No data may be given up because of it. */
function isLackOfMemory(error: unknown): boolean {
  return RaidError.is(error) && error.code === 'ERR_RAID_MEMORY';
}

/** Returns the entry's blocks as blocks of the members' data areas. */
function rangeOf(array: JournalHost, { numBlocks, offsetBlocks }: FoundEntry): { from: number; to: number } {
  return array.memberRange(offsetBlocks, offsetBlocks + numBlocks);
}

/** Returns the stripes of the entries without duplicates, as blocks of the members' data areas. */
function stripesOf(array: JournalHost, entries: readonly FoundEntry[]): readonly BlockRange[] {
  const stripes = new BlockRanges();
  for (const entry of entries) {
    const { from, to } = rangeOf(array, entry);
    stripes.add(from, to);
  }
  return stripes.list();
}

/** Returns the entries, the oldest first, each with the blocks that newer entries hold. */
function withNewer(entries: FoundEntry[]): { entry: FoundEntry; newer: ReadonlySet<number> }[] {
  const held = new Set<number>();
  const listed = entries
    .sort((a, b) => b.id - a.id)
    .map((entry) => {
      const newer = new Set<number>();
      for (let block = entry.offsetBlocks; block < entry.offsetBlocks + entry.numBlocks; block++) {
        if (held.has(block)) newer.add(block);
        held.add(block);
      }
      return { entry, newer };
    });
  return listed.reverse();
}

function hasAny({ offsetBlocks, numBlocks }: FoundEntry, blocks: ReadonlySet<number>): boolean {
  for (let block = offsetBlocks; block < offsetBlocks + numBlocks; block++) if (blocks.has(block)) return true;
  return false;
}

function writeAgain(array: JournalHost, entry: FoundEntry): Promise<void> {
  return withBuffer(array, entry, async (addr) => {
    if (entry.isZero) array.memory.zero(addr, entry.numBlocks * array.blockSize);
    else array.memory.u8.set(entry.data, addr);
    const status = await levelIo(array, IoType.Write, entry, addr);
    if (status !== Status.Ok) throw BdevError.fromStatus(status, `array ${array.name}: replaying the journal`);
  });
}

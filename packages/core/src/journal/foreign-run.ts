import { compareEntry } from './compare-entry.js';
import { readEntries } from './entry-io.js';
import type { JournalHost } from './host.js';
import type { EarlierRecord } from '../bitmap/bitmap-load.js';
import { RegionState } from '../bitmap/region-state.js';
import { wasRunByUs } from '../format/store.js';
import type { FoundEntry } from '../format/store.js';

/**
 * Determines where parity is inconsistent if another program has run an array that lacks a member, or if our record is lost.
 * What the other program wrote is trusted as it would trust it. What was inconsistent in our last record still is, and a record
 * that cannot be found may have said anything. Returns false if inconsistent ranges remain that the journal does not narrow
 * down.
 */
export async function judgeForeignRun(array: JournalHost, earlier: EarlierRecord | null): Promise<boolean> {
  const { consistency, metadata } = array;
  if (!wasRunByUs(metadata.seqNumber)) {
    array.log.warn(
      array.logFields(),
      'the array starts degraded, and nothing records whether its parity is consistent: raidkit has not run it before',
    );
    consistency.forget();
    return true;
  }
  if (earlier === null) return false;
  const { incarnation, journalEpoch } = earlier;
  // The journal as it was recorded last: outside its entries, redundancy was consistent.
  const entries = journalEpoch === 0 ? null : await readEntries(array, { uuid: array.uuid, incarnation }, journalEpoch);
  consistency.forget();
  if (entries !== null) {
    const dirty = entries.filter((entry) => wasDirty(array, earlier, entry));
    await doubtEntries(array, dirty);
    for (const { start, count } of earlier.doubt?.ranges ?? []) consistency.load(start, count);
    return true;
  }
  for (const { start, states } of earlier.runs) {
    states.forEach((state, i) => {
      if (state === RegionState.Dirty) consistency.load((start + i) * earlier.regionBlocks, earlier.regionBlocks);
    });
  }
  return consistency.isAllInSync;
}

/** In other regions, what the entry stands for was on stable media when we last ran the array, so nothing is wrong there. */
function wasDirty(array: JournalHost, { regionBlocks, runs }: EarlierRecord, { offsetBlocks, numBlocks }: FoundEntry): boolean {
  const { from, to } = array.memberRange(offsetBlocks, offsetBlocks + numBlocks);
  return runs.some(({ start, states }) => {
    const first = Math.floor(from / regionBlocks) - start;
    const last = Math.floor((to - 1) / regionBlocks) - start;
    return states.subarray(Math.max(0, first), Math.max(0, last + 1)).includes(RegionState.Dirty);
  });
}

/**
 * Marks entries that do not match the array as inconsistent. They are not written again, because the other program may have
 * written there since. If the array does not match the newest entry, either may be right, and nothing tells which.
 */
async function doubtEntries(array: JournalHost, entries: readonly FoundEntry[]): Promise<void> {
  const isNewer = new Set<number>();
  const doubted: FoundEntry[] = [];
  for (const entry of [...entries].sort((a, b) => b.id - a.id)) {
    if ((await compareEntry(array, entry, isNewer)) !== 'same') doubted.push(entry);
    for (let i = 0; i < entry.numBlocks; i++) isNewer.add(entry.offsetBlocks + i);
  }
  for (const { offsetBlocks, numBlocks } of doubted) {
    const { from, to } = array.memberRange(offsetBlocks, offsetBlocks + numBlocks);
    array.consistency.load(from, to - from);
    array.log.error(
      { ...array.logFields(), block: offsetBlocks, blocks: numBlocks },
      'a write was in flight here before another program ran the array: the absent member’s blocks return EIO until they are written',
    );
  }
}

import type { RaidArray } from './array.js';
import { closeMember } from './join.js';
import { newestTrusted } from './regions-load.js';
import type { ExtensionHeader } from './store.js';

/**
 * Before an array is started: takes out members whose superblock is older than one that all of them had. They count as
 * current in the newest superblock, and yet were not there when it was written: an old image was put back. They are filled
 * anew once the array is up. Only where our extension says which superblock all had.
 */
export async function setAsideStale(array: RaidArray): Promise<void> {
  const { extension } = array.store ?? {};
  const { metadata } = array;
  if (extension === undefined || array.recordedBlocks === null || !array.module.manifest.redundant) return;
  let newest: ExtensionHeader | null = null;
  for (const slot of array.slots) {
    if (!slot.isCurrent || slot.descriptor === null) continue;
    // What cannot be read is met again, and told, when the region map is loaded.
    const headers = await extension.readHeaders(slot.descriptor, array.uuid).catch(() => []);
    newest = newestTrusted(headers, metadata.seqNumber, newest);
  }
  if (newest === null) return;
  for (const slot of array.slots) {
    const bdev = slot.descriptor?.bdev;
    if (bdev === undefined || !slot.isCurrent || slot.foundSeqNumber >= newest.completedSeqNumber) continue;
    array.log.error(array.logFields(slot), 'the member has an older state than all members had once: it was away, or an old image was put back; it is taken out');
    closeMember(slot);
    slot.name = null;
    slot.uuid = slot.recordedUuid;
    slot.isVacated = true;
    array.outdated.add(bdev.uuid);
    // The array is complete without it, also if this start fails and another one follows.
    array.numOperational--;
    array.latecomers.add(bdev.uuid);
  }
  const haveAll = array.slots.every((slot) => !slot.isCurrent || slot.foundSeqNumber === metadata.seqNumber);
  metadata.completedSeqNumber = haveAll ? metadata.seqNumber : newest.completedSeqNumber;
}

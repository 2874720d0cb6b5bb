import { Status } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { RaidError } from '../errors.js';
import { pagesTakenBy } from './identity.js';
import { adoptReadPolicy, newestHeader } from './adopt-options.js';
import { recordedOptions } from '../level/options.js';
import { hasItsSlots, newestTrusted } from '../bitmap/bitmap-load.js';
import type { RecordedHeaders } from '../bitmap/bitmap-load.js';
import type { Slot } from '../members/slot.js';
import { NewestCopy } from '../format/newest-copy.js';
import { wasRunBeside, wasRunByUs } from '../format/store.js';
import type { ExtensionHeader, ExtensionStore } from '../format/store.js';

/** What the members' headers say of an array that is to be started. */
export interface FoundHeaders {
  /** The headers that belong to the superblock; null if there are none that may be believed. */
  recorded: RecordedHeaders | null;
  /** The start is forced, over a run of another program that the newest superblock's devices missed: no record is valid. */
  wasRunBeside: boolean;
}

/**
 * Takes out, before a start, members whose state is older than one that all members once had, by superblock or by bitmap pages.
 * Such a member is current in the newest superblock but was absent when that or a page was written: an old image was restored.
 * It is filled anew when the array is online; an array without redundancy starts only if forced. Only our extension shows this;
 * what cannot be read proves nothing.
 *
 * Adopts the facts in headers that do not depend on who ran the array last. Rejects if that was another program, from members
 * that lacked the newest superblock, unless forced.
 */
export async function kickStale(array: RaidArray, force: boolean): Promise<FoundHeaders> {
  const { extension, metadata } = array;
  if (extension === undefined || array.recordedBlocks === null) return { recorded: null, wasRunBeside: false };
  let newest: ExtensionHeader | null = null;
  let bySlot: ExtensionHeader | null = null;
  // A header written when all members had this superblock. One of an interrupted update must not be used to judge other
  // members.
  let settled: ExtensionHeader | null = null;
  const found = new Map<Slot, readonly ExtensionHeader[]>();
  const failures: Error[] = [];
  const ofItsSlots = (headers: readonly ExtensionHeader[]): ExtensionHeader[] =>
    headers.filter((header) => hasItsSlots(array, header));
  for (const slot of array.slots) {
    if (!slot.isInSync || slot.descriptor === null) continue;
    const headers = await extension.readHeaders(slot.descriptor, array.uuid).catch((error: unknown): ExtensionHeader[] => {
      array.log.warn({ ...array.logFields(slot), err: error }, 'the member’s headers cannot be read');
      if (error instanceof Error) failures.push(error);
      return [];
    });
    found.set(slot, headers);
    for (const { generation } of headers) metadata.noteGeneration(generation);
    newest = newestTrusted(headers, metadata.seqNumber, newest);
    bySlot = newestTrusted(ofItsSlots(headers), metadata.seqNumber, bySlot);
    settled = newestTrusted(
      headers.filter((header) => isSettled(header, metadata.seqNumber)),
      metadata.seqNumber,
      settled,
    );
  }
  const latest = newestHeader([...found.values()].flat());
  // The start rewrites the headers, so facts that cannot be read now would be lost.
  const [failure] = failures;
  if (latest === null && failure !== undefined && !force && wasRunByUs(metadata.seqNumber)) throw failure;
  if (latest !== null) {
    array.options = recordedOptions(array.module, latest);
    array.integrity.adopt(latest);
    array.setOuterUuid(latest.outerUuid);
    adoptReadPolicy(array, latest, newestHeader(ofItsSlots([...found.values()].flat())));
    metadata.adoptLineage(latest.lineage);
  }
  if (array.module.optionsDefineLayout === true) {
    if (array.assembly.optionsGeneration === 0 && latest === null) refuseWithoutOptions(array);
    refuseOtherOptions(array, found, force);
  }
  if (newest === null) return { recorded: null, wasRunBeside: false };
  if (refuseRunBeside(array, newest, force)) return { recorded: null, wasRunBeside: true };
  for (const slot of array.slots) {
    if (!slot.isInSync || !(await isOlder(array, extension, slot, found.get(slot) ?? [], newest, settled))) continue;
    if (array.module.redundancy !== 'none') setAside(array, slot);
    else refuseOlder(array, slot, force);
  }
  const known = new NewestCopy<ExtensionHeader>();
  for (const [slot, headers] of found) {
    if (!slot.isInSync) continue;
    // A header with another number of slots is from an interrupted update. The one before it, with the facts about slots, must
    // stay.
    const own = newestTrusted(ofItsSlots(headers), metadata.seqNumber) ?? newestTrusted(headers, metadata.seqNumber);
    if (own?.incarnation === newest.incarnation) known.add(own);
  }
  metadata.spareHeader(known.least);
  // That all members have the newest superblock now proves nothing: it may be in a cache, and lost by the next flush. The round
  // of this start records a number that they all have on stable media.
  metadata.adoptCompleted(newest.completedSeqNumber);
  return { recorded: { header: newest, bySlot }, wasRunBeside: false };
}

/**
 * Throws because no header is readable. Records behind the superblock may be overwritten on all members, and then it is unknown
 * where data lies.
 */
function refuseWithoutOptions(array: RaidArray): never {
  const message = `array ${array.name}: no readable member records the options of level ${array.module.level}, which define the layout: bring back one that does`;
  throw new RaidError('ERR_RAID_METADATA', Status.Invalid, message);
}

/**
 * Throws if headers have different options. Options never change, so a header with others does not belong to this array, and
 * using it would read and write data at wrong places.
 */
function refuseOtherOptions(array: RaidArray, found: ReadonlyMap<Slot, readonly ExtensionHeader[]>, force: boolean): void {
  const known = [...found].flatMap(([slot, headers]) => headers.map(({ levelOptions }) => ({ slot, levelOptions })));
  const [first] = known;
  const other = known.find(({ levelOptions }) => levelOptions !== first?.levelOptions);
  if (first === undefined || other === undefined) return;
  const says = ({ slot, levelOptions }: typeof first): string =>
    `${String(slot.name)} of slot ${slot.index} has ${levelOptions}`;
  const message = `array ${array.name}: members record different options of level ${array.module.level} (${says(first)}, ${says(other)}), which define the layout`;
  if (!force)
    throw new RaidError(
      'ERR_RAID_METADATA',
      Status.Invalid,
      `${message}. Close the member that is wrong, or start with force to use the newest record`,
    );
  array.log.error(array.logFields(), `started by force: ${message}`);
}

/** Whether the member with these headers certainly lacks something that it once had, like all other members. */
async function isOlder(
  array: RaidArray,
  extension: ExtensionStore,
  slot: Slot,
  headers: readonly ExtensionHeader[],
  newest: ExtensionHeader,
  settled: ExtensionHeader | null,
): Promise<boolean> {
  if (slot.descriptor === null) return false;
  // If its own header, written afterwards, shows that it had this, it was present then and has lost it since. On an old image
  // everything is old.
  const own = headers.filter(({ memberUuid }) => memberUuid === slot.uuid);
  const { completedSeqNumber } = newest;
  const wasThere = own.some((header) => header.completedSeqNumber >= completedSeqNumber);
  if (slot.foundSeqNumber < completedSeqNumber && !wasThere) return true;
  const hadTaken = settled?.slots[slot.index]?.pagesTaken ?? 0;
  const saysItself = own.some(
    ({ incarnation, slots }) => incarnation === settled?.incarnation && (slots[slot.index]?.pagesTaken ?? 0) >= hadTaken,
  );
  if (saysItself) return false;
  // Without a header of this incarnation its extension area was lost, which proves nothing. An image of an earlier incarnation
  // has an older superblock.
  if (settled === null || hadTaken === 0 || !headers.some(({ incarnation }) => incarnation === settled.incarnation))
    return false;
  const life = { uuid: array.uuid, incarnation: settled.incarnation };
  const taken = await pagesTakenBy(extension, slot.descriptor, life, settled.numRegions);
  return taken !== null && taken < hadTaken;
}

function isSettled({ seqNumber, completedSeqNumber }: ExtensionHeader, newest: number): boolean {
  return seqNumber === newest && completedSeqNumber === newest;
}

function setAside(array: RaidArray, slot: Slot): void {
  const bdev = slot.descriptor?.bdev;
  if (bdev === undefined) return;
  array.log.error(array.logFields(slot), 'the member is stale: it was absent, or an old image was restored; it is removed');
  slot.kick();
  array.assembly.nonFresh.add(bdev.uuid);
  // The array is complete without the member, including in another start after this one fails.
  array.expectOneLess();
  array.assembly.defer(bdev);
}

function refuseOlder(array: RaidArray, slot: Slot, force: boolean): void {
  const message = `array ${array.name} slot ${slot.index}: ${String(slot.name)} is stale: an old image was restored, and level ${array.module.level} cannot rebuild it`;
  if (!force)
    throw new RaidError(
      'ERR_RAID_METADATA',
      Status.Invalid,
      `${message}. Bring back the right one, or start with force to use it as it is`,
    );
  array.log.error(array.logFields(slot), `started by force: ${message}`);
}

/**
 * Throws if another program ran the array after the newest superblock was written, from members that had not got it: an update
 * was cut short when one device alone had it, such as one that was taking a member's place. Both sides may have writes that the
 * other one lacks, so an operator must choose. Without the members that have it there is no choice, and force changes nothing.
 * Returns whether that has happened and the start is forced.
 */
function refuseRunBeside(array: RaidArray, newest: ExtensionHeader, force: boolean): boolean {
  array.assembly.noteAhead(null);
  const inSync = array.slots.filter((slot) => slot.isInSync && slot.descriptor !== null);
  const run = inSync.filter(({ foundSeqNumber }) => wasRunBeside(newest, foundSeqNumber)).map(({ name }) => name);
  for (const [uuid, { lineages, seqNumber }] of array.assembly.outside) {
    const bdev = array.registry.get(uuid);
    if (bdev !== undefined && wasRunBeside(newest, seqNumber) && lineages.has(newest.lineage)) run.push(bdev.name);
  }
  if (run.length === 0) return false;
  const ahead = inSync.filter(({ foundSeqNumber }) => foundSeqNumber === array.metadata.seqNumber);
  const refuse = (message: string): never => {
    array.assembly.noteAhead(ahead.map(({ uuid }) => uuid));
    throw new RaidError('ERR_RAID_METADATA', Status.Busy, message);
  };
  const ran = `array ${array.name}: another program ran it from ${run.join(', ')}`;
  if (ahead.length === 0) {
    refuse(
      `${ran} while a device that is not here had a newer superblock, which it did not see: the array is assembled again from those that are here`,
    );
  }
  const listed = ahead.map(({ index, name }) => `${String(name)} (slot ${index})`).join(', ');
  const message = `${ran} while ${listed} had a newer superblock, which it did not see, so that each side may have writes that the other one lacks. To keep what the other program wrote, close ${listed}; or start with force to continue from ${listed}`;
  if (!force) refuse(message);
  array.log.error(array.logFields(), `started by force: ${message}`);
  return true;
}

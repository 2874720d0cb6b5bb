import type { BdevDescriptor } from '@raidkit/bdev';
import type { MappedHost } from './mapped-host.js';
import { chooseRegionBlocks } from './region-size.js';
import { RegionState } from './region-state.js';
import { WriteIntentBitmap } from './write-intent-bitmap.js';
import { coversAbsence, journalInForce } from '../metadata/journal-plan.js';
import type { Slot } from '../members/slot.js';
import { NewestCopy } from '../format/newest-copy.js';
import { RaidError } from '../errors.js';
import { goesWith, seqStep, wasRunByUs } from '../format/store.js';
import type {
  BadBlockList,
  BadBlocksHeader,
  DoubtList,
  ExtensionHeader,
  ExtensionStore,
  RegionPage,
  SumsHeader,
} from '../format/store.js';

/** Where an array's write-intent bitmap comes from. */
export type RegionOrigin =
  /** A new array: nothing was ever written. */
  | { is: 'new' }
  /** Recorded by us, and no other program ran the array since. */
  | { is: 'recorded'; doubt: DoubtList | null }
  /** Another program ran the array, or nothing is recorded: every region counts as dirty. */
  | { is: 'unknown'; earlier: EarlierRecord | null };

/** What we had recorded when another program took the array over; null if that cannot be found. */
export interface EarlierRecord {
  incarnation: string;
  regionBlocks: number;
  journalEpoch: number;
  /** Region states as they were, from region `start` on; every region is in one. One run a page. */
  runs: { start: number; states: Uint8Array; generation: number }[];
  /** What was in doubt beside the journal. */
  doubt: DoubtList | null;
}

/** A bitmap, and where it comes from. */
export interface LoadedBitmap {
  bitmap: WriteIntentBitmap;
  origin: RegionOrigin;
  /** What is on record of the array's sums; null for none. */
  sums: SumsHeader | null;
}

/**
 * The bitmap of an array with redundancy or checksums: of a new array, or as its members have recorded it. Only what goes with the newest
 * superblock counts. Null for an array that keeps none. Rejects if the record cannot be read anywhere, unless forced.
 */
export async function loadBitmap(array: MappedHost, force: boolean): Promise<LoadedBitmap | null> {
  array.consistency.reset();
  array.badBlocks.load(null);
  const extension = array.store?.extension;
  const { memberBlocks } = array.geometry;
  // Without redundancy there are no stripes, and all that regions need is whole blocks of checksums.
  const stripe = array.geometry.stripe ?? (array.hasIntegrity ? { memberBlocks: array.blocksTogether } : undefined);
  if (extension === undefined) return null;
  if (stripe === undefined) {
    await loadDamage(array, extension, force);
    return null;
  }
  const blocks = Math.max(...memberBlocks);
  const { blockSize } = array;
  if (!extension.fits(blockSize, 0)) {
    // Nothing says what was written where: neither that new members agree, nor what was under way at the last stop.
    array.consistency.load(0, blocks);
    return null;
  }
  const regionBlocks = chooseRegionBlocks(
    array.regionLimits,
    { memberBlocks: blocks, stripeBlocks: stripe.memberBlocks, blockSize },
    (count) => array.hasRoomForRegions(count),
  );
  const numRegions = Math.ceil(blocks / regionBlocks);
  if (array.recordedBlocks === null) {
    array.metadata.beginIncarnation();
    return { bitmap: new WriteIntentBitmap(array, extension, numRegions, regionBlocks), origin: { is: 'new' }, sums: null };
  }
  const recorded = await readRecorded(array, extension, array.metadata.seqNumber, force);
  const { bySlot, header, pages, newest, doubt, failure } = recorded;
  // Another program that ran the array did not make bad blocks good.
  await loadBadBlocks(array, extension, newest, failure, force);
  if (array.geometry.stripe === undefined && (newest?.sums ?? null) === null) return null;
  const sums = sumsOf(array, recorded);
  if (header === null || sums === undefined || !isMapOf(array, header, blocks, stripe.memberBlocks)) {
    const unknown = new WriteIntentBitmap(array, extension, numRegions, regionBlocks);
    unknown.doubt(0, numRegions);
    array.metadata.beginIncarnation();
    const earlier = await readEarlier(array, extension, blocks, stripe.memberBlocks);
    // Until a header of the new life is there, the earlier record counts: pages go to their other places.
    earlier?.runs.forEach(({ generation }, index) => unknown.continueFrom(index, generation));
    // A flush that failed before another program ran the array is not made good by that program's flushes.
    for (const { start, states } of earlier?.runs ?? []) {
      states.forEach((state, i) => {
        const at = (start + i) * (earlier?.regionBlocks ?? 0);
        if (state === RegionState.Dirty) array.consistency.markUnstable(at, earlier?.regionBlocks ?? 0);
      });
    }
    // No sum of that lineage counts, and the resync makes all of them anew.
    return { bitmap: unknown, origin: { is: 'unknown', earlier }, sums: newest?.sums ?? null };
  }
  // The map's own region size, which a growth of the array does not change.
  const regions = new WriteIntentBitmap(array, extension, Math.ceil(blocks / header.regionBlocks), header.regionBlocks);
  for (let index = 0; index < regions.numPages; index++) {
    const page = pages.get(index);
    if (page !== undefined) {
      regions.adoptPage(page);
      continue;
    }
    const first = index * extension.regionsPerPage;
    const end = Math.min(first + extension.regionsPerPage, regions.states.length);
    regions.doubt(first, end);
    regions.markUnstable(first, end);
  }
  adoptRecord(array, { header, bySlot });
  return { bitmap: regions, origin: { is: 'recorded', doubt }, sums };
}

/**
 * What is on record of the array's sums; undefined if no header says by which tags they are made: a round that was to change
 * the slots was cut short, and nothing is left of the one before.
 */
function sumsOf(array: MappedHost, { bySlot, header }: Recorded): SumsHeader | null | undefined {
  const sums = header?.sums ?? null;
  if (header === null || sums === null || hasItsSlots(array, header)) return sums;
  if (bySlot?.sums?.salt !== sums.salt) return undefined;
  return { ...sums, tags: bySlot.sums.tags };
}

/** Loads the damage of an array without a map: what its checksums found, while it had some, is on record beside its headers. */
async function loadDamage(array: MappedHost, extension: ExtensionStore, force: boolean): Promise<void> {
  if (array.recordedBlocks === null || !extension.fits(array.blockSize, 0)) return;
  const { failure, newest } = await readRecorded(array, extension, array.metadata.seqNumber, force);
  await loadBadBlocks(array, extension, newest, failure, force);
}

/** The headers that go with the array's superblock. */
export interface RecordedHeaders {
  /** The newest one. */
  header: ExtensionHeader;
  /** The newest one that speaks of the array's slots: older, after a round that was to change the slots and was cut short. */
  bySlot: ExtensionHeader | null;
}

/** Goes on from what is on record of the array, apart from its map. */
export function adoptRecord(array: MappedHost, { bySlot, header }: RecordedHeaders): void {
  array.metadata.adoptHeader(header);
  for (const slot of array.slots) {
    const kept = bySlot?.slots[slot.index];
    if (kept === undefined) continue;
    slot.lastSeqNumber = kept.lastSeqNumber;
    slot.pagesTaken = kept.pagesTaken;
    slot.isRemovedByHand = kept.isRemovedByHand && !slot.isInSync;
    slot.errors.read = kept.readErrors;
    slot.errors.write = kept.writeErrors;
    slot.errors.repaired = kept.repairedBlocks;
    slot.errors.checksum = bySlot?.sums?.errors[slot.index] ?? 0;
  }
}

/**
 * What the header says of slots is of the array's. One of another number of slots is of a round that was to change it and was cut
 * short: behind a slot that was to go, it speaks of others.
 */
export function hasItsSlots({ numSlots }: Pick<MappedHost, 'numSlots'>, header: ExtensionHeader): boolean {
  return header.slots.length === numSlots;
}

/** Our last record before another program counted the sequence number on from it. */
async function readEarlier(
  array: MappedHost,
  extension: ExtensionStore,
  blocks: number,
  stripeBlocks: number,
): Promise<EarlierRecord | null> {
  const seqNumber = Math.floor(array.metadata.seqNumber / seqStep) * seqStep;
  if (seqNumber === array.metadata.seqNumber || seqNumber === 0) return null;
  const { header, leastGeneration, pages, doubt } = await readRecorded(array, extension, seqNumber, true);
  if (header === null || !isMapOf(array, header, blocks, stripeBlocks)) return null;
  const { incarnation, regionBlocks } = header;
  const journal = journalInForce(header, seqNumber);
  const journalEpoch = coversAbsence(array.slots, journal) ? journal.epoch : 0;
  const numPages = Math.ceil(header.numRegions / extension.regionsPerPage);
  const runs = Array.from({ length: numPages }, (_, index) => {
    const start = index * extension.regionsPerPage;
    const count = Math.min(extension.regionsPerPage, header.numRegions - start);
    // Nothing is known of the regions of a damaged page.
    const page = pages.get(index);
    const states = page?.states ?? new Uint8Array(count).fill(RegionState.Dirty);
    return { start, states, generation: page?.generation ?? 0 };
  });
  // With bad blocks the header that goes with their newest list is to be the one that stays.
  if (array.badBlocks.size === 0) array.metadata.spareHeader(leastGeneration);
  return { incarnation, regionBlocks, journalEpoch, runs, doubt };
}

interface Recorded {
  /** The newest one that goes with the superblock. */
  header: ExtensionHeader | null;
  /** As `header`, of those that speak of the array's slots. */
  bySlot: ExtensionHeader | null;
  /** The generation of the newest header that all members have. */
  leastGeneration: number;
  pages: Map<number, RegionPage>;
  newest: ExtensionHeader | null;
  doubt: DoubtList | null;
  /** Why some of it could not be read; null if all could. */
  failure: Error | null;
}

/**
 * The newest header that goes with this sequence number, and the newest copy of each page and of the list of doubt of its
 * life, on the members that the array starts with; pages and list with the generations from which the next ones are counted on.
 */
async function readRecorded(
  array: MappedHost,
  extension: ExtensionStore,
  seqNumber: number,
  force: boolean,
): Promise<Recorded> {
  let header: ExtensionHeader | null = null;
  let bySlot: ExtensionHeader | null = null;
  let newest: ExtensionHeader | null = null;
  const failures: Error[] = [];
  const onFailure = (slot: Slot, error: unknown): void => {
    array.log.warn({ ...array.logFields(slot), err: error }, 'the member’s extension cannot be read');
    if (error instanceof Error) failures.push(error);
  };
  const keepers: { slot: Slot; descriptor: BdevDescriptor; trusted: ExtensionHeader }[] = [];
  for (const slot of array.slots) {
    const { descriptor } = slot;
    if (descriptor === null || !slot.isInSync) continue;
    try {
      const headers = await extension.readHeaders(descriptor, array.uuid);
      for (const found of headers) if (newest === null || found.generation > newest.generation) newest = found;
      const trusted = newestTrusted(headers, seqNumber);
      if (trusted === null) continue;
      bySlot = newestTrusted(
        headers.filter((found) => hasItsSlots(array, found)),
        seqNumber,
        bySlot,
      );
      keepers.push({ slot, descriptor, trusted });
      if (header === null || trusted.generation > header.generation) header = trusted;
    } catch (error) {
      onFailure(slot, error);
    }
  }
  const pages = new Map<number, NewestCopy<RegionPage>>();
  const doubt = new NewestCopy<DoubtList>();
  const known = new NewestCopy<ExtensionHeader>();
  let numRead = 0;
  for (const { slot, descriptor, trusted } of keepers) {
    const { incarnation } = trusted;
    if (header?.incarnation !== incarnation) continue;
    known.add(trusted);
    try {
      const life = { uuid: array.uuid, incarnation };
      const found = await extension.readPages(descriptor, life, header.numRegions);
      const list =
        array.module.redundancy === 'parity' && array.module.journal ? await extension.readDoubt(descriptor, life) : null;
      numRead++;
      doubt.add(list);
      for (const page of newestPages(found)) {
        const copies = pages.get(page.index) ?? new NewestCopy<RegionPage>();
        pages.set(page.index, copies);
        copies.add(page);
      }
    } catch (error) {
      onFailure(slot, error);
    }
  }
  // What could not be read may be the one record of what was never written: without it, that would read as anything.
  const [failure] = failures;
  if (numRead === 0 && failure !== undefined && !force && wasRunByUs(seqNumber)) throw failure;
  const newestOf = new Map<number, RegionPage>();
  for (const [index, { toGoOnFrom }] of pages) if (toGoOnFrom !== null) newestOf.set(index, toGoOnFrom);
  return {
    header: numRead === 0 ? null : header,
    bySlot,
    leastGeneration: known.least,
    pages: newestOf,
    newest: header ?? newest,
    doubt: doubt.toGoOnFrom,
    failure: failure ?? null,
  };
}

/** The newer of each page's copies on one member. */
function newestPages(found: readonly RegionPage[]): Iterable<RegionPage> {
  const pages = new Map<number, RegionPage>();
  for (const page of found) {
    const known = pages.get(page.index);
    if (known === undefined || page.generation > known.generation) pages.set(page.index, page);
  }
  return pages.values();
}

/**
 * Goes on from the list of bad blocks that the members have. Where the newest header says of bad blocks for which no list is there
 * that can be read, they are not taken for good ones: it rejects, or, forced, lists all blocks of those members. `headerError`: why
 * a header could not be read.
 */
async function loadBadBlocks(
  array: MappedHost,
  extension: ExtensionStore,
  header: ExtensionHeader | null,
  headerError: Error | null,
  force: boolean,
): Promise<void> {
  const { badBlocks } = array;
  const { newest, numFound, error } =
    header === null ? nothingFound(headerError) : await findBadBlocks(array, extension, header);
  const said = header !== null && hasItsSlots(array, header) ? header.badBlocks : null;
  if (said !== null && (newest.newest?.generation ?? 0) < said.generation) {
    // The next list is to be newer than the one that is lost. If that had no blocks, those of the one before have been written.
    const ranges = said.slots.length === 0 ? [] : (newest.newest?.ranges ?? []);
    badBlocks.load({ generation: said.generation, ranges }, said.generation);
  } else badBlocks.load(newest.toGoOnFrom, newest.newest?.generation);
  // An array that raidkit never ran has none.
  if (header === null && array.metadata.seqNumber < seqStep) return;
  if (isListKnown(said, newest.newest, numFound, error)) return;
  const slots = said?.slots ?? array.slots.map(({ index }) => index);
  const what = `array ${array.name}: the list of bad blocks ${error === null ? 'is gone' : 'cannot be read'}, and nothing else says which blocks of slot ${slots.join(', ')} hold what they should`;
  if (!force) {
    throw new RaidError(
      'ERR_RAID_METADATA',
      5,
      `${what}. Start with force: all of them answer EIO then until they are written`,
      {
        cause: error,
      },
    );
  }
  array.log.error(array.logFields(), `started by force: ${what}: all of them are bad until they are written`);
  for (const slot of slots) badBlocks.add(slot, 0, array.slots[slot]?.dataSize ?? 0);
}

/** `numFound`: members of which all could be read. `error`: why one could not. */
interface FoundLists {
  newest: NewestCopy<BadBlockList>;
  numFound: number;
  error: Error | null;
}

function nothingFound(error: Error | null): FoundLists {
  return { newest: new NewestCopy<BadBlockList>(), numFound: 0, error };
}

async function findBadBlocks(
  array: MappedHost,
  extension: ExtensionStore,
  { incarnation }: ExtensionHeader,
): Promise<FoundLists> {
  const found = nothingFound(null);
  for (const slot of array.slots) {
    if (slot.descriptor === null || !slot.isInSync) continue;
    const { list, error } = await extension.readBadBlocks(slot.descriptor, { uuid: array.uuid, incarnation });
    found.newest.add(list);
    if (error === null) found.numFound++;
    else array.log.warn({ ...array.logFields(slot), err: error }, 'the member’s list of bad blocks cannot be read');
    found.error ??= error;
  }
  return found;
}

/**
 * The list that was found has all blocks that are bad. A header follows the list that goes with it, and nothing relies on a
 * list before; in an older header there is nothing of it, and then one member is enough that can be read.
 */
function isListKnown(
  said: BadBlocksHeader | null,
  newest: BadBlockList | null,
  numFound: number,
  error: Error | null,
): boolean {
  if (said === null) return numFound > 0 || error === null;
  return said.slots.length === 0 || (newest?.generation ?? 0) >= said.generation;
}

/**
 * The header's regions are whole stripes and cover the members, which have room for their map in front of their data. They
 * cover more if a crash cut a growth short.
 */
function isMapOf(
  array: MappedHost,
  { numRegions, regionBlocks }: ExtensionHeader,
  memberBlocks: number,
  stripeBlocks: number,
): boolean {
  const isWhole = regionBlocks > 0 && regionBlocks % stripeBlocks === 0 && numRegions * regionBlocks >= memberBlocks;
  return isWhole && array.hasRoomForRegions(Math.ceil(memberBlocks / regionBlocks));
}

/** The newest of these headers, and of `other`, that goes with the superblock of this number; null if none does. */
export function newestTrusted(
  headers: readonly ExtensionHeader[],
  seqNumber: number,
  other: ExtensionHeader | null = null,
): ExtensionHeader | null {
  let newest = other;
  for (const header of headers) {
    if (!isTrusted(header, seqNumber)) continue;
    if (newest === null || header.generation > newest.generation) newest = header;
  }
  return newest;
}

function isTrusted(header: ExtensionHeader, seqNumber: number): boolean {
  return seqNumber % seqStep === 0 && goesWith(header, seqNumber);
}

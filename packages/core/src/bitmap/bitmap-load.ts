import { Status } from '@raidkit/bdev';
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

/** How an array's write-intent bitmap was obtained. */
export type RegionOrigin =
  /** A new array, in which nothing was ever written. */
  | { is: 'new' }
  /** Recorded by us; no other program has run the array since. */
  | { is: 'recorded'; doubt: DoubtList | null }
  /** Another program has run the array, or there is no record: every region is dirty. */
  | { is: 'unknown'; earlier: EarlierRecord | null };

/** Our last record before another program ran the array; null if it cannot be found. */
export interface EarlierRecord {
  incarnation: string;
  regionBlocks: number;
  journalEpoch: number;
  /** Former region states from region `start` on, one run for each page. Together the runs contain every region. */
  runs: { start: number; states: Uint8Array; generation: number }[];
  /** The ranges beside the journal that were inconsistent. */
  doubt: DoubtList | null;
}

/** A bitmap, and how it was obtained. */
export interface LoadedBitmap {
  bitmap: WriteIntentBitmap;
  origin: RegionOrigin;
  /** The record of the array's checksums; null if it has none. */
  sums: SumsHeader | null;
}

/**
 * Resolves to the bitmap of an array with redundancy or checksums: a new one, or the one that its members have recorded with
 * the newest superblock. Null for an array without a bitmap. Rejects if no member's record can be read, unless forced. If the
 * record is outdated, it counts as one from before another program ran the array.
 */
export async function loadBitmap(
  array: MappedHost,
  { force, isOutdated }: { force: boolean; isOutdated: boolean },
): Promise<LoadedBitmap | null> {
  array.consistency.reset();
  array.badBlocks.load(null);
  const extension = array.store?.extension;
  const { memberBlocks } = array.geometry;
  // Without redundancy there are no stripes. Regions only need to consist of whole checksummed blocks.
  const stripe = array.geometry.stripe ?? (array.hasIntegrity ? { memberBlocks: array.blocksTogether } : undefined);
  if (extension === undefined) return null;
  if (stripe === undefined) {
    await loadDamage(array, extension, force);
    return null;
  }
  const blocks = Math.max(...memberBlocks);
  const { blockSize } = array;
  if (!extension.fits(blockSize, 0)) {
    // There is no record of what was written, so neither new members nor an unclean stop can be assumed consistent.
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
  // Another program that ran the array has not repaired bad blocks.
  await loadBadBlocks(array, extension, newest, failure, force);
  if (array.geometry.stripe === undefined && (newest?.sums ?? null) === null) return null;
  const sums = sumsOf(array, recorded);
  if (isOutdated || header === null || sums === undefined || !isMapOf(array, header, blocks, stripe.memberBlocks)) {
    const unknown = new WriteIntentBitmap(array, extension, numRegions, regionBlocks);
    unknown.doubt(0, numRegions);
    array.metadata.beginIncarnation();
    const earlier = await readEarlier(array, extension, blocks, stripe.memberBlocks);
    // The earlier record is valid until a header of the new incarnation exists, so pages go to the other places.
    earlier?.runs.forEach(({ generation }, index) => unknown.continueFrom(index, generation));
    // Another program's flushes do not repair a flush that failed before it ran the array.
    for (const { start, states } of earlier?.runs ?? []) {
      states.forEach((state, i) => {
        const at = (start + i) * (earlier?.regionBlocks ?? 0);
        if (state === RegionState.Dirty) array.consistency.markUnstable(at, earlier?.regionBlocks ?? 0);
      });
    }
    // No checksum of that incarnation is valid. The resync makes all of them anew.
    return { bitmap: unknown, origin: { is: 'unknown', earlier }, sums: newest?.sums ?? null };
  }
  // The recorded region size is kept, because a growth of the array does not change it.
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
 * Returns the record of the array's checksums. Returns undefined if no header records the tags of these slots: an update that
 * was to change the slots was interrupted, and no earlier header is left.
 */
function sumsOf(array: MappedHost, { bySlot, header }: Recorded): SumsHeader | null | undefined {
  const sums = header?.sums ?? null;
  if (header === null || sums === null || hasItsSlots(array, header)) return sums;
  if (bySlot?.sums?.salt !== sums.salt) return undefined;
  return { ...sums, tags: bySlot.sums.tags };
}

/** Loads the list of bad blocks of an array without a map. It may have one from a time when it had checksums. */
async function loadDamage(array: MappedHost, extension: ExtensionStore, force: boolean): Promise<void> {
  if (array.recordedBlocks === null || !extension.fits(array.blockSize, 0)) return;
  const { failure, newest } = await readRecorded(array, extension, array.metadata.seqNumber, force);
  await loadBadBlocks(array, extension, newest, failure, force);
}

/** The headers that belong to the array's superblock. */
export interface RecordedHeaders {
  /** The newest header. */
  header: ExtensionHeader;
  /**
   * The newest header with the array's number of slots. It is older if an update that was to change the slots was interrupted.
   */
  bySlot: ExtensionHeader | null;
}

/** Adopts what is recorded of the array, apart from its map. */
export function adoptRecord(array: MappedHost, { bySlot, header }: RecordedHeaders): void {
  array.metadata.adoptHeader(header);
  for (const slot of array.slots) {
    const kept = bySlot?.slots[slot.index];
    if (kept === undefined) continue;
    slot.adoptHeader(kept, bySlot?.sums?.errors[slot.index] ?? 0);
  }
}

/**
 * Whether the header's slots are those of the array. A header with another number of slots comes from an interrupted update
 * that was to change it; after a slot that was to be removed, its entries belong to other slots.
 */
export function hasItsSlots({ numSlots }: Pick<MappedHost, 'numSlots'>, header: ExtensionHeader): boolean {
  return header.slots.length === numSlots;
}

/** Reads our last record before another program increased the sequence number. */
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
  // With bad blocks, the header that belongs to their newest list must not be overwritten next.
  if (array.badBlocks.size === 0) array.metadata.spareHeader(leastGeneration);
  return { incarnation, regionBlocks, journalEpoch, runs, doubt };
}

interface Recorded {
  /** The newest header that belongs to the superblock. */
  header: ExtensionHeader | null;
  /** As `header`, of those with the array's number of slots. */
  bySlot: ExtensionHeader | null;
  /** Generation of the newest header that all members have. */
  leastGeneration: number;
  pages: Map<number, RegionPage>;
  newest: ExtensionHeader | null;
  doubt: DoubtList | null;
  /** Why some records could not be read; null if all were read. */
  failure: Error | null;
}

/**
 * Reads the newest header that belongs to this sequence number, and the newest copy of each page and of the doubt list of its
 * incarnation, from the members that the array starts with. Pages and list have the generation to count on from.
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
    array.log.warn({ ...array.logFields(slot), err: error }, 'the member’s header cannot be read');
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
  // An unreadable record may be the only one of what was never written. Without it, unwritten regions would not read as zeros.
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

/** Returns the newer copy of each page on one member. */
function newestPages(found: readonly RegionPage[]): Iterable<RegionPage> {
  const pages = new Map<number, RegionPage>();
  for (const page of found) {
    const known = pages.get(page.index);
    if (known === undefined || page.generation > known.generation) pages.set(page.index, page);
  }
  return pages.values();
}

/**
 * Adopts the members' list of bad blocks. If the newest header records bad blocks for which no list can be read, their blocks
 * must not be taken for good: rejects, or, if forced, lists all blocks of the slots concerned. `headerError` is why a header
 * could not be read.
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
    // The next list must be newer than the lost one. If that was empty, the blocks of the list before it have been written.
    const ranges = said.slots.length === 0 ? [] : (newest.newest?.ranges ?? []);
    badBlocks.load({ generation: said.generation, ranges }, said.generation);
  } else badBlocks.load(newest.toGoOnFrom, newest.newest?.generation);
  // An array that raidkit never ran has no list.
  if (header === null && array.metadata.seqNumber < seqStep) return;
  if (isListKnown(said, newest.newest, numFound, error)) return;
  const slots = said?.slots ?? array.slots.map(({ index }) => index);
  const what = `array ${array.name}: the list of bad blocks ${error === null ? 'is lost' : 'cannot be read'}, and nothing else records which blocks of slot ${slots.join(', ')} are bad`;
  if (!force) {
    throw new RaidError(
      'ERR_RAID_METADATA',
      Status.IoError,
      `${what}. Start with force: all of them then return EIO until they are written`,
      {
        cause: error,
      },
    );
  }
  array.log.error(array.logFields(), `started by force: ${what}: all of them are marked bad until they are written`);
  for (const slot of slots) badBlocks.add(slot, 0, array.slots[slot]?.dataSize ?? 0);
}

/** `numFound`: number of members whose lists could all be read. `error`: why another one's could not. */
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
 * Whether the list that was found contains all bad blocks. A header is written after the list that belongs to it, and nothing
 * relies on a list before. Older headers do not record a list; then one readable member is enough.
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
 * Whether the header's regions consist of whole stripes and cover the members, and the members have room for the map. The
 * regions cover more than the members if a crash interrupted a growth.
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

/** Returns the newest of these headers and `other` that belongs to the superblock of this number; null if there is none. */
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

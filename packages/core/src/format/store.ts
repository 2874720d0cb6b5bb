import type { BdevDescriptor } from '@raidkit/bdev';
import type { ReadPolicy, ReadPreference } from './read-policy.js';

/** The superblock's record of one slot. */
export interface SlotRecord {
  /** Uuid of the member bdev; the null uuid for an empty slot. */
  uuid: string;
  /** First block of the data area on the member. */
  dataOffsetBlocks: number;
  /** Size of the data area in blocks. */
  dataSizeBlocks: number;
  /**
   * `configured`: the member is current. `missing`: it was removed on request or its device disappeared. `failed`: it was taken
   * out after an error.
   */
  state: 'configured' | 'missing' | 'failed';
}

/** The superblock's record of an array, which each of its members has. */
export interface ArrayRecord {
  /** Uuid of the array. */
  uuid: string;
  /** Name of the array: 1 to 63 bytes of UTF-8. */
  name: string;
  /** Numeric code of the level. */
  level: number;
  /** Block size of the array and its members in bytes. */
  blockSize: number;
  /** 0 if the level has no strips. */
  stripSizeBlocks: number;
  /** Size of the array in blocks. */
  numBlocks: number;
  /** Increases with every write. */
  seqNumber: number;
  /** One record for each slot, in order. */
  slots: SlotRecord[];
}

/**
 * A store with an extension writes only sequence numbers that are multiples of this. SPDK adds one when it writes the
 * superblock. A number that is not a multiple shows that another program wrote it, and that our extension is out of date.
 */
export const seqStep = 65_536;

/**
 * Whether a store with an extension can have written this superblock or an earlier one. If not, the members have no extension
 * data.
 */
export const wasRunByUs = (seqNumber: number): boolean => seqNumber >= seqStep;

/** Contents of the superblock area of a device. */
export type ReadResult =
  | { kind: 'none' }
  /** There is a superblock that cannot be used; `message` says why. */
  | { kind: 'unusable'; message: string }
  | { kind: 'found'; record: ArrayRecord };

/** Our own header, behind the superblock: further facts about the array and this member. */
export interface ExtensionHeader {
  /** Increases with every write. Of the copies that belong to the superblock, the one with the higher generation is valid. */
  generation: number;
  /** Uuid of the array. */
  arrayUuid: string;
  /** Uuid of the member that this header was written to. */
  memberUuid: string;
  /** The incarnation of the map: see {@link MapLife}. */
  incarnation: string;
  /** The first known incarnation of the array. It never changes, so it tells which headers belong to the same array. */
  lineage: string;
  /**
   * Uuid of the array that uses this array's volume as a member; the null uuid if there is none. Null if it is unknown, because
   * SPDK created the array or the header is older than this field.
   */
  outerUuid: string | null;
  /** Sequence number of the superblock that belongs to this header. */
  seqNumber: number;
  /**
   * Sequence number of the last superblock before `seqNumber` that all members had. The header also belongs to that one and to
   * those of ours in between. If the superblock has none of these numbers, nor `seqNumber`, another program has run the array
   * since.
   */
  previousSeqNumber: number;
  /** Last superblock that all of its current members have. A member whose superblock is older was absent since then. */
  completedSeqNumber: number;
  /** Size of a region in blocks of a member's data area; 0 without a map. */
  regionBlocks: number;
  /** Number of regions of the map; 0 without a map. */
  numRegions: number;
  /**
   * Epoch of the journal under the superblock of this header. Entries are valid if they have this epoch and if only the slots
   * in `journalSlots` have no member. 0: there is no journal.
   */
  journalEpoch: number;
  /**
   * Slots without a member, in ascending order. If the list is empty but there is a journal, any slot may be without one
   * (headers from before the slots were recorded).
   */
  journalSlots: readonly number[];
  /** `journalEpoch` under the superblock before this header's. */
  previousJournalEpoch: number;
  /** `journalSlots` under the superblock before this header's. */
  previousJournalSlots: readonly number[];
  /** The process in progress, and its running time in seconds including that before restarts; null if there is none. */
  process: { type: 'rebuild' | 'resync' | 'check' | 'repair' | 'replace' | 'resum' | 'sum'; elapsedSec: number } | null;
  /** The list of bad blocks that belongs to this header; null in headers from before it was recorded. */
  badBlocks: BadBlocksHeader | null;
  /** The array's checksums; null if it has none. */
  sums: SumsHeader | null;
  /** The array has no checksums yet, and is to have them as soon as its members have room for them. */
  wantsIntegrity: boolean;
  /** The level's options as the text of a JSON object, at most {@link ExtensionStore.mostOptionsBytes} bytes of UTF-8. */
  levelOptions: string;
  /** Which copies are read; the default in headers from before it was recorded. */
  readPolicy: ReadPolicy;
  /** One record for each slot, in order. */
  slots: ExtensionSlot[];
}

/** The header's record of an array's checksums. */
export interface SumsHeader {
  /** 64 random hexadecimal digits from which the key of the checksums is derived. */
  salt: string;
  /**
   * Number of blocks of 4 KiB, from the start of each data area, that have checksums. Checksums of later blocks are not valid.
   */
  summedBlocks: number;
  /** First block of the pages with checksums, in blocks of 4 KiB from the start of each data area; 0 if they are at its end. */
  areaAt: number;
  /**
   * Tag of each slot's member, 0 to 255, which is part of every checksum so that members' checksums differ. It is the slot's
   * index until a slot before it is removed.
   */
  tags: readonly number[];
  /** For each slot's member, the number of blocks that did not match their checksums. */
  errors: readonly number[];
}

/**
 * One incarnation of an array's map. Pages and journal entries contain it, and are valid only if it is that of the trusted
 * header. A new one begins whenever the records cannot be trusted, which invalidates all earlier ones.
 */
export interface MapLife {
  /** Uuid of the array. */
  readonly uuid: string;
  /** 16 random hexadecimal digits; {@link firstIncarnation} in records from before there were incarnations. */
  readonly incarnation: string;
}

/** The incarnation of headers, pages and journal entries that do not contain one. */
export const firstIncarnation = '0000000000000000';

/** The header's record of one slot. */
export interface ExtensionSlot {
  /** Sequence number of the last superblock that was written to the slot's member. */
  lastSeqNumber: number;
  /**
   * If `lastSeqNumber` is 0: superblocks up to this number, on the slot's member, are former states of the array, which is to
   * fill that member from the start. A newer one shows that the member was used without the others. 0 if unknown.
   */
  formerSeqNumber: number;
  /**
   * Number of page writes of this incarnation that the member had by then, as the sum of its pages' generations. A member with
   * fewer has been reverted to an older state. 0 if the header does not record it.
   */
  pagesTaken: number;
  /** The member was removed on request. */
  isRemovedByHand: boolean;
  /** `normal` in headers from before it was recorded. */
  readPreference: ReadPreference;
  /** Number of reads of the slot's member that failed. */
  readErrors: number;
  /** Number of writes of the slot's member that failed. */
  writeErrors: number;
  /** Number of blocks of the slot's member that could not be read and were rewritten from redundancy. */
  repairedBlocks: number;
}

/** A page of the write-intent bitmap. */
export interface RegionPage {
  /** Index of the page: it has the states of regions from `index * regionsPerPage` on. */
  index: number;
  /** Increases with every write. Of the two copies, the one with the higher generation is valid. */
  generation: number;
  /** One `RegionState` for each region, as on disk. */
  states: Uint8Array;
}

/** A range of bad blocks in a slot's data area. */
export interface BadRange {
  /** Index of the slot. */
  slot: number;
  /** First block, in the slot's data area. */
  offsetBlocks: number;
  /** Number of blocks, 1 or more. */
  numBlocks: number;
}

/** The list of blocks of members that do not hold the data they should. Each member has a copy of it. */
export interface BadBlockList {
  /** Increases with every write. The list with the highest generation is valid. */
  generation: number;
  /** The bad blocks of all slots. */
  ranges: BadRange[];
}

/** The header's record of the list of bad blocks. It prevents that an unreadable list is taken for an empty one. */
export interface BadBlocksHeader {
  /** Generation of the list that every member had when the header was written; 0 if there was none. */
  generation: number;
  /** Slots of which that list has bad blocks, in ascending order. */
  slots: readonly number[];
}

/** The newest list of bad blocks on one member. */
export interface FoundBadBlocks {
  /** Null if there is no list. */
  list: BadBlockList | null;
  /** Why one of its two places could not be read, so that a newer list may exist; null if both were read. */
  error: Error | null;
}

/** Ranges of an array with a journal where redundancy is in doubt. Everywhere else the journal closes the write hole. */
export interface DoubtList {
  /** Increases with every write. The list with the highest generation is valid. */
  generation: number;
  /** Ranges in blocks of every member's data area. */
  ranges: { start: number; count: number }[];
}

/** Header of a journal entry: the entry holds the data of these array blocks, whose member is absent. */
export interface JournalEntry {
  /** Entries of another epoch belong to another set of members and are not valid. 1 or more. */
  epoch: number;
  /** Increases from entry to entry of an epoch. */
  id: number;
  /** First block, of the array. */
  offsetBlocks: number;
  /** Number of array blocks, 1 or more. */
  numBlocks: number;
  /** The blocks hold zeros; the entry has no data. */
  isZero: boolean;
  /** Number of entries of the same write, at most one for each absent member. Their ids are consecutive. */
  numTogether: number;
  /** Index of this entry among those of the same write, from 0. */
  indexTogether: number;
}

/** An entry as it was found, with its data, which is empty for zeros. */
export interface FoundEntry extends JournalEntry {
  /** The data for the array blocks, `numBlocks` blocks long; empty if they hold zeros. */
  data: Uint8Array;
}

/** Takes a place in the ring of a member: entries of this ring whose ids are not greater than `overTo` are not valid any more. */
export interface JournalMark {
  epoch: number;
  /** As of an entry. */
  id: number;
  /** 1 or more, and less than `id`. */
  overTo: number;
}

/** The journal area of a member: a ring of places, each of which has room for one entry (header and data). */
export interface JournalStore {
  /** Number of places in the ring. */
  readonly places: number;
  /** Size of a place in bytes. */
  readonly placeBytes: number;
  /** Size of an entry's header in bytes, a multiple of the block size. */
  readonly headerBytes: number;
  /** Offset of the ring on a member in bytes. */
  readonly startBytes: number;
  /** Writes the entry's header into `bytes`, in front of its data, for which the caller left room. */
  seal(bytes: Uint8Array, life: MapLife, place: number, blockSize: number, entry: JournalEntry): void;
  /** Makes `bytes`, which is as long as an entry's header, a mark. */
  sealMark(bytes: Uint8Array, life: MapLife, place: number, blockSize: number, mark: JournalMark): void;
  /**
   * Resolves to the entries of this incarnation and epoch that are valid by the marks beside them, in any order. Rejects if the
   * member cannot be read.
   */
  read(descriptor: BdevDescriptor, life: MapLife, epoch: number): Promise<FoundEntry[]>;
}

/** One member in one incarnation of an array's map. */
export interface MemberLife extends MapLife {
  /** Uuid of the member. */
  readonly memberUuid: string;
}

/** The memory that holds pages of checksums: a `BufferMemory`. */
export interface ChecksumPageMemory {
  /** All of the memory. Addresses are byte offsets into it. */
  readonly u8: Uint8Array;
  /** A view of the same bytes. */
  readonly view: DataView;
}

/** Seals and validates the pages of checksums of one member. Allocates nothing. */
export interface ChecksumPageCodec {
  /** Makes the memory at `addr` a valid page of this number. Its checksums are left as they are. */
  seal(memory: ChecksumPageMemory, addr: number, page: number): void;
  /**
   * Returns a bit mask of the valid records of the page at `addr`, the first record in the lowest bit. A valid record is intact
   * and has this page number, member and incarnation.
   */
  goodRecords(memory: ChecksumPageMemory, addr: number, page: number): number;
}

/** Layout of pages of checksums, in memory and on disk. A page consists of records, each with a checksum of its own. */
export interface ChecksumPages {
  /** Size of a page in bytes. */
  readonly pageBytes: number;
  /** Number of records in a page. */
  readonly recordsPerPage: number;
  /** Number of checksums in a record. Each is for one block of 4 KiB. */
  readonly sumsPerRecord: number;
  /**
   * Byte offset within its page of the checksum of the page's block with this index, counted from 0. The checksums of a record
   * are contiguous.
   */
  sumAt(index: number): number;
  /** Returns the codec for the pages of one member. */
  codecFor(life: MemberLife): ChecksumPageCodec;
}

/** Reads and writes the extension: what we store on members in addition to the superblock. */
export interface ExtensionStore {
  /** The journal area of members. */
  readonly journal: JournalStore;
  /** The layout of pages of checksums. */
  readonly checksums: ChecksumPages;
  /** Number of regions whose states one page of the map has. */
  readonly regionsPerPage: number;
  /** Room for the level's options in a header, in bytes. */
  readonly mostOptionsBytes: number;
  /** Largest block size in bytes at which a device has room for the extension. */
  readonly mostBlockBytes: number;
  /** Most ranges that a list of bad blocks can have, for all slots together. */
  readonly mostBadRanges: number;
  /** Whether a map can have this many regions at this block size. */
  fits(blockSize: number, numRegions: number): boolean;
  /** Returns the size in bytes of the area in front of a member's data with room for a map of this many regions. Whole MiB. */
  reservedBytes(numRegions: number): number;
  /** Resolves to the array's valid headers, of two places. Rejects if none was found and a place could not be read. */
  readHeaders(descriptor: BdevDescriptor, arrayUuid: string): Promise<ExtensionHeader[]>;
  /**
   * Resolves to the valid pages of this incarnation of the map, which has this many regions; up to two copies of each page.
   * Rejects if the member cannot be read.
   */
  readPages(descriptor: BdevDescriptor, life: MapLife, numRegions: number): Promise<RegionPage[]>;
  /** Resolves to the newest valid list of this incarnation, of those of its two places that can be read. */
  readBadBlocks(descriptor: BdevDescriptor, life: MapLife): Promise<FoundBadBlocks>;
  /** Resolves when the list is on stable media. Leaves the other place unchanged. Rejects if the list is too long. */
  writeBadBlocks(descriptor: BdevDescriptor, life: MapLife, list: BadBlockList): Promise<void>;
  /** Most ranges that a {@link DoubtList} can have. */
  readonly mostDoubtRanges: number;
  /** Resolves to the newest valid list of this incarnation, or null. Rejects if the member cannot be read. */
  readDoubt(descriptor: BdevDescriptor, life: MapLife): Promise<DoubtList | null>;
  /** Resolves when the list is on stable media. Leaves the other place unchanged. */
  writeDoubt(descriptor: BdevDescriptor, life: MapLife, list: DoubtList): Promise<void>;
  /** Throws a `RangeError` that names field and limit if {@link readHeaders} would not return this header. */
  check(header: ExtensionHeader): void;
  /**
   * Clears the extension area, with room for a map of this many regions, so that a former use of the device leaves nothing
   * behind. Resolves when that is on stable media.
   */
  clear(descriptor: BdevDescriptor, numRegions: number): Promise<void>;
  /** Resolves when the header is on stable media. Leaves the other place unchanged. */
  writeHeader(descriptor: BdevDescriptor, header: ExtensionHeader): Promise<void>;
  /** Resolves when the pages are on stable media. Leaves their other places unchanged. */
  writePages(descriptor: BdevDescriptor, life: MapLife, pages: readonly RegionPage[]): Promise<void>;
}

/**
 * Reads and writes superblocks. Core defines the interface, `@raidkit/superblock` implements it, and the composer passes it in.
 */
export interface SuperblockStore {
  /**
   * Bytes at the start of a member that never hold data. With a large map there are more: {@link ExtensionStore.reservedBytes}.
   */
  readonly reservedBytes: number;
  /** The extension; absent if the store keeps superblocks only. */
  readonly extension?: ExtensionStore | undefined;
  /**
   * Reads a superblock. Rejects only if the device cannot be read. `isVouchedFor`: an operator confirms that the device is a
   * member. Only then is the second copy used if the first cannot be read, because another program that has used the device
   * since would not have updated that copy.
   */
  read(descriptor: BdevDescriptor, options?: { isVouchedFor?: boolean }): Promise<ReadResult>;
  /** Throws a `RangeError` that names field and limit if {@link read} would not accept this record on every current member. */
  check(record: ArrayRecord): void;
  /** Resolves when the record is on this member's stable media. */
  write(descriptor: BdevDescriptor, record: ArrayRecord): Promise<void>;
  /** Resolves when all superblocks have been erased on stable media. */
  clear(descriptor: BdevDescriptor): Promise<void>;
}

/**
 * Whether the header was written with the superblock of this number. Also true if the header is newer because of superblock
 * updates that were cut short by a crash or failed on every member.
 */
export function goesWith({ previousSeqNumber, seqNumber }: ExtensionHeader, superblock: number): boolean {
  if (superblock === previousSeqNumber || superblock === seqNumber) return true;
  return superblock % seqStep === 0 && previousSeqNumber < superblock && superblock < seqNumber;
}

/**
 * Whether another program has run the array from members that lacked the superblock of this header, although the header counts
 * them in: it counted on from a superblock before that one. A superblock of such a number that was there when the header was
 * written is the header's predecessor.
 */
export function wasRunBeside({ previousSeqNumber, seqNumber }: ExtensionHeader, superblock: number): boolean {
  return superblock % seqStep !== 0 && previousSeqNumber < superblock && superblock < seqNumber;
}

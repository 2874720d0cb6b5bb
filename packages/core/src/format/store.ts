import type { BdevDescriptor } from '@raidkit/bdev';
import type { ReadPolicy, ReadPreference } from './read-policy.js';

/** What is recorded of one slot. */
export interface SlotRecord {
  /** The member bdev's uuid; the null uuid for an empty slot. */
  uuid: string;
  dataOffsetBlocks: number;
  dataSizeBlocks: number;
  /** `configured`: current. `missing`: taken out on request. `failed`: thrown out for an error. */
  state: 'configured' | 'missing' | 'failed';
}

/** What is recorded of an array, on each of its members. */
export interface ArrayRecord {
  uuid: string;
  name: string;
  /** The level's code. */
  level: number;
  blockSize: number;
  /** 0 where the level has no strips. */
  stripSizeBlocks: number;
  numBlocks: number;
  /** Grows with every write. */
  seqNumber: number;
  slots: SlotRecord[];
}

/**
 * Sequence numbers of what a store with an extension writes are multiples of this. Another program that writes the superblock
 * adds one: then the number is no multiple, and what we keep besides is known to be behind.
 */
export const seqStep = 65_536;

/** Whether a store with an extension can have written this superblock, or an earlier one: if not, there is nothing else of ours. */
export const wasRunByUs = (seqNumber: number): boolean => seqNumber >= seqStep;

/** What a device has where a superblock would be. */
export type ReadResult =
  | { kind: 'none' }
  /** Something that was meant to be a superblock and cannot be used; `message` says why. */
  | { kind: 'unusable'; message: string }
  | { kind: 'found'; record: ArrayRecord };

/** What our own header, behind the superblock, says of an array and this member. */
export interface ExtensionHeader {
  /** Grows with every write; of the copies that go with the superblock the higher counts. */
  generation: number;
  arrayUuid: string;
  memberUuid: string;
  /** The life of the map that this goes with: see {@link MapLife}. */
  incarnation: string;
  /** The array's first incarnation that is known: it never changes, and says which headers are of one array's doing. */
  lineage: string;
  /**
   * The array of which this array's volume is a member: its uuid. The null uuid: of none. Null: not known, because the array
   * comes from SPDK, or from before it was recorded.
   */
  outerUuid: string | null;
  /**
   * The superblock that goes with this, and the last one before it that all members had: with one of ours between them it goes
   * too, and with another one, another program ran the array since.
   */
  seqNumber: number;
  previousSeqNumber: number;
  /** The last superblock that every member had which it counts in: one with an older superblock was away since. */
  completedSeqNumber: number;
  /** Blocks of a member's data area in a region, and how many there are; 0 without a map. */
  regionBlocks: number;
  numRegions: number;
  /**
   * Entries of the journal count if they are of this epoch, and no other slots than these, in ascending order, are without
   * members: with the superblock that goes with this, and with the one before. Epoch 0: there is no journal. No slots beside an
   * epoch: whichever is without a member, in headers from before it was recorded.
   */
  journalEpoch: number;
  journalSlots: readonly number[];
  previousJournalEpoch: number;
  previousJournalSlots: readonly number[];
  /** The background work that is under way, and for how long already, restarts included; null for none. */
  process: { type: 'rebuild' | 'resync' | 'check' | 'repair' | 'replace' | 'resum' | 'sum'; elapsedSec: number } | null;
  /** The list of bad blocks that goes with this; null for a header from before it said so. */
  badBlocks: BadBlocksHeader | null;
  /** The array's checksums; null if it has none. */
  sums: SumsHeader | null;
  /** The array has no sums, and is to have them as soon as its members have room for them. */
  wantsIntegrity: boolean;
  /** The level's options: the text of a JSON object, at most {@link ExtensionStore.mostOptionsBytes} of UTF-8. */
  levelOptions: string;
  /** Which copies are read; the default in headers from before there was another one. */
  readPolicy: ReadPolicy;
  slots: ExtensionSlot[];
}

/** What the header keeps of an array's sums. */
export interface SumsHeader {
  /** 64 hexadecimal digits, drawn by chance: the key for the sums is made from it. */
  salt: string;
  /** Blocks of 4 KiB of each data area, from its start on, that have been summed: what is behind them has no sums that count. */
  summedBlocks: number;
  /** Where, in blocks of 4 KiB from the start of each data area, the pages with its sums begin; 0: at its end. */
  areaAt: number;
  /**
   * By which of 256 numberings of blocks the sums of each slot's member are made, each slot by another one: that of the slot's place
   * in the array, until a slot in front of it is taken away.
   */
  tags: readonly number[];
  /** For each slot's member, how many blocks did not match. */
  errors: readonly number[];
}

/**
 * One life of an array's map. Pages and journal entries carry it, and count only if it is that of the header that is trusted:
 * whenever what is recorded cannot be believed, a new one begins, and what was left from before says nothing any more.
 */
export interface MapLife {
  /** The array's uuid. */
  readonly uuid: string;
  /** 16 hexadecimal digits, drawn by chance; {@link firstIncarnation} for what was written before there were any. */
  readonly incarnation: string;
}

/** The incarnation of headers, pages and journal entries that have none. */
export const firstIncarnation = '0000000000000000';

/** What the header keeps of each slot. */
export interface ExtensionSlot {
  /** Sequence number of the last superblock that was written to the slot's member. */
  lastSeqNumber: number;
  /**
   * How many writes of pages of this life the member had taken by then: the sum of the generations of its pages. One that has
   * taken fewer is as it was before. 0 for a header that does not say it.
   */
  pagesTaken: number;
  /** The member was taken out on request. */
  isRemovedByHand: boolean;
  /** `normal` in headers from before it was recorded. */
  readPreference: ReadPreference;
  readErrors: number;
  writeErrors: number;
  repairedBlocks: number;
}

/** A piece of the write-intent bitmap. */
export interface RegionPage {
  index: number;
  /** Grows with every write; the higher of the two copies counts. */
  generation: number;
  /** One `RegionState` a region, as on disk. */
  states: Uint8Array;
}

/** Blocks of a slot's data area that are bad. */
export interface BadRange {
  slot: number;
  offsetBlocks: number;
  numBlocks: number;
}

/** Which blocks of members do not hold what they should, as it is recorded on each of them. */
export interface BadBlockList {
  /** Grows with every write; the highest counts. */
  generation: number;
  ranges: BadRange[];
}

/** What the header says of the list of bad blocks, so that one that cannot be read is not taken for an empty one. */
export interface BadBlocksHeader {
  /** The generation of the list that every member had when the header was written; 0: there was none. */
  generation: number;
  /** The slots of which that list has bad blocks, in ascending order. */
  slots: readonly number[];
}

/** The newest list of bad blocks that was found on one member. */
export interface FoundBadBlocks {
  /** Null for none. */
  list: BadBlockList | null;
  /** Why one of its places could not be read: a newer list may be there. Null if both could. */
  error: Error | null;
}

/** Where redundancy is in doubt beside a journal, which stands for all the rest. */
export interface DoubtList {
  /** Grows with every write; the highest counts. */
  generation: number;
  /** Blocks of every member's data area. */
  ranges: { start: number; count: number }[];
}

/** What a journal entry says: these blocks of the array, which only redundancy stands for, hold its data. */
export interface JournalEntry {
  /** What was written under another set of members has another epoch, and does not count. 1 or more. */
  epoch: number;
  /** Grows from entry to entry of an epoch. */
  id: number;
  offsetBlocks: number;
  numBlocks: number;
  /** The blocks hold zeros; there is no data. */
  isZero: boolean;
  /**
   * Entries that its write has, one for each absent member at most, and which of them this is, from 0. Their ids follow one
   * another.
   */
  numTogether: number;
  indexTogether: number;
}

/** An entry as it was found, with its data; empty for zeros. */
export interface FoundEntry extends JournalEntry {
  data: Uint8Array;
}

/** The room for journal entries on a member: a ring of places, each for one entry, header and data. */
export interface JournalStore {
  readonly places: number;
  /** Size of a place. Bytes. */
  readonly placeBytes: number;
  /** Size of an entry's header. Bytes; a multiple of the block size. */
  readonly headerBytes: number;
  /** Where the ring begins on a member. Bytes. */
  readonly startBytes: number;
  /** Makes an entry of `bytes`, whose data lies behind room for the header. */
  seal(bytes: Uint8Array, life: MapLife, place: number, blockSize: number, entry: JournalEntry): void;
  /** The undamaged entries of this life and epoch, in no order. Rejects if the member cannot be read. */
  read(descriptor: BdevDescriptor, life: MapLife, epoch: number): Promise<FoundEntry[]>;
}

/** One member, in one life of an array's map. */
export interface MemberLife extends MapLife {
  readonly memberUuid: string;
}

/** The memory in which pages of sums are made: a `BufferMemory`. */
export interface ChecksumPageMemory {
  readonly u8: Uint8Array;
  readonly view: DataView;
}

/** What makes pages of sums those of one member, and tells whether they are. Allocates nothing. */
export interface ChecksumPageCodec {
  /** Makes the page at `addr` the one of this number; its sums stay as they are. */
  seal(memory: ChecksumPageMemory, addr: number, page: number): void;
  /** Which records of the page at `addr` are whole, of this number, this member and this life: a bit each, the first one lowest. */
  goodRecords(memory: ChecksumPageMemory, addr: number, page: number): number;
}

/** How sums of a member's blocks lie in pages, in memory as on disk. A page is records, each with a check of its own. */
export interface ChecksumPages {
  readonly pageBytes: number;
  readonly recordsPerPage: number;
  readonly sumsPerRecord: number;
  /** Where in its page the sum of the page's block with this index lies, from 0. Bytes. Those of a record lie side by side. */
  sumAt(index: number): number;
  codecFor(life: MemberLife): ChecksumPageCodec;
}

/** Reads and writes what we keep on members besides the superblock. */
export interface ExtensionStore {
  readonly journal: JournalStore;
  readonly checksums: ChecksumPages;
  readonly regionsPerPage: number;
  /** Room for the level's options in a header. Bytes. */
  readonly mostOptionsBytes: number;
  /** Largest block of a device that has room for all of this. Bytes. */
  readonly mostBlockBytes: number;
  /** Room for ranges of bad blocks, of all slots together. */
  readonly mostBadRanges: number;
  /** Whether there can be a map of this many regions, at this block size. */
  fits(blockSize: number, numRegions: number): boolean;
  /** What lies in front of a member's data, with room for a map of this many regions: whole MiB, in bytes. */
  reservedBytes(numRegions: number): number;
  /** The undamaged headers of the array, of its two places. Rejects if there is none in those that can be read, and one cannot. */
  readHeaders(descriptor: BdevDescriptor, arrayUuid: string): Promise<ExtensionHeader[]>;
  /** The undamaged pages of this life of the map, which has so many regions; of each page up to two. Rejects if the member cannot be read. */
  readPages(descriptor: BdevDescriptor, life: MapLife, numRegions: number): Promise<RegionPage[]>;
  /** The newest undamaged list of this life of the array, in those of its two places that can be read. */
  readBadBlocks(descriptor: BdevDescriptor, life: MapLife): Promise<FoundBadBlocks>;
  /** Resolves when it is on stable media. The other copy stays as it is. Rejects a list that is too long. */
  writeBadBlocks(descriptor: BdevDescriptor, life: MapLife, list: BadBlockList): Promise<void>;
  /** Ranges that a {@link DoubtList} may have. */
  readonly mostDoubtRanges: number;
  /** The newest undamaged list of this life of the map; null for none. Rejects if the member cannot be read. */
  readDoubt(descriptor: BdevDescriptor, life: MapLife): Promise<DoubtList | null>;
  /** Resolves when it is on stable media. The other copy stays as it is. */
  writeDoubt(descriptor: BdevDescriptor, life: MapLife, list: DoubtList): Promise<void>;
  /** Throws a `RangeError`, which names field and limit, for a header that {@link readHeaders} would not give back. */
  check(header: ExtensionHeader): void;
  /**
   * Resolves when nothing of ours is left there, with room for a map of this many regions, on stable media: what a device has
   * from an earlier life must not count.
   */
  clear(descriptor: BdevDescriptor, numRegions: number): Promise<void>;
  /** Resolves when it is on stable media. The other copy stays as it is. */
  writeHeader(descriptor: BdevDescriptor, header: ExtensionHeader): Promise<void>;
  /** Resolves when they are on stable media. The pages' other copies stay as they are. */
  writePages(descriptor: BdevDescriptor, life: MapLife, pages: readonly RegionPage[]): Promise<void>;
}

/** Reads and writes superblocks. Defined here, implemented by `@raidkit/superblock`, handed in by the composer. */
export interface SuperblockStore {
  /** Bytes at the start of a member that are never data; with a large map there are more: {@link ExtensionStore.reservedBytes}. */
  readonly reservedBytes: number;
  /** What we keep there besides; absent: nothing. */
  readonly extension?: ExtensionStore | undefined;
  /**
   * Rejects only if the device cannot be read. `isVouchedFor`: a person says that it is a member. Only then a further copy
   * counts where the first cannot be read: another program that ran the array, or has the device by now, knows nothing of that
   * copy.
   */
  read(descriptor: BdevDescriptor, options?: { isVouchedFor?: boolean }): Promise<ReadResult>;
  /** Throws a `RangeError`, which names field and limit, for a record that {@link read} would not accept on every current member. */
  check(record: ArrayRecord): void;
  /** Resolves when the record is on stable media of this member. */
  write(descriptor: BdevDescriptor, record: ArrayRecord): Promise<void>;
  /** Resolves when no superblock is left on stable media. */
  clear(descriptor: BdevDescriptor): Promise<void>;
}

/**
 * The header was written with the superblock of this number, or is ahead of it by writes that a crash cut short, or that failed on
 * every member.
 */
export function goesWith({ previousSeqNumber, seqNumber }: ExtensionHeader, superblock: number): boolean {
  if (superblock === previousSeqNumber || superblock === seqNumber) return true;
  return superblock % seqStep === 0 && previousSeqNumber < superblock && superblock < seqNumber;
}

import { firstIncarnation, isUuid, readPolicies } from '@raidkit/core';
import type {
  BadBlocksHeader,
  ExtensionHeader,
  ExtensionSlot,
  MapLife,
  ReadPreference,
  RegionPage,
  SumsHeader,
} from '@raidkit/core';
import { SuperblockFieldError } from './codec.js';
import { crc32c } from './crc32c.js';
import { readU64, writeU64, readUuid, writeUuid, readIncarnation, writeIncarnation } from './fields.js';

/**
 * Layout of raidkit's own area between the superblock and the data; little-endian. Everything in it has a checksum, a
 * generation and two places that are written alternately, so that a torn write leaves the previous state.
 * docs/on-disk-format.md has the table.
 */
export const extensionLayout = {
  /** Byte offsets of the header's two copies. */
  headerAt: [64 * 1024, 96 * 1024],
  /** Room for a header, in bytes. */
  headerBytes: 16 * 1024,
  /** Byte offset of the first pages; each has two places, one behind the other. */
  pagesAt: 128 * 1024,
  pageBytes: 4096,
  /** Number of pages at `pagesAt`; all others follow at `morePagesAt`, before the data. */
  firstPages: 16,
  morePagesAt: 1024 * 1024,
  mostPages: 4096,
  /** Largest size in bytes of the level's options, such that a header of 255 slots has room for them. */
  mostOptionsBytes: 3500,
  /** Byte offset of the list of ranges in doubt; it has two places, one behind the other. */
  doubtAt: 384 * 1024,
  /** Byte offset and size of the journal's ring. */
  journalAt: 512 * 1024,
  journalBytes: 512 * 1024,
} as const;

const headerMagic = 'RAIDKIT1';
const pageMagic = 'RKRG';
const headerFixed = 128;
const slotBytes = 32;
/**
 * Size of what follows the slots: incarnation (8), length of the level's options (4), length of what follows these (4); then
 * come the options.
 */
const tailBytes = 16;
/**
 * Size of what follows the options: lineage (8), whether the outer array is known (1), whether sums are wanted (1), zero (6),
 * the outer array's uuid (16). Older headers end before this.
 */
const originBytes = 32;
/**
 * Size of what follows that in an array with sums: salt (32), number of blocks that have been summed (8), start of the checksum
 * pages (8), zero (16). Then comes each slot's number of errors (4) and, unless every slot's tag is its index, each slot's tag
 * (1).
 */
const sumsBytes = 64;
const sumsSlotBytes = 4;
const saltBytes = 32;
/** Stored as the index in this list plus 1; 0 for none. */
const processTypes = ['rebuild', 'resync', 'check', 'repair', 'replace', 'resum', 'sum'] as const;
const pageFixed = 64;
/** Regions in a page; each has two bits. */
export const regionsPerPage = (extensionLayout.pageBytes - pageFixed) * 4;

const decoder = new TextDecoder('latin1');
const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Largest stored value of a counter: the next one is still an exact number. */
const mostCounted = Number.MAX_SAFE_INTEGER - 1;
const mostRegions = extensionLayout.mostPages * regionsPerPage;

/** Byte offset of the first of a page's two places. */
export function pageAt(index: number): number {
  const { firstPages, morePagesAt, pageBytes, pagesAt } = extensionLayout;
  return index < firstPages ? pagesAt + index * 2 * pageBytes : morePagesAt + (index - firstPages) * 2 * pageBytes;
}

/**
 * Encodes the header as `headerBytes` bytes. Throws a SuperblockFieldError, which names field and limit, for a header that
 * {@link parseHeader} would not accept.
 */
export function encodeHeader(header: ExtensionHeader): Uint8Array {
  const fault = findHeaderFault(header);
  if (fault !== null) throw new SuperblockFieldError(fault);
  const bytes = new Uint8Array(extensionLayout.headerBytes);
  const view = new DataView(bytes.buffer);
  const options = encoder.encode(header.levelOptions);
  const tailAt = headerFixed + slotBytes * header.slots.length;
  const originAt = tailAt + tailBytes + options.length;
  const sumsAt = originAt + originBytes;
  const length = sumsAt + sumsLength(header);
  encoder.encodeInto(headerMagic, bytes);
  view.setUint32(12, length, true);
  writeU64(view, 16, header.generation);
  writeUuid(bytes, 24, header.arrayUuid);
  writeUuid(bytes, 40, header.memberUuid);
  writeU64(view, 56, header.seqNumber);
  writeU64(view, 64, header.previousSeqNumber);
  writeU64(view, 72, header.regionBlocks);
  writeU64(view, 80, header.numRegions);
  view.setUint32(88, header.slots.length, true);
  // 0 in older headers. A generation that does not fit is stored as the largest that does: it is a minimum, so a lower number
  // does no harm.
  if (header.badBlocks !== null) view.setUint32(92, Math.min(header.badBlocks.generation, mostListGeneration) + 1, true);
  writeU64(view, 96, header.journalEpoch);
  writeU64(view, 104, header.previousJournalEpoch);
  writeU64(view, 112, header.completedSeqNumber);
  if (header.process !== null) {
    view.setUint32(120, header.process.elapsedSec, true);
    view.setUint8(124, processTypes.indexOf(header.process.type) + 1);
  }
  // A version that knows only one journal slot finds that others have no member either, and then does not use the journal.
  view.setUint8(125, (header.journalSlots[0] ?? -1) + 1);
  view.setUint8(126, (header.previousJournalSlots[0] ?? -1) + 1);
  view.setUint8(127, readPolicies.indexOf(header.readPolicy));
  header.slots.forEach((slot, index) => {
    const at = headerFixed + index * slotBytes;
    // Only one of the two is not 0. Older versions take the former number for pages, which mean nothing without `lastSeqNumber`.
    const pagesOrFormer = slot.formerSeqNumber > 0 ? slot.formerSeqNumber : slot.pagesTaken;
    writeU64(view, at, slot.lastSeqNumber);
    view.setUint32(at + 8, Math.min(slot.readErrors, 0xffff_ffff), true);
    view.setUint32(at + 12, pagesOrFormer % 2 ** 32, true);
    view.setUint32(at + 16, Math.min(slot.writeErrors, 0xffff_ffff), true);
    view.setUint32(at + 20, Math.floor(pagesOrFormer / 2 ** 32), true);
    writeU64(view, at + 24, slot.repairedBlocks);
    const badFlag = header.badBlocks?.slots.includes(index) === true ? badBlocksFlag : 0;
    const former = slot.formerSeqNumber > 0 ? formerFlag : 0;
    view.setUint8(at + 30, journalFlags(header, index) | readFlags[slot.readPreference] | badFlag | former);
    view.setUint8(at + 31, slot.isRemovedByHand ? 1 : 0);
  });
  writeIncarnation(bytes, tailAt, header.incarnation);
  view.setUint32(tailAt + 8, options.length, true);
  view.setUint32(tailAt + 12, length - originAt, true);
  bytes.set(options, tailAt + tailBytes);
  writeIncarnation(bytes, originAt, header.lineage);
  if (header.outerUuid !== null) {
    view.setUint8(originAt + 8, 1);
    writeUuid(bytes, originAt + 16, header.outerUuid);
  }
  view.setUint8(originAt + 9, header.wantsIntegrity ? 1 : 0);
  if (header.sums !== null) writeSums(bytes, sumsAt, header.sums);
  view.setUint32(8, crc32c(bytes.subarray(0, length)), true);
  return bytes;
}

/** Returns null for anything but a complete, undamaged header. Never throws. */
export function parseHeader(bytes: Uint8Array): ExtensionHeader | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < headerFixed || decoder.decode(bytes.subarray(0, 8)) !== headerMagic) return null;
  const length = view.getUint32(12, true);
  const numSlots = view.getUint32(88, true);
  if (numSlots > 255 || length < headerFixed + slotBytes * numSlots || length > bytes.length) return null;
  if (!hasGoodChecksum(bytes.subarray(0, length))) return null;
  const tail = readTail(bytes.subarray(headerFixed + slotBytes * numSlots, length), numSlots);
  if (tail === null) return null;
  const type = processTypes[view.getUint8(124) - 1];
  const slots = Array.from({ length: numSlots }, (_, index): ExtensionSlot => {
    const at = headerFixed + index * slotBytes;
    const lastSeqNumber = readU64(view, at);
    // Both counts had twice the size in older headers; no count was large enough to use it.
    const pagesOrFormer = view.getUint32(at + 12, true) + view.getUint32(at + 20, true) * 2 ** 32;
    const isFormer = (view.getUint8(at + 30) & formerFlag) !== 0 && lastSeqNumber === 0;
    return {
      lastSeqNumber,
      formerSeqNumber: isFormer ? pagesOrFormer : 0,
      isRemovedByHand: view.getUint8(at + 31) === 1,
      readPreference: preferenceOf(view.getUint8(at + 30)),
      pagesTaken: isFormer ? 0 : pagesOrFormer,
      readErrors: view.getUint32(at + 8, true),
      writeErrors: view.getUint32(at + 16, true),
      repairedBlocks: view.getUint32(at + 24, true) + view.getUint16(at + 28, true) * 2 ** 32,
    };
  });
  const header: ExtensionHeader = {
    generation: readU64(view, 16),
    arrayUuid: readUuid(bytes, 24),
    memberUuid: readUuid(bytes, 40),
    seqNumber: readU64(view, 56),
    previousSeqNumber: readU64(view, 64),
    regionBlocks: readU64(view, 72),
    numRegions: readU64(view, 80),
    journalEpoch: readU64(view, 96),
    journalSlots: readJournalSlots(view, numSlots, 125, JournalFlag.Current),
    previousJournalEpoch: readU64(view, 104),
    previousJournalSlots: readJournalSlots(view, numSlots, 126, JournalFlag.Previous),
    completedSeqNumber: readU64(view, 112),
    badBlocks: readBadBlocksHeader(view, numSlots),
    process: type === undefined ? null : { type, elapsedSec: view.getUint32(120, true) },
    // An unknown policy of a newer version is no reason to reject the header.
    readPolicy: readPolicies[view.getUint8(127)] ?? readPolicies[0],
    slots,
    ...tail,
  };
  return findHeaderFault(header) === null ? header : null;
}

/** Flags of a slot, used if the journal stands in for several slots; a single one is in the fixed part of the header. */
const JournalFlag = { Current: 1, Previous: 2 } as const;

/** The slot's read preference, in the same byte as the flags of the journal. */
const readFlags: Readonly<Record<ReadPreference, number>> = { normal: 0, 'write-mostly': 4, prefer: 8 };

/** Flag of a slot that has entries in the list of bad blocks. */
const badBlocksFlag = 16;
/** Flag of a slot with a former sequence number, in the place of its pages taken. */
const formerFlag = 32;
/** Highest generation of a list of bad blocks that a header can store. */
const mostListGeneration = 0xffff_fffe;

function readBadBlocksHeader(view: DataView, numSlots: number): BadBlocksHeader | null {
  const said = view.getUint32(92, true);
  if (said === 0) return null;
  const all = Array.from({ length: numSlots }, (_, index) => index);
  const slots = all.filter((index) => (view.getUint8(headerFixed + index * slotBytes + 30) & badBlocksFlag) !== 0);
  return { generation: said - 1, slots };
}

function preferenceOf(flags: number): ReadPreference {
  if ((flags & readFlags['write-mostly']) !== 0) return 'write-mostly';
  return (flags & readFlags.prefer) !== 0 ? 'prefer' : 'normal';
}

function journalFlags({ journalSlots, previousJournalSlots }: ExtensionHeader, slot: number): number {
  const isFlagged = (slots: readonly number[]): boolean => slots.length > 1 && slots.includes(slot);
  return (isFlagged(journalSlots) ? JournalFlag.Current : 0) | (isFlagged(previousJournalSlots) ? JournalFlag.Previous : 0);
}

function readJournalSlots(view: DataView, numSlots: number, at: number, flag: number): number[] {
  const all = Array.from({ length: numSlots }, (_, index) => index);
  const flagged = all.filter((index) => (view.getUint8(headerFixed + index * slotBytes + 30) & flag) !== 0);
  const first = view.getUint8(at) - 1;
  return flagged.length > 0 || first < 0 ? flagged : [first];
}

/** An invalid field, and the reason. */
export interface Fault {
  field: string;
  message: string;
}

/** Returns the first invalid field, or null. Used for reading and for writing, so that what is written can be read. */
function findHeaderFault(header: ExtensionHeader): Fault | null {
  const { badBlocks, incarnation, levelOptions, lineage, outerUuid, process, slots, sums } = header;
  const counted = [
    'generation',
    'seqNumber',
    'previousSeqNumber',
    'completedSeqNumber',
    'journalEpoch',
    'previousJournalEpoch',
  ] as const;
  for (const field of counted) {
    const fault = integerFault(field, header[field], mostCounted);
    if (fault !== null) return fault;
  }
  return (
    integerFault('regionBlocks', header.regionBlocks, mostCounted) ??
    integerFault('numRegions', header.numRegions, mostRegions) ??
    integerFault('slots.length', slots.length, 255) ??
    journalSlotsFault('journalSlots', header.journalSlots, slots.length) ??
    journalSlotsFault('previousJournalSlots', header.previousJournalSlots, slots.length) ??
    (badBlocks === null ? null : badBlocksFault(badBlocks, slots.length)) ??
    (process === null ? null : integerFault('process.elapsedSec', process.elapsedSec, 0xffff_ffff)) ??
    incarnationFault('incarnation', incarnation) ??
    incarnationFault('lineage', lineage) ??
    (outerUuid === null || isUuid(outerUuid)
      ? null
      : { field: 'outerUuid', message: `outerUuid is ${outerUuid}, and must be a uuid` }) ??
    optionsFault(levelOptions) ??
    sumsFault(sums, slots.length) ??
    findSlotFault(slots)
  );
}

function findSlotFault(slots: readonly ExtensionSlot[]): Fault | null {
  for (const [index, slot] of slots.entries()) {
    const fault =
      integerFault('lastSeqNumber', slot.lastSeqNumber, mostCounted) ??
      integerFault('formerSeqNumber', slot.formerSeqNumber, hasRoomForFormer(slot) ? mostCounted : 0) ??
      integerFault('readErrors', slot.readErrors, mostCounted) ??
      integerFault('writeErrors', slot.writeErrors, mostCounted) ??
      integerFault('repairedBlocks', slot.repairedBlocks, 2 ** 48 - 1);
    if (fault !== null) return { field: `slots[${index}].${fault.field}`, message: `slots[${index}].${fault.message}` };
  }
  return null;
}

/** Whether the slot's record has room for a former sequence number. */
function hasRoomForFormer({ lastSeqNumber, pagesTaken }: ExtensionSlot): boolean {
  return lastSeqNumber === 0 && pagesTaken === 0;
}

/** Returns a fault if the slots are out of range or not in ascending order. */
function journalSlotsFault(field: string, listed: readonly number[], numSlots: number): Fault | null {
  const most = listed.length > 1 ? numSlots - 1 : 254;
  const isGood = listed.every(
    (slot, index) => Number.isInteger(slot) && slot >= 0 && slot <= most && slot > (listed[index - 1] ?? -1),
  );
  const message = `${field} is [${listed.join(', ')}]; it must have slots from 0 to ${most}, in ascending order`;
  return isGood ? null : { field, message };
}

function badBlocksFault({ generation, slots }: BadBlocksHeader, numSlots: number): Fault | null {
  const fault = integerFault('badBlocks.generation', generation, mostCounted);
  if (fault !== null) return fault;
  const isGood = slots.every((slot, index) => Number.isInteger(slot) && slot < numSlots && slot > (slots[index - 1] ?? -1));
  const message = `badBlocks.slots is [${slots.join(', ')}]; it must have slots from 0 to ${numSlots - 1}, in ascending order`;
  return isGood ? null : { field: 'badBlocks.slots', message };
}

function incarnationFault(field: string, value: string): Fault | null {
  return /^[0-9a-f]{16}$/.test(value) ? null : { field, message: `${field} is ${value}, and must be 16 hexadecimal digits` };
}

function optionsFault(levelOptions: string): Fault | null {
  const field = 'levelOptions';
  const { mostOptionsBytes } = extensionLayout;
  const { length } = encoder.encode(levelOptions);
  if (length > mostOptionsBytes) return { field, message: `${field} has ${length} bytes; it may have ${mostOptionsBytes}` };
  return isJsonObject(levelOptions) ? null : { field, message: `${field} is not a JSON object` };
}

/** Checks a count or an index; null if it is valid and the next one is still exact. */
export function countFault(field: string, value: number, most = mostCounted): Fault | null {
  return integerFault(field, value, most);
}

/** Checks a range of blocks: it must have at least one block and an exact end. Null if it is valid. */
export function rangeFault(field: string, start: number, count: number): Fault | null {
  if (start >= 0 && count >= 1 && Number.isSafeInteger(start) && Number.isSafeInteger(start + count)) return null;
  return { field, message: `${field} has ${count} blocks from ${start} on; it must have one at least, and end before 2^53` };
}

function integerFault(field: string, value: number, most: number): Fault | null {
  const isGood = Number.isInteger(value) && value >= 0 && value <= most;
  return isGood ? null : { field, message: `${field} is ${value}; it must be a whole number from 0 to ${most}` };
}

/** Parses what follows the slots; older headers have less there, or nothing. Returns null for what no version writes. */
function readTail(
  bytes: Uint8Array,
  numSlots: number,
): Pick<ExtensionHeader, 'incarnation' | 'levelOptions' | 'lineage' | 'outerUuid' | 'sums' | 'wantsIntegrity'> | null {
  const none = { outerUuid: null, sums: null, wantsIntegrity: false };
  if (bytes.length === 0) return { incarnation: firstIncarnation, levelOptions: '{}', lineage: firstIncarnation, ...none };
  if (bytes.length < tailBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const optionsBytes = view.getUint32(8, true);
  const moreBytes = view.getUint32(12, true);
  const withSums = originBytes + sumsBytes + sumsSlotBytes * numSlots;
  const hasSums = moreBytes === withSums || moreBytes === withSums + numSlots;
  if (moreBytes !== 0 && moreBytes !== originBytes && !hasSums) return null;
  if (optionsBytes > extensionLayout.mostOptionsBytes || tailBytes + optionsBytes + moreBytes !== bytes.length) return null;
  const originAt = tailBytes + optionsBytes;
  try {
    const incarnation = readIncarnation(bytes, 0);
    const levelOptions = textDecoder.decode(bytes.subarray(tailBytes, originAt));
    if (moreBytes === 0) return { incarnation, levelOptions, lineage: incarnation, ...none };
    const isSaid = view.getUint8(originAt + 8) === 1;
    return {
      incarnation,
      levelOptions,
      lineage: readIncarnation(bytes, originAt),
      outerUuid: isSaid ? readUuid(bytes, originAt + 16) : null,
      wantsIntegrity: view.getUint8(originAt + 9) === 1,
      sums: hasSums ? readSums(bytes.subarray(originAt + originBytes), numSlots) : null,
    };
  } catch {
    return null;
  }
}

function sumsLength({ sums, slots }: ExtensionHeader): number {
  if (sums === null) return 0;
  return sumsBytes + sumsSlotBytes * slots.length + (haveMoved(sums.tags) ? slots.length : 0);
}

function haveMoved(tags: readonly number[]): boolean {
  return tags.some((tag, slot) => tag !== slot);
}

function writeSums(bytes: Uint8Array, at: number, { areaAt, errors, salt, summedBlocks, tags }: SumsHeader): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  bytes.set(Buffer.from(salt, 'hex'), at);
  writeU64(view, at + saltBytes, summedBlocks);
  writeU64(view, at + saltBytes + 8, areaAt);
  errors.forEach((count, slot) => view.setUint32(at + sumsBytes + sumsSlotBytes * slot, Math.min(count, 0xffff_ffff), true));
  if (haveMoved(tags)) bytes.set(tags, at + sumsBytes + sumsSlotBytes * errors.length);
}

function readSums(bytes: Uint8Array, numSlots: number): SumsHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tags = bytes.subarray(sumsBytes + sumsSlotBytes * numSlots);
  return {
    salt: Buffer.from(bytes.subarray(0, saltBytes)).toString('hex'),
    summedBlocks: readU64(view, saltBytes),
    areaAt: readU64(view, saltBytes + 8),
    tags: tags.length > 0 ? [...tags] : Array.from({ length: numSlots }, (_, slot) => slot),
    errors: Array.from({ length: numSlots }, (_, slot) => view.getUint32(sumsBytes + sumsSlotBytes * slot, true)),
  };
}

function sumsFault(sums: SumsHeader | null, numSlots: number): Fault | null {
  if (sums === null) return null;
  const { areaAt, errors, salt, summedBlocks, tags } = sums;
  if (!/^[0-9a-f]{64}$/.test(salt))
    return { field: 'sums.salt', message: `sums.salt is ${salt}, and must be 64 hexadecimal digits` };
  if (errors.length !== numSlots)
    return { field: 'sums.errors', message: `sums.errors has ${errors.length} numbers for ${numSlots} slots` };
  if (tags.length !== numSlots || new Set(tags).size !== numSlots)
    return {
      field: 'sums.tags',
      message: `sums.tags is [${tags.join(', ')}], and must have another number for each of ${numSlots} slots`,
    };
  const tag = tags.findIndex((number) => integerFault('', number, 255) !== null);
  if (tag >= 0) return integerFault(`sums.tags[${tag}]`, tags[tag] ?? 0, 255);
  const wrong = errors.findIndex((count) => integerFault('', count, mostCounted) !== null);
  return (
    integerFault('sums.summedBlocks', summedBlocks, mostCounted) ??
    integerFault('sums.areaAt', areaAt, mostCounted) ??
    (wrong < 0 ? null : integerFault(`sums.errors[${wrong}]`, errors[wrong] ?? 0, mostCounted))
  );
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** Encodes the page as `pageBytes` bytes. Throws a SuperblockFieldError for a page that {@link parsePage} would not accept. */
export function encodePage(life: MapLife, page: RegionPage): Uint8Array {
  const fault = findPageFault(page);
  if (fault !== null) throw new SuperblockFieldError(fault);
  const bytes = new Uint8Array(extensionLayout.pageBytes);
  const view = new DataView(bytes.buffer);
  encoder.encodeInto(pageMagic, bytes);
  writeU64(view, 16, page.generation);
  writeUuid(bytes, 24, life.uuid);
  view.setUint32(40, page.index, true);
  view.setUint32(44, page.states.length, true);
  writeIncarnation(bytes, 48, life.incarnation);
  page.states.forEach((state, region) => {
    const at = pageFixed + (region >> 2);
    bytes[at] = (bytes[at] ?? 0) | ((state & 3) << ((region & 3) * 2));
  });
  view.setUint32(8, crc32c(bytes), true);
  return bytes;
}

/** Returns null for anything but a complete, undamaged page of this incarnation of the map. Never throws. */
export function parsePage(bytes: Uint8Array, life: MapLife): RegionPage | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length !== extensionLayout.pageBytes || decoder.decode(bytes.subarray(0, 4)) !== pageMagic) return null;
  if (!hasGoodChecksum(bytes) || readUuid(bytes, 24) !== life.uuid || readIncarnation(bytes, 48) !== life.incarnation)
    return null;
  const count = view.getUint32(44, true);
  if (count > regionsPerPage) return null;
  const states = Uint8Array.from({ length: count }, (_, region) => {
    return ((bytes[pageFixed + (region >> 2)] ?? 0) >> ((region & 3) * 2)) & 3;
  });
  const page = { index: view.getUint32(40, true), generation: readU64(view, 16), states };
  return findPageFault(page) === null ? page : null;
}

function findPageFault({ index, generation, states }: RegionPage): Fault | null {
  const fault =
    integerFault('index', index, extensionLayout.mostPages - 1) ??
    integerFault('generation', generation, mostCounted) ??
    integerFault('states.length', states.length, regionsPerPage);
  if (fault !== null) return fault;
  const wrong = states.findIndex((state) => state > 3);
  return wrong < 0 ? null : integerFault(`states[${wrong}]`, states[wrong] ?? 0, 3);
}

const zeroWord = new Uint8Array(4);

/** Whether the checksum at byte 8 is right: that of all bytes, with the checksum itself taken as zero. */
export function hasGoodChecksum(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const head = crc32c(zeroWord, 0, 4, crc32c(bytes, 0, 8));
  return crc32c(bytes, 12, bytes.length, head) === view.getUint32(8, true);
}

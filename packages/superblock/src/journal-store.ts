import { BlockClient } from '@raidkit/bdev';
import type { FoundEntry, JournalEntry, JournalMark, JournalStore, MapLife } from '@raidkit/core';
import { crc32c } from './crc32c.js';
import { extensionLayout } from './extension.js';
import { readU64, writeU64, readUuid, writeUuid, readIncarnation, writeIncarnation } from './fields.js';

const magic = 'RKJL';
const headerBytes = 4096;
const placeBytes = 32 * 1024;
const { journalAt, journalBytes } = extensionLayout;
/** Largest number of entries of one write: one per slot. */
const mostTogether = 255;
/** Flag in the header: the entry stands for zeros and has no data. */
const zeroFlag = 1;
/** Flag in the header: this is a mark. It has no blocks, and `overTo` in place of the first one, so that older versions ignore it. */
const markFlag = 2;

const decoder = new TextDecoder('latin1');
const encoder = new TextEncoder();

/**
 * Journal slots have a fixed size, so a new entry always overwrites the oldest one. If entries were stored end to end, an entry
 * older than the overwritten ones could survive in the gap at the ring's end and count as the latest.
 */
export const journalStore: JournalStore = {
  places: journalBytes / placeBytes,
  placeBytes,
  headerBytes,
  startBytes: journalAt,

  seal(bytes, life, place, blockSize, entry) {
    const fault = findEntryFault(entry, bytes.length, place, blockSize);
    if (fault !== null) throw new RangeError(fault);
    sealRecord(bytes, life, place, blockSize, { ...entry, flags: entry.isZero ? zeroFlag : 0 });
  },

  sealMark(bytes, life, place, blockSize, { epoch, id, overTo }) {
    const fault = findMarkFault({ epoch, id, overTo }, bytes.length, place);
    if (fault !== null) throw new RangeError(fault);
    const noBlocks = { numBlocks: 0, numTogether: 1, indexTogether: 0 };
    sealRecord(bytes, life, place, blockSize, { epoch, id, offsetBlocks: overTo, ...noBlocks, flags: markFlag });
  },

  async read(descriptor, life, epoch) {
    const { blockSize } = descriptor.bdev;
    const ring = await new BlockClient(descriptor).read(journalAt / blockSize, journalBytes / blockSize);
    const found: FoundEntry[] = [];
    let overTo = 0;
    for (let place = 0; place < journalBytes / placeBytes; place++) {
      const bytes = ring.subarray(place * placeBytes, (place + 1) * placeBytes);
      const entry = parseEntry(bytes, place, life, blockSize);
      if (entry?.epoch === epoch) found.push(entry);
      const mark = parseMark(bytes, place, life, blockSize);
      if (mark?.epoch === epoch) overTo = Math.max(overTo, mark.overTo);
    }
    return found.filter(({ id }) => id > overTo);
  },
};

/** Fields of a place's header that differ from place to place. */
type PlaceFields = Omit<JournalEntry, 'isZero'> & { flags: number };

function sealRecord(bytes: Uint8Array, life: MapLife, place: number, blockSize: number, fields: PlaceFields): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  bytes.fill(0, 0, headerBytes);
  encoder.encodeInto(magic, bytes);
  view.setUint32(12, bytes.length, true);
  writeU64(view, 16, fields.epoch);
  writeU64(view, 24, fields.id);
  writeUuid(bytes, 32, life.uuid);
  view.setUint32(48, place, true);
  view.setUint32(52, fields.flags, true);
  writeU64(view, 56, fields.offsetBlocks);
  writeU64(view, 64, fields.numBlocks);
  view.setUint32(72, blockSize, true);
  writeIncarnation(bytes, 80, life.incarnation);
  view.setUint32(88, fields.numTogether, true);
  view.setUint32(92, fields.indexTogether, true);
  view.setUint32(8, crc32c(bytes), true);
}

/** Returns the length of what the place has, if that is of this incarnation of the map and was written to this place; else 0. */
function lengthOf(bytes: Uint8Array, place: number, life: MapLife, blockSize: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < headerBytes || decoder.decode(bytes.subarray(0, 4)) !== magic) return 0;
  const length = view.getUint32(12, true);
  if (length < headerBytes || length > bytes.length || view.getUint32(48, true) !== place) return 0;
  if (readUuid(bytes, 32) !== life.uuid || readIncarnation(bytes, 80) !== life.incarnation) return 0;
  return view.getUint32(72, true) === blockSize ? length : 0;
}

/** Returns a copy of what the place has if its CRC is right. */
function copyIfIntact(bytes: Uint8Array, length: number): Uint8Array | null {
  const copy = bytes.slice(0, length);
  const view = new DataView(copy.buffer);
  const sum = view.getUint32(8, true);
  view.setUint32(8, 0, true);
  return crc32c(copy) === sum ? copy : null;
}

/**
 * Returns null for anything but a complete, undamaged entry of this incarnation of the map, written to this journal slot. Never
 * throws.
 */
export function parseEntry(bytes: Uint8Array, place: number, life: MapLife, blockSize: number): FoundEntry | null {
  const length = lengthOf(bytes, place, life, blockSize);
  if (length === 0) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entry: JournalEntry = {
    epoch: readU64(view, 16),
    id: readU64(view, 24),
    offsetBlocks: readU64(view, 56),
    numBlocks: readU64(view, 64),
    isZero: (view.getUint32(52, true) & zeroFlag) !== 0,
    // Older entries do not have this field and are alone.
    numTogether: Math.max(1, view.getUint32(88, true)),
    indexTogether: view.getUint32(92, true),
  };
  if (findEntryFault(entry, length, place, blockSize) !== null) return null;
  const copy = copyIfIntact(bytes, length);
  return copy === null ? null : { ...entry, data: copy.subarray(headerBytes) };
}

/** As {@link parseEntry}, for marks. */
export function parseMark(bytes: Uint8Array, place: number, life: MapLife, blockSize: number): JournalMark | null {
  const length = lengthOf(bytes, place, life, blockSize);
  if (length === 0) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(52, true) !== markFlag || readU64(view, 64) !== 0) return null;
  const mark: JournalMark = { epoch: readU64(view, 16), id: readU64(view, 24), overTo: readU64(view, 56) };
  if (findMarkFault(mark, length, place) !== null) return null;
  return copyIfIntact(bytes, length) === null ? null : mark;
}

function findMarkFault({ epoch, id, overTo }: JournalMark, lengthBytes: number, place: number): string | null {
  if (!(place >= 0 && place < journalBytes / placeBytes)) return `there is no slot ${place} in the journal`;
  if (!isCounted(epoch) || !isCounted(id)) return `epoch ${epoch} or number ${id} of a journal mark is out of range`;
  if (!isCounted(overTo) || overTo >= id) return `a journal mark with number ${id} cannot end entries up to ${overTo}`;
  return lengthBytes === headerBytes ? null : `a journal mark cannot have ${lengthBytes} bytes`;
}

/**
 * Returns why an entry of this length is invalid, or null. Used for reading and for writing, so that what is written can be
 * read.
 */
function findEntryFault(entry: JournalEntry, lengthBytes: number, place: number, blockSize: number): string | null {
  const { epoch, id, indexTogether, isZero, numBlocks, numTogether, offsetBlocks } = entry;
  if (!(place >= 0 && place < journalBytes / placeBytes)) return `there is no slot ${place} in the journal`;
  if (!isCounted(epoch) || !isCounted(id)) return `epoch ${epoch} or number ${id} of a journal entry is out of range`;
  if (!(offsetBlocks >= 0 && numBlocks >= 1 && Number.isSafeInteger(offsetBlocks + numBlocks))) {
    return `a journal entry of ${numBlocks} blocks at block ${offsetBlocks} is out of range`;
  }
  const isOneOf = numTogether <= mostTogether && indexTogether >= 0 && indexTogether < Math.min(numTogether, id);
  if (!isOneOf) {
    return `entry ${indexTogether} of ${numTogether} of a write, with number ${id}, is out of range`;
  }
  const dataBytes = isZero ? 0 : numBlocks * blockSize;
  if (lengthBytes !== headerBytes + dataBytes || lengthBytes > placeBytes) {
    return `a journal entry of ${numBlocks} blocks cannot have ${lengthBytes} bytes`;
  }
  return null;
}

/** Whether the number is 1 or more and the next one is still exact. */
function isCounted(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value < Number.MAX_SAFE_INTEGER;
}

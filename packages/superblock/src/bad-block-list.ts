import type { BadBlockList, BadRange, MapLife } from '@raidkit/core';
import { crc32c } from './crc32c.js';
import { SuperblockFieldError } from './codec.js';
import type { Fault } from './extension.js';
import { countFault, hasGoodChecksum, rangeFault } from './extension.js';
import { readU64, writeU64, readUuid, writeUuid, readIncarnation, writeIncarnation } from './fields.js';

/** Layout of the list of bad blocks; little-endian. docs/on-disk-format.md has the table. */
export const badBlocksLayout = {
  /** Byte offsets of the two places, which are written alternately. */
  at: [256 * 1024, 320 * 1024],
  /** Room for a list, in bytes. */
  bytes: 64 * 1024,
  /** A list is written in multiples of this many bytes. */
  unitBytes: 4096,
} as const;

const magic = 'RKBB';
const fixedBytes = 64;
const entryBytes = 16;
/** Largest number of slots of an array, and of blocks of a range, whose count has six bytes. */
const mostSlots = 255;
const mostBlocks = 2 ** 48 - 1;
/** Largest number of ranges of a list. */
export const mostBadRanges = (badBlocksLayout.bytes - fixedBytes) / entryBytes;

const decoder = new TextDecoder('latin1');
const encoder = new TextEncoder();

/**
 * Encodes the list in as many units as it needs. Throws a SuperblockFieldError for a list that {@link parseBadBlocks} would not
 * accept.
 */
export function encodeBadBlocks(life: MapLife, list: BadBlockList): Uint8Array {
  const fault = findListFault(list);
  if (fault !== null) throw new SuperblockFieldError(fault);
  const { generation, ranges } = list;
  const length = fixedBytes + ranges.length * entryBytes;
  const { unitBytes } = badBlocksLayout;
  const bytes = new Uint8Array(Math.ceil(length / unitBytes) * unitBytes);
  const view = new DataView(bytes.buffer);
  encoder.encodeInto(magic, bytes);
  view.setUint32(12, length, true);
  writeU64(view, 16, generation);
  writeUuid(bytes, 24, life.uuid);
  view.setUint32(40, ranges.length, true);
  writeIncarnation(bytes, 48, life.incarnation);
  ranges.forEach(({ slot, offsetBlocks, numBlocks }, index) => {
    const at = fixedBytes + index * entryBytes;
    writeU64(view, at, offsetBlocks);
    view.setUint32(at + 8, numBlocks % 2 ** 32, true);
    view.setUint16(at + 12, Math.floor(numBlocks / 2 ** 32), true);
    view.setUint16(at + 14, slot, true);
  });
  view.setUint32(8, crc32c(bytes.subarray(0, length)), true);
  return bytes;
}

/** Length in bytes of the list that starts with these bytes; 0 if none does. Never throws. */
export function badBlocksLength(bytes: Uint8Array): number {
  if (bytes.length < fixedBytes || decoder.decode(bytes.subarray(0, 4)) !== magic) return 0;
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(12, true);
  return length < fixedBytes || length > badBlocksLayout.bytes ? 0 : length;
}

/** Returns null for anything but a complete, undamaged list of this incarnation of the array. Never throws. */
export function parseBadBlocks(bytes: Uint8Array, life: MapLife): BadBlockList | null {
  const length = badBlocksLength(bytes);
  if (length === 0 || length > bytes.length || !hasGoodChecksum(bytes.subarray(0, length))) return null;
  if (readUuid(bytes, 24) !== life.uuid || readIncarnation(bytes, 48) !== life.incarnation) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(40, true);
  if (length !== fixedBytes + count * entryBytes) return null;
  const ranges = Array.from({ length: count }, (_, index): BadRange => {
    const at = fixedBytes + index * entryBytes;
    return {
      slot: view.getUint16(at + 14, true),
      offsetBlocks: readU64(view, at),
      numBlocks: view.getUint32(at + 8, true) + view.getUint16(at + 12, true) * 2 ** 32,
    };
  });
  const list = { generation: readU64(view, 16), ranges };
  return findListFault(list) === null ? list : null;
}

/** Used for reading and for writing, so that what is written can be read. */
function findListFault({ generation, ranges }: BadBlockList): Fault | null {
  const fault = countFault('generation', generation) ?? countFault('ranges.length', ranges.length, mostBadRanges);
  if (fault !== null) return fault;
  for (const [index, { slot, offsetBlocks, numBlocks }] of ranges.entries()) {
    const wrong =
      countFault(`ranges[${index}].slot`, slot, mostSlots - 1) ??
      countFault(`ranges[${index}].numBlocks`, numBlocks, mostBlocks) ??
      rangeFault(`ranges[${index}]`, offsetBlocks, numBlocks);
    if (wrong !== null) return wrong;
  }
  return null;
}

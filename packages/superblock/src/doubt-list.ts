import type { DoubtList, MapLife } from '@raidkit/core';
import { crc32c } from './crc32c.js';
import { SuperblockFieldError } from './codec.js';
import type { Fault } from './extension.js';
import { countFault, hasGoodChecksum, rangeFault } from './extension.js';
import { readU64, writeU64, readUuid, writeUuid, readIncarnation, writeIncarnation } from './fields.js';

const magic = 'RKIC';
const fixedBytes = 64;
const rangeBytes = 16;
/** Size of a copy in bytes. */
export const doubtBytes = 16 * 1024;
/** Ranges that fit in a copy. */
export const mostDoubtRanges = (doubtBytes - fixedBytes) / rangeBytes;

const decoder = new TextDecoder('latin1');
const encoder = new TextEncoder();

/**
 * Encodes the list as {@link doubtBytes} bytes. Throws a SuperblockFieldError for a list that {@link parseDoubtList} would not
 * accept.
 */
export function encodeDoubtList(life: MapLife, list: DoubtList): Uint8Array {
  const fault = findListFault(list);
  if (fault !== null) throw new SuperblockFieldError(fault);
  const bytes = new Uint8Array(doubtBytes);
  const view = new DataView(bytes.buffer);
  encoder.encodeInto(magic, bytes);
  writeU64(view, 16, list.generation);
  writeUuid(bytes, 24, life.uuid);
  writeIncarnation(bytes, 40, life.incarnation);
  view.setUint32(48, list.ranges.length, true);
  list.ranges.forEach(({ start, count }, index) => {
    writeU64(view, fixedBytes + index * rangeBytes, start);
    writeU64(view, fixedBytes + index * rangeBytes + 8, count);
  });
  view.setUint32(8, crc32c(bytes), true);
  return bytes;
}

/** Returns null for anything but a complete, undamaged list of this incarnation of the map. Never throws. */
export function parseDoubtList(bytes: Uint8Array, life: MapLife): DoubtList | null {
  if (bytes.length !== doubtBytes || decoder.decode(bytes.subarray(0, 4)) !== magic) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!hasGoodChecksum(bytes) || readUuid(bytes, 24) !== life.uuid || readIncarnation(bytes, 40) !== life.incarnation)
    return null;
  const count = view.getUint32(48, true);
  if (count > mostDoubtRanges) return null;
  const ranges = Array.from({ length: count }, (_, index) => ({
    start: readU64(view, fixedBytes + index * rangeBytes),
    count: readU64(view, fixedBytes + index * rangeBytes + 8),
  }));
  const list = { generation: readU64(view, 16), ranges };
  return findListFault(list) === null ? list : null;
}

/** Used for reading and for writing, so that what is written can be read. */
function findListFault({ generation, ranges }: DoubtList): Fault | null {
  const fault = countFault('generation', generation) ?? countFault('ranges.length', ranges.length, mostDoubtRanges);
  if (fault !== null) return fault;
  for (const [index, { start, count }] of ranges.entries()) {
    const wrong = rangeFault(`ranges[${index}]`, start, count);
    if (wrong !== null) return wrong;
  }
  return null;
}

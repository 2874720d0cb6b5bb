import { isUuid, nullUuid } from '@raidkit/bdev';
import { crc32c } from './crc32c.js';
import { readU64, readUuid, writeU64, writeUuid } from './fields.js';
import * as at from './layout.js';

/** State of a member in a superblock. SPDK never writes Spare. */
export const MemberState = { Missing: 0, Configured: 1, Failed: 2, Spare: 3 } as const;
export type MemberState = (typeof MemberState)[keyof typeof MemberState];

export interface SuperblockMember {
  /** The uuid of the member's block device. */
  uuid: string;
  dataOffsetBlocks: number;
  dataSizeBlocks: number;
  state: MemberState;
  flags: number;
  slot: number;
}

export interface Superblock {
  versionMajor: number;
  versionMinor: number;
  flags: number;
  /** The array's uuid. */
  uuid: string;
  /** 1 to 63 bytes of UTF-8. It comes from a disk and must never be used as a path. */
  name: string;
  raidSizeBlocks: number;
  /** In bytes. */
  blockSize: number;
  /** Level code: raid0 = 0, raid1 = 1, raid5f = 95, concat = 99. Others are checked by the code that knows the level. */
  level: number;
  /** 0 where the level has no strips. */
  stripSizeBlocks: number;
  /** Always 0 so far. */
  state: number;
  /**
   * Increases with each write, by one in SPDK and to the next multiple of core's `seqStep` in raidkit. At most 2^53 - 2, so
   * that the next one is still exact.
   */
  seqNumber: number;
  numBaseBdevs: number;
  members: SuperblockMember[];
}

/**
 * - `none`: there is no superblock.
 * - `incomplete`: the superblock is longer than the given bytes; parse again with `neededBytes` bytes.
 * - `damaged`: the checksum is wrong, as after a torn write.
 * - `unsupported`: the major version is another one.
 * - `invalid`: the checksum is right, but the value of `field` is not possible.
 */
export type ParseResult =
  | { ok: true; superblock: Superblock; length: number; warnings: string[] }
  | {
      ok: false;
      reason: 'none' | 'incomplete' | 'damaged' | 'unsupported' | 'invalid';
      field?: string;
      message: string;
      neededBytes?: number;
    };

/** A superblock that must not be written. This is the caller's mistake, found before any byte reaches a disk. */
export class SuperblockFieldError extends RangeError {
  override readonly name = 'SuperblockFieldError';
  readonly code = 'ERR_SUPERBLOCK_FIELD';
  readonly field: string;

  constructor(fault: { field: string; message: string }) {
    super(fault.message);
    this.field = fault.field;
  }
}

interface Fault {
  field: string;
  message: string;
}

const MAX_U8 = 0xff;
const MAX_U16 = 0xffff;
const MAX_U32 = 0xffffffff;
const MAX_SEQ_NUMBER = Number.MAX_SAFE_INTEGER - 1;
const MIN_BLOCK_SIZE = 512;
const MAX_BLOCK_SIZE = 65536;
const ENTRY_STATES: readonly number[] = Object.values(MemberState);

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Encodes `sb` with its checksum in exactly the superblock's length. Throws a SuperblockFieldError for anything that
 * `parseSuperblock` would not accept. UUIDs are in lower case.
 */
export function encodeSuperblock(sb: Superblock): Uint8Array {
  const fault = findFault(sb);
  if (fault !== null) throw new SuperblockFieldError(fault);

  const bytes = new Uint8Array(at.HEADER_BYTES + at.ENTRY_BYTES * sb.members.length);
  const view = new DataView(bytes.buffer);
  encoder.encodeInto(at.SIGNATURE, bytes.subarray(at.SIGNATURE_OFFSET));
  view.setUint16(at.VERSION_MAJOR_OFFSET, sb.versionMajor, true);
  view.setUint16(at.VERSION_MINOR_OFFSET, sb.versionMinor, true);
  view.setUint32(at.LENGTH_OFFSET, bytes.length, true);
  view.setUint32(at.FLAGS_OFFSET, sb.flags, true);
  writeUuid(bytes, at.UUID_OFFSET, sb.uuid);
  encoder.encodeInto(sb.name, bytes.subarray(at.NAME_OFFSET, at.NAME_OFFSET + at.NAME_BYTES));
  writeU64(view, at.RAID_SIZE_OFFSET, sb.raidSizeBlocks);
  view.setUint32(at.BLOCK_SIZE_OFFSET, sb.blockSize, true);
  view.setUint32(at.LEVEL_OFFSET, sb.level, true);
  view.setUint32(at.STRIP_SIZE_OFFSET, sb.stripSizeBlocks, true);
  view.setUint32(at.STATE_OFFSET, sb.state, true);
  writeU64(view, at.SEQ_NUMBER_OFFSET, sb.seqNumber);
  view.setUint8(at.NUM_BASE_BDEVS_OFFSET, sb.numBaseBdevs);
  view.setUint8(at.BASE_BDEVS_SIZE_OFFSET, sb.members.length);
  sb.members.forEach((member, index) => {
    const entry = at.HEADER_BYTES + at.ENTRY_BYTES * index;
    writeUuid(bytes, entry + at.ENTRY_UUID_OFFSET, member.uuid);
    writeU64(view, entry + at.ENTRY_DATA_OFFSET_OFFSET, member.dataOffsetBlocks);
    writeU64(view, entry + at.ENTRY_DATA_SIZE_OFFSET, member.dataSizeBlocks);
    view.setUint32(entry + at.ENTRY_STATE_OFFSET, member.state, true);
    view.setUint32(entry + at.ENTRY_FLAGS_OFFSET, member.flags, true);
    view.setUint8(entry + at.ENTRY_SLOT_OFFSET, member.slot);
  });
  view.setUint32(at.CRC_OFFSET, checksum(bytes, bytes.length), true);
  return bytes;
}

/**
 * Parses the superblock at the start of `bytes`, which may be longer. Never throws: the bytes may come from any program. An
 * accepted superblock is consistent in itself; `checkAgainstDevice` checks whether it fits the device, and the code that knows
 * the level checks the level and the array's size.
 */
export function parseSuperblock(bytes: Uint8Array): ParseResult {
  for (let i = 0; i < Math.min(at.SIGNATURE.length, bytes.length); i++) {
    if (bytes[i] !== at.SIGNATURE.charCodeAt(i))
      return { ok: false, reason: 'none', message: 'no superblock: the signature is missing' };
  }
  if (bytes.length < at.HEADER_BYTES) return incomplete(at.HEADER_BYTES, bytes.length);

  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(at.LENGTH_OFFSET, true);
  if (length < at.HEADER_BYTES || length > at.MAX_SUPERBLOCK_BYTES) {
    return invalid(outOfRange('length', length, at.HEADER_BYTES, at.MAX_SUPERBLOCK_BYTES));
  }
  if (length > bytes.length) return incomplete(length, bytes.length);

  const stored = view.getUint32(at.CRC_OFFSET, true);
  const computed = checksum(bytes, length);
  if (stored !== computed) {
    return {
      ok: false,
      reason: 'damaged',
      field: 'crc',
      message: `the superblock is damaged: its checksum is ${hex(computed)}, but ${hex(stored)} is stored`,
    };
  }
  const versionMajor = view.getUint16(at.VERSION_MAJOR_OFFSET, true);
  if (versionMajor !== at.VERSION_MAJOR) {
    return {
      ok: false,
      reason: 'unsupported',
      field: 'versionMajor',
      message: `the superblock has major version ${versionMajor}; only ${at.VERSION_MAJOR} is supported`,
    };
  }

  const baseBdevsSize = view.getUint8(at.BASE_BDEVS_SIZE_OFFSET);
  const impliedLength = at.HEADER_BYTES + at.ENTRY_BYTES * baseBdevsSize;
  if (length !== impliedLength) {
    return invalid({ field: 'length', message: `length is ${length}, but ${baseBdevsSize} entries need ${impliedLength}` });
  }
  const name = readName(bytes);
  if (typeof name !== 'string') return invalid(name);
  const superblock = readFields(bytes, view, name, baseBdevsSize);
  const fault = findFault(superblock);
  if (fault !== null) return invalid(fault);
  return { ok: true, superblock, length, warnings: findOddities(bytes, superblock) };
}

/**
 * Fields of a superblock's first sector, which is never torn, whatever happened to the other sectors. Only for bytes that
 * `parseSuperblock` calls damaged.
 */
export function readFirstSector(bytes: Uint8Array): Pick<Superblock, 'uuid' | 'seqNumber'> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { uuid: readUuid(bytes, at.UUID_OFFSET), seqNumber: readU64(view, at.SEQ_NUMBER_OFFSET) };
}

/**
 * Returns a fault of the first configured entry that no device could match, since `checkAgainstDevice` would refuse it on any;
 * null if there is none.
 */
export function findUnusableMember(sb: Superblock): { field: string; message: string } | null {
  const leastOffset = at.MIN_DATA_OFFSET_BYTES / sb.blockSize;
  for (const [index, { dataOffsetBlocks, dataSizeBlocks, state }] of sb.members.entries()) {
    if (state !== MemberState.Configured) continue;
    const fault =
      integerFault(`members[${index}].dataOffsetBlocks`, dataOffsetBlocks, leastOffset, Number.MAX_SAFE_INTEGER) ??
      integerFault(`members[${index}].dataSizeBlocks`, dataSizeBlocks, 1, Number.MAX_SAFE_INTEGER - dataOffsetBlocks);
    if (fault !== null) return fault;
  }
  return null;
}

/**
 * Checks whether `sb` fits a member with this UUID and size. Of several entries with the UUID a configured one counts. The
 * entry's state is left for the caller to judge.
 */
export function checkAgainstDevice(
  sb: Superblock,
  memberUuid: string,
  device: { blockSize: number; numBlocks: number },
): { ok: true; member: SuperblockMember } | { ok: false; message: string } {
  const refuse = (message: string) => ({ ok: false as const, message });
  if (device.blockSize !== sb.blockSize) {
    return refuse(`the superblock is for blocks of ${sb.blockSize} bytes, the device has blocks of ${device.blockSize}`);
  }
  const uuid = memberUuid.toLowerCase();
  const entries = uuid === nullUuid ? [] : sb.members.filter((candidate) => candidate.uuid.toLowerCase() === uuid);
  const member = entries.find(({ state }) => state === MemberState.Configured) ?? entries[0];
  if (member === undefined) return refuse(`the superblock of array "${sb.name}" does not list device ${memberUuid}`);
  const { dataOffsetBlocks, dataSizeBlocks } = member;
  const minOffsetBlocks = at.MIN_DATA_OFFSET_BYTES / sb.blockSize;
  if (dataOffsetBlocks < minOffsetBlocks) {
    return refuse(
      `the data area in slot ${member.slot} starts at block ${dataOffsetBlocks}; it must leave ${minOffsetBlocks} blocks for the superblock`,
    );
  }
  if (dataSizeBlocks < 1) return refuse(`the data area in slot ${member.slot} is empty`);
  if (dataOffsetBlocks + dataSizeBlocks > device.numBlocks) {
    return refuse(
      `the data area in slot ${member.slot} ends at block ${dataOffsetBlocks + dataSizeBlocks}; the device has ${device.numBlocks}`,
    );
  }
  return { ok: true, member };
}

/** Returns the first invalid field, or null. Used for reading and for writing, so that what is written can be read. */
function findFault(sb: Superblock): Fault | null {
  return (
    integerFault('versionMajor', sb.versionMajor, at.VERSION_MAJOR, at.VERSION_MAJOR) ??
    integerFault('versionMinor', sb.versionMinor, 0, MAX_U16) ??
    integerFault('flags', sb.flags, 0, MAX_U32) ??
    uuidFault('uuid', sb.uuid, true) ??
    nameFault(sb.name) ??
    integerFault('raidSizeBlocks', sb.raidSizeBlocks, 0, Number.MAX_SAFE_INTEGER) ??
    powerOfTwoFault('blockSize', sb.blockSize, MIN_BLOCK_SIZE, MAX_BLOCK_SIZE) ??
    integerFault('level', sb.level, 0, MAX_U32) ??
    (sb.stripSizeBlocks === 0 ? null : powerOfTwoFault('stripSizeBlocks', sb.stripSizeBlocks, 1, MAX_U32)) ??
    integerFault('state', sb.state, 0, MAX_U32) ??
    integerFault('seqNumber', sb.seqNumber, 0, MAX_SEQ_NUMBER) ??
    integerFault('numBaseBdevs', sb.numBaseBdevs, 1, at.MAX_MEMBERS) ??
    integerFault('members.length', sb.members.length, sb.numBaseBdevs, at.MAX_MEMBERS) ??
    findMemberFault(sb)
  );
}

function findMemberFault(sb: Superblock): Fault | null {
  const slots = new Set<number>();
  const uuids = new Set<string>();
  for (const [index, member] of sb.members.entries()) {
    const ofMember = ({ field, message }: Fault): Fault => ({
      field: `members[${index}].${field}`,
      message: `members[${index}].${message}`,
    });
    const isConfigured = member.state === MemberState.Configured;
    const fault =
      uuidFault('uuid', member.uuid, isConfigured) ??
      integerFault('dataOffsetBlocks', member.dataOffsetBlocks, 0, Number.MAX_SAFE_INTEGER) ??
      integerFault('dataSizeBlocks', member.dataSizeBlocks, 0, Number.MAX_SAFE_INTEGER - member.dataOffsetBlocks) ??
      (ENTRY_STATES.includes(member.state) ? null : outOfRange('state', member.state, 0, MemberState.Spare)) ??
      integerFault('flags', member.flags, 0, MAX_U32) ??
      integerFault('slot', member.slot, 0, Math.min(sb.numBaseBdevs - 1, MAX_U8));
    if (fault !== null) return ofMember(fault);
    if (slots.has(member.slot))
      return ofMember({ field: 'slot', message: `slot is ${member.slot}, which another entry has already` });
    slots.add(member.slot);
    if (!isConfigured) continue;
    const uuid = member.uuid.toLowerCase();
    if (uuids.has(uuid))
      return ofMember({ field: 'uuid', message: `uuid is ${uuid}, which another configured entry has already` });
    uuids.add(uuid);
  }
  return null;
}

function outOfRange(field: string, value: unknown, min: number, max: number): Fault {
  return { field, message: `${field} is ${String(value)}; it must be ${min === max ? '' : `from ${min} to `}${max}` };
}

function integerFault(field: string, value: number, min: number, max: number): Fault | null {
  return Number.isInteger(value) && value >= min && value <= max ? null : outOfRange(field, value, min, max);
}

function powerOfTwoFault(field: string, value: number, min: number, max: number): Fault | null {
  const fault = integerFault(field, value, min, max);
  if (fault !== null) return fault;
  return Number.isInteger(Math.log2(value)) ? null : { field, message: `${field} is ${value}; it must be a power of two` };
}

function uuidFault(field: string, uuid: string, mustBeSet: boolean): Fault | null {
  if (!isUuid(uuid)) return { field, message: `${field} is ${JSON.stringify(uuid)}, which is not a UUID` };
  return mustBeSet && uuid === nullUuid ? { field, message: `${field} is the null UUID` } : null;
}

function nameFault(name: string): Fault | null {
  const encoded = encoder.encode(name);
  const max = at.NAME_BYTES - 1;
  if (encoded.length < 1 || encoded.length > max) {
    return { field: 'name', message: `name has ${encoded.length} bytes; it must have from 1 to ${max}` };
  }
  if (/\p{Cc}/u.test(name))
    return { field: 'name', message: `name is ${JSON.stringify(name)}; it must not have control characters` };
  // The encoder replaces unpaired surrogates.
  if (decoder.decode(encoded) !== name)
    return { field: 'name', message: `name is ${JSON.stringify(name)}, which is not well-formed text` };
  return null;
}

function readName(bytes: Uint8Array): string | Fault {
  const raw = bytes.subarray(at.NAME_OFFSET, at.NAME_OFFSET + at.NAME_BYTES);
  const end = raw.indexOf(0);
  if (end < 0) return { field: 'name', message: `name has no NUL among its ${at.NAME_BYTES} bytes` };
  try {
    return decoder.decode(raw.subarray(0, end));
  } catch {
    return { field: 'name', message: `name (${Buffer.from(raw.subarray(0, end)).toString('hex')}) is not UTF-8` };
  }
}

function readFields(bytes: Uint8Array, view: DataView, name: string, baseBdevsSize: number): Superblock {
  const members: SuperblockMember[] = [];
  for (let index = 0; index < baseBdevsSize; index++) {
    const entry = at.HEADER_BYTES + at.ENTRY_BYTES * index;
    members.push({
      uuid: readUuid(bytes, entry + at.ENTRY_UUID_OFFSET),
      dataOffsetBlocks: readU64(view, entry + at.ENTRY_DATA_OFFSET_OFFSET),
      dataSizeBlocks: readU64(view, entry + at.ENTRY_DATA_SIZE_OFFSET),
      // May be any number here; findFault checks it next.
      state: view.getUint32(entry + at.ENTRY_STATE_OFFSET, true) as MemberState,
      flags: view.getUint32(entry + at.ENTRY_FLAGS_OFFSET, true),
      slot: view.getUint8(entry + at.ENTRY_SLOT_OFFSET),
    });
  }
  return {
    versionMajor: view.getUint16(at.VERSION_MAJOR_OFFSET, true),
    versionMinor: view.getUint16(at.VERSION_MINOR_OFFSET, true),
    flags: view.getUint32(at.FLAGS_OFFSET, true),
    uuid: readUuid(bytes, at.UUID_OFFSET),
    name,
    raidSizeBlocks: readU64(view, at.RAID_SIZE_OFFSET),
    blockSize: view.getUint32(at.BLOCK_SIZE_OFFSET, true),
    level: view.getUint32(at.LEVEL_OFFSET, true),
    stripSizeBlocks: view.getUint32(at.STRIP_SIZE_OFFSET, true),
    state: view.getUint32(at.STATE_OFFSET, true),
    seqNumber: readU64(view, at.SEQ_NUMBER_OFFSET),
    numBaseBdevs: view.getUint8(at.NUM_BASE_BDEVS_OFFSET),
    members,
  };
}

/** Returns warnings about content that is valid but would be lost when the superblock is written again. */
function findOddities(bytes: Uint8Array, sb: Superblock): string[] {
  const warnings: string[] = [];
  const isZero = (start: number, end: number) => bytes.subarray(start, end).every((byte) => byte === 0);
  if (sb.versionMinor > at.VERSION_MINOR) warnings.push(`minor version ${sb.versionMinor} is newer than ${at.VERSION_MINOR}`);
  const nameEnd = bytes.indexOf(0, at.NAME_OFFSET);
  if (!isZero(nameEnd, at.NAME_OFFSET + at.NAME_BYTES)) warnings.push('there are bytes after the end of the name');
  const reservedFilled =
    !isZero(at.RESERVED_OFFSET, at.BASE_BDEVS_SIZE_OFFSET) ||
    sb.members.some((_, index) => {
      const entry = at.HEADER_BYTES + at.ENTRY_BYTES * index;
      return !isZero(entry + at.ENTRY_RESERVED_OFFSET, entry + at.ENTRY_BYTES);
    });
  if (reservedFilled) warnings.push('reserved bytes are not zero');
  return warnings;
}

function incomplete(neededBytes: number, givenBytes: number): ParseResult {
  return {
    ok: false,
    reason: 'incomplete',
    field: 'length',
    message: `the superblock needs ${neededBytes} bytes, ${givenBytes} are given`,
    neededBytes,
  };
}

function invalid({ field, message }: Fault): ParseResult {
  return { ok: false, reason: 'invalid', field, message: `the superblock is invalid: ${message}` };
}

/** Checksum of the first `length` bytes, with the checksum field taken as zero. */
function checksum(bytes: Uint8Array, length: number): number {
  const head = crc32c(bytes, 0, at.CRC_OFFSET);
  return crc32c(bytes, at.FLAGS_OFFSET, length, crc32c(ZERO_WORD, 0, ZERO_WORD.length, head));
}

const ZERO_WORD = new Uint8Array(4);

function hex(word: number): string {
  return `0x${word.toString(16).padStart(8, '0')}`;
}

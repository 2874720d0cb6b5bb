import { BlockClient } from '@raidkit/bdev';
import type { BdevDescriptor } from '@raidkit/bdev';
import { nullUuid, seqStep } from '@raidkit/core';
import type { ArrayRecord, ReadResult, SlotRecord, SuperblockStore } from '@raidkit/core';
import {
  MemberState,
  SuperblockFieldError,
  checkAgainstDevice,
  encodeSuperblock,
  findUnusableMember,
  parseSuperblock,
  readFirstSector,
} from './codec.js';
import type { ParseResult, Superblock } from './codec.js';
import { extensionStore } from './extension-store.js';
import {
  CRC_OFFSET,
  HEADER_BYTES,
  MAX_SUPERBLOCK_BYTES,
  MIN_DATA_OFFSET_BYTES,
  SECOND_COPY_OFFSET,
  SEQ_NUMBER_OFFSET,
  SIGNATURE,
  VERSION_MAJOR,
  VERSION_MINOR,
} from './layout.js';

/** Largest number of flipped bits for which the first copy still counts as a damaged version of the second. */
const mostTurnedBits = 8;

const stateOf = {
  configured: MemberState.Configured,
  missing: MemberState.Missing,
  failed: MemberState.Failed,
} as const;

/**
 * Stores SPDK superblocks at the start of each member, with a second copy that SPDK does not know. The copies are written in
 * place, each flushed before the next is written, so one of them is whole at any time.
 *
 * The first place decides, whether it holds a valid copy or anything else (zeros, another program's data). The second copy is
 * used only if the first place holds one of our own writes that is torn or has a few flipped bits, or if it cannot be read and
 * the user has vouched for the device.
 */
export const spdkSuperblockStore: SuperblockStore = {
  reservedBytes: MIN_DATA_OFFSET_BYTES,
  extension: extensionStore,

  async read(descriptor: BdevDescriptor, { isVouchedFor = false } = {}): Promise<ReadResult> {
    const first = await readCopy(descriptor, 0).catch((error: unknown) => {
      if (!isVouchedFor) throw error;
      return readSecondInstead(descriptor, error);
    });
    const parsed = (await readSecondIfFirstIsOurs(descriptor, first)) ?? first.parsed;
    if (!parsed.ok) return parsed.reason === 'none' ? { kind: 'none' } : { kind: 'unusable', message: parsed.message };
    const { superblock } = parsed;
    const misfit = findMisfit(superblock, descriptor);
    return misfit === null ? { kind: 'found', record: toRecord(superblock) } : { kind: 'unusable', message: misfit };
  },

  check(record: ArrayRecord): void {
    encodeRecord(record);
  },

  async write(descriptor: BdevDescriptor, record: ArrayRecord): Promise<void> {
    const { superblock, bytes } = encodeRecord(record);
    const misfit = findMisfit(superblock, descriptor);
    if (misfit !== null) throw new RangeError(misfit);
    const { blockSize } = descriptor.bdev;
    const blocks = new Uint8Array(Math.ceil(bytes.length / blockSize) * blockSize);
    blocks.set(bytes);
    for (const offset of copiesAt(blockSize)) await writeAndFlush(descriptor, offset, blocks);
  },

  async clear(descriptor: BdevDescriptor): Promise<void> {
    const { blockSize } = descriptor.bdev;
    const [, last] = copiesAt(blockSize);
    // One write for both copies: a partly cleared first copy with a whole second one would be the old superblock again.
    await writeAndFlush(descriptor, 0, new Uint8Array(last + Math.ceil(MAX_SUPERBLOCK_BYTES / blockSize) * blockSize));
    if (extensionStore.fits(blockSize, 1)) await extensionStore.clear(descriptor, 0);
  },
};

/** Byte offsets of the copies, in the order in which they are written. */
function copiesAt(blockSize: number): readonly [number, number] {
  return [0, Math.max(SECOND_COPY_OFFSET, blockSize)];
}

interface Copy {
  bytes: Uint8Array;
  parsed: ParseResult;
}

async function readCopy(descriptor: BdevDescriptor, offsetBytes: number): Promise<Copy> {
  const { blockSize, numBlocks } = descriptor.bdev;
  const client = new BlockClient(descriptor);
  const offset = offsetBytes / blockSize;
  const most = Math.max(0, numBlocks - offset);
  let bytes = await client.read(offset, Math.min(Math.ceil(HEADER_BYTES / blockSize), most));
  let parsed = parseSuperblock(bytes);
  if (!parsed.ok && parsed.reason === 'incomplete') {
    const blocks = Math.ceil((parsed.neededBytes ?? MAX_SUPERBLOCK_BYTES) / blockSize);
    if (blocks > most) return { bytes, parsed: { ...parsed, message: `${parsed.message}, and the device is smaller` } };
    bytes = await client.read(offset, blocks);
    parsed = parseSuperblock(bytes);
  }
  return { bytes, parsed };
}

/**
 * Reads the second copy because the first cannot be read. If the second is not valid, rejects with the error of the first, so
 * that the device does not count as empty.
 */
async function readSecondInstead(descriptor: BdevDescriptor, error: unknown): Promise<Copy> {
  const [, at] = copiesAt(descriptor.bdev.blockSize);
  const second = await readCopy(descriptor, at);
  if (!second.parsed.ok) throw error;
  return second;
}

/** Returns the second copy if the first place holds a write of ours that is torn or has flipped bits; null otherwise. */
async function readSecondIfFirstIsOurs(descriptor: BdevDescriptor, first: Copy): Promise<ParseResult | null> {
  if (first.parsed.ok || !isNearlySigned(first.bytes)) return null;
  const [, at] = copiesAt(descriptor.bdev.blockSize);
  const second = await readCopy(descriptor, at);
  const { parsed } = second;
  if (!parsed.ok) return null;
  return isTornWriteOf(first, parsed.superblock) || (await hasTurnedBits(descriptor, second.bytes.subarray(0, parsed.length)))
    ? parsed
    : null;
}

/**
 * Whether the first copy is damaged as by a torn write of ours: its first sector belongs to the same array and is either from
 * before that write (it has the second copy's sequence number) or from it (a later number that we use). Another program that
 * ran the array since adds one to the number, and its changes to the members are not in the second copy.
 */
function isTornWriteOf({ bytes, parsed }: Copy, own: Superblock): boolean {
  if (parsed.ok || parsed.reason !== 'damaged') return false;
  const { uuid, seqNumber } = readFirstSector(bytes);
  const isOurs = seqNumber === own.seqNumber || (seqNumber > own.seqNumber && seqNumber % seqStep === 0);
  return uuid === own.uuid && isOurs;
}

/**
 * Whether the first copy equals the second but for a few bits. A write of another program has another sequence number and thus
 * another checksum; if it was torn, little else may differ.
 */
async function hasTurnedBits(descriptor: BdevDescriptor, second: Uint8Array): Promise<boolean> {
  const blocks = Math.ceil(second.length / descriptor.bdev.blockSize);
  const first = await new BlockClient(descriptor).read(0, blocks);
  const differsAt = (offset: number, length: number): boolean =>
    bitsApart(first.subarray(offset, offset + length), second.subarray(offset, offset + length)) > 0;
  return bitsApart(first, second) <= mostTurnedBits && !(differsAt(CRC_OFFSET, 4) && differsAt(SEQ_NUMBER_OFFSET, 8));
}

function isNearlySigned(bytes: Uint8Array): boolean {
  return bytes.length >= SIGNATURE.length && bitsApart(bytes, Buffer.from(SIGNATURE)) <= mostTurnedBits;
}

/** Number of bits that differ, within the length of `other`. */
function bitsApart(bytes: Uint8Array, other: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < other.length; i++)
    for (let bits = (bytes[i] ?? 0) ^ (other[i] ?? 0); bits !== 0; bits &= bits - 1) count++;
  return count;
}

/** Returns why the superblock's entry for this device cannot be right; null if it fits. */
function findMisfit(superblock: Superblock, { bdev }: BdevDescriptor): string | null {
  if (superblock.blockSize !== bdev.blockSize || !superblock.members.some(({ uuid }) => uuid === bdev.uuid)) return null;
  const fit = checkAgainstDevice(superblock, bdev.uuid, bdev);
  return fit.ok ? null : fit.message;
}

/**
 * Encodes and verifies a record, so that nothing is written that could not be read again. Throws a SuperblockFieldError, which
 * names the field and its limit.
 */
function encodeRecord(record: ArrayRecord): { superblock: Superblock; bytes: Uint8Array } {
  const superblock = toSuperblock(record);
  const bytes = encodeSuperblock(superblock);
  const fault = findUnusableMember(superblock);
  if (fault !== null) throw new SuperblockFieldError(fault);
  const parsed = parseSuperblock(bytes);
  if (!parsed.ok) throw new SuperblockFieldError({ field: parsed.field ?? 'superblock', message: parsed.message });
  if (Buffer.compare(encodeSuperblock(parsed.superblock), bytes) !== 0) {
    throw new SuperblockFieldError({
      field: 'superblock',
      message: 'the superblock that was read back is not the one that was written',
    });
  }
  return { superblock, bytes };
}

async function writeAndFlush(descriptor: BdevDescriptor, offsetBytes: number, blocks: Uint8Array): Promise<void> {
  const client = new BlockClient(descriptor);
  await client.write(offsetBytes / descriptor.bdev.blockSize, blocks);
  await client.flush();
}

function toRecord(superblock: Superblock): ArrayRecord {
  const slots = Array.from({ length: superblock.numBaseBdevs }, (_, slot): SlotRecord => {
    const member = superblock.members.find((entry) => entry.slot === slot);
    if (member === undefined) return { uuid: nullUuid, dataOffsetBlocks: 0, dataSizeBlocks: 0, state: 'missing' };
    const { uuid, dataOffsetBlocks, dataSizeBlocks, state } = member;
    return { uuid, dataOffsetBlocks, dataSizeBlocks, state: nameOf(state) };
  });
  return {
    uuid: superblock.uuid,
    name: superblock.name,
    level: superblock.level,
    blockSize: superblock.blockSize,
    stripSizeBlocks: superblock.stripSizeBlocks,
    numBlocks: superblock.raidSizeBlocks,
    seqNumber: superblock.seqNumber,
    slots,
  };
}

function nameOf(state: MemberState): SlotRecord['state'] {
  if (state === MemberState.Configured) return 'configured';
  // A spare (a state that no program writes) holds no data either.
  return state === MemberState.Failed ? 'failed' : 'missing';
}

function toSuperblock(record: ArrayRecord): Superblock {
  return {
    versionMajor: VERSION_MAJOR,
    versionMinor: VERSION_MINOR,
    flags: 0,
    uuid: record.uuid,
    name: record.name,
    raidSizeBlocks: record.numBlocks,
    blockSize: record.blockSize,
    level: record.level,
    stripSizeBlocks: record.stripSizeBlocks,
    state: 0,
    seqNumber: record.seqNumber,
    numBaseBdevs: record.slots.length,
    members: record.slots.map(({ uuid, dataOffsetBlocks, dataSizeBlocks, state }, slot) => ({
      uuid,
      dataOffsetBlocks,
      dataSizeBlocks,
      state: stateOf[state],
      flags: 0,
      slot,
    })),
  };
}

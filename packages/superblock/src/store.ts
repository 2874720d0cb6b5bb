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

/** In a first copy that is the second one otherwise. */
const mostTurnedBits = 8;

const stateOf = {
  configured: MemberState.Configured,
  missing: MemberState.Missing,
  failed: MemberState.Failed,
} as const;

/**
 * Superblocks as SPDK has them, at the start of each member, and a second copy that SPDK does not know. Each is written in
 * place and flushed, the second one when the first is on stable media: one of them is whole at any time. The first one counts
 * whenever it is whole, and whatever else is there (zeros, data of another program) counts too; the second one counts only if
 * the first is one of our own writes, torn or with a few bits turned over, or if it cannot be read and a person says that the
 * device is a member.
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
    // All at once: a part of the first copy with a whole second one is the superblock as it was, and not cleared yet.
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

/** The second copy where the first cannot be read. Rejects with what went wrong there if it is none: that must not be taken for an empty device. */
async function readSecondInstead(descriptor: BdevDescriptor, error: unknown): Promise<Copy> {
  const [, at] = copiesAt(descriptor.bdev.blockSize);
  const second = await readCopy(descriptor, at);
  if (!second.parsed.ok) throw error;
  return second;
}

/** The second copy, if what is in the first place is a write of ours that was torn or in which bits have turned over. Null otherwise. */
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
 * Damaged in the way in which a write of ours is torn: its first sector belongs to the same array, and is from before that
 * write (the second copy's number) or from it (a later number of ours). Another program that ran the array since adds one, and
 * what it wrote of its members is not in the second copy.
 */
function isTornWriteOf({ bytes, parsed }: Copy, own: Superblock): boolean {
  if (parsed.ok || parsed.reason !== 'damaged') return false;
  const { uuid, seqNumber } = readFirstSector(bytes);
  const isOurs = seqNumber === own.seqNumber || (seqNumber > own.seqNumber && seqNumber % seqStep === 0);
  return uuid === own.uuid && isOurs;
}

/**
 * Whether the first copy is the second one but for a few bits. What another program writes has another number, and with it
 * another checksum; a write of that program that was torn may have both, and little else that differs.
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

/** Bits that differ, as far as `other` goes. */
function bitsApart(bytes: Uint8Array, other: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < other.length; i++)
    for (let bits = (bytes[i] ?? 0) ^ (other[i] ?? 0); bits !== 0; bits &= bits - 1) count++;
  return count;
}

/** What the superblock says of this device, if it says something that cannot be; null if it fits. */
function findMisfit(superblock: Superblock, { bdev }: BdevDescriptor): string | null {
  if (superblock.blockSize !== bdev.blockSize || !superblock.members.some(({ uuid }) => uuid === bdev.uuid)) return null;
  const fit = checkAgainstDevice(superblock, bdev.uuid, bdev);
  return fit.ok ? null : fit.message;
}

/** Nothing is written that could not be read again. Throws a SuperblockFieldError, which names the field and its limit. */
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
      message: 'the superblock is read as another one than was to be written',
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
  // A spare, a state that no program writes, holds no data either.
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

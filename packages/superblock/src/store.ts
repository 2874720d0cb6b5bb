import { BlockClient } from '@raidkit/bdev';
import type { BdevDescriptor } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { ArrayRecord, ReadResult, SlotRecord, SuperblockStore } from '@raidkit/core';
import { MemberState, checkAgainstDevice, encodeSuperblock, parseSuperblock } from './codec.js';
import type { Superblock } from './codec.js';
import { extensionStore } from './extension-store.js';
import { HEADER_BYTES, MAX_SUPERBLOCK_BYTES, MIN_DATA_OFFSET_BYTES, VERSION_MAJOR, VERSION_MINOR } from './layout.js';

const stateOf = {
  configured: MemberState.Configured,
  missing: MemberState.Missing,
  failed: MemberState.Failed,
} as const;

/**
 * Superblocks as SPDK has them: one at the start of each member. Written in place and flushed; a torn write shows as a bad
 * checksum, which counts as damaged, never as another array.
 */
export const spdkSuperblockStore: SuperblockStore = {
  reservedBytes: MIN_DATA_OFFSET_BYTES,
  extension: extensionStore,

  async read(descriptor: BdevDescriptor): Promise<ReadResult> {
    const { bdev } = descriptor;
    const client = new BlockClient(descriptor);
    const enough = Math.min(Math.ceil(HEADER_BYTES / bdev.blockSize), bdev.numBlocks);
    let parsed = parseSuperblock(await client.read(0, enough));
    if (!parsed.ok && parsed.reason === 'incomplete') {
      const blocks = Math.ceil((parsed.neededBytes ?? MAX_SUPERBLOCK_BYTES) / bdev.blockSize);
      if (blocks > bdev.numBlocks) return { kind: 'unusable', message: `${parsed.message}, and the device is smaller` };
      parsed = parseSuperblock(await client.read(0, blocks));
    }
    if (!parsed.ok) return parsed.reason === 'none' ? { kind: 'none' } : { kind: 'unusable', message: parsed.message };
    const { superblock } = parsed;
    if (superblock.blockSize === bdev.blockSize && superblock.members.some(({ uuid }) => uuid === bdev.uuid)) {
      const fit = checkAgainstDevice(superblock, bdev.uuid, bdev);
      if (!fit.ok) return { kind: 'unusable', message: fit.message };
    }
    return { kind: 'found', record: toRecord(superblock) };
  },

  async write(descriptor: BdevDescriptor, record: ArrayRecord): Promise<void> {
    const { blockSize } = descriptor.bdev;
    const bytes = encodeSuperblock(toSuperblock(record));
    const blocks = new Uint8Array(Math.ceil(bytes.length / blockSize) * blockSize);
    blocks.set(bytes);
    await writeAndFlush(descriptor, blocks);
  },

  async clear(descriptor: BdevDescriptor): Promise<void> {
    const { blockSize } = descriptor.bdev;
    await writeAndFlush(descriptor, new Uint8Array(Math.ceil(MAX_SUPERBLOCK_BYTES / blockSize) * blockSize));
    if (extensionStore.fits(blockSize, 1)) await extensionStore.clear(descriptor);
  },
};

async function writeAndFlush(descriptor: BdevDescriptor, blocks: Uint8Array): Promise<void> {
  const client = new BlockClient(descriptor);
  await client.write(0, blocks);
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
  // A spare, which nobody writes, holds no data either.
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

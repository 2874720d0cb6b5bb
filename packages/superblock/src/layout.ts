/**
 * The SPDK RAID superblock, version 1.0, as SPDK's bdev_raid lays it out: little-endian, packed, at byte 0 of every member.
 * Offsets and sizes are in bytes; an entry's offsets are from its own start.
 */
export const SIGNATURE = 'SPDKRAID';

export const VERSION_MAJOR = 1;
export const VERSION_MINOR = 0;

export const SIGNATURE_OFFSET = 0;
export const VERSION_MAJOR_OFFSET = 8;
export const VERSION_MINOR_OFFSET = 10;
/** Length of the header and all entries. */
export const LENGTH_OFFSET = 12;
export const CRC_OFFSET = 16;
export const FLAGS_OFFSET = 20;
export const UUID_OFFSET = 24;
export const NAME_OFFSET = 40;
export const RAID_SIZE_OFFSET = 104;
export const BLOCK_SIZE_OFFSET = 112;
export const LEVEL_OFFSET = 116;
export const STRIP_SIZE_OFFSET = 120;
export const STATE_OFFSET = 124;
export const SEQ_NUMBER_OFFSET = 128;
export const NUM_BASE_BDEVS_OFFSET = 136;
export const RESERVED_OFFSET = 137;
export const BASE_BDEVS_SIZE_OFFSET = 255;

export const HEADER_BYTES = 256;
export const UUID_BYTES = 16;
/** Including the terminating NUL. */
export const NAME_BYTES = 64;

export const ENTRY_BYTES = 64;
export const ENTRY_UUID_OFFSET = 0;
export const ENTRY_DATA_OFFSET_OFFSET = 16;
export const ENTRY_DATA_SIZE_OFFSET = 24;
export const ENTRY_STATE_OFFSET = 32;
export const ENTRY_FLAGS_OFFSET = 36;
export const ENTRY_SLOT_OFFSET = 40;
export const ENTRY_RESERVED_OFFSET = 41;

export const MAX_MEMBERS = 255;
export const MAX_SUPERBLOCK_BYTES = HEADER_BYTES + MAX_MEMBERS * ENTRY_BYTES;

/**
 * Byte offset of the second copy, which only raidkit reads and writes; on devices with larger blocks it is in the second block.
 */
export const SECOND_COPY_OFFSET = 32 * 1024;

/** A member's data never starts before this. */
export const MIN_DATA_OFFSET_BYTES = 1 << 20;

export { MemberState, SuperblockFieldError, checkAgainstDevice, encodeSuperblock, parseSuperblock } from './codec.js';
export type { ParseResult, Superblock, SuperblockMember } from './codec.js';
export { crc32c } from './crc32c.js';
export { MAX_SUPERBLOCK_BYTES, MIN_DATA_OFFSET_BYTES } from './layout.js';
export { spdkSuperblockStore } from './store.js';
export { namedMember } from './named-member.js';
export { keepsChecksums } from './keeps-checksums.js';

/** System call numbers of Linux (asm/unistd.h), by `process.arch`. */
export const syscallNumbers = {
  x64: { ioctl: 16, fcntl: 72, flock: 73, fallocate: 285 },
  arm64: { ioctl: 29, fcntl: 25, flock: 32, fallocate: 47 },
} as const;

/** Requests of ioctl(2) for block devices (linux/fs.h); the same on both architectures. */
export const Ioctl = {
  /** Read-only? Writes an int. */
  BLKROGET: 0x125e,
  /** Logical block size in bytes. Writes an int. */
  BLKSSZGET: 0x1268,
  /** Takes two 64-bit numbers: start and length in bytes. Contents are undefined afterwards. */
  BLKDISCARD: 0x1277,
  /** Physical block size in bytes. Writes an unsigned int. */
  BLKPBSZGET: 0x127b,
  /** Takes two 64-bit numbers: start and length in bytes. Reads as zeros afterwards. */
  BLKZEROOUT: 0x127f,
  /** Size in bytes. Writes a 64-bit number. */
  BLKGETSIZE64: 0x8008_1272,
} as const;

/** Modes of fallocate(2) (linux/falloc.h). */
export const FallocateMode = {
  KEEP_SIZE: 0x01,
  /** Only together with KEEP_SIZE. */
  PUNCH_HOLE: 0x02,
  ZERO_RANGE: 0x10,
} as const;

/** Operations of flock(2). */
export const FlockOperation = { SHARED: 1, EXCLUSIVE: 2, NON_BLOCKING: 4, UNLOCK: 8 } as const;

/** Types of fcntl(2) locks. */
export const OfdLockType = { READ: 0, WRITE: 1, UNLOCK: 2 } as const;
export type OfdLockType = (typeof OfdLockType)[keyof typeof OfdLockType];

/** Commands of fcntl(2). */
export const FcntlCommand = { OFD_SETLK: 37 } as const;

/** System call numbers of Linux (asm/unistd.h), by `process.arch`. */
export const syscallNumbers = {
  x64: {
    close: 3,
    lseek: 8,
    mmap: 9,
    munmap: 11,
    ioctl: 16,
    madvise: 28,
    socket: 41,
    connect: 42,
    sendto: 44,
    recvfrom: 45,
    shutdown: 48,
    bind: 49,
    listen: 50,
    getsockname: 51,
    socketpair: 53,
    setsockopt: 54,
    fcntl: 72,
    flock: 73,
    fallocate: 285,
    eventfd2: 290,
    io_uring_setup: 425,
    io_uring_enter: 426,
    io_uring_register: 427,
  },
  arm64: {
    close: 57,
    lseek: 62,
    mmap: 222,
    munmap: 215,
    ioctl: 29,
    madvise: 233,
    socket: 198,
    sendto: 206,
    recvfrom: 207,
    shutdown: 210,
    bind: 200,
    listen: 201,
    connect: 203,
    getsockname: 204,
    socketpair: 199,
    setsockopt: 208,
    fcntl: 25,
    flock: 32,
    fallocate: 47,
    eventfd2: 19,
    io_uring_setup: 425,
    io_uring_enter: 426,
    io_uring_register: 427,
  },
} as const;

export type SyscallNumbers = (typeof syscallNumbers)[keyof typeof syscallNumbers];

/** Requests of ioctl(2) for block devices (linux/fs.h); the same on both architectures. */
export const Ioctl = {
  /** Whether the device is read-only. Writes an int. */
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

/** mmap(2), with the values that the two architectures share. */
export const Mmap = { PROT_READ: 1, PROT_WRITE: 2, MAP_SHARED: 1, MAP_POPULATE: 0x8000 } as const;

/** Advice of madvise(2). */
export const MemoryAdvice = { HUGEPAGE: 14, NO_HUGEPAGE: 15 } as const;

/** Flags of eventfd(2). */
export const EventFdFlag = { NON_BLOCKING: 0o4000, CLOSE_ON_EXEC: 0o2000000 } as const;

/** Address families of socket(2). */
export const SocketFamily = { UNIX: 1, INET: 2, INET6: 10 } as const;
export type SocketFamily = (typeof SocketFamily)[keyof typeof SocketFamily];

/** Sides of shutdown(2). */
export const ShutdownHow = { READ: 0, WRITE: 1, BOTH: 2 } as const;

/** Options of socket(7), tcp(7) and ipv6(7): level and name. */
export const SocketOption = {
  REUSE_ADDRESS: { level: 1, name: 2 },
  SEND_BUFFER: { level: 1, name: 7 },
  KEEP_ALIVE: { level: 1, name: 9 },
  /** Beyond the system's limit; needs CAP_NET_ADMIN. */
  SEND_BUFFER_FORCE: { level: 1, name: 32 },
  TCP_NO_DELAY: { level: 6, name: 1 },
  TCP_KEEP_IDLE: { level: 6, name: 4 },
  IPV6_ONLY: { level: 41, name: 26 },
} as const;

/** Flags of send(2) and recv(2). */
export const MessageFlag = { PEEK: 0x02, DONT_WAIT: 0x40, WAIT_ALL: 0x100, NO_SIGNAL: 0x4000 } as const;

/** Operations of io_uring_enter(2), "Submission queue entry", that are used here. */
export const RingOp = {
  FSYNC: 3,
  /** Only for {@link Ring.prepareFixed}. */
  READ_FIXED: 4,
  /** Only for {@link Ring.prepareFixed}. */
  WRITE_FIXED: 5,
  POLL_ADD: 6,
  SENDMSG: 9,
  TIMEOUT: 11,
  ACCEPT: 13,
  ASYNC_CANCEL: 14,
  FALLOCATE: 17,
  READ: 22,
  WRITE: 23,
  SEND: 26,
  RECV: 27,
  /** Only for {@link Ring.discard}. */
  URING_CMD: 46,
} as const;
export type RingOp = (typeof RingOp)[keyof typeof RingOp];

/** fsync flags of {@link RingOp.FSYNC}: as fdatasync(2). */
export const ringFsyncDataSync = 1;
/** Events of {@link RingOp.POLL_ADD}. */
export const pollIn = 1;

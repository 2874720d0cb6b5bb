import { constants } from 'node:os';
import { Mmap } from './constants.js';
import type { SyscallNumbers } from './constants.js';
import { loadCalls, whyNoSys } from './load.js';
import type { Ffi } from './ffi.js';

/** Flags of io_uring_setup(2), with the kernel version that introduced each. */
const Setup = {
  CQSIZE: 1 << 3,
  CLAMP: 1 << 4,
  /** 5.18 */
  SUBMIT_ALL: 1 << 7,
  /** 5.19 */
  COOP_TASKRUN: 1 << 8,
  /** 6.0 */
  SINGLE_ISSUER: 1 << 12,
  /** 6.1 */
  DEFER_TASKRUN: 1 << 13,
  /** 6.6 */
  NO_SQARRAY: 1 << 16,
} as const;

const basic = Setup.CQSIZE | Setup.CLAMP;
/** Flags to try in turn while the kernel returns EINVAL: those of ever older kernels. */
export const setupFlagSets = [
  basic | Setup.SUBMIT_ALL | Setup.SINGLE_ISSUER | Setup.DEFER_TASKRUN | Setup.NO_SQARRAY,
  basic | Setup.SUBMIT_ALL | Setup.SINGLE_ISSUER | Setup.DEFER_TASKRUN,
  basic | Setup.SUBMIT_ALL | Setup.COOP_TASKRUN,
  basic,
] as const;

/** Required features of io_uring_setup(2): one mapping, no lost completions, waits with a timeout (5.11). */
const neededFeatures = (1 << 0) | (1 << 1) | (1 << 8);

/**
 * `IORING_FEAT_RW_ATTR` (6.14). From about this version on, a file that is removed from the ring's table is released at once.
 */
const rwAttrFeature = 1 << 16;

const { EINVAL } = constants.errno;
const paramsBytes = 120;
const sqesOffset = 0x1000_0000;

/** Where the parts of a ring are mapped. Indices count 32-bit words. */
export interface RingLayout {
  readonly ffi: Ffi;
  readonly numbers: SyscallNumbers;
  readonly fd: number;
  readonly flags: number;
  /** The kernel releases a registered file as soon as it is removed, whatever else is in flight. */
  readonly releasesFiles: boolean;
  readonly sqEntries: number;
  readonly cqEntries: number;
  /** The mapping of both rings' heads, tails and completions. */
  readonly ringAddr: number;
  readonly ringBytes: number;
  readonly sqesAddr: number;
  readonly sqesBytes: number;
  readonly sqTail: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqes: number;
  /** Index of the submission array, or -1 if the ring has none. */
  readonly sqArray: number;
}

/** Makes a ring, or returns why there is none: no system calls, an old kernel, or a sandbox or sysctl that forbids it. */
export function setUpRing(entries: number, firstFlagSet: number): RingLayout | string {
  const calls = loadCalls();
  if (calls === null) return whyNoSys();
  const { ffi, numbers } = calls;
  const params = new Uint32Array(new ArrayBuffer(paramsBytes));
  let fd = -EINVAL;
  let flags = 0;
  for (const tried of setupFlagSets.slice(firstFlagSet)) {
    params.fill(0);
    params[1] = entries * 8;
    params[2] = flags = tried;
    fd = ffi.syscall(numbers.io_uring_setup, entries, ffi.addressOf(params));
    if (fd !== -EINVAL) break;
  }
  if (fd < 0) return refusal(-fd);
  const word = (index: number): number => params[index] ?? 0;
  if ((word(5) & neededFeatures) !== neededFeatures) {
    ffi.syscall(numbers.close, fd);
    return 'the kernel is too old for io_uring: 5.11 is needed';
  }
  const sqEntries = word(0);
  const cqEntries = word(1);
  // struct io_sqring_offsets begins at byte 40, struct io_cqring_offsets at 80.
  const sqArray = (flags & Setup.NO_SQARRAY) === 0 ? word(16) : -1;
  const ringBytes = Math.max(word(25) + cqEntries * 16, sqArray < 0 ? 0 : sqArray + sqEntries * 4);
  const sqesBytes = sqEntries * 64;
  const map = (lengthBytes: number, offset: number): number =>
    ffi.syscall(
      numbers.mmap,
      0,
      lengthBytes,
      Mmap.PROT_READ | Mmap.PROT_WRITE,
      Mmap.MAP_SHARED | Mmap.MAP_POPULATE,
      fd,
      offset,
    );
  const ringAddr = map(ringBytes, 0);
  const sqesAddr = ringAddr < 0 ? -1 : map(sqesBytes, sqesOffset);
  if (sqesAddr < 0) {
    if (ringAddr >= 0) ffi.syscall(numbers.munmap, ringAddr, ringBytes);
    ffi.syscall(numbers.close, fd);
    return 'the rings of io_uring cannot be mapped';
  }
  return {
    ffi,
    numbers,
    fd,
    flags,
    releasesFiles: (word(5) & rwAttrFeature) !== 0,
    sqEntries,
    cqEntries,
    ringAddr,
    ringBytes,
    sqesAddr,
    sqesBytes,
    sqTail: word(11) >> 2,
    cqHead: word(20) >> 2,
    cqTail: word(21) >> 2,
    cqes: word(25) >> 2,
    sqArray: sqArray < 0 ? -1 : sqArray >> 2,
  };
}

function refusal(errno: number): string {
  switch (errno) {
    case 1:
    case 13:
      return 'io_uring is not permitted (kernel.io_uring_disabled, or a sandbox)';
    case 12:
      return 'not enough memory for io_uring (RLIMIT_MEMLOCK?)';
    case 38:
      return 'the kernel has no io_uring, or a sandbox blocks it';
    default:
      return `io_uring_setup failed with errno ${errno}`;
  }
}

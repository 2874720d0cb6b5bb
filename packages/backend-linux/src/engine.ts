/** Started an operation on an engine and is told when it ends. Pooled by its owner: one object serves many operations. */
export interface EngineOp {
  /** Called once for each operation, never from inside the call that started it, with the bytes moved or a negative errno. */
  onEngineDone(result: number): void;
}

/**
 * How I/O reaches the kernel. All arguments are numbers: a file descriptor, the address of the data in the runtime's memory,
 * bytes. A call may move fewer bytes than requested, and 0 at the end of the file; the caller continues from there. Operations
 * may end in any order. Until `onEngineDone` the engine may use both the memory and the file descriptor, even if the request
 * has timed out meanwhile: neither may be given to another user.
 */
export interface IoEngine {
  readonly name: string;
  /** Limit on a device's operations in flight, so that a device that never answers leaves room for others. */
  readonly maxInFlightPerDevice: number;
  /** Whether `punchHole`, `writeZeroes` and `discard` work; otherwise they end with EOPNOTSUPP. */
  readonly canDeallocate: boolean;

  /** A descriptor was opened for later calls; `isDirect` says whether it bypasses the page cache. */
  opened?(fd: number, isDirect: boolean): void;
  /** The descriptor is about to be closed; nothing is in flight on it. */
  closing?(fd: number): void;
  read(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void;
  write(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void;
  /** fdatasync(2). */
  flush(fd: number, op: EngineOp): void;
  /** fallocate(2): makes the range read as zeros and take no space, on a file or on a block device that can do it cheaply. */
  punchHole(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void;
  /** Makes the range read as zeros and keep its space: fallocate(2) on a file, BLKZEROOUT on a block device. */
  writeZeroes(fd: number, isBlockDevice: boolean, offsetBytes: number, lengthBytes: number, op: EngineOp): void;
  /** BLKDISCARD: lets a block device discard the range. */
  discard(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void;
}

/**
 * Devices and file systems have blocks of at most this many bytes: within a larger block of ours the kernel may stop halfway.
 */
const mostUnitBytes = 4096;

/** Returns how many of the moved bytes form whole units (our block, or 4 KiB if that is less): I/O can continue behind them. */
export function wholeUnits(bytes: number, blockSize: number): number {
  return bytes - (bytes % Math.min(blockSize, mostUnitBytes));
}

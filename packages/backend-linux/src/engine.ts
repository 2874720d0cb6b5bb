/** Who started something on an engine, and is told when it is over. Pooled by its owner: one object for many operations. */
export interface EngineOp {
  /** Called once for each operation, never from inside the call that started it. Bytes moved, or a negative errno. */
  onEngineDone(result: number): void;
}

/**
 * How I/O reaches the kernel. Everything is a number: a file descriptor, the address of the data in the runtime's memory,
 * bytes. A call may move fewer bytes than it was asked to, and 0 at the end of the file; the caller goes on from there.
 * Operations may end in any order. Until `onEngineDone` the engine may use both the memory and the file descriptor, whatever
 * the caller has been told meanwhile: neither may be given to another user.
 */
export interface IoEngine {
  readonly name: string;
  /**
   * Operations that one device may have in flight, so that a device that never answers leaves room for the others.
   */
  readonly maxInFlightPerDevice: number;
  /** Whether the last three calls exist here; without it they answer EOPNOTSUPP. */
  readonly canDeallocate: boolean;

  /** A descriptor is open that calls will be about; whether past the page cache. */
  opened?(fd: number, isDirect: boolean): void;
  /** The descriptor is about to be closed; nothing is in flight on it. */
  closing?(fd: number): void;
  read(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void;
  write(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void;
  /** fdatasync(2). */
  flush(fd: number, op: EngineOp): void;
  /** fallocate(2): the range reads as zeros and takes no space, on a file; the same on a block device that can do it cheaply. */
  punchHole(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void;
  /** The range reads as zeros and keeps its space: fallocate(2) on a file, BLKZEROOUT on a block device. */
  writeZeroes(fd: number, isBlockDevice: boolean, offsetBytes: number, lengthBytes: number, op: EngineOp): void;
  /** BLKDISCARD: a block device may forget the range. */
  discard(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void;
}

/** Blocks of devices and file systems have no more bytes: the kernel may stop within one of ours that has. */
const mostUnitBytes = 4096;

/** How many of the bytes that were moved are whole units, which are blocks of ours or smaller: I/O can go on behind them. */
export function wholeUnits(bytes: number, blockSize: number): number {
  return bytes - (bytes % Math.min(blockSize, mostUnitBytes));
}

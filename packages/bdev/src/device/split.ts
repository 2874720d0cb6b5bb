import { IoFlag, IoState, IoType } from '../io/io.js';
import type { BdevIo, IoOwner, IoTarget } from '../io/io.js';
import { Status } from '../io/status.js';

/**
 * How one request becomes several where the driver cannot take it whole: forced unit access becomes a write and a flush, write
 * zeroes become writes of a buffer of zeros, and long requests are split at boundaries. Each part is an I/O whose owner is one
 * of the three objects below; the parent waits in state `InParts`.
 */

/** Parts of one split request that are in flight at a time. */
const splitDepth = 64;

/** Starts a validated request. Never completes it before returning. */
export function dispatch(bdev: IoTarget, io: BdevIo): void {
  const isWrite = io.type === IoType.Write || io.type === IoType.WriteZeroes;
  if (isWrite && (io.flags & IoFlag.ForceUnitAccess) !== 0 && !bdev.driver.hasForceUnitAccess) {
    io.state = IoState.InParts;
    const write = makePart(bdev, io, writeThenFlush, io.type, io.offsetBlocks, io.numBlocks, io.addr);
    write.flags = io.flags & ~IoFlag.ForceUnitAccess;
    transfer(bdev, write);
    return;
  }
  transfer(bdev, io);
}

function transfer(bdev: IoTarget, io: BdevIo): void {
  if (io.type === IoType.WriteZeroes && !bdev.driver.supports(IoType.WriteZeroes)) {
    io.state = IoState.InParts;
    io.partsMade = 0;
    nextZeroes(bdev, io);
    return;
  }
  const boundary = splitBoundary(bdev, io.type);
  if (boundary > 0 && crosses(io, boundary)) {
    io.state = IoState.InParts;
    io.partsMade = 0;
    io.partsLeft = 0;
    makeSplitParts(bdev, io, boundary);
    return;
  }
  bdev.toDriver(io);
}

function splitBoundary(bdev: IoTarget, type: IoType): number {
  if (type === IoType.Write && bdev.splitOnWriteUnit) return bdev.writeUnitSize;
  if ((type === IoType.Read || type === IoType.Write) && bdev.splitOnBoundary) return bdev.optimalIoBoundary;
  return 0;
}

function crosses(io: BdevIo, boundary: number): boolean {
  return io.offsetBlocks + io.numBlocks > (Math.floor(io.offsetBlocks / boundary) + 1) * boundary;
}

function makePart(
  bdev: IoTarget,
  parent: BdevIo,
  owner: IoOwner,
  type: IoType,
  offsetBlocks: number,
  numBlocks: number,
  addr: number,
): BdevIo {
  const part = bdev.registry.ios.get();
  part.type = type;
  part.flags = parent.flags;
  part.offsetBlocks = offsetBlocks;
  part.numBlocks = numBlocks;
  part.addr = addr;
  part.owner = owner;
  part.parent = parent;
  part.bdev = bdev;
  part.status = Status.Ok;
  return part;
}

/** Device and parent of a part that is done, read before the part is returned to the pool. */
interface DonePart {
  bdev: IoTarget;
  parent: BdevIo;
}

function parentOf(part: BdevIo): DonePart {
  const { bdev, parent } = part;
  if (bdev === null || parent === null) throw new Error('A child I/O without a parent completed');
  return { bdev, parent };
}

const writeThenFlush: IoOwner = {
  onIoDone(part) {
    const { bdev, parent } = parentOf(part);
    const { status, type } = part;
    bdev.registry.ios.put(part);
    const isOver = status !== Status.Ok || type === IoType.Flush || parent.isUnwanted;
    if (isOver || !bdev.driver.supports(IoType.Flush)) {
      bdev.done(parent, status);
      return;
    }
    const flush = makePart(bdev, parent, writeThenFlush, IoType.Flush, 0, bdev.numBlocks, -1);
    flush.flags = 0;
    bdev.toDriver(flush);
  },
};

function nextZeroes(bdev: IoTarget, io: BdevIo): void {
  const { zeroAddr, zeroBytes } = bdev.registry.runtime.memory;
  const unit = bdev.writeUnitSize;
  let most = Math.floor(zeroBytes / bdev.blockSize);
  const offsetBlocks = io.offsetBlocks + io.partsMade;
  // Ends on a write unit where one fits in the buffer, so that the device need not read-modify-write.
  if (unit > 1 && most > unit) most -= (offsetBlocks + most) % unit;
  const numBlocks = Math.min(most, io.numBlocks - io.partsMade);
  transfer(bdev, makePart(bdev, io, zeroWriter, IoType.Write, offsetBlocks, numBlocks, zeroAddr));
}

const zeroWriter: IoOwner = {
  onIoDone(part) {
    const { bdev, parent } = parentOf(part);
    const { status } = part;
    parent.partsMade += part.numBlocks;
    bdev.registry.ios.put(part);
    if (status !== Status.Ok || parent.isUnwanted || parent.partsMade === parent.numBlocks) bdev.done(parent, status);
    else nextZeroes(bdev, parent);
  },
};

function makeSplitParts(bdev: IoTarget, io: BdevIo, boundary: number): void {
  while (io.partsLeft < splitDepth && io.partsMade < io.numBlocks) {
    const offsetBlocks = io.offsetBlocks + io.partsMade;
    const numBlocks = Math.min(boundary - (offsetBlocks % boundary), io.numBlocks - io.partsMade);
    const addr = io.addr + io.partsMade * bdev.blockSize;
    io.partsMade += numBlocks;
    io.partsLeft++;
    bdev.toDriver(makePart(bdev, io, splitter, io.type, offsetBlocks, numBlocks, addr));
  }
}

const splitter: IoOwner = {
  onIoDone(part) {
    const { bdev, parent } = parentOf(part);
    parent.partsLeft--;
    if (parent.status === Status.Ok) parent.status = part.status;
    bdev.registry.ios.put(part);
    if (parent.status === Status.Ok && !parent.isUnwanted) {
      makeSplitParts(bdev, parent, splitBoundary(bdev, parent.type));
    }
    if (parent.partsLeft === 0) bdev.done(parent, parent.status);
  },
};

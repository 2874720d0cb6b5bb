import { IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { wholeUnits } from './engine.js';
import type { EngineOp, IoEngine } from './engine.js';
import { Errno } from './errors.js';

/**
 * Largest step of one unmap or write zeroes, in bytes. A device may take long for a step, and the deadline is for the whole
 * request.
 */
const deallocateBytes = 256 * 1024 * 1024;

/** Methods to zero or deallocate a range. Write zeroes tries PunchHole, WriteZeroes and WriteBuffer in this order. */
const Method = { None: 0, PunchHole: 1, WriteZeroes: 2, WriteBuffer: 3, Discard: 4 } as const;
type Method = (typeof Method)[keyof typeof Method];

/** The device as its operations see it. */
export interface OpHost {
  readonly fd: number;
  readonly engine: IoEngine;
  readonly isBlockDevice: boolean;
  readonly blockSize: number;
  readonly zeroAddr: number;
  readonly zeroBytes: number;
  /** These record what the device or file system answered with EOPNOTSUPP; it is not tried again. */
  cannotPunchHoles: boolean;
  cannotWriteZeroes: boolean;
  cannotDiscard: boolean;
  /** Current size of the device in bytes. A regular file can be truncated at any time, and a write would extend it again. */
  endBytes(): number;
  /** The operation has ended and may be reused. */
  opDone(op: DeviceOp, io: BdevIo, status: Status): void;
}

/** Carries one request out on the engine, in as many steps as it takes. Pooled. */
export class DeviceOp implements EngineOp {
  next: DeviceOp | null = null;
  /** The operation was handed to the engine, rather than ended while it waited. */
  wasStarted = false;
  readonly #host: OpHost;
  #io: BdevIo | null = null;
  #doneBytes = 0;
  #lengthBytes = 0;
  #stepBytes = 0;
  #way: Method = Method.None;

  constructor(host: OpHost) {
    this.#host = host;
  }

  prepare(io: BdevIo): void {
    this.#io = io;
    this.wasStarted = false;
    this.#doneBytes = 0;
    this.#lengthBytes = io.numBlocks * this.#host.blockSize;
    this.#way = Method.None;
    if (io.type === IoType.Unmap) this.#way = this.#host.isBlockDevice ? Method.Discard : Method.PunchHole;
    if (io.type === IoType.WriteZeroes) this.#way = (io.flags & IoFlag.NoUnmap) === 0 ? Method.PunchHole : Method.WriteZeroes;
  }

  /** The request has timed out for its owner: no further step may reach the device. */
  get isUnwanted(): boolean {
    return this.#request().isUnwanted;
  }

  /**
   * Ends the operation and returns true if it must not reach the device: it has timed out, or would extend a truncated file.
   */
  isRefused(): boolean {
    const { type, offsetBlocks, numBlocks } = this.#request();
    const isChange = type !== IoType.Flush && type !== IoType.Read;
    if (this.isUnwanted) this.#end(Status.Cancelled);
    else if (isChange && (offsetBlocks + numBlocks) * this.#host.blockSize > this.#host.endBytes()) this.#end(Status.IoError);
    else return false;
    return true;
  }

  cancel(): void {
    this.#end(Status.Cancelled);
  }

  start(): void {
    this.wasStarted = true;
    const { type } = this.#request();
    if (type === IoType.Flush) this.#host.engine.flush(this.#host.fd, this);
    else if (type === IoType.Read || type === IoType.Write) this.#transfer();
    else this.#deallocate();
  }

  onEngineDone(result: number): void {
    if (result === -Errno.EINTR) {
      this.start();
      return;
    }
    const { type } = this.#request();
    if (type === IoType.Flush) this.#end(result < 0 ? -result : Status.Ok);
    else if (this.#way === Method.None || this.#way === Method.WriteBuffer) this.#afterTransfer(result);
    else this.#afterDeallocate(result);
  }

  // Not a getter: a private getter is a call into V8's runtime, as expensive as the rest of a step.
  #request(): BdevIo {
    if (this.#io === null) throw new Error('an operation without a request was used');
    return this.#io;
  }

  #transfer(): void {
    const { fd, engine } = this.#host;
    const io = this.#request();
    const addr = io.addr + this.#doneBytes;
    const offsetBytes = io.offsetBlocks * this.#host.blockSize + this.#doneBytes;
    this.#stepBytes = this.#lengthBytes - this.#doneBytes;
    if (io.type === IoType.Read) engine.read(fd, addr, this.#stepBytes, offsetBytes, this);
    else engine.write(fd, addr, this.#stepBytes, offsetBytes, this);
  }

  /** After a short transfer, continues from the last whole unit. Less than one unit means the end of the device. */
  #afterTransfer(result: number): void {
    if (result < 0) {
      this.#end(result === -Errno.EAGAIN ? Status.NoMemory : -result);
      return;
    }
    const movedBytes = wholeUnits(result, this.#host.blockSize);
    if (movedBytes === 0 || result > this.#stepBytes) {
      this.#end(Status.IoError);
      return;
    }
    this.#doneBytes += movedBytes;
    if (this.#doneBytes === this.#lengthBytes) this.#end(Status.Ok);
    else if (this.isUnwanted) this.#end(Status.Cancelled);
    else if (this.#way === Method.WriteBuffer) this.#deallocate();
    else this.#transfer();
  }

  #deallocate(): void {
    const { fd, engine, isBlockDevice, blockSize, zeroAddr, zeroBytes } = this.#host;
    const offsetBytes = this.#request().offsetBlocks * blockSize + this.#doneBytes;
    const leftBytes = this.#lengthBytes - this.#doneBytes;
    this.#stepBytes = Math.min(leftBytes, deallocateBytes);
    this.#chooseWay();
    switch (this.#way) {
      case Method.PunchHole:
        engine.punchHole(fd, offsetBytes, this.#stepBytes, this);
        return;
      case Method.WriteZeroes:
        engine.writeZeroes(fd, isBlockDevice, offsetBytes, this.#stepBytes, this);
        return;
      case Method.Discard:
        engine.discard(fd, offsetBytes, this.#stepBytes, this);
        return;
      case Method.WriteBuffer:
        this.#stepBytes = Math.min(leftBytes, zeroBytes - (zeroBytes % blockSize));
        engine.write(fd, zeroAddr, this.#stepBytes, offsetBytes, this);
        return;
      case Method.None:
        throw new Error('a request without a range cannot be deallocated');
    }
  }

  /** Skips methods that the device is known not to support. An unmap has no alternative: it is only a hint. */
  #chooseWay(): void {
    const host = this.#host;
    if (this.#request().type !== IoType.WriteZeroes) return;
    if (this.#way === Method.PunchHole && host.cannotPunchHoles) this.#way = Method.WriteZeroes;
    if (this.#way === Method.WriteZeroes && host.cannotWriteZeroes) this.#way = Method.WriteBuffer;
  }

  #afterDeallocate(result: number): void {
    if (result === -Status.NotSupported) {
      this.#remember();
      if (this.#request().type === IoType.WriteZeroes) this.#deallocate();
      else this.#end(Status.NotSupported);
      return;
    }
    if (result < 0) {
      this.#end(-result);
      return;
    }
    this.#doneBytes += this.#stepBytes;
    if (this.#doneBytes === this.#lengthBytes) this.#end(Status.Ok);
    else if (this.isUnwanted) this.#end(Status.Cancelled);
    else this.#deallocate();
  }

  #remember(): void {
    const host = this.#host;
    if (this.#way === Method.PunchHole) host.cannotPunchHoles = true;
    if (this.#way === Method.WriteZeroes) host.cannotWriteZeroes = true;
    if (this.#way === Method.Discard) host.cannotDiscard = true;
  }

  #end(status: Status): void {
    const io = this.#request();
    this.#io = null;
    this.#host.opDone(this, io, status);
  }
}

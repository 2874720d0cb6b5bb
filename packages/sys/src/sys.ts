import { FcntlCommand, Ioctl, syscallNumbers } from './constants.js';
import type { OfdLockType } from './constants.js';
import type { Ffi } from './ffi.js';
import { Sockets } from './sockets.js';

/** Called with the result of an asynchronous call: 0 or more, or a negative errno. */
export type SysDone = (result: number) => void;

/**
 * Linux system calls that Node does not offer. Every call returns its result, 0 or more, or a negative errno; none throws for
 * an error of the kernel. File offsets and lengths are bytes, below 2^53.
 *
 * Calls block the calling thread, except those named `…Async`: they run on threads of the FFI library (as many as the machine
 * has processors) and may only be used on the main thread.
 */
export class Sys {
  /** The calls for sockets. */
  readonly sockets: Sockets;
  readonly #ffi: Ffi;
  readonly #numbers: (typeof syscallNumbers)[keyof typeof syscallNumbers];
  // Arguments in memory; an ArrayBuffer of its own never moves.
  readonly #words = new BigUint64Array(new ArrayBuffer(64));
  readonly #view = new DataView(this.#words.buffer);
  readonly #wordsAddr: number;

  constructor(ffi: Ffi, arch: keyof typeof syscallNumbers) {
    this.#ffi = ffi;
    this.#numbers = syscallNumbers[arch];
    this.#wordsAddr = ffi.addressOf(this.#words);
    this.sockets = new Sockets(ffi, this.#numbers);
  }

  /** The address of the view's first byte; valid while the view is alive and its buffer not detached. */
  addressOf(view: ArrayBufferView | ArrayBuffer): number {
    return this.#ffi.addressOf(view);
  }

  /** madvise(2). `addr` must be that of a page. */
  madvise(addr: number, lengthBytes: number, advice: number): number {
    return this.#ffi.syscall(this.#numbers.madvise, addr, lengthBytes, advice);
  }

  /** eventfd(2), with `EventFdFlag`s; returns a file descriptor. */
  eventfd(initialCount: number, flags: number): number {
    return this.#ffi.syscall(this.#numbers.eventfd2, initialCount, flags);
  }

  /** close(2), for descriptors that did not come from Node. */
  close(fd: number): number {
    return this.#ffi.syscall(this.#numbers.close, fd);
  }

  /** ioctl(2) with a number, or an address, as its argument. */
  ioctl(fd: number, request: number, argument = 0): number {
    return this.#ffi.syscall(this.#numbers.ioctl, fd, request, argument);
  }

  /**
   * Returns the size of a regular file in bytes, by lseek(2) to its end. Moves the descriptor's offset, which positioned I/O
   * does not use.
   */
  seekEnd(fd: number): number {
    const seekEnd = 2;
    return this.#ffi.syscall(this.#numbers.lseek, fd, 0, seekEnd);
  }

  /** Size of a block device in bytes. */
  blockDeviceSize(fd: number): number {
    const result = this.ioctl(fd, Ioctl.BLKGETSIZE64, this.#wordsAddr);
    return result < 0 ? result : Number(this.#view.getBigUint64(0, true));
  }

  /** Logical block size of a block device in bytes: the unit of I/O. */
  logicalBlockSize(fd: number): number {
    return this.#intFrom(fd, Ioctl.BLKSSZGET);
  }

  /** Physical block size of a block device in bytes: the unit of writing without a read. */
  physicalBlockSize(fd: number): number {
    return this.#intFrom(fd, Ioctl.BLKPBSZGET);
  }

  /** 1 if a block device is set read-only, else 0. */
  isBlockDeviceReadOnly(fd: number): number {
    return this.#intFrom(fd, Ioctl.BLKROGET);
  }

  /** BLKDISCARD: what the range reads as afterwards is up to the device. */
  discardAsync(fd: number, offsetBytes: number, lengthBytes: number, done: SysDone): void {
    this.#rangeIoctlAsync(fd, Ioctl.BLKDISCARD, offsetBytes, lengthBytes, done);
  }

  /** BLKZEROOUT: the range of a block device reads as zeros afterwards; the kernel writes them if it must. */
  zeroOutAsync(fd: number, offsetBytes: number, lengthBytes: number, done: SysDone): void {
    this.#rangeIoctlAsync(fd, Ioctl.BLKZEROOUT, offsetBytes, lengthBytes, done);
  }

  /** fallocate(2). `mode` is a combination of `FallocateMode`s. */
  fallocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number): number {
    return this.#ffi.syscall(this.#numbers.fallocate, fd, mode, offsetBytes, lengthBytes);
  }

  /** As {@link fallocate}. */
  fallocateAsync(fd: number, mode: number, offsetBytes: number, lengthBytes: number, done: SysDone): void {
    this.#ffi.syscallAsync(this.#numbers.fallocate, [fd, mode, offsetBytes, lengthBytes], done);
  }

  /** flock(2): a lock on the whole file, which belongs to the open file and ends with it. Advisory. */
  flock(fd: number, operation: number): number {
    return this.#ffi.syscall(this.#numbers.flock, fd, operation);
  }

  /** F_OFD_SETLK of fcntl(2): a lock on a range, which belongs to the open file. Length 0 is to the end of the file. Advisory. */
  ofdLock(fd: number, type: OfdLockType, startBytes = 0, lengthBytes = 0): number {
    // struct flock: short type, short whence, then at 8, 16 and 24 the 64-bit start and length, and the pid, which must be 0.
    this.#words.fill(0n);
    this.#view.setInt16(0, type, true);
    this.#words[1] = BigInt(startBytes);
    this.#words[2] = BigInt(lengthBytes);
    return this.#ffi.syscall(this.#numbers.fcntl, fd, FcntlCommand.OFD_SETLK, this.#wordsAddr);
  }

  #intFrom(fd: number, request: number): number {
    this.#words[0] = 0n;
    const result = this.ioctl(fd, request, this.#wordsAddr);
    return result < 0 ? result : this.#view.getInt32(0, true);
  }

  #rangeIoctlAsync(fd: number, request: number, offsetBytes: number, lengthBytes: number, done: SysDone): void {
    // The call needs its own memory: it is read on another thread, at another time.
    const range = new BigUint64Array(new ArrayBuffer(16));
    range[0] = BigInt(offsetBytes);
    range[1] = BigInt(lengthBytes);
    const args = [fd, request, this.#ffi.addressOf(range)];
    this.#ffi.syscallAsync(this.#numbers.ioctl, args, (result) => {
      // This also keeps the memory alive until now.
      range.fill(0n);
      done(result);
    });
  }
}

import type { BdevDescriptor } from '../registry/descriptor.js';
import { BdevError } from '../errors.js';
import type { FailedIo } from '../errors.js';
import { IoFlag, IoType } from '../io/io.js';
import type { BdevIo, IoOwner, IoHost } from '../io/io.js';
import { Status, statusName } from '../io/status.js';

/** Largest piece that one call is cut into, in bytes. */
const pieceBytes = 1024 * 1024;
/** Pieces of one call that are in flight at a time. */
const piecesInFlight = 8;

/** A device below the open one has missed a deadline. */
class TimedOutBelow extends BdevError {
  constructor(what: string, io: FailedIo) {
    super('ERR_BDEV_IO', Status.TimedOut, `${what}: ${statusName(Status.TimedOut)}`, undefined, io);
  }
}

/** Takes I/O for a device: its descriptor, or a layer in front of it, such as checksums. */
export interface IoPath {
  /** Has the contract of `BdevDescriptor.submit`. */
  submit(io: BdevIo): void;
}

/** Options of every call. */
export interface CallOptions {
  /** Ends the wait with the signal's reason. What has been submitted may still reach the device. */
  signal?: AbortSignal;
}

/** Options of a write. */
export interface WriteOptions extends CallOptions {
  /** Resolve only once the data is on stable media. Default false: `flush` does that for all writes so far. */
  fua?: boolean;
}

/**
 * Promise-based calls on an open device, for embedders and control code. Offsets and counts are in blocks; data is copied to
 * and from the runtime's memory. The data path uses `BdevDescriptor.submit` instead.
 */
export class BlockClient {
  readonly descriptor: BdevDescriptor;
  readonly #path: IoPath;
  readonly #registry: IoHost;

  /** `path` takes the I/O on its way to the device. Default: the descriptor itself. */
  constructor(descriptor: BdevDescriptor, path: IoPath = descriptor) {
    this.descriptor = descriptor;
    this.#path = path;
    this.#registry = descriptor.bdev.registry;
  }

  get blockSize(): number {
    return this.descriptor.bdev.blockSize;
  }

  get numBlocks(): number {
    return this.descriptor.bdev.numBlocks;
  }

  /**
   * Returns the blocks' bytes in a new buffer that the caller owns. Rejects with a `BdevError` that names the device and the
   * range.
   */
  async read(offsetBlocks: number, numBlocks: number, options: CallOptions = {}): Promise<Uint8Array> {
    this.#check(offsetBlocks, numBlocks);
    const { u8 } = this.#registry.runtime.memory;
    const data = new Uint8Array(numBlocks * this.blockSize);
    await this.#pieces(offsetBlocks, numBlocks, options.signal, async (offset, count, addr) => {
      await this.#submit(IoType.Read, offset, count, addr, 0);
      data.set(u8.subarray(addr, addr + count * this.blockSize), (offset - offsetBlocks) * this.blockSize);
    });
    return data;
  }

  /**
   * Writes `data`, a whole number of blocks. It is copied before the call returns its promise, so the caller may reuse it at
   * once.
   */
  async write(offsetBlocks: number, data: Uint8Array, options: WriteOptions = {}): Promise<void> {
    const { blockSize } = this;
    if (data.length % blockSize !== 0) {
      const message = `${this.#name}: ${data.length} bytes are not a whole number of ${blockSize}-byte blocks`;
      throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, message);
    }
    const numBlocks = data.length / blockSize;
    this.#check(offsetBlocks, numBlocks);
    const own = data.slice();
    const { u8 } = this.#registry.runtime.memory;
    const flags = options.fua === true ? IoFlag.ForceUnitAccess : 0;
    await this.#pieces(offsetBlocks, numBlocks, options.signal, async (offset, count, addr) => {
      const start = (offset - offsetBlocks) * blockSize;
      u8.set(own.subarray(start, start + count * blockSize), addr);
      await this.#submit(IoType.Write, offset, count, addr, flags);
    });
  }

  /** Resolves when every write that was acknowledged before the call is on stable media. */
  async flush(options: CallOptions = {}): Promise<void> {
    await abortable(
      this.#twice(() => this.#submit(IoType.Flush, 0, this.numBlocks, -1, 0)),
      options.signal,
    );
  }

  /** Tells the device that the blocks' contents are no longer needed. What they read as afterwards is up to the device. */
  async unmap(offsetBlocks: number, numBlocks: number, options: CallOptions = {}): Promise<void> {
    this.#check(offsetBlocks, numBlocks);
    await abortable(
      this.#twice(() => this.#submit(IoType.Unmap, offsetBlocks, numBlocks, -1, 0)),
      options.signal,
    );
  }

  /** Makes the blocks read as zeros. */
  async writeZeroes(offsetBlocks: number, numBlocks: number, options: WriteOptions = {}): Promise<void> {
    this.#check(offsetBlocks, numBlocks);
    const flags = options.fua === true ? IoFlag.ForceUnitAccess : 0;
    await abortable(
      this.#twice(() => this.#submit(IoType.WriteZeroes, offsetBlocks, numBlocks, -1, flags)),
      options.signal,
    );
  }

  get #name(): string {
    return `bdev ${this.descriptor.bdev.name}`;
  }

  #check(offsetBlocks: number, numBlocks: number): void {
    const end = offsetBlocks + numBlocks;
    const isInside = Number.isSafeInteger(end) && offsetBlocks >= 0 && numBlocks >= 0 && end <= this.numBlocks;
    if (isInside && Number.isInteger(offsetBlocks)) return;
    const message = `${this.#name}: blocks ${offsetBlocks} to ${end} are outside its ${this.numBlocks} blocks`;
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, message);
  }

  /** Splits a range into pieces and works on several at a time, each with its own buffer. */
  async #pieces(
    offsetBlocks: number,
    numBlocks: number,
    signal: AbortSignal | undefined,
    work: (offset: number, count: number, addr: number) => Promise<void>,
  ): Promise<void> {
    const { reserve } = this.#registry;
    // Other users wait for the device's claimant and may hold all common buffers meanwhile, so the claimant uses the reserve.
    const buffers = this.descriptor.hasClaim && reserve.maxBytes >= this.blockSize ? reserve : this.#registry.buffers;
    const most = Math.max(1, Math.floor(Math.min(pieceBytes, buffers.maxBytes) / this.blockSize));
    const end = offsetBlocks + numBlocks;
    let next = offsetBlocks;
    const worker = async (): Promise<void> => {
      while (next < end) {
        signal?.throwIfAborted();
        const offset = next;
        const count = Math.min(most, end - offset);
        next += count;
        try {
          await this.#twice(async () => {
            const addr = await new Promise<number>((resolve) => buffers.getWhenFree(count * this.blockSize, resolve));
            try {
              await work(offset, count, addr);
            } finally {
              buffers.put(addr);
            }
          });
        } catch (error) {
          next = end;
          throw error;
        }
      }
    };
    const workers = Math.min(piecesInFlight, Math.ceil(numBlocks / most));
    const results = Promise.allSettled(Array.from({ length: workers }, worker));
    for (const result of await abortable(results, signal)) if (result.status === 'rejected') throw result.reason;
  }

  /**
   * Repeats a request that failed because a device below this one missed its deadline. That device may still write to the old
   * buffer, so each attempt takes another one; by now the array goes on without that device. There is no retry after this
   * device's own deadline.
   */
  async #twice(ask: () => Promise<void>): Promise<void> {
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof TimedOutBelow)) throw error;
      await ask();
    }
  }

  #submit(type: IoType, offsetBlocks: number, numBlocks: number, addr: number, flags: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const { ios } = this.#registry;
      const owner: IoOwner = {
        onIoDone: (done: BdevIo) => {
          const { isAbandoned, status } = done;
          ios.put(done);
          if (status === Status.Ok) {
            resolve();
            return;
          }
          const what = `${this.#name}: ${describe(type, offsetBlocks, numBlocks)}`;
          const failed = { type, flags };
          const isBelow = status === Status.TimedOut && !isAbandoned;
          reject(isBelow ? new TimedOutBelow(what, failed) : BdevError.fromStatus(status, what, failed));
        },
      };
      const io = ios.get();
      io.type = type;
      io.flags = flags;
      io.offsetBlocks = offsetBlocks;
      io.numBlocks = numBlocks;
      io.addr = addr;
      io.owner = owner;
      this.#path.submit(io);
    });
  }
}

function describe(type: IoType, offsetBlocks: number, numBlocks: number): string {
  const what = ['read', 'write', 'unmap', 'flush', 'write zeroes', 'reset'][type] ?? 'I/O';
  return type === IoType.Flush ? what : `${what} of ${numBlocks} blocks at block ${offsetBlocks}`;
}

/** Settles like `work`, or rejects with the signal's reason as soon as it is aborted. */
async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  work.catch(() => undefined);
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}

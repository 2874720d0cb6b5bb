import type { SizeClassPool } from '@raidkit/parity';
import type { Runtime } from '../runtime/runtime.js';
import { Status } from './status.js';

/** What an I/O asks for. */
export const IoType = { Read: 0, Write: 1, Unmap: 2, Flush: 3, WriteZeroes: 4, Reset: 5 } as const;
export type IoType = (typeof IoType)[keyof typeof IoType];

/** How many {@link IoType}s there are: tables indexed by type have this length. */
export const ioTypeCount = 6;
/** A type's name, as RPC and metrics spell it. */
export const ioTypeNames = ['read', 'write', 'unmap', 'flush', 'write_zeroes', 'reset'] as const;

/** Bits of {@link BdevIo.flags}. */
export const IoFlag = {
  /** The write is acknowledged only once it is on stable media. Writes and write zeroes. */
  ForceUnitAccess: 1,
  /** Write zeroes must not deallocate. */
  NoUnmap: 2,
} as const;

/** Who submitted an I/O, and is told when it is done. */
export interface IoOwner {
  /**
   * Called exactly once for each submitted I/O, never from inside `submit`. `io.status` says how it ended. The I/O and its
   * buffer are the owner's again (after {@link Status.TimedOut} the buffer too: the memory keeps it pinned while the device
   * may still touch it). The owner hands the I/O back with `IoPool.put` when it is through with it.
   */
  onIoDone(io: BdevIo): void;
}

/** Where an I/O is; only the bdev layer looks at it. */
export const IoState = {
  Idle: 0,
  /** Accepted, waiting (quiesced range, or the device was out of resources). */
  Queued: 1,
  /** Inside the driver's `submit` call. */
  Submitting: 2,
  InDriver: 3,
  /** Handed to the layer's own code, which works on it through children. */
  InParts: 4,
  /** Completed while still inside `submit`; told to the owner in the next turn. */
  Deferred: 5,
  /** Never reached the driver; the owner is told in the next turn. */
  Refused: 6,
} as const;
export type IoState = (typeof IoState)[keyof typeof IoState];

/** The device that has an I/O, for the layer itself: `Bdev`. */
export interface IoTarget {
  readonly blockSize: number;
  readonly numBlocks: number;
  readonly optimalIoBoundary: number;
  readonly splitOnBoundary: boolean;
  readonly writeUnitSize: number;
  readonly splitOnWriteUnit: boolean;
  readonly driver: { readonly hasForceUnitAccess: boolean; supports(type: IoType): boolean };
  readonly registry: IoHost;
  /** The driver is through with it. @internal */
  onDriverDone(io: BdevIo, status: Status): void;
  /** What was completed or refused inside `submit` is told now. @internal */
  onDeferred(io: BdevIo): void;
  /** Hands it to the driver, or queues it while the driver is out of resources. @internal */
  toDriver(io: BdevIo): void;
  /** It is over. @internal */
  done(io: BdevIo, status: Status): void;
}

/** What all devices of a registry share. */
export interface IoHost {
  readonly runtime: Runtime;
  readonly ios: IoPool;
  /** Buffers for users that have no pool of their own. */
  readonly buffers: SizeClassPool;
  /** For users that have claimed a device, while others wait for what they do on it: these may have all of `buffers`. */
  readonly reserve: SizeClassPool;
  /** Tells the I/O's device in a later turn. */
  defer(io: BdevIo): void;
}

/** Through which an I/O was submitted: `BdevDescriptor`. */
export interface IoChannel {
  readonly ioTimeoutMs: number;
  readonly onOverdue: ((io: BdevIo) => number) | null;
  /** An I/O of it was given up. */
  notify(event: { type: 'timeout' }): void;
}

const noOwner: IoOwner = {
  onIoDone() {
    throw new Error('An I/O without an owner completed');
  },
};

/**
 * One request to a bdev. Pooled: take it from `BdevRegistry.ios`, fill in the request, `descriptor.submit(io)`, and give
 * it back once done. Its shape never changes, and nothing is allocated for one request.
 */
export class BdevIo {
  // The request: the submitter writes these, and they do not change until it is done.
  type: IoType = IoType.Read;
  flags = 0;
  offsetBlocks = 0;
  numBlocks = 0;
  /** Byte address of the data in the runtime's memory; -1 for requests without data. */
  addr = -1;
  owner: IoOwner = noOwner;

  /** How it ended. */
  status: Status = Status.Ok;

  // The owner's scratch: the layer does not touch it.
  tag = 0;
  context: object | null = null;

  // A driver's scratch while it has the I/O.
  driverTag = 0;
  driverContext: object | null = null;

  // The bdev layer's own.
  bdev: IoTarget | null = null;
  state: IoState = IoState.Idle;
  submittedAt = 0;
  /** Through which it was submitted; null for the layer's own parts. */
  descriptor: IoChannel | null = null;
  /** Runtime milliseconds; Infinity for none. */
  deadlineAt = 0;
  prev: BdevIo | null = null;
  next: BdevIo | null = null;
  parent: BdevIo | null = null;
  /** Children that are not done yet, plus one while more are being made. */
  partsLeft = 0;
  /** Blocks from the start of the request for which children have been made. */
  partsMade = 0;
  /** The deadline passed and the owner was told; the driver still has it. */
  isAbandoned = false;
  /** Given back to the pool while abandoned. */
  isReleased = false;
  isTracked = false;

  /** The owner has been told that it timed out; for a part, or a part of a part, the owner of the whole I/O. */
  get isUnwanted(): boolean {
    return this.isAbandoned || this.parent?.isUnwanted === true;
  }

  /** For drivers: this I/O is done. Exactly once; inside `submit` is allowed (the owner is told in a later turn). */
  complete(status: Status): void {
    const bdev = this.bdev;
    if (bdev === null) throw new Error('An I/O was completed that no device has');
    bdev.onDriverDone(this, status);
  }
}

/** Idle I/O objects. Grows to the largest number ever in flight and then allocates nothing. */
export class IoPool {
  readonly #free: BdevIo[] = [];
  /** I/O objects ever made. */
  made = 0;

  get(): BdevIo {
    const io = this.#free.pop();
    if (io !== undefined) return io;
    this.made++;
    return new BdevIo();
  }

  /** The I/O must be done. One whose deadline passed comes back to use only when the driver has let go of it. */
  put(io: BdevIo): void {
    if (io.isAbandoned) {
      io.isReleased = true;
      return;
    }
    if (io.state !== IoState.Idle) throw new Error('An I/O was given back while in flight');
    io.flags = 0;
    io.addr = -1;
    io.owner = noOwner;
    io.context = null;
    io.driverContext = null;
    io.bdev = null;
    io.descriptor = null;
    io.parent = null;
    this.#free.push(io);
  }

  /** I/O objects that are out: in flight, or not given back. */
  get outstanding(): number {
    return this.made - this.#free.length;
  }
}

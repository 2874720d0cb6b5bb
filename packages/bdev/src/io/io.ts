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

/** The submitter of an I/O, which is told when it is done. */
export interface IoOwner {
  /**
   * Called exactly once for each submitted I/O, never from inside `submit`; `io.status` says how it ended. The owner then owns
   * the I/O and its buffer again (the buffer also after {@link Status.TimedOut}: the memory keeps it pinned while the device
   * may still touch it), and returns the I/O with `IoPool.put`.
   */
  onIoDone(io: BdevIo): void;
}

/** Lifecycle state of an I/O; only the bdev layer reads it. */
export const IoState = {
  Idle: 0,
  /** Accepted and waiting: its range is quiesced, a rate limit holds it back, or the device was out of resources. */
  Queued: 1,
  /** Inside the driver's `submit` call. */
  Submitting: 2,
  InDriver: 3,
  /** Split by the layer into children, which are in flight. */
  InParts: 4,
  /** Completed inside `submit`; the owner is told in a later turn. */
  Deferred: 5,
  /** Never reached the driver; the owner is told in a later turn. */
  Refused: 6,
} as const;
export type IoState = (typeof IoState)[keyof typeof IoState];

/** The device that an I/O was submitted to, as the layer's own code sees it; `Bdev` implements it. */
export interface IoTarget {
  readonly blockSize: number;
  readonly numBlocks: number;
  readonly optimalIoBoundary: number;
  readonly splitOnBoundary: boolean;
  readonly writeUnitSize: number;
  readonly splitOnWriteUnit: boolean;
  readonly driver: { readonly hasForceUnitAccess: boolean; supports(type: IoType): boolean };
  readonly registry: IoHost;
  /** Called when the driver has completed the I/O. @internal */
  onDriverDone(io: BdevIo, status: Status): void;
  /** Tells the owner of an I/O that was completed or refused inside `submit`. @internal */
  onDeferred(io: BdevIo): void;
  /** Hands the I/O to the driver, or queues it while the driver is out of resources. @internal */
  toDriver(io: BdevIo): void;
  /** Completes the I/O: no driver and no child has it any more. @internal */
  done(io: BdevIo, status: Status): void;
}

/** Resources that all devices of a registry share. */
export interface IoHost {
  readonly runtime: Runtime;
  readonly ios: IoPool;
  /** Buffers for users that have no pool of their own. */
  readonly buffers: SizeClassPool;
  /** Reserve for a device's claimant: other users may hold every buffer of `buffers` while they wait for it. */
  readonly reserve: SizeClassPool;
  /** Has the I/O's device tell the owner in a later turn. */
  defer(io: BdevIo): void;
}

/** The descriptor that an I/O was submitted through, as the layer sees it; `BdevDescriptor` implements it. */
export interface IoChannel {
  readonly ioTimeoutMs: number;
  readonly onOverdue: ((io: BdevIo) => number) | null;
  /** Called when an I/O of this descriptor has timed out. */
  notify(event: { type: 'timeout' }): void;
}

const noOwner: IoOwner = {
  onIoDone() {
    throw new Error('An I/O without an owner completed');
  },
};

/**
 * One request to a bdev. Take it from the pool `BdevRegistry.ios`, fill it in, call `descriptor.submit(io)`, and put it back
 * once it is done. Its shape never changes, and a request allocates nothing.
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

  /** How the request ended. */
  status: Status = Status.Ok;

  // The owner's scratch: the layer does not touch it.
  tag = 0;
  context: object | null = null;

  // A driver's scratch while it has the I/O.
  driverTag = 0;
  driverContext: object | null = null;

  // The bdev layer's own.
  bdev: IoTarget | null = null;
  /** @internal */
  state: IoState = IoState.Idle;
  submittedAt = 0;
  /** The descriptor that it was submitted through; null for the layer's own parts. */
  descriptor: IoChannel | null = null;
  /** Deadline in runtime milliseconds; Infinity for none. @internal */
  deadlineAt = 0;
  /** @internal */
  prev: BdevIo | null = null;
  /** @internal */
  next: BdevIo | null = null;
  /** @internal */
  parent: BdevIo | null = null;
  /** Children in flight. @internal */
  partsLeft = 0;
  /** Blocks from the start of the request for which children have been made. @internal */
  partsMade = 0;
  /** The owner was told that it timed out, and the driver has not completed it. @internal */
  isAbandoned = false;
  /** The owner put it into the pool while the driver still had it. @internal */
  isReleased = false;
  /** @internal */
  isTracked = false;

  /** The owner was told that it timed out; for a part at any depth, the owner of the whole request. */
  get isUnwanted(): boolean {
    return this.isAbandoned || this.parent?.isUnwanted === true;
  }

  /**
   * For drivers: completes this I/O. Must be called exactly once; inside `submit` is allowed (the owner is told in a later
   * turn).
   */
  complete(status: Status): void {
    const bdev = this.bdev;
    if (bdev === null) throw new Error('An I/O that is not in flight was completed');
    bdev.onDriverDone(this, status);
  }
}

/** Pool of idle I/O objects. It grows to the largest number ever in flight and then allocates nothing. */
export class IoPool {
  readonly #free: BdevIo[] = [];
  /** Number of I/O objects ever made. */
  made = 0;

  get(): BdevIo {
    const io = this.#free.pop();
    if (io !== undefined) return io;
    this.made++;
    return new BdevIo();
  }

  /**
   * Returns an I/O, which must be done, to the pool. One that has timed out is reused only after the driver has completed it.
   */
  put(io: BdevIo): void {
    if (io.isAbandoned) {
      io.isReleased = true;
      return;
    }
    if (io.state !== IoState.Idle) throw new Error('An I/O was released while it was in flight');
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

  /** Number of I/O objects in flight or not yet put back. */
  get outstanding(): number {
    return this.made - this.#free.length;
  }
}

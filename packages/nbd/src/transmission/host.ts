import type { IoType, Runtime } from '@raidkit/bdev';
import type { BufferMemory, SizeClassPool } from '@raidkit/parity';
import type { NbdRequest, NbdRequestPool, Target } from '../commands/request.js';
import type { SendQueue } from './send-queue.js';
import type { QuotaShare, ServerQuota } from './server-quota.js';
import type { Turns } from './turns.js';
import type { Rules } from './validate.js';

/** Smallest staging area in bytes: the longest option data must fit. */
export const leastStagingBytes = 4096;

/** Limits of one connection. */
export interface ConnectionLimits {
  /** Number of requests, or pieces of large ones, that have not been answered in full. */
  readonly maxRequests: number;
  /** Bytes of buffers. A connection may exceed this only with its first buffer. */
  readonly maxBytes: number;
  /** While more bytes of replies than this wait to be sent, further requests other than writes get no buffers. */
  readonly maxUnsentBytes: number;
  /**
   * Size of the staging area in bytes, at least {@link leastStagingBytes}. A larger one receives more small writes at a time.
   */
  readonly stagingBytes: number;
}

/**
 * Reports which parts of an export are allocated: calls `add` with consecutive extents from `offset` on, until they reach
 * `offset + lengthBytes` or `add` returns false. Offsets and lengths are in bytes; `flags` are those of `ExtentFlag`. It runs
 * on the data path, so it must not block.
 */
export type AllocationMap = (offset: number, lengthBytes: number, add: (lengthBytes: number, flags: number) => boolean) => void;

/** The export, as requests that end see it. */
export interface CountingTarget {
  /** Counts a request that has been answered. */
  count(request: NbdRequest): void;
}

/** The export, as the transmission phase of a connection sees it. */
export interface TransmissionTarget extends Target, Rules, CountingTarget {
  readonly bdev: { supports(type: IoType): boolean };
  readonly allocation: AllocationMap | null;
  /** Preferred size and alignment of writes to the device, in bytes. */
  readonly unitBytes: number;
  /** Limits the server memory that clients of this export hold together. */
  readonly share: QuotaShare;
  /** Ends trims and write zeroes whose clients have gone. */
  cancelUnwanted(): void;
}

/** What the connections of a server share in the transmission phase. */
export interface TransmissionHost {
  readonly runtime: Runtime;
  readonly memory: BufferMemory;
  readonly buffers: SizeClassPool;
  readonly requests: NbdRequestPool;
  readonly budget: ServerQuota;
  readonly turns: Turns;
  readonly limits: ConnectionLimits;
  /**
   * Largest buffer of a request or piece, in bytes. Only a read whose data must be sent in one chunk takes a larger one, rather
   * than be split.
   */
  readonly pieceBytes: number;
}

/** The connection, as its transmission phase sees it. */
export interface RequestConnection {
  readonly sendQueue: SendQueue;
  /** The origin of the client, with the shares of the server's memory that limit it. */
  readonly origin: { readonly isLocal: boolean; readonly shares: readonly QuotaShare[] };
  /** A reply has been put into the send queue. */
  onReply(): void;
  /** A request has completed, so the connection may be able to continue or to close. */
  onProgress(): void;
  /** Processes bytes that have been received, if it was held up before. */
  resume(): void;
  /** Takes no further requests, answers those in flight and then closes the connection. */
  drain(): void;
  /** Closes the connection at once, without replies. */
  abort(reason: string): void;
}

import type { Runtime } from '@raidkit/bdev';
import type { BufferMemory, SizeClassPool } from '@raidkit/parity';
import type { NbdRequestPool } from '../commands/request.js';
import type { SendQueue } from './send-queue.js';
import type { QuotaShare, ServerQuota } from './server-quota.js';
import type { Turns } from './turns.js';

/** As much as one option's data. */
export const leastStagingBytes = 4096;

/** What one connection may have in flight. */
export interface ConnectionLimits {
  /** Requests, or pieces of large ones, that have not been answered in full. */
  readonly maxRequests: number;
  /** Bytes of buffers. One piece is always allowed. */
  readonly maxBytes: number;
  /** Bytes of replies that wait to be sent, at which nothing more is read for the client. */
  readonly maxUnsentBytes: number;
  /** Room for what comes in: at least {@link leastStagingBytes}. The more, the more small writes come in at a time. */
  readonly stagingBytes: number;
}

/** What the transmission phases of all connections share. */
export interface TransmissionHost {
  readonly runtime: Runtime;
  readonly memory: BufferMemory;
  readonly buffers: SizeClassPool;
  readonly requests: NbdRequestPool;
  readonly budget: ServerQuota;
  readonly turns: Turns;
  readonly limits: ConnectionLimits;
  /** Largest buffer that a piece of a request takes, if it can be helped. */
  readonly pieceBytes: number;
}

/** The connection whose requests are carried out. */
export interface RequestConnection {
  readonly sendQueue: SendQueue;
  /** Where its client is: which shares of the server's memory it draws on. */
  readonly origin: { readonly isLocal: boolean; readonly shares: readonly QuotaShare[] };
  /** A reply has been put into the send queue. */
  onReply(): void;
  /** A request has got on: the connection may be able to go on, or to end. */
  onProgress(): void;
  /** Takes in what has been received and waits. */
  resume(): void;
  /** No further request is taken; what is under way is answered, and then the connection ends. */
  drain(): void;
  abort(reason: string): void;
}

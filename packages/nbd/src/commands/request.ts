import { RangeLock } from '@raidkit/bdev';
import type { BdevDescriptor, IoPool, RangeLocks, Runtime } from '@raidkit/bdev';
import type { SizeClassPool } from '@raidkit/parity';

/** The device that requests go to, as the commands see it. */
export interface Target {
  readonly descriptor: BdevDescriptor;
  readonly ios: IoPool;
  readonly memory: { readonly u8: Uint8Array };
  /** Pool of the requests' buffers. */
  readonly buffers: SizeClassPool;
  readonly runtime: Pick<Runtime, 'soon'>;
  readonly blockSize: number;
  /** Locks on ranges of blocks. Whole-block writes hold a shared lock, read-modify-writes an exclusive one. */
  readonly locks: RangeLocks;
  readonly zeroTrimTurns: RequestTurns;
}

/** Limits how many requests run a step at the same time. */
export interface RequestTurns {
  /** Returns true if the request may run its step now. If not, `onTurn` will be called with it from a later `end`. */
  begin(request: NbdRequest): boolean;
  /**
   * Called when a step is over. Calls `onTurn` with the requests that may run now, in the order in which they began to wait.
   */
  end(onTurn: (request: NbdRequest) => void): void;
}

/** Is told when a request has been carried out. */
export interface RequestOwner {
  /**
   * Returns whether the request must be carried on with. Trims and write zeroes ask this between steps, and stop once their
   * client is gone or the export is being closed.
   */
  isWanted(request: NbdRequest): boolean;
  /** `request.errno` says how the request ended. */
  onRequestDone(request: NbdRequest): void;
}

/**
 * One request of a client, or one piece of a request that is too large for one buffer. Objects come from a pool and have a
 * fixed shape. The cookie, eight opaque bytes, is kept as two 32-bit halves.
 */
export class NbdRequest {
  owner: RequestOwner | null = null;
  target: Target | null = null;

  cookieHi = 0;
  cookieLo = 0;
  command = 0;
  flags = 0;
  /** Offset in bytes. It is not exact above 2^53, but no export is that large. */
  offset = 0;
  /** The two halves of the offset as received, for replies that repeat it. */
  offsetHi = 0;
  offsetLo = 0;
  lengthBytes = 0;

  /** NBD error number; 0 while there is no error. */
  errno = 0;
  /** Byte offset of the error in the export, for replies that include it. */
  errorOffset = 0;

  /** Address of the buffer, which starts with the block that contains `offset`; -1 if there is none. */
  addr = -1;
  /** Bytes of the buffer, as quotas count them. */
  heldBytes = 0;
  firstBlock = 0;
  numBlocks = 0;

  /** The request that this is a piece of; null if it is not a piece. */
  group: NbdRequest | null = null;
  /** Number of pieces that are not done, plus one while more pieces will be made; 0 for a request that is not split. */
  piecesLeft = 0;
  /** Byte offset up to which pieces have been made, or up to which a trim or write zeroes is done. */
  cursor = 0;
  /** Pieces must be sent in the order of their offsets. */
  isOrdered = false;
  /** For a piece: it has been read and waits for the pieces before it. For a request: its first piece is in the send queue. */
  isReady = false;
  /**
   * There will be no reply: the client is gone, has not sent all of the request, or the rest of a trim or write zeroes was
   * dropped.
   */
  isAbandoned = false;

  /** I/Os of the current step that are not done. */
  ioLeft = 0;
  /** An I/O of the current step has timed out, so the step must be repeated. */
  mustRetry = false;
  wasRetried = false;
  /** Next in a list of pieces, or in a queue. */
  next: NbdRequest | null = null;
  /** Function to call once the lock is held. The code that acquires the lock sets it. */
  onLocked: ((request: NbdRequest) => void) | null = null;
  readonly lock = new RangeLock(() => this.onLocked?.(this));

  get end(): number {
    return this.offset + this.lengthBytes;
  }

  /** Bytes of the first block that come before the request. */
  get headPaddingBytes(): number {
    return this.offset - this.firstBlock * (this.target?.blockSize ?? 1);
  }

  /** Sets `firstBlock` and `numBlocks` to the blocks that the byte range touches. */
  coverBlocks(blockSize: number): void {
    this.firstBlock = Math.floor(this.offset / blockSize);
    this.numBlocks = Math.ceil((this.offset + this.lengthBytes) / blockSize) - this.firstBlock;
  }
}

/** Pool of unused requests. It grows to the largest number ever in use and then allocates nothing. */
export class NbdRequestPool {
  readonly #free: NbdRequest[] = [];
  /** Number of requests ever created. */
  made = 0;

  get(): NbdRequest {
    const request = this.#free.pop();
    if (request !== undefined) return request;
    this.made++;
    return new NbdRequest();
  }

  put(request: NbdRequest): void {
    request.owner = null;
    request.target = null;
    request.errno = 0;
    request.addr = -1;
    request.heldBytes = 0;
    request.firstBlock = 0;
    request.numBlocks = 0;
    request.group = null;
    request.piecesLeft = 0;
    request.isOrdered = false;
    request.isReady = false;
    request.isAbandoned = false;
    request.mustRetry = false;
    request.wasRetried = false;
    request.next = null;
    request.onLocked = null;
    this.#free.push(request);
  }

  /** Number of requests in use. */
  get outstanding(): number {
    return this.made - this.#free.length;
  }
}

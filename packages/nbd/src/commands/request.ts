import { RangeLock } from '@raidkit/bdev';
import type { BdevDescriptor, IoPool, RangeLocks, Runtime } from '@raidkit/bdev';
import type { SizeClassPool } from '@raidkit/parity';

/** The device that requests go to, as the operations see it. */
export interface Target {
  readonly descriptor: BdevDescriptor;
  readonly ios: IoPool;
  readonly memory: { readonly u8: Uint8Array };
  /** Where requests' buffers come from. */
  readonly buffers: SizeClassPool;
  readonly runtime: Pick<Runtime, 'soon'>;
  readonly blockSize: number;
  /** In blocks. Whole-block writes hold a shared lock, read-modify-writes an exclusive one. */
  readonly locks: RangeLocks;
  readonly zeroTrimTurns: RequestTurns;
}

/** Whose turn it is to have a step carried out. */
export interface RequestTurns {
  /** True: it is the request's turn. False: `onTurn` will be called, inside another request's `end`. */
  begin(request: NbdRequest): boolean;
  /** A step is over; the request that has waited longest is given to `onTurn`. */
  end(onTurn: (request: NbdRequest) => void): void;
}

/** Told when a request is carried out: `request.errno` says how it ended. */
export interface RequestOwner {
  /** Whether the client still waits for the request, or it is to be done all the same. What takes long asks this now and then. */
  isWanted(request: NbdRequest): boolean;
  onRequestDone(request: NbdRequest): void;
}

/**
 * One request of a client, or one piece of a request that is too large for one buffer. Pooled, of fixed shape. The cookie
 * is eight opaque bytes, kept as two halves.
 */
export class NbdRequest {
  owner: RequestOwner | null = null;
  target: Target | null = null;

  cookieHi = 0;
  cookieLo = 0;
  command = 0;
  flags = 0;
  /** Bytes. Not exact above 2^53, where no export reaches. */
  offset = 0;
  /** The offset as it was received, for replies that repeat it. */
  offsetHi = 0;
  offsetLo = 0;
  lengthBytes = 0;

  /** Protocol error; 0 as long as all is well. */
  errno = 0;
  /** Where in the export it happened, for those replies that say so. */
  errorOffset = 0;

  /** The buffer: it starts with the block in which `offset` lies. -1 for none. */
  addr = -1;
  /** What the buffer counts as in budgets. */
  heldBytes = 0;
  firstBlock = 0;
  numBlocks = 0;

  /** The request that this is a piece of. */
  group: NbdRequest | null = null;
  /** For a request in pieces: pieces not done, plus one while more are to come. 0 for a request that is its own piece. */
  piecesLeft = 0;
  /** Byte offset up to which pieces have been made, or erasing has come. */
  cursor = 0;
  /** Pieces must be sent in the order of their offsets. */
  isOrdered = false;
  /** A piece that has been read and waits for those before it; a request whose first piece is on its way out. */
  isReady = false;
  /** The client is gone or has stopped in the middle of the request: there will be no reply. */
  isAbandoned = false;

  /** I/Os of the present step that are not done. */
  ioLeft = 0;
  /** An I/O of the present step timed out, and the step is to be done once more. */
  mustRetry = false;
  wasRetried = false;
  /** Next in a list of pieces, or among those that wait for their turn. */
  next: NbdRequest | null = null;
  /** What to do once the lock is held; set by the code that acquires it. */
  onLocked: ((request: NbdRequest) => void) | null = null;
  readonly lock = new RangeLock(() => this.onLocked?.(this));

  get end(): number {
    return this.offset + this.lengthBytes;
  }

  /** Bytes in the first block that are before the request. */
  get headPaddingBytes(): number {
    return this.offset - this.firstBlock * (this.target?.blockSize ?? 1);
  }

  /** Sets the blocks that the byte range touches. */
  coverBlocks(blockSize: number): void {
    this.firstBlock = Math.floor(this.offset / blockSize);
    this.numBlocks = Math.ceil((this.offset + this.lengthBytes) / blockSize) - this.firstBlock;
  }
}

/** Idle requests. Grows to the largest number ever in use and then allocates nothing. */
export class NbdRequestPool {
  readonly #free: NbdRequest[] = [];
  /** Requests ever made. */
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

  /** Requests that are out. */
  get outstanding(): number {
    return this.made - this.#free.length;
  }
}

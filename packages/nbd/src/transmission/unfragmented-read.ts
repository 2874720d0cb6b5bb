import type { BufferMemory } from '@raidkit/parity';
import { ReplyStyle } from '../handshake/negotiated.js';
import type { ReplyWriter } from '../wire/reply-writer.js';
import type { NbdRequest } from '../commands/request.js';

/** Takes back the pieces and the request of an unfragmented read. */
export interface UnfragmentedReadOwner {
  /** The piece will not be sent: gives back its buffer and its slot. */
  drop(piece: NbdRequest): void;
  /** The piece's buffer and slot are in the send queue: gives back the object. */
  recycle(piece: NbdRequest): void;
  /** All pieces are dealt with. `request.isReady` says whether data has been sent; if not, `request.errno` is the answer. */
  onUnfragmentedEnd(request: NbdRequest): void;
  /** The client has been promised bytes that cannot be had. */
  abort(): void;
}

/**
 * A read whose data must go out in one chunk, although it takes several buffers: a simple reply, or a chunk that must not be
 * fragmented. Pieces are read in any order and sent in theirs. An error in the first is the reply; after that a simple reply
 * has no way to say it, and a chunk is filled up with zeros and followed by an error.
 */
export class UnfragmentedRead {
  readonly #memory: BufferMemory;
  readonly #writer: ReplyWriter;
  readonly #style: ReplyStyle;
  readonly #owner: UnfragmentedReadOwner;
  #head: NbdRequest | null = null;
  #tail: NbdRequest | null = null;

  constructor(memory: BufferMemory, writer: ReplyWriter, style: ReplyStyle, owner: UnfragmentedReadOwner) {
    this.#memory = memory;
    this.#writer = writer;
    this.#style = style;
    this.#owner = owner;
  }

  /** Whether no further piece is needed, because nothing has been sent and the answer will be an error. */
  hasFailedEarly(request: NbdRequest): boolean {
    return request.isOrdered && request.errno !== 0 && !request.isReady;
  }

  /** Puts a piece behind the others. Before it is read. */
  add(piece: NbdRequest): void {
    if (this.#tail === null) this.#head = piece;
    else this.#tail.next = piece;
    this.#tail = piece;
  }

  /** No further piece will be added. */
  allAdded(request: NbdRequest): void {
    if (--request.piecesLeft === 0) this.#owner.onUnfragmentedEnd(request);
  }

  onPieceRead(piece: NbdRequest, request: NbdRequest): void {
    piece.isReady = true;
    while (this.#head?.isReady === true) {
      const next = this.#head;
      this.#head = next.next;
      if (this.#head === null) this.#tail = null;
      this.#send(next, request);
      if (--request.piecesLeft === 0) this.#owner.onUnfragmentedEnd(request);
    }
  }

  /** The client is gone: lets go of the pieces that wait for others. Those that are being read come back by themselves. */
  clear(): void {
    let piece = this.#head;
    this.#head = null;
    this.#tail = null;
    while (piece !== null) {
      const { next, group } = piece;
      if (piece.isReady) {
        this.#owner.drop(piece);
        if (group !== null && --group.piecesLeft === 0) this.#owner.onUnfragmentedEnd(group);
      }
      piece = next;
    }
  }

  #send(piece: NbdRequest, request: NbdRequest): void {
    if (piece.errno !== 0 && request.errno === 0) {
      request.errno = piece.errno;
      request.errorOffset = piece.offset;
    }
    if (!request.isReady) {
      if (request.errno !== 0) {
        this.#owner.drop(piece);
        return;
      }
      request.isReady = true;
      this.#writer.firstOfUnfragmented(piece, request);
    } else {
      if (piece.errno !== 0) {
        if (this.#style === ReplyStyle.Simple) {
          this.#owner.drop(piece);
          this.#owner.abort();
          return;
        }
        const start = piece.addr + piece.headPaddingBytes;
        this.#memory.u8.fill(0, start, start + piece.lengthBytes);
      }
      this.#writer.nextOfUnfragmented(piece);
    }
    this.#owner.recycle(piece);
  }
}

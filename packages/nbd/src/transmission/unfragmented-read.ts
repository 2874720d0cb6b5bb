import type { BufferMemory } from '@raidkit/parity';
import { ReplyStyle } from '../handshake/negotiated.js';
import type { ReplyWriter } from './reply-writer.js';
import type { NbdRequest } from '../commands/request.js';

/** Receives the pieces and the end of an unfragmented read. */
export interface UnfragmentedReadOwner {
  /** The piece will not be sent. The owner frees its buffer, its slot and the object. */
  drop(piece: NbdRequest): void;
  /** The piece is in the send queue, which frees its buffer and slot. The owner frees the object. */
  recycle(piece: NbdRequest): void;
  /** All pieces are done. If `request.isReady`, data has been sent; if not, the reply is the error `request.errno`. */
  onUnfragmentedEnd(request: NbdRequest): void;
  /** Part of a reply has been sent and the rest cannot be read, so the connection must be closed. */
  abort(): void;
}

/**
 * A read whose data must be sent in one chunk although it takes several buffers: with simple replies, or with NBD_CMD_FLAG_DF.
 * Pieces are read in any order and sent in the order of their offsets. If the first piece fails, the reply is its error. After
 * that, a simple reply cannot report an error, so the connection is dropped; in a structured reply, zeros take the place of the
 * unreadable data and an error chunk follows.
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

  /** Returns whether no further pieces are needed, because nothing has been sent and the reply will be an error. */
  hasFailedEarly(request: NbdRequest): boolean {
    return request.isOrdered && request.errno !== 0 && !request.isReady;
  }

  /** Appends a piece. Call it before the piece is read. */
  add(piece: NbdRequest): void {
    if (this.#tail === null) this.#head = piece;
    else this.#tail.next = piece;
    this.#tail = piece;
  }

  /** Called when all pieces have been added. */
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

  /**
   * The client is gone: drops the pieces that wait for others. Pieces that are still being read are released when they
   * complete.
   */
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

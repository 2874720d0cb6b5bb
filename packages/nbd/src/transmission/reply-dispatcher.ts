import type { ConnectionQuota } from './connection-quota.js';
import type { CountingTarget, RequestConnection, TransmissionHost } from './host.js';
import { Command } from '../wire/constants.js';
import { UnfragmentedRead } from './unfragmented-read.js';
import { ReplyStyle } from '../handshake/negotiated.js';
import { ReplyWriter } from './reply-writer.js';
import type { NbdRequest, NbdRequestPool, RequestOwner } from '../commands/request.js';

/** Puts the replies of completed requests into the send queue, or drops them if the client is gone. */
export class ReplyDispatcher implements RequestOwner {
  readonly writer: ReplyWriter;
  readonly unfragmentedRead: UnfragmentedRead;
  readonly #connection: RequestConnection;
  readonly #target: CountingTarget;
  readonly #quota: ConnectionQuota;
  readonly #requests: NbdRequestPool;
  readonly #style: ReplyStyle;
  readonly #onUnfragmentedSent: () => void;
  #isClosed = false;
  #isCalledOff = false;

  /**
   * `onUnfragmentedSent` is called when all data of an unfragmented read is in the send queue, which it has blocked until then.
   */
  constructor(
    host: TransmissionHost,
    connection: RequestConnection,
    target: CountingTarget,
    quota: ConnectionQuota,
    style: ReplyStyle,
    onUnfragmentedSent: () => void,
  ) {
    this.#connection = connection;
    this.#target = target;
    this.#quota = quota;
    this.#requests = host.requests;
    this.#style = style;
    this.#onUnfragmentedSent = onUnfragmentedSent;
    this.writer = new ReplyWriter(host.memory, connection.sendQueue, style);
    this.unfragmentedRead = new UnfragmentedRead(host.memory, this.writer, style, {
      drop: (piece) => this.release(piece),
      recycle: (piece) => this.#requests.put(piece),
      onUnfragmentedEnd: (request) => this.#onUnfragmentedEnd(request),
      abort: () => connection.abort('a read failed after part of its data had been sent'),
    });
  }

  /** The client is gone: no reply is sent any more. */
  close(): void {
    this.#isClosed = true;
    this.unfragmentedRead.clear();
  }

  /** The connection is closing: trims and write zeroes are not continued and get no reply. */
  callOff(): void {
    this.#isCalledOff = true;
  }

  isWanted(request: NbdRequest): boolean {
    return !this.#isClosed && !this.#isCalledOff && !request.isAbandoned;
  }

  onRequestDone(request: NbdRequest): void {
    if (request.group === null) this.reply(request);
    else if (request.command === Command.Write) this.#onWritten(request, request.group);
    else this.#onPieceRead(request, request.group);
    this.#connection.onProgress();
  }

  /** Sends the reply of a completed request. */
  reply(request: NbdRequest): void {
    if (this.#isClosed || request.isAbandoned) {
      this.release(request);
      return;
    }
    if (request.command === Command.Read && request.errno === 0) {
      this.writer.data(request);
      this.answered(request);
      return;
    }
    this.#freeBuffer(request);
    if (request.errno === 0) {
      this.writer.ok(request);
    } else if (request.command === Command.Read && request.numBlocks > 0) {
      request.errorOffset = request.offset;
      this.writer.errorAt(request);
    } else {
      this.writer.error(request);
    }
    this.answered(request);
  }

  /** Called once the reply is in the send queue, which frees slot and buffer when it has been sent. */
  answered(request: NbdRequest): void {
    this.#target.count(request);
    this.#requests.put(request);
  }

  #onWritten(piece: NbdRequest, group: NbdRequest): void {
    if (group.errno === 0) group.errno = piece.errno;
    this.release(piece);
    if (--group.piecesLeft === 0) this.reply(group);
  }

  #onPieceRead(piece: NbdRequest, group: NbdRequest): void {
    if (group.isOrdered && !this.#isClosed) {
      this.unfragmentedRead.onPieceRead(piece, group);
      return;
    }
    const isLast = --group.piecesLeft === 0;
    if (this.#isClosed) {
      this.release(piece);
      if (isLast) this.release(group);
      return;
    }
    const slots = isLast ? 2 : 1;
    if (piece.errno === 0) {
      this.writer.pieceData(piece, slots);
    } else {
      group.errno = piece.errno;
      piece.errorOffset = piece.offset;
      this.#freeBuffer(piece);
      this.writer.pieceErrorAt(piece, slots);
    }
    this.#requests.put(piece);
    if (isLast) this.answered(group);
  }

  #onUnfragmentedEnd(request: NbdRequest): void {
    this.#onUnfragmentedSent();
    if (this.#isClosed || (request.isReady && this.#style === ReplyStyle.Simple)) {
      // The data has been sent as the whole reply.
      this.#target.count(request);
      this.release(request);
      return;
    }
    if (request.isReady) this.writer.endOfUnfragmented(request);
    else this.writer.errorAt(request);
    this.answered(request);
  }

  /** Frees the request's slot, its buffer and the object. */
  release(request: NbdRequest): void {
    this.#freeBuffer(request);
    this.#quota.release(-1, 0, 1);
    this.#requests.put(request);
  }

  #freeBuffer(request: NbdRequest): void {
    if (request.addr < 0) return;
    this.#quota.release(request.addr, request.heldBytes, 0);
    request.addr = -1;
    request.heldBytes = 0;
  }
}

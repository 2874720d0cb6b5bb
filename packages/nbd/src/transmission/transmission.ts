import { IoType } from '@raidkit/bdev';
import { ConnectionQuota } from './connection-quota.js';
import { ReplyDispatcher } from './reply-dispatcher.js';
import type { RequestConnection, TransmissionHost, TransmissionTarget } from './host.js';
import {
  Command,
  CommandFlag,
  extendedRequestBytes,
  extendedRequestMagic,
  requestBytes,
  requestMagic,
} from '../wire/constants.js';
import { startZeroTrim } from '../commands/zero-trim.js';
import { startFlush } from '../commands/flush.js';
import type { Negotiated } from '../handshake/negotiated.js';
import { ReplyStyle } from '../handshake/negotiated.js';
import { pieceEnd, spanBytes, writeSpanBytes } from './request-split.js';
import { startRead } from '../commands/read.js';
import type { NbdRequest } from '../commands/request.js';
import { ConnectionTurn } from './turns.js';
import { maxTransferBytes, requestErrno } from './validate.js';
import { isUnaligned, startWrite } from '../commands/write.js';

/** Largest number of bytes to receive at a time of a payload that is discarded. */
const discardBytes = 4096;
/**
 * After a write of at least this many bytes, another one is expected. Its payload is received into its buffer, which saves a
 * copy.
 */
const largeWriteBytes = 32 * 1024;
/** Bytes of buffer for the extents of a block status reply. */
const extentListBytes = 4096;

/** What the next bytes of the client are. */
const Phase = {
  Header: 0,
  /** None are taken: a request has been read and waits for memory. */
  Admit: 1,
  Payload: 2,
  /** Payload of a request that has failed. */
  Discard: 3,
  /** None are taken: an unfragmented read is being sent, between whose pieces no other reply may come. */
  Unfragmented: 4,
  Stopped: 5,
} as const;

/**
 * The transmission phase of one connection: parses requests and has them carried out, as far as memory allows. Each request
 * holds a slot from its header until its reply has been sent, so the number of replies in the send queue is limited.
 */
export class Transmission<E extends TransmissionTarget> {
  readonly target: E;
  /** The requests that have not been answered in full, and their buffers. */
  readonly quota: ConnectionQuota;
  /** Address for the next bytes of the payload; -1 if none is being received. */
  payloadAddr = -1;
  /** The last request was a large write, so the next one probably is too. */
  expectsLargeWrite = false;

  readonly #turn: ConnectionTurn;
  readonly #host: TransmissionHost;
  readonly #connection: RequestConnection;
  readonly #negotiated: Negotiated;
  readonly #headerBytes: number;
  readonly #replies: ReplyDispatcher;
  #phase: number = Phase.Header;
  #isStopped = false;
  /** The request whose header came last and which has not been started in full. */
  #current: NbdRequest | null = null;
  /** The request or piece whose payload is being received. */
  #filling: NbdRequest | null = null;
  #payloadLeft = 0;
  #discardLeft = 0;

  constructor(host: TransmissionHost, connection: RequestConnection, target: E, negotiated: Negotiated) {
    this.#host = host;
    this.#connection = connection;
    this.target = target;
    this.quota = new ConnectionQuota(host, connection.origin.isLocal ? [] : [...connection.origin.shares, target.share], () =>
      connection.resume(),
    );
    this.#turn = new ConnectionTurn(host.turns, () => connection.resume());
    this.#negotiated = negotiated;
    this.#headerBytes = negotiated.replyStyle === ReplyStyle.Extended ? extendedRequestBytes : requestBytes;
    this.#replies = new ReplyDispatcher(host, connection, target, this.quota, negotiated.replyStyle, () => this.#launched());
  }

  /** Whether the rest of a payload is expected. */
  get isInPayload(): boolean {
    return this.#phase === Phase.Payload || this.#phase === Phase.Discard;
  }

  /** Number of bytes that the next step needs; 0 while it can take none. */
  get wantedBytes(): number {
    if (this.quota.isShort) return 0;
    switch (this.#phase) {
      case Phase.Header:
        return this.#turn.isOver ? 0 : this.#headerBytes;
      case Phase.Payload:
        return this.#payloadLeft;
      case Phase.Discard:
        return Math.min(this.#discardLeft, discardBytes);
      default:
        return 0;
    }
  }

  /** Runs the next step with the bytes received at `addr`. Returns how many of them it consumed; -1 if it could do nothing. */
  step(addr: number, availableBytes: number): number {
    if (!this.quota.mayRetry()) return -1;
    switch (this.#phase) {
      case Phase.Header:
        return availableBytes >= this.#headerBytes && this.#turn.mayBegin() ? this.#header(addr) : -1;
      case Phase.Admit:
        return this.#current !== null && this.#admit(this.#current) ? 0 : -1;
      case Phase.Payload:
        return this.#copyPayload(addr, availableBytes);
      case Phase.Discard:
        return this.#discard(availableBytes);
      default:
        return -1;
    }
  }

  /** Reports that `bytes` more of the payload have been stored at `payloadAddr`. */
  tookPayload(bytes: number): void {
    this.payloadAddr += bytes;
    this.#payloadLeft -= bytes;
    if (this.#payloadLeft === 0) this.#payloadComplete();
  }

  /** Takes no further requests. Requests that have been received in full are answered; others are dropped. */
  stop(): void {
    this.#isStopped = true;
    if (this.#phase === Phase.Admit && this.#current?.command !== Command.Write) return;
    if (this.#phase !== Phase.Unfragmented) this.#forget();
  }

  /** Stops trims and write zeroes, which get no reply, and cancels I/O that rate limits hold back. */
  callOff(): void {
    this.#replies.callOff();
    this.target.cancelUnwanted();
  }

  /** The client is gone: requests in flight are carried out, and no reply is sent. */
  close(): void {
    this.#isStopped = true;
    this.#replies.close();
    this.target.cancelUnwanted();
    if (this.#phase === Phase.Unfragmented) this.#current = null;
    this.#forget();
  }

  #header(addr: number): number {
    const { view } = this.#host.memory;
    const isExtended = this.#negotiated.replyStyle === ReplyStyle.Extended;
    if (view.getUint32(addr) !== (isExtended ? extendedRequestMagic : requestMagic)) {
      this.#connection.abort('a request without the magic number');
      return -1;
    }
    if (!this.quota.takeSlot()) return -1;
    const request = this.#host.requests.get();
    request.owner = this.#replies;
    request.target = this.target;
    request.flags = view.getUint16(addr + 4);
    request.command = view.getUint16(addr + 6);
    request.cookieHi = view.getUint32(addr + 8);
    request.cookieLo = view.getUint32(addr + 12);
    request.offsetHi = view.getUint32(addr + 16);
    request.offsetLo = view.getUint32(addr + 20);
    request.offset = request.offsetHi * 2 ** 32 + request.offsetLo;
    request.lengthBytes = view.getUint32(addr + 24);
    if (isExtended) request.lengthBytes = request.lengthBytes * 2 ** 32 + view.getUint32(addr + 28);
    this.#turn.begun(request.lengthBytes);
    this.#onRequest(request, isExtended);
    return this.#headerBytes;
  }

  #onRequest(request: NbdRequest, isExtended: boolean): void {
    const { command, lengthBytes } = request;
    if (command === Command.Disc) {
      this.#replies.release(request);
      this.#connection.drain();
      return;
    }
    const isWrite = command === Command.Write;
    this.expectsLargeWrite = isWrite && lengthBytes >= largeWriteBytes;
    // With extended headers, the specification requires the payload flag on every write. Current qemu clients (at least 8.2 to
    // 10.0) do not set it but send the data. qemu's server accepts that, so this one must too.
    const hasPayload = isWrite || (isExtended && (request.flags & CommandFlag.PayloadLen) !== 0);
    if (hasPayload && isExtended && lengthBytes > maxTransferBytes) {
      this.#replies.release(request);
      this.#connection.abort(`a payload of ${lengthBytes} bytes`);
      return;
    }
    request.errno = requestErrno(request, this.target, this.#negotiated);
    if (request.errno === 0) {
      this.#current = request;
      this.#phase = Phase.Admit;
    } else if (hasPayload && lengthBytes > 0) {
      this.#current = request;
      this.#discardLeft = lengthBytes;
      this.#phase = Phase.Discard;
    } else {
      this.#replies.reply(request);
      this.#connection.onReply();
    }
  }

  /** Starts the request or a part of it. Returns false if it must wait for a slot or a buffer. */
  #admit(request: NbdRequest): boolean {
    switch (request.command) {
      case Command.Read:
        return this.#admitRead(request);
      case Command.Write:
        return this.#admitWrite(request);
      case Command.WriteZeroes:
        if (
          isUnaligned(request.offset, request.end, this.target.blockSize) &&
          !this.#takeBuffer(request, this.target.blockSize)
        )
          return false;
        this.#launched();
        startZeroTrim(request);
        return true;
      case Command.BlockStatus:
        return this.#admitBlockStatus(request);
      default:
        this.#launched();
        if (request.command === Command.Trim) startZeroTrim(request);
        else if (request.command === Command.Flush && this.target.bdev.supports(IoType.Flush)) startFlush(request);
        else this.#replies.onRequestDone(request);
        return true;
    }
  }

  #admitRead(request: NbdRequest): boolean {
    const { blockSize, unitBytes } = this.target;
    const { pieceBytes, buffers } = this.#host;
    if (request.piecesLeft === 0) {
      request.isOrdered = this.#negotiated.replyStyle === ReplyStyle.Simple || (request.flags & CommandFlag.Df) !== 0;
      const span = spanBytes(request.offset, request.end, blockSize);
      if (span <= (request.isOrdered ? buffers.maxBytes : pieceBytes)) {
        if (!this.#takeBuffer(request, span)) return false;
        this.#launched();
        startRead(request);
        return true;
      }
      request.cursor = request.offset;
      request.piecesLeft = 1;
    }
    // An unfragmented read blocks the send queue, so it starts only when nothing else of the connection is in flight.
    // Otherwise, completed requests behind it could hold the memory that it needs to continue.
    if (request.isOrdered && request.cursor === request.offset && !this.quota.isAlone()) return false;
    while (request.cursor < request.end && !this.#replies.unfragmentedRead.hasFailedEarly(request)) {
      const end = pieceEnd(request.cursor, request.end, pieceBytes, 0, blockSize, unitBytes);
      const piece = this.#takePiece(request, end, spanBytes(request.cursor, end, blockSize));
      if (piece === null) return false;
      if (request.isOrdered) this.#replies.unfragmentedRead.add(piece);
      startRead(piece);
    }
    this.quota.dropReserved();
    this.#launched();
    if (request.isOrdered) {
      this.#current = request;
      this.#phase = Phase.Unfragmented;
      this.#replies.unfragmentedRead.allAdded(request);
      // The read may already have ended with an error, whose reply nothing else would send.
      this.#connection.onReply();
    } else {
      request.piecesLeft--;
    }
    return true;
  }

  #admitWrite(request: NbdRequest): boolean {
    const { blockSize, unitBytes } = this.target;
    const { pieceBytes } = this.#host;
    if (request.piecesLeft === 0) {
      const span = writeSpanBytes(request.offset, request.end, blockSize);
      if (span <= pieceBytes) {
        if (!this.#takeBuffer(request, span)) return false;
        this.#fill(request);
        return true;
      }
      request.cursor = request.offset;
      request.piecesLeft = 1;
    }
    const spareBytes = isUnaligned(request.cursor, request.end, blockSize) ? 2 * blockSize : 0;
    const end = pieceEnd(request.cursor, request.end, pieceBytes, spareBytes, blockSize, unitBytes);
    const piece = this.#takePiece(request, end, writeSpanBytes(request.cursor, end, blockSize));
    if (piece === null) return false;
    this.#fill(piece);
    return true;
  }

  #admitBlockStatus(request: NbdRequest): boolean {
    const { allocation } = this.target;
    if (allocation === null) {
      this.#launched();
      this.#replies.writer.oneExtent(request);
      this.#replies.answered(request);
      this.#connection.onReply();
      return true;
    }
    if (!this.#takeBuffer(request, extentListBytes)) return false;
    this.#launched();
    const most = (request.flags & CommandFlag.ReqOne) !== 0 ? 1 : this.#replies.writer.extentsIn(extentListBytes);
    let count = 0;
    let left = request.lengthBytes;
    allocation(request.offset, request.lengthBytes, (lengthBytes, flags) => {
      if (count === most || left === 0) return false;
      const bytes = Math.min(lengthBytes, left);
      if (bytes > 0) this.#replies.writer.putExtent(request, count++, bytes, flags);
      left -= bytes;
      return count < most && left > 0;
    });
    // Unless the map says otherwise, everything counts as allocated.
    if (count === 0) this.#replies.writer.putExtent(request, count++, request.lengthBytes, 0);
    this.#replies.writer.extents(request, count);
    this.#replies.answered(request);
    this.#connection.onReply();
    return true;
  }

  /** Starts to receive a payload into the request's buffer. */
  #fill(request: NbdRequest): void {
    this.#filling = request;
    this.payloadAddr = request.addr + request.headPaddingBytes;
    this.#payloadLeft = request.lengthBytes;
    this.#phase = Phase.Payload;
  }

  #copyPayload(addr: number, availableBytes: number): number {
    const bytes = Math.min(availableBytes, this.#payloadLeft);
    if (bytes === 0) return -1;
    this.#host.memory.u8.copyWithin(this.payloadAddr, addr, addr + bytes);
    this.tookPayload(bytes);
    return bytes;
  }

  #payloadComplete(): void {
    const request = this.#filling;
    if (request === null) return;
    const { group } = request;
    this.#filling = null;
    this.payloadAddr = -1;
    if (group === null || group.cursor === group.end) {
      this.#launched();
      if (group !== null) group.piecesLeft--; // all pieces have been made; this one is not done yet
    } else if (group.errno === 0) {
      this.#phase = Phase.Admit;
    } else {
      this.#discardLeft = group.end - group.cursor;
      this.#phase = Phase.Discard;
    }
    startWrite(request);
  }

  #discard(availableBytes: number): number {
    const bytes = Math.min(availableBytes, this.#discardLeft);
    if (bytes === 0) return -1;
    this.#discardLeft -= bytes;
    const request = this.#current;
    if (this.#discardLeft === 0 && request !== null) {
      this.#launched();
      if (request.piecesLeft === 0 || --request.piecesLeft === 0) this.#replies.reply(request);
      this.#connection.onReply();
    }
    return bytes;
  }

  /** Goes on to the next header, since the current request has been received and started in full. */
  #launched(): void {
    this.#current = null;
    this.#phase = this.#isStopped ? Phase.Stopped : Phase.Header;
  }

  /**
   * Returns a piece of `group` from its cursor to `end`, with a slot and a buffer; null if there is none of them at present.
   */
  #takePiece(group: NbdRequest, end: number, bufferBytes: number): NbdRequest | null {
    if (!this.quota.takeSlot()) return null;
    const piece = this.#host.requests.get();
    piece.owner = this.#replies;
    piece.target = this.target;
    piece.command = group.command;
    piece.flags = group.flags;
    piece.cookieHi = group.cookieHi;
    piece.cookieLo = group.cookieLo;
    piece.offset = group.cursor;
    piece.lengthBytes = end - group.cursor;
    piece.group = group;
    if (!this.#takeBuffer(piece, bufferBytes)) {
      this.#replies.release(piece);
      return null;
    }
    group.cursor = end;
    group.piecesLeft++;
    return piece;
  }

  /** Gives the request a buffer of at least `bytes` and sets the blocks that belong into it. Returns false if it must wait. */
  #takeBuffer(request: NbdRequest, bytes: number): boolean {
    // A client that does not read the replies that it has asked for gets no memory for more.
    if (request.command !== Command.Write && this.#connection.sendQueue.bufferedBytes > this.#host.limits.maxUnsentBytes) {
      this.quota.waitForOwn();
      return false;
    }
    const addr = this.quota.takeBuffer(bytes);
    if (addr < 0) return false;
    request.addr = addr;
    request.heldBytes = this.quota.takenBytes;
    request.coverBlocks(this.target.blockSize);
    return true;
  }

  /** Drops the requests that have not been received or started in full. */
  #forget(): void {
    this.quota.endWait();
    const filling = this.#filling;
    const current = this.#current;
    this.#filling = null;
    this.#current = null;
    this.payloadAddr = -1;
    this.#phase = Phase.Stopped;
    if (filling !== null) {
      if (filling.group !== null) filling.group.piecesLeft--;
      this.#replies.release(filling);
    }
    if (current === null || current === filling) return;
    current.isAbandoned = true;
    if (current.piecesLeft === 0 || --current.piecesLeft === 0) this.#replies.release(current);
  }
}

import { IoType } from '@raidkit/bdev';
import type { BufferWaiter } from '@raidkit/parity';
import type { NbdExport } from '../export.js';
import type { BudgetWaiter } from './budget.js';
import type { ConnectionHost, NbdConnection } from './connection.js';
import { Command, CommandFlag, NbdErrno, extendedRequestBytes, extendedRequestMagic, requestBytes, requestMagic } from './constants.js';
import { startErase } from './erase.js';
import { startFlush } from './flush.js';
import { Lump } from './lump.js';
import type { Negotiated } from './negotiated.js';
import { ReplyStyle } from './negotiated.js';
import { pieceEnd, spanBytes, writeSpanBytes } from './pieces.js';
import { startRead } from './read.js';
import { ReplyWriter } from './reply-writer.js';
import type { NbdRequest, RequestOwner } from './request.js';
import { maxTransferBytes, requestErrno } from './validate.js';
import { isRagged, startWrite } from './write.js';

/** Bytes of a payload that nobody wants which are taken in at a time. */
const discardBytes = 4096;
/** Bytes of buffer for the list of a block status reply. */
const extentListBytes = 4096;

/** What the incoming bytes are. */
const Phase = {
  Header: 0,
  /** A request has been read and waits for memory. */
  Admit: 1,
  Payload: 2,
  /** Payload of a request that has failed. */
  Discard: 3,
  /** A read is being sent in pieces that nothing may come between. */
  Lump: 4,
  Stopped: 5,
} as const;

/** What holds up the next step. */
const Stall = {
  None: 0,
  /** This connection's own requests, which must be answered first. */
  Own: 1,
  /** The server's budget. */
  Budget: 2,
  /** All buffers are out. */
  Buffer: 3,
} as const;

/**
 * The transmission phase of one connection: takes requests apart, has them carried out within what memory there is, and puts
 * the replies into the outbox. Every request holds a slot from its header until its reply has been sent, so the number of
 * replies that wait is bounded.
 */
export class Transmission implements RequestOwner, BufferWaiter, BudgetWaiter {
  readonly target: NbdExport;
  /** For the waiting queues. */
  bytesWanted = 0;
  slots = 0;
  heldBytes = 0;
  /** Where the rest of a payload goes; -1 if none is being received. */
  payloadAddr = -1;

  readonly #host: ConnectionHost;
  readonly #connection: NbdConnection;
  readonly #negotiated: Negotiated;
  readonly #writer: ReplyWriter;
  readonly #lump: Lump;
  #phase: number = Phase.Header;
  #stall: number = Stall.None;
  #isStopped = false;
  #isClosed = false;
  /** The request whose header came last and that is not under way as a whole. */
  #current: NbdRequest | null = null;
  /** The request, or piece, whose payload is being received. */
  #filling: NbdRequest | null = null;
  #payloadLeft = 0;
  #discardLeft = 0;
  /** A buffer that the pool's queue gave, not used yet. */
  #reservedAddr = -1;

  constructor(host: ConnectionHost, connection: NbdConnection, target: NbdExport, negotiated: Negotiated) {
    this.#host = host;
    this.#connection = connection;
    this.target = target;
    this.#negotiated = negotiated;
    this.#writer = new ReplyWriter(host.memory, connection.outbox, negotiated.replyStyle);
    this.#lump = new Lump(host.memory, this.#writer, negotiated.replyStyle, {
      drop: (piece) => this.#release(piece),
      recycle: (piece) => host.requests.put(piece),
      onLumpEnd: (request) => this.#onLumpEnd(request),
      abort: () => connection.abort('a read failed after part of its data had been sent'),
    });
  }

  get isInPayload(): boolean {
    return this.#phase === Phase.Payload || this.#phase === Phase.Discard;
  }

  /** Bytes that the next step needs; 0 while there is none to take. */
  get wantedBytes(): number {
    if (this.#stall !== Stall.None) return 0;
    switch (this.#phase) {
      case Phase.Header:
        return this.#headerBytes;
      case Phase.Payload:
        return this.#payloadLeft;
      case Phase.Discard:
        return Math.min(this.#discardLeft, discardBytes);
      default:
        return 0;
    }
  }

  /** Does the next step with what has been received. Returns how many bytes that took; -1 if nothing could be done. */
  step(addr: number, availableBytes: number): number {
    if (this.#stall === Stall.Budget || this.#stall === Stall.Buffer) return -1;
    this.#stall = Stall.None;
    switch (this.#phase) {
      case Phase.Header:
        return availableBytes >= this.#headerBytes ? this.#header(addr) : -1;
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

  /** `bytes` more of the payload are at `payloadAddr`. */
  tookPayload(bytes: number): void {
    this.payloadAddr += bytes;
    this.#payloadLeft -= bytes;
    if (this.#payloadLeft === 0) this.#payloadComplete();
  }

  /** Takes no further request. Requests that have been received in full are answered; others are forgotten. */
  stop(): void {
    this.#isStopped = true;
    if (this.#phase === Phase.Admit && this.#current?.command !== Command.Write) return;
    if (this.#phase !== Phase.Lump) this.#forget();
  }

  /** The client is gone. What is under way is carried out, and nobody is told. */
  close(): void {
    this.#isStopped = true;
    this.#isClosed = true;
    this.#lump.clear();
    if (this.#phase === Phase.Lump) this.#current = null;
    this.#forget();
  }

  onRequestDone(request: NbdRequest): void {
    if (request.group === null) this.#reply(request);
    else if (request.command === Command.Write) this.#onWritten(request, request.group);
    else this.#onPieceRead(request, request.group);
    this.#connection.onProgress();
  }

  /** From the outbox: a reply is with the client, or never will be. */
  onSent(bufferAddr: number, heldBytes: number, slots: number): void {
    this.slots -= slots;
    if (bufferAddr >= 0) {
      this.heldBytes -= heldBytes;
      this.#host.buffers.put(bufferAddr);
    }
    this.#host.budget.release(heldBytes, slots);
  }

  onBudget(): void {
    this.#stall = Stall.None;
    this.#connection.resume();
  }

  onBuffer(): void {
    const addr = this.#host.buffers.get(this.bytesWanted);
    if (addr < 0) {
      this.#host.buffers.wait(this);
      return;
    }
    this.#hold(addr);
    this.#reservedAddr = addr;
    // We are inside somebody's `put`.
    this.#host.runtime.soon(this.#onReserved);
  }

  readonly #onReserved = (): void => {
    if (this.#stall !== Stall.Buffer) return;
    this.#endStall();
    this.#connection.resume();
  };

  get #headerBytes(): number {
    return this.#negotiated.replyStyle === ReplyStyle.Extended ? extendedRequestBytes : requestBytes;
  }

  #header(addr: number): number {
    const { view } = this.#host.memory;
    const isExtended = this.#negotiated.replyStyle === ReplyStyle.Extended;
    if (view.getUint32(addr) !== (isExtended ? extendedRequestMagic : requestMagic)) {
      this.#connection.abort('a request without its magic number');
      return -1;
    }
    if (!this.#takeSlot()) return -1;
    const request = this.#host.requests.get();
    request.owner = this;
    request.target = this.target;
    request.flags = view.getUint16(addr + 4);
    request.command = view.getUint16(addr + 6);
    request.cookieHi = view.getUint32(addr + 8);
    request.cookieLo = view.getUint32(addr + 12);
    request.offset = view.getUint32(addr + 16) * 2 ** 32 + view.getUint32(addr + 20);
    request.lengthBytes = view.getUint32(addr + 24);
    if (isExtended) request.lengthBytes = request.lengthBytes * 2 ** 32 + view.getUint32(addr + 28);
    this.#onRequest(request, isExtended);
    return this.#headerBytes;
  }

  #onRequest(request: NbdRequest, isExtended: boolean): void {
    const { command, lengthBytes } = request;
    if (command === Command.Disc) {
      this.#release(request);
      this.#connection.drain();
      return;
    }
    const isWrite = command === Command.Write;
    const hasPayload = isExtended ? (request.flags & CommandFlag.PayloadLen) !== 0 : isWrite;
    if (hasPayload && isExtended && lengthBytes > maxTransferBytes) {
      this.#release(request);
      this.#connection.abort(`a payload of ${lengthBytes} bytes`);
      return;
    }
    request.errno = isWrite && !hasPayload ? NbdErrno.Inval : requestErrno(request, this.target, this.#negotiated);
    if (request.errno === 0) {
      this.#current = request;
      this.#phase = Phase.Admit;
    } else if (hasPayload && lengthBytes > 0) {
      this.#current = request;
      this.#discardLeft = lengthBytes;
      this.#phase = Phase.Discard;
    } else {
      this.#reply(request);
      this.#connection.onReply();
    }
  }

  /** Gets the request under way, or a part of it. False if that must wait. */
  #admit(request: NbdRequest): boolean {
    switch (request.command) {
      case Command.Read:
        return this.#admitRead(request);
      case Command.Write:
        return this.#admitWrite(request);
      case Command.WriteZeroes:
        if (isRagged(request.offset, request.end, this.target.blockSize) && !this.#takeBuffer(request, this.target.blockSize)) return false;
        this.#launched();
        startErase(request);
        return true;
      case Command.BlockStatus:
        return this.#admitBlockStatus(request);
      default:
        this.#launched();
        if (request.command === Command.Trim) startErase(request);
        else if (request.command === Command.Flush && this.target.bdev.supports(IoType.Flush)) startFlush(request);
        else this.onRequestDone(request);
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
    // One lump of data blocks the way out. It starts when nothing else is in flight, so that what completes meanwhile never
    // holds the memory that the lump needs to go on.
    if (request.isOrdered && request.cursor === request.offset && this.slots > 1) {
      this.#stall = Stall.Own;
      return false;
    }
    while (request.cursor < request.end && !this.#lump.hasFailedEarly(request)) {
      const end = pieceEnd(request.cursor, request.end, pieceBytes, 0, blockSize, unitBytes);
      const piece = this.#takePiece(request, end, spanBytes(request.cursor, end, blockSize));
      if (piece === null) return false;
      if (request.isOrdered) this.#lump.add(piece);
      startRead(piece);
    }
    this.#launched();
    if (request.isOrdered) {
      this.#current = request;
      this.#phase = Phase.Lump;
      this.#lump.allAdded(request);
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
    const spareBytes = isRagged(request.cursor, request.end, blockSize) ? 2 * blockSize : 0;
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
      this.#writer.oneExtent(request);
      this.#answered(request);
      this.#connection.onReply();
      return true;
    }
    if (!this.#takeBuffer(request, extentListBytes)) return false;
    this.#launched();
    const most = (request.flags & CommandFlag.ReqOne) !== 0 ? 1 : this.#writer.extentsIn(extentListBytes);
    let count = 0;
    let left = request.lengthBytes;
    allocation(request.offset, request.lengthBytes, (lengthBytes, flags) => {
      if (count === most || left === 0) return false;
      const bytes = Math.min(lengthBytes, left);
      if (bytes > 0) this.#writer.putExtent(request, count++, bytes, flags);
      left -= bytes;
      return count < most && left > 0;
    });
    // A map that has nothing to say: as far as anybody knows, allocated.
    if (count === 0) this.#writer.putExtent(request, count++, request.lengthBytes, 0);
    this.#writer.extents(request, count);
    this.#answered(request);
    this.#connection.onReply();
    return true;
  }

  /** Starts to receive a payload into the request's buffer. */
  #fill(request: NbdRequest): void {
    this.#filling = request;
    this.payloadAddr = request.addr + request.skewBytes;
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
      if (group !== null) group.piecesLeft--; // this piece itself is still to come
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
      if (request.piecesLeft === 0 || --request.piecesLeft === 0) this.#reply(request);
      this.#connection.onReply();
    }
    return bytes;
  }

  /** Nothing more of the current request is to be received. */
  #launched(): void {
    this.#current = null;
    this.#phase = this.#isStopped ? Phase.Stopped : Phase.Header;
  }

  #takeSlot(): boolean {
    const { budget, limits } = this.#host;
    if (this.slots >= limits.maxRequests) {
      this.#stall = Stall.Own;
      return false;
    }
    if (!budget.hasRoom(this, 0)) {
      this.#waitForBudget(0);
      return false;
    }
    this.slots++;
    budget.requests++;
    return true;
  }

  /** A piece of `group`, from its cursor to `end`, with a slot and a buffer; null if there is none for the moment. */
  #takePiece(group: NbdRequest, end: number, bufferBytes: number): NbdRequest | null {
    if (!this.#takeSlot()) return null;
    const piece = this.#host.requests.get();
    piece.owner = this;
    piece.target = this.target;
    piece.command = group.command;
    piece.flags = group.flags;
    piece.cookieHi = group.cookieHi;
    piece.cookieLo = group.cookieLo;
    piece.offset = group.cursor;
    piece.lengthBytes = end - group.cursor;
    piece.group = group;
    if (!this.#takeBuffer(piece, bufferBytes)) {
      this.#release(piece);
      return null;
    }
    group.cursor = end;
    group.piecesLeft++;
    return piece;
  }

  /** Gives the request a buffer, and the numbers of the blocks that belong into it. False if that must wait. */
  #takeBuffer(request: NbdRequest, bytes: number): boolean {
    const addr = this.#reservedAddr >= 0 ? this.#reservedAddr : this.#getBuffer(bytes);
    if (addr < 0) return false;
    this.#reservedAddr = -1;
    request.addr = addr;
    request.heldBytes = this.#host.buffers.slotBytesOf(addr);
    request.coverBlocks(this.target.blockSize);
    return true;
  }

  #getBuffer(bytes: number): number {
    const { budget, buffers, limits } = this.#host;
    if (this.heldBytes > 0 && this.heldBytes + bytes > limits.maxBytes) {
      this.#stall = Stall.Own;
      return -1;
    }
    if (!budget.hasRoom(this, bytes)) {
      this.#waitForBudget(bytes);
      return -1;
    }
    const addr = buffers.get(bytes);
    if (addr >= 0) {
      this.#hold(addr);
      return addr;
    }
    this.#stall = Stall.Buffer;
    this.bytesWanted = bytes;
    budget.waitingForBuffers++;
    buffers.wait(this);
    return -1;
  }

  #waitForBudget(bytes: number): void {
    this.#stall = Stall.Budget;
    this.bytesWanted = bytes;
    this.#host.budget.wait(this);
  }

  #hold(addr: number): void {
    const bytes = this.#host.buffers.slotBytesOf(addr);
    this.heldBytes += bytes;
    this.#host.budget.bytes += bytes;
  }

  #endStall(): void {
    const { budget, buffers } = this.#host;
    if (this.#stall === Stall.Buffer) {
      budget.waitingForBuffers--;
      buffers.cancel(this);
    } else if (this.#stall === Stall.Budget) {
      budget.cancel(this);
    }
    this.#stall = Stall.None;
  }

  /** Lets go of what has not been received, or not been admitted, in full. */
  #forget(): void {
    this.#endStall();
    if (this.#reservedAddr >= 0) {
      const addr = this.#reservedAddr;
      this.#reservedAddr = -1;
      this.onSent(addr, this.#host.buffers.slotBytesOf(addr), 0);
    }
    const filling = this.#filling;
    const current = this.#current;
    this.#filling = null;
    this.#current = null;
    this.payloadAddr = -1;
    this.#phase = Phase.Stopped;
    if (filling !== null) {
      if (filling.group !== null) filling.group.piecesLeft--;
      this.#release(filling);
    }
    if (current === null || current === filling) return;
    current.isAbandoned = true;
    if (current.piecesLeft === 0 || --current.piecesLeft === 0) this.#release(current);
  }

  /** Answers a request that is over. */
  #reply(request: NbdRequest): void {
    if (this.#isClosed || request.isAbandoned) {
      this.#release(request);
      return;
    }
    if (request.command === Command.Read && request.errno === 0) {
      this.#writer.data(request);
      this.#answered(request);
      return;
    }
    this.#freeBuffer(request);
    if (request.errno === 0) {
      this.#writer.ok(request);
    } else if (request.command === Command.Read && request.numBlocks > 0) {
      request.errorOffset = request.offset;
      this.#writer.errorAt(request);
    } else {
      this.#writer.error(request);
    }
    this.#answered(request);
  }

  /** The reply is in the outbox, and with it the slot and the buffer. */
  #answered(request: NbdRequest): void {
    this.target.count(request);
    this.#host.requests.put(request);
  }

  #onWritten(piece: NbdRequest, group: NbdRequest): void {
    if (group.errno === 0) group.errno = piece.errno;
    this.#release(piece);
    if (--group.piecesLeft === 0) this.#reply(group);
  }

  #onPieceRead(piece: NbdRequest, group: NbdRequest): void {
    if (group.isOrdered && !this.#isClosed) {
      this.#lump.onPieceRead(piece, group);
      return;
    }
    const isLast = --group.piecesLeft === 0;
    if (this.#isClosed) {
      this.#release(piece);
      if (isLast) this.#release(group);
      return;
    }
    const slots = isLast ? 2 : 1;
    if (piece.errno === 0) {
      this.#writer.pieceData(piece, slots);
    } else {
      group.errno = piece.errno;
      piece.errorOffset = piece.offset;
      this.#freeBuffer(piece);
      this.#writer.pieceErrorAt(piece, slots);
    }
    this.#host.requests.put(piece);
    if (isLast) this.#answered(group);
  }

  #onLumpEnd(request: NbdRequest): void {
    this.#launched();
    if (this.#isClosed || (request.isReady && this.#negotiated.replyStyle === ReplyStyle.Simple)) {
      // Its data was the reply.
      this.target.count(request);
      this.#release(request);
      return;
    }
    if (request.isReady) this.#writer.endOfLump(request);
    else this.#writer.errorAt(request);
    this.#answered(request);
  }

  /** Gives back what a request holds, and the request. */
  #release(request: NbdRequest): void {
    this.#freeBuffer(request);
    this.slots--;
    this.#host.budget.release(0, 1);
    this.#host.requests.put(request);
  }

  #freeBuffer(request: NbdRequest): void {
    if (request.addr < 0) return;
    this.onSent(request.addr, request.heldBytes, 0);
    request.addr = -1;
    request.heldBytes = 0;
  }
}

import type { BufferMemory } from '@raidkit/parity';
import {
  ChunkType,
  allocationContextId,
  chunkDone,
  extendedReplyMagic,
  simpleReplyMagic,
  structuredReplyMagic,
} from '../wire/constants.js';
import { ReplyStyle } from '../handshake/negotiated.js';
import type { SendQueue } from './send-queue.js';
import type { NbdRequest } from '../commands/request.js';

/** Longest reply without data, in bytes. */
export const maxSmallReplyBytes = 64;
/** Bytes of the header of a simple reply. */
const simpleHeaderBytes = 16;
/** Bytes of the header of a chunk of a structured reply. */
const structuredHeaderBytes = 20;
/** Bytes of the header of a chunk with extended headers. */
const extendedHeaderBytes = 32;
/** Bytes of the offset at the start of an `OffsetData` chunk's payload. The data follows. */
const dataOffsetBytes = 8;

/** Writes the replies of one connection into its send queue, in the negotiated style. */
export class ReplyWriter {
  readonly #view: DataView;
  readonly #sendQueue: SendQueue;
  readonly #style: ReplyStyle;
  /** Bytes of the header of a chunk in the negotiated style. */
  readonly #headerBytes: number;

  constructor(memory: BufferMemory, sendQueue: SendQueue, style: ReplyStyle) {
    this.#view = memory.view;
    this.#sendQueue = sendQueue;
    this.#style = style;
    this.#headerBytes = style === ReplyStyle.Extended ? extendedHeaderBytes : structuredHeaderBytes;
  }

  /** Replies that a request without data to return has succeeded. */
  ok(request: NbdRequest): void {
    if (this.#style === ReplyStyle.Extended) this.#emptyChunk(request);
    else this.#simple(request, 0);
  }

  /** Replies that the request has failed with `request.errno`. */
  error(request: NbdRequest): void {
    if (this.#style === ReplyStyle.Simple) this.#simple(request, request.errno);
    else this.#errorChunk(request, ChunkType.Error, chunkDone);
  }

  /** Replies that the request has failed at `request.errorOffset`, which simple replies cannot express. */
  errorAt(request: NbdRequest): void {
    if (this.#style === ReplyStyle.Simple) this.#simple(request, request.errno);
    else this.#errorChunk(request, ChunkType.ErrorOffset, chunkDone);
  }

  /**
   * Reports that one piece of several has failed. `slots` is 2 for the last piece, which also ends the request, and 1 for the
   * others.
   */
  pieceErrorAt(piece: NbdRequest, slots: number): void {
    this.#errorChunk(piece, ChunkType.ErrorOffset, slots > 1 ? chunkDone : 0, slots);
  }

  /** Replies with all data of a read. The send queue takes the buffer over. */
  data(request: NbdRequest): void {
    if (this.#style === ReplyStyle.Simple) this.#simpleData(request, request);
    else this.#dataChunk(request, request.lengthBytes, chunkDone, 1);
  }

  /** Sends one piece of several as a chunk; `slots` as for {@link pieceErrorAt}. The send queue takes the buffer over. */
  pieceData(piece: NbdRequest, slots: number): void {
    this.#dataChunk(piece, piece.lengthBytes, slots > 1 ? chunkDone : 0, slots);
  }

  /** Sends the first piece of an unfragmented read, with the header for all of its data. */
  firstOfUnfragmented(piece: NbdRequest, request: NbdRequest): void {
    if (this.#style === ReplyStyle.Simple) this.#simpleData(piece, request);
    else this.#dataChunk(piece, request.lengthBytes, 0, 1);
  }

  nextOfUnfragmented(piece: NbdRequest): void {
    const { addr, headPaddingBytes: headPaddingBytes, lengthBytes, heldBytes } = piece;
    this.#sendQueue.pushBuffer(addr + headPaddingBytes, lengthBytes, addr, heldBytes, 1);
  }

  /** Ends an unfragmented read whose data was sent as a chunk. */
  endOfUnfragmented(request: NbdRequest): void {
    if (request.errno === 0) this.#emptyChunk(request);
    else this.#errorChunk(request, ChunkType.ErrorOffset, chunkDone);
  }

  /** Replies to a block status request with one allocated extent that covers the whole request. */
  oneExtent(request: NbdRequest): void {
    const isWide = this.#style === ReplyStyle.Extended;
    const bytes = this.#headerBytes + (isWide ? 24 : 12);
    const addr = this.#sendQueue.smallAddr(bytes);
    const at = this.#chunkHeader(
      addr,
      request,
      chunkDone,
      isWide ? ChunkType.BlockStatusExt : ChunkType.BlockStatus,
      isWide ? 24 : 12,
    );
    this.#extentHead(at, 1);
    this.#extent(at + (isWide ? 8 : 4), request.lengthBytes, 0);
    this.#sendQueue.pushSmall(addr, bytes, 1);
  }

  /** Returns how many extents fit into a buffer of `bufferBytes`. */
  extentsIn(bufferBytes: number): number {
    return Math.floor(bufferBytes / (this.#style === ReplyStyle.Extended ? 16 : 8));
  }

  /** Writes an extent for {@link extents} into the request's buffer. */
  putExtent(request: NbdRequest, index: number, lengthBytes: number, flags: number): void {
    this.#extent(request.addr + index * (this.#style === ReplyStyle.Extended ? 16 : 8), lengthBytes, flags);
  }

  /** Replies with the first `count` extents in the buffer, which the send queue takes over. */
  extents(request: NbdRequest, count: number): void {
    const isWide = this.#style === ReplyStyle.Extended;
    const headBytes = isWide ? 8 : 4;
    const listBytes = count * (isWide ? 16 : 8);
    const addr = request.addr - headBytes - this.#headerBytes;
    const type = isWide ? ChunkType.BlockStatusExt : ChunkType.BlockStatus;
    const at = this.#chunkHeader(addr, request, chunkDone, type, headBytes + listBytes);
    this.#extentHead(at, count);
    this.#sendQueue.pushBuffer(addr, this.#headerBytes + headBytes + listBytes, request.addr, request.heldBytes, 1);
  }

  #simple(request: NbdRequest, errno: number): void {
    const addr = this.#sendQueue.smallAddr(simpleHeaderBytes);
    this.#simpleHeader(addr, request, errno);
    this.#sendQueue.pushSmall(addr, simpleHeaderBytes, 1);
  }

  #simpleData(piece: NbdRequest, request: NbdRequest): void {
    const addr = piece.addr + piece.headPaddingBytes - simpleHeaderBytes;
    this.#simpleHeader(addr, request, 0);
    this.#sendQueue.pushBuffer(addr, simpleHeaderBytes + piece.lengthBytes, piece.addr, piece.heldBytes, 1);
  }

  #simpleHeader(addr: number, request: NbdRequest, errno: number): void {
    const view = this.#view;
    view.setUint32(addr, simpleReplyMagic);
    view.setUint32(addr + 4, errno);
    view.setUint32(addr + 8, request.cookieHi);
    view.setUint32(addr + 12, request.cookieLo);
  }

  #emptyChunk(request: NbdRequest): void {
    const addr = this.#sendQueue.smallAddr(this.#headerBytes);
    this.#chunkHeader(addr, request, chunkDone, ChunkType.None, 0);
    this.#sendQueue.pushSmall(addr, this.#headerBytes, 1);
  }

  #errorChunk(request: NbdRequest, type: number, flags: number, slots = 1): void {
    const payloadBytes = type === ChunkType.ErrorOffset ? 14 : 6;
    const bytes = this.#headerBytes + payloadBytes;
    const addr = this.#sendQueue.smallAddr(bytes);
    const at = this.#chunkHeader(addr, request, flags, type, payloadBytes);
    this.#view.setUint32(at, request.errno);
    this.#view.setUint16(at + 4, 0); // no message
    if (type === ChunkType.ErrorOffset) this.#setUint64(at + 6, request.errorOffset);
    this.#sendQueue.pushSmall(addr, bytes, slots);
  }

  /** `dataBytes` is the length of the chunk's data, of which the piece may be only the beginning. */
  #dataChunk(piece: NbdRequest, dataBytes: number, flags: number, slots: number): void {
    const headBytes = this.#headerBytes + dataOffsetBytes;
    const addr = piece.addr + piece.headPaddingBytes - headBytes;
    const at = this.#chunkHeader(addr, piece, flags, ChunkType.OffsetData, dataOffsetBytes + dataBytes);
    this.#setUint64(at, piece.offset);
    this.#sendQueue.pushBuffer(addr, headBytes + piece.lengthBytes, piece.addr, piece.heldBytes, slots);
  }

  /** Writes the header of a chunk. Returns the address after it. */
  #chunkHeader(addr: number, request: NbdRequest, flags: number, type: number, payloadBytes: number): number {
    const view = this.#view;
    const isExtended = this.#style === ReplyStyle.Extended;
    view.setUint32(addr, isExtended ? extendedReplyMagic : structuredReplyMagic);
    view.setUint16(addr + 4, flags);
    view.setUint16(addr + 6, type);
    view.setUint32(addr + 8, request.cookieHi);
    view.setUint32(addr + 12, request.cookieLo);
    if (!isExtended) {
      view.setUint32(addr + 16, payloadBytes);
      return addr + structuredHeaderBytes;
    }
    const { offsetHi, offsetLo } = request.group ?? request;
    view.setUint32(addr + 16, offsetHi);
    view.setUint32(addr + 20, offsetLo);
    this.#setUint64(addr + 24, payloadBytes);
    return addr + extendedHeaderBytes;
  }

  #extentHead(addr: number, count: number): void {
    this.#view.setUint32(addr, allocationContextId);
    if (this.#style === ReplyStyle.Extended) this.#view.setUint32(addr + 4, count);
  }

  #extent(addr: number, lengthBytes: number, flags: number): void {
    if (this.#style === ReplyStyle.Extended) {
      this.#setUint64(addr, lengthBytes);
      this.#setUint64(addr + 8, flags);
    } else {
      this.#view.setUint32(addr, lengthBytes);
      this.#view.setUint32(addr + 4, flags);
    }
  }

  #setUint64(addr: number, value: number): void {
    this.#view.setUint32(addr, Math.floor(value / 2 ** 32));
    this.#view.setUint32(addr + 4, value % 2 ** 32);
  }
}

import { readSync, writeSync } from 'node:fs';
import { RingOp } from '@raidkit/sys';

/** A place in this process's memory, by bytes and, for what was given as such, by words. */
export interface Place {
  readonly bytes: Uint8Array | null;
  readonly words: Uint32Array | null;
  /** Bytes from the beginning of the array. */
  offset: number;
}

export interface FakeKernelOptions {
  /** The ring's words and entries; positions as `RingLayout` of @raidkit/sys has them. */
  ring: Int32Array;
  entries: Int32Array;
  sqTail: number;
  cqHead: number;
  cqTail: number;
  cqes: number;
  /** The place of an address that an operation names. */
  resolve: (addr: number) => Place;
  /** The client's requests: so many at a time, each of so many bytes, of a volume of so many blocks of that size. */
  depth: number;
  blockBytes: number;
  numBlocks: number;
  isWrite: boolean;
  exportName: string;
  /** Reports that so many replies have arrived. */
  onReplies: (total: number) => void;
}

const requestBytes = 28;
const replyBytes = 16;
const entryWords = 16;
const completionWords = 4;
const noSuchOperation = -95;
const clientFd = 3000;
const batches = 64;
/** Positions in a submission's words. */
const Field = { op: 0, fd: 1, offset: 2, addr: 4, length: 6, tag: 8 } as const;
/** struct msghdr and struct iovec in words of 32 bits. */
const message = { countAt: 6, vectorsAt: 16, vectorWords: 4, lengthAt: 2 } as const;

/**
 * A fake kernel: it completes ring operations at once and uses no device, and is the only client of an NBD server. What is left
 * of a request's time is JavaScript. Until {@link isServing} reads and writes are carried out, so that arrays can be made.
 */
export class FakeKernel {
  isServing = false;
  enters = 0;
  readonly #options: FakeKernelOptions;
  readonly #sqMask: number;
  readonly #cqMask: number;
  /** Bytes of a request with its data, and of a reply. */
  readonly #unit: number;
  readonly #reply: number;
  /** Batches of requests for random blocks. */
  readonly #requests: Uint8Array[];
  #batch = 0;
  #head = 0;
  #accept: number[] | null = null;
  #poll: number[] | null = null;
  /** What the client has yet to say of its handshake; null before it is accepted. */
  #handshake: Uint8Array | null = null;
  /** The server's receive that waits: the operation's two words, address, room. */
  #receive: { low: number; high: number; addr: number; room: number } | null = null;
  #inFlight = 0;
  #replies = 0;

  constructor(options: FakeKernelOptions, numEntries: number, numCompletions: number) {
    this.#options = options;
    this.#sqMask = numEntries - 1;
    this.#cqMask = numCompletions - 1;
    this.#unit = requestBytes + (options.isWrite ? options.blockBytes : 0);
    this.#reply = replyBytes + (options.isWrite ? 0 : options.blockBytes);
    this.#requests = Array.from({ length: batches }, () => this.#makeRequests());
  }

  /** io_uring_enter(2). Returns the number of entries that were taken. */
  enter(leastCompletions: number): number {
    const { cqHead, cqTail, ring, sqTail } = this.#options;
    this.enters++;
    const end = ring[sqTail] ?? 0;
    let taken = 0;
    for (; this.#head !== end; this.#head = (this.#head + 1) | 0, taken++) this.#take((this.#head & this.#sqMask) * entryWords);
    if (this.isServing && this.#accept !== null && this.#handshake === null) {
      this.#handshake = this.#makeHandshake();
      this.#completeTag(this.#accept, clientFd);
      this.#accept = null;
    }
    this.#send();
    if (leastCompletions > 0 && this.#poll !== null && ring[cqTail] === ring[cqHead]) {
      this.#completeTag(this.#poll, 1);
      this.#poll = null;
    }
    return taken;
  }

  #take(at: number): void {
    const { entries } = this.#options;
    switch ((entries[at] ?? 0) & 0xff) {
      case RingOp.READ:
      case RingOp.READ_FIXED:
        this.#complete(at, this.isServing ? (entries[at + Field.length] ?? 0) : this.#carryOut(at, readSync));
        break;
      case RingOp.WRITE:
      case RingOp.WRITE_FIXED:
        this.#complete(at, this.isServing ? (entries[at + Field.length] ?? 0) : this.#carryOut(at, writeSync));
        break;
      case RingOp.FSYNC:
        this.#complete(at, 0);
        break;
      case RingOp.RECV:
        this.#receive = {
          low: entries[at + Field.tag] ?? 0,
          high: entries[at + Field.tag + 1] ?? 0,
          addr: this.#addrOf(at),
          room: entries[at + Field.length] ?? 0,
        };
        break;
      case RingOp.SEND:
        this.#sent(at, entries[at + Field.length] ?? 0);
        break;
      case RingOp.SENDMSG:
        this.#sent(at, this.#messageBytes(at));
        break;
      case RingOp.ACCEPT:
        this.#accept = this.#tagOf(at);
        break;
      case RingOp.POLL_ADD:
        this.#poll = this.#tagOf(at);
        break;
      case RingOp.TIMEOUT:
        break;
      default:
        this.#complete(at, noSuchOperation);
    }
  }

  #carryOut(
    at: number,
    act: (fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => number,
  ): number {
    const { entries, resolve } = this.#options;
    const { bytes, offset } = resolve(this.#addrOf(at));
    if (bytes === null) throw new Error('a device operation on memory that is none of the buffers');
    const position = (entries[at + Field.offset] ?? 0) >>> 0;
    return act(entries[at + Field.fd] ?? 0, bytes, offset, entries[at + Field.length] ?? 0, position);
  }

  /** The client's side: the handshake, then as many requests as may be in flight. */
  #send(): void {
    const receive = this.#receive;
    if (receive === null || this.#handshake === null) return;
    const { bytes, offset } = this.#options.resolve(receive.addr);
    if (bytes === null) throw new Error('a receive into memory that is none of the buffers');
    let part: Uint8Array;
    if (this.#handshake.length > 0) {
      part = this.#handshake.subarray(0, receive.room);
      this.#handshake = this.#handshake.subarray(part.length);
    } else {
      const count = Math.min(this.#options.depth - this.#inFlight, Math.floor(receive.room / this.#unit));
      if (count <= 0) return;
      this.#batch = (this.#batch + 1) % batches;
      part = (this.#requests[this.#batch] ?? new Uint8Array()).subarray(0, count * this.#unit);
      this.#inFlight += count;
    }
    bytes.set(part, offset);
    this.#receive = null;
    this.#completeTag([receive.low, receive.high], part.length);
  }

  #sent(at: number, numBytes: number): void {
    if (this.#inFlight > 0) {
      const count = numBytes / this.#reply;
      if (!Number.isInteger(count)) throw new Error(`${numBytes} bytes are no whole replies`);
      this.#inFlight -= count;
      this.#replies += count;
      this.#options.onReplies(this.#replies);
    }
    this.#complete(at, numBytes);
  }

  #messageBytes(at: number): number {
    const { offset, words } = this.#options.resolve(this.#addrOf(at));
    if (words === null) throw new Error('a message that is no array of words');
    const first = offset / 4;
    const count = words[first + message.countAt] ?? 0;
    let total = 0;
    for (let index = 0; index < count; index++)
      total += words[first + message.vectorsAt + index * message.vectorWords + message.lengthAt] ?? 0;
    return total;
  }

  #addrOf(at: number): number {
    const { entries } = this.#options;
    return ((entries[at + Field.addr] ?? 0) >>> 0) + ((entries[at + Field.addr + 1] ?? 0) >>> 0) * 2 ** 32;
  }

  #tagOf(at: number): number[] {
    const { entries } = this.#options;
    return [entries[at + Field.tag] ?? 0, entries[at + Field.tag + 1] ?? 0];
  }

  #complete(at: number, result: number): void {
    const { entries } = this.#options;
    this.#put(entries[at + Field.tag] ?? 0, entries[at + Field.tag + 1] ?? 0, result);
  }

  #completeTag([low = 0, high = 0]: readonly number[], result: number): void {
    this.#put(low, high, result);
  }

  #put(low: number, high: number, result: number): void {
    const { cqTail, cqes, ring } = this.#options;
    const tail = ring[cqTail] ?? 0;
    const at = cqes + (tail & this.#cqMask) * completionWords;
    ring[at] = low;
    ring[at + 1] = high;
    ring[at + 2] = result;
    ring[at + 3] = 0;
    ring[cqTail] = (tail + 1) | 0;
  }

  /** Fixed newstyle, no zeroes; NBD_OPT_GO for the export. */
  #makeHandshake(): Uint8Array {
    const name = Buffer.from(this.#options.exportName);
    const bytes = Buffer.alloc(26 + name.length);
    bytes.writeUInt32BE(3, 0);
    bytes.write('IHAVEOPT', 4, 'latin1');
    bytes.writeUInt32BE(7, 12);
    bytes.writeUInt32BE(6 + name.length, 16);
    bytes.writeUInt32BE(name.length, 20);
    name.copy(bytes, 24);
    return bytes;
  }

  #makeRequests(): Uint8Array {
    const { blockBytes, depth, isWrite, numBlocks } = this.#options;
    const bytes = Buffer.alloc(this.#unit * depth);
    for (let index = 0; index < depth; index++) {
      const at = index * this.#unit;
      bytes.writeUInt32BE(0x2560_9513, at);
      bytes.writeUInt16BE(isWrite ? 1 : 0, at + 6);
      bytes.writeUInt32BE(index, at + 12);
      bytes.writeBigUInt64BE(BigInt(Math.floor(Math.random() * numBlocks) * blockBytes), at + 16);
      bytes.writeUInt32BE(blockBytes, at + 24);
    }
    return bytes;
  }
}

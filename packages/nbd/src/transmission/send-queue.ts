import type { BufferMemory } from '@raidkit/parity';

/** Told what a connection gets back when something has been sent (or will never be). */
export interface SendQueueOwner {
  /** A buffer is free, which {@link onSent} will count. */
  onBufferFree(bufferAddr: number): void;
  /** Once for each send: its buffers count as `heldBytes`, and `slots` requests are over. */
  onSent(heldBytes: number, slots: number): void;
}

/**
 * What a connection has to say, in order, as ranges of the runtime's memory. Small replies are written one behind the other
 * into a ring and become one range as long as none of them is being sent; data is sent from the buffer it was read into.
 *
 * At most one send is under way: `beginSend`, then `endSend`.
 */
export class SendQueue {
  readonly #memory: BufferMemory;
  readonly #owner: SendQueueOwner;
  readonly #ringAddr: number;
  readonly #ringBytes: number;
  /** Offset of the oldest byte in the ring, and of the next one to write. Equal means empty. */
  #ringHead = 0;
  #ringTail = 0;

  // The ranges, a ring of parallel arrays.
  readonly #capacity: number;
  /** The arrays' length, a power of two, less one. */
  readonly #mask: number;
  readonly #addr: Float64Array;
  readonly #bytes: Float64Array;
  readonly #buffer: Float64Array;
  readonly #held: Float64Array;
  readonly #slots: Uint32Array;
  #first = 0;
  #count = 0;
  #sending = 0;
  #sendingBytes = 0;

  /** `ringBytes` must suffice for all small replies that can wait at a time; `maxRanges` likewise. */
  constructor(memory: BufferMemory, owner: SendQueueOwner, ringAddr: number, ringBytes: number, maxRanges: number) {
    this.#memory = memory;
    this.#owner = owner;
    this.#ringAddr = ringAddr;
    this.#ringBytes = ringBytes;
    this.#capacity = maxRanges;
    const length = 2 ** Math.ceil(Math.log2(maxRanges));
    this.#mask = length - 1;
    this.#addr = new Float64Array(length);
    this.#bytes = new Float64Array(length);
    this.#buffer = new Float64Array(length);
    this.#held = new Float64Array(length);
    this.#slots = new Uint32Array(length);
  }

  /** Bytes of the send that is under way. */
  get sendingBytes(): number {
    return this.#sendingBytes;
  }

  /** Bytes of buffers that wait to be sent. */
  bufferedBytes = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get isSending(): boolean {
    return this.#sending > 0;
  }

  /** Where a reply of `bytes` goes; it must be written before the call of {@link pushSmall} that follows. */
  smallAddr(bytes: number): number {
    const head = this.#ringHead;
    const tail = this.#ringTail;
    if (tail >= head) {
      if (this.#ringBytes - tail >= bytes) return this.#ringAddr + tail;
      if (head > bytes) return this.#ringAddr;
    } else if (head - tail > bytes) {
      return this.#ringAddr + tail;
    }
    throw new Error('the reply ring of an NBD connection is full');
  }

  /** Queues the reply that has been written at `addr`, the result of {@link smallAddr}. It ends `slots` requests. */
  pushSmall(addr: number, bytes: number, slots: number): void {
    const last = (this.#first + this.#count - 1) & this.#mask;
    const isOpen = this.#count > this.#sending && this.#buffer[last] === -1;
    this.#ringTail = addr - this.#ringAddr + bytes;
    if (isOpen && (this.#addr[last] ?? 0) + (this.#bytes[last] ?? 0) === addr) {
      this.#bytes[last] = (this.#bytes[last] ?? 0) + bytes;
      this.#slots[last] = (this.#slots[last] ?? 0) + slots;
      return;
    }
    this.#push(addr, bytes, -1, 0, slots);
  }

  /** Queues up to `mostBytes` of `source`, but only if nothing else waits. Returns how many. */
  pushBytes(source: Uint8Array, mostBytes: number): number {
    if (this.#count > 0) return 0;
    const bytes = Math.min(source.length, mostBytes, this.#ringBytes);
    if (bytes === 0) return 0;
    this.#memory.u8.set(source.subarray(0, bytes), this.#ringAddr);
    this.pushSmall(this.#ringAddr, bytes, 0);
    return bytes;
  }

  /** Queues `bytes` at `addr`, inside the buffer `bufferAddr`, which goes back to the owner when they have been sent. */
  pushBuffer(addr: number, bytes: number, bufferAddr: number, heldBytes: number, slots: number): void {
    this.#push(addr, bytes, bufferAddr, heldBytes, slots);
  }

  /**
   * Starts a send of the oldest ranges: as many as `maxRanges` and `maxBytes` allow, but at least one. Returns their number;
   * 0 if there is nothing to send or a send is under way.
   */
  beginSend(maxRanges: number, maxBytes: number): number {
    if (this.#sending > 0) return 0;
    let bytes = 0;
    while (this.#sending < this.#count && this.#sending < maxRanges) {
      bytes += this.rangeBytes(this.#sending);
      if (this.#sending > 0 && bytes > maxBytes) break;
      this.#sending++;
      this.#sendingBytes = bytes;
    }
    return this.#sending;
  }

  /** Address of the `index`-th oldest range. */
  rangeAddr(index: number): number {
    return this.#addr[(this.#first + index) & this.#mask] ?? 0;
  }

  rangeBytes(index: number): number {
    return this.#bytes[(this.#first + index) & this.#mask] ?? 0;
  }

  /** The send that was begun is over: all of its ranges are with the peer. */
  endSend(): void {
    this.#shift();
  }

  /** The peer is gone, and nothing reads from the ranges any more. */
  clear(): void {
    this.#sending = this.#count;
    this.#shift();
  }

  #push(addr: number, bytes: number, bufferAddr: number, heldBytes: number, slots: number): void {
    if (this.#count === this.#capacity) throw new Error('too many replies of an NBD connection wait');
    const index = (this.#first + this.#count++) & this.#mask;
    this.#addr[index] = addr;
    this.#bytes[index] = bytes;
    this.#buffer[index] = bufferAddr;
    this.#held[index] = heldBytes;
    this.bufferedBytes += heldBytes;
    this.#slots[index] = slots;
  }

  /** Takes off what was being sent. It keeps its places until all its buffers are free: a request that gets one may reply at once. */
  #shift(): void {
    const ranges = this.#sending;
    let heldBytes = 0;
    let slots = 0;
    for (let i = 0; i < ranges; i++) {
      const index = (this.#first + i) & this.#mask;
      const bufferAddr = this.#buffer[index] ?? -1;
      heldBytes += this.#held[index] ?? 0;
      slots += this.#slots[index] ?? 0;
      if (bufferAddr !== -1) this.#owner.onBufferFree(bufferAddr);
      else this.#ringHead = (this.#addr[index] ?? 0) + (this.#bytes[index] ?? 0) - this.#ringAddr;
    }
    this.#first = (this.#first + ranges) & this.#mask;
    this.#count -= ranges;
    this.#sending = this.#sendingBytes = 0;
    this.bufferedBytes -= heldBytes;
    // Sends lag behind by at most the ring, so an empty queue is the moment to start over at its beginning.
    if (this.#count === 0) this.#ringHead = this.#ringTail = 0;
    this.#owner.onSent(heldBytes, slots);
  }
}

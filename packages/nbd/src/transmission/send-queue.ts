import type { BufferMemory } from '@raidkit/parity';

/** Is told what becomes free when something has been sent, or when it will never be. */
export interface SendQueueOwner {
  /** The buffer is free. The next {@link onSent} includes its bytes. */
  onBufferFree(bufferAddr: number): void;
  /** Called once per send: the buffers that became free had `heldBytes` bytes, and `slots` requests are over. */
  onSent(heldBytes: number, slots: number): void;
}

/**
 * Output of a connection as a queue of ranges in the runtime's memory. Small replies are written to a ring, where consecutive
 * ones form one range as long as it is not being sent. Data is sent from the buffer that it was read into.
 *
 * At most one send is in flight; it starts with `beginSend` and ends with `endSend`.
 */
export class SendQueue {
  readonly #memory: BufferMemory;
  readonly #owner: SendQueueOwner;
  readonly #ringAddr: number;
  readonly #ringBytes: number;
  /** Offsets in the ring of its oldest byte and of the next byte to write. The ring is empty if they are equal. */
  #ringHead = 0;
  #ringTail = 0;

  // The ranges are kept in parallel arrays, which are used as rings.
  readonly #capacity: number;
  /** The length of the arrays, which is a power of two, minus one. */
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

  /** `ringBytes` must suffice for all small replies that can wait at the same time, and `maxRanges` for all ranges. */
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

  /** Bytes of the send in flight; 0 if there is none. */
  get sendingBytes(): number {
    return this.#sendingBytes;
  }

  /** Total size in bytes of the buffers whose data waits to be sent. */
  bufferedBytes = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get isSending(): boolean {
    return this.#sending > 0;
  }

  /** Returns the address for a small reply of `bytes`. The reply must be written before {@link pushSmall} is called. */
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

  /**
   * Queues the small reply that was written to `addr`, the result of {@link smallAddr}. `slots` requests are over once it has
   * been sent.
   */
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

  /** Queues up to `mostBytes` of `source`, but only if the queue is empty. Returns the number of bytes queued. */
  pushBytes(source: Uint8Array, mostBytes: number): number {
    if (this.#count > 0) return 0;
    const bytes = Math.min(source.length, mostBytes, this.#ringBytes);
    if (bytes === 0) return 0;
    this.#memory.u8.set(source.subarray(0, bytes), this.#ringAddr);
    this.pushSmall(this.#ringAddr, bytes, 0);
    return bytes;
  }

  /** Queues `bytes` at `addr` inside the buffer `bufferAddr`, which goes back to the owner once they have been sent. */
  pushBuffer(addr: number, bytes: number, bufferAddr: number, heldBytes: number, slots: number): void {
    this.#push(addr, bytes, bufferAddr, heldBytes, slots);
  }

  /**
   * Starts a send of the oldest ranges: as many as `maxRanges` and `maxBytes` allow, but at least one. Returns their number; 0
   * if there is nothing to send or a send is in flight.
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

  /** Returns the address of the `index`-th oldest range. */
  rangeAddr(index: number): number {
    return this.#addr[(this.#first + index) & this.#mask] ?? 0;
  }

  rangeBytes(index: number): number {
    return this.#bytes[(this.#first + index) & this.#mask] ?? 0;
  }

  /** Ends the send in flight: all of its ranges have been sent. */
  endSend(): void {
    this.#shift();
  }

  /** Drops everything. The peer is gone, and nothing reads from the ranges any more. */
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

  /**
   * Removes the ranges of the send. They keep their places until all of their buffers are free, because a request that gets one
   * of these buffers may queue its reply at once.
   */
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
    // When the queue is empty, no byte of the ring is in use, so it restarts at its beginning.
    if (this.#count === 0) this.#ringHead = this.#ringTail = 0;
    this.#owner.onSent(heldBytes, slots);
  }
}

import type { RedundantContext, StripeBuffers } from '@raidkit/core/level';
import { gfPower, recoverPq } from '@raidkit/parity';
import type { StripeMap } from './stripe-map.js';
import { mostLost } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/** Arithmetic on an operation's slices; slot k has slice k. */
export class Stripe {
  /** Addresses of the slices by place: data chunks, P, Q. */
  readonly addrs: Uint32Array;
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  readonly #buffers: StripeBuffers<StripeOp>;

  constructor(raid: RedundantContext, map: StripeMap, buffers: StripeBuffers<StripeOp>) {
    this.#raid = raid;
    this.#map = map;
    this.#buffers = buffers;
    this.addrs = new Uint32Array(map.members);
  }

  sliceOf(op: StripeOp, slot: number): number {
    return op.addr + slot * this.#buffers.sliceBytes;
  }

  /** Whether the lost slots can be reconstructed without reading this slot. */
  isSpared(op: StripeOp, slot: number): boolean {
    const { dataChunks } = this.#map;
    const place = this.#map.placeOf(op.stripe, slot);
    if (op.lost.includes(slot)) return true;
    if (place < dataChunks || op.lost.length >= mostLost || op.mustVerify) return false;
    const [only = -1] = op.lost;
    // One data chunk is computed from P, and a parity from the data.
    return only < 0 || this.#map.placeOf(op.stripe, only) >= dataChunks || place > dataChunks;
  }

  /** Reconstructs the slices of the lost slots from the others. */
  recover(op: StripeOp): void {
    const { blockSize, memory } = this.#raid;
    this.gather(op);
    const [one = -1, two = -1] = op.lost;
    if (one < 0) return;
    const a = this.#map.placeOf(op.stripe, one);
    const b = two < 0 ? -1 : this.#map.placeOf(op.stripe, two);
    const first = b < 0 ? a : Math.min(a, b);
    const second = b < 0 ? -1 : Math.max(a, b);
    recoverPq(memory, this.addrs, this.#map.dataChunks, first, second, (op.c1 - op.c0) * blockSize);
  }

  /**
   * Whether exactly one data chunk and no parity is lost, so that both parities can be compared. Must be asked before {@link
   * verify}.
   */
  canVerify({ lost, stripe }: StripeOp): boolean {
    const [only = -1] = lost;
    return lost.length === 1 && this.#map.placeOf(stripe, only) < this.#map.dataChunks;
  }

  /** Whether Q agrees with what {@link recover} computed from P. Destroys the contents of Q's slice. */
  verify(op: StripeOp): boolean {
    const { blockSize, memory } = this.#raid;
    const { dataChunks } = this.#map;
    const bytes = (op.c1 - op.c0) * blockSize;
    const q = this.addrs[dataChunks + 1] ?? 0;
    for (let chunk = 0; chunk < dataChunks; chunk++) memory.kernels.gfMulInto(q, this.addrs[chunk] ?? 0, gfPower(chunk), bytes);
    return memory.isZero(q, bytes);
  }

  /** Whether both parities match the data. Destroys the contents of their slices. */
  agrees(op: StripeOp): boolean {
    const { blockSize, memory } = this.#raid;
    const { kernels } = memory;
    const { dataChunks } = this.#map;
    const bytes = (op.c1 - op.c0) * blockSize;
    this.gather(op);
    const p = this.addrs[dataChunks] ?? 0;
    for (let chunk = 0; chunk < dataChunks; chunk++) kernels.xorInto(p, this.addrs[chunk] ?? 0, bytes);
    return memory.isZero(p, bytes) && this.verify(op);
  }

  /**
   * Changes P in every block where the parities disagree about the slot's data chunk, which was not read, so that they disagree
   * whatever the chunk turns out to hold. Returns false if there is no such block. Destroys the contents of Q's slice.
   */
  contradict(op: StripeOp, slot: number): boolean {
    const { blockSize, memory } = this.#raid;
    const { dataChunks } = this.#map;
    op.lost.length = 0;
    op.lost.push(slot);
    this.recover(op);
    if (this.verify(op)) return false;
    const p = this.addrs[dataChunks] ?? 0;
    const q = this.addrs[dataChunks + 1] ?? 0;
    const bytes = (op.c1 - op.c0) * blockSize;
    for (let at = 0; at < bytes; at += blockSize) {
      if (memory.isZero(q + at, blockSize)) continue;
      for (let i = 0; i < blockSize; i++) memory.u8[p + at + i] = (memory.u8[p + at + i] ?? 0) ^ scrambled(i);
    }
    return true;
  }

  /** Computes both parities from the data, into their slices. */
  makeParities(op: StripeOp): void {
    const { blockSize, memory } = this.#raid;
    const { dataChunks } = this.#map;
    this.gather(op);
    const [p, q] = [this.addrs[dataChunks] ?? 0, this.addrs[dataChunks + 1] ?? 0];
    memory.kernels.pq(p, q, this.addrs, dataChunks, (op.c1 - op.c0) * blockSize);
  }

  /** Sets {@link addrs} for the operation's stripe. */
  gather(op: StripeOp): void {
    for (let slot = 0; slot < this.#map.members; slot++)
      this.addrs[this.#map.placeOf(op.stripe, slot)] = this.sliceOf(op, slot);
  }
}

/**
 * A non-zero byte for each offset in a block, in a pattern unlike data: the difference of two parities equals it nowhere, or at
 * least not throughout a block.
 */
function scrambled(index: number): number {
  return (Math.imul(index + 1, 0x9e37_79b1) >>> 24) | 1;
}

import { raidApiVersion } from '@raidkit/core/level';
import type { LevelContext, NullPayloadRequest, PlainLevel, PlainModule, RaidGeometry, RwRequest } from '@raidkit/core/level';

/**
 * Array block b lies in strip ⌊b / S⌋ (S: strip size in blocks); consecutive strips go to the members in turn. A read or write
 * lies within one strip, as the geometry asks for.
 */
class Plain implements PlainLevel {
  readonly #strip: number;
  readonly #numSlots: number;

  constructor({ numSlots, stripSizeBlocks }: LevelContext) {
    this.#strip = stripSizeBlocks;
    this.#numSlots = numSlots;
  }

  resize(capacities: readonly number[]): RaidGeometry {
    const stripes = Math.floor(Math.min(...capacities) / this.#strip);
    return {
      numBlocks: stripes * this.#strip * this.#numSlots,
      memberBlocks: capacities.map(() => stripes * this.#strip),
      optimalIoBoundary: this.#strip,
      splitOnBoundary: true,
    };
  }

  submitRw(request: RwRequest): void {
    const { addr, numBlocks, offsetBlocks } = request;
    if (request.kind === 'read') request.readPart(this.#slotOf(offsetBlocks), this.#blockOf(offsetBlocks), numBlocks, addr);
    else request.writePart(this.#slotOf(offsetBlocks), this.#blockOf(offsetBlocks), numBlocks, addr);
  }

  /**
   * The range may be of any size and is processed strip by strip. Without redundancy, what unmapped blocks read as is up to the
   * device.
   */
  submitNullPayload(request: NullPayloadRequest): void {
    const end = request.offsetBlocks + request.numBlocks;
    for (let at = request.offsetBlocks; at < end;) {
      const next = Math.min(end, (Math.floor(at / this.#strip) + 1) * this.#strip);
      if (request.kind === 'unmap') request.unmapPart(this.#slotOf(at), this.#blockOf(at), next - at);
      else request.zeroPart(this.#slotOf(at), this.#blockOf(at), next - at);
      at = next;
    }
  }

  #slotOf(block: number): number {
    return Math.floor(block / this.#strip) % this.#numSlots;
  }

  #blockOf(block: number): number {
    return Math.floor(block / this.#strip / this.#numSlots) * this.#strip + (block % this.#strip);
  }
}

/** __TITLE__: data in strips over all members, all of which are needed. */
export const level: PlainModule = {
  level: '__LEVEL__',
  aliases: [],
  // Stored in members' superblocks: it must mean this level for ever.
  code: __CODE__,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'none',
  baseBdevsMin: 2,
  start: (context) => new Plain(context),
};

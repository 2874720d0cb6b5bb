import { raidApiVersion } from '@raidkit/core';
import type { PlainModule, RaidGeometry, RaidIo, RaidLevel, RaidView } from '@raidkit/core';

/** One member after another, each cut to whole strips. */
class Concat implements RaidLevel {
  geometry: RaidGeometry;
  readonly #strip: number;
  readonly #blockSize: number;
  /** Array block at which each member starts, and the array's end. */
  #starts: number[] = [];

  constructor(raid: RaidView) {
    this.#strip = raid.stripSizeBlocks;
    this.#blockSize = raid.blockSize;
    this.geometry = this.#measure(Array.from({ length: raid.numSlots }, (_, slot) => this.#whole(raid.memberCapacity(slot))));
  }

  submitRwRequest(io: RaidIo): void {
    const slot = this.#find(io.offsetBlocks);
    if (io.offsetBlocks + io.numBlocks <= this.#start(slot + 1)) {
      io.submitPart(slot, io.type, io.offsetBlocks - this.#start(slot), io.numBlocks, io.addr);
    } else {
      this.#submitToSeveral(io);
    }
  }

  submitNullPayloadRequest(io: RaidIo): void {
    this.#submitToSeveral(io);
  }

  #submitToSeveral(io: RaidIo): void {
    const end = io.offsetBlocks + io.numBlocks;
    // Held open until every part is submitted.
    io.partsLeft = 1;
    for (let slot = this.#find(io.offsetBlocks); this.#start(slot) < end; slot++) {
      const from = Math.max(io.offsetBlocks, this.#start(slot));
      const to = Math.min(end, this.#start(slot + 1));
      const addr = io.addr < 0 ? -1 : io.addr + (from - io.offsetBlocks) * this.#blockSize;
      if (to > from) io.submitPart(slot, io.type, from - this.#start(slot), to - from, addr);
    }
    io.partsLeft--;
  }

  /** Only the last member may grow: growth of another would move the data behind it. */
  resize(memberCapacities: readonly number[]): RaidGeometry | null {
    const sizes = [...this.geometry.memberBlocks];
    const last = sizes.length - 1;
    const grown = this.#whole(memberCapacities[last] ?? 0);
    if (grown <= (sizes[last] ?? 0)) return null;
    sizes[last] = grown;
    this.geometry = this.#measure(sizes);
    return this.geometry;
  }

  #whole(blocks: number): number {
    return Math.floor(blocks / this.#strip) * this.#strip;
  }

  #measure(memberBlocks: number[]): RaidGeometry {
    let start = 0;
    this.#starts = [0, ...memberBlocks.map((blocks) => (start += blocks))];
    return { numBlocks: start, memberBlocks, optimalIoBoundary: this.#strip };
  }

  #find(block: number): number {
    let slot = 0;
    while (block >= this.#start(slot + 1)) slot++;
    return slot;
  }

  /** Past the last slot: infinity. */
  #start(slot: number): number {
    return this.#starts[slot] ?? Infinity;
  }
}

/** The concat level, with SPDK's address map: arrays interchange. */
export const concat: PlainModule = {
  level: 'concat',
  aliases: [],
  code: 99,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'none',
  baseBdevsMin: 1,
  start: (raid) => new Concat(raid),
};

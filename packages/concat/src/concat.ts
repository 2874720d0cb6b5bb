import { raidApiVersion } from '@raidkit/core/level';
import type {
  LevelContext,
  NullPayloadRequest,
  PlainLevel,
  PlainModule,
  RaidGeometry,
  ReadRoute,
  RwRequest,
} from '@raidkit/core/level';

/** Concatenates the members, each truncated to whole strips. */
class Concat implements PlainLevel {
  readonly #context: LevelContext;

  constructor(context: LevelContext) {
    this.#context = context;
  }

  /** Only the last member may grow, and new members follow it: growth of any other would move the data behind it. */
  resize(capacities: readonly number[], current: RaidGeometry | null): RaidGeometry {
    const strip = this.#context.stripSizeBlocks;
    const last = capacities.length - 1;
    const memberBlocks = capacities.map((capacity, slot) => {
      const before = current?.memberBlocks[slot] ?? 0;
      return current !== null && slot < last ? before : Math.max(before, Math.floor(capacity / strip) * strip);
    });
    return {
      numBlocks: memberBlocks.reduce((sum, blocks) => sum + blocks, 0),
      memberBlocks,
      optimalIoBoundary: strip,
    };
  }

  submitRw(request: RwRequest): void {
    this.#submit(request);
  }

  routeRead(offsetBlocks: number, numBlocks: number, route: ReadRoute): boolean {
    const { memberBlocks } = this.#context.geometry;
    let start = 0;
    for (let slot = 0; slot < memberBlocks.length; slot++) {
      const end = start + (memberBlocks[slot] ?? 0);
      if (offsetBlocks < end) {
        route.slot = slot;
        route.offsetBlocks = offsetBlocks - start;
        return offsetBlocks + numBlocks <= end;
      }
      start = end;
    }
    return false;
  }

  submitNullPayload(request: NullPayloadRequest): void {
    this.#submit(request);
  }

  /** Sends one part per member in the range. */
  #submit(request: RwRequest | NullPayloadRequest): void {
    const { memberBlocks } = this.#context.geometry;
    const { blockSize } = this.#context;
    let at = request.offsetBlocks;
    let left = request.numBlocks;
    let start = 0;
    for (let slot = 0; left > 0 && slot < memberBlocks.length; slot++) {
      const blocks = memberBlocks[slot] ?? 0;
      const inMember = at - start;
      start += blocks;
      if (inMember >= blocks) continue;
      const count = Math.min(left, blocks - inMember);
      const done = at - request.offsetBlocks;
      if (request.kind === 'read') request.readPart(slot, inMember, count, request.addr + done * blockSize);
      else if (request.kind === 'write') request.writePart(slot, inMember, count, request.addr + done * blockSize);
      else if (request.kind === 'unmap') request.unmapPart(slot, inMember, count);
      else request.zeroPart(slot, inMember, count);
      at += count;
      left -= count;
    }
  }
}

/** The concat level. Its address map is SPDK's, so arrays can be used by both. */
export const concat: PlainModule = {
  level: 'concat',
  aliases: [],
  code: 99,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'none',
  baseBdevsMin: 1,
  addedSlot: 'space',
  start: (context) => new Concat(context),
};

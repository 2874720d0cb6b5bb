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

/**
 * Striping without redundancy. Array block b lies in strip k = ⌊b / S⌋, on member k mod n, at its block ⌊k / n⌋·S + b mod S
 * (S: strip size in blocks, n: members).
 */
class Raid0 implements PlainLevel {
  readonly #strip: number;
  readonly #members: number;
  /** Scratch: slot and member block of the request being submitted. */
  readonly #place: ReadRoute = { slot: 0, offsetBlocks: 0 };

  constructor(context: LevelContext) {
    this.#strip = context.stripSizeBlocks;
    this.#members = context.numSlots;
  }

  resize(capacities: readonly number[]): RaidGeometry {
    const rows = Math.floor(Math.min(...capacities) / this.#strip);
    const isStriped = this.#members > 1;
    return {
      numBlocks: rows * this.#strip * this.#members,
      memberBlocks: capacities.map(() => rows * this.#strip),
      optimalIoBoundary: isStriped ? this.#strip : 0,
      splitOnBoundary: isStriped,
    };
  }

  /** The request lies within one strip, or the array has one member. */
  submitRw(request: RwRequest): void {
    const { offsetBlocks, numBlocks, addr } = request;
    const place = this.#place;
    this.routeRead(offsetBlocks, numBlocks, place);
    if (request.kind === 'read') request.readPart(place.slot, place.offsetBlocks, numBlocks, addr);
    else request.writePart(place.slot, place.offsetBlocks, numBlocks, addr);
  }

  routeRead(offsetBlocks: number, _numBlocks: number, route: ReadRoute): boolean {
    const members = this.#members;
    if (members === 1) {
      route.slot = 0;
      route.offsetBlocks = offsetBlocks;
      return true;
    }
    const strip = Math.floor(offsetBlocks / this.#strip);
    const row = Math.floor(strip / members);
    route.slot = strip - row * members;
    route.offsetBlocks = row * this.#strip + offsetBlocks - strip * this.#strip;
    return true;
  }

  /** Sends one part per member in the range: a member's strips of a consecutive range are consecutive on it. */
  submitNullPayload(request: NullPayloadRequest): void {
    const strip = this.#strip;
    const members = this.#members;
    const end = request.offsetBlocks + request.numBlocks;
    const first = Math.floor(request.offsetBlocks / strip);
    const last = Math.floor((end - 1) / strip);
    const involved = Math.min(members, last - first + 1);
    for (let k = first; k < first + involved; k++) {
      const row = Math.floor(k / members);
      const lastOfMember = k + Math.floor((last - k) / members) * members;
      const start = row * strip + (k === first ? request.offsetBlocks - first * strip : 0);
      const used = lastOfMember === last ? end - last * strip : strip;
      const stop = Math.floor(lastOfMember / members) * strip + used;
      if (request.kind === 'unmap') request.unmapPart(k - row * members, start, stop - start);
      else request.zeroPart(k - row * members, start, stop - start);
    }
  }
}

/** The raid0 level. Its address map is SPDK's, so arrays can be used by both. */
export const raid0: PlainModule = {
  level: 'raid0',
  aliases: ['0'],
  code: 0,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'none',
  baseBdevsMin: 1,
  start: (context) => new Raid0(context),
};

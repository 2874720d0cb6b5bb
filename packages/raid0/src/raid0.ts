import { raidApiVersion } from '@raidkit/core';
import type { PlainModule, RaidGeometry, RaidIo, RaidLevel, RaidView } from '@raidkit/core';

/**
 * Striping without redundancy. Array block b lies in strip k = ⌊b / S⌋, on member k mod n, at its block ⌊k / n⌋·S + b mod S
 * (S: strip size in blocks, n: members).
 */
class Raid0 implements RaidLevel {
  geometry: RaidGeometry;
  readonly #strip: number;
  readonly #members: number;

  constructor(raid: RaidView) {
    this.#strip = raid.stripSizeBlocks;
    this.#members = raid.numSlots;
    this.geometry = this.#measure(Array.from({ length: raid.numSlots }, (_, slot) => raid.memberCapacity(slot)));
  }

  submitRwRequest(io: RaidIo): void {
    if (this.#members === 1) {
      io.submitPart(0, io.type, io.offsetBlocks, io.numBlocks, io.addr);
      return;
    }
    const strip = Math.floor(io.offsetBlocks / this.#strip);
    const inStrip = io.offsetBlocks - strip * this.#strip;
    const row = Math.floor(strip / this.#members);
    io.submitPart(strip - row * this.#members, io.type, row * this.#strip + inStrip, io.numBlocks, io.addr);
  }

  /** One part for each member in the range: its share of consecutive strips is consecutive on it. */
  submitNullPayloadRequest(io: RaidIo): void {
    const strip = this.#strip;
    const members = this.#members;
    const end = io.offsetBlocks + io.numBlocks;
    const first = Math.floor(io.offsetBlocks / strip);
    const last = Math.floor((end - 1) / strip);
    const involved = Math.min(members, last - first + 1);
    // Held open until every part is submitted.
    io.partsLeft = 1;
    for (let k = first; k < first + involved; k++) {
      const row = Math.floor(k / members);
      const lastOfMember = k + Math.floor((last - k) / members) * members;
      const start = row * strip + (k === first ? io.offsetBlocks - first * strip : 0);
      const used = lastOfMember === last ? end - last * strip : strip;
      const stop = Math.floor(lastOfMember / members) * strip + used;
      io.submitPart(k - row * members, io.type, start, stop - start, -1);
    }
    io.partsLeft--;
  }

  resize(memberCapacities: readonly number[]): RaidGeometry | null {
    const geometry = this.#measure(memberCapacities);
    if (geometry.numBlocks <= this.geometry.numBlocks) return null;
    this.geometry = geometry;
    return geometry;
  }

  #measure(capacities: readonly number[]): RaidGeometry {
    const rows = Math.floor(Math.min(...capacities) / this.#strip);
    const isStriped = this.#members > 1;
    return {
      numBlocks: rows * this.#strip * this.#members,
      memberBlocks: capacities.map(() => rows * this.#strip),
      optimalIoBoundary: isStriped ? this.#strip : 0,
      splitOnBoundary: isStriped,
    };
  }
}

/** The raid0 level, with SPDK's address map: arrays interchange. */
export const raid0: PlainModule = {
  level: 'raid0',
  aliases: ['0'],
  code: 0,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'none',
  baseBdevsMin: 1,
  start: (raid) => new Raid0(raid),
};

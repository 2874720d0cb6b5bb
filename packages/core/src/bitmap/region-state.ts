/** What is known of a region (some blocks of every member's data area). */
export const RegionState = {
  /** Never written, or unmapped whole since: reads as zeros, whatever the members hold. */
  Unwritten: 0,
  /** Redundancy agrees with the data, on stable media. */
  Clean: 1,
  /** Written to lately: after a crash, redundancy may disagree here. */
  Dirty: 2,
  /** Members agree, on stable media, but for one that is absent and has missed writes here. */
  OutOfSync: 3,
} as const;
export type RegionState = (typeof RegionState)[keyof typeof RegionState];

/** What is known of an array's regions, with the questions that can be asked of it; nothing happens here. */
export class RegionStates {
  readonly regionBlocks: number;
  /** One {@link RegionState} a region; changed through {@link set} only. */
  states: Uint8Array;
  readonly #counts = [0, 0, 0, 0];

  constructor(numRegions: number, regionBlocks: number) {
    this.regionBlocks = regionBlocks;
    this.states = new Uint8Array(numRegions);
    this.#counts[RegionState.Unwritten] = numRegions;
  }

  /** How many regions are in the state. */
  count(state: RegionState): number {
    return this.#counts[state] ?? 0;
  }

  set(region: number, state: number): void {
    const before = this.states[region] ?? 0;
    this.#counts[before] = (this.#counts[before] ?? 0) - 1;
    this.#counts[state] = (this.#counts[state] ?? 0) + 1;
    this.states[region] = state;
  }

  /** Whether a region that the member blocks touch is in this state. */
  has(state: RegionState, memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      if (this.states[region] === state) return true;
    }
    return false;
  }

  /**
   * Member blocks from `memberOffset` on, `most` at most, that lie in one region. What is never written is given zeros at its
   * first write, at any time: a process must not touch it, and so works on one region at a time.
   */
  withinRegion(memberOffset: number, most: number): number {
    return Math.min(most, (Math.floor(memberOffset / this.regionBlocks) + 1) * this.regionBlocks - memberOffset);
  }

  /** Whether all regions that the member blocks touch are in this state. */
  isAll(state: RegionState, memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      if (this.states[region] !== state) return false;
    }
    return true;
  }

  /** Whether a member that was out, or is being filled, lacks something in these member blocks. */
  hasStale(memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      const state = this.states[region];
      if (state !== RegionState.Unwritten && state !== RegionState.Clean) return true;
    }
    return false;
  }

  /** So many regions from now on: the new ones were never written. */
  protected growTo(numRegions: number): void {
    this.#counts[RegionState.Unwritten] = this.count(RegionState.Unwritten) + numRegions - this.states.length;
    this.states = copyInto(new Uint8Array(numRegions), this.states);
  }
}

/** The larger array, which begins with these values. */
export function copyInto<T extends Uint8Array | Uint32Array | Float64Array>(larger: T, values: T): T {
  larger.set(values);
  return larger;
}

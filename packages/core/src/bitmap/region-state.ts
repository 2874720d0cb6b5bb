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

/**
 * What is known of an array's regions, with the questions that can be asked of it; nothing happens here. Regions are small, so
 * that the first write to one has little to give zeros to. What is kept for each write is kept for a group of regions, so that a
 * large array does not set a bit for nearly every write.
 */
export class RegionStates {
  readonly regionBlocks: number;
  /** Regions of a group; a power of two. The last group may have fewer. */
  readonly groupRegions: number;
  /** One {@link RegionState} a region; changed through {@link set} only. */
  states: Uint8Array;
  readonly #counts = [0, 0, 0, 0];
  /** For each group, how many regions are unwritten, and how many are to become clean. */
  #unwrittenIn: Uint32Array;
  #pendingIn: Uint32Array;

  /** @param mostGroups Groups for so many regions at most; more when the array grows. */
  constructor(numRegions: number, regionBlocks: number, mostGroups: number) {
    this.regionBlocks = regionBlocks;
    let groupRegions = 1;
    while (numRegions > mostGroups * groupRegions) groupRegions *= 2;
    this.groupRegions = groupRegions;
    this.states = new Uint8Array(0);
    this.#unwrittenIn = new Uint32Array(0);
    this.#pendingIn = new Uint32Array(0);
    this.growTo(numRegions);
  }

  get numGroups(): number {
    return this.#unwrittenIn.length;
  }

  groupOf(region: number): number {
    return Math.floor(region / this.groupRegions);
  }

  /** Regions `[group · groupRegions, this)` are the group's. */
  endOfGroup(group: number): number {
    return Math.min((group + 1) * this.groupRegions, this.states.length);
  }

  /** How many regions of the group are dirty or out of sync. */
  pendingIn(group: number): number {
    return this.#pendingIn[group] ?? 0;
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
    const group = this.groupOf(region);
    if (before === RegionState.Unwritten) this.#unwrittenIn[group] = (this.#unwrittenIn[group] ?? 0) - 1;
    if (state === RegionState.Unwritten) this.#unwrittenIn[group] = (this.#unwrittenIn[group] ?? 0) + 1;
    if (isPending(before)) this.#pendingIn[group] = (this.#pendingIn[group] ?? 0) - 1;
    if (isPending(state)) this.#pendingIn[group] = (this.#pendingIn[group] ?? 0) + 1;
  }

  /** The first region behind `from`, `limit` at most, that is written if `from` is unwritten, and the reverse. */
  endOfRun(from: number, limit: number): number {
    const isUnwritten = this.states[from] === RegionState.Unwritten;
    const alike = isUnwritten ? this.groupRegions : 0;
    let region = from + 1;
    while (region < limit) {
      const isGroup = region % this.groupRegions === 0 && region + this.groupRegions <= limit;
      if (isGroup && this.#unwrittenIn[this.groupOf(region)] === alike) region += this.groupRegions;
      else if ((this.states[region] === RegionState.Unwritten) === isUnwritten) region++;
      else break;
    }
    return region;
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
    const before = this.states.length;
    this.#counts[RegionState.Unwritten] = this.count(RegionState.Unwritten) + numRegions - before;
    this.states = copyInto(new Uint8Array(numRegions), this.states);
    const numGroups = Math.ceil(numRegions / this.groupRegions);
    this.#unwrittenIn = copyInto(new Uint32Array(numGroups), this.#unwrittenIn);
    this.#pendingIn = copyInto(new Uint32Array(numGroups), this.#pendingIn);
    for (let group = this.groupOf(before); group < numGroups; group++) {
      const from = Math.max(before, group * this.groupRegions);
      this.#unwrittenIn[group] = (this.#unwrittenIn[group] ?? 0) + this.endOfGroup(group) - from;
    }
  }
}

function isPending(state: number): boolean {
  return state === RegionState.Dirty || state === RegionState.OutOfSync;
}

/** The larger array, which begins with these values. */
export function copyInto<T extends Uint8Array | Uint32Array | Float64Array>(larger: T, values: T): T {
  larger.set(values);
  return larger;
}

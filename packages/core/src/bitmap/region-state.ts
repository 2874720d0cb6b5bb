/** State of a region, which is a range of blocks of every member's data area. */
export const RegionState = {
  /** Never written, or unmapped completely since. It reads as zeros, whatever the members hold. */
  Unwritten: 0,
  /** Redundancy agrees with the data, on stable media. */
  Clean: 1,
  /** Written recently. After a crash, redundancy may disagree with the data here. */
  Dirty: 2,
  /** Redundancy agrees with the data, on stable media, except that an absent member has missed writes here. */
  OutOfSync: 3,
} as const;
/** One of the values of {@link RegionState}. */
export type RegionState = (typeof RegionState)[keyof typeof RegionState];

/**
 * The states of an array's regions, with queries and without I/O. Regions are small, so that the first write to one has little
 * to zero. What is kept for each write is kept for groups of regions, so that writes to a large array need not set a bit each.
 */
export class RegionStates {
  readonly regionBlocks: number;
  /** Number of regions in a group, a power of two. The last group may have fewer. */
  readonly groupRegions: number;
  /** The {@link RegionState} of each region. Only {@link set} changes it. */
  states: Uint8Array;
  readonly #counts = [0, 0, 0, 0];
  /** For each group, the number of unwritten regions, and of those that are to become clean. */
  #unwrittenIn: Uint32Array;
  #pendingIn: Uint32Array;

  /** @param mostGroups Most groups for the initial number of regions; there are more when the array grows. */
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

  /** Returns the end of the group: it consists of regions `[group · groupRegions, end)`. */
  endOfGroup(group: number): number {
    return Math.min((group + 1) * this.groupRegions, this.states.length);
  }

  /** Returns the number of regions of the group that are dirty or out of sync. */
  pendingIn(group: number): number {
    return this.#pendingIn[group] ?? 0;
  }

  /** Returns the number of regions in this state. */
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

  /** Returns the end of the run of regions from `from` on that are all unwritten or all written, at most `limit`. */
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

  /** Whether any region that these member blocks touch is in this state. */
  has(state: RegionState, memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      if (this.states[region] === state) return true;
    }
    return false;
  }

  /**
   * Returns the number of member blocks from `memberOffset` on that lie in its region, at most `most`. An unwritten region may
   * be zeroed at any time by its first write, so a process must skip it and work on one region at a time.
   */
  withinRegion(memberOffset: number, most: number): number {
    return Math.min(most, (Math.floor(memberOffset / this.regionBlocks) + 1) * this.regionBlocks - memberOffset);
  }

  /** Whether all regions that these member blocks touch are in this state. */
  isAll(state: RegionState, memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      if (this.states[region] !== state) return false;
    }
    return true;
  }

  /** Whether a member that was absent or is being filled may lack data in these member blocks. */
  hasStale(memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      const state = this.states[region];
      if (state !== RegionState.Unwritten && state !== RegionState.Clean) return true;
    }
    return false;
  }

  /** Increases the number of regions. The new ones are unwritten. */
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

/** Copies the values to the beginning of the larger array, and returns it. */
export function copyInto<T extends Uint8Array | Uint32Array | Float64Array>(larger: T, values: T): T {
  larger.set(values);
  return larger;
}

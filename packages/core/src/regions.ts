import { BlockClient, IoType, Status } from '@raidkit/bdev';
import type { TimerHandle } from '@raidkit/bdev';
import type { RaidArray } from './array.js';
import type { RaidIo } from './raid-io.js';
import type { ExtensionStore, RegionPage } from './store.js';

/** What is known of a region (some blocks of every member's data area). */
export const RegionState = {
  /** Never written: reads as zeros, whatever the members hold. */
  Unwritten: 0,
  /** Redundancy agrees with the data, on stable media. */
  Clean: 1,
  /** Written to lately: after a crash, redundancy may disagree here. */
  Dirty: 2,
  /** Members agree, on stable media, but for one that is absent and has missed writes here. */
  Missed: 3,
  /** Was dirty when the array was assembled, and has not been resynchronised. On disk this is `Dirty`. */
  Suspect: 4,
} as const;
export type RegionState = (typeof RegionState)[keyof typeof RegionState];

/** Regions an array has at most; larger arrays have larger regions. */
const mostRegions = 65_536;
/** Smallest region, in bytes of a member. */
const leastRegionBytes = 1024 * 1024;
/** A region that has not been written to for this long is made clean, in milliseconds. */
const idleMs = 5000;

/**
 * The write-intent bitmap of an array with redundancy, and the map of what was never written. Before the first write to a
 * region its bit is on stable media of every member; it is cleared lazily, after a flush of all members.
 */
export class RegionMap {
  readonly regionBlocks: number;
  /** One {@link RegionState} a region; changed through {@link set} only. */
  readonly states: Uint8Array;
  readonly #counts = [0, 0, 0, 0, 0];
  readonly #array: RaidArray;
  readonly #store: ExtensionStore;
  readonly #inFlight: Uint32Array;
  readonly #lastWrite: Float64Array;
  readonly #generations: Float64Array;
  /** Writes that wait for their regions' bits. */
  #waiting: RaidIo[] = [];
  #isWorking = false;
  #timer: TimerHandle | null = null;
  #isStopped = false;

  constructor(array: RaidArray, store: ExtensionStore, numRegions: number, regionBlocks: number) {
    this.#array = array;
    this.#store = store;
    this.regionBlocks = regionBlocks;
    this.states = new Uint8Array(numRegions);
    this.#counts[RegionState.Unwritten] = numRegions;
    this.#inFlight = new Uint32Array(numRegions);
    this.#lastWrite = new Float64Array(numRegions);
    this.#generations = new Float64Array(Math.ceil(numRegions / store.regionsPerPage));
  }

  /** Size of a region for members of this many blocks, in blocks: whole stripes, a power of two of them. */
  static chooseRegionBlocks(memberBlocks: number, stripeBlocks: number, blockSize: number): number {
    let blocks = stripeBlocks;
    while (blocks * blockSize < leastRegionBytes || Math.ceil(memberBlocks / blocks) > mostRegions) blocks *= 2;
    return blocks;
  }

  get numPages(): number {
    return this.#generations.length;
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

  /** Whether all regions that the member blocks touch are in this state. */
  isAll(state: RegionState, memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      if (this.states[region] !== state) return false;
    }
    return true;
  }

  /**
   * Before a write (of any kind) is handed to the level. True: go ahead. False: its regions' bits are being set; it is
   * resumed, or failed, later. Either way {@link end} follows when it is over.
   */
  begin(io: RaidIo): boolean {
    this.#eachRegion(io, (region) => {
      this.#inFlight[region] = (this.#inFlight[region] ?? 0) + 1;
    });
    if (!this.#needsBits(io)) return true;
    this.#waiting.push(io);
    this.#work();
    return false;
  }

  end(io: RaidIo): void {
    const now = this.#array.registry.runtime.now();
    this.#eachRegion(io, (region) => {
      this.#inFlight[region] = (this.#inFlight[region] ?? 0) - 1;
      this.#lastWrite[region] = now;
    });
    this.#armTimer();
  }

  /** The region's redundancy has been made to agree with its data. */
  resynced(region: number): void {
    if (this.states[region] !== RegionState.Suspect) return;
    this.set(region, RegionState.Dirty);
    this.#lastWrite[region] = this.#array.registry.runtime.now();
    this.#armTimer();
  }

  /** First suspect region at or after `from`; -1 if there is none. */
  nextSuspect(from: number): number {
    return this.states.indexOf(RegionState.Suspect, from);
  }

  /** A former member lacks what was written to these while it was out. */
  isStale(region: number): boolean {
    const state = this.states[region];
    return state === RegionState.Dirty || state === RegionState.Missed || state === RegionState.Suspect;
  }

  /** Takes over what a member has recorded. Dirty regions are suspect: nobody knows which of their writes got where. */
  adoptPage(page: RegionPage): void {
    const first = page.index * this.#store.regionsPerPage;
    this.#generations[page.index] = page.generation;
    const states = page.states.subarray(0, Math.min(page.states.length, this.states.length - first));
    states.forEach((state, i) => {
      this.set(first + i, state === RegionState.Dirty ? RegionState.Suspect : state);
    });
  }

  /** Writes every page to every member, as at creation and assembly. */
  async writeAll(): Promise<void> {
    await this.#writePages(Array.from({ length: this.numPages }, (_, index) => index));
  }

  /** No write is in flight: makes clean what may be, and ends. Bits that stay set are resynchronised at the next start. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer !== null) this.#array.registry.runtime.clearTimer(this.#timer);
    this.#timer = null;
    while (this.#isWorking) await new Promise<void>((resolve) => this.#array.registry.runtime.soon(resolve));
    await this.#clear(() => true);
  }

  #eachRegion(io: RaidIo, visit: (region: number) => void): void {
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    const firstStripe = Math.floor(io.offsetBlocks / arrayBlocks);
    const lastStripe = Math.floor((io.offsetBlocks + io.numBlocks - 1) / arrayBlocks);
    const last = Math.floor(((lastStripe + 1) * memberBlocks - 1) / this.regionBlocks);
    for (let region = Math.floor((firstStripe * memberBlocks) / this.regionBlocks); region <= last; region++) visit(region);
  }

  #needsBits(io: RaidIo): boolean {
    let needs = false;
    this.#eachRegion(io, (region) => {
      if (lacksBit(this.states[region])) needs = true;
    });
    return needs;
  }

  #work(): void {
    if (this.#isWorking) return;
    this.#isWorking = true;
    // In the next turn, so that one round serves all writes of this one.
    this.#array.registry.runtime.soon(() => void this.#rounds());
  }

  async #rounds(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      let status: number = Status.Ok;
      try {
        await this.#set(batch);
      } catch (error) {
        status = Status.IoError;
        this.#array.log.error({ ...this.#array.logFields(), err: error }, 'the write-intent bitmap could not be written');
      }
      for (const io of batch) {
        if (status === Status.Ok) this.#array.resume(io);
        else this.#array.finish(io, status);
      }
    }
    this.#isWorking = false;
    this.#armTimer();
  }

  /** One round of setting bits: zeros where nothing was ever written, then the bits, on every member. */
  async #set(batch: readonly RaidIo[]): Promise<void> {
    const regions = new Set<number>();
    for (const io of batch) {
      this.#eachRegion(io, (region) => {
        if (lacksBit(this.states[region])) regions.add(region);
      });
    }
    if (regions.size === 0) return;
    const fresh = [...regions].filter((region) => this.states[region] === RegionState.Unwritten);
    if (fresh.length > 0) await this.#zero(fresh);
    await this.#writePages(this.#pagesOf(regions), regions);
    for (const region of regions) this.set(region, RegionState.Dirty);
  }

  /** Members hold whatever they held in a region that was never written. From its first write on they hold zeros. */
  async #zero(regions: readonly number[]): Promise<void> {
    await this.#onMembers(async (client, dataOffset, dataSize) => {
      for (const region of regions) {
        const start = region * this.regionBlocks;
        await client.writeZeroes(dataOffset + start, Math.min(this.regionBlocks, dataSize - start));
      }
      await client.flush();
    });
  }

  #armTimer(): void {
    if (this.#timer !== null || this.#isStopped) return;
    const isIdle = this.count(RegionState.Dirty) === 0 && !(this.#isComplete() && this.count(RegionState.Missed) > 0);
    if (isIdle) return;
    this.#timer = this.#array.registry.runtime.setTimer(() => {
      this.#timer = null;
      if (this.#isWorking || this.#isStopped) return;
      const before = this.#array.registry.runtime.now() - idleMs;
      this.#isWorking = true;
      this.#clear((region) => (this.#lastWrite[region] ?? 0) <= before)
        .catch((error: unknown) => {
          this.#array.log.warn({ ...this.#array.logFields(), err: error }, 'the write-intent bitmap could not be cleared');
        })
        .finally(() => void this.#rounds());
    }, idleMs);
  }

  /** One round of clearing bits. Memory first: a write that comes meanwhile sets its bit again, after this round. */
  async #clear(isIdle: (region: number) => boolean): Promise<void> {
    const isComplete = this.#isComplete();
    const before = new Map<number, number>();
    this.states.forEach((state, region) => {
      const isDone = state === RegionState.Dirty && this.#inFlight[region] === 0 && isIdle(region);
      if (isDone || (state === RegionState.Missed && isComplete)) before.set(region, state);
    });
    if (before.size === 0) return;
    // Without all members, the bits become the list of what the absent one has missed.
    for (const region of before.keys()) this.set(region, isComplete ? RegionState.Clean : RegionState.Missed);
    try {
      await this.#onMembers((client) => client.flush());
      if (this.#isComplete() !== isComplete) throw new Error('a member left or came meanwhile');
      await this.#writePages(this.#pagesOf(before.keys()));
    } catch (error) {
      for (const [region, state] of before) if (lacksBit(this.states[region])) this.set(region, state);
      throw error;
    }
  }

  #isComplete(): boolean {
    return this.#array.numCurrent === this.#array.numSlots;
  }

  #pagesOf(regions: Iterable<number>): number[] {
    const pages = new Set<number>();
    for (const region of regions) pages.add(Math.floor(region / this.#store.regionsPerPage));
    return [...pages];
  }

  async #writePages(indexes: readonly number[], dirty?: ReadonlySet<number>): Promise<void> {
    const { regionsPerPage } = this.#store;
    const pages = indexes.map((index): RegionPage => {
      const first = index * regionsPerPage;
      const states = this.states.slice(first, first + regionsPerPage);
      states.forEach((state, i) => {
        if (state === RegionState.Suspect || dirty?.has(first + i) === true) states[i] = RegionState.Dirty;
      });
      const generation = (this.#generations[index] ?? 0) + 1;
      this.#generations[index] = generation;
      return { index, generation, states };
    });
    await this.#onMembers((client) => this.#store.writePages(client.descriptor, this.#array.uuid, pages));
  }

  /** Does something on every member that gets writes; one that fails is thrown out, and it fails if none is left. */
  async #onMembers(work: (client: BlockClient, dataOffset: number, dataSize: number) => Promise<void>): Promise<void> {
    const array = this.#array;
    let done = 0;
    await Promise.all(
      array.slots.map(async (slot) => {
        if (slot.descriptor === null || !slot.isConfigured || slot.isLeaving) return;
        slot.partsInFlight++;
        try {
          await work(new BlockClient(slot.descriptor), slot.dataOffset, slot.dataSize);
          done++;
        } catch (error) {
          if (!array.failMember(slot.index, 'its bitmap could not be written')) throw error;
        } finally {
          slot.partEnded();
        }
      }),
    );
    if (done < array.minOperational) throw new Error(`array ${array.name}: too few members are left to write to`);
  }
}

/** A write to the region has to wait until its bit is set. */
function lacksBit(state: number | undefined): boolean {
  return state === RegionState.Unwritten || state === RegionState.Clean || state === RegionState.Missed;
}

/** Whether the I/O changes data, so that its regions must be marked. */
export function isWrite(type: IoType): boolean {
  return type === IoType.Write || type === IoType.WriteZeroes || type === IoType.Unmap;
}

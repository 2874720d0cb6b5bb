import { BlockClient, IoType, Status } from '@raidkit/bdev';
import type { BdevIo, TimerHandle } from '@raidkit/bdev';
import type { BitmapHost } from './host.js';
import { RaidError, statusOf } from '../errors.js';
import { onEveryMember } from '../members/member-io.js';
import { RaidIo } from '../level/raid-io.js';
import { BitmapPages } from './bitmap-pages.js';
import { RegionState, RegionStates, copyInto } from './region-state.js';
import type { BlockRange } from '../format/block-ranges.js';
import type { ExtensionStore, RegionPage } from '../format/store.js';
import { Discards } from './discards.js';

/** A region whose group has not been written to for this long is made clean, in milliseconds. */
const idleMs = 5000;
/** Regions that are made clean in one round at most. */
const mostCleared = 65_536;
/** A round of setting bits gives zeros to so many bytes of each member at most, unless one write alone needs more. */
const mostZeroedBytes = 16 * 1024 * 1024;
/** A round of setting bits that lost flushes have overtaken is done again, so often in all; then its writes fail. */
const mostRounds = 5;
/** Largest single write of zeros, in bytes: a member has the time for one I/O once for each so many. */
const zeroPieceBytes = 64 * 1024 * 1024;

/**
 * The write-intent bitmap of an array with redundancy, and the map of what was never written, or is unmapped. Before the first
 * write to a region its bit is on stable media of every member, and so are those of all written regions of its group; they are
 * cleared lazily, after a flush of all members.
 *
 * Without redundancy there is one for the sake of checksums ({@link isOfParts}): what was never written has none, and is not read
 * as zeros; and only the level knows where its writes lie, so that each part of one is counted.
 */
export class WriteIntentBitmap extends RegionStates {
  /** Parts of writes are counted, and not writes: there is no redundancy. */
  readonly isOfParts: boolean;
  readonly #array: BitmapHost;
  readonly #pages: BitmapPages;
  /** For each group: writes in flight, and when the last one ended. */
  #inFlight: Uint32Array;
  #lastWrite: Float64Array;
  /** Writes that wait for their regions' bits. */
  #waiting: (RaidIo | BdevIo)[] = [];
  #isWorking = false;
  /** Regions whose first write is under way. */
  readonly #zeroing = new Set<number>();
  /** Regions that are being made clean. */
  #clearing: ReadonlyMap<number, RegionState> = new Map();
  /** Pages may say of them that they are dirty, or are about to, though memory does not. */
  readonly #setting = new Set<number>();
  #zeroWaiters: (() => void)[] = [];
  #idleWaiters: (() => void)[] = [];
  /** What users have unmapped; null before the first time. */
  #trims: Discards | null = null;
  #timer: TimerHandle | null = null;
  #isStopped = false;

  constructor(array: BitmapHost, store: ExtensionStore, numRegions: number, regionBlocks: number) {
    super(numRegions, regionBlocks, array.regionLimits.mostGroups);
    this.#array = array;
    this.isOfParts = array.module.redundancy === 'none';
    this.#pages = new BitmapPages(array, store, this);
    this.#inFlight = new Uint32Array(this.numGroups);
    this.#lastWrite = new Float64Array(this.numGroups);
  }

  /** Whether the map can be that of members of this many blocks. */
  hasRoomFor(memberBlocks: number): boolean {
    return this.#array.hasRoomForRegions(Math.ceil(memberBlocks / this.regionBlocks));
  }

  /** Members have this many blocks from now on: what is new was never written. It is on record after {@link writeAll}. */
  extend(memberBlocks: number): void {
    const numRegions = Math.ceil(memberBlocks / this.regionBlocks);
    if (numRegions <= this.states.length) return;
    this.growTo(numRegions);
    this.#inFlight = copyInto(new Uint32Array(this.numGroups), this.#inFlight);
    this.#lastWrite = copyInto(new Float64Array(this.numGroups), this.#lastWrite);
    this.#pages.growTo(numRegions);
    this.#trims?.grow();
  }

  get numPages(): number {
    return this.#pages.count;
  }

  /**
   * Before a write (of any kind) is handed to the level. True: go ahead. False: its regions' bits are being set; it is
   * resumed, or failed, later. Either way {@link end} follows when it is over.
   */
  begin(io: RaidIo): boolean {
    if (io.type === IoType.Unmap && this.#canBecomeUnwritten) {
      this.#trims ??= new Discards(this.#array, this);
      io.begunAt = this.#trims.now();
    }
    return this.#enter(io);
  }

  /** As {@link begin}, of a part of a write: the member is that of the slot that is its tag. {@link endPart} follows. */
  beginPart(part: BdevIo): boolean {
    return this.#enter(part);
  }

  endPart(part: BdevIo): void {
    const now = this.#array.registry.runtime.now();
    const last = this.groupOf(this.#lastRegion(part));
    for (let group = this.groupOf(this.#firstRegion(part)); group <= last; group++) this.#leave(group, now);
    this.#armTimer();
  }

  #enter(io: RaidIo | BdevIo): boolean {
    const first = this.#firstRegion(io);
    const last = this.#lastRegion(io);
    const lastGroup = this.groupOf(last);
    for (let group = this.groupOf(first); group <= lastGroup; group++) this.#inFlight[group] = (this.#inFlight[group] ?? 0) + 1;
    let needsBits = false;
    for (let region = first; region <= last; region++) if (this.#lacksBit(region)) needsBits = true;
    if (!needsBits) return true;
    this.#waiting.push(io);
    this.#work();
    return false;
  }

  #leave(group: number, now: number): void {
    this.#inFlight[group] = (this.#inFlight[group] ?? 0) - 1;
    this.#lastWrite[group] = now;
  }

  /** `io.status` says how it went. */
  end(io: RaidIo): void {
    const now = this.#array.registry.runtime.now();
    const last = this.groupOf(this.#lastRegion(io));
    for (let group = this.groupOf(this.#firstRegion(io)); group <= last; group++) {
      this.#leave(group, now);
      if (io.type === IoType.Unmap) this.#trims?.unmapped(group, io);
      else this.#trims?.wrote(group);
    }
    this.#armTimer();
  }

  /**
   * True if, for all regions that these member blocks touch, the members have on record that nothing is being written there, and
   * no request is about to say otherwise: their checksums count after a crash.
   */
  isSettled(memberOffset: number, count: number): boolean {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      const state = this.states[region];
      if (state !== RegionState.Clean && state !== RegionState.OutOfSync) return false;
      if (this.#setting.has(region) || this.#clearing.has(region)) return false;
    }
    return true;
  }

  /** Nothing is known of these regions, `end` excluded: they count as written, and their redundancy is in doubt. */
  doubt(first: number, end: number): void {
    for (let region = first; region < end; region++) this.set(region, RegionState.Dirty);
    this.#array.consistency.load(first * this.regionBlocks, (end - first) * this.regionBlocks);
  }

  /** A resync is to write these regions, `end` excluded, anew on every member. */
  markUnstable(first: number, end: number): void {
    this.#array.consistency.markUnstable(first * this.regionBlocks, (end - first) * this.regionBlocks);
  }

  /** A member has lost a flush: what was written and not flushed until now is not on its stable media for certain. */
  noteLostFlush(): void {
    const { consistency } = this.#array;
    for (const region of this.#clearing.keys()) consistency.markUnstable(region * this.regionBlocks, this.regionBlocks);
    this.states.forEach((state, region) => {
      if (state === RegionState.Dirty) consistency.markUnstable(region * this.regionBlocks, this.regionBlocks);
    });
  }

  /** In how many regions redundancy is in doubt. */
  get regionsToResync(): number {
    return this.#array.consistency.countRegions(this.regionBlocks);
  }

  /** A new member lacks everything that was ever written. Resolves when that is recorded. */
  async missAll(): Promise<void> {
    this.states.forEach((state, region) => {
      if (state === RegionState.Clean) this.set(region, RegionState.OutOfSync);
    });
    await this.writeAll();
  }

  /** Looks, after a while, whether bits can be cleared. */
  arm(): void {
    this.#armTimer();
  }

  /** Takes over what a member has recorded. Dirty regions are in doubt: which of their writes reached which member is not known. */
  adoptPage(page: RegionPage): void {
    this.#pages.adopt(page);
  }

  /** Members have this page, of an earlier life: the next one of its index goes to the other place. */
  continueFrom(index: number, generation: number): void {
    this.#pages.continueFrom(index, generation);
  }

  /** Writes every page to every member, as at creation and assembly. */
  writeAll(): Promise<void> {
    return this.#pages.writeAll();
  }

  /** No write is in flight: makes clean what may be, and ends. Bits that stay set are resynchronised at the next start. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer !== null) this.#array.registry.runtime.clearTimer(this.#timer);
    this.#timer = null;
    while (this.#isWorking) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
    // A member that fails meanwhile is one that has missed something: once more, then, for those that are left.
    for (let tries = 0; tries <= this.#array.numSlots; tries++) {
      const { membership } = this.#array;
      try {
        while (await this.#clear(() => true));
        return;
      } catch (error) {
        if (this.#array.membership === membership) throw error;
      }
    }
  }

  /** No bits are being set or cleared. */
  get isIdle(): boolean {
    return !this.#isWorking && this.#waiting.length === 0;
  }

  /** The array has no map from now on; this one {@link isIdle}, and nothing is in flight. */
  discard(): void {
    this.#isStopped = true;
    if (this.#timer !== null) this.#array.registry.runtime.clearTimer(this.#timer);
    this.#timer = null;
  }

  #firstRegion(io: RaidIo | BdevIo): number {
    if (!(io instanceof RaidIo)) return this.#regionOfPart(io, 0);
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    return Math.floor((Math.floor(io.offsetBlocks / arrayBlocks) * memberBlocks) / this.regionBlocks);
  }

  /** Within the map, wherever a level says that its part lies: the member refuses what is not on it. */
  #regionOfPart({ offsetBlocks, tag }: BdevIo, block: number): number {
    const region = Math.floor((offsetBlocks - this.#array.slotAt(tag).dataOffset + block) / this.regionBlocks);
    return Math.max(0, Math.min(region, this.states.length - 1));
  }

  #lastRegion(io: RaidIo | BdevIo): number {
    if (!(io instanceof RaidIo)) return this.#regionOfPart(io, io.numBlocks - 1);
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    const lastStripe = Math.floor((io.offsetBlocks + io.numBlocks - 1) / arrayBlocks);
    return Math.floor(((lastStripe + 1) * memberBlocks - 1) / this.regionBlocks);
  }

  #work(): void {
    if (this.#isWorking) return;
    this.#isWorking = true;
    // In the next turn, so that one round serves all writes of this one.
    this.#array.registry.runtime.soon(() => void this.#rounds());
  }

  async #rounds(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#takeBatch();
      let status: number = Status.Ok;
      try {
        await this.#set(batch);
      } catch (error) {
        status = statusOf(error);
        this.#array.log.error({ ...this.#array.logFields(), err: error }, 'the write-intent bitmap could not be written');
      }
      for (const io of batch) {
        if (io instanceof RaidIo) {
          if (status === Status.Ok) this.#array.io.resume(io);
          else this.#array.io.finish(io, status);
        } else if (status === Status.Ok) this.#array.io.resumePart(io);
        else this.#array.io.failPart(io, status);
      }
    }
    this.#isWorking = false;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const waiter of waiters) waiter();
    this.#armTimer();
  }

  /** Writes for the next round, in their order: as many as need no more zeros together than a round gives, and one at least. */
  #takeBatch(): (RaidIo | BdevIo)[] {
    if (this.isOfParts) return this.#waiting.splice(0);
    const most = Math.floor(mostZeroedBytes / (this.regionBlocks * this.#array.blockSize));
    const fresh = new Set<number>();
    let count = 0;
    for (const io of this.#waiting) {
      const last = this.#lastRegion(io);
      for (let region = this.#firstRegion(io); region <= last; region++) {
        if (this.states[region] === RegionState.Unwritten) fresh.add(region);
      }
      if (count > 0 && fresh.size > most) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  /** One round of setting bits: zeros where nothing was ever written, then the bits, on every member. */
  async #set(batch: readonly (RaidIo | BdevIo)[]): Promise<void> {
    const regions = new Set<number>();
    const groups = new Set<number>();
    for (const io of batch) {
      const last = this.#lastRegion(io);
      for (let region = this.#firstRegion(io); region <= last; region++) {
        if (!this.#lacksBit(region)) continue;
        regions.add(region);
        groups.add(this.groupOf(region));
      }
    }
    if (regions.size === 0) return;
    // With them what else is written of their groups: its next write need not wait.
    for (const group of groups) {
      for (let region = group * this.groupRegions; region < this.endOfGroup(group); region++) {
        if (this.states[region] !== RegionState.Unwritten && this.#lacksBit(region)) regions.add(region);
      }
    }
    const fresh = [...regions].filter((region) => this.states[region] === RegionState.Unwritten);
    for (const region of fresh) this.#zeroing.add(region);
    // Before damage is recorded: what is found later is recorded by the request that finds it.
    for (const region of regions) this.#setting.add(region);
    try {
      let lostFlushes: number;
      let rounds = 0;
      do {
        if (rounds++ === mostRounds) {
          const message = `array ${this.#array.name}: its members lose one flush after another, so that nothing can be recorded`;
          throw new RaidError('ERR_RAID_METADATA', Status.IoError, message);
        }
        ({ lostFlushes } = this.#array);
        this.#pages.said.clear();
        if (this.isOfParts) await this.#beginSums(fresh);
        else if (fresh.length > 0) await this.#zero(fresh);
        // Checksums of dirty regions say nothing after a crash: what they alone say is to be on record before.
        for (const region of regions) await this.#array.recordDamage(region * this.regionBlocks, this.regionBlocks);
        // A member that failed just now holds no zeros: it must be known to be out before the map says that it does.
        await this.#array.leaveRecorded();
        // What another flush has lost meanwhile, that of this round has not kept: once more, zeros before bits.
        if (this.#array.lostFlushes !== lostFlushes) continue;
        for (const region of regions) this.#pages.said.set(region, RegionState.Dirty);
        await this.#pages.writeOf(regions);
        await this.#array.leaveRecorded();
      } while (this.#array.lostFlushes !== lostFlushes);
      for (const region of regions) this.set(region, RegionState.Dirty);
      for (const region of regions) this.#setting.delete(region);
    } finally {
      this.#pages.said.clear();
      this.#zeroing.clear();
      const waiters = this.#zeroWaiters;
      this.#zeroWaiters = [];
      for (const waiter of waiters) waiter();
    }
  }

  /** Resolves when no first write is giving zeros to these member blocks: its zeros go to the members of its beginning. */
  async whenZeroed(memberOffset: number, count: number): Promise<void> {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      while (this.#zeroing.has(region)) await new Promise<void>((resolve) => this.#zeroWaiters.push(resolve));
    }
  }

  /** Members hold whatever they held in a region that was never written. From its first write on they hold zeros. */
  async #zero(regions: readonly number[]): Promise<void> {
    await onEveryMember(this.#array, async (client, slot) => {
      const { dataOffset, dataSize } = slot;
      const data = new BlockClient(client.descriptor, slot.data ?? client.descriptor);
      for (const [first, end] of runsOf(regions, zeroPieceBytes / (this.regionBlocks * this.#array.blockSize))) {
        const start = first * this.regionBlocks;
        const count = Math.min(end * this.regionBlocks, dataSize) - start;
        await data.writeZeroes(dataOffset + start, count);
        slot.replacement?.mark(start, count);
      }
      await client.flush();
      for (const region of regions) this.#array.noteWritten(slot.index, region * this.regionBlocks, this.regionBlocks);
    });
  }

  /** What was never written has no sums, and that is what their pages have to say before the region counts as one that has. */
  async #beginSums(regions: readonly number[]): Promise<void> {
    await onEveryMember(this.#array, async (_client, slot) => {
      await slot.sums?.wash(rangesOf(regions, this.regionBlocks));
    });
  }

  #armTimer(): void {
    if (this.#timer !== null || this.#isStopped || this.#array.isReadOnly) return;
    const mustStay = this.#array.consistency.countUnsettled(this.regionBlocks);
    if (this.count(RegionState.Dirty) <= mustStay && !this.#canClearMissed()) return;
    this.#timer = this.#array.registry.runtime.setTimer(this.#onTimer, idleMs);
  }

  #canClearMissed(): boolean {
    return this.count(RegionState.OutOfSync) > 0 && (this.#isComplete() || this.#array.slots.some((slot) => slot.isRebuilding));
  }

  readonly #onTimer = (): void => {
    this.#timer = null;
    if (this.#isWorking || this.#isStopped) return;
    this.#isWorking = true;
    this.#clearIdle()
      .catch((error: unknown) => {
        this.#array.log.warn({ ...this.#array.logFields(), err: error }, 'the write-intent bitmap could not be cleared');
      })
      .finally(() => void this.#rounds());
  };

  /** Clears what has been idle; writes that wait for bits go first. */
  async #clearIdle(): Promise<void> {
    const before = this.#array.registry.runtime.now() - idleMs;
    let hasWritten = false;
    while (await this.#clear((group) => (this.#lastWrite[group] ?? 0) <= before)) {
      hasWritten = true;
      if (this.#waiting.length > 0 || this.#isStopped) break;
    }
    // On record that all have these pages: a member that is found without them is an old image.
    if (hasWritten) await this.#array.metadata.saveHeaders();
  }

  /** Regions, so many at most, that are to be made clean, and what they are. */
  #findClearable(isIdle: (group: number) => boolean, completeBelow: number): Map<number, RegionState> {
    const found = new Map<number, RegionState>();
    for (let group = 0; group < this.numGroups && found.size < mostCleared; group++) {
      if (this.pendingIn(group) === 0) continue;
      const canBeDone = this.#inFlight[group] === 0 && isIdle(group);
      for (let region = group * this.groupRegions; region < this.endOfGroup(group); region++) {
        const isComplete = (region + 1) * this.regionBlocks <= completeBelow;
        if (this.states[region] === RegionState.OutOfSync && isComplete) found.set(region, RegionState.OutOfSync);
        if (this.states[region] === RegionState.Dirty && canBeDone && !this.#mustStayDirty(region))
          found.set(region, RegionState.Dirty);
      }
    }
    return found;
  }

  /** One round of clearing bits. Memory first: a write that comes meanwhile sets its bit again, after this round. False: there was nothing to clear. */
  async #clear(isIdle: (group: number) => boolean): Promise<boolean> {
    const members = this.#array.membership;
    const completeBelow = this.#completeBelow();
    const before = this.#findClearable(isIdle, completeBelow);
    if (before.size === 0) return false;
    this.#clearing = before;
    for (const [region, state] of before) {
      this.#pages.said.set(region, state);
      // Without all members, the bits become the list of what the absent one has missed.
      this.set(region, (region + 1) * this.regionBlocks <= completeBelow ? RegionState.Clean : RegionState.OutOfSync);
    }
    try {
      await onEveryMember(this.#array, async (client, slot) => {
        // They count as soon as a page says that the region is not dirty any more.
        await slot.sums?.writeOut(rangesOf(before.keys(), this.regionBlocks));
        await client.flush();
      });
      // One that failed before this may lack what regions hold: it must be on record as out before a page calls them clean.
      await this.#array.leaveRecorded();
      if (this.#array.membership !== members) throw new Error('a member left or came meanwhile');
      // Perhaps after its flush for this: whatever that one has said.
      for (const region of before.keys()) if (this.#mustStayDirty(region)) throw new Error('a member lost a flush meanwhile');
      for (const [region, state] of before) {
        if (state === RegionState.Dirty && this.#trims?.isWhole(region) === true)
          this.#pages.said.set(region, RegionState.Unwritten);
        else this.#pages.said.delete(region);
      }
      await this.#pages.writeOf(before.keys());
    } catch (error) {
      for (const [region, state] of before) {
        if (!this.#lacksBit(region) || this.states[region] === RegionState.Unwritten) continue;
        this.set(region, state);
        this.#pages.unrecorded.add(region);
      }
      throw error;
    } finally {
      this.#clearing = new Map();
      this.#pages.said.clear();
    }
    return true;
  }

  /** Member blocks below which every slot's member holds everything: all of them, or what a rebuild has filled. */
  #completeBelow(): number {
    const { slots, process } = this.#array;
    if (slots.every((slot) => slot.isInSync)) return Infinity;
    const areFilling = slots.every((slot) => slot.isInSync || process?.targets.includes(slot) === true);
    return areFilling && process !== null ? this.#array.memberRange(0, process.offsetBlocks).to : 0;
  }

  /** A region that costs more to give zeros to than a first write should is given them once, and then no more. */
  get #canBecomeUnwritten(): boolean {
    const { leastBytes, zeroBytes } = this.#array.regionLimits;
    return this.regionBlocks * this.#array.blockSize <= Math.max(leastBytes, zeroBytes);
  }

  #isComplete(): boolean {
    return this.#array.slots.every((slot) => slot.isInSync);
  }

  /** A region in doubt, or not on stable media for certain, stays dirty: after a crash, and at the next start, that is how it is known. */
  #mustStayDirty(region: number): boolean {
    const { consistency } = this.#array;
    const start = region * this.regionBlocks;
    return consistency.isInconsistent(start, this.regionBlocks) || consistency.isUnstable(start, this.regionBlocks);
  }

  /** A write to the region has to wait until its bit is set. */
  #lacksBit(region: number): boolean {
    const state = this.states[region];
    if (state === RegionState.Unwritten || state === RegionState.Clean || state === RegionState.OutOfSync) return true;
    return this.#pages.unrecorded.size > 0 && this.#pages.unrecorded.has(region);
  }
}

function* rangesOf(regions: Iterable<number>, regionBlocks: number): Iterable<BlockRange> {
  for (const region of regions) yield { start: region * regionBlocks, end: (region + 1) * regionBlocks };
}

/** Sorted runs `[first, end)` of neighbours among these regions, so many in a run at most, and one at least. */
function runsOf(regions: readonly number[], most: number): [first: number, end: number][] {
  const runs: [number, number][] = [];
  for (const region of [...regions].sort((a, b) => a - b)) {
    const last = runs[runs.length - 1];
    if (last?.[1] === region && region - last[0] < most) last[1]++;
    else runs.push([region, region + 1]);
  }
  return runs;
}

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

/** Milliseconds without writes to a region's group after which the region is made clean. */
const idleMs = 5000;
/** Most regions that are made clean in one round. */
const mostCleared = 65_536;
/** Most bytes of each member that one round of setting bits zeroes, unless a single write needs more. */
const mostZeroedBytes = 16 * 1024 * 1024;
/** Most attempts at a round of setting bits during which flushes are lost; after that its writes fail. */
const mostRounds = 5;
/** Largest single write of zeros in bytes. A member has the timeout of one I/O for each. */
const zeroPieceBytes = 64 * 1024 * 1024;

/**
 * The write-intent bitmap of an array with redundancy, which also tells which regions were never written or were unmapped.
 * Before the first write to a region, its bit is set on stable media of every member, together with those of all written
 * regions of its group. Bits are cleared lazily, after a flush of all members.
 *
 * An array without redundancy has a bitmap only for its checksums ({@link isOfParts}). A region that was never written has no
 * checksums then, and is not read as zeros. Only the level knows which members a write goes to, so each part of a write is
 * counted.
 */
export class WriteIntentBitmap extends RegionStates {
  /** The array has no redundancy, so parts are counted instead of writes. */
  readonly isOfParts: boolean;
  readonly #array: BitmapHost;
  readonly #pages: BitmapPages;
  /** For each group, the number of writes in flight and the time at which the last one ended. */
  #inFlight: Uint32Array;
  #lastWrite: Float64Array;
  /** Writes that wait for the bits of their regions. */
  #waiting: (RaidIo | BdevIo)[] = [];
  #isWorking = false;
  /** Regions that are being zeroed for their first write. */
  readonly #zeroing = new Set<number>();
  /** Regions that are being made clean, and their previous states. */
  #clearing: ReadonlyMap<number, RegionState> = new Map();
  /** Regions whose pages may say dirty, or are about to, while the state in memory does not. */
  readonly #setting = new Set<number>();
  #zeroWaiters: (() => void)[] = [];
  #idleWaiters: (() => void)[] = [];
  /** The ranges that users have unmapped; null before the first unmap. */
  #discards: Discards | null = null;
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

  /** Whether a map for members of this many blocks fits. */
  hasRoomFor(memberBlocks: number): boolean {
    return this.#array.hasRoomForRegions(Math.ceil(memberBlocks / this.regionBlocks));
  }

  /** Members have this many blocks from now on. The new regions are unwritten. {@link writeAll} records them. */
  extend(memberBlocks: number): void {
    const numRegions = Math.ceil(memberBlocks / this.regionBlocks);
    if (numRegions <= this.states.length) return;
    this.growTo(numRegions);
    this.#inFlight = copyInto(new Uint32Array(this.numGroups), this.#inFlight);
    this.#lastWrite = copyInto(new Float64Array(this.numGroups), this.#lastWrite);
    this.#pages.growTo(numRegions);
    this.#discards?.grow();
  }

  get numPages(): number {
    return this.#pages.count;
  }

  /**
   * Called before a write (of any kind) goes to the level. Returns true if it may proceed. Returns false if the bits of its
   * regions must be set first; it is resumed or failed later. In both cases {@link end} must follow when it is done.
   */
  begin(io: RaidIo): boolean {
    if (io.type === IoType.Unmap && this.#canBecomeUnwritten) {
      this.#discards ??= new Discards(this.#array, this);
      io.begunAt = this.#discards.now();
    }
    return this.#enter(io);
  }

  /** As {@link begin}, for a part of a write; its tag is the slot of its member. {@link endPart} must follow. */
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

  /** The write is done, with the status `io.status`. */
  end(io: RaidIo): void {
    const now = this.#array.registry.runtime.now();
    const last = this.groupOf(this.#lastRegion(io));
    for (let group = this.groupOf(this.#firstRegion(io)); group <= last; group++) {
      this.#leave(group, now);
      if (io.type === IoType.Unmap) this.#discards?.unmapped(group, io);
      else this.#discards?.wrote(group);
    }
    this.#armTimer();
  }

  /**
   * Whether the members have recorded all regions of these member blocks as having no writes in flight, and no request is about
   * to change that. Then their checksums are valid after a crash.
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

  /** Marks these regions (`end` excluded) as dirty and inconsistent, because nothing is known of them. */
  doubt(first: number, end: number): void {
    for (let region = first; region < end; region++) this.set(region, RegionState.Dirty);
    this.#array.consistency.load(first * this.regionBlocks, (end - first) * this.regionBlocks);
  }

  /** Marks these regions (`end` excluded) to be rewritten on every member by a resync. */
  markUnstable(first: number, end: number): void {
    this.#array.consistency.markUnstable(first * this.regionBlocks, (end - first) * this.regionBlocks);
  }

  /** A member has lost a flush, so data in dirty regions that was not flushed before may not be on its stable media. */
  noteLostFlush(): void {
    const { consistency } = this.#array;
    for (const region of this.#clearing.keys()) consistency.markUnstable(region * this.regionBlocks, this.regionBlocks);
    this.states.forEach((state, region) => {
      if (state === RegionState.Dirty) consistency.markUnstable(region * this.regionBlocks, this.regionBlocks);
    });
  }

  /** Number of regions where redundancy is inconsistent. */
  get regionsToResync(): number {
    return this.#array.consistency.countRegions(this.regionBlocks);
  }

  /** Marks all written regions as missed by a new member. Resolves when that is recorded. */
  async missAll(): Promise<void> {
    this.states.forEach((state, region) => {
      if (state === RegionState.Clean) this.set(region, RegionState.OutOfSync);
    });
    await this.writeAll();
  }

  /** Sets the timer that clears bits. */
  arm(): void {
    this.#armTimer();
  }

  /**
   * Adopts a page that a member has recorded. Dirty regions are inconsistent, because their writes may have reached only some
   * members.
   */
  adoptPage(page: RegionPage): void {
    this.#pages.adopt(page);
  }

  /** Members have this page of an earlier incarnation. The next page of this index goes to the other place. */
  continueFrom(index: number, generation: number): void {
    this.#pages.continueFrom(index, generation);
  }

  /** Writes every page to every member, as needed at creation and assembly. */
  writeAll(): Promise<void> {
    return this.#pages.writeAll();
  }

  /**
   * Makes regions clean as far as possible, then stops; no write may be in flight. Regions that stay dirty are resynchronised
   * at the next start.
   */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer !== null) this.#array.registry.runtime.clearTimer(this.#timer);
    this.#timer = null;
    while (this.#isWorking) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
    // If a member fails meanwhile, it has missed something, so another attempt is made with the remaining members.
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

  /** The array gives up its map. The map must be {@link isIdle}, and no I/O may be in flight. */
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

  /** Limited to the map even if the level computes a wrong offset; the member will refuse that part. */
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
    // In the next turn, so that one round serves all writes of this turn.
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

  /** Takes the writes for the next round in order: as many as a round may zero regions for, but at least one. */
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

  /** One round of setting bits: zeroes regions that were never written, then writes the bits, on every member. */
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
    // Also sets the bits of the other written regions in these groups, so that their next writes need not wait.
    for (const group of groups) {
      for (let region = group * this.groupRegions; region < this.endOfGroup(group); region++) {
        if (this.states[region] !== RegionState.Unwritten && this.#lacksBit(region)) regions.add(region);
      }
    }
    const fresh = [...regions].filter((region) => this.states[region] === RegionState.Unwritten);
    for (const region of fresh) this.#zeroing.add(region);
    // Set before damage is recorded: the request that finds further damage records it.
    for (const region of regions) this.#setting.add(region);
    try {
      let lostFlushes: number;
      let rounds = 0;
      do {
        if (rounds++ === mostRounds) {
          const message = `array ${this.#array.name}: flushes of its members fail repeatedly, so nothing can be recorded`;
          throw new RaidError('ERR_RAID_METADATA', Status.IoError, message);
        }
        ({ lostFlushes } = this.#array);
        this.#pages.said.clear();
        if (this.isOfParts) await this.#beginSums(fresh);
        else if (fresh.length > 0) await this.#zero(fresh);
        // After a crash the checksums of dirty regions are not valid, so damage that only they show is recorded first.
        for (const region of regions) await this.#array.recordDamage(region * this.regionBlocks, this.regionBlocks);
        // A member that has just failed was not zeroed. Its departure must be recorded before the map says that its region is
        // written.
        await this.#array.leaveRecorded();
        // If another flush was lost meanwhile, this round's data may be lost too. Repeat it, zeros before bits.
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

  /**
   * Resolves when none of these member blocks is being zeroed for a first write: zeros go only to members present at its
   * beginning.
   */
  async whenZeroed(memberOffset: number, count: number): Promise<void> {
    const last = Math.floor((memberOffset + count - 1) / this.regionBlocks);
    for (let region = Math.floor(memberOffset / this.regionBlocks); region <= last; region++) {
      while (this.#zeroing.has(region)) await new Promise<void>((resolve) => this.#zeroWaiters.push(resolve));
    }
  }

  /** A region that was never written has arbitrary contents on the members. It is zeroed before its first write. */
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

  /** A region that was never written has no checksums. Its pages must say so before the region counts as one that has them. */
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

  /** Clears the bits of idle groups. Writes that wait for bits go first. */
  async #clearIdle(): Promise<void> {
    const before = this.#array.registry.runtime.now() - idleMs;
    let hasWritten = false;
    while (await this.#clear((group) => (this.#lastWrite[group] ?? 0) <= before)) {
      hasWritten = true;
      if (this.#waiting.length > 0 || this.#isStopped) break;
    }
    // Record that all members have these pages, so that a member found without them is recognised as an old image.
    if (hasWritten) await this.#array.metadata.saveHeaders();
  }

  /** Returns the regions that can be made clean, up to the limit, with their present states. */
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

  /**
   * One round of clearing bits. The state in memory changes first, so that a write that arrives meanwhile sets the bit again
   * after this round. Returns false if there was nothing to clear.
   */
  async #clear(isIdle: (group: number) => boolean): Promise<boolean> {
    const members = this.#array.membership;
    const completeBelow = this.#completeBelow();
    const before = this.#findClearable(isIdle, completeBelow);
    if (before.size === 0) return false;
    this.#clearing = before;
    for (const [region, state] of before) {
      this.#pages.said.set(region, state);
      // If a member is absent, cleared bits become the record of what it has missed.
      this.set(region, (region + 1) * this.regionBlocks <= completeBelow ? RegionState.Clean : RegionState.OutOfSync);
    }
    try {
      await onEveryMember(this.#array, async (client, slot) => {
        // The checksums become valid as soon as a page says that the region is not dirty.
        await slot.sums?.writeOut(rangesOf(before.keys(), this.regionBlocks));
        await client.flush();
      });
      // A member that failed before this may lack data of these regions. Its departure must be recorded before they are clean.
      await this.#array.leaveRecorded();
      if (this.#array.membership !== members) throw new Error('a member was added or removed meanwhile');
      // The lost flush may have come after this round's flush, whatever that one returned.
      for (const region of before.keys())
        if (this.#mustStayDirty(region)) throw new Error('a flush of a member failed meanwhile');
      for (const [region, state] of before) {
        if (state === RegionState.Dirty && this.#discards?.isWhole(region) === true)
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

  /** Returns the member block below which every slot's member has all data: all blocks, or those that a rebuild has filled. */
  #completeBelow(): number {
    const { slots, process } = this.#array;
    if (slots.every((slot) => slot.isInSync)) return Infinity;
    const areFilling = slots.every((slot) => slot.isInSync || process?.targets.includes(slot) === true);
    return areFilling && process !== null ? this.#array.memberRange(0, process.offsetBlocks).to : 0;
  }

  /** A region that is too large to be zeroed at each first write is zeroed once, and does not become unwritten again. */
  get #canBecomeUnwritten(): boolean {
    const { leastBytes, zeroBytes } = this.#array.regionLimits;
    return this.regionBlocks * this.#array.blockSize <= Math.max(leastBytes, zeroBytes);
  }

  #isComplete(): boolean {
    return this.#array.slots.every((slot) => slot.isInSync);
  }

  /** A region stays dirty while it is inconsistent or possibly not on stable media, so that this is known after a crash. */
  #mustStayDirty(region: number): boolean {
    const { consistency } = this.#array;
    const start = region * this.regionBlocks;
    return consistency.isInconsistent(start, this.regionBlocks) || consistency.isUnstable(start, this.regionBlocks);
  }

  /** Whether a write to the region must wait for its bit to be set. */
  #lacksBit(region: number): boolean {
    const state = this.states[region];
    if (state === RegionState.Unwritten || state === RegionState.Clean || state === RegionState.OutOfSync) return true;
    return this.#pages.unrecorded.size > 0 && this.#pages.unrecorded.has(region);
  }
}

function* rangesOf(regions: Iterable<number>, regionBlocks: number): Iterable<BlockRange> {
  for (const region of regions) yield { start: region * regionBlocks, end: (region + 1) * regionBlocks };
}

/** Returns sorted runs `[first, end)` of adjacent regions, each of at most `most` regions, but at least one. */
function runsOf(regions: readonly number[], most: number): [first: number, end: number][] {
  const runs: [number, number][] = [];
  for (const region of [...regions].sort((a, b) => a - b)) {
    const last = runs[runs.length - 1];
    if (last?.[1] === region && region - last[0] < most) last[1]++;
    else runs.push([region, region + 1]);
  }
  return runs;
}

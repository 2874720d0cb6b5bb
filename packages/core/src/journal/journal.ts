import { IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import type { JournalHost } from './host.js';
import { DoubtRecord } from './doubt-record.js';
import { RaidError, statusOf } from '../errors.js';
import { flushMember } from '../members/member-io.js';
import type { RaidIo } from '../level/raid-io.js';
import { ReplenishedPool } from '../level/replenished-pool.js';
import type { JournalRange } from '../level/requests.js';
import { noJournal } from '../metadata/host.js';
import type { JournalPlan } from '../metadata/host.js';
import { isSamePlan } from '../metadata/journal-plan.js';
import { PlaceState, areFree, hasMember, isOverwritable, lastFreeId, newRing, placeOfMark, takePlace } from './ring.js';
import type { JournalPlace, Ring } from './ring.js';
import type { ExtensionStore, JournalStore } from '../format/store.js';

/** Number of entries that can be written at a time. */
const entriesInFlight = 16;
/** Most members that may be absent. A write has an entry for each of them. */
const mostAbsent = 8;

/**
 * Closes the write hole of an array that lacks members. Their data is reconstructed from the other members, and a crash in the
 * middle of a write would corrupt it. So it is first written to the journal on stable media, and at the next start the level
 * writes it again. An entry is overwritten only after a flush of all members that began when its write had reached them. All
 * entries for one stripe go to the same ring, so the last entry that is found for a block is the newest, if no older entry is
 * found whose successor was overwritten. That is not so by the order alone: entries are overwritten several at a time, a crash
 * may come when only some of them are, and a write of one may fail. So a mark says which entries are not valid any more before
 * the first of them is overwritten.
 *
 * The entries of one write, at most one for each absent member, are valid only together: the write begins when all are on
 * stable media. To replay some of them alone would be harmful: a crash during that would corrupt the data of the other absent
 * members, for which there is no entry.
 */
export class Journal {
  /** Most blocks of an entry. */
  readonly mostBlocks: number;
  /** Record of the ranges where redundancy is inconsistent despite the journal. */
  readonly doubt: DoubtRecord;
  readonly #array: JournalHost;
  readonly #store: JournalStore;
  /** The journal in force, which a superblock update has recorded on stable media. */
  #plan: JournalPlan = noJournal;
  #lastId = 0;
  #rings: Ring[] = [];
  #pool: ReplenishedPool | null = null;
  readonly #waiting: RaidIo[] = [];
  #isFlushing = false;
  #writesAtLevel = 0;
  #marksInFlight = 0;
  #drainWaiters: (() => void)[] = [];
  /** Number of writes that the level has been given, and that number when the journal was last settled. */
  #writesBegun = 0;
  #settledAt = -1;
  /** The array's number of lost flushes when its start began, and how many of all lost flushes have been made good. */
  readonly #lostFlushesBefore: number;
  #lostFlushesMadeGood = 0;

  constructor(array: JournalHost, extension: ExtensionStore) {
    const store = extension.journal;
    this.#array = array;
    this.#store = store;
    this.#lostFlushesBefore = array.lostFlushes;
    this.doubt = new DoubtRecord(array, extension);
    this.mostBlocks = (store.placeBytes - store.headerBytes) / array.blockSize;
  }

  /** Allocates memory. Called at the start, so that memory is available when a member leaves, and again later if it failed. */
  takeMemory(): boolean {
    try {
      this.#pool ??= new ReplenishedPool(this.#array.memory, {
        slotBytes: this.#store.placeBytes,
        count: entriesInFlight,
        onLateRelease: () => this.#array.registry.runtime.soon(() => this.#pump()),
      });
    } catch (error) {
      this.#array.log.error(
        { ...this.#array.logFields(), err: error },
        'not enough memory for a journal: while a member is absent, a crash may lose its data',
      );
      return false;
    }
    return true;
  }

  // Writes that the level is working on.

  entered(io: RaidIo): void {
    io.isAtLevel = true;
    io.journalSlots = this.#plan.slots;
    this.#writesAtLevel++;
    this.#writesBegun++;
  }

  left(io: RaidIo): void {
    io.isAtLevel = false;
    this.#markWritten(io);
    if (this.#waiting.length > 0) this.#pump();
    this.#writesAtLevel--;
    this.#tellIfDrained();
  }

  #tellIfDrained(): void {
    if (this.#writesAtLevel > 0 || this.#marksInFlight > 0 || this.#drainWaiters.length === 0) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Writes the entries that the request describes. With none, waits until the inconsistent ranges are recorded. */
  append(io: RaidIo): void {
    this.#markWritten(io);
    this.#check(io.journalRanges);
    if (io.journalRanges.length === 0) {
      this.doubt.save().then(
        () => this.#tell(io, Status.Ok),
        () => this.#tell(io, Status.IoError),
      );
      return;
    }
    this.#waiting.push(io);
    this.#pump();
  }

  onPlaceDone(place: JournalPlace, part: BdevIo): void {
    const { io, slot } = place;
    const { status, addr } = part;
    this.#array.registry.ios.put(part);
    this.#pool?.put(addr);
    slot.partEnded();
    place.io = null;
    if (place.overTo > 0) {
      this.#marksInFlight--;
      const ring = this.#rings.find(({ places }) => places[place.index] === place);
      // A journal that has ended has no ring any more.
      if (ring !== undefined) this.#onMarkDone(ring, place, status);
      this.#pump();
      this.#tellIfDrained();
      return;
    }
    if (status !== Status.Ok) {
      // It does not matter whether the entry was written: the old and the new data are equally valid.
      place.state = PlaceState.Free;
      if (!this.#array.failMember(slot.index, 'its journal could not be written')) this.#array.noteLostFlush(slot, status);
    } else {
      io?.journaled.push(place);
    }
    if (io !== null) {
      if (io.journalStatus === Status.Ok) io.journalStatus = status;
      if (--io.journalWrites === 0) this.#tell(io, io.journalStatus);
    }
    this.#pump();
  }

  // The journal and superblock updates.

  /**
   * Called before a superblock update. True if it will be the first to record a member as out, and writes that began without
   * journal may not be on stable media. Then {@link settle} must be called until this is false.
   */
  get mustSettle(): boolean {
    const absent = this.#absentSlots();
    if (absent.length === 0 || this.#isFor(absent) || !this.#mayBegin(absent)) return false;
    return this.#settledAt !== this.#writesBegun || !this.doubt.isCurrent;
  }

  /**
   * Resolves when the level has no writes, what they wrote is on stable media, and the inconsistent ranges are recorded. A mark
   * may be in flight without a write that waits for it. If it reached the member later, it would overwrite a new journal's entry.
   */
  async settle(): Promise<void> {
    while (this.#writesAtLevel > 0 || this.#marksInFlight > 0)
      await new Promise<void>((resolve) => this.#drainWaiters.push(resolve));
    const begun = this.#writesBegun;
    if (!(await this.#flushMembers())) return;
    this.#settledAt = begun;
    await this.doubt.save();
  }

  /** A member is recorded as absent, and its data is journaled. */
  get isInForce(): boolean {
    return this.#plan.epoch !== 0;
  }

  /** Every write that the level works on has an entry for each member that is absent now. */
  get coversAbsent(): boolean {
    return this.#isFor(this.#absentSlots());
  }

  /** Slots whose data is journaled; none while all members are recorded as current. */
  get slots(): readonly number[] {
    return this.#plan.slots;
  }

  get inForce(): JournalPlan | null {
    return this.isInForce ? this.#plan : null;
  }

  /**
   * Returns the journal that the update with this sequence number must record; called together with reading the members'
   * states. Throws if a flush of the running start has failed while a member is absent: the update would end the journal that
   * was found, which the next start needs to repair what the flush may have lost.
   */
  plan(seqNumber: number): JournalPlan {
    const absent = this.#absentSlots();
    const { lostFlushes, name, state } = this.#array;
    if (absent.length > 0 && state === 'configuring' && lostFlushes > this.#lostFlushesBefore) {
      const message = `array ${name}: a flush failed while it was being started without a member: it must be started again`;
      throw new RaidError('ERR_RAID_METADATA', Status.IoError, message);
    }
    const isBegun = this.#isFor(absent);
    if (absent.length === 0 || !(isBegun || this.#mayBegin(absent)) || !this.takeMemory()) return noJournal;
    return isBegun ? this.#plan : { slots: absent, epoch: seqNumber };
  }

  /**
   * An update that records this journal is on stable media; if no slot is journaled, on all members that it records as current.
   */
  adopt(plan: JournalPlan): void {
    if (isSamePlan(plan, this.#plan)) {
      this.onInconsistent();
      return;
    }
    this.#plan = plan;
    const keepers = plan.epoch === 0 ? [] : this.#array.slots.filter((other) => other.isInSync);
    this.#rings = keepers.map((keeper) => newRing(this, keeper, this.#store.places));
    this.onInconsistent();
    this.#pump();
  }

  /**
   * Redundancy has become inconsistent somewhere, or a new member lacks the list. Records the ranges, because their entries may
   * be overwritten.
   */
  onInconsistent(): void {
    if (this.isInForce && !this.doubt.covers) this.doubt.save().catch(() => undefined);
  }

  /**
   * A member has lost a flush. Data of absent members must not be reconstructed in this run from what it may have lost. The
   * entries for that data keep their places, and the next start replays them.
   */
  onLostFlush(): void {
    for (const { places } of this.#rings) {
      for (const { state, offset, numBlocks } of places) {
        if (state !== PlaceState.Free && numBlocks > 0) this.#array.consistency.markInconsistent(offset, numBlocks);
      }
    }
  }

  /** Everything that this many lost flushes may have lost was rewritten and flushed before the array came online. */
  onMadeGood(lostFlushes: number): void {
    this.#lostFlushesMadeGood = lostFlushes;
  }

  /**
   * The list contains ranges that were repaired. Ranges that it lacks are less urgent: their entries keep their places until it
   * has them.
   */
  get mustSaveDoubt(): boolean {
    return this.isInForce && !this.doubt.hasNoMore;
  }

  /** The array is being stopped, and no write is in flight. */
  async stop(): Promise<void> {
    // A mark may still be written for a write that did not wait for it.
    for (const slot of this.#array.slots) await slot.whenDrained();
    if (this.isInForce) await this.doubt.save().catch(() => undefined);
  }

  /** Frees the memory. No write may be in flight, and none may follow. */
  close(): void {
    this.#pool?.close();
    this.#pool = null;
  }

  /**
   * A journal may begin only while no write can begin, because a write in flight would have no entry, and only if no flush was
   * lost.
   */
  #mayBegin(absent: readonly number[]): boolean {
    if (absent.length > mostAbsent) return false;
    return this.#array.areWritesHeld && !this.#isUnstable();
  }

  /** Slots that have no current member. */
  #absentSlots(): number[] {
    return this.#array.slots.filter((slot) => !slot.isInSync).map(({ index }) => index);
  }

  /**
   * Whether the journal covers these slots. It may cover more: if some have members again, it continues until all have, so that
   * writes need not be held.
   */
  #isFor(absent: readonly number[]): boolean {
    return this.isInForce && absent.every((slot) => this.#plan.slots.includes(slot));
  }

  /** Checks what the level passed. Wrong ranges would be noticed only at the next start, or never be written. */
  #check(ranges: readonly JournalRange[]): void {
    const { arrayBlocks } = this.#array.stripe();
    const stripeOf = (block: number): number => Math.floor(block / arrayBlocks);
    const stripe = stripeOf(ranges[0]?.offsetBlocks ?? 0);
    if (ranges.length > this.#plan.slots.length && this.isInForce) throw new Error('more journal entries than absent members');
    for (const { offsetBlocks, numBlocks } of ranges) {
      if (numBlocks < 1 || numBlocks > this.mostBlocks) throw new Error(`a journal entry of ${numBlocks} blocks`);
      if (stripeOf(offsetBlocks) !== stripe || stripeOf(offsetBlocks + numBlocks - 1) !== stripe)
        throw new Error('journal entries of a request lie in several stripes');
    }
  }

  #pump(): void {
    for (let io = this.#waiting[0]; io !== undefined; io = this.#waiting[0]) {
      const ring = this.#ringOf(io);
      if (ring === undefined) {
        // All members have been recorded as current in the meantime.
        this.#waiting.shift();
        const known = io;
        this.#array.registry.runtime.soon(() => this.#tell(known, Status.Ok));
        continue;
      }
      if (ring.isMarking || this.#pool === null) return;
      // A write gets all of its places at once. Writes that hold some places and wait for more would block one another.
      const { journalRanges } = io;
      const isMarked = isOverwritable(ring, journalRanges.length);
      const first = isMarked ? ring.next : placeOfMark(ring);
      const count = journalRanges.length + (isMarked ? 0 : 1);
      if (!areFree(ring, first, count)) {
        if (!this.#isFlushing) void this.#reclaim();
        return;
      }
      if (!this.#pool.hasFree(isMarked ? journalRanges.length : 1)) return;
      if (!isMarked) {
        this.#mark(ring, this.#pool.get());
        return;
      }
      this.#waiting.shift();
      io.journalWrites = journalRanges.length;
      io.journalStatus = Status.Ok;
      for (let index = 0; index < journalRanges.length; index++) this.#write(io, index, takePlace(ring), this.#pool.get());
    }
  }

  #ringOf(io: RaidIo): Ring | undefined {
    const stripe = Math.floor((io.journalRanges[0]?.offsetBlocks ?? 0) / this.#array.stripe().arrayBlocks);
    const { length } = this.#rings;
    // The member of the stripe's ring may have left. Any other ring serves as well, since entries are ordered by their ids.
    for (let step = 0; step < length; step++) {
      const ring = this.#rings[(stripe + step) % length];
      if (ring !== undefined && hasMember(ring)) return ring;
    }
    return this.#rings[stripe % length];
  }

  /** Writes the entry for one of the request's ranges. */
  #write(io: RaidIo, index: number, place: JournalPlace, addr: number): void {
    const range = io.journalRanges[index];
    if (range === undefined) throw new RangeError(`a request has no range ${index} to journal`);
    const { offsetBlocks, numBlocks } = range;
    const { blockSize, memory } = this.#array;
    const { headerBytes } = this.#store;
    const isZero = range.addr < 0;
    const dataBytes = isZero ? 0 : numBlocks * blockSize;
    if (!isZero) memory.u8.copyWithin(addr + headerBytes, range.addr, range.addr + dataBytes);
    place.id = ++this.#lastId;
    place.overTo = 0;
    this.#store.seal(memory.u8.subarray(addr, addr + headerBytes + dataBytes), this.#array, place.index, blockSize, {
      epoch: this.#plan.epoch,
      id: place.id,
      offsetBlocks,
      numBlocks,
      isZero,
      numTogether: io.journalRanges.length,
      indexTogether: index,
    });
    place.state = PlaceState.Busy;
    place.io = io;
    // The blocks lie in one strip of the absent member, and depend on the same blocks of the other members' strips.
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    place.offset = Math.floor(offsetBlocks / arrayBlocks) * memberBlocks + (offsetBlocks % memberBlocks);
    place.numBlocks = numBlocks;
    this.#submit(place, addr, headerBytes + dataBytes);
  }

  /** Says on stable media which entries of the ring are not valid any more: those in the free places that come next. */
  #mark(ring: Ring, addr: number): void {
    const { blockSize, memory } = this.#array;
    const { headerBytes } = this.#store;
    ring.next = placeOfMark(ring);
    const overTo = lastFreeId(ring);
    const place = takePlace(ring);
    const mark = { epoch: this.#plan.epoch, id: ++this.#lastId, overTo };
    this.#store.sealMark(memory.u8.subarray(addr, addr + headerBytes), this.#array, place.index, blockSize, mark);
    ring.isMarking = true;
    this.#marksInFlight++;
    place.state = PlaceState.Busy;
    place.id = mark.id;
    place.overTo = overTo;
    place.numBlocks = 0;
    this.#submit(place, addr, headerBytes);
  }

  #onMarkDone(ring: Ring, place: JournalPlace, status: Status): void {
    ring.isMarking = false;
    if (status === Status.Ok) {
      ring.overTo = place.overTo;
      place.state = PlaceState.Written;
      return;
    }
    // The id of this mark is greater than those of entries that are still needed, and the next mark must not end those.
    place.id = place.overTo;
    place.state = PlaceState.Free;
    // Another place must not be overwritten before there is a mark.
    ring.next = place.index;
    if (!this.#array.failMember(place.slot.index, 'its journal could not be written'))
      this.#array.noteLostFlush(place.slot, status);
    else if (this.#rings.some(hasMember)) return;
    for (const io of this.#waiting.splice(0)) this.#tell(io, status);
  }

  /** Writes the place from the buffer, to stable media. */
  #submit(place: JournalPlace, addr: number, bytes: number): void {
    const { blockSize, registry } = this.#array;
    const { placeBytes, startBytes } = this.#store;
    const part = registry.ios.get();
    part.type = IoType.Write;
    part.flags = IoFlag.ForceUnitAccess;
    part.offsetBlocks = (startBytes + place.index * placeBytes) / blockSize;
    part.numBlocks = bytes / blockSize;
    part.addr = addr;
    part.owner = place;
    const { slot } = place;
    slot.partBegan();
    if (slot.descriptor !== null && !slot.isRemoving) {
      slot.descriptor.submit(part);
      return;
    }
    part.status = Status.NoDevice;
    registry.runtime.soon(() => place.onIoDone(part));
  }

  #tell(io: RaidIo, status: Status): void {
    io.journalDone(this.#array.level, status);
  }

  #markWritten(io: RaidIo): void {
    for (const entry of io.journaled) entry.markWritten();
    if (io.journaled.length > 0) io.journaled.length = 0;
  }

  /** Frees the places of writes that a flush of all members covers. */
  async #reclaim(): Promise<void> {
    this.#isFlushing = true;
    const covered = this.#rings.flatMap(({ places }) => places).filter(({ state }) => state === PlaceState.Written);
    let isCovered = false;
    let status: Status = Status.IoError;
    const onUnsaved = (error: unknown): void => {
      isCovered = false;
      status = statusOf(error);
    };
    if (covered.length > 0) {
      isCovered = await this.#flushMembers();
      // The entry may be the only record of inconsistent data, so the list must be written first.
      if (!this.doubt.covers) await this.doubt.save().catch(onUnsaved);
      // A needed member that left meanwhile may come back without what it had not flushed.
      if (!this.#array.hasEnough) isCovered = false;
    }
    this.#isFlushing = false;
    if (isCovered) for (const place of covered) place.state = PlaceState.Free;
    else if (covered.length > 0) for (const io of this.#waiting.splice(0)) this.#tell(io, status);
    // If no write was covered, the next write that ends continues from here.
    if (isCovered) this.#pump();
  }

  async #flushMembers(): Promise<boolean> {
    const array = this.#array;
    const flushed = array.slots.map(async (slot) => {
      if (!slot.isOperational || slot.descriptor === null) return true;
      return flushMember(array, slot, 'a flush for the journal failed').then(
        () => true,
        () => false,
      );
    });
    const areGood = (await Promise.all(flushed)).every((isGood) => isGood);
    // What a member lost in an earlier flush, perhaps just now, this flush does not keep either.
    return areGood && !this.#isUnstable();
  }

  /** Whether a member may have data that no flush keeps. */
  #isUnstable(): boolean {
    const { lostFlushes, slots } = this.#array;
    return lostFlushes > this.#lostFlushesMadeGood && slots.some((slot) => slot.isInSync && slot.hasLostFlush);
  }
}

import { IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import type { JournalHost } from './host.js';
import { DoubtRecord } from './doubt-record.js';
import { RaidError, statusOf } from '../errors.js';
import { flushMember } from '../members/member-io.js';
import type { JournalEntryHandle, RaidIo } from '../level/raid-io.js';
import type { JournalRange } from '../level/requests.js';
import { noJournal } from '../metadata/host.js';
import type { JournalPlan } from '../metadata/host.js';
import { isSamePlan } from '../metadata/journal-plan.js';
import type { Slot } from '../members/slot.js';
import type { ExtensionStore, JournalStore } from '../format/store.js';

/** Entries that are being written at a time. */
const entriesInFlight = 16;
/** Members that may be absent: a write has an entry for each. */
const mostAbsent = 8;

const PlaceState = {
  Free: 0,
  /** The entry is being written, or the blocks for which it stands are. */
  Busy: 1,
  /** Those blocks are on the members, perhaps in their caches. */
  Written: 2,
} as const;
type PlaceState = (typeof PlaceState)[keyof typeof PlaceState];

/** One place of a member's ring, and the I/O that writes it. */
export class JournalSlot implements IoOwner, JournalEntryHandle {
  state: PlaceState = PlaceState.Free;
  io: RaidIo | null = null;
  /** What the entry stands for: blocks of every member's data area. */
  offset = 0;
  numBlocks = 0;
  readonly slot: Slot;
  readonly index: number;
  readonly #journal: Journal;

  constructor(journal: Journal, slot: Slot, index: number) {
    this.#journal = journal;
    this.slot = slot;
    this.index = index;
  }

  markWritten(): void {
    if (this.state === PlaceState.Busy) this.state = PlaceState.Written;
  }

  onIoDone(part: BdevIo): void {
    this.#journal.onEntryDone(this, part);
  }
}

interface Ring {
  places: JournalSlot[];
  next: number;
}

/**
 * Closes the write hole of an array that lacks members. What they would hold is worked out from the others, and a crash between
 * these others' writes would leave it nonsense; so it is written down first, to stable media, and at the next start the level
 * writes it once more. An entry is overwritten only after a flush of all members that began when the write was on them. All
 * entries for one stripe go to the same ring, and the oldest is overwritten first, so that the last one for a block that is
 * found is the last one there was.
 *
 * The entries of one write, one for each absent member at most, count all or none: the write begins when they all are there.
 * Some of them alone would do no harm by what they say, but by being written again: a crash in the middle of that leaves what
 * the other absent members hold nonsense, and no entry to restore it from.
 */
export class Journal {
  /** Most blocks of an entry. */
  readonly mostBlocks: number;
  /** Where redundancy is in doubt all the same. */
  readonly doubt: DoubtRecord;
  readonly #array: JournalHost;
  readonly #store: JournalStore;
  /** In force since a round that said so was on stable media. */
  #plan: JournalPlan = noJournal;
  #lastId = 0;
  #rings: Ring[] = [];
  #pool: BufferPool | null = null;
  readonly #waiting: RaidIo[] = [];
  #isFlushing = false;
  #writesAtLevel = 0;
  #drainWaiters: (() => void)[] = [];
  /** Writes that have come to the level so far, and how many there were when it last settled. */
  #writesBegun = 0;
  #settledAt = -1;
  /** Lost flushes of the array's when it began to be started, and those of them that have been made good. */
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

  /** Called at the start, so that there is enough when a member leaves, whatever others have taken by then; then again if it failed. */
  takeMemory(): boolean {
    try {
      this.#pool ??= new BufferPool(this.#array.memory, { slotBytes: this.#store.placeBytes, count: entriesInFlight });
    } catch (error) {
      this.#array.log.error(
        { ...this.#array.logFields(), err: error },
        'there is no memory for a journal: as long as a member is absent, a crash may cost what it held',
      );
      return false;
    }
    return true;
  }

  // Writes on their way through the level.

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
    if (--this.#writesAtLevel > 0) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Takes the entries that the request describes; without any it waits until what is in doubt is on record. */
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

  onEntryDone(place: JournalSlot, part: BdevIo): void {
    const { io, slot } = place;
    const { status, addr } = part;
    this.#array.registry.ios.put(part);
    this.#pool?.put(addr);
    slot.partEnded();
    place.io = null;
    if (status !== Status.Ok) {
      // Whether the entry is there or not: what it says is as good as what it was before.
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

  // What metadata says of it.

  /**
   * Before a round of metadata: it will say for the first time that a member is out, and there may be writes that were begun
   * without journal, and are not on stable media. {@link settle} then, until this says no.
   */
  get mustSettle(): boolean {
    const absent = this.#absentSlots();
    if (absent.length === 0 || this.#isFor(absent) || !this.#mayBegin(absent)) return false;
    return this.#settledAt !== this.#writesBegun || !this.doubt.isCurrent;
  }

  /** Resolves when no write is at the level any more, what they have written is on stable media, and what is in doubt on record. */
  async settle(): Promise<void> {
    while (this.#writesAtLevel > 0) await new Promise<void>((resolve) => this.#drainWaiters.push(resolve));
    const begun = this.#writesBegun;
    if (!(await this.#flushMembers())) return;
    this.#settledAt = begun;
    await this.doubt.save();
  }

  /** A member is recorded as absent, and what it would hold is journaled. */
  get isInForce(): boolean {
    return this.#plan.epoch !== 0;
  }

  /** Slots whose contents are journaled; none while every member is recorded as current. */
  get slots(): readonly number[] {
    return this.#plan.slots;
  }

  get inForce(): JournalPlan | null {
    return this.isInForce ? this.#plan : null;
  }

  /**
   * What the round with this sequence number is to say; told at the same time as the members' states. Throws if a flush of the start
   * that is under way has failed, and a member is absent: the round would end the journal that was found, and the next start can make
   * good what the flush may have lost.
   */
  plan(seqNumber: number): JournalPlan {
    const absent = this.#absentSlots();
    const { lostFlushes, name, state } = this.#array;
    if (absent.length > 0 && state === 'configuring' && lostFlushes > this.#lostFlushesBefore) {
      const message = `array ${name}: a flush failed while it was being started without a member: it has to be started anew`;
      throw new RaidError('ERR_RAID_METADATA', 5, message);
    }
    const isBegun = this.#isFor(absent);
    if (absent.length === 0 || !(isBegun || this.#mayBegin(absent)) || !this.takeMemory()) return noJournal;
    return isBegun ? this.#plan : { slots: absent, epoch: seqNumber };
  }

  /** The round that says so is on stable media; of all members that it counts in, if it says that no slot is journaled. */
  adopt(plan: JournalPlan): void {
    if (isSamePlan(plan, this.#plan)) {
      this.onInconsistent();
      return;
    }
    this.#plan = plan;
    const keepers = plan.epoch === 0 ? [] : this.#array.slots.filter((other) => other.isInSync);
    this.#rings = keepers.map((keeper) => ({
      places: Array.from({ length: this.#store.places }, (_, index) => new JournalSlot(this, keeper, index)),
      next: 0,
    }));
    this.onInconsistent();
    this.#pump();
  }

  /** Redundancy has come to be in doubt somewhere, or a member that has no list of it has come: entries there may be lost. */
  onInconsistent(): void {
    if (this.isInForce && !this.doubt.covers) this.doubt.save().catch(() => undefined);
  }

  /**
   * A member has lost a flush: from what it may have dropped the absent one is not worked out in this run. The entries that
   * stand for that keep their places, and the next start writes them again.
   */
  onLostFlush(): void {
    for (const { places } of this.#rings) {
      for (const { state, offset, numBlocks } of places) {
        if (state !== PlaceState.Free) this.#array.consistency.markInconsistent(offset, numBlocks);
      }
    }
  }

  /** All that so many lost flushes may have taken along has been written anew, and flushed, before the array comes up. */
  onMadeGood(lostFlushes: number): void {
    this.#lostFlushesMadeGood = lostFlushes;
  }

  /**
   * The list says of ranges that they are in doubt which have been made good. What it does not say yet matters less: until it
   * does, the entries that stand for it keep their places.
   */
  get mustSaveDoubt(): boolean {
    return this.isInForce && !this.doubt.hasNoMore;
  }

  /** The array is being stopped, and no write is in flight. */
  async stop(): Promise<void> {
    if (this.isInForce) await this.doubt.save().catch(() => undefined);
  }

  /** No write is under way, and none will come. */
  close(): void {
    this.#pool?.close();
    this.#pool = null;
  }

  /**
   * Only while no write is begun: one that is under way without an entry would not be covered. And only over what has been
   * flushed.
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
   * It stands for these slots' blocks, perhaps for more: of those that have members again it goes on until all have, so that no
   * write need be held for that.
   */
  #isFor(absent: readonly number[]): boolean {
    return this.isInForce && absent.every((slot) => this.#plan.slots.includes(slot));
  }

  /** What the level has made up would be met at the next start, or never be written. */
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
        // All members are on record as current by now.
        this.#waiting.shift();
        const known = io;
        this.#array.registry.runtime.soon(() => this.#tell(known, Status.Ok));
        continue;
      }
      // All of its entries, or none yet: writes that have some places, and wait for more, would wait for one another.
      const { journalRanges } = io;
      if (!this.#areFree(ring, journalRanges.length)) {
        if (!this.#isFlushing) void this.#reclaim();
        return;
      }
      if (this.#pool === null || this.#pool.available < journalRanges.length) return;
      this.#waiting.shift();
      io.journalWrites = journalRanges.length;
      io.journalStatus = Status.Ok;
      for (let index = 0; index < journalRanges.length; index++)
        this.#write(io, index, this.#nextPlace(ring), this.#pool.get());
    }
  }

  #areFree(ring: Ring, count: number): boolean {
    for (let i = 0; i < count; i++) {
      if (ring.places[(ring.next + i) % ring.places.length]?.state !== PlaceState.Free) return false;
    }
    return true;
  }

  #nextPlace(ring: Ring): JournalSlot {
    const place = ring.places[ring.next];
    if (place === undefined) throw new Error('a journal has no places');
    ring.next = (ring.next + 1) % ring.places.length;
    return place;
  }

  #ringOf(io: RaidIo): Ring | undefined {
    const stripe = Math.floor((io.journalRanges[0]?.offsetBlocks ?? 0) / this.#array.stripe().arrayBlocks);
    const { length } = this.#rings;
    // The member of its own ring may have left since: the others stand for the stripe as well, as entries count by their ids.
    for (let step = 0; step < length; step++) {
      const ring = this.#rings[(stripe + step) % length];
      const slot = ring?.places[0]?.slot;
      if (slot?.isRemoving === false && slot.descriptor !== null) return ring;
    }
    return this.#rings[stripe % length];
  }

  /** Writes the entry of one of the request's ranges. */
  #write(io: RaidIo, index: number, place: JournalSlot, addr: number): void {
    const range = io.journalRanges[index];
    if (range === undefined) throw new RangeError(`a request has no range ${index} to journal`);
    const { offsetBlocks, numBlocks } = range;
    const { blockSize, memory, registry } = this.#array;
    const { headerBytes, placeBytes, startBytes } = this.#store;
    const isZero = range.addr < 0;
    const dataBytes = isZero ? 0 : numBlocks * blockSize;
    if (!isZero) memory.u8.copyWithin(addr + headerBytes, range.addr, range.addr + dataBytes);
    this.#store.seal(memory.u8.subarray(addr, addr + headerBytes + dataBytes), this.#array, place.index, blockSize, {
      epoch: this.#plan.epoch,
      id: ++this.#lastId,
      offsetBlocks,
      numBlocks,
      isZero,
      numTogether: io.journalRanges.length,
      indexTogether: index,
    });
    place.state = PlaceState.Busy;
    place.io = io;
    // They lie in one strip of the absent member, and depend on the same blocks of the other members' strips.
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    place.offset = Math.floor(offsetBlocks / arrayBlocks) * memberBlocks + (offsetBlocks % memberBlocks);
    place.numBlocks = numBlocks;
    const part = registry.ios.get();
    part.type = IoType.Write;
    part.flags = IoFlag.ForceUnitAccess;
    part.offsetBlocks = (startBytes + place.index * placeBytes) / blockSize;
    part.numBlocks = (headerBytes + dataBytes) / blockSize;
    part.addr = addr;
    part.owner = place;
    const { slot } = place;
    slot.partsInFlight++;
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
      // An entry may be all that is left of what is in doubt: not before that is on record.
      if (!this.doubt.covers) await this.doubt.save().catch(onUnsaved);
      // One that left meanwhile, and is needed, may come back without what it had not flushed.
      if (!this.#array.hasEnough) isCovered = false;
    }
    this.#isFlushing = false;
    if (isCovered) for (const place of covered) place.state = PlaceState.Free;
    else if (covered.length > 0) for (const io of this.#waiting.splice(0)) this.#tell(io, status);
    // Without any that were written, the next write that ends goes on from here.
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
    // What a member has failed to keep before, perhaps just now, this flush does not keep either.
    return areGood && !this.#isUnstable();
  }

  /** A member may show what no flush keeps. */
  #isUnstable(): boolean {
    const { lostFlushes, slots } = this.#array;
    return lostFlushes > this.#lostFlushesMadeGood && slots.some((slot) => slot.isInSync && slot.hasLostFlush);
  }
}

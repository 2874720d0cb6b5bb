import { IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import type { JournalHost } from './host.js';
import { DoubtRecord } from './doubt-record.js';
import { statusOf } from '../errors.js';
import { flushMember } from '../members/member-io.js';
import type { JournalEntryHandle, RaidIo } from '../level/raid-io.js';
import type { JournalPlan } from '../metadata/host.js';
import type { Slot } from '../members/slot.js';
import type { ExtensionStore, JournalStore } from '../format/store.js';

/** Entries that are being written at a time. */
const entriesInFlight = 16;

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
 * Closes the write hole of an array that lacks its one spare-able member. What that member would hold is worked out from the
 * others, and a crash between their writes would leave it nonsense; so it is written down first, to stable media, and at the
 * next start the level writes it once more. An entry is overwritten only after a flush of all members that began when the
 * write was on them. All entries for one stripe go to the same ring, and the oldest is overwritten first, so that the last
 * one for a block that is found is the last one there was.
 */
export class Journal {
  /** Slot whose contents are journaled; -1 while every member is recorded as current. */
  slot = -1;
  /** Most blocks of an entry. */
  readonly mostBlocks: number;
  /** Where redundancy is in doubt all the same. */
  readonly doubt: DoubtRecord;
  readonly #array: JournalHost;
  readonly #store: JournalStore;
  #epoch = 0;
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

  constructor(array: JournalHost, extension: ExtensionStore) {
    const store = extension.journal;
    this.#array = array;
    this.#store = store;
    this.doubt = new DoubtRecord(array, extension);
    this.mostBlocks = (store.placeBytes - store.headerBytes) / array.blockSize;
  }

  // Writes on their way through the level.

  entered(io: RaidIo): void {
    io.isAtLevel = true;
    io.journalSlot = this.slot;
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

  /** Takes the entry that the request describes; one of no blocks waits until what is in doubt is on record. */
  append(io: RaidIo): void {
    this.#markWritten(io);
    if (io.journalBlocks === 0) {
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
    } else if (io !== null) {
      io.journaled = place;
    }
    if (io !== null) this.#tell(io, status);
    this.#pump();
  }

  // What metadata says of it.

  /**
   * Before a round of metadata: it will say for the first time that a member is out, and there may be writes that were begun
   * without journal, and are not on stable media. {@link settle} then, until this says no.
   */
  get mustSettle(): boolean {
    const slot = this.#absentSlot();
    if (slot < 0 || slot === this.slot || !this.#mayBegin()) return false;
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

  /** In force since a round that said so was on stable media; null while every member is recorded as current. */
  get inForce(): JournalPlan | null {
    return this.slot < 0 ? null : { slot: this.slot, epoch: this.#epoch };
  }

  /** What the round with this sequence number is to say; told at the same time as the members' states. */
  plan(seqNumber: number): JournalPlan {
    const slot = this.#absentSlot();
    const isBegun = slot === this.slot;
    if (slot < 0 || !(isBegun || this.#mayBegin()) || !this.#hasBuffers()) return { slot: -1, epoch: 0 };
    return { slot, epoch: isBegun ? this.#epoch : seqNumber };
  }

  /** The round that says so is on stable media; of all members that it counts in, if it says that nobody is journaled. */
  adopt({ slot, epoch }: JournalPlan): void {
    if (slot === this.slot && epoch === this.#epoch) {
      this.onInconsistent();
      return;
    }
    this.slot = slot;
    this.#epoch = epoch;
    const keepers = slot < 0 ? [] : this.#array.slots.filter((other) => other.isInSync);
    this.#rings = keepers.map((keeper) => ({
      places: Array.from({ length: this.#store.places }, (_, index) => new JournalSlot(this, keeper, index)),
      next: 0,
    }));
    this.onInconsistent();
    this.#pump();
  }

  /** Redundancy has come to be in doubt somewhere, or a member that has no list of it has come: entries there may be lost. */
  onInconsistent(): void {
    if (this.slot >= 0 && !this.doubt.covers) this.doubt.save().catch(() => undefined);
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

  /**
   * The list says of ranges that they are in doubt which have been made good. What it does not say yet matters less: until it
   * does, the entries that stand for it keep their places.
   */
  get mustSaveDoubt(): boolean {
    return this.slot >= 0 && !this.doubt.hasNoMore;
  }

  /** The array is being stopped, and no write is in flight. */
  async stop(): Promise<void> {
    if (this.slot >= 0) await this.doubt.save().catch(() => undefined);
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
  #mayBegin(): boolean {
    return this.#array.areWritesHeld && !this.#array.slots.some((slot) => slot.isInSync && slot.hasLostFlush);
  }

  /** The only slot that has no current member; -1 if there is none, or more than one. */
  #absentSlot(): number {
    const absent = this.#array.slots.filter((slot) => !slot.isInSync);
    return absent.length === 1 ? (absent[0]?.index ?? -1) : -1;
  }

  #hasBuffers(): boolean {
    try {
      this.#pool ??= new BufferPool(this.#array.memory, { slotBytes: this.#store.placeBytes, count: entriesInFlight });
    } catch (error) {
      this.#array.log.error(
        { ...this.#array.logFields(), err: error },
        'there is no memory for a journal: a crash now may cost the absent member’s data',
      );
      return false;
    }
    return true;
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
      const place = ring.places[ring.next];
      if (place === undefined) return;
      if (place.state !== PlaceState.Free) {
        if (!this.#isFlushing) void this.#reclaim();
        return;
      }
      const addr = this.#pool?.get() ?? -1;
      if (addr < 0) return;
      this.#waiting.shift();
      ring.next = (ring.next + 1) % ring.places.length;
      this.#write(io, place, addr);
    }
  }

  #ringOf(io: RaidIo): Ring | undefined {
    const stripe = Math.floor(io.journalOffset / this.#array.stripe().arrayBlocks);
    return this.#rings[stripe % this.#rings.length];
  }

  #write(io: RaidIo, place: JournalSlot, addr: number): void {
    const { blockSize, memory, registry } = this.#array;
    const { headerBytes, placeBytes, startBytes } = this.#store;
    const isZero = io.journalAddr < 0;
    const dataBytes = isZero ? 0 : io.journalBlocks * blockSize;
    if (!isZero) memory.u8.copyWithin(addr + headerBytes, io.journalAddr, io.journalAddr + dataBytes);
    this.#store.seal(memory.u8.subarray(addr, addr + headerBytes + dataBytes), this.#array, place.index, blockSize, {
      epoch: this.#epoch,
      id: ++this.#lastId,
      offsetBlocks: io.journalOffset,
      numBlocks: io.journalBlocks,
      isZero,
    });
    place.state = PlaceState.Busy;
    place.io = io;
    // They lie in one strip of the absent member, and depend on the same blocks of the other members' strips.
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    place.offset = Math.floor(io.journalOffset / arrayBlocks) * memberBlocks + (io.journalOffset % memberBlocks);
    place.numBlocks = io.journalBlocks;
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
    io.journaled?.markWritten();
    io.journaled = null;
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
      if (!slot.isConfigured || slot.isRemoving || slot.descriptor === null) return true;
      return flushMember(array, slot, 'a flush for the journal failed').then(
        () => true,
        () => false,
      );
    });
    const areGood = (await Promise.all(flushed)).every((isGood) => isGood);
    // What a member has failed to keep before, perhaps just now, this flush does not keep either.
    return areGood && !array.slots.some((slot) => slot.isInSync && slot.hasLostFlush);
  }
}

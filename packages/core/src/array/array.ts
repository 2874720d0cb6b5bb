import { Status, nullUuid } from '@raidkit/bdev';
import type { Bdev, BdevRegistry, JsonObject, Logger } from '@raidkit/bdev';
import { CommitBarrier } from '../metadata/commit-barrier.js';
import { IoTimeouts } from '../members/io-timeouts.js';
import { BadBlocks } from '../members/bad-blocks.js';
import { Consistency } from '../bitmap/consistency.js';
import type { RegionLimits } from '../bitmap/region-size.js';
import { RaidError } from '../errors.js';
import type { RaidEvent } from '../events.js';
import { RequestPath } from '../io/request-path.js';
import type { Journal } from '../journal/journal.js';
import { Lifecycle } from '../lifecycle.js';
import type { RaidState } from '../lifecycle.js';
import { listDamage } from '../metadata/damage.js';
import { SuperblockWriter } from '../metadata/superblock-writer.js';
import { canLoseAny, canRun, minOperational, whyNot } from '../level/redundancy.js';
import type { LevelOptions, RaidGeometry, RedundantContext } from '../level/context.js';
import type { LevelDescription, RaidLevel } from '../level/level.js';
import type { RaidModule } from '../level/module.js';
import { grow } from '../sync/grow.js';
import type { RaidProcess } from '../sync/process.js';
import { ProcessQueue } from '../sync/process-queue.js';
import type { QueueHost } from '../sync/start-process.js';
import type { ProcessRecord } from '../sync/task.js';
import { AssemblyFacts } from './assembly-facts.js';
import type { ArraySums } from './array-sums.js';
import { describeArray, describeConfig, describeLevel } from './info.js';
import type { ArrayView } from './array-view.js';
import { Integrity } from './integrity.js';
import type { Stranger } from './stranger.js';
import type { MemberOptions } from '../members/host.js';
import type { GatheredWrites } from '../io/write-gather.js';
import type { RaidIoPool } from '../level/raid-io.js';
import type { WriteIntentBitmap } from '../bitmap/write-intent-bitmap.js';
import { ReadRepair } from '../io/read-repair.js';
import { Slot } from '../members/slot.js';
import { readCost } from '../members/read-cost.js';
import type { SlotView } from '../members/slot-view.js';
import { defaultReadPolicy } from '../format/read-policy.js';
import type { ReadPolicy } from '../format/read-policy.js';
import type { ExtensionStore, SuperblockStore } from '../format/store.js';

/** What makes an array, apart from its members. */
export interface RaidArrayOptions {
  /** Under which it is listed. */
  name: string;
  /** In its superblocks. Default: the same. */
  recordedName?: string;
  /** The null uuid: one is made when the array comes online. */
  uuid: string;
  module: RaidModule;
  stripSizeKb: number;
  slotNames: readonly (string | null)[];
  /** Null: an array without superblocks. */
  store: SuperblockStore | null;
  levelOptions: LevelOptions;
  /** Its members' blocks are to have checksums. Default false. */
  hasIntegrity?: boolean;
  /** What members carry already does not matter. */
  isForced?: boolean;
  /** Default: not known. */
  outerUuid?: string;
}

/** What an array tells the service that has it. */
export interface RaidArrayHost {
  readonly registry: BdevRegistry;
  readonly ios: RaidIoPool;
  readonly memberOptions: MemberOptions;
  readonly regionLimits: RegionLimits;
  readonly routesReads: boolean;
  readonly gathersWrites: boolean;
  emit(event: RaidEvent): void;
  /** A member is leaving for a reason of the array's own: bring it to its end. */
  onMemberFailed(array: RaidArray, slot: Slot, reason: string): void;
  /** The level has thrown: the array goes offline. */
  onLevelThrew(array: RaidArray, reason: string): void;
  /** It has grown as far as it could, and is to have checksums: there may be room for them now. */
  onRoomForSums(array: RaidArray): void;
  /** Redundancy has come to be in doubt somewhere: a resync is due as soon as it can be done. */
  onInconsistent(array: RaidArray): void;
}

/** One array: its slots and its state. What I/O does is in `RequestPath`; which members join and leave is decided in `RaidArrays`. */
export class RaidArray implements ArrayView, RedundantContext, QueueHost {
  /** Under which it is listed, and has its volume; unique. Does not change while the array is up. */
  name: string;
  /** The name in its superblocks. */
  readonly recordedName: string;
  uuid: string;
  readonly module: RaidModule;
  readonly stripSizeKb: number;
  /** As given at creation; of an array that is put together, known once it is being started. */
  options: LevelOptions;
  readonly slots: Slot[];
  readonly metadata: SuperblockWriter;
  /** Stands behind the volume's bdev. */
  readonly io: RequestPath;
  readonly answers: IoTimeouts;
  readonly store: SuperblockStore | null;
  /** Where the array is in its life. */
  readonly lifecycle: Lifecycle;
  level: RaidLevel | null = null;
  /** The volume's bdev while online. */
  bdev: Bdev | null = null;
  /** Name of the array whose background work, on the same device, this one's waits for; null if none. */
  waitsFor: string | null = null;
  /**
   * The array of which this one's volume is a member, as its headers say it: its uuid. The null uuid: of none. Null: not known.
   */
  outerUuid: string | null;
  /** Started to be looked at: nothing is written to its members, not even metadata. */
  isReadOnly = false;
  readonly isForced: boolean;
  /** Checksums of its members' blocks. */
  readonly integrity: Integrity;
  readonly assembly = new AssemblyFacts();
  /** Made from superblocks, so its members are known by uuid, not by name. */
  isAssembled = false;
  /**
   * The array is being started with redundancy in doubt: what a member holds could not be told without it, so none is let go.
   */
  mustKeepAll = false;
  readonly routesReads: boolean;
  readonly gathersWrites: boolean;
  /** Where redundancy may disagree with the data. */
  readonly consistency: Consistency;
  /** Blocks of members that do not hold what they should. */
  readonly badBlocks = new BadBlocks();
  /** What is known of the array's regions; null for an array that keeps no map. */
  bitmap: WriteIntentBitmap | null = null;
  /** Keeps what an absent member would hold, while its absence is recorded; null for an array without one. */
  journal: Journal | null = null;
  /** The array's size as its superblock has it; null for a new array. Blocks. */
  recordedBlocks: number | null = null;
  /**
   * The level has been started, and the map is loaded, or, if it is a new one, on the members: from then on a record of the array
   * is true. Before that, a member that leaves is recorded as out at the end of the start.
   */
  isRecordable = false;
  readonly processes: ProcessQueue;

  #blockSize = 0;
  #readPolicy: ReadPolicy = defaultReadPolicy;
  #numOperational: number;
  #geometry: RaidGeometry | null = null;
  #membership = 0;
  #lostFlushes = 0;
  #startError: string | null = null;
  /** Growth under way; one follows another. */
  #resizing: Promise<void> = Promise.resolve();
  readonly #host: RaidArrayHost;
  readonly #gate: CommitBarrier;
  readonly #repair: ReadRepair;

  constructor(options: RaidArrayOptions, host: RaidArrayHost) {
    this.name = options.name;
    this.recordedName = options.recordedName ?? options.name;
    this.uuid = options.uuid;
    this.module = options.module;
    this.stripSizeKb = options.stripSizeKb;
    this.options = options.levelOptions;
    this.store = options.store;
    this.isForced = options.isForced ?? false;
    this.outerUuid = options.outerUuid ?? null;
    this.slots = options.slotNames.map((name, index) => new Slot(index, name));
    this.#numOperational = this.slots.length;
    this.#host = host;
    this.consistency = new Consistency({ onInconsistent: () => this.#onInconsistent(), onInSync: () => this.#onInSync() });
    this.integrity = new Integrity(this, options.hasIntegrity ?? false);
    this.lifecycle = new Lifecycle(options.name);
    this.metadata = new SuperblockWriter(this, options.store);
    this.#gate = new CommitBarrier(this);
    this.routesReads = host.routesReads;
    this.gathersWrites = host.gathersWrites;
    this.io = new RequestPath(this, this.#gate);
    this.answers = new IoTimeouts(this);
    this.#repair = new ReadRepair(this);
    this.processes = new ProcessQueue((error) => {
      this.log.error({ ...this.logFields(), err: error }, 'a background process failed unexpectedly');
    });
  }

  /** The process that is running; null if none is. */
  get process(): RaidProcess | null {
    return this.processes.current;
  }

  /** Resolves when the running process, if any, has ended and what it leads to is done. */
  get processEnded(): Promise<void> {
    return this.processes.ended;
  }

  /** The last processes, newest first. */
  get history(): readonly ProcessRecord[] {
    return this.processes.history;
  }

  /** Resolves when the array has grown as far as it could when this was asked. */
  get resizing(): Promise<void> {
    return this.#resizing;
  }

  /** Grows if all members have room for that; begins by itself, and one growth follows another. */
  growIfPossible(): void {
    this.afterGrowth(() => grow(this))
      .catch((error: unknown) => {
        this.log.error({ ...this.logFields(), err: error }, 'the array could not be resized');
      })
      .finally(() => {
        if (this.wantsIntegrity) this.#host.onRoomForSums(this);
      });
  }

  /** Does something while the array does not grow; what it asks for then begins afterwards. Rejects as `work` does. */
  afterGrowth<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#resizing.then(work);
    this.#resizing = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  get hasIntegrity(): boolean {
    return this.integrity.isOn;
  }

  get wantsIntegrity(): boolean {
    return this.integrity.isWanted;
  }

  get sums(): ArraySums | null {
    return this.integrity.sums;
  }

  get isUnproven(): boolean {
    return this.integrity.isUnproven;
  }

  get blocksTogether(): number {
    return this.integrity.blocksTogether;
  }

  get strangers(): ReadonlyMap<string, Stranger> {
    return this.assembly.strangers;
  }

  get gatheredWrites(): Readonly<GatheredWrites> {
    return this.io.gatheredWrites;
  }

  get state(): RaidState {
    return this.lifecycle.state;
  }

  /** 0 until the first member is there. */
  get blockSize(): number {
    return this.#blockSize;
  }

  /** Members with which the array is complete enough to start; while online, members that it has. */
  get numOperational(): number {
    return this.#numOperational;
  }

  /** What the level's `resize` has returned, once it counts; null while the level is not started. */
  get currentGeometry(): RaidGeometry | null {
    return this.#geometry;
  }

  /** Grows whenever a member leaves, joins, or becomes current. */
  get membership(): number {
    return this.#membership;
  }

  /** Grows with every flush that fails on a member which the array cannot do without. */
  get lostFlushes(): number {
    return this.#lostFlushes;
  }

  /** Why the array cannot start, for people; null if nothing is known to be wrong. */
  get startError(): string | null {
    return this.#startError;
  }

  /** The policy of an array that is assembled is known once it is being started. */
  get readPolicy(): ReadPolicy {
    return this.#readPolicy;
  }

  setReadPolicy(policy: ReadPolicy): void {
    this.#readPolicy = policy;
  }

  /** The first member, or the superblock, says how large blocks are. Bytes. */
  setBlockSize(bytes: number): void {
    this.#blockSize = bytes;
  }

  /** A device was given back: without any, the next one says how large blocks are. */
  forgetBlockSizeIfEmpty(): void {
    if (this.slots.every(({ hasDevice }) => !hasDevice)) this.#blockSize = 0;
  }

  /**
   * From now on the array has these slots, in this order: a slot has been added, or an empty one taken away. What is in flight may
   * have no part on a slot that has another number then.
   */
  setSlots(slots: readonly Slot[]): void {
    this.#membership++;
    this.#number(slots);
  }

  /** What `ask` says as if the array had these slots. In one turn, after which nothing has changed. */
  asIf<T>(slots: readonly Slot[], ask: () => T): T {
    const before = [...this.slots];
    this.#number(slots);
    try {
      return ask();
    } finally {
      this.#number(before);
    }
  }

  #number(slots: readonly Slot[]): void {
    this.slots.splice(0, this.slots.length, ...slots);
    for (const [index, slot] of this.slots.entries()) slot.renumber(index);
  }

  setGeometry(geometry: RaidGeometry | null): void {
    this.#geometry = geometry;
  }

  noteStartError(reason: string | null): void {
    this.#startError = reason;
  }

  /** So many members are recorded to be in, or are to make a new array. */
  expectMembers(count: number): void {
    this.#numOperational = count;
  }

  /** A member is out of the array, and was counted in. */
  expectOneLess(): void {
    this.#numOperational--;
  }

  /** Being created, or brought online: the volume is not there yet. */
  get isStarting(): boolean {
    const { phase } = this.lifecycle;
    return phase === 'creating' || phase === 'starting';
  }

  /** It is to be no more, and takes up nothing. */
  get isDeleting(): boolean {
    return this.lifecycle.isEnding;
  }

  get registry(): BdevRegistry {
    return this.#host.registry;
  }

  get ios(): RaidIoPool {
    return this.#host.ios;
  }

  get log(): Logger {
    return this.registry.runtime.log;
  }

  get memberOptions(): MemberOptions {
    return this.#host.memberOptions;
  }

  get regionLimits(): RegionLimits {
    return this.#host.regionLimits;
  }

  get memory(): BdevRegistry['runtime']['memory'] {
    return this.registry.runtime.memory;
  }

  get numSlots(): number {
    return this.slots.length;
  }

  /** Users' requests may be under way: one that stops ends, and answers, those that it has. */
  get #hasRequests(): boolean {
    const { phase } = this.lifecycle;
    return phase === 'online' || phase === 'stopping';
  }

  /** The incarnation of the write-intent bitmap and the journal. */
  get incarnation(): string {
    return this.metadata.incarnation;
  }

  /** What its members carry besides superblocks: a header, and with redundancy a write-intent bitmap. Undefined for blocks that are too large. */
  get extension(): ExtensionStore | undefined {
    const { extension } = this.store ?? {};
    return extension?.fits(this.blockSize, 0) === true ? extension : undefined;
  }

  get hasSuperblock(): boolean {
    return this.store !== null;
  }

  get hasHeaders(): boolean {
    return this.extension !== undefined;
  }

  /** Whether a map of so many regions fits in front of the data of all members that are there. */
  hasRoomForRegions(numRegions: number): boolean {
    const { blockSize, extension } = this;
    if (extension?.fits(blockSize, numRegions) !== true) return false;
    const bytes = extension.reservedBytes(numRegions);
    return this.slots.every(({ dataOffset, isConfigured }) => !isConfigured || dataOffset * blockSize >= bytes);
  }

  /** Members that are there, targets of a rebuild included. */
  get numDiscovered(): number {
    return this.slots.filter(({ isOperational }) => isOperational).length;
  }

  /** Members that hold the array's data. */
  get numInSync(): number {
    let count = 0;
    for (const slot of this.slots) if (slot.isInSync) count++;
    return count;
  }

  /**
   * The members that the array has now are as many as its level needs: what they have taken is whole. An array that loses one
   * which it cannot do without goes offline in the same step, so while it is online there are enough.
   */
  get hasEnough(): boolean {
    return this.state === 'online' || this.canRunWith((slot) => slot.isInSync);
  }

  /** Fewest members with which the array can be online, if they are the right ones; for people. Others ask {@link canRunWith}. */
  get minOperational(): number {
    return minOperational(this.module, this.slots.length, this.options);
  }

  /** How many more members the array can lose, whichever they are; -1 if it lacks data already. */
  get canLose(): number {
    return canLoseAny(
      this.module,
      this.slots.length,
      this.#missing((slot) => slot.isInSync),
      this.options,
    );
  }

  /** All data is there with the members of those slots for which this holds. */
  canRunWith(isThere: (slot: Slot) => boolean): boolean {
    return canRun(this.module, this.slots.length, this.#missing(isThere), this.options);
  }

  /** For people: why the array cannot be online with the members of those slots. */
  whyNotWith(isThere: (slot: Slot) => boolean): string {
    return whyNot(this.module, this.slots.length, this.#missing(isThere), this.options);
  }

  #missing(isThere: (slot: Slot) => boolean): number[] {
    return this.slots.filter((slot) => !isThere(slot)).map(({ index }) => index);
  }

  get hasUuid(): boolean {
    return this.uuid !== nullUuid;
  }

  get stripSizeBlocks(): number {
    return this.blockSize === 0 ? 0 : (this.stripSizeKb * 1024) / this.blockSize;
  }

  get numBlocks(): number {
    return this.currentGeometry?.numBlocks ?? 0;
  }

  describeLevel(): LevelDescription {
    return describeLevel(this);
  }

  /** As `bdev_get_bdevs` shows it under `raid`. */
  describe(): JsonObject {
    return Object.fromEntries(Object.entries(describeArray(this)).filter(([key]) => key !== 'name'));
  }

  describeConfig(): { method: string; params: JsonObject } | null {
    return describeConfig(this);
  }

  availableBlocks(slot: number): number {
    const { descriptor, capacity } = this.slotAt(slot);
    if (descriptor === null) return this.memberCapacity(slot);
    // The data of an array that is on record may have been grown to the end of its members by other software.
    return this.recordedBlocks === null ? this.integrity.roomForData(capacity) : capacity;
  }

  /** The array has a map now, by which of nothing it is known whether it is right. Nothing may be in flight. */
  attachMap(bitmap: WriteIntentBitmap): void {
    this.bitmap = bitmap;
    bitmap.doubt(0, bitmap.states.length);
    // What a flush has failed to keep is to be written once more before it is taken for what is there.
    if (this.lostFlushes > 0) bitmap.markUnstable(0, bitmap.states.length);
  }

  /** The array has no map, and nothing is in doubt. Nothing may be in flight. */
  forgetMap(): void {
    this.bitmap?.discard();
    this.bitmap = null;
    this.consistency.reset();
  }

  // What the level sees.

  memberCapacity(slot: number): number {
    const { dataSize } = this.slotAt(slot);
    if (dataSize > 0) return dataSize;
    return Math.min(...this.slots.map((other) => other.dataSize).filter((size) => size > 0));
  }

  readCost(slot: number): number {
    return readCost(this.slotAt(slot), this.#readPolicy);
  }

  get mostJournalBlocks(): number {
    return this.journal?.mostBlocks ?? 0;
  }

  isMemberInSync(slot: number): boolean {
    return this.slotAt(slot).isInSync;
  }

  isRangeInSync(memberOffset: number, numBlocks: number): boolean {
    return this.bitmap !== null && !this.isInconsistent(memberOffset, numBlocks);
  }

  isInconsistent(memberOffset: number, numBlocks: number): boolean {
    return this.consistency.isInconsistent(memberOffset, numBlocks);
  }

  markInconsistent(memberOffset: number, numBlocks: number): void {
    this.consistency.markInconsistent(memberOffset, numBlocks);
    this.log.error(
      { ...this.logFields(), block: memberOffset, blocks: numBlocks },
      'a write failed on more members than can be lost: redundancy is doubted here',
    );
  }

  markInSync(memberOffset: number, numBlocks: number, isWhole: boolean): void {
    const { consistency } = this;
    // A flush that was lost in this run may have been while the write was under way, and have taken parts of it along.
    if (isWhole && this.lostFlushes === 0) consistency.markStable(memberOffset, numBlocks);
    // Made from what the next power cut may take back it is none for long; a resync makes it good. Where a member is missing none
    // can, and what is written must be readable.
    else if (this.numInSync === this.numSlots && consistency.isUnstable(memberOffset, numBlocks)) return;
    consistency.markInSync(memberOffset, numBlocks);
  }

  #onInconsistent(): void {
    this.journal?.onInconsistent();
    this.#host.onInconsistent(this);
  }

  #onInSync(): void {
    if (this.state !== 'online') return;
    this.bitmap?.arm();
    this.failUnsteady();
  }

  /**
   * Lets go of members that lost a flush while the array was being started, as soon as it can do without them. Nothing was
   * acknowledged since then, so nothing is lost with them that a crash could not have lost.
   */
  failUnsteady(): void {
    if (!this.consistency.isAllInSync) return;
    for (const slot of this.slots) {
      if (slot.isUnsteady && slot.isInSync)
        this.failMember(slot.index, 'a flush failed on it while the array was being started');
    }
  }

  /**
   * The slot's member holds these blocks now, if only in its cache. If they were bad, no write is acknowledged before it is on
   * record that they are not: a crash would make them bad again. A target's are recorded when it becomes a member. False: there is
   * no room for a list of what is left, and they are bad as before.
   */
  noteWritten(slot: number, memberOffset: number, numBlocks: number): boolean {
    const { badBlocks, extension } = this;
    if (badBlocks.isEmpty) return true;
    const isFull = badBlocks.size >= (extension?.mostBadRanges ?? 0);
    if (isFull && badBlocks.wouldSplit(slot, memberOffset, numBlocks)) return false;
    if (!badBlocks.remove(slot, memberOffset, numBlocks)) return true;
    if (this.#hasRequests && this.slotAt(slot).isInSync) this.recordAgain().catch(() => undefined);
    return true;
  }

  /**
   * What the slot's member should hold in these blocks is not known: from now on reads of them fail. The caller has a round of
   * metadata record it before anything relies on it. Throws if there is no room, or no place, for that: half of the list is for
   * those that writes split.
   */
  markBad(slot: number, memberOffset: number, numBlocks: number): void {
    const { badBlocks, extension } = this;
    const most = (extension?.mostBadRanges ?? 0) / 2;
    if (extension === undefined || (badBlocks.size >= most && badBlocks.needsRange(slot, memberOffset, numBlocks))) {
      const why = extension === undefined ? 'there is no place' : 'there is no more room';
      throw new RaidError(
        'ERR_RAID_METADATA',
        5,
        `array ${this.name} slot ${slot}: blocks ${memberOffset} to ${memberOffset + numBlocks - 1} are lost, and ${why} for a list of bad blocks`,
      );
    }
    this.#list(slot, memberOffset, numBlocks);
  }

  /**
   * As {@link markBad}, for blocks that are damaged by their checksums. If a crash would take them for good they may use all of the
   * list, and when that is full two of its ranges become one. `mayJoin` false: they are refused like others.
   */
  markDamaged(slot: number, memberOffset: number, numBlocks: number, mayJoin: boolean): void {
    const mayBeLeftOut = !mayJoin || this.#outlastsCrash(memberOffset, memberOffset + numBlocks);
    if (mayBeLeftOut) this.markBad(slot, memberOffset, numBlocks);
    else this.#listAnyway(slot, memberOffset, numBlocks);
  }

  #listAnyway(slot: number, memberOffset: number, numBlocks: number): void {
    const { badBlocks, extension } = this;
    this.#list(slot, memberOffset, numBlocks);
    while (badBlocks.size > (extension?.mostBadRanges ?? 0)) {
      const joined = badBlocks.joinClosest(this.blocksTogether);
      if (joined === null) return;
      this.log.error(
        { ...this.logFields(this.slotAt(joined.slot)), block: joined.start, blocks: joined.end - joined.start },
        'the list of bad blocks is full: blocks between two that are bad count as bad, too, until they are written',
      );
      // Where other members have these blocks they are good again in a moment.
      this.#repair.healListed();
    }
  }

  #list(slot: number, memberOffset: number, numBlocks: number): void {
    const fields = { ...this.logFields(this.slotAt(slot)), block: memberOffset, blocks: numBlocks };
    this.log.error(fields, 'the blocks do not hold what they should: they are bad until they are written');
    this.badBlocks.add(slot, memberOffset, numBlocks);
  }

  /** Checksums have found that the slot's member does not hold what it should in these blocks. False if that is known already. */
  noteDamage(slot: number, memberOffset: number, numBlocks: number): boolean {
    const { badBlocks } = this;
    if (badBlocks.isKnown(slot, memberOffset, numBlocks)) return false;
    if (badBlocks.canNote) badBlocks.noteDamage(slot, memberOffset, numBlocks);
    else this.#listAnyway(slot, memberOffset, numBlocks);
    return true;
  }

  /** What checksums say of blocks `[start, end)` of members they say after a crash, too. */
  #outlastsCrash(start: number, end: number): boolean {
    const { bitmap, blocksTogether, metadata } = this;
    return end <= metadata.recordedSummedBlocks * blocksTogether && bitmap?.isSettled(start, end - start) === true;
  }

  /**
   * Something of these blocks of members is known to be damaged, and a crash now would forget it: it is to be recorded, or is just
   * being recorded.
   */
  mustRecordDamage(memberOffset: number, numBlocks: number): boolean {
    const { badBlocks, isReadOnly, slots } = this;
    if (badBlocks.isSettled || isReadOnly) return false;
    return slots.some(({ index }) =>
      badBlocks.unrecordedIn(index, memberOffset, numBlocks).some(({ start, end }) => !this.#outlastsCrash(start, end)),
    );
  }

  /**
   * What is known to be damaged of these blocks of members, and of what has one checksum with them, is on the list, on stable media,
   * when this resolves; of what has no room there, all that a crash would forget, but for `mayJoin` false. Rejects if it cannot be
   * recorded.
   */
  async recordDamage(memberOffset: number, numBlocks: number, mayJoin = true): Promise<void> {
    if (this.badBlocks.isSettled || !this.#hasRequests) return;
    const { blocksTogether } = this;
    const first = Math.floor(memberOffset / blocksTogether) * blocksTogether;
    await listDamage(this, first, Math.ceil((memberOffset + numBlocks - first) / blocksTogether) * blocksTogether, mayJoin);
    if (!this.badBlocks.isRecorded) await this.metadata.update();
  }

  requestRepair(slot: number, memberOffsetBlocks: number, numBlocks: number): void {
    if (this.isReadOnly) return;
    const { blocksTogether } = this;
    const first = Math.floor(memberOffsetBlocks / blocksTogether) * blocksTogether;
    const end = Math.ceil((memberOffsetBlocks + numBlocks) / blocksTogether) * blocksTogether;
    this.#repair.request(slot, first, end - first);
  }

  /**
   * Takes a member out because of an error. At once no I/O goes to it; writes are acknowledged again when the survivors'
   * metadata says that it is out. False, and nothing happens, if the array cannot do without it.
   */
  failMember(slotIndex: number, reason: string): boolean {
    const slot = this.slotAt(slotIndex);
    if (!slot.isOperational) return true;
    if (!this.canDoWithout(slot)) return false;
    const fields = this.logFields(slot);
    this.beginLeave(slot, 'failed');
    this.log.error(fields, `the member is failed: ${reason}`);
    this.#host.onMemberFailed(this, slot, reason);
    return true;
  }

  /** The array can go on if the slots' members leave. */
  canDoWithout(...slots: readonly SlotView[]): boolean {
    const current = slots.filter(({ isRebuilding }) => !isRebuilding);
    if (current.length === 0) return true;
    return !this.mustKeepAll && this.canRunWith((slot) => slot.isInSync && !current.includes(slot));
  }

  noteLostFlush(slot: Slot, status: Status): void {
    if (status === Status.NoSpace) return;
    slot.hasLostFlush = true;
    this.#lostFlushes++;
    const { bitmap, journal } = this;
    if (bitmap === null) return;
    bitmap.noteLostFlush();
    slot.sums?.onLostFlush();
    // A copy stands for itself; with parity, what an absent member holds would be worked out from what is lost.
    if (this.module.redundancy === 'parity' && this.numInSync < this.numSlots) {
      if (journal?.isInForce === true) journal.onLostFlush();
      else this.consistency.doubtUnstable();
    }
    if (this.state === 'online') this.#host.onInconsistent(this);
  }

  onLevelThrew(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.log.error({ ...this.logFields(), err: error }, `level ${this.module.level} has thrown`);
    this.#host.onLevelThrew(this, `its level ${this.module.level} has thrown: ${why}`);
  }

  emit(event: RaidEvent): void {
    this.#host.emit(event);
  }

  /** From now on the slot's member gets no I/O, and no write is acknowledged until {@link leaveRecorded}. */
  beginLeave(slot: Slot, absence: 'missing' | 'failed'): void {
    this.#membership++;
    slot.leave();
    slot.absence = absence;
    if (!slot.isRebuilding) this.#gate.close();
    this.#numOperational--;
  }

  beginFilling(slot: Slot): void {
    this.#membership++;
    slot.beginRebuild();
    slot.absence = 'missing';
    this.#numOperational++;
  }

  endFilling(slot: Slot): void {
    slot.leave();
    this.#numOperational--;
  }

  membershipChanged(): void {
    this.#membership++;
  }

  /** No write is begun now: the array is not up, or a departure is being recorded. */
  get areWritesHeld(): boolean {
    return this.state !== 'online' || this.#gate.isClosed;
  }

  /** What is on record may be wrong: no write is acknowledged until a round of metadata has put it right. Resolves then. */
  recordAgain(): Promise<void> {
    this.#gate.close();
    return this.#gate.whenOpen();
  }

  /** Resolves when no member can be taken for current that has missed a write. Rejects if that cannot be recorded. */
  leaveRecorded(): Promise<void> {
    return this.#gate.whenOpen();
  }

  logFields(slot?: Slot): object {
    if (slot === undefined) return { array: this.name };
    return { array: this.name, slot: slot.index, member: slot.name ?? slot.lastMember?.name ?? null };
  }

  /** Waits for repairs that are under way; none starts after this. */
  stopRepairs(): Promise<void> {
    return this.#repair.stop();
  }

  get isRepairing(): boolean {
    return this.#repair.isBusy;
  }

  holdRepairs(): void {
    this.#repair.hold();
  }

  releaseRepairs(): void {
    this.#repair.release();
  }

  /** Resolves when no repair is under way. */
  repairsIdle(): Promise<void> {
    return this.#repair.whenIdle();
  }

  /** How array and member blocks correspond; only for levels with redundancy. */
  stripe(): { arrayBlocks: number; memberBlocks: number } {
    const { stripe } = this.geometry;
    if (stripe === undefined) throw new Error(`level ${this.module.level} has no redundancy`);
    return stripe;
  }

  /**
   * The blocks of every member's data area on which these blocks of the array depend. Without redundancy, where only the level knows
   * that, as large a part of the data areas as these blocks are of the array: processes go over all of both.
   */
  memberRange(start: number, end: number): { from: number; to: number } {
    if (this.geometry.stripe === undefined) return { from: this.#shareOfMembers(start), to: this.#shareOfMembers(end) };
    const { arrayBlocks, memberBlocks } = this.stripe();
    return { from: Math.floor(start / arrayBlocks) * memberBlocks, to: Math.ceil(end / arrayBlocks) * memberBlocks };
  }

  /** Blocks of each data area, from its start, that are worked on with so many of the array; of whole checksums. */
  #shareOfMembers(blocks: number): number {
    const { blocksTogether, geometry } = this;
    const most = Math.max(...geometry.memberBlocks);
    if (blocks >= geometry.numBlocks) return most;
    return Math.floor(((blocks / geometry.numBlocks) * most) / blocksTogether) * blocksTogether;
  }

  get geometry(): RaidGeometry {
    if (this.currentGeometry === null) throw new Error(`array ${this.name} has not been started`);
    return this.currentGeometry;
  }

  slotAt(index: number): Slot {
    const slot = this.slots[index];
    if (slot === undefined) throw new RangeError(`array ${this.name} has no slot ${index}`);
    return slot;
  }
}

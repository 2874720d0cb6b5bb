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
import { checkRedundantSlots } from '../level/geometry.js';
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

/** Parameters of an array, apart from its members. */
export interface RaidArrayOptions {
  /** Unique name of the array and its volume. */
  name: string;
  /** The name in its superblocks. Default: `name`. */
  recordedName?: string;
  /** With the null uuid, a uuid is generated when the array comes online. */
  uuid: string;
  module: RaidModule;
  stripSizeKb: number;
  slotNames: readonly (string | null)[];
  /** Null for an array without superblocks. */
  store: SuperblockStore | null;
  levelOptions: LevelOptions;
  /** The array is to have checksums. Default false. */
  hasIntegrity?: boolean;
  /** Metadata that members already have does not prevent the start. Default false. */
  isForced?: boolean;
  /** See `ExtensionHeader`. Default: unknown. */
  outerUuid?: string;
}

/** The service that manages an array, as the array sees it. */
export interface RaidArrayHost {
  readonly registry: BdevRegistry;
  readonly ios: RaidIoPool;
  readonly memberOptions: MemberOptions;
  readonly regionLimits: RegionLimits;
  readonly routesReads: boolean;
  readonly gathersWrites: boolean;
  emit(event: RaidEvent): void;
  /** The array is taking this member out because of an error. The service must complete its departure. */
  onMemberFailed(array: RaidArray, slot: Slot, reason: string): void;
  /** The level threw an exception. The service takes the array offline. */
  onLevelThrew(array: RaidArray, reason: string): void;
  /** The array has grown as far as it could and is waiting for room for checksums, which there may be now. */
  onRoomForSums(array: RaidArray): void;
  /** Redundancy has become inconsistent somewhere. A resync is needed as soon as possible. */
  onInconsistent(array: RaidArray): void;
}

/** One array: its slots and its state. `RequestPath` handles I/O, and `RaidArrays` decides which members join and leave. */
export class RaidArray implements ArrayView, RedundantContext, QueueHost {
  /** Unique name of the array and its volume. It does not change while the array is online. */
  name: string;
  /** The name in its superblocks. */
  readonly recordedName: string;
  uuid: string;
  readonly module: RaidModule;
  readonly stripSizeKb: number;
  /** The level's options as given at creation. For an assembled array they are known once its start has begun. */
  options: LevelOptions;
  readonly slots: Slot[];
  readonly metadata: SuperblockWriter;
  /** The driver of the volume's bdev. */
  readonly io: RequestPath;
  readonly answers: IoTimeouts;
  readonly store: SuperblockStore | null;
  /** Owner of the array's phase. */
  readonly lifecycle: Lifecycle;
  level: RaidLevel | null = null;
  /** The volume's bdev while online. */
  bdev: Bdev | null = null;
  /**
   * Name of the array with a device in common whose background process must end before this array's begins; null if there is
   * none.
   */
  waitsFor: string | null = null;
  /**
   * Uuid of the array that uses this array's volume as a member, as recorded in headers; the null uuid if there is none. Null
   * if unknown.
   */
  outerUuid: string | null;
  /** Started read-only: nothing is written to its members, not even metadata. */
  isReadOnly = false;
  readonly isForced: boolean;
  /** Whether the members' blocks have checksums. */
  readonly integrity: Integrity;
  readonly assembly = new AssemblyFacts();
  /** Made from superblocks, so its members are identified by uuid rather than by name. */
  isAssembled = false;
  /**
   * The array is being started while redundancy is inconsistent. A member's data could not be reconstructed, so no member may
   * be taken out.
   */
  mustKeepAll = false;
  readonly routesReads: boolean;
  readonly gathersWrites: boolean;
  /** Where redundancy may disagree with the data. */
  readonly consistency: Consistency;
  /** Blocks of members that do not hold the data they should. */
  readonly badBlocks = new BadBlocks();
  /** State of the array's regions; null for an array without a map. */
  bitmap: WriteIntentBitmap | null = null;
  /** Journals the data of absent members while their absence is recorded; null for an array without a journal. */
  journal: Journal | null = null;
  /** Size of the array in blocks as its superblock has it; null for a new array. */
  recordedBlocks: number | null = null;
  /**
   * The level has been started, and the map has been loaded or, if it is new, written to the members, so a record of the array
   * would be correct. A member that leaves earlier is recorded as out at the end of the start.
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
  /** Growth in progress. One growth follows another. */
  #resizing: Promise<void> = Promise.resolve();
  readonly #host: RaidArrayHost;
  readonly #barrier: CommitBarrier;
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
    this.#barrier = new CommitBarrier(this);
    this.routesReads = host.routesReads;
    this.gathersWrites = host.gathersWrites;
    this.io = new RequestPath(this, this.#barrier);
    this.answers = new IoTimeouts(this);
    this.#repair = new ReadRepair(this);
    this.processes = new ProcessQueue((error) => {
      this.log.error({ ...this.logFields(), err: error }, 'a background process failed unexpectedly');
    });
  }

  /** The process that is running; null if there is none. */
  get process(): RaidProcess | null {
    return this.processes.current;
  }

  /** Resolves when the running process, if any, and what follows from its end are done. */
  get processEnded(): Promise<void> {
    return this.processes.ended;
  }

  /** The last processes, the newest first. */
  get history(): readonly ProcessRecord[] {
    return this.processes.history;
  }

  /** Resolves when growth that was requested before this call has ended. */
  get resizing(): Promise<void> {
    return this.#resizing;
  }

  /** Starts a growth if all members have room for it, after any growth in progress. */
  growIfPossible(): void {
    this.afterGrowth(() => grow(this))
      .catch((error: unknown) => {
        this.log.error({ ...this.logFields(), err: error }, 'the array could not be resized');
      })
      .finally(() => {
        if (this.wantsIntegrity) this.#host.onRoomForSums(this);
      });
  }

  /** Runs `work` while the array is not growing; growth that is requested meanwhile comes after it. Rejects as `work` does. */
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

  /** Block size in bytes; 0 until the first member has joined. */
  get blockSize(): number {
    return this.#blockSize;
  }

  /** Before the start, the number of members that the array waits for; while it is online, the number of its members. */
  get numOperational(): number {
    return this.#numOperational;
  }

  /** The geometry in use; null until the level has been started. */
  get currentGeometry(): RaidGeometry | null {
    return this.#geometry;
  }

  /** Increases whenever a member leaves, joins, or gets in sync. */
  get membership(): number {
    return this.#membership;
  }

  /** Increases with each flush that fails on a member which the array cannot do without. */
  get lostFlushes(): number {
    return this.#lostFlushes;
  }

  /** Why the array cannot start, as a message for people; null if no reason is known. */
  get startError(): string | null {
    return this.#startError;
  }

  /** For an assembled array the policy is known once its start has begun. */
  get readPolicy(): ReadPolicy {
    return this.#readPolicy;
  }

  setReadPolicy(policy: ReadPolicy): void {
    this.#readPolicy = policy;
  }

  /** Sets the block size in bytes, which the first member or the superblock determines. */
  setBlockSize(bytes: number): void {
    this.#blockSize = bytes;
  }

  /** Called after a device was closed. If no device is left, the next one determines the block size. */
  forgetBlockSizeIfEmpty(): void {
    if (this.slots.every(({ hasDevice }) => !hasDevice)) this.#blockSize = 0;
  }

  /**
   * Replaces the list of slots, after a slot was added or an empty one removed. I/O in flight must not have parts on slots
   * whose index changes.
   */
  setSlots(slots: readonly Slot[]): void {
    this.#membership++;
    this.#number(slots);
  }

  /** Returns the result of `ask`, called with the list of slots replaced. The list is restored in the same turn. */
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

  /** Sets the number of members that the superblock records as current, or that a new array needs. */
  expectMembers(count: number): void {
    this.#numOperational = count;
  }

  /** A member that was included in the number has left. */
  expectOneLess(): void {
    this.#numOperational--;
  }

  /** Being created or started: the volume does not exist yet. */
  get isStarting(): boolean {
    const { phase } = this.lifecycle;
    return phase === 'creating' || phase === 'starting';
  }

  /** The array is ending and begins nothing new. */
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

  /** Users' requests may be in flight. A stopping array still completes those that it has. */
  get #hasRequests(): boolean {
    const { phase } = this.lifecycle;
    return phase === 'online' || phase === 'stopping';
  }

  /** Incarnation of the write-intent bitmap and the journal. */
  get incarnation(): string {
    return this.metadata.incarnation;
  }

  /**
   * The store's extension: a header and, with redundancy, a write-intent bitmap. Undefined if there is none or blocks are too
   * large for it.
   */
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

  /** Whether a map of this many regions fits in front of the data of all current members. */
  hasRoomForRegions(numRegions: number): boolean {
    const { blockSize, extension } = this;
    if (extension?.fits(blockSize, numRegions) !== true) return false;
    const bytes = extension.reservedBytes(numRegions);
    return this.slots.every(({ dataOffset, isConfigured }) => !isConfigured || dataOffset * blockSize >= bytes);
  }

  /** Number of members that are in sync or being filled. */
  get numDiscovered(): number {
    return this.slots.filter(({ isOperational }) => isOperational).length;
  }

  /** Number of members that are in sync. */
  get numInSync(): number {
    let count = 0;
    for (const slot of this.slots) if (slot.isInSync) count++;
    return count;
  }

  /**
   * Whether the array has enough members for its level, so that what they have written is complete. An array that loses a
   * needed member goes offline in the same turn, so while it is online there are enough.
   */
  get hasEnough(): boolean {
    return this.state === 'online' || this.canRunWith((slot) => slot.isInSync);
  }

  /**
   * Fewest members with which the array can be online, if they are the right ones. For display; decisions use
   * {@link canRunWith}.
   */
  get minOperational(): number {
    return minOperational(this.module, this.slots.length, this.options);
  }

  /** Number of further members that the array can lose, whichever they are; -1 if data is unavailable already. */
  get canLose(): number {
    return canLoseAny(
      this.module,
      this.slots.length,
      this.#missing((slot) => slot.isInSync),
      this.options,
    );
  }

  /** Whether all data is available with only the members of those slots for which `isThere` is true. */
  canRunWith(isThere: (slot: Slot) => boolean): boolean {
    return canRun(this.module, this.slots.length, this.#missing(isThere), this.options);
  }

  /** Returns a message that says why the array cannot be online with only the members of those slots. */
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

  /** The value that `bdev_get_bdevs` shows under `raid`. */
  describe(): JsonObject {
    return Object.fromEntries(Object.entries(describeArray(this)).filter(([key]) => key !== 'name'));
  }

  describeConfig(): { method: string; params: JsonObject } | null {
    return describeConfig(this);
  }

  availableBlocks(slot: number): number {
    const { descriptor, capacity } = this.slotAt(slot);
    if (descriptor === null) return this.memberCapacity(slot);
    // Other software may have extended the data of a recorded array to the end of its members.
    return this.recordedBlocks === null ? this.integrity.roomForData(capacity) : capacity;
  }

  /** Gives the array a map, in which everything is marked as inconsistent. No I/O may be in flight. */
  attachMap(bitmap: WriteIntentBitmap): void {
    this.bitmap = bitmap;
    bitmap.doubt(0, bitmap.states.length);
    // After a lost flush the data itself must be written again before it is taken to be stable.
    if (this.lostFlushes > 0) bitmap.markUnstable(0, bitmap.states.length);
  }

  /** Removes the map and all marks of inconsistency. No I/O may be in flight. */
  forgetMap(): void {
    this.bitmap?.discard();
    this.bitmap = null;
    this.consistency.reset();
  }

  // Methods for the level.

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
      'a write failed on more members than can be lost: redundancy may be inconsistent here',
    );
  }

  markInSync(memberOffset: number, numBlocks: number, isWhole: boolean): void {
    const { consistency } = this;
    // A flush may have been lost while the write was in flight, and parts of the write with it.
    if (isWhole && this.lostFlushes === 0) consistency.markStable(memberOffset, numBlocks);
    // Redundancy that was computed from data which a power failure may revert does not stay correct; a resync will repair it.
    // That is impossible while a member is missing, and then the written blocks must be readable.
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
    if (this.consistency.isSettled) for (const slot of this.slots) slot.noteTakenResync();
  }

  /**
   * Fails members that lost a flush while the array was being started, as soon as it can do without them. Nothing was
   * acknowledged in between, so no more is lost with them than in a crash.
   */
  failUnsteady(): void {
    if (!this.consistency.isAllInSync) return;
    for (const slot of this.slots) {
      if (slot.isUnsteady && slot.isInSync)
        this.failMember(slot.index, 'a flush failed on it while the array was being started');
    }
  }

  /**
   * The slot's member has been given these blocks, though perhaps only in its cache. If they were on the list of bad blocks, no
   * write is acknowledged until their removal is recorded, because a crash would make them bad again; for a rebuild target it
   * is recorded when it becomes a member. Returns false if the shorter list would need more ranges than there is room for; then
   * the blocks stay bad.
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
   * Marks these blocks of the slot's member as bad, because what they should hold is unknown. Reads of them fail from now on.
   * The caller must update the superblocks before anything relies on it. Throws if the list has no room or cannot be stored;
   * half of the list is reserved for ranges that writes split.
   */
  markBad(slot: number, memberOffset: number, numBlocks: number): void {
    const { badBlocks, extension } = this;
    const most = (extension?.mostBadRanges ?? 0) / 2;
    if (extension === undefined || (badBlocks.size >= most && badBlocks.needsRange(slot, memberOffset, numBlocks))) {
      const why = extension === undefined ? 'there is no room' : 'there is no more room';
      throw new RaidError(
        'ERR_RAID_METADATA',
        Status.IoError,
        `array ${this.name} slot ${slot}: blocks ${memberOffset} to ${memberOffset + numBlocks - 1} are lost, and ${why} for a list of bad blocks`,
      );
    }
    this.#list(slot, memberOffset, numBlocks);
  }

  /**
   * As {@link markBad}, for blocks that their checksums show as damaged. If a crash would hide the damage and `mayJoin` is
   * true, they may use the whole list, and if that is full, two of its ranges are joined.
   */
  markDamaged(slot: number, memberOffset: number, numBlocks: number, mayJoin: boolean): void {
    const mayBeLeftOut = !mayJoin || this.outlastsCrash(memberOffset, memberOffset + numBlocks);
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
        'the list of bad blocks is full: blocks between two bad blocks are also marked bad until they are written',
      );
      // If other members have these blocks, they will be repaired soon.
      this.repairDamage();
    }
  }

  #list(slot: number, memberOffset: number, numBlocks: number): void {
    const fields = { ...this.logFields(this.slotAt(slot)), block: memberOffset, blocks: numBlocks };
    this.log.error(fields, 'the blocks do not hold the right data: they are marked bad until they are written');
    this.badBlocks.add(slot, memberOffset, numBlocks);
  }

  /** Notes that blocks of the slot's member do not match their checksums. Returns false if that is known already. */
  noteDamage(slot: number, memberOffset: number, numBlocks: number): boolean {
    const { badBlocks } = this;
    if (badBlocks.isKnown(slot, memberOffset, numBlocks)) return false;
    if (badBlocks.canNote) badBlocks.noteDamage(slot, memberOffset, numBlocks);
    else this.#listAnyway(slot, memberOffset, numBlocks);
    return true;
  }

  /** Whether the checksums of blocks `[start, end)` of members will still be valid after a crash. */
  outlastsCrash(start: number, end: number): boolean {
    const { bitmap, blocksTogether, metadata } = this;
    return end <= metadata.recordedSummedBlocks * blocksTogether && bitmap?.isSettled(start, end - start) === true;
  }

  /**
   * Whether these blocks of members have known damage that a crash now would hide, so that it must be recorded, or is being
   * recorded.
   */
  mustRecordDamage(memberOffset: number, numBlocks: number): boolean {
    const { badBlocks, isReadOnly, slots } = this;
    if (badBlocks.isSettled || isReadOnly) return false;
    return slots.some(({ index }) =>
      badBlocks.unrecordedIn(index, memberOffset, numBlocks).some(({ start, end }) => !this.outlastsCrash(start, end)),
    );
  }

  /**
   * Resolves when known damage in these blocks of members, and in blocks that share a checksum with them, is on the list of bad
   * blocks on stable media. If the list is full, only damage that a crash would hide is added, and none if `mayJoin` is false.
   * Rejects if the list cannot be recorded.
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

  repairDamage(): void {
    this.#repair.healDamaged();
  }

  /**
   * Takes a member out after an error. It gets no I/O from now on; writes are acknowledged again once the survivors'
   * superblocks record its absence. Returns false and does nothing if the array cannot do without the member.
   */
  failMember(slotIndex: number, reason: string): boolean {
    const slot = this.slotAt(slotIndex);
    if (!slot.isOperational) return true;
    if (slot.isInSync && slot.lossesToJudge === 0) this.#failThoseWithLosses(slot);
    if (!this.canDoWithout(slot)) return false;
    const fields = this.logFields(slot);
    this.beginLeave(slot, 'failed');
    this.log.error(fields, `the member is failed: ${reason}`);
    this.#host.onMemberFailed(this, slot, reason);
    return true;
  }

  failUnlessInDoubt(slotIndex: number, reason: string): boolean {
    return !this.isIrreplaceable(this.slotAt(slotIndex)) && this.failMember(slotIndex, reason);
  }

  isIrreplaceable({ isInSync }: SlotView): boolean {
    return isInSync && this.module.redundancy === 'parity' && !this.consistency.isAllInSync;
  }

  /**
   * Fails the members that may have lost earlier writes and wait for judgement, if the array can do without them. The member of
   * `than` is about to be failed for less: it still has those writes, and must not go in their place.
   */
  #failThoseWithLosses(than: Slot): void {
    const losers = this.slots.filter((slot) => slot !== than && slot.isInSync && slot.lossesToJudge > 0);
    if (losers.length === 0 || !this.canDoWithout(...losers)) return;
    for (const { index } of losers) this.failMember(index, 'a flush of it failed');
  }

  /** Whether the array can continue without the members of these slots, and without those that may have lost earlier writes. */
  canDoWithout(...slots: readonly SlotView[]): boolean {
    const current = slots.filter(({ isRebuilding }) => !isRebuilding);
    if (current.length === 0) return true;
    const isLeft = (slot: Slot): boolean => slot.isInSync && slot.lossesToJudge === 0 && !current.includes(slot);
    return !this.mustKeepAll && this.canRunWith(isLeft);
  }

  /** Sets the uuid of the array that this array's volume is a member of; null for none that is known. */
  setOuterUuid(outerUuid: string | null): void {
    this.outerUuid = outerUuid;
  }

  noteLostFlush(slot: Slot, status: Status): void {
    if (status === Status.NoSpace) return;
    slot.noteLostFlush();
    this.#lostFlushes++;
    const { bitmap, journal } = this;
    if (bitmap === null) return;
    bitmap.noteLostFlush();
    slot.sums?.onLostFlush();
    // Each copy is independent. With parity, an absent member's data would be reconstructed from what was lost.
    if (this.module.redundancy === 'parity' && this.numInSync < this.numSlots) {
      if (journal?.isInForce === true) journal.onLostFlush();
      // A member that has just left has no entries.
      if (journal?.coversAbsent !== true) this.consistency.doubtUnstable();
    }
    if (this.state === 'online') this.#host.onInconsistent(this);
  }

  redundantSlots(stripe: number): readonly number[] {
    const { level } = this;
    if (level?.redundantSlots === undefined) return [];
    try {
      const slots = level.redundantSlots(stripe);
      checkRedundantSlots(this, stripe, slots);
      return slots;
    } catch (error) {
      this.io.onLevelThrewElsewhere(error);
      throw error;
    }
  }

  onLevelThrew(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.log.error({ ...this.logFields(), err: error }, `level ${this.module.level} threw an exception`);
    this.#host.onLevelThrew(this, `its level ${this.module.level} threw: ${why}`);
  }

  emit(event: RaidEvent): void {
    this.#host.emit(event);
  }

  /**
   * The slot's member gets no more I/O, and no write is acknowledged until its departure is recorded ({@link leaveRecorded}).
   */
  beginLeave(slot: Slot, absence: 'missing' | 'failed'): void {
    this.#membership++;
    slot.leave(absence);
    if (!slot.isRebuilding) this.#barrier.close();
    this.#numOperational--;
  }

  beginFilling(slot: Slot): void {
    this.#membership++;
    slot.beginRebuild();
    this.#numOperational++;
  }

  endFilling(slot: Slot): void {
    slot.leave();
    this.#numOperational--;
  }

  membershipChanged(): void {
    this.#membership++;
  }

  /** No write may begin: the array is not online, or a departure is being recorded. */
  get areWritesHeld(): boolean {
    return this.state !== 'online' || this.#barrier.isClosed;
  }

  /** The superblocks may be out of date. No write is acknowledged until they have been updated; resolves then. */
  recordAgain(): Promise<void> {
    this.#barrier.close();
    return this.#barrier.whenOpen();
  }

  /**
   * Resolves when the superblocks record all departures, so that no member that missed a write can be taken for current.
   * Rejects if that fails.
   */
  leaveRecorded(): Promise<void> {
    return this.#barrier.whenOpen();
  }

  logFields(slot?: Slot): object {
    if (slot === undefined) return { array: this.name };
    return { array: this.name, slot: slot.index, member: slot.name ?? slot.lastMember?.name ?? null };
  }

  /** Waits for repairs in progress. None starts after this. */
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

  /** Resolves when no repair is in progress. */
  repairsIdle(): Promise<void> {
    return this.#repair.whenIdle();
  }

  /** The stripe of the geometry. Throws for a level without redundancy. */
  stripe(): { arrayBlocks: number; memberBlocks: number } {
    const { stripe } = this.geometry;
    if (stripe === undefined) throw new Error(`level ${this.module.level} has no redundancy`);
    return stripe;
  }

  /**
   * Returns the blocks of every member's data area on which these array blocks depend. Without redundancy only the level knows
   * that, so this returns the same fraction of the data areas: processes that cover the whole array cover the whole of both.
   */
  memberRange(start: number, end: number): { from: number; to: number } {
    if (this.geometry.stripe === undefined) return { from: this.#shareOfMembers(start), to: this.#shareOfMembers(end) };
    const { arrayBlocks, memberBlocks } = this.stripe();
    return { from: Math.floor(start / arrayBlocks) * memberBlocks, to: Math.ceil(end / arrayBlocks) * memberBlocks };
  }

  /**
   * Returns the number of blocks at the start of each data area that correspond to this many array blocks, in whole checksums.
   */
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
    return this.slots[index] ?? noSlot(this.name, index);
  }
}

/** This is a function of its own because V8 would otherwise make a string of the number at each call, error or not. */
function noSlot(name: string, index: number): never {
  throw new RangeError(`array ${name} has no slot ${index}`);
}

import { IoType, Status, statusName } from '@raidkit/bdev';
import { RaidError, RegionState, canRun, minOperational } from '@raidkit/core';
import type { CreateArrayOptions, LevelOptions, RaidArray, RaidEvent, RaidModule, SuperblockStore } from '@raidkit/core';
import { Coverage } from '../coverage.js';
import { VolumeModel } from '../model.js';
import type { Violation } from '../model.js';
import type { SimPlan } from '../plan-items.js';
import { Random } from '../random.js';
import { canCheckRedundancy, hasBadBlock, placesTogether } from '../redundancy.js';
import type { Hoard } from '../hoard.js';
import { SimDisk } from '../sim-disk.js';
import type { SimMemory } from '../sim-memory.js';
import { pagedStore, shortListStore } from '../paged-store.js';
import { readTag, sectorBytes } from '../sector.js';
import { hasNoJournal } from '../slots.js';
import { Stack } from '../stack.js';
import type { StackOptions } from '../stack.js';
import { VolumeClient, died, notAsked } from '../volume-client.js';
import { World } from '../world.js';
import { areBadInDoubt, doubt } from './doubt.js';
import { Leniency } from './leniency.js';
import { Standing } from './standing.js';
import { LostEntries } from './lost-entries.js';
import { MetadataLies } from './metadata-lies.js';
import { SumLies } from './sum-lies.js';
import { ViolationError, describeArray, describeError } from './violation.js';

/** What the code under test can do; checks that need more are left out. */
export interface Capabilities {
  /** After an unclean stop redundancy is resynced automatically. */
  resync: boolean;
  /** A device that does not respond is failed automatically. */
  timeouts: boolean;
  /** After a crash, data that was read once stays the same, even if the member that it came from is lost before a resync. */
  settledReads: boolean;
  /**
   * Beyond what redundancy covers, errors occur only where something was in flight, and everything comes to rest afterwards.
   */
  narrow: boolean;
}

/** The capabilities of core. */
export const defaultCapabilities: Capabilities = { resync: true, timeouts: true, settledReads: true, narrow: true };

/** What a run needs besides its plan. */
export interface RunParts {
  module: RaidModule;
  store: SuperblockStore;
  /** Level options, for arrays whose shape is not drawn. Default: none. */
  levelOptions?: LevelOptions;
  /** Capabilities that differ from {@link defaultCapabilities}. */
  capabilities?: Partial<Capabilities>;
}

export const arrayName = 'sim';
/** Virtual milliseconds within which everything must end once faults have stopped. */
export const timeLimitMs = 10 * 60_000;
/** Number of passes over the array that may follow one another: a resync, and rebuilds of two members or more. */
const mostPasses = 4;
/** Size in bytes above which only samples of a volume are read. */
const largeBytes = 32 << 20;
/** Size of a read in bytes, where only written blocks and samples are read. */
const briefBytes = 16 * 1024;
const mostSteps = 3_000_000;
/** Milliseconds after which `raidkitd` starts an array without absent members. */
export const daemonWaitMs = 30_000;
const longestMs = 24 * 3600_000;

/**
 * A simulated array with its disks, its users and the model of what they may read: its present state and what is known of it.
 * The files beside this one have what happens to it.
 */
export class SimRun {
  readonly module: RaidModule;
  readonly can: Capabilities;
  readonly plan: SimPlan;
  readonly memory: SimMemory;
  readonly world: World;
  readonly random: Random;
  readonly model = new VolumeModel();
  readonly coverage = new Coverage();
  readonly disks: SimDisk[];
  readonly standing: Standing;
  readonly leniency: Leniency;
  readonly sumLies: SumLies;
  readonly metadataLies: MetadataLies;
  readonly lostEntries: LostEntries;
  /** Disks that have dropped their caches while they were members, since the process began. */
  readonly haveDropped = new Set<SimDisk>();
  /** Blocks of a slot's data area that were found not to match their checksums, without redundancy, and when. */
  readonly #damage: { slot: number; from: number; to: number; at: number }[] = [];
  /** Snapshots of disks from earlier times. */
  readonly snapshots = new Map<SimDisk, SimDisk['media']>();
  /** Holds nearly all buffers during a shortage; null if there is none. */
  hoard: Hoard | null = null;
  /** Images of all disks from an earlier time: when the array was made, or at a rest. */
  images = new Map<SimDisk, SimDisk['media']>();
  /** The process; null while there is none. */
  stack: Stack | null = null;
  /** The volume; null while there is none. */
  volume: VolumeClient | null = null;
  /** Errors are allowed, because more is broken than redundancy covers. */
  isTolerant = false;
  /** A disk was corrupted silently, so members may differ. */
  hasLied = false;
  /**
   * Redundancy is inconsistent somewhere because disks were corrupted, and it cannot be told which is right: after a crash it
   * is not trusted there.
   */
  isUndecided = false;
  /** There are no more faults. */
  isCalm = false;
  isStopping = false;
  /** The array has stopped uncleanly at some time. */
  wasUnclean = false;
  /** Another program has run the array at some time. */
  wasForeign = false;
  /** The array rightly refuses to start. */
  isRefused = false;
  /** The plan to run instead, because this one does not fit the level's geometry; null if it does. */
  otherPlan: SimPlan | null = null;
  /** A device has failed during a start, so the array need not start before the device works again. */
  hasFaultInStart = false;
  /** The disk that has lost the write of a header without an error; null if none has. */
  lostHeader: SimDisk | null = null;
  violation: string | null = null;
  /** Pending requests and calls, by description. */
  readonly open = new Set<string>();
  /** Called with its members when an array without superblocks goes offline, since it does not come back by itself. */
  onGone: (members: readonly (string | null)[]) => Promise<void> = () => Promise.resolve();
  /** All volumes of this process: one that was removed may still have pending requests. */
  readonly #volumes: VolumeClient[] = [];
  readonly store: SuperblockStore;
  /** Number of checks on copies so far. */
  numProbes = 0;
  /** Users are held while the simulation checks the state. */
  areUsersHeld = false;
  /** Virtual time for which users were held: everything planned for later is delayed by this. */
  heldMs = 0;
  #slots: readonly (string | undefined)[] = [];
  #whenUp: (() => void)[] = [];
  /** Virtual times at which the process began and the array last came online. */
  #bootedAt = 0;
  #onlineAt = 0;
  /** Largest size that the volume has had, in blocks. */
  #mostBlocks = 0;
  /** The size with which the array was created, in blocks. */
  firstBlocks = 0;
  /** Number of unwritten regions at a user's last request; a growth adds some. */
  #unwritten = { of: 0, count: 0 };

  constructor({ module, store, capabilities }: RunParts, plan: SimPlan, memory: SimMemory) {
    this.module = module;
    const { lacking, regionsPerPage } = plan.shape;
    const paged = regionsPerPage === undefined ? store : pagedStore(store, regionsPerPage);
    const mostBadRanges = plan.shape.integrity?.mostBadRanges;
    this.store = mostBadRanges === undefined ? paged : shortListStore(paged, mostBadRanges);
    this.can = { ...defaultCapabilities, ...capabilities };
    this.plan = plan;
    if (plan.shape.kind !== undefined) this.coverage.mark(`shape: ${plan.shape.kind}`);
    if (plan.shape.regions !== undefined) this.coverage.mark('shape: groups of regions');
    if (regionsPerPage !== undefined) this.coverage.mark('shape: several pages');
    if (lacking !== undefined) this.coverage.mark('shape: plain devices');
    this.memory = memory;
    this.world = new World(plan.seed);
    this.random = new Random(plan.seed, 2);
    this.standing = new Standing(this);
    this.leniency = new Leniency(this);
    this.sumLies = new SumLies(this);
    this.metadataLies = new MetadataLies(this);
    this.lostEntries = new LostEntries(this);
    if (plan.shape.integrity !== undefined) this.coverage.mark('shape: checksums');
    const { blockSize, hasWriteCache, hasForceUnitAccess, latencies, memberBlocks } = plan.shape;
    // Without a bitmap, or for a program that does not read it, unwritten blocks hold whatever was there.
    const isZero = !this.hasMap || plan.items.some(({ kind }) => kind === 'foreign');
    const fill = isZero ? 0 : 0xdb;
    this.disks = memberBlocks.map((numBlocks, index) => {
      const latency = latencies[index] ?? { leastMs: 0.1, meanMs: 0.1 };
      const uuid = `00000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`;
      const name = `d${index}`;
      const random = new Random(plan.seed, 10 + index);
      const disk = new SimDisk(this.world, random, {
        name,
        uuid,
        blockSize,
        numBlocks,
        latency,
        hasWriteCache,
        hasForceUnitAccess,
        lacking: lacking?.[index] ?? [],
        fill,
      });
      disk.onDrop = () => this.#onDrop(disk);
      disk.onLostFlush = () => this.#onLostFlush(disk);
      return disk;
    });
  }

  /** Runs the course to its end or to the first violation. Never rejects. */
  async go(course: (run: SimRun) => Promise<void>): Promise<void> {
    let isOver = false;
    course(this).then(
      () => {
        isOver = true;
      },
      (error: unknown) => this.broken(error),
    );
    const end = await this.world.run(() => isOver || this.violation !== null, { maxMs: longestMs, maxSteps: mostSteps });
    if (end === 'failed') this.violation ??= describeError(this.world.failure);
    else if (end !== 'done') this.violation ??= `G9: nothing happens any more (${end}); waiting: ${[...this.open].join(', ')}`;
    this.stack?.die();
    for (const volume of this.#volumes) volume.die();
  }

  /**
   * The disk has dropped writes that it should have flushed. If the array can do without it, it is failed and the others have
   * everything, unless the process dies or the array goes offline before they record that.
   */
  #onDrop(disk: SimDisk): void {
    const array = this.array();
    const slot = array?.slots.find(({ name }) => name === disk.name);
    if (array === undefined || slot?.isConfigured !== true) return;
    this.mark('cache dropped at a flush');
    this.world.trace(`== ${disk.name} drops its cache`);
    if (slot.isRebuilding || slot.isRemoving) return;
    this.haveDropped.add(disk);
    if (this.isRedundant && array.state === 'online' && this.#canRunWithout(disk, array)) return;
    this.model.dropped();
    this.leniency.forgiveJournaled();
  }

  /** Handles a flush, or a write with FUA, that the disk has failed. */
  #onLostFlush(disk: SimDisk): void {
    const array = this.array();
    const slot = array?.slots.find(({ name }) => name === disk.name);
    if (array?.state !== 'online' || slot?.isInSync !== true || this.#canRunWithout(disk, array)) return;
    this.leniency.forgiveLostFlush();
  }

  /** Whether the other members in sync have all data. */
  #canRunWithout(disk: SimDisk, { slots }: RaidArray): boolean {
    return this.canRunWith(
      this.disks.filter((other) => other !== disk && slots.some(({ name, isInSync }) => isInSync && name === other.name)),
    );
  }

  /** Whether a disk has failed a flush, or a write with FUA, since the process began. */
  get hasLostFlush(): boolean {
    return this.disks.some(({ lastFlushErrorAt }) => lastFlushErrorAt >= this.#bootedAt);
  }

  /** Whether a disk has dropped its cache in this process and is still recorded as a member. */
  get hasUnrecordedDrop(): boolean {
    return [...this.haveDropped].some((disk) => !this.standing.recordedOut.has(disk));
  }

  broken(error: unknown): void {
    this.violation ??= describeError(error);
  }

  get isRedundant(): boolean {
    return this.module.redundancy !== 'none';
  }

  /** Whether an absent member's contents are reconstructed, from redundancy that may be in doubt. */
  get isParity(): boolean {
    return this.module.redundancy === 'parity';
  }

  /** Whether all data is present with these members. */
  canRunWith(members: readonly SimDisk[]): boolean {
    const slots = this.#membersBySlot();
    const hasRule = this.module.redundancy !== 'none' && this.module.canRun !== undefined;
    if (!hasRule || slots.length === 0) return members.length >= this.least;
    const missing = [...slots.keys()].filter((index) => !members.some(({ name }) => name === slots[index]));
    return canRun(this.module, slots.length, missing, this.recordedOptions);
  }

  /** Present or last member of each slot; while the array is unknown, as when the previous process ended. */
  #membersBySlot(): readonly (string | undefined)[] {
    return this.array()?.slots.map(({ name, lastMember }) => name ?? lastMember?.name) ?? this.#slots;
  }

  /** Number of slots; while the array is unknown, as when the previous process ended. */
  get numSlots(): number {
    return this.array()?.numSlots ?? (this.#slots.length > 0 ? this.#slots.length : this.plan.shape.numSlots);
  }

  /** Level options as recorded at the array's creation. */
  get recordedOptions(): LevelOptions {
    const { levelOptions = {}, numSlots } = this.plan.shape;
    return this.module.completeOptions?.(numSlots, levelOptions) ?? levelOptions;
  }

  /** Minimum number of members with which all data is present. */
  get least(): number {
    return minOperational(this.module, this.numSlots, this.recordedOptions);
  }

  disk(index: number): SimDisk {
    const disk = this.disks[index];
    if (disk === undefined) throw new RangeError(`there is no disk ${index}`);
    return disk;
  }

  array(): RaidArray | undefined {
    return this.stack?.arrays.get(arrayName);
  }

  // Processes, and the volume in them.

  /** Starts a new process. */
  boot(): Stack {
    this.#bootedAt = this.world.now;
    this.haveDropped.clear();
    this.lostEntries.booted();
    const stack = new Stack(
      this.world,
      this.memory,
      this.module,
      this.store,
      (event) => this.#onEvent(event),
      this.stackOptions,
    );
    const { maxBandwidthMbSec = 0, windowSizeKb } = this.plan.shape;
    stack.arrays.setProcessOptions({ maxBandwidthMbSec, windowSizeKb });
    this.stack = stack;
    return stack;
  }

  /** Options that the composing program chooses. */
  get stackOptions(): StackOptions {
    const { integrity, kind, regions = {} } = this.plan.shape;
    const sums = integrity === undefined ? {} : { checksumCacheBytes: integrity.cachePages * 4096 };
    // A quarter of the seeds routes no reads, and a fifth gathers no writes, to show that the results are the same.
    const routesReads = this.plan.seed % 4 !== 0;
    const gathersWrites = this.plan.seed % 5 !== 0;
    return {
      regions,
      ...sums,
      routesReads,
      gathersWrites,
      ...(kind === 'daemon' ? { assembly: { degradedStartMs: daemonWaitMs } } : {}),
    };
  }

  /** Options with which the array is created. */
  creation(): CreateArrayOptions {
    const { integrity, levelOptions = {}, numSlots, stripSizeKb } = this.plan.shape;
    const baseBdevs = this.disks.slice(0, numSlots).map(({ name }) => name);
    const strip = stripSizeKb > 0 ? { stripSizeKb } : {};
    return {
      name: arrayName,
      level: this.module.level,
      baseBdevs,
      superblock: this.hasSuperblock,
      integrity: integrity !== undefined && integrity.isLater !== true,
      options: levelOptions,
      ...strip,
    };
  }

  /** Remembers which disk each slot has or had, for when the array is not there. */
  rememberSlots(): void {
    this.#slots = this.#membersBySlot();
  }

  /** Ends the process: nothing that was requested of it completes any more. */
  bury(): void {
    this.rememberSlots();
    this.stack?.die();
    this.stack = null;
    this.hoard = null;
    for (const volume of this.#volumes.splice(0)) volume.die();
    this.volume = null;
    this.open.clear();
    this.model.readsForgotten();
  }

  /** Resolves with the volume as soon as it exists. */
  async up(): Promise<VolumeClient> {
    while (this.volume === null) await new Promise<void>((resolve) => this.#whenUp.push(resolve));
    return this.volume;
  }

  /** Resolves with the volume as soon as it exists and users are not held. */
  async upForUsers(): Promise<VolumeClient> {
    while (this.areUsersHeld) await this.world.sleep(100);
    return this.up();
  }

  #onEvent(event: RaidEvent): void {
    const states = this.array()?.bitmap?.states.subarray(0, 64).join('') ?? 'none';
    this.world.trace(`-- ${Object.values(event).join(' ')} (regions ${states})`);
    this.coverage.mark(`event ${event.type}`);
    const most = this.plan.shape.integrity?.mostBadRanges ?? Infinity;
    if ((this.array()?.badBlocks.size ?? 0) >= most) this.coverage.mark('the list of bad blocks is full');
    if (event.type === 'processFinished' && event.process === 'sum')
      this.coverage.mark(event.error === null ? 'all has been given checksums' : 'giving checksums is cut short');
    if (event.type === 'arrayResized' && this.plan.shape.integrity !== undefined) this.coverage.mark('growth with checksums');
    switch (event.type) {
      case 'arrayOnline':
        this.#noteSize();
        this.#onOnline();
        break;
      case 'arrayResized':
        this.#noteSize();
        this.standing.refresh();
        break;
      case 'checksumError': {
        const from = event.block - (this.array()?.slots[event.slot]?.dataOffset ?? 0);
        this.sumLies.found(event.member, from, from + event.blocks);
        if (this.isRedundant) break;
        this.#damage.push({ slot: event.slot, from, to: from + event.blocks, at: this.world.now });
        break;
      }
      case 'arrayOffline':
        // An array that can lose no member ends as in a crash when one vanishes, and comes back in the same process.
        if (!this.isRedundant && !event.isOrderly) this.sumLies.ended(this.array(), false);
        // The others then have no record that the disk which dropped its cache is removed.
        if (!event.isOrderly && this.hasUnrecordedDrop) this.model.dropped();
        if (!this.hasSuperblock && !this.isStopping)
          void this.onGone(this.array()?.slots.map(({ name }) => name) ?? []).catch((error: unknown) => this.broken(error));
        break;
      case 'memberRemoved':
      case 'memberFailed': {
        const disk = this.disks.find(({ name }) => name === event.member);
        if (disk !== undefined) this.standing.recordedOut.add(disk);
        this.standing.refresh();
        break;
      }
      case 'processFinished':
        // The new member counts once metadata records it, which is when the process with all its consequences has ended.
        void this.array()?.processEnded.then(() => this.standing.noteCurrent());
        break;
      default:
        this.standing.refresh();
    }
  }

  /** When an array without redundancy grows into space that checksums have used, that space does not read as zeros. */
  #noteSize(): void {
    const { blockSize = sectorBytes, numBlocks = 0 } = this.array() ?? {};
    const before = this.#mostBlocks;
    this.#mostBlocks = Math.max(before, numBlocks);
    if (before === 0) this.firstBlocks = numBlocks;
    if (this.isRedundant || this.plan.shape.integrity === undefined || before === 0 || numBlocks <= before) return;
    const perBlock = blockSize / sectorBytes;
    this.coverage.mark('growth to where checksums were');
    this.model.doubtValues(before * perBlock, (numBlocks - before) * perBlock);
  }

  #onOnline(): void {
    const { stack } = this;
    if (stack === null || this.volume !== null) return;
    // An array that was started again knows nothing of failed flushes: what they covered may be lost, whatever it reports.
    const wasNeeded = !this.isRedundant || this.leniency.wasBeyond;
    if (wasNeeded && this.disks.some(({ lastWriteErrorAt }) => lastWriteErrorAt >= this.#onlineAt)) this.model.doubt();
    this.leniency.startAgain();
    this.#onlineAt = this.world.now;
    this.metadataLies.writtenAnew(this.#bootedAt);
    this.standing.reset();
    const descriptor = stack.registry.open(arrayName, {
      writable: true,
      onEvent: (event) => {
        if (event.type !== 'remove') return;
        volume.close();
        if (this.volume === volume) this.volume = null;
      },
    });
    const onViolation = (violation: Violation, what: string): void => this.wrongRead(violation, what);
    const volume = new VolumeClient(this.world, stack.registry, descriptor, this.model, () => this.#mayHold(), onViolation);
    volume.hoardOf = () => (this.stack === stack ? this.hoard : null);
    this.volume = volume;
    this.#volumes.push(volume);
    const waiting = this.#whenUp;
    this.#whenUp = [];
    for (const resolve of waiting) resolve();
  }

  // Requests and calls.

  /** Sends a user's request, and checks what it reads and whether it may fail. */
  async io(volume: VolumeClient, type: IoType, offset: number, numBlocks: number, flags = 0): Promise<void> {
    const what = `${['read', 'write', 'unmap', 'flush', 'zero'][type] ?? 'io'} ${offset}+${numBlocks} (asked at ${this.world.now.toFixed(3)})`;
    this.open.add(what);
    this.#watchUnwritten();
    const askedAt = this.world.now;
    const isWrite = type !== IoType.Read && type !== IoType.Flush;
    if (isWrite) this.lostEntries.beforeWrite();
    if (isWrite) this.#noteWrite(offset, numBlocks);
    if (isWrite && type !== IoType.Unmap) this.sumLies.writes(offset, numBlocks);
    const wasBad = this.#mayBeBad(offset, numBlocks);
    const status = await volume.submit(type, offset, numBlocks, flags);
    this.open.delete(what);
    if (isWrite) this.#noteWrite(offset, numBlocks);
    if (isWrite) this.sumLies.wrote(offset, numBlocks, status === Status.Ok && type !== IoType.Unmap);
    if (status === Status.Ok && type !== IoType.Flush) this.sumLies.answered(offset, numBlocks);
    if (status === Status.Ok || status === died || status === notAsked) return;
    this.coverage.mark(`io error ${statusName(status)}`);
    // Without a journal such a write may leave a stripe of which the absent member's blocks cannot be told.
    const array = this.array();
    if (isWrite && hasNoJournal(this.module) && array !== undefined && array.numInSync < array.numSlots)
      this.leniency.forgive(offset, offset + numBlocks);
    if (this.isTolerant || this.isStopping || volume !== this.volume) return;
    // The array reports a member that has left only when that is on record.
    this.standing.noteLoss();
    if (this.leniency.mayFail(offset, numBlocks, askedAt)) return;
    // A full member that the array cannot do without takes no record either, and without one nothing that changes is acknowledged.
    if (type !== IoType.Read && this.#needsFullMember()) return;
    // A write meanwhile may have removed them from the list.
    const isBad = wasBad || this.#mayBeBad(offset, numBlocks) || this.#wasDamaged(offset, numBlocks, askedAt);
    if (type !== IoType.Flush && (isBad || this.#mayBeUndecided(offset, numBlocks))) return;
    // Without a bitmap parity is never trusted, so a write that must read first has no alternative source.
    if (isWrite && this.array()?.bitmap === null && this.disks.some(({ lastErrorAt }) => lastErrorAt >= askedAt)) return;
    if (!this.isRedundant && this.disks.some(({ isPresent, lastErrorAt }) => !isPresent || lastErrorAt >= askedAt)) return;
    // A flush that failed cannot be made up for: later ones fail, too, until the array is started anew. A write that failed can.
    const isForStableMedia = type === IoType.Flush || flags !== 0;
    const mayNeverFlush = isForStableMedia && this.hasLostFlush;
    if (mayNeverFlush && (this.leniency.wasBeyond || !this.isRedundant)) return;
    // Nor does the journal use an entry's place again: once none is left, writes that need an entry fail.
    const needsEntry = isWrite && this.isParity && (this.array()?.numInSync ?? 0) < this.numSlots;
    if (needsEntry && this.hasLostFlush && this.leniency.wasBeyond) return;
    // A member that lost a flush during a start is needed until redundancy is in sync.
    const isInDoubt = this.isParity && (this.array()?.bitmap?.regionsToResync ?? 0) > 0;
    if (mayNeverFlush && isInDoubt) return;
    throw new ViolationError(
      `G8: ${what} was answered ${statusName(status)} with ${this.standing.good.size} good members of ${this.numSlots}`,
    );
  }

  #needsFullMember(): boolean {
    const array = this.array();
    if (!this.isRedundant || array === undefined || array.canLose > 0) return false;
    return array.slots.some(
      ({ isInSync, name }) => isInSync && this.disks.some((disk) => disk.name === name && disk.faults.isFull),
    );
  }

  /** Records that data of the disk is wrong. `isLost`: it is the old data. */
  dataLied(disk: SimDisk, firstSector: number, numSectors: number, isLost: boolean): void {
    if (this.plan.shape.integrity !== undefined) this.sumLies.lied(disk, firstSector, numSectors, isLost);
    else if (this.isRedundant) doubt(this, disk, firstSector, numSectors);
  }

  #noteWrite(offset: number, numBlocks: number): void {
    this.leniency.noteWrite(offset, numBlocks);
    this.sumLies.noteWrite(offset, numBlocks);
  }

  /** Whether blocks may be listed as bad. Without redundancy a device's failed read or lost write is a reason. */
  get mayListBad(): boolean {
    if (this.leniency.hasForgiven || areBadInDoubt(this)) return true;
    return !this.isRedundant && this.disks.some(({ lastErrorAt }) => lastErrorAt >= 0);
  }

  /** Whether the array lists bad blocks in these stripes with good reason, so that errors are allowed there. */
  #mayBeBad(offset: number, numBlocks: number): boolean {
    const array = this.array();
    return this.mayListBad && array !== undefined && hasBadBlock(array, offset, numBlocks);
  }

  /** Whether these blocks were found damaged since then, without redundancy and with good reason. */
  #wasDamaged(offset: number, numBlocks: number, since: number): boolean {
    const array = this.array();
    const found = this.#damage.filter(({ at }) => at >= since);
    if (found.length === 0 || array === undefined || !this.mayListBad) return false;
    const places = placesTogether(array, offset, numBlocks);
    return places.some((place) =>
      found.some(({ from, slot, to }) => slot === place.slot && from < place.to && place.from < to),
    );
  }

  /** Whether disks were corrupted in these stripes: of several parities that disagree after a crash none is trusted. */
  #mayBeUndecided(offset: number, numBlocks: number): boolean {
    const array = this.array();
    if (!this.hasLied || !this.isParity || array === undefined || canCheckRedundancy(array)) return false;
    const perBlock = array.blockSize / sectorBytes;
    return this.model.isDoubted(offset * perBlock, numBlocks * perBlock);
  }

  #watchUnwritten(): void {
    const { bitmap } = this.array() ?? { bitmap: null };
    const seen = { of: bitmap?.states.length ?? 0, count: bitmap?.count(RegionState.Unwritten) ?? 0 };
    if (seen.of === this.#unwritten.of && seen.count > this.#unwritten.count) this.mark('regions became unwritten');
    this.#unwritten = seen;
  }

  async readAll(when: string): Promise<void> {
    const volume = await this.up();
    this.world.trace(`== read all ${when}`);
    for (const { offset, count } of this.toRead(volume)) {
      if (volume !== this.volume) return;
      await this.io(volume, IoType.Read, offset, count);
    }
  }

  /** Ranges to read to check the volume: all of it or, if it is large, what was ever written, its ends, and samples. */
  toRead(volume: VolumeClient, isBrief = false): { offset: number; count: number }[] {
    const { blockSize, numBlocks } = volume;
    const most = Math.min(volume.mostBlocks, (isBrief ? briefBytes : 64 * 1024) / blockSize);
    const pieces = new Set<number>();
    if (!isBrief && numBlocks * blockSize <= largeBytes) {
      for (let at = 0; at < numBlocks; at += most) pieces.add(at);
    } else {
      for (let share = 0; share <= 8; share++) pieces.add(Math.floor(((numBlocks - 1) * share) / 8 / most) * most);
      const perPiece = most * (blockSize / sectorBytes);
      for (const sector of this.model.touched) pieces.add(Math.floor(sector / perPiece) * most);
    }
    return [...pieces].filter((at) => at < numBlocks).map((offset) => ({ offset, count: Math.min(most, numBlocks - offset) }));
  }

  /** Makes a control call. It must end; an error of the array's own is a valid result. */
  async call(what: string, promise: Promise<unknown>, then?: () => void): Promise<void> {
    const { stack } = this;
    this.open.add(what);
    try {
      await promise;
      if (stack === this.stack) then?.();
    } catch (error) {
      if (!RaidError.is(error)) this.violation ??= `${what}: ${describeError(error)}`;
      else this.world.trace(`== ${what}: ${error.message}`);
    } finally {
      this.open.delete(what);
    }
  }

  /**
   * Virtual milliseconds within which everything must end by now: an operator or the plan may have limited processes to a
   * bandwidth at which a pass over a large array takes longer than all else.
   */
  get timeLimitMs(): number {
    const { blockSize = 0, numBlocks = 0 } = this.array() ?? {};
    const mbSec = this.stack?.arrays.processOptions.maxBandwidthMbSec ?? 0;
    const passMs = mbSec > 0 ? (numBlocks * blockSize * 1000) / (mbSec * (1 << 20)) : 0;
    return timeLimitMs + mostPasses * passMs;
  }

  /** Waits for something that must end in bounded time. */
  async inTime<T>(what: string, promise: Promise<T>): Promise<T> {
    const { stack } = this;
    const limitMs = this.timeLimitMs;
    const timer = this.world.after(limitMs, () => {
      // The process that should have done it is dead.
      if (this.stack !== stack) return;
      const array = this.array();
      this.violation ??= `G9: ${what} takes more than ${limitMs / 1000} s; waiting: ${[...this.open].join(', ')}; array ${array === undefined ? 'gone' : describeArray(array)}`;
    });
    try {
      return await promise;
    } finally {
      this.world.cancel(timer);
    }
  }

  /** Takes images of all disks. */
  takeImages(): void {
    this.images = new Map(this.isOneMember ? [] : this.disks.map((disk) => [disk, disk.media.clone()]));
  }

  /** Takes a snapshot of the disk, as which it may come back later. */
  takeSnapshot(disk: SimDisk): void {
    if (!this.isOneMember) this.snapshots.set(disk, disk.media.clone());
  }

  /**
   * Whether the array has a single member: an image of it would be a complete array, which starts if it is found first,
   * undetectably.
   */
  get isOneMember(): boolean {
    return this.array()?.numSlots === 1;
  }

  /** Counts an occurrence together with the array's present state. */
  mark(what: string): void {
    this.coverage.mark(`${what} / ${this.#state()}`);
  }

  #state(): string {
    const array = this.array();
    if (array === undefined) return 'down';
    if (array.state !== 'online') return array.state;
    if (array.process !== null) return array.process.type;
    return array.numInSync < array.numSlots ? 'degraded' : 'optimal';
  }

  get hasSuperblock(): boolean {
    return this.plan.shape.kind !== 'no superblock';
  }

  /** Whether the array has a bitmap, which makes unwritten blocks read as zeros. */
  get hasMap(): boolean {
    return this.module.redundancy !== 'none' && this.hasSuperblock && this.store.extension !== undefined;
  }

  /** Size of the area before the data on a disk, in bytes. */
  get reservedBytes(): number {
    return this.hasSuperblock ? this.store.reservedBytes : 0;
  }

  /** Whether a sector keeps the value that a read has returned. */
  #mayHold(): boolean {
    return this.can.settledReads || (this.array()?.bitmap?.regionsToResync ?? 0) === 0;
  }

  wrongRead({ sector, found, allowed }: Violation, what: string): void {
    this.#traceCopies(sector);
    const rule = found < 0 ? 'G2' : 'G1/G3';
    this.violation ??= `${rule}: ${what}: sector ${sector} holds ${found < 0 ? 'what was never written' : `tag ${found}`}, allowed are ${allowed.join(', ')}`;
  }

  /** Traces what each member of a mirror holds there, for people. */
  #traceCopies(sector: number): void {
    const array = this.array();
    if (array?.module.redundancy !== 'copies') return;
    for (const slot of array.slots) {
      const disk = this.disks.find(({ name }) => name === slot.name);
      if (disk === undefined) continue;
      const bytes = new Uint8Array(sectorBytes);
      disk.media.read(bytes, 0, slot.dataOffset * disk.blockSize + sector * sectorBytes, sectorBytes);
      const tag = readTag(new Int32Array(bytes.buffer), 0, sector);
      this.world.trace(`slot ${slot.index} (${disk.name}${slot.isInSync ? '' : ', not current'}) holds ${tag}`);
    }
  }
}

import { IoFlag, IoType, Status, statusName } from '@raidkit/bdev';
import type { Bdev, BdevDriver, BdevIo, BdevRegistry, JsonObject, Logger, TimerHandle } from '@raidkit/bdev';
import { AckGate } from './ack-gate.js';
import { DoubtfulRanges } from './doubtful-ranges.js';
import { describeArray, describeConfig } from './info.js';
import { MetadataWriter } from './metadata.js';
import { minOperational } from './module-registry.js';
import type { RaidGeometry, RaidLevel, RaidModule, RaidView } from './module.js';
import type { ProcessRecord, RaidProcess } from './process.js';
import type { RaidIo, RaidIoPool } from './raid-io.js';
import { RegionState } from './regions.js';
import type { RegionMap } from './regions.js';
import { MemberRepair } from './repair.js';
import { Slot } from './slot.js';
import { nullUuid } from './store.js';
import type { ExtensionStore, SuperblockStore } from './store.js';

/** Where an array is in its life. */
export type RaidState = 'configuring' | 'online' | 'offline';

/** What makes an array, apart from its members. */
export interface RaidArrayOptions {
  name: string;
  /** The null uuid: one is made when the array comes online. */
  uuid: string;
  module: RaidModule;
  stripSizeKb: number;
  slotNames: readonly (string | null)[];
  /** Null: an array without superblocks. */
  store: SuperblockStore | null;
  levelOptions: Readonly<Record<string, unknown>>;
}

/** What an array tells those who composed it. */
export interface RaidArrayHost {
  readonly registry: BdevRegistry;
  readonly ios: RaidIoPool;
  /** A member is leaving for a reason of the array's own: bring it to its end. */
  onMemberFailed(array: RaidArray, slot: Slot, reason: string): void;
}

/**
 * One array: its slots, its state, and the way of an I/O from the bdev layer through the level to the members. As a
 * {@link BdevDriver} it is what stands behind the volume's bdev. Who may join and leave is decided in `RaidArrays`.
 */
export class RaidArray implements BdevDriver, RaidView {
  readonly productName = 'Raid Volume';
  readonly hasForceUnitAccess = true;
  readonly name: string;
  uuid: string;
  readonly module: RaidModule;
  readonly stripSizeKb: number;
  readonly options: Readonly<Record<string, unknown>>;
  readonly slots: Slot[];
  readonly metadata: MetadataWriter;
  readonly store: SuperblockStore | null;
  readonly minOperational: number;
  state: RaidState = 'configuring';
  /** 0 until the first member is there. */
  blockSize = 0;
  /** Members with which the array is complete enough to start; while online, members that it has. */
  numOperational: number;
  level: RaidLevel | null = null;
  /** The volume's bdev while online. */
  bdev: Bdev | null = null;
  process: RaidProcess | null = null;
  isDeleting = false;
  /** Made from superblocks, so its members are known by uuid, not by name. */
  isAssembled = false;
  /** Grows whenever a member leaves, joins, or becomes current. */
  membership = 0;
  /** Why the array cannot start, for people; null if nothing is known to be wrong. */
  trouble: string | null = null;
  /** What is known of the array's regions; null for an array that keeps no map. */
  regions: RegionMap | null = null;
  /** The array's size as its superblock has it; null for a new array. Blocks. */
  recordedBlocks: number | null = null;
  /** Being brought online: members and superblocks are settled, the volume is not there yet. */
  isStarting = false;
  /** Uuids of members that appeared while the array was being started without them. */
  readonly latecomers = new Set<string>();
  /** Resolves when the start that is under way has ended, well or not. */
  startEnded: Promise<void> = Promise.resolve();
  /** Resolves when the running process, if any, has ended and what it leads to is done. */
  processEnded: Promise<void> = Promise.resolve();
  /** The last processes, newest first. */
  readonly history: ProcessRecord[] = [];
  /** Growth under way; one follows another. */
  resizing: Promise<void> = Promise.resolve();
  /** A resync is due at its end. */
  resyncTimer: TimerHandle | null = null;
  /** Set once the volume is being taken away. */
  goneOffline: Promise<void> | null = null;

  readonly #host: RaidArrayHost;
  readonly #doubtful = new DoubtfulRanges();
  readonly #gate: AckGate;
  readonly #repair: MemberRepair;

  constructor(options: RaidArrayOptions, host: RaidArrayHost) {
    this.name = options.name;
    this.uuid = options.uuid;
    this.module = options.module;
    this.stripSizeKb = options.stripSizeKb;
    this.options = options.levelOptions;
    this.store = options.store;
    this.slots = options.slotNames.map((name, index) => new Slot(index, name));
    this.numOperational = this.slots.length;
    this.minOperational = minOperational(options.module, this.slots.length);
    this.#host = host;
    this.metadata = new MetadataWriter(this, options.store);
    this.#gate = new AckGate(this);
    this.#repair = new MemberRepair(this);
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

  get memory(): BdevRegistry['runtime']['memory'] {
    return this.registry.runtime.memory;
  }

  get numSlots(): number {
    return this.slots.length;
  }

  /** Where the region map is kept; undefined for an array without one. */
  get extension(): ExtensionStore | undefined {
    return this.regions === null ? undefined : this.store?.extension;
  }

  /** Members that are there, targets of a rebuild included. */
  get numDiscovered(): number {
    return this.slots.filter((slot) => slot.isConfigured && !slot.isLeaving).length;
  }

  /** Members that hold the array's data. */
  get numCurrent(): number {
    return this.slots.filter((slot) => slot.isCurrent).length;
  }

  get hasUuid(): boolean {
    return this.uuid !== nullUuid;
  }

  get stripSizeBlocks(): number {
    return this.blockSize === 0 ? 0 : (this.stripSizeKb * 1024) / this.blockSize;
  }

  get numBlocks(): number {
    return this.level?.geometry.numBlocks ?? 0;
  }

  // What the level sees.

  memberCapacity(slot: number): number {
    const { dataSize } = this.#slot(slot);
    if (dataSize > 0) return dataSize;
    return Math.min(...this.slots.map((other) => other.dataSize).filter((size) => size > 0));
  }

  outstandingReadBlocks(slot: number): number {
    return this.#slot(slot).readBlocksInFlight;
  }

  isCurrent(slot: number): boolean {
    return this.#slot(slot).isCurrent;
  }

  isInSync(memberOffset: number, numBlocks: number): boolean {
    return this.regions !== null && !this.isSuspect(memberOffset, numBlocks);
  }

  isSuspect(memberOffset: number, numBlocks: number): boolean {
    if (this.#doubtful.overlaps(memberOffset, memberOffset + numBlocks)) return true;
    return this.regions?.has(RegionState.Suspect, memberOffset, numBlocks) ?? false;
  }

  distrust(memberOffset: number, numBlocks: number): void {
    this.#doubtful.add(memberOffset, memberOffset + numBlocks);
    this.regions?.hold(memberOffset, numBlocks);
    this.log.error({ ...this.logFields(), block: memberOffset, blocks: numBlocks }, 'a write failed on more members than can be lost: redundancy is doubted here');
  }

  trust(memberOffset: number, numBlocks: number): void {
    this.#doubtful.remove(memberOffset, memberOffset + numBlocks);
  }

  requestRepair(slot: number, memberOffsetBlocks: number, numBlocks: number): void {
    this.#repair.request(slot, memberOffsetBlocks, numBlocks);
  }

  // The bdev driver.

  supports(type: IoType): boolean {
    if (type === IoType.Unmap || type === IoType.WriteZeroes) {
      if (this.level?.submitNullPayloadRequest === undefined) return false;
      // With redundancy, unmapping is writing zeroes that may deallocate: every member must read the same afterwards.
      if (type === IoType.Unmap && this.module.manifest.redundant) return this.#allSupport(IoType.WriteZeroes);
    }
    return this.#allSupport(type);
  }

  submit(parent: BdevIo): void {
    if (parent.type === IoType.Reset) {
      parent.complete(Status.Ok);
      return;
    }
    const boundary = this.#rebuiltBlocks();
    const end = parent.offsetBlocks + parent.numBlocks;
    if (parent.type !== IoType.Flush && boundary > parent.offsetBlocks && boundary < end) {
      parent.driverTag = 2;
      this.#startPart(parent, boundary, end - boundary);
      this.#startPart(parent, parent.offsetBlocks, boundary - parent.offsetBlocks);
      return;
    }
    parent.driverTag = 1;
    this.#startPart(parent, parent.offsetBlocks, parent.numBlocks);
  }

  driverSpecific(): JsonObject {
    return { raid: Object.fromEntries(Object.entries(describeArray(this)).filter(([key]) => key !== 'name')) };
  }

  configCall(): { method: string; params: JsonObject } | null {
    return describeConfig(this);
  }

  // The level's side of an I/O, through RaidIo.

  isMemberFor(io: RaidIo, slotIndex: number): boolean {
    const slot = this.#slot(slotIndex);
    return slot.isConfigured && !slot.isLeaving && (!slot.isTarget || io.target === slot || io.type === IoType.Flush);
  }

  submitPart(io: RaidIo, slotIndex: number, type: IoType, offset: number, numBlocks: number, addr: number): void {
    const slot = this.#slot(slotIndex);
    const part = this.registry.ios.get();
    part.type = type;
    part.offsetBlocks = slot.dataOffset + offset;
    part.numBlocks = numBlocks;
    part.addr = addr;
    part.owner = io;
    part.tag = slotIndex;
    if (type === IoType.Write || type === IoType.WriteZeroes) part.flags = io.writesBack ? IoFlag.ForceUnitAccess : io.flags;
    slot.partsInFlight++;
    if (type === IoType.Read) slot.readBlocksInFlight += numBlocks;
    if (slot.descriptor === null || !this.isMemberFor(io, slotIndex)) {
      part.status = Status.NoDevice;
      this.registry.runtime.soon(() => io.onIoDone(part));
      return;
    }
    slot.descriptor.submit(part);
  }

  onPartDone(io: RaidIo, part: BdevIo): void {
    const slot = this.#slot(part.tag);
    if (part.type === IoType.Read) slot.readBlocksInFlight -= part.numBlocks;
    if (part.status !== Status.Ok) {
      this.#countError(slot, part);
      // At once: another flush that is under way on the member may succeed without having kept anything.
      if (part.type === IoType.Flush && slot.isCurrent) {
        const canGo = this.module.manifest.redundant && this.failMember(slot.index, `${statusName(part.status)} on flush`);
        if (!canGo) slot.hasLostFlush = true;
      }
    }
    const level = this.level;
    if (io.type !== IoType.Flush && level?.onPartDone !== undefined) level.onPartDone(io, part);
    else io.partDone(part);
    this.registry.ios.put(part);
    slot.partEnded();
  }

  /**
   * A flush that failed is reported once by most devices, which may have dropped what it was to keep. A member that the array
   * can do without is failed for it; of another one no later flush is believed.
   */
  #noteLostFlush(io: RaidIo): void {
    if (io.type !== IoType.Flush && (io.flags & IoFlag.ForceUnitAccess) === 0) return;
    for (const index of io.failedSlots) {
      const slot = this.#slot(index);
      if (slot.isCurrent) slot.hasLostFlush = true;
    }
  }

  /** The request asks for stable media, and a member has lost what it should have kept there; perhaps just now. */
  #hasLostFlush(io: RaidIo): boolean {
    const isForStableMedia = io.type === IoType.Flush || (io.flags & IoFlag.ForceUnitAccess) !== 0;
    return isForStableMedia && this.slots.some((slot) => slot.hasLostFlush && slot.isCurrent);
  }

  /** All counted parts of a request are done: decides what their failures mean, and fails members for them. */
  judge(io: RaidIo): Status {
    if (io.failedSlots.length === 0) return this.#hasLostFlush(io) ? Status.IoError : Status.Ok;
    if ((io.type === IoType.Read && !io.writesBack) || !this.module.manifest.redundant) {
      this.#noteLostFlush(io);
      return io.partStatus;
    }
    const losers = new Set(io.failedSlots.filter((slot) => this.#slot(slot).isCurrent));
    const canLose = this.numCurrent - this.minOperational;
    const reason = `${statusName(io.partStatus)} on ${io.type === IoType.Flush ? 'flush' : 'write'}`;
    for (const slot of new Set(io.failedSlots)) if (this.#slot(slot).isTarget) this.failMember(slot, reason);
    // Where every member alone is a full copy, all that failed but one go, so that no two readers see different data.
    const isMirror = this.minOperational === 1;
    if (losers.size <= canLose || isMirror) for (const slot of losers) this.failMember(slot, reason);
    // The last copy has not taken the write, and a copy that is being filled from it may have: they must not both be read.
    const { target } = io;
    const hasDiverged = isMirror && [...losers].some((slot) => this.#slot(slot).isCurrent);
    if (hasDiverged && target?.isTarget === true) this.failMember(target.index, 'it differs from the last copy');
    this.#noteLostFlush(io);
    return io.partsDone > 0 && losers.size <= canLose ? Status.Ok : io.partStatus;
  }

  /** The level is through with a request: it is acknowledged at once, or when metadata allows. */
  onLevelDone(io: RaidIo, status: Status): void {
    const mayMissMember = io.type !== IoType.Read || io.writesBack;
    if (status === Status.Ok && mayMissMember && this.#gate.holds(io)) return;
    this.finish(io, status);
  }

  /** For the region map: the write's bits are set. */
  resume(io: RaidIo): void {
    const { level } = this;
    if (level === null) this.finish(io, Status.NoDevice);
    else if (io.type === IoType.Write) level.submitRwRequest(io);
    else level.submitNullPayloadRequest?.(io);
  }

  /** For the gate: tells whoever asked. */
  finish(io: RaidIo, status: Status): void {
    const { parent, owner } = io;
    if (io.isMarked) this.regions?.end(io);
    io.status = status;
    owner?.onRaidIoDone(io);
    this.ios.put(io);
    if (parent === null) return;
    if (parent.status === Status.Ok) parent.status = status;
    if (--parent.driverTag === 0) parent.complete(parent.status);
  }

  /**
   * Takes a member out because of an error. At once no I/O goes to it; writes are acknowledged again when the survivors'
   * metadata says that it is out. False, and nothing happens, if the array cannot do without it.
   */
  failMember(slotIndex: number, reason: string): boolean {
    const slot = this.#slot(slotIndex);
    if (!slot.isConfigured || slot.isLeaving) return true;
    if (!slot.isTarget && this.numCurrent - 1 < this.minOperational) return false;
    const fields = this.logFields(slot);
    this.beginLeave(slot, 'failed');
    this.log.error(fields, `the member is failed: ${reason}`);
    this.#host.onMemberFailed(this, slot, reason);
    return true;
  }

  /** From now on the slot's member gets no I/O, and no write is acknowledged until {@link leaveRecorded}. */
  beginLeave(slot: Slot, absence: 'missing' | 'failed'): void {
    this.membership++;
    slot.isLeaving = true;
    slot.absence = absence;
    if (!slot.isTarget) this.#gate.close();
    this.numOperational--;
  }

  /** Resolves when no member can be taken for current that has missed a write. Rejects if that cannot be recorded. */
  leaveRecorded(): Promise<void> {
    return this.#gate.whenOpen();
  }

  logFields(slot?: Slot): object {
    if (slot === undefined) return { array: this.name };
    return { array: this.name, slot: slot.index, member: slot.name ?? slot.lastMember?.name ?? null };
  }

  /** Sends a request of core's own to the level: reconstruct blocks of a slot's member. */
  reconstruct(io: RaidIo): void {
    io.array = this;
    if (this.level?.submitReconstructRequest === undefined) this.finish(io, Status.NotSupported);
    else this.level.submitReconstructRequest(io);
  }

  /** Waits for repairs that are under way; none starts after this. */
  stopRepairs(): Promise<void> {
    return this.#repair.stop();
  }

  /** How array and member blocks correspond; only for levels with redundancy. */
  stripe(): { arrayBlocks: number; memberBlocks: number } {
    const { stripe } = this.geometry();
    if (stripe === undefined) throw new Error(`level ${this.module.level} has no redundancy`);
    return stripe;
  }

  /** The blocks of every member's data area on which these blocks of the array depend. */
  memberRange(start: number, end: number): { from: number; to: number } {
    const { arrayBlocks, memberBlocks } = this.stripe();
    return { from: Math.floor(start / arrayBlocks) * memberBlocks, to: Math.ceil(end / arrayBlocks) * memberBlocks };
  }

  geometry(): RaidGeometry {
    if (this.level === null) throw new Error(`array ${this.name} has not been started`);
    return this.level.geometry;
  }

  #startPart(parent: BdevIo, offsetBlocks: number, numBlocks: number): void {
    const io = this.ios.get();
    io.array = this;
    io.parent = parent;
    io.type = parent.type;
    io.flags = parent.flags;
    io.offsetBlocks = offsetBlocks;
    io.numBlocks = numBlocks;
    io.addr = parent.addr < 0 ? -1 : parent.addr + (offsetBlocks - parent.offsetBlocks) * this.blockSize;
    io.target = offsetBlocks + numBlocks <= this.#rebuiltBlocks() ? (this.process?.target ?? null) : null;
    if (io.type === IoType.Flush) this.#flush(io);
    else if (io.type === IoType.Read) this.#read(io, parent);
    else this.#write(io);
  }

  #write(io: RaidIo): void {
    const { regions } = this;
    if (regions !== null) {
      io.isMarked = true;
      if (!regions.begin(io)) return;
    }
    this.resume(io);
  }

  /** Hands the level what has been written, and answers the rest with zeros. */
  #read(io: RaidIo, parent: BdevIo): void {
    const { level, regions } = this;
    if (level === null) {
      this.finish(io, Status.NoDevice);
      return;
    }
    if (regions === null || regions.count(RegionState.Unwritten) === 0) {
      level.submitRwRequest(io);
      return;
    }
    const { arrayBlocks, memberBlocks } = this.stripe();
    const regionBlocks = (regions.regionBlocks / memberBlocks) * arrayBlocks;
    const end = io.offsetBlocks + io.numBlocks;
    const regionEnd = (Math.floor(io.offsetBlocks / regionBlocks) + 1) * regionBlocks;
    if (end > regionEnd) {
      parent.driverTag++;
      io.numBlocks = regionEnd - io.offsetBlocks;
      this.#startPart(parent, regionEnd, end - regionEnd);
    }
    const region = Math.floor(io.offsetBlocks / regionBlocks);
    if (regions.states[region] !== RegionState.Unwritten) {
      level.submitRwRequest(io);
      return;
    }
    this.memory.zero(io.addr, io.numBlocks * this.blockSize);
    this.finish(io, Status.Ok);
  }

  /** Flush goes to every member that gets writes, a rebuild's target included: it holds acknowledged data too. */
  #flush(io: RaidIo): void {
    if (this.#hasLostFlush(io)) {
      this.onLevelDone(io, Status.IoError);
      return;
    }
    io.partsLeft = 1;
    for (const slot of this.slots) {
      const bdev = slot.descriptor?.bdev;
      if (bdev === undefined || !this.isMemberFor(io, slot.index) || !bdev.supports(IoType.Flush)) continue;
      io.submitPart(slot.index, IoType.Flush, 0, slot.dataSize, -1);
    }
    if (--io.partsLeft === 0) this.onLevelDone(io, Status.Ok);
  }

  /** Array blocks, from the start, that a rebuild's target holds; 0 without one. */
  #rebuiltBlocks(): number {
    const { process } = this;
    return process?.target === undefined || process.target === null ? 0 : process.offsetBlocks;
  }

  #allSupport(type: IoType): boolean {
    return this.slots.every((slot) => slot.descriptor === null || slot.descriptor.bdev.supports(type));
  }

  #countError(slot: Slot, part: BdevIo): void {
    if (part.status === Status.NoDevice && slot.isLeaving) return;
    if (part.type === IoType.Read) slot.errors.read++;
    else slot.errors.write++;
    const fields = { ...this.logFields(slot), block: part.offsetBlocks, blocks: part.numBlocks };
    this.log.warn(fields, `member I/O failed: ${statusName(part.status)}`);
  }

  #slot(index: number): Slot {
    const slot = this.slots[index];
    if (slot === undefined) throw new RangeError(`array ${this.name} has no slot ${index}`);
    return slot;
  }
}

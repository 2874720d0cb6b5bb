import { IoFlag, IoType, Status, statusName } from '@raidkit/bdev';
import type { BdevDriver, BdevIo, JsonObject } from '@raidkit/bdev';
import type { CommitBarrier } from '../metadata/commit-barrier.js';
import type { IoHost } from './host.js';
import { endOfExtent, isUnwritten, listExtents } from '../bitmap/extents.js';
import type { RaidLevel } from '../level/level.js';
import type { RaidIo, RaidIoOwner, RequestSink } from '../level/raid-io.js';
import { RoutedReads } from './routed-reads.js';
import { WriteGather } from './write-gather.js';
import type { GatheredWrites } from './write-gather.js';
import { RegionState } from '../bitmap/region-state.js';
import type { Slot } from '../members/slot.js';

/** Flag of a part that was not sent to its device, so that its failure means no loss on the device. */
const wasNotSubmitted = 1 << 30;

/** Number of resyncs that a member must have refused until those of two members have compared all other blocks. */
const resyncsToPass = 3;

/**
 * The path of an I/O from the bdev layer through the level to the members and back; it is the driver of an array's volume. This
 * class decides what a failed part means for the request and the member.
 */
export class RequestPath implements BdevDriver, RequestSink {
  readonly kind = 'raid';
  readonly productName = 'Raid Volume';
  readonly hasForceUnitAccess = true;
  readonly #array: IoHost;
  readonly #barrier: CommitBarrier;
  readonly #routed: RoutedReads;
  readonly #gather: WriteGather;
  /** The instance of the level that threw an exception; it gets no new requests. */
  #brokenLevel: RaidLevel | null = null;
  /** Number of reads of members so far. */
  #readTurns = 0;
  /** Number of users' requests that are in progress at the level or waiting in core. */
  #begun = 0;
  #idleWaiters: (() => void)[] = [];
  /** Users' flushes that are held back; null if they are not. */
  #heldFlushes: BdevIo[] | null = null;

  constructor(array: IoHost, barrier: CommitBarrier) {
    this.#array = array;
    this.#barrier = barrier;
    this.#routed = new RoutedReads(array, this);
    this.#gather = new WriteGather(array, this);
  }

  get gatheredWrites(): Readonly<GatheredWrites> {
    return this.#gather.counts;
  }

  // Methods of the bdev driver.

  supports(type: IoType): boolean {
    // A device that cannot be written is not accepted as a member. This method is called for each I/O.
    if (type === IoType.Read || type === IoType.Write || type === IoType.Flush) return true;
    if (type === IoType.Unmap || type === IoType.WriteZeroes) {
      if (this.#array.level?.submitNullPayload === undefined) return false;
      // With redundancy, an unmap is a write of zeros that may deallocate, because all members must read the same afterwards.
      if (type === IoType.Unmap && this.#array.module.redundancy !== 'none') return this.#allSupport(IoType.WriteZeroes);
    }
    return this.#allSupport(type);
  }

  submit(parent: BdevIo): void {
    if (parent.type === IoType.Reset) {
      parent.complete(Status.Ok);
      return;
    }
    const isTaken = parent.type === IoType.Read ? this.#routed.submit(parent) : this.#gathers(parent);
    if (!isTaken) this.submitUnrouted(parent, -1, Status.Ok);
  }

  #gathers(parent: BdevIo): boolean {
    if (parent.type === IoType.Write) return this.#gather.submit(parent);
    if (parent.type !== IoType.Flush) this.#gather.letGo(parent.offsetBlocks, parent.numBlocks);
    else if (this.#heldFlushes !== null) {
      this.#heldFlushes.push(parent);
      return true;
    }
    return false;
  }

  /** Users' flushes, which a quiesced volume lets through, wait until {@link releaseFlushes}. Those in progress go on. */
  holdFlushes(): void {
    this.#heldFlushes ??= [];
  }

  releaseFlushes(): void {
    const held = this.#heldFlushes ?? [];
    this.#heldFlushes = null;
    for (const parent of held) this.submitUnrouted(parent, -1, Status.Ok);
  }

  /**
   * For the gather: begins one write, which lies completely outside of what a rebuild has filled. `owner` is notified when it
   * is done, before the caller.
   */
  startWrite(parent: BdevIo, owner: RaidIoOwner): void {
    parent.driverTag = 1;
    const { addr, flags, numBlocks, offsetBlocks } = parent;
    this.#writeFor(parent, owner, flags, offsetBlocks, numBlocks, addr);
  }

  /** For the gather: begins one write that merges several. */
  startGathered(flags: number, offsetBlocks: number, numBlocks: number, addr: number, owner: RaidIoOwner): void {
    this.#writeFor(null, owner, flags, offsetBlocks, numBlocks, addr);
  }

  /** Resolves when no request is in progress, including requests whose callers have given them up. */
  async whenIdle(): Promise<void> {
    while (this.#begun > 0) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Frees the memory. No request may be in progress, and none may follow. */
  close(): void {
    this.#gather.close();
  }

  /**
   * Processes any request except reads that {@link RoutedReads} answers; also a routed read for which the member of
   * `failedSlot` returned `error`.
   */
  submitUnrouted(parent: BdevIo, failedSlot: number, error: Status): void {
    if (this.#array.state === 'offline') {
      parent.complete(Status.NoDevice);
      return;
    }
    this.#submitParts(parent, failedSlot, error);
  }

  /**
   * Processes a write that arrived while the array was online and was held here. It is executed even if the array is stopping.
   */
  submitHeld(parent: BdevIo): void {
    this.#submitParts(parent, -1, Status.Ok);
  }

  #submitParts(parent: BdevIo, failedSlot: number, error: Status): void {
    const boundary = this.#rebuiltBlocks();
    const end = parent.offsetBlocks + parent.numBlocks;
    if (parent.type !== IoType.Flush && boundary > parent.offsetBlocks && boundary < end) {
      parent.driverTag = 2;
      this.#start(parent, boundary, end, failedSlot, error);
      this.#start(parent, parent.offsetBlocks, boundary, failedSlot, error);
      return;
    }
    parent.driverTag = 1;
    this.#start(parent, parent.offsetBlocks, end, failedSlot, error);
  }

  physicalDevices(): readonly string[] {
    return this.#array.slots.flatMap(({ descriptor }) => descriptor?.bdev.driver.physicalDevices?.() ?? []);
  }

  extents(offsetBlocks: number, numBlocks: number, add: (numBlocks: number, isZero: boolean) => boolean): void {
    listExtents(this.#array, offsetBlocks, numBlocks, add);
  }

  driverSpecific(): JsonObject {
    return { raid: this.#array.describe() };
  }

  configCall(): { method: string; params: JsonObject } | null {
    return this.#array.describeConfig();
  }

  // Methods that RaidIo calls for the level.

  isMemberFor(io: RaidIo, slotIndex: number): boolean {
    const slot = this.#array.slotAt(slotIndex);
    return slot.isOperational && (!slot.isRebuilding || io.type === IoType.Flush || io.filler?.isFilling(slotIndex) === true);
  }

  submitPart(io: RaidIo, slotIndex: number, type: IoType, offset: number, numBlocks: number, addr: number): void {
    const { registry, answers } = this.#array;
    const slot = this.#array.slotAt(slotIndex);
    const part = registry.ios.get();
    part.type = type;
    part.offsetBlocks = slot.dataOffset + offset;
    part.numBlocks = numBlocks;
    part.addr = addr;
    part.owner = io;
    part.tag = slotIndex;
    if (type === IoType.Write || type === IoType.WriteZeroes) part.flags = io.writesBack ? IoFlag.ForceUnitAccess : io.flags;
    slot.partBegan();
    if (type === IoType.Read) this.beginRead(slot, numBlocks);
    const { data } = slot;
    if (data === null || !this.isMemberFor(io, slotIndex)) {
      part.status = Status.NoDevice;
      registry.runtime.soon(() => io.onIoDone(part));
      return;
    }
    if (type === IoType.Read && this.#array.badBlocks.size > 0 && this.#array.badBlocks.has(slotIndex, offset, numBlocks)) {
      part.status = Status.IoError;
      registry.runtime.soon(() => io.onIoDone(part));
      return;
    }
    if (!answers.isArmed) answers.arm();
    if (slot.replacement !== null && type !== IoType.Read && type !== IoType.Flush) slot.replacement.mark(offset, numBlocks);
    if (this.#isMarked(part)) {
      part.context = io;
      if (this.#array.bitmap?.beginPart(part) === false) return;
    }
    data.submit(part);
  }

  /** The part itself is counted in the write-intent bitmap, rather than its request. */
  #isMarked({ type }: BdevIo): boolean {
    return this.#array.bitmap?.isOfParts === true && type !== IoType.Read && type !== IoType.Flush;
  }

  /** For the bitmap: submits a part of a write that waited for its bits. */
  resumePart(part: BdevIo): void {
    const { data, isRemoving } = this.#array.slotAt(part.tag);
    // Checked again after the wait. A stopping array still completes writes that have begun.
    if (data === null || isRemoving || !this.#array.hasEnough) this.failPart(part, Status.NoDevice);
    else data.submit(part);
  }

  failPart(part: BdevIo, status: Status): void {
    part.status = status;
    part.flags = wasNotSubmitted;
    part.owner.onIoDone(part);
  }

  /** Counts a read of this many blocks from the slot's member, which changes the cost of further reads. */
  beginRead(slot: Slot, numBlocks: number): void {
    slot.readBegan(numBlocks, ++this.#readTurns);
  }

  journal(io: RaidIo): void {
    const { journal } = this.#array;
    if (journal === null) throw new Error('the array has no journal');
    journal.append(io);
  }

  onWriteBack(io: RaidIo): void {
    this.#array.journal?.entered(io);
  }

  onPartDone(io: RaidIo, part: BdevIo): void {
    const array = this.#array;
    const slot = array.slotAt(part.tag);
    if (part.type === IoType.Read) slot.readEnded(part.numBlocks);
    // Marked again, because the block may have been copied while this was in flight.
    else if (slot.replacement !== null && part.type !== IoType.Flush)
      slot.replacement.mark(part.offsetBlocks - slot.dataOffset, part.numBlocks);
    if (part.context === io) {
      part.context = null;
      array.bitmap?.endPart(part);
    }
    const hasBad = !array.badBlocks.isEmpty;
    if (hasBad && part.status === Status.Ok && (part.type === IoType.Write || part.type === IoType.WriteZeroes)) {
      // The blocks would stay on the list and could not be read.
      if (!array.noteWritten(part.tag, part.offsetBlocks - slot.dataOffset, part.numBlocks)) part.status = Status.NoSpace;
    }
    if (part.status !== Status.Ok && part.flags !== wasNotSubmitted) {
      const isBad =
        part.type === IoType.Read && array.badBlocks.has(part.tag, part.offsetBlocks - slot.dataOffset, part.numBlocks);
      // Processes count the blocks that they cannot read themselves, and blocks on the list were counted when they were found.
      if (!isBad && (part.type !== IoType.Read || io.slot < 0)) this.countError(slot, part);
      // A rebuild target that cannot read what it was just given is defective, and the other members have its data. Blocks on
      // the list were never given to it.
      if (part.type === IoType.Read && slot.isRebuilding && !isBad)
        array.failMember(slot.index, `${statusName(part.status)} on a read during its rebuild`);
      // Without delay: another flush in flight on the member may succeed without having kept the data.
      if (part.type === IoType.Flush && slot.isOperational) {
        const canGo = array.module.redundancy !== 'none' && array.failMember(slot.index, `${statusName(part.status)} on flush`);
        if (!canGo) array.noteLostFlush(slot, part.status);
      }
      if (part.type !== IoType.Read && (part.flags & IoFlag.ForceUnitAccess) !== 0)
        this.#noteForcedFailure(io, slot, part.status);
    }
    io.partDone(part);
    array.registry.ios.put(part);
    slot.partEnded();
  }

  /**
   * A forced write has failed on the member, and is judged when the others have answered. If the array cannot do without those
   * that have failed it so far, they are noted at once: a flush that overlaps may succeed on them without having kept anything.
   */
  #noteForcedFailure(io: RaidIo, slot: Slot, status: Status): void {
    const array = this.#array;
    const losers = [slot, ...io.failed.map((index) => array.slotAt(index))].filter(({ isInSync }) => isInSync);
    if (array.canDoWithout(...losers)) return;
    for (const loser of losers) array.noteLostFlush(loser, status);
  }

  requestRepair(slot: number, offset: number, numBlocks: number): void {
    this.#array.requestRepair(slot, offset, numBlocks);
  }

  /** Determines the status of a request whose parts are done, and fails members as needed. */
  judge(io: RaidIo): Status {
    const array = this.#array;
    if (io.type === IoType.Read && io.failed.length === 0) return io.stepStatus;
    if (io.failed.length === 0) return this.#hasLostFlush(io) ? Status.IoError : Status.Ok;
    if (array.module.redundancy === 'none') return io.writeStatus;
    const losers = new Set(io.failed.filter((slot) => array.slotAt(slot).isInSync));
    const canLose = array.canRunWith((slot) => slot.isInSync && !losers.has(slot.index));
    if (io.type === IoType.Read && canLose && this.#isAnyInDoubt(losers)) return io.writeStatus;
    const reason = `${statusName(io.writeStatus)} on ${io.type === IoType.Flush ? 'flush' : 'write'}`;
    for (const slot of new Set(io.failed)) if (array.slotAt(slot).isRebuilding) array.failMember(slot, reason);
    // With copies, all members that failed are taken out except the last copy of each block, so that no two reads return
    // different data.
    const areCopies = array.module.redundancy === 'copies';
    if (canLose || areCopies) for (const slot of losers) array.failMember(slot, reason);
    // The last copy has not been written, and a copy that is being filled may have been. They must not both be read.
    const hasDiverged = areCopies && [...losers].some((slot) => array.slotAt(slot).isInSync);
    for (const { index, isRebuilding } of array.slots)
      if (hasDiverged && isRebuilding && io.filler?.isFilling(index) === true)
        array.failMember(index, 'it differs from the last copy');
    this.#noteLostFlush(io);
    // A start with inconsistent redundancy takes no member out, and no member is that others with losses have made the last. One
    // that stays without the write would be believed.
    const isAnyLeft = [...losers].some((slot) => array.slotAt(slot).isInSync);
    return io.partsDone > 0 && canLose && !isAnyLeft ? Status.Ok : io.writeStatus;
  }

  /**
   * Whether several members of an array with parity have blocks in doubt: without them nothing could show what those hold. So a
   * read that has written to them in vain fails, and they stay, until resyncs have gone past everything else.
   */
  #isAnyInDoubt(losers: ReadonlySet<number>): boolean {
    const { consistency, module, slots } = this.#array;
    if (losers.size < 2 || module.redundancy !== 'parity' || consistency.isAllInSync) return false;
    return slots.some(({ index, refusedResyncs }) => losers.has(index) && refusedResyncs < resyncsToPass);
  }

  /** The level is done with a request. It is acknowledged at once, or when the superblocks allow it. */
  onLevelDone(io: RaidIo, status: Status): void {
    if (io.isAtLevel) this.#array.journal?.left(io);
    this.#acknowledge(io, status);
  }

  onLevelThrew(io: RaidIo, error: unknown): void {
    this.onLeftUndone(io);
    this.onLevelThrewElsewhere(error);
  }

  /** The level threw an exception outside of a request. */
  onLevelThrewElsewhere(error: unknown): void {
    const array = this.#array;
    this.#brokenLevel = array.level;
    array.onLevelThrew(error);
    array.ios.forgetHeld(this);
  }

  onLeftUndone(io: RaidIo): void {
    const array = this.#array;
    if (
      io.isUsers &&
      io.type !== IoType.Flush &&
      (io.type !== IoType.Read || io.writesBack) &&
      array.currentGeometry?.stripe !== undefined
    ) {
      // The unfinished part of the write makes redundancy inconsistent, also for the next start.
      const { from, to } = array.memberRange(io.offsetBlocks, io.offsetBlocks + io.numBlocks);
      array.consistency.markInconsistent(from, to - from);
    }
  }

  get hasLevelThrown(): boolean {
    return this.#brokenLevel !== null && this.#brokenLevel === this.#array.level;
  }

  #acknowledge(io: RaidIo, status: Status): void {
    // An answer that depends on damage which only checksums show must wait until the damage is recorded without relying on
    // them.
    if (io.isUsers && io.type !== IoType.Flush && this.#mustRecord(io, status)) {
      this.#recordLost(io.offsetBlocks, io.numBlocks, () => {
        if (status === Status.Ok) this.#acknowledgeRecorded(io, status);
        else this.finish(io, status);
      });
    } else this.#acknowledgeRecorded(io, status);
  }

  /**
   * Blocks that were answered as lost must stay lost until they are written, and damage that a read avoided must not count as
   * good data after a crash.
   */
  #mustRecord(io: RaidIo, status: Status): boolean {
    const { badBlocks } = this.#array;
    if (status !== Status.Ok) return !badBlocks.isSettled;
    if (badBlocks.isSettled || this.#array.module.redundancy === 'none') return false;
    const { from, to } = this.#array.memberRange(io.offsetBlocks, io.offsetBlocks + io.numBlocks);
    return this.#array.mustRecordDamage(from, to - from);
  }

  #acknowledgeRecorded(io: RaidIo, status: Status): void {
    const { journal } = this.#array;
    if (status === Status.Ok && journal?.mustSaveDoubt === true && this.#isForStableMedia(io)) {
      // Blocks that were inconsistent and have been written since must be readable after the next start.
      journal.doubt.save().then(
        () => this.#acknowledgeRecorded(io, status),
        () => this.finish(io, Status.IoError),
      );
      return;
    }
    const mayMissMember = io.type !== IoType.Read || io.writesBack;
    if (status !== Status.Ok || !mayMissMember) this.finish(io, status);
    // A member may have left since the level checked its members. It was skipped, and lacks what would be acknowledged.
    else if (!this.#array.hasEnough) this.finish(io, Status.NoDevice);
    else if (!this.#barrier.holds(io)) this.finish(io, Status.Ok);
  }

  /** Completes a routed read that no other member can answer with its error. */
  completeLost(parent: BdevIo, status: Status): void {
    if (this.#array.badBlocks.isSettled) parent.complete(status);
    else this.#recordLost(parent.offsetBlocks, parent.numBlocks, () => parent.complete(status));
  }

  #recordLost(offsetBlocks: number, numBlocks: number, then: () => void): void {
    const array = this.#array;
    const isRedundant = array.module.redundancy !== 'none';
    // Only the level knows where the blocks lie. Without redundancy it cannot be asked, so all damage is recorded.
    const { from, to } = isRedundant ? array.memberRange(offsetBlocks, offsetBlocks + numBlocks) : { from: 0, to: Infinity };
    array.recordDamage(from, to - from).then(then, (error: unknown) => {
      array.log.error({ ...array.logFields(), err: error }, 'damaged blocks could not be recorded');
      then();
    });
  }

  /** Submits a write of any kind to the level. Its bits in the write-intent bitmap are set. */
  resume(io: RaidIo): void {
    const { level, journal } = this.#array;
    // Checked again, because the write may have waited for bits or for a departure to be recorded.
    if (level === null || this.hasLevelThrown || !this.#array.hasEnough) {
      this.finish(io, Status.NoDevice);
      return;
    }
    if (journal !== null) {
      // The departure must be recorded before the level can know what to journal.
      if (this.#barrier.delays(io)) return;
      journal.entered(io);
    }
    io.start(level);
  }

  /**
   * Submits a request of core to the level; it needs no bits in the write-intent bitmap. `io.owner` is notified when it is
   * done.
   */
  submitOwn(io: RaidIo): void {
    const { level } = this.#array;
    io.sink = this;
    if (level === null) this.finish(io, Status.NoDevice);
    else io.start(level);
  }

  /** Completes the request with this status. Also called by the commit barrier. */
  finish(io: RaidIo, status: Status): void {
    const { isUsers, parent, owner } = io;
    io.status = status;
    if (io.isMarked) this.#array.bitmap?.end(io);
    owner?.onRaidIoDone(io);
    this.#array.ios.put(io);
    if (isUsers) this.#ended();
    if (parent === null) return;
    if (parent.status === Status.Ok) parent.status = status;
    this.#partEnded(parent);
  }

  #ended(): void {
    if (--this.#begun > 0 || this.#idleWaiters.length === 0) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const waiter of waiters) waiter();
  }

  #partEnded(parent: BdevIo): void {
    if (--parent.driverTag === 0) parent.complete(parent.status);
  }

  #start(parent: BdevIo, from: number, to: number, failedSlot: number, error: Status): void {
    if (parent.type === IoType.Unmap && (this.#array.bitmap?.count(RegionState.Unwritten) ?? 0) > 0)
      this.#unmapWritten(parent, from, to);
    else this.#startPart(parent, from, to - from, failedSlot, error);
  }

  /** Skips unwritten regions, which need no unmap: it would be their first write. */
  #unmapWritten(parent: BdevIo, from: number, to: number): void {
    let at = from;
    while (at < to) {
      const end = endOfExtent(this.#array, at, to);
      if (!isUnwritten(this.#array, at)) {
        parent.driverTag++;
        this.#startPart(parent, at, end - at, -1, Status.Ok);
      }
      at = end;
    }
    this.#partEnded(parent);
  }

  #startPart(parent: BdevIo, offsetBlocks: number, numBlocks: number, failedSlot: number, error: Status): void {
    const array = this.#array;
    const io = this.#begin();
    io.parent = parent;
    io.type = parent.type;
    io.flags = parent.flags;
    io.offsetBlocks = offsetBlocks;
    io.numBlocks = numBlocks;
    io.addr = parent.addr < 0 ? -1 : parent.addr + (offsetBlocks - parent.offsetBlocks) * array.blockSize;
    io.filler = offsetBlocks + numBlocks <= this.#rebuiltBlocks() ? array.process : null;
    if (failedSlot >= 0) io.wasUnreadable(failedSlot, error);
    if (io.type === IoType.Flush) this.#flush(io);
    else if (io.type === IoType.Read) this.#read(io, parent);
    else this.#write(io);
  }

  #begin(): RaidIo {
    const io = this.#array.ios.get();
    io.sink = this;
    io.isUsers = true;
    this.#begun++;
    return io;
  }

  #writeFor(
    parent: BdevIo | null,
    owner: RaidIoOwner,
    flags: number,
    offsetBlocks: number,
    numBlocks: number,
    addr: number,
  ): void {
    const io = this.#begin();
    io.parent = parent;
    io.owner = owner;
    io.type = IoType.Write;
    io.flags = flags;
    io.offsetBlocks = offsetBlocks;
    io.numBlocks = numBlocks;
    io.addr = addr;
    this.#write(io);
  }

  #write(io: RaidIo): void {
    const { bitmap } = this.#array;
    if (bitmap !== null && !bitmap.isOfParts) {
      io.isMarked = true;
      if (!bitmap.begin(io)) return;
    }
    this.resume(io);
  }

  /** Submits the written part of a read to the level, and answers the rest with zeros. */
  #read(io: RaidIo, parent: BdevIo): void {
    const { level, bitmap, blockSize, memory } = this.#array;
    if (level === null) {
      this.finish(io, Status.NoDevice);
      return;
    }
    if (bitmap === null || bitmap.count(RegionState.Unwritten) === 0) {
      io.start(level);
      return;
    }
    const end = io.offsetBlocks + io.numBlocks;
    const extentEnd = endOfExtent(this.#array, io.offsetBlocks, end);
    if (extentEnd < end) {
      parent.driverTag++;
      io.numBlocks = extentEnd - io.offsetBlocks;
      this.#startPart(parent, extentEnd, end - extentEnd, -1, Status.Ok);
    }
    if (!isUnwritten(this.#array, io.offsetBlocks)) {
      io.start(level);
      return;
    }
    memory.zero(io.addr, io.numBlocks * blockSize);
    this.finish(io, Status.Ok);
  }

  /** A flush goes to every member that gets writes. That includes rebuild targets, which hold acknowledged data too. */
  #flush(io: RaidIo): void {
    if (this.#hasLostFlush(io)) {
      this.onLevelDone(io, Status.IoError);
      return;
    }
    io.enter();
    for (const slot of this.#array.slots) {
      if (slot.descriptor === null || !this.isMemberFor(io, slot.index)) continue;
      io.submitPart(slot.index, IoType.Flush, 0, slot.dataSize, -1);
    }
    io.end();
    io.leave();
  }

  /**
   * Most devices report a failed flush only once, and may have dropped the data. A member that the array can do without is
   * failed; for any other, later flushes do not count as successful.
   */
  #noteLostFlush(io: RaidIo): void {
    if (io.type !== IoType.Flush && (io.flags & IoFlag.ForceUnitAccess) === 0) return;
    for (const index of io.failed) {
      const slot = this.#array.slotAt(index);
      if (slot.isInSync) this.#array.noteLostFlush(slot, io.writeStatus);
    }
  }

  #isForStableMedia(io: RaidIo): boolean {
    return io.type === IoType.Flush || (io.flags & IoFlag.ForceUnitAccess) !== 0;
  }

  /** Whether the request must reach stable media although a member has lost a flush, perhaps just now. */
  #hasLostFlush(io: RaidIo): boolean {
    return this.#isForStableMedia(io) && this.#array.slots.some((slot) => slot.hasLostFlush && slot.isInSync);
  }

  /** Returns the number of array blocks, from the start, that a rebuild has filled; 0 if there is none. */
  #rebuiltBlocks(): number {
    const { process } = this.#array;
    return process === null || process.targets.length === 0 ? 0 : process.offsetBlocks;
  }

  #allSupport(type: IoType): boolean {
    for (const { descriptor } of this.#array.slots) if (descriptor?.bdev.supports(type) === false) return false;
    return true;
  }

  /** Counts and logs a failed part. */
  countError(slot: Slot, part: BdevIo): void {
    if (part.status === Status.NoDevice && slot.isRemoving) return;
    if (part.type === IoType.Read) slot.countReadError();
    else slot.countWriteError();
    const fields = { ...this.#array.logFields(slot), block: part.offsetBlocks, blocks: part.numBlocks };
    this.#array.log.warn(fields, `member I/O failed: ${statusName(part.status)}`);
  }
}

import type { BdevDescriptor, IoPath } from '@raidkit/bdev';
import type { SummedPath } from './summed-path.js';
import type { Replacement } from './replacement.js';
import type { LastMember, MemberRole, SlotAbsence, SlotErrors, SlotView } from './slot-view.js';
import { nullUuid } from '@raidkit/bdev';
import type { ReadPreference } from '../format/read-policy.js';
import type { ExtensionSlot, SlotRecord } from '../format/store.js';

/** A device that can become the member of a slot, with those fields of the {@link Slot} that belong to the device. */
export interface MemberDevice {
  readonly name: string | null;
  readonly uuid: string;
  readonly descriptor: BdevDescriptor;
  /** See {@link Slot.sums}. */
  readonly sums: SummedPath | null;
  readonly dataOffset: number;
  readonly foundSeqNumber: number;
  readonly hasLostFlush: boolean;
  readonly isUnsteady: boolean;
  readonly readPreference: ReadPreference;
}

/** A process that fills a slot's member. */
export interface Filling {
  /** The bitmap, and nothing else, now says what the member lacks. Until then no record on the member says it. */
  isOnMap: boolean;
  /** Stops filling the member, which is leaving. Resolves when the process will do no more I/O on it. */
  leave(reason: string): Promise<void>;
}

/** A slot of an array, with its member if it has one. */
export class Slot implements SlotView {
  index: number;
  /** Name of the member bdev; null if the slot is empty. */
  name: string | null;
  /** Uuid of the member bdev, or of the member that the slot is waiting for; the null uuid if there is neither. */
  uuid: string = nullUuid;
  /** While the array is being assembled, a device of this name is accepted for the slot; null if there is none. */
  awaitedName: string | null;
  /** Uuid that the superblock has for this slot. It is kept after the member has left. */
  recordedUuid: string = nullUuid;
  /** Verifies the checksums of what is read, as a layer over the member's device; null if there are no checksums. */
  sums: SummedPath | null = null;
  dataOffset = 0;
  dataSize = 0;
  /** The device that will replace the member and is being filled from it; null if there is none. */
  replacement: Replacement | null = null;
  /** The member failed while it was being replaced, so its replacement will join and be rebuilt instead. */
  isForReplacement = false;
  /** The process that fills the member, or filled the last one; null if there was none. */
  filling: Filling | null = null;
  /** An I/O of the member is overdue. */
  isUnresponsive = false;
  /** The state that the superblock has for the slot while it is empty. */
  absence: SlotAbsence = 'missing';
  /**
   * Time (`Runtime.now`) at which the member left, or at which the array came online without one. Only for an empty slot of an
   * online array.
   */
  emptySince = 0;
  /** Sequence number of the last superblock that was written to the member; 0 if unknown. */
  lastSeqNumber = 0;
  /** While `lastSeqNumber` is 0: superblocks up to this number, on the recorded member, are former states of the array. */
  formerSeqNumber = 0;
  /** What is known of superblocks is of the slot's former member: no round has yet recorded this one on all members. */
  isSuccessor = false;
  /** Number of page writes that the last member is known to have, as the sum of the pages' generations; see `ExtensionSlot`. */
  pagesTaken = 0;
  /** Sequence number of the superblock on the member, as it was read or last written; 0 if it has none. */
  foundSeqNumber = 0;
  /** The member was removed on request, so no spare may replace it. */
  isRemovedByHand = false;
  /** The member was removed while the array was online. */
  isRemoved = false;
  /** The last member that left the slot, for people. */
  lastMember: LastMember | null = null;
  readonly errors: SlotErrors = { read: 0, write: 0, repaired: 0, checksum: 0 };
  /** A flush failed and the array could not do without the member, so data written earlier may be lost. */
  hasLostFlush = false;
  /**
   * The member lost a flush in a start that failed, when the array could not do without it. It leaves once redundancy is in
   * sync, and flushes of the array fail until then.
   */
  isUnsteady = false;
  refusedResyncs = 0;
  /**
   * Number of failed I/Os of the array on the member that may have lost earlier writes, while it is not decided yet whether the
   * member is failed for them: that waits for the answers of others.
   */
  lossesToJudge = 0;
  /**
   * The slot is being appended: neither the superblock nor the volume's size includes it yet, so the array can do without its
   * member.
   */
  isBeingAppended = false;
  /** Number of the array's I/Os in flight on the member. */
  partsInFlight = 0;
  readBlocksInFlight = 0;
  /** The array's read counter at the member's last read; 0 if it was never read. */
  readTurn = 0;
  /** Whether reads prefer or avoid the member. It belongs to the member: a new device begins with `normal`. */
  readPreference: ReadPreference = 'normal';
  #role: MemberRole = 'empty';
  /** Role of the member before it began to leave. */
  #roleBefore: MemberRole = 'empty';
  #descriptor: BdevDescriptor | null = null;
  #drainWaiters: (() => void)[] = [];

  constructor(index: number, name: string | null) {
    this.index = index;
    this.name = name;
    this.awaitedName = name;
  }

  /** Gives the slot a new index after a slot before it was added or removed. No I/O of the array may be in flight. */
  renumber(index: number): void {
    this.index = index;
  }

  get role(): MemberRole {
    return this.#role;
  }

  /** The open and claimed device of the member. A leaving member keeps it until its last I/O is done. */
  get descriptor(): BdevDescriptor | null {
    return this.#descriptor;
  }

  /**
   * The path for all I/O on the member's data and for flushes, with offsets from the start of the device; null if there is no
   * member. I/O in front of the data offset uses the descriptor.
   */
  get data(): IoPath | null {
    return this.sums ?? this.#descriptor;
  }

  get serial(): string | null {
    return this.descriptor?.bdev.serial ?? null;
  }

  get hasDevice(): boolean {
    return this.#descriptor !== null;
  }

  get isInSync(): boolean {
    return this.#role === 'inSync';
  }

  get isOperational(): boolean {
    return this.#role === 'inSync' || this.#role === 'rebuilding';
  }

  get isRemoving(): boolean {
    return this.#role === 'leaving';
  }

  get isConfigured(): boolean {
    const role = this.isRemoving ? this.#roleBefore : this.#role;
    return role === 'inSync' || role === 'rebuilding';
  }

  /** The member is in sync, or was until it began to leave. Reads of it may still be in flight. */
  get wasInSync(): boolean {
    return (this.isRemoving ? this.#roleBefore : this.#role) === 'inSync';
  }

  get isRebuilding(): boolean {
    return this.#role === 'rebuilding' || (this.isRemoving && this.#roleBefore === 'rebuilding');
  }

  /** Size of the member in blocks, from the data offset to its end. */
  get capacity(): number {
    return this.descriptor === null ? this.dataSize : this.descriptor.bdev.numBlocks - this.dataOffset;
  }

  /** Resolves when none of the array's I/Os is in flight on the member. */
  whenDrained(): Promise<void> {
    if (this.partsInFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drainWaiters.push(resolve);
    });
  }

  /**
   * Resolves when nothing of the array is in flight on the member, I/O of checksum pages included, so that its device can be
   * closed.
   */
  async whenFree(): Promise<void> {
    await this.whenDrained();
    await this.sums?.close();
  }

  /** To be called when one of the array's I/Os on the member begins. */
  partBegan(): void {
    this.partsInFlight++;
  }

  /** To be called when one of the array's I/Os on the member is done. */
  partEnded(): void {
    this.partsInFlight--;
    if (this.partsInFlight > 0 || this.#drainWaiters.length === 0) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter();
  }

  /** A read of this many blocks begins, and the array's read counter is `turn`. Both change the cost of further reads. */
  readBegan(numBlocks: number, turn: number): void {
    this.readBlocksInFlight += numBlocks;
    this.readTurn = turn;
  }

  readEnded(numBlocks: number): void {
    this.readBlocksInFlight -= numBlocks;
  }

  countReadError(): void {
    this.errors.read++;
  }

  countWriteError(): void {
    this.errors.write++;
  }

  countRepaired(numBlocks: number): void {
    this.errors.repaired += numBlocks;
  }

  countChecksumError(): void {
    this.errors.checksum++;
  }

  /** A superblock of the recorded member with a higher number than this was not written by the array. */
  get newestKnown(): number {
    return this.lastSeqNumber > 0 ? this.lastSeqNumber : this.formerSeqNumber;
  }

  /** Adopts what the superblock has for the slot, before there is a member. */
  adoptRecord({ uuid, dataOffsetBlocks, dataSizeBlocks, state }: SlotRecord): void {
    this.recordedUuid = uuid;
    this.setDataArea(dataOffsetBlocks, dataSizeBlocks);
    if (state === 'configured') this.uuid = uuid;
    else this.absence = state;
  }

  /** Adopts what the header has for the slot. `checksumErrors`: number of blocks that did not match their checksum. */
  adoptHeader(kept: ExtensionSlot, checksumErrors: number): void {
    this.lastSeqNumber = kept.lastSeqNumber;
    this.formerSeqNumber = kept.formerSeqNumber;
    this.pagesTaken = kept.pagesTaken;
    this.isRemovedByHand = kept.isRemovedByHand && !this.isInSync;
    this.errors.read = kept.readErrors;
    this.errors.write = kept.writeErrors;
    this.errors.repaired = kept.repairedBlocks;
    this.errors.checksum = checksumErrors;
  }

  setDataArea(offset: number, size: number): void {
    this.dataOffset = offset;
    this.dataSize = size;
  }

  setReadPreference(preference: ReadPreference): void {
    this.readPreference = preference;
  }

  setRemovedByHand(isRemovedByHand: boolean): void {
    this.isRemovedByHand = isRemovedByHand;
  }

  /** Verifies the checksums of what is read with this layer from now on; null for none. */
  setSums(sums: SummedPath | null): void {
    this.sums = sums;
  }

  /** The member has the superblock with this sequence number; 0 if it has none. */
  noteSuperblock(seqNumber: number): void {
    this.foundSeqNumber = seqNumber;
  }

  /** A superblock with this sequence number will be written to the member; 0 if it is not one that it could be known by. */
  noteLastSeqNumber(seqNumber: number): void {
    this.formerSeqNumber = seqNumber > 0 ? 0 : this.newestKnown;
    this.lastSeqNumber = seqNumber;
  }

  /** The array accepts the recorded member with the superblock of this number, to fill it from the start. */
  noteFormer(seqNumber: number): void {
    const newest = Math.max(this.newestKnown, seqNumber);
    this.noteLastSeqNumber(0);
    this.formerSeqNumber = newest;
  }

  /** See {@link isSuccessor}: a round has recorded the member. `seqNumber`: as in {@link noteLastSeqNumber}. */
  noteRecorded(seqNumber: number): void {
    this.isSuccessor = false;
    this.lastSeqNumber = seqNumber;
    this.formerSeqNumber = 0;
  }

  notePagesTaken(pagesTaken: number): void {
    this.pagesTaken = pagesTaken;
  }

  /** See {@link hasLostFlush}. */
  noteLostFlush(): void {
    this.hasLostFlush = true;
  }

  /** See {@link lossesToJudge}. {@link judgeLoss} must follow. */
  noteLoss(): void {
    this.lossesToJudge++;
  }

  judgeLoss(): void {
    this.lossesToJudge--;
  }

  /** See {@link refusedResyncs}. */
  noteRefusedResync(): void {
    this.refusedResyncs++;
  }

  /** A resync has ended in which no write to the member failed. */
  noteTakenResync(): void {
    this.refusedResyncs = 0;
  }

  /** A start has failed. See {@link isUnsteady}. */
  noteFailedStart(): void {
    this.isUnsteady ||= this.hasLostFlush;
  }

  /** See {@link isBeingAppended}. */
  setBeingAppended(isBeingAppended: boolean): void {
    this.isBeingAppended = isBeingAppended;
  }

  /** Another uuid has been recorded for the device that the slot once had, so it no longer waits for it. */
  forgetRecordedUuid(): void {
    this.recordedUuid = nullUuid;
  }

  /** The slot waits again for the recorded member. */
  awaitRecorded(): void {
    this.uuid = this.recordedUuid;
  }

  /** A device of this name is accepted for the slot; null for none. */
  awaitName(name: string | null): void {
    this.awaitedName = name;
  }

  /** The array has come online without a member in this slot. */
  noteEmpty(now: number): void {
    this.emptySince = now;
  }

  /** A process fills the member. */
  fillWith(filling: Filling): void {
    this.filling = filling;
  }

  /** See {@link Filling.isOnMap}. */
  noteOnMap(): void {
    if (this.filling !== null) this.filling.isOnMap = true;
  }

  beginReplacement(replacement: Replacement): void {
    this.replacement = replacement;
  }

  /** The replacement has ended, unless another one has begun. */
  endReplacement(replacement: Replacement): void {
    if (this.replacement === replacement) this.replacement = null;
  }

  /** See {@link isForReplacement}. */
  setForReplacement(isForReplacement: boolean): void {
    this.isForReplacement = isForReplacement;
  }

  /** The replacement is the member for good. */
  noteReplaced(before: LastMember): void {
    this.lastMember = before;
    this.forgetErrors();
    this.replacement = null;
  }

  /**
   * The device that was opened is to be the member. Counters and read preference belong to the device: they are kept if it comes
   * back, and reset for another one.
   */
  attach({ name, uuid }: { readonly name: string; readonly uuid: string }): void {
    if (this.recordedUuid !== uuid) {
      this.forgetErrors();
      this.isSuccessor = true;
    }
    if (this.recordedUuid !== uuid && this.recordedUuid !== nullUuid) this.readPreference = 'normal';
    this.name = name;
    this.awaitedName = name;
    this.uuid = uuid;
    this.recordedUuid = uuid;
    this.foundSeqNumber = 0;
    this.isRemoved = false;
    this.isRemovedByHand = false;
    this.hasLostFlush = false;
    this.isUnsteady = false;
    this.refusedResyncs = 0;
  }

  /** Closes the member of an array that is not online yet, because its state is too old. The slot waits for it again. */
  kick(): void {
    this.closeMember();
    this.name = null;
    this.uuid = this.recordedUuid;
    this.isRemoved = true;
  }

  /** Closes the member of an array that is not online yet. The slot waits again for the same uuid. */
  release(): void {
    this.closeMember();
    this.name = null;
    this.awaitedName = null;
  }

  /** The device was opened and claimed, and will be examined. */
  open(descriptor: BdevDescriptor): void {
    this.#become('opening', 'empty');
    this.#descriptor = descriptor;
  }

  /** The device is the member and holds the array's data. */
  join(): void {
    this.#become('inSync', 'opening');
  }

  beginRebuild(): void {
    this.#become('rebuilding', 'opening');
    this.absence = 'missing';
  }

  endRebuild(): void {
    this.#become('inSync', 'rebuilding');
  }

  /** The member gets no new I/O from now on. `absence`: why it leaves. */
  leave(absence = this.absence): void {
    const before = this.#role;
    this.#become('leaving', 'inSync', 'rebuilding');
    this.#roleBefore = before;
    this.absence = absence;
  }

  /** Cancels the departure of the member. */
  stay(): void {
    this.#become(this.#roleBefore, 'leaving');
  }

  /** Makes another device, open and claimed, the member at once. The caller closes the former device. */
  exchange(device: MemberDevice): void {
    const { descriptor, name, sums, uuid, dataOffset, foundSeqNumber, hasLostFlush, isUnsteady, readPreference } = device;
    this.#descriptor = descriptor;
    this.sums = sums;
    this.name = name;
    this.uuid = uuid;
    this.dataOffset = dataOffset;
    this.foundSeqNumber = foundSeqNumber;
    this.awaitedName = name;
    this.recordedUuid = uuid;
    this.hasLostFlush = hasLostFlush;
    this.isUnsteady = isUnsteady;
    this.refusedResyncs = 0;
    this.readPreference = readPreference;
  }

  /** Closes the device as if it had never been examined. No I/O may be in flight. */
  closeMember(): void {
    this.#descriptor?.close();
    this.#descriptor = null;
    this.sums = null;
    this.#role = 'empty';
  }

  /** Resets the counters for a new member. */
  forgetErrors(): void {
    this.errors.read = 0;
    this.errors.write = 0;
    this.errors.repaired = 0;
    this.errors.checksum = 0;
  }

  /** The member has left for good. Its sizes are kept for a successor. */
  empty(absence: SlotAbsence, now: number): void {
    if (this.name !== null) this.lastMember = { name: this.name, uuid: this.uuid, serial: this.serial };
    this.isRemoved = true;
    this.name = null;
    this.uuid = nullUuid;
    this.absence = absence;
    this.emptySince = now;
    this.isUnresponsive = false;
    this.closeMember();
  }

  /** Throws if the role does not allow this transition: the caller did not check what changed during an await. */
  #become(role: MemberRole, ...from: readonly MemberRole[]): void {
    if (!from.includes(this.#role)) throw new Error(`slot ${this.index}: a member that is ${this.#role} cannot become ${role}`);
    this.#role = role;
  }
}

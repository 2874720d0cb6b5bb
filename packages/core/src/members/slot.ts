import type { BdevDescriptor, IoPath } from '@raidkit/bdev';
import type { SummedPath } from './summed-path.js';
import type { Replacement } from './replacement.js';
import type { LastMember, MemberRole, SlotAbsence, SlotErrors, SlotView } from './slot-view.js';
import { nullUuid } from '@raidkit/bdev';
import type { ReadPreference } from '../format/read-policy.js';

/** A device as the member of a slot, with what the {@link Slot} says of it alone. `dataOffset`: the first block of its data. */
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
}

/** The work that fills a slot's member. */
export interface Filling {
  /** What the member lacks is on the map, and all that is on it. Before that, nothing that it carries says what it lacks. */
  isOnMap: boolean;
  /** The member leaves: resolves when the work has let go of it, and none of its own I/O will go there any more. */
  leave(reason: string): Promise<void>;
}

/** A member's place in an array. */
export class Slot implements SlotView {
  index: number;
  /** The member bdev's name; null for an empty slot. */
  name: string | null;
  /** The member bdev's uuid, or that of the member that is waited for; the null uuid for an empty slot. */
  uuid: string = nullUuid;
  /** A device of this name is taken while the array is being put together. */
  awaitedName: string | null;
  /** The uuid that the superblock has for the slot: a member that was taken out keeps its place there. */
  recordedUuid: string = nullUuid;
  /** Verifies what is read of the member's data, and stands in front of its device for that; null for none. */
  sums: SummedPath | null = null;
  dataOffset = 0;
  dataSize = 0;
  /** The device that is to take its member's place, while that is copied; null for none. */
  replacement: Replacement | null = null;
  /** The member failed while it was copied: the device that was to replace it is about to be filled in its place. */
  isForReplacement = false;
  /** What is known of the member that is rebuilding; null if none ever was. */
  filling: Filling | null = null;
  /** The member is late with an answer. */
  isUnresponsive = false;
  /** What the superblock says of an empty slot. */
  absence: SlotAbsence = 'missing';
  /** Since when an empty slot of an array that is up has been that: its member left, or the array came up without one. `Runtime.now`. */
  emptySince = 0;
  /** Sequence number of the last superblock that was written to the member; 0 if that is not known. */
  lastSeqNumber = 0;
  /** How many writes of pages its last member has taken for certain, as the sum of their generations; see `ExtensionSlot`. */
  pagesTaken = 0;
  /** Sequence number of the superblock that its member has, as it was found or last written; 0 for none. */
  foundSeqNumber = 0;
  /** Its member was taken out on request: no spare is to replace it. */
  isRemovedByHand = false;
  /** Its member was taken out while the array was up. */
  isRemoved = false;
  /** What the last member was, for people. */
  lastMember: LastMember | null = null;
  readonly errors: SlotErrors = { read: 0, write: 0, repaired: 0, checksum: 0 };
  /** A flush failed, and the array could not do without the member: what was written before may be lost. */
  hasLostFlush = false;
  /**
   * It lost a flush in a start that failed, when the array could not do without it: it leaves once redundancy is in sync, and
   * flushes fail until then.
   */
  isUnsteady = false;
  /** Its member is not on record yet, nor has the volume its blocks: the array can do without it. */
  isBeingAppended = false;
  /** I/O of the array in flight on the member. */
  partsInFlight = 0;
  readBlocksInFlight = 0;
  /** When the member was last read, as the array counts its reads; 0 for never. */
  readTurn = 0;
  /** What reads want of the member. It is the member's: another device begins with `normal`. */
  readPreference: ReadPreference = 'normal';
  #role: MemberRole = 'empty';
  /** What the member was when it began to leave. */
  #roleBefore: MemberRole = 'empty';
  #descriptor: BdevDescriptor | null = null;
  #drainWaiters: (() => void)[] = [];

  constructor(index: number, name: string | null) {
    this.index = index;
    this.name = name;
    this.awaitedName = name;
  }

  /** There are more or fewer slots before it than there were. Nothing of the array's may be in flight. */
  renumber(index: number): void {
    this.index = index;
  }

  get role(): MemberRole {
    return this.#role;
  }

  /** Open and claimed while a member is there; one that leaves has it until its last I/O is done. */
  get descriptor(): BdevDescriptor | null {
    return this.#descriptor;
  }

  /**
   * The only way for I/O on the member's data, and for flushes: blocks from the data offset on. Null while no member is there. What
   * lies in front of the data goes to the descriptor.
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

  get isRebuilding(): boolean {
    return this.#role === 'rebuilding' || (this.isRemoving && this.#roleBefore === 'rebuilding');
  }

  /** Blocks from the data offset to the end of the member. */
  get capacity(): number {
    return this.descriptor === null ? this.dataSize : this.descriptor.bdev.numBlocks - this.dataOffset;
  }

  /** Resolves when none of the array's I/O is in flight on the member. */
  whenDrained(): Promise<void> {
    if (this.partsInFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drainWaiters.push(resolve);
    });
  }

  /** Resolves when nothing of the array's, sums included, is in flight on the member any more: its device can be given back. */
  async whenFree(): Promise<void> {
    await this.whenDrained();
    await this.sums?.close();
  }

  /** One of the array's I/O on the member is done. */
  partEnded(): void {
    this.partsInFlight--;
    if (this.partsInFlight > 0 || this.#drainWaiters.length === 0) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter();
  }

  /** The device is open and claimed, and is to be looked at. */
  open(descriptor: BdevDescriptor): void {
    this.#become('opening', 'empty');
    this.#descriptor = descriptor;
  }

  /** The device is the member, and holds the array's data. */
  join(): void {
    this.#become('inSync', 'opening');
  }

  beginRebuild(): void {
    this.#become('rebuilding', 'opening');
  }

  endRebuild(): void {
    this.#become('inSync', 'rebuilding');
  }

  /** No new I/O goes to the member. */
  leave(): void {
    const before = this.#role;
    this.#become('leaving', 'inSync', 'rebuilding');
    this.#roleBefore = before;
  }

  /** The member does not leave now. */
  stay(): void {
    this.#become(this.#roleBefore, 'leaving');
  }

  /** Another device, open and claimed, is the member at once. The caller closes the one before. */
  exchange({ descriptor, name, sums, uuid, dataOffset, foundSeqNumber, hasLostFlush, isUnsteady }: MemberDevice): void {
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
    this.readPreference = 'normal';
  }

  /** Gives the device back, as if it had never been looked at. Nothing may be in flight. */
  closeMember(): void {
    this.#descriptor?.close();
    this.#descriptor = null;
    this.sums = null;
    this.#role = 'empty';
  }

  /** Another device is the member now. */
  forgetErrors(): void {
    this.errors.read = 0;
    this.errors.write = 0;
    this.errors.repaired = 0;
    this.errors.checksum = 0;
  }

  /** The member is gone for good; its sizes stay for a successor. */
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

  /** Throws for a step that no member takes: the caller did not look at what had happened meanwhile. */
  #become(role: MemberRole, ...from: readonly MemberRole[]): void {
    if (!from.includes(this.#role)) throw new Error(`slot ${this.index}: a member that is ${this.#role} cannot become ${role}`);
    this.#role = role;
  }
}

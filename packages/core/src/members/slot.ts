import type { BdevDescriptor } from '@raidkit/bdev';
import type { Replacement } from './replacement.js';
import type { SlotAbsence, SlotErrors, SlotView } from './slot-view.js';
import { nullUuid } from '../format/store.js';

/** A member's place in an array. */
export class Slot implements SlotView {
  readonly index: number;
  /** The member bdev's name; null for an empty slot. */
  name: string | null;
  /** The member bdev's uuid, or that of the member that is waited for; the null uuid for an empty slot. */
  uuid: string = nullUuid;
  /** A device of this name is taken while the array is being put together. */
  awaitedName: string | null;
  /** The uuid that the superblock has for the slot: a member that was taken out keeps its place there. */
  recordedUuid: string = nullUuid;
  /** Open and claimed while a member is there. */
  descriptor: BdevDescriptor | null = null;
  dataOffset = 0;
  dataSize = 0;
  /** The member is there, with its sizes known; I/O may go to it. */
  isConfigured = false;
  /** Being filled by the running rebuild: current only below the process offset. */
  isRebuilding = false;
  /** The device that is to take its member's place, while that is copied; null for none. */
  replacement: Replacement | null = null;
  /** Out of the array, or on its way: no new I/O. The descriptor lives on until the last part is done. */
  isRemoving = false;
  /** The member is late with an answer. */
  isUnresponsive = false;
  /** What the superblock says of an empty slot. */
  absence: SlotAbsence = 'missing';
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
  /** The name and uuid that the last member had, for people. */
  lastMember: { name: string; uuid: string } | null = null;
  readonly errors: SlotErrors = { read: 0, write: 0, repaired: 0 };
  /** A flush failed, and the array could not do without the member: what was written before may be lost. */
  hasLostFlush = false;
  /**
   * It lost a flush in a start that failed, when the array could not do without it: it leaves once redundancy is in sync, and
   * flushes fail until then.
   */
  isUnsteady = false;
  /** I/O of the array in flight on the member. */
  partsInFlight = 0;
  readBlocksInFlight = 0;
  #drainWaiters: (() => void)[] = [];

  constructor(index: number, name: string | null) {
    this.index = index;
    this.name = name;
    this.awaitedName = name;
  }

  get hasDevice(): boolean {
    return this.descriptor !== null;
  }

  /** The member is part of the array's current state: it may be read anywhere. */
  get isInSync(): boolean {
    return this.isConfigured && !this.isRebuilding && !this.isRemoving;
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

  /** One of the array's I/O on the member is done. */
  partEnded(): void {
    this.partsInFlight--;
    if (this.partsInFlight > 0 || this.#drainWaiters.length === 0) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Gives the device back, as if it had never been looked at. Nothing may be in flight. */
  closeMember(): void {
    this.descriptor?.close();
    this.descriptor = null;
    this.isConfigured = false;
  }

  /** Another device is the member now. */
  forgetErrors(): void {
    this.errors.read = 0;
    this.errors.write = 0;
    this.errors.repaired = 0;
  }

  /** The member is gone for good; its sizes stay for a successor. */
  empty(absence: SlotAbsence): void {
    if (this.name !== null) this.lastMember = { name: this.name, uuid: this.uuid };
    this.isRemoved = true;
    this.name = null;
    this.uuid = nullUuid;
    this.absence = absence;
    this.isConfigured = false;
    this.isRebuilding = false;
    this.isRemoving = false;
    this.isUnresponsive = false;
    this.descriptor?.close();
    this.descriptor = null;
  }
}

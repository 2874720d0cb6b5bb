import type { BdevDescriptor } from '@raidkit/bdev';
import { Status } from '@raidkit/bdev';
import { BLOCK_SUM_KEY_BYTES, makeBlockSumKey } from '@raidkit/parity';
import type { Consistency } from '../bitmap/consistency.js';
import type { RegionStates } from '../bitmap/region-state.js';
import { knowledgeOf } from '../bitmap/sums-knowledge.js';
import { blocksForPages, summedBytes } from '../checksums/area.js';
import { MemberSums } from '../checksums/member-sums.js';
import type { SumsKnowledge, SumsListener } from '../checksums/member-sums.js';
import type { SharedSums, SumsMemory } from '../checksums/sums-memory.js';
import { RaidError } from '../errors.js';
import type { ChecksumPages, MapLife, SumsHeader } from '../format/store.js';
import type { MembersHost } from '../members/host.js';
import type { Replacement } from '../members/replacement.js';
import type { Slot } from '../members/slot.js';
import { RegionState } from '../bitmap/region-state.js';
import type { GrowingSums } from '../sync/host.js';

/** An array with checksums. */
export interface SummedHost extends MembersHost, MapLife {
  readonly isReadOnly: boolean;
  readonly bitmap: Pick<RegionStates, 'regionBlocks' | 'states'> | null;
  readonly consistency: Pick<Consistency, 'isUnstable'>;
  /** Notes that blocks of the slot's member do not match their checksums. Returns false if that is known already. */
  noteDamage(slot: number, memberOffset: number, numBlocks: number): boolean;
  /** Requests a repair of blocks of the slot's member from redundancy. */
  requestRepair(slot: number, memberOffset: number, numBlocks: number): void;
  /** Requests a repair of all damage that was noted. */
  repairDamage(): void;
}

/** A device that gets checksums: the member of a slot, or its replacement. */
interface SummedDevice {
  readonly descriptor: BdevDescriptor;
  readonly dataOffset: number;
}

/** The checksums of an array: its key, and the checksums of each member. It exists from the array's start to its end. */
export class ArraySums implements GrowingSums {
  readonly #array: SummedHost;
  readonly #format: ChecksumPages;
  readonly #memory: SumsMemory;
  readonly #shared: SharedSums;
  readonly #keyAddr: number;
  readonly #salt: string;
  #summedBlocks: number;
  /** Checksums are being turned off, so blocks that lack one no longer need to get one. */
  isEnding = false;
  /** Headers no longer record checksums. Damage that only checksums showed is on the list of bad blocks. */
  isOffRecord = false;
  /** First block of the pages, in blocks behind the data offset; 0 if they are at the end of each data area. */
  #areaAt: number;
  /** The pages are moving to `to`; `isRecorded` if a superblock update may have recorded that. */
  #move: { to: number; isRecorded: boolean } | null = null;
  /** Size in blocks that the members' data areas have been extended to, if that is more than the slots record. */
  #dataSize = 0;
  /** The checksums of all members and of replacements. */
  readonly #open = new Set<MemberSums>();
  /** See {@link SumsHeader.tags}. A slot keeps its tag if its index changes. */
  readonly #tags = new Map<Slot, number>();
  readonly #isForeign: boolean;
  #isClosed = false;

  /**
   * `isForeign`: another program has run the array since it was stopped. Throws `ERR_RAID_MEMORY` if there is not enough
   * memory.
   */
  constructor(
    array: SummedHost,
    format: ChecksumPages,
    memory: SumsMemory,
    { areaAt, isForeign, salt, summedBlocks, tags }: Omit<SumsHeader, 'errors'> & { isForeign: boolean },
  ) {
    this.#array = array;
    this.#format = format;
    this.#memory = memory;
    this.#salt = salt;
    this.#summedBlocks = summedBlocks;
    this.#areaAt = areaAt * (summedBytes / array.blockSize);
    this.#isForeign = isForeign;
    // Checksums of blocks that other software has written are not valid, and the tags may belong to other slots.
    array.slots.forEach((slot, place) => this.#tags.set(slot, isForeign ? place : (tags[place] ?? place)));
    this.#shared = memory.take(format);
    const buffers = array.registry.runtime.memory;
    this.#keyAddr = buffers.allocRegion(BLOCK_SUM_KEY_BYTES);
    if (this.#keyAddr < 0) {
      memory.release();
      throw new RaidError(
        'ERR_RAID_MEMORY',
        Status.NoMemory,
        `array ${array.name}: not enough memory for the key of its checksums`,
      );
    }
    const key = buffers.u8.subarray(this.#keyAddr, this.#keyAddr + BLOCK_SUM_KEY_BYTES);
    makeBlockSumKey(Buffer.from(salt, 'hex'), key);
  }

  /** Returns the header's record of the checksums. */
  header(): SumsHeader | null {
    if (this.isOffRecord) return null;
    const { slots } = this.#array;
    const errors = slots.map((slot) => slot.errors.checksum);
    const tags = slots.map((slot) => this.#tagOf(slot));
    const at = this.#move?.isRecorded === true ? this.#move.to : this.#areaAt;
    const areaAt = at / (summedBytes / this.#array.blockSize);
    return { salt: this.#salt, summedBlocks: this.#summedBlocks, areaAt, tags, errors };
  }

  get areaAt(): number {
    return this.#areaAt > 0 ? this.#areaAt : Math.max(...this.#array.slots.map(({ dataSize }) => dataSize));
  }

  get dataSize(): number {
    return Math.max(this.#dataSize, ...this.#array.slots.map((slot) => slot.dataSize));
  }

  get movesTo(): number | null {
    return this.#move?.to ?? null;
  }

  /** Returns how many blocks behind its data offset a member with a data area of this size needs. */
  blocksNeeded(dataSize: number): number {
    const { blockSize } = this.#array;
    const areaAt = Math.max(this.#areaAt > 0 ? this.#areaAt : dataSize, this.#move?.to ?? 0);
    return areaAt + blocksForPages(Math.max(dataSize, this.#dataSize), blockSize, this.#format);
  }

  beginMove(to: number): void {
    if (this.#move === null) for (const sums of this.#devices()) sums.beginMove(to);
    this.#move ??= { to, isRecorded: false };
  }

  async copyPages(): Promise<void> {
    const { bitmap, blockSize } = this.#array;
    if (bitmap === null) return;
    const perRegion = bitmap.regionBlocks / (summedBytes / blockSize);
    const isUnused = (block: number, end: number): boolean => {
      for (let region = Math.floor(block / perRegion); region * perRegion < end; region++)
        if ((bitmap.states[region] ?? RegionState.Unwritten) !== RegionState.Unwritten) return false;
      return true;
    };
    const copied = await Promise.allSettled([...this.#devices()].map((sums) => sums.copyPages(isUnused)));
    for (const result of copied) if (result.status === 'rejected') throw result.reason;
  }

  recordMove(): void {
    if (this.#move !== null) this.#move.isRecorded = true;
  }

  async endMove(): Promise<void> {
    this.#areaAt = this.#move?.to ?? this.#areaAt;
    this.#move = null;
    await Promise.all([...this.#devices()].map((sums) => sums.endMove()));
  }

  async cancelMove(): Promise<void> {
    // If an update may have recorded the move on some members, it stays in force until another update has told all of them.
    if (this.#move === null || this.#move.isRecorded) return;
    this.#move = null;
    await Promise.all([...this.#devices()].map((sums) => sums.cancelMove()));
  }

  async extend(dataSize: number): Promise<void> {
    this.#dataSize = dataSize;
    await Promise.all([...this.#devices()].map((sums) => sums.extend(dataSize)));
  }

  countFrom(dataSize: number): void {
    // Blocks before these may have no checksums yet. Then these are summed later too.
    if (this.isComplete) this.countTo(dataSize);
  }

  countTo(memberBlocks: number): void {
    this.#summedBlocks = Math.max(this.#summedBlocks, Math.floor(memberBlocks / (summedBytes / this.#array.blockSize)));
  }

  get summedTo(): number {
    return this.#summedBlocks * (summedBytes / this.#array.blockSize);
  }

  get isComplete(): boolean {
    return this.summedTo >= Math.max(...this.#array.slots.map(({ dataSize }) => dataSize));
  }

  /**
   * Verifies I/O on the slot's device from now on. The device must be open and its sizes set. `isKnown`: the map describes the
   * device's contents; if not, none of its existing checksums is valid.
   */
  open(slot: Slot, isKnown: boolean): void {
    if (slot.descriptor !== null) slot.setSums(this.#make(slot, slot as Slot & { descriptor: BdevDescriptor }, isKnown));
  }

  /** Checksums are being turned off. See {@link isEnding}. */
  end(): void {
    this.isEnding = true;
  }

  /** Headers cease to record checksums. See {@link isOffRecord}. */
  leaveRecord(): void {
    this.isOffRecord = true;
  }

  /** Checksums are kept after all, and headers record them again. */
  keep(): void {
    this.isEnding = false;
    this.isOffRecord = false;
  }

  /** As {@link open}, for a device that will replace the slot's member. */
  openFor(slot: Slot, replacement: Replacement): void {
    replacement.setSums(this.#make(slot, replacement, false));
  }

  /** Frees the memory. The checksums of every member must be closed. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#array.registry.runtime.memory.freeRegion(this.#keyAddr);
    this.#memory.release();
  }

  #make(slot: Slot, { dataOffset, descriptor }: SummedDevice, isKnown: boolean): MemberSums {
    const array = this.#array;
    const { incarnation, uuid } = array;
    const dataSize = Math.max(slot.dataSize, this.#dataSize);
    const member = { uuid, incarnation, memberUuid: descriptor.bdev.uuid };
    const isMember = (): boolean => slot.sums === sums;
    const sums: MemberSums = new MemberSums({
      descriptor,
      dataOffset,
      dataSize,
      areaOffset: dataOffset + (this.#areaAt > 0 ? this.#areaAt : slot.dataSize),
      tag: this.#tagOf(slot),
      keyAddr: this.#keyAddr,
      ...this.#shared,
      format: this.#format,
      codec: this.#format.codecFor(member),
      // What a member that is leaving has read is still returned, so it must be proven too.
      knowledge: this.#knowledgeOf(() => isMember() && slot.wasInSync, isKnown),
      isBeingFilled: () => !isMember() || !slot.wasInSync,
      listener: this.#listenerOf(slot, descriptor, dataOffset, isMember),
      mustWash: this.#isForeign && isKnown,
      isReadOnly: array.isReadOnly,
    });
    if (this.#move !== null) sums.beginMove(this.#move.to);
    this.#open.add(sums);
    return sums;
  }

  /** Returns the slot's tag. A slot that was added later gets the lowest unused one. */
  #tagOf(slot: Slot): number {
    const known = this.#tags.get(slot);
    if (known !== undefined) return known;
    const { slots } = this.#array;
    for (const other of this.#tags.keys()) if (slots[other.index] !== other) this.#tags.delete(other);
    const taken = new Set(this.#tags.values());
    let tag = 0;
    while (taken.has(tag)) tag++;
    this.#tags.set(slot, tag);
    return tag;
  }

  /** The checksums that are not closed. */
  *#devices(): Iterable<MemberSums> {
    for (const sums of this.#open) {
      if (sums.isClosed) this.#open.delete(sums);
      else yield sums;
    }
  }

  #knowledgeOf(isInSync: () => boolean, isKnown: boolean): SumsKnowledge {
    const { bitmap, blockSize, consistency } = this.#array;
    if (bitmap === null) throw new Error('an array without a write-intent bitmap has no checksums');
    const summedBlocks = (): number => this.#summedBlocks;
    const regions = {
      blockSize,
      bitmap,
      consistency,
      isForeign: this.#isForeign,
      get summedBlocks() {
        return summedBlocks();
      },
    };
    const asMapped = knowledgeOf(regions, {
      get isInSync() {
        return isInSync();
      },
    });
    if (isKnown) return asMapped;
    return {
      counts: (block) => isInSync() && asMapped.counts(block),
      endOfRun: (block, limit) => (isInSync() ? asMapped.endOfRun(block, limit) : limit),
    };
  }

  /** Damage that is found in one turn is reported together. */
  #listenerOf(slot: Slot, { bdev }: BdevDescriptor, dataOffset: number, isMember: () => boolean): SumsListener {
    const array = this.#array;
    const perSum = summedBytes / array.blockSize;
    let first = -1;
    let end = -1;
    const tell = (): void => {
      const place = { block: dataOffset + first * perSum, blocks: (end - first) * perSum };
      first = -1;
      const member = slot.name ?? slot.lastMember?.name ?? bdev.name;
      array.log.error({ ...array.logFields(slot), ...place }, 'blocks do not match their checksums: reads of them return EIO');
      array.emit({ type: 'checksumError', array: array.name, slot: slot.index, member, ...place });
    };
    /** Returns false if the damage is known, or is not reported. */
    const note = (block: number): boolean => {
      // A device that disappears, or that is not a member yet, is not reported.
      if (!isMember() || bdev.state !== 'registered') return false;
      // A block that is read again before it is repaired, listed or written is counted once.
      if (slot.isInSync && !array.noteDamage(slot.index, block * perSum, perSum)) return false;
      slot.countChecksumError();
      if (first >= 0 && block !== end) tell();
      if (first < 0) {
        first = block;
        array.registry.runtime.soon(() => {
          if (first >= 0) tell();
        });
      }
      end = block + 1;
      return true;
    };
    return {
      onDamage: (block) => void note(block),
      onLost(block) {
        if (!isMember() || bdev.state !== 'registered') return;
        const [at, count] = [block * perSum, perSum];
        if (slot.isInSync) {
          // The repair does not wait for a read, because the other members may have left by then.
          array.noteDamage(slot.index, at, count);
          array.requestRepair(slot.index, at, count);
        } else if (slot.isRebuilding && !array.badBlocks.has(slot.index, at, count)) {
          array.failMember(slot.index, 'blocks written by its rebuild could not be read back');
        }
      },
      onSumsLost(block, stop) {
        // Without redundancy nothing can repair them, and another read of the page may succeed.
        if (array.isReadOnly || !isMember() || !slot.isInSync || !array.canDoWithout(slot)) return;
        let isNews = false;
        for (let at = block; at < stop; at++) isNews = note(at) || isNews;
        // As above: the other members may have left before somebody reads these blocks. A repair that has failed reads the page
        // again, which must not begin another one.
        if (isNews) array.repairDamage();
      },
      onGivenSumsLost() {
        if (isMember()) array.failMember(slot.index, 'checksums written by its rebuild could not be read back or written');
        else if (slot.replacement?.descriptor.bdev === bdev) slot.replacement.loseSums();
      },
      onPageGivenUp: () =>
        !isMember() ||
        array.state === 'offline' ||
        array.failMember(slot.index, 'a page of its checksums was not read or written in time'),
      onPageNotWritten(status) {
        // With ENOSPC nothing is lost, because the page stays in memory.
        if (isMember() && status !== Status.NoSpace)
          array.failMember(slot.index, 'a page of its checksums could not be written');
      },
    };
  }
}

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

/** An array whose members' blocks have sums. */
export interface SummedHost extends MembersHost, MapLife {
  readonly isReadOnly: boolean;
  readonly bitmap: Pick<RegionStates, 'regionBlocks' | 'states'> | null;
  readonly consistency: Pick<Consistency, 'isUnstable'>;
  /** The blocks of the slot's member are not what they should be. False if that is known already. */
  noteDamage(slot: number, memberOffset: number, numBlocks: number): boolean;
  /** Has blocks of the slot's member rewritten from redundancy. */
  requestRepair(slot: number, memberOffset: number, numBlocks: number): void;
}

/** A device whose blocks get sums, as a member of a slot or about to be one. */
interface SummedDevice {
  readonly descriptor: BdevDescriptor;
  readonly dataOffset: number;
}

/** An array's sums: what they are made with, and those of each member. From the array's start to its end. */
export class ArraySums implements GrowingSums {
  readonly #array: SummedHost;
  readonly #format: ChecksumPages;
  readonly #memory: SumsMemory;
  readonly #shared: SharedSums;
  readonly #keyAddr: number;
  readonly #salt: string;
  #summedBlocks: number;
  /** They are being given up: no block is given one any more that only has to have one. */
  isEnding = false;
  /** Headers have none from now on: what they alone know is on the list of bad blocks. */
  isOffRecord = false;
  /** Where pages begin, in blocks of the devices from the data offset on; 0: at the end of each data area. */
  #areaAt: number;
  /** Pages are moving there; on record or not. */
  #move: { to: number; isRecorded: boolean } | null = null;
  /** Data areas have been told of so many blocks, if that is more than the slots have. */
  #dataSize = 0;
  /** The checksums of members and of devices that take their places. */
  readonly #open = new Set<MemberSums>();
  /** See {@link SumsHeader.tags}. A slot keeps its own, whatever place it comes to. */
  readonly #tags = new Map<Slot, number>();
  readonly #isForeign: boolean;
  #isClosed = false;

  /** `isForeign`: another program ran the array since it was stopped. Throws `ERR_RAID_MEMORY` if there is none for it. */
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
    // No sum counts for what other software has written, and the tags may belong to other slots.
    array.slots.forEach((slot, place) => this.#tags.set(slot, isForeign ? place : (tags[place] ?? place)));
    this.#shared = memory.take(format);
    const buffers = array.registry.runtime.memory;
    this.#keyAddr = buffers.allocRegion(BLOCK_SUM_KEY_BYTES);
    if (this.#keyAddr < 0) {
      memory.release();
      throw new RaidError('ERR_RAID_MEMORY', 12, `array ${array.name}: there is no memory for the key of its checksums`);
    }
    const key = buffers.u8.subarray(this.#keyAddr, this.#keyAddr + BLOCK_SUM_KEY_BYTES);
    makeBlockSumKey(Buffer.from(salt, 'hex'), key);
  }

  /** For the header of each member. */
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

  /** How many blocks from the data offset on a member with so many of data needs. */
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
    // What a round may have told some of them holds until another one has told all.
    if (this.#move === null || this.#move.isRecorded) return;
    this.#move = null;
    await Promise.all([...this.#devices()].map((sums) => sums.cancelMove()));
  }

  async extend(dataSize: number): Promise<void> {
    this.#dataSize = dataSize;
    await Promise.all([...this.#devices()].map((sums) => sums.extend(dataSize)));
  }

  countFrom(dataSize: number): void {
    // Blocks in front of these may have none yet: then these wait for their turn, too.
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
   * From now on the slot's device, which is open and has its sizes, is verified. `isKnown`: it holds what the map says of a member
   * of its slot; else none of the sums that it has counts.
   */
  open(slot: Slot, isKnown: boolean): void {
    if (slot.descriptor !== null) slot.sums = this.#make(slot, slot as Slot & { descriptor: BdevDescriptor }, isKnown);
  }

  /** As {@link open}, of a device that is to take the place of the slot's member. */
  openFor(slot: Slot, replacement: Replacement): void {
    replacement.sums = this.#make(slot, replacement, false);
  }

  /** Gives back what it has; every member's sums are closed. */
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
      knowledge: this.#knowledgeOf(() => isMember() && slot.isInSync, isKnown),
      listener: this.#listenerOf(slot, descriptor, dataOffset, isMember),
      mustWash: this.#isForeign && isKnown,
      isReadOnly: array.isReadOnly,
    });
    if (this.#move !== null) sums.beginMove(this.#move.to);
    this.#open.add(sums);
    return sums;
  }

  /** One that came later has the first that none of the others has. */
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

  /** Those that are not closed. */
  *#devices(): Iterable<MemberSums> {
    for (const sums of this.#open) {
      if (sums.isClosed) this.#open.delete(sums);
      else yield sums;
    }
  }

  #knowledgeOf(isInSync: () => boolean, isKnown: boolean): SumsKnowledge {
    const { bitmap, blockSize, consistency } = this.#array;
    if (bitmap === null) throw new Error('an array without a map has no sums');
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

  /** What is found in one turn is told together. */
  #listenerOf(slot: Slot, { bdev }: BdevDescriptor, dataOffset: number, isMember: () => boolean): SumsListener {
    const array = this.#array;
    const perSum = summedBytes / array.blockSize;
    let first = -1;
    let end = -1;
    const tell = (): void => {
      const place = { block: dataOffset + first * perSum, blocks: (end - first) * perSum };
      first = -1;
      const member = slot.name ?? slot.lastMember?.name ?? bdev.name;
      array.log.error(
        { ...array.logFields(slot), ...place },
        'blocks are not what their checksums say: they are answered as unreadable',
      );
      array.emit({ type: 'checksumError', array: array.name, slot: slot.index, member, ...place });
    };
    return {
      onDamage(block) {
        // One that goes away, or is none of the array's yet, is not to blame.
        if (!isMember() || bdev.state !== 'registered') return;
        // A block that is read again before it is repaired, listed or written is counted once.
        if (slot.isInSync && !array.noteDamage(slot.index, block * perSum, perSum)) return;
        slot.errors.checksum++;
        if (first >= 0 && block !== end) tell();
        if (first < 0) {
          first = block;
          array.registry.runtime.soon(() => {
            if (first >= 0) tell();
          });
        }
        end = block + 1;
      },
      onLost(block) {
        if (!isMember() || bdev.state !== 'registered') return;
        const [at, count] = [block * perSum, perSum];
        if (slot.isInSync) {
          // The repair does not wait for a read: the other members may be gone before one comes.
          array.noteDamage(slot.index, at, count);
          array.requestRepair(slot.index, at, count);
        } else if (slot.isRebuilding && !array.badBlocks.has(slot.index, at, count)) {
          array.failMember(slot.index, 'what it has been given could not be read while it was being filled');
        }
      },
      onPageGivenUp: () =>
        !isMember() ||
        array.state === 'offline' ||
        array.failMember(slot.index, 'a page of its checksums was not read in time'),
      onPageNotWritten(status) {
        // It has lost nothing for a lack of space: the page stays in memory.
        if (isMember() && status !== Status.NoSpace)
          array.failMember(slot.index, 'a page of its checksums could not be written');
      },
    };
  }
}

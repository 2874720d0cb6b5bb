import { blocksForData, blocksForPages, mostInFrontOf, summedBytes } from '../checksums/area.js';
import type { Consistency } from '../bitmap/consistency.js';
import type { ExtensionHeader, ExtensionStore } from '../format/store.js';
import type { RaidModule } from '../level/module.js';
import type { Slot } from '../members/slot.js';
import type { ArraySums } from './array-sums.js';

/** An array whose members' blocks may have checksums. */
export interface IntegrityHost {
  readonly blockSize: number;
  readonly module: RaidModule;
  readonly slots: readonly Slot[];
  readonly extension: ExtensionStore | undefined;
  readonly consistency: Pick<Consistency, 'isSettled'>;
}

/** Whether an array has or is to have checksums, and the space that they need. Sizes are in blocks of members. */
export class Integrity {
  readonly #array: IntegrityHost;
  #isOn: boolean;
  #isWanted = false;
  #sums: ArraySums | null = null;

  constructor(array: IntegrityHost, isOn: boolean) {
    this.#array = array;
    this.#isOn = isOn;
  }

  /** Whether the array has checksums. For an assembled array this is known once its start has begun. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** The array has no checksums and gets them as soon as members have room. Until then, growth leaves that room free. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** The checksums while the array is starting or online; null if it has none. */
  get sums(): ArraySums | null {
    return this.#sums;
  }

  /** The array has checksums, but not all data that was ever written has a valid one. */
  get isUnproven(): boolean {
    const { consistency, module } = this.#array;
    if (this.#sums === null) return false;
    return !this.#sums.isComplete || (module.redundancy === 'none' && !consistency.isSettled);
  }

  /** Sets what a header records about checksums. */
  adopt({ sums, wantsIntegrity }: Pick<ExtensionHeader, 'sums' | 'wantsIntegrity'>): void {
    this.#isOn = sums !== null;
    this.#isWanted = wantsIntegrity && sums === null;
  }

  /** The array is being started with or without checksums, whatever was known before. */
  setOn(isOn: boolean): void {
    this.#isOn = isOn;
  }

  setWanted(isWanted: boolean): void {
    this.#isWanted = isWanted;
  }

  /** Gives members' blocks these checksums. No I/O of the array may be in flight. */
  attach(sums: ArraySums): void {
    this.#isOn = true;
    this.#sums = sums;
    for (const slot of this.#array.slots) if (slot.isConfigured) sums.open(slot, true);
  }

  /** Removes the checksums. No I/O of the array or of its checksums may be in flight. */
  detach(): void {
    for (const slot of this.#array.slots) {
      // If no I/O is in flight, this completes in the same turn.
      void slot.sums?.close();
      slot.setSums(null);
    }
    this.#sums?.close();
    this.#sums = null;
    this.#isOn = false;
  }

  /** Closes the checksums of all members and frees their memory, after a start has failed. */
  async close(): Promise<void> {
    const sums = this.#sums;
    if (sums === null) return;
    for (const slot of this.#array.slots) {
      await slot.sums?.close();
      slot.setSums(null);
    }
    sums.close();
    this.#sums = null;
  }

  /** Number of consecutive blocks that share a checksum; 1 if there are no checksums. */
  get blocksTogether(): number {
    return this.#isOn ? summedBytes / this.#array.blockSize : 1;
  }

  /**
   * Returns how many of `blocks` blocks behind the data offset can hold data, with the pages of checksums at `areaAt`, or
   * behind the data if absent.
   */
  roomForData(blocks: number, areaAt?: number): number {
    const { blockSize, extension } = this.#array;
    if (!(this.#isOn || this.#isWanted) || extension === undefined) return blocks;
    return areaAt === undefined
      ? blocksForData(blocks, blockSize, extension.checksums)
      : mostInFrontOf(areaAt, blocks, blockSize, extension.checksums);
  }

  /** Returns how many blocks from its data offset a member needs for this many blocks of data. */
  blocksNeeded(dataBlocks: number): number {
    return this.#sums?.blocksNeeded(dataBlocks) ?? dataBlocks + this.blocksForPages(dataBlocks);
  }

  /** Returns how many blocks the pages of checksums need for this many blocks of data. */
  blocksForPages(dataBlocks: number): number {
    const { blockSize, extension } = this.#array;
    return this.#isOn && extension !== undefined ? blocksForPages(dataBlocks, blockSize, extension.checksums) : 0;
  }

  /** Returns, for each slot, how many blocks its member lacks behind its data for checksums; 0 if there is room. */
  roomMissing(): number[] {
    const { blockSize, extension, slots } = this.#array;
    return slots.map(({ capacity, dataSize }) =>
      extension === undefined ? 0 : Math.max(0, dataSize + blocksForPages(dataSize, blockSize, extension.checksums) - capacity),
    );
  }
}

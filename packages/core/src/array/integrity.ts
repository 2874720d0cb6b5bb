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

/** Whether the blocks of an array's members have checksums, or are to have some, and the room that these take. Blocks are members'. */
export class Integrity {
  readonly #array: IntegrityHost;
  #isOn: boolean;
  #isWanted = false;
  #sums: ArraySums | null = null;

  constructor(array: IntegrityHost, isOn: boolean) {
    this.#array = array;
    this.#isOn = isOn;
  }

  /** For an array that is assembled this is known once it is being started. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** They are off, and are to be on as soon as members have room: until then growth leaves it. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** While the array is up, or being started, with checksums; null for others. */
  get sums(): ArraySums | null {
    return this.#sums;
  }

  /** They are on, and not all that was ever written has one that counts. */
  get isUnproven(): boolean {
    const { consistency, module } = this.#array;
    if (this.#sums === null) return false;
    return !this.#sums.isComplete || (module.redundancy === 'none' && !consistency.isSettled);
  }

  /** What a header says of them. */
  adopt({ sums, wantsIntegrity }: Pick<ExtensionHeader, 'sums' | 'wantsIntegrity'>): void {
    this.#isOn = sums !== null;
    this.#isWanted = wantsIntegrity && sums === null;
  }

  /** The array is being started with them, or without, whatever was known before. */
  setOn(isOn: boolean): void {
    this.#isOn = isOn;
  }

  setWanted(isWanted: boolean): void {
    this.#isWanted = isWanted;
  }

  /** From now on members' blocks have these. Nothing of the array's may be in flight. */
  attach(sums: ArraySums): void {
    this.#isOn = true;
    this.#sums = sums;
    for (const slot of this.#array.slots) if (slot.isConfigured) sums.open(slot, true);
  }

  /** From now on they have none. Nothing of the array's may be in flight, nor of the sums'. */
  detach(): void {
    for (const slot of this.#array.slots) {
      // Without anything in flight that is done in this turn.
      void slot.sums?.close();
      slot.sums = null;
    }
    this.#sums?.close();
    this.#sums = null;
    this.#isOn = false;
  }

  /** The sums of all members are closed, and what they had is given back: the start has failed. */
  async close(): Promise<void> {
    const sums = this.#sums;
    if (sums === null) return;
    for (const slot of this.#array.slots) {
      await slot.sums?.close();
      slot.sums = null;
    }
    sums.close();
    this.#sums = null;
  }

  /** Blocks that are only ever right or wrong together: those that have one checksum; else 1. */
  get blocksTogether(): number {
    return this.#isOn ? summedBytes / this.#array.blockSize : 1;
  }

  /** How many of so many blocks behind the data offset are left for data; if pages of sums stay where they are, `areaAt`, or move. */
  roomForData(blocks: number, areaAt?: number): number {
    const { blockSize, extension } = this.#array;
    if (!(this.#isOn || this.#isWanted) || extension === undefined) return blocks;
    return areaAt === undefined
      ? blocksForData(blocks, blockSize, extension.checksums)
      : mostInFrontOf(areaAt, blocks, blockSize, extension.checksums);
  }

  /** How many blocks a member needs from its data offset on for so many of data. */
  blocksNeeded(dataBlocks: number): number {
    return this.#sums?.blocksNeeded(dataBlocks) ?? dataBlocks + this.blocksForPages(dataBlocks);
  }

  /** How many blocks pages of checksums take for so many of data. */
  blocksForPages(dataBlocks: number): number {
    const { blockSize, extension } = this.#array;
    return this.#isOn && extension !== undefined ? blocksForPages(dataBlocks, blockSize, extension.checksums) : 0;
  }

  /** How many blocks each slot's member lacks behind its data for checksums of it; 0 where there is room. */
  roomMissing(): number[] {
    const { blockSize, extension, slots } = this.#array;
    return slots.map(({ capacity, dataSize }) =>
      extension === undefined ? 0 : Math.max(0, dataSize + blocksForPages(dataSize, blockSize, extension.checksums) - capacity),
    );
  }
}

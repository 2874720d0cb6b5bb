import type { RaidArray } from './array.js';
import { RaidError } from './errors.js';
import type { Slot } from './slot.js';
import type { ArrayRecord, SlotRecord, SuperblockStore } from './store.js';

/**
 * Writes an array's record to its members, one round at a time. A round writes one snapshot, with one sequence number, to
 * every current member in parallel, each flushed. Rounds that are asked for while one is under way are one round together.
 */
export class MetadataWriter {
  readonly #array: RaidArray;
  readonly #store: SuperblockStore | null;
  seqNumber = 0;
  #round: Promise<void> | null = null;
  #nextRound: Promise<void> | null = null;

  constructor(array: RaidArray, store: SuperblockStore | null) {
    this.#array = array;
    this.#store = store;
  }

  get isEnabled(): boolean {
    return this.#store !== null;
  }

  /**
   * Resolves when the array's state, as it is now or later, is on stable media of every member that is still current then.
   * A member that cannot be written to is failed; rejects if not one could be written, or one that is needed could not.
   */
  update(): Promise<void> {
    if (this.#store === null) return Promise.resolve();
    if (this.#round === null) return this.#start();
    // The round under way may have taken its snapshot already.
    this.#nextRound ??= this.#round.then(
      () => this.#startNext(),
      () => this.#startNext(),
    );
    return this.#nextRound;
  }

  /** The record as it would be written now. */
  snapshot(): ArrayRecord {
    const array = this.#array;
    return {
      uuid: array.uuid,
      name: array.name,
      level: array.module.code,
      blockSize: array.blockSize,
      stripSizeBlocks: array.stripSizeBlocks,
      numBlocks: array.numBlocks,
      seqNumber: this.seqNumber,
      slots: array.slots.map(slotRecord),
    };
  }

  #startNext(): Promise<void> {
    this.#nextRound = null;
    return this.#start();
  }

  #start(): Promise<void> {
    const round = this.#write().finally(() => {
      if (this.#round === round) this.#round = null;
    });
    this.#round = round;
    return round;
  }

  async #write(): Promise<void> {
    const store = this.#store;
    if (store === null) return;
    const array = this.#array;
    this.seqNumber++;
    const record = this.snapshot();
    // The target of a rebuild carries the record too, in which it is not a member yet.
    const writers = array.slots.filter((slot) => slot.descriptor !== null && slot.isConfigured && !slot.isLeaving);
    const failed: Slot[] = [];
    let written = 0;
    let lastError: unknown;
    await Promise.all(
      writers.map(async (slot) => {
        if (slot.descriptor === null) return;
        try {
          await store.write(slot.descriptor, record);
          if (slot.isCurrent) written++;
        } catch (error) {
          lastError = error;
          if (slot.isCurrent) failed.push(slot);
          array.log.error({ ...array.logFields(slot), err: error }, 'the superblock could not be written');
        }
      }),
    );
    if (written === 0) {
      const message = `array ${array.name}: the superblock could not be written to any member`;
      throw new RaidError('ERR_RAID_METADATA', 5, message, { cause: lastError });
    }
    // A member that does not carry the newest record would be a stale one at the next start: it must go, or all fails.
    for (const slot of failed) {
      if (slot.isCurrent && !array.failMember(slot.index, 'its superblock could not be written')) {
        const message = `array ${array.name} slot ${slot.index}: the superblock could not be written to ${String(slot.name)}, and the array cannot do without it`;
        throw new RaidError('ERR_RAID_METADATA', 5, message, { cause: lastError });
      }
    }
  }
}

function slotRecord(slot: Slot): SlotRecord {
  return {
    uuid: slot.recordedUuid,
    dataOffsetBlocks: slot.dataOffset,
    dataSizeBlocks: slot.dataSize,
    state: slot.isCurrent ? 'configured' : slot.absence,
  };
}

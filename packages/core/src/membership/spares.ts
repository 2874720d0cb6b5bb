import { Status } from '@raidkit/bdev';
import type { Bdev, BdevDescriptor } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { RaidError } from '../errors.js';
import type { RaidEvent } from '../events.js';
import { chooseDataOffset, refuseForeign } from './join.js';
import { addMember } from './add.js';
import { canTakeAlong } from '../sync/start-rebuild.js';
import type { Slot } from '../members/slot.js';

/** A device that can replace a failed member. */
export interface Spare {
  /** Name of the bdev. */
  bdev: string;
  /** Name of the array that may use it; null for any array. */
  array: string | null;
}

interface Held extends Spare {
  descriptor: BdevDescriptor;
}

/**
 * The spares. The first suitable one replaces a member that failed at once, and a member that disappeared after the grace
 * period. The period is counted for each slot, from the time at which its member left or the array came online without one. A
 * member that has returned and is about to be examined has priority over a spare even after the period. An array's own spares
 * are used before those for any array. A member that was removed on request is not replaced.
 */
export class Spares {
  readonly #ctx: RaidContext;
  readonly #spares = new Map<string, Held>();
  /**
   * For each slot in its grace period, the end of that period in milliseconds of the runtime's clock, when it is considered
   * again.
   */
  readonly #inGrace = new Map<Slot, number>();

  constructor(ctx: RaidContext) {
    this.#ctx = ctx;
  }

  list(): Spare[] {
    return [...this.#spares.values()].map(({ bdev, array }) => ({ bdev, array }));
  }

  /**
   * Claims the device as a spare. Rejects if it is claimed, or has the superblock of an array or data of other software on it.
   */
  async add(bdev: Bdev, array: string | null): Promise<void> {
    const { name } = bdev;
    const descriptor = this.#ctx.registry.open(bdev, {
      writable: true,
      onEvent: ({ type }) => {
        if (type === 'remove') this.#drop(name);
      },
    });
    try {
      descriptor.claim('spare');
      await refuseForeign(this.#ctx, descriptor, `spare ${name}`, null);
      if (this.#ctx.retries.isStopped)
        throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `spare ${name}: the arrays have been stopped`);
      if (bdev.state !== 'registered') throw new RaidError('ERR_RAID_MEMBER', Status.NoDevice, `spare ${name}: it was removed`);
    } catch (error) {
      descriptor.close();
      throw error;
    }
    this.#spares.set(name, { bdev: name, array, descriptor });
    for (const other of this.#ctx.arrays.values()) this.consider(other);
  }

  remove(name: string): void {
    if (!this.#spares.has(name)) throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `there is no spare ${name}`);
    this.#drop(name);
  }

  close(): void {
    for (const name of [...this.#spares.keys()]) this.#drop(name);
  }

  onEvent(event: RaidEvent): void {
    if (
      event.type !== 'memberFailed' &&
      event.type !== 'memberRemoved' &&
      event.type !== 'arrayOnline' &&
      event.type !== 'processFinished'
    )
      return;
    const array = this.#ctx.arrays.get(event.array);
    if (array !== undefined) this.consider(array);
  }

  /** Called when something has changed that may let spares fill the array's slots. */
  consider(array: RaidArray): void {
    for (const slot of array.slots) this.#consider(array, slot);
  }

  #drop(name: string): void {
    this.#spares.get(name)?.descriptor.close();
    this.#spares.delete(name);
  }

  #consider(array: RaidArray, slot: Slot): void {
    if (this.#spares.size === 0 || !isOpen(array, slot)) return;
    const graceLeftMs = this.#graceLeftMs(slot);
    if (graceLeftMs > 0) {
      this.#considerLater(array, slot, graceLeftMs);
      return;
    }
    // In a later turn, because the event may be emitted before the slot is emptied in this turn.
    this.#ctx.registry.runtime.soon(() => {
      this.#fill(array, slot).catch((error: unknown) =>
        array.log.error({ ...array.logFields(slot), err: error }, 'a spare could not be used'),
      );
    });
  }

  #considerLater(array: RaidArray, slot: Slot, afterMs: number): void {
    const at = this.#ctx.registry.runtime.now() + afterMs;
    if ((this.#inGrace.get(slot) ?? Infinity) <= at) return;
    this.#inGrace.set(slot, at);
    this.#ctx.retries.later(afterMs, () => {
      if (this.#inGrace.get(slot) === at) this.#inGrace.delete(slot);
      this.#consider(array, slot);
    });
  }

  async #fill(array: RaidArray, slot: Slot): Promise<void> {
    while (isOpen(array, slot) && this.#graceLeftMs(slot) <= 0) {
      const spare = this.#choose(array, slot);
      if (spare === undefined) return;
      const { bdev } = spare.descriptor;
      this.#drop(spare.bdev);
      try {
        await addMember(this.#ctx, array, bdev, slot);
      } catch (error) {
        array.log.error({ ...array.logFields(slot), spare: bdev.name, err: error }, 'a spare cannot replace the member');
        if (this.#ctx.retries.isStopped) return;
        if (!isOpen(array, slot) && isOfArray(error)) await this.add(bdev, spare.array);
        continue;
      }
      array.log.warn({ ...array.logFields(slot), spare: bdev.name }, 'a spare replaces the member');
      this.#ctx.emit({ type: 'spareActivated', array: array.name, slot: slot.index, member: bdev.name });
      return;
    }
  }

  /** Returns the milliseconds for which the member that disappeared from this empty slot may still return. */
  #graceLeftMs({ absence, emptySince }: Slot): number {
    if (absence === 'failed') return 0;
    return emptySince + this.#ctx.memberOptions.graceMs - this.#ctx.registry.runtime.now();
  }

  #choose(array: RaidArray, slot: Slot): Held | undefined {
    const fitting = [...this.#spares.values()].filter(({ array: owner, descriptor: { bdev } }) => {
      const isItsOwn = owner === null || owner === array.name;
      if (!isItsOwn || bdev.blockSize !== array.blockSize) return false;
      return bdev.numBlocks >= chooseDataOffset(array, slot, bdev) + array.integrity.blocksNeeded(slot.dataSize);
    });
    return fitting.find(({ array: owner }) => owner !== null) ?? fitting[0];
  }
}

/** Whether the array is the reason: another device was faster, or the array is gone. Then the spare is kept. */
function isOfArray(error: unknown): boolean {
  return RaidError.is(error) && (error.code === 'ERR_RAID_BUSY' || error.code === 'ERR_RAID_INVALID');
}

/** Whether the slot lost its member to a fault and can get another one. */
function isOpen(array: RaidArray, slot: Slot): boolean {
  const isUp = array.state === 'online' && !array.isReadOnly;
  const isReady = isUp && !array.isDeleting && array.module.redundancy !== 'none';
  if (!isReady || !canTakeAlong(array, false) || slot.descriptor !== null || slot.isRemovedByHand) return false;
  if (slot.replacement !== null || slot.isForReplacement) return false;
  // A failed member is replaced even if its device is present.
  return slot.absence === 'failed' || !array.assembly.isPromised(slot.recordedUuid);
}

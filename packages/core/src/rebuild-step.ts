import { IoType } from '@raidkit/bdev';
import type { BufferPool } from '@raidkit/parity';
import type { RaidArray } from './array.js';
import { memberIo, reconstructInto } from './member-io.js';
import type { ProcessStep } from './process.js';
import { RegionState } from './region-states.js';
import type { Slot } from './slot.js';

/**
 * Gives a member what it must hold, worked out from the others. Passed over: what was never written, and what the member
 * has not missed.
 */
export class RebuildStep implements ProcessStep {
  readonly #array: RaidArray;
  readonly #target: Slot;
  readonly #pool: BufferPool;

  constructor(array: RaidArray, target: Slot, pool: BufferPool) {
    this.#array = array;
    this.#target = target;
    this.#pool = pool;
  }

  isNeeded(start: number, end: number): boolean {
    const { regions } = this.#array;
    if (regions === null) return true;
    const { from, to } = this.#array.memberRange(start, end);
    return regions.hasStale(from, to - from);
  }

  async run(start: number, end: number): Promise<void> {
    const { from, to } = this.#array.memberRange(start, end);
    const { regions } = this.#array;
    const most = this.#pool.slotBytes / this.#array.blockSize;
    for (let at = from, count; at < to; at += count) {
      const atMost = Math.min(most, to - at);
      count = regions?.withinRegion(at, atMost) ?? atMost;
      if (regions?.has(RegionState.Unwritten, at, count) === true) continue;
      const addr = this.#pool.get();
      if (addr < 0) throw new Error('a rebuild ran out of buffers');
      try {
        await reconstructInto(this.#array, this.#target.index, at, count, addr);
        await memberIo(this.#array, this.#target, IoType.Write, at, count, addr);
      } finally {
        this.#pool.put(addr);
      }
    }
  }

  onProgress(): void {
    // What is copied may be made clean, so that an interrupted rebuild goes on from there.
    if (this.#array.regions?.count(RegionState.Missed) !== 0) this.#array.regions?.arm();
  }

  finish(): Promise<void> {
    return memberIo(this.#array, this.#target, IoType.Flush, 0, this.#target.dataSize, -1);
  }

  /** From here on the target is a member like the others, and every write goes to it. */
  complete(): void {
    const array = this.#array;
    if (this.#target.isLeaving) throw new Error(`the target ${String(this.#target.name)} left`);
    this.#target.isTarget = false;
    array.membership++;
    array.answers.setDeadlines();
  }
}

import type { BufferPool } from '@raidkit/parity';
import { IoType } from '@raidkit/bdev';
import { RegionState } from '../bitmap/region-state.js';
import { memberIo, onEveryMember } from '../members/member-io.js';
import type { Slot } from '../members/slot.js';
import type { GrowingSums, SyncHost } from './host.js';
import { ResyncTask } from './resync.js';
import { salvage } from './salvage.js';
import type { ProcessStep, RunningProcess } from './task.js';

/** How often what has been summed is made to count, in milliseconds: members are flushed for it. */
const markMs = 250;

/**
 * Gives blocks of an array that had no checksums those of what is there, and looks at each of them as a check does. What it has done
 * counts after a crash as far as headers say it, and they never say more than is on stable media of all members; so it is done with
 * all of them, or not at all.
 */
export class SumTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: BufferPool;
  readonly #sums: GrowingSums;
  readonly #check: ResyncTask;
  /** The counts when it began: since then no member has come or left, and no flush was lost. */
  readonly #membership: number;
  readonly #lostFlushes: number;
  #markedAtMs: number;

  constructor(array: SyncHost, process: RunningProcess, pool: BufferPool) {
    const { sums } = array;
    if (sums === null) throw new Error(`array ${array.name} has no checksums`);
    this.#array = array;
    this.#process = process;
    this.#pool = pool;
    this.#sums = sums;
    this.#check = new ResyncTask(array, process, pool, {});
    this.#membership = array.membership;
    this.#lostFlushes = array.lostFlushes;
    this.#markedAtMs = array.registry.runtime.now();
  }

  isNeeded(start: number, end: number): boolean {
    const { from, to } = this.#array.memberRange(start, end);
    return to > this.#sums.summedTo && this.#array.bitmap?.isAll(RegionState.Unwritten, from, to - from) !== true;
  }

  async run(start: number, end: number): Promise<void> {
    const array = this.#array;
    const { from, to } = array.memberRange(start, end);
    const most = this.#pool.slotBytes / array.blockSize;
    for (const slot of array.slots) {
      for (let at = from, count; at < to; at += count) {
        this.#process.throwIfStopped();
        this.#throwIfChanged();
        count = array.bitmap?.withinRegion(at, Math.min(most, to - at)) ?? to - at;
        if (array.bitmap?.isAll(RegionState.Unwritten, at, count) !== true) await this.#sum(slot, at, count);
      }
    }
    // What is read now is verified: what was not read as it is gets found, and healed.
    await this.#check.run(start, end);
  }

  async #sum(slot: Slot, from: number, blocks: number): Promise<void> {
    const { sums } = slot;
    // What was written since has one.
    if (sums === null || (await sums.haveSums(from, from + blocks))) return;
    const addr = this.#pool.get();
    const again = this.#pool.get();
    try {
      if (addr < 0 || again < 0) throw new Error('a process ran out of buffers');
      await salvage(this.#array, from, blocks, {
        read: async (at, count) => {
          await memberIo(this.#array, slot, IoType.Read, at, count, addr);
          slot.partsInFlight++;
          await sums.sum(at, count, again, addr).finally(() => slot.partEnded());
        },
        write: () => Promise.resolve(),
        // The check that follows does what is to be done about it.
        onLost: () => Promise.resolve(),
      });
    } finally {
      if (addr >= 0) this.#pool.put(addr);
      if (again >= 0) this.#pool.put(again);
    }
  }

  async onProgress(offset: number): Promise<void> {
    const array = this.#array;
    const isLast = offset === array.numBlocks;
    const end = isLast ? Math.max(...array.slots.map(({ dataSize }) => dataSize)) : array.memberRange(0, offset).to;
    const now = array.registry.runtime.now();
    if (end <= this.#sums.summedTo || (!isLast && now - this.#markedAtMs < markMs)) return;
    this.#markedAtMs = now;
    const range = { start: this.#sums.summedTo, end };
    await onEveryMember(array, async (client, slot) => {
      await slot.sums?.writeOut([range]);
      await client.flush();
    });
    // One that has left meanwhile does not have them, and will come back with what it had.
    this.#throwIfChanged();
    this.#sums.countTo(end);
  }

  #throwIfChanged(): void {
    const { lostFlushes, membership, name, slots, sums } = this.#array;
    if (sums !== this.#sums || sums.isEnding) throw new Error(`array ${name}: its checksums are given up`);
    if (membership !== this.#membership || lostFlushes !== this.#lostFlushes || !slots.every((slot) => slot.isInSync))
      throw new Error('members have come or left, or lost a flush: what is left to be summed waits until all are there');
  }

  async finish(): Promise<void> {
    const array = this.#array;
    await this.#check.finish();
    this.#throwIfChanged();
    const { mismatchBlocks } = this.#process;
    if (mismatchBlocks > 0)
      array.log.warn(
        { ...array.logFields(), blocks: mismatchBlocks },
        'redundancy disagrees with data that has been given checksums: each of them is of what is there; a repair makes it agree',
      );
    await array.metadata.update();
  }
}

import type { ReplenishedPool } from '../level/replenished-pool.js';
import { IoType } from '@raidkit/bdev';
import { RegionState } from '../bitmap/region-state.js';
import { memberIo, onEveryMember } from '../members/member-io.js';
import type { Slot } from '../members/slot.js';
import type { GrowingSums, SyncHost } from './host.js';
import { ResyncTask } from './resync.js';
import { salvage } from './salvage.js';
import type { ProcessStep, RunningProcess } from './task.js';

/** Milliseconds between making new checksums valid. Members are flushed for that. */
const markMs = 250;

/**
 * Gives checksums to existing blocks of an array that had none, and checks these blocks as a `check` does. After a crash,
 * checksums are valid as far as headers record them, and headers record only what is on stable media of all members. So all
 * members must be present.
 */
export class SumTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: ReplenishedPool;
  readonly #sums: GrowingSums;
  readonly #check: ResyncTask;
  /** Values at the beginning. If they change, a member has joined or left, or a flush was lost. */
  readonly #membership: number;
  readonly #lostFlushes: number;
  #markedAtMs: number;

  constructor(array: SyncHost, process: RunningProcess, pool: ReplenishedPool) {
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
    // From now on reads are verified, so the check finds and repairs blocks that do not match.
    await this.#check.run(start, end);
  }

  async #sum(slot: Slot, from: number, blocks: number): Promise<void> {
    const { sums } = slot;
    // Blocks that were written since already have checksums.
    if (sums === null || (await sums.haveSums(from, from + blocks))) return;
    const addr = this.#pool.get();
    const again = this.#pool.get();
    try {
      if (addr < 0 || again < 0) throw new Error('a process ran out of buffers');
      await salvage(this.#array, from, blocks, {
        read: async (at, count) => {
          await memberIo(this.#array, slot, IoType.Read, at, count, addr);
          slot.partBegan();
          await sums.sum(at, count, again, addr).finally(() => slot.partEnded());
        },
        write: () => Promise.resolve(),
        // The check that follows handles these blocks.
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
    // A member that left meanwhile does not have the checksums, and may come back without them.
    this.#throwIfChanged();
    this.#sums.countTo(end);
  }

  #throwIfChanged(): void {
    const { lostFlushes, membership, name, slots, sums } = this.#array;
    if (sums !== this.#sums || sums.isEnding) throw new Error(`array ${name}: its checksums are turned off`);
    if (membership !== this.#membership || lostFlushes !== this.#lostFlushes || !slots.every((slot) => slot.isInSync))
      throw new Error('members were added or removed, or a flush failed: the rest gets checksums when all members are in sync');
  }

  async finish(): Promise<void> {
    const array = this.#array;
    await this.#check.finish();
    this.#throwIfChanged();
    const { mismatchBlocks } = this.#process;
    if (mismatchBlocks > 0)
      array.log.warn(
        { ...array.logFields(), blocks: mismatchBlocks },
        'redundancy does not match data that has been given checksums; a repair makes it consistent',
      );
    await array.metadata.update();
  }
}

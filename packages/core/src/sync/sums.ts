import { IoType } from '@raidkit/bdev';
import type { BufferPool } from '@raidkit/parity';
import { RegionState } from '../bitmap/region-state.js';
import { flushMember, memberIo } from '../members/member-io.js';
import { writeBack } from '../members/rewrite.js';
import type { Slot } from '../members/slot.js';
import type { SyncHost } from './host.js';
import { listLost, salvage } from './salvage.js';
import type { ProcessStep, RunningProcess } from './task.js';

/** How often what has been summed is made to count, in milliseconds: members are flushed for it. */
const markMs = 250;

/**
 * The work on checksums of an array without redundancy. A check reads all members, so that what does not match is found, and listed.
 * A `resum` reads what may have none that count, and writes it as it is: after a crash those of what was written since the region was
 * last clean are lost, also of what had been flushed. So it is taken for right, and told that nothing proves it.
 */
export class SumsTask implements ProcessStep {
  readonly holds: 'all' | 'none';
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: BufferPool;
  readonly #isResum: boolean;
  /** Says what had no checksums when it began. */
  readonly #token: number;
  #markedAtMs: number;

  constructor(array: SyncHost, process: RunningProcess, pool: BufferPool) {
    this.#array = array;
    this.#process = process;
    this.#pool = pool;
    this.#isResum = process.type === 'resum';
    // Reads are verified whoever writes meanwhile.
    this.holds = this.#isResum ? 'all' : 'none';
    this.#token = this.#isResum ? array.consistency.beginResync() : 0;
    this.#markedAtMs = array.registry.runtime.now();
  }

  isNeeded(start: number, end: number): boolean {
    const { bitmap } = this.#array;
    const { from, to } = this.#array.memberRange(start, end);
    if (from === to) return false;
    if (this.#isResum) return this.#isDue(from, to - from);
    return bitmap?.isAll(RegionState.Unwritten, from, to - from) !== true;
  }

  async run(start: number, end: number): Promise<void> {
    const array = this.#array;
    const { from, to } = array.memberRange(start, end);
    const most = this.#pool.slotBytes / array.blockSize;
    const addr = this.#pool.get();
    if (addr < 0) throw new Error('a process ran out of buffers');
    try {
      for (const slot of array.slots) {
        for (let at = from, count; at < Math.min(to, slot.dataSize); at += count) {
          this.#process.throwIfStopped();
          const limit = Math.min(most, Math.min(to, slot.dataSize) - at);
          count = array.bitmap?.withinRegion(at, limit) ?? limit;
          if (this.#isResum ? this.#isDue(at, count) : !this.#isUnwritten(at, count)) await this.#read(slot, at, count, addr);
        }
      }
    } finally {
      this.#pool.put(addr);
    }
    if (!array.badBlocks.isRecorded) await array.metadata.update();
  }

  #isDue(at: number, count: number): boolean {
    const { consistency } = this.#array;
    return consistency.isInconsistent(at, count) || consistency.isUnstable(at, count);
  }

  #isUnwritten(at: number, count: number): boolean {
    return this.#array.bitmap?.isAll(RegionState.Unwritten, at, count) === true;
  }

  #read(slot: Slot, from: number, blocks: number, addr: number): Promise<void> {
    const array = this.#array;
    return salvage(array, from, blocks, {
      read: (at, count) => memberIo(array, slot, IoType.Read, at, count, addr),
      write: async (at, count) => {
        if (!this.#isResum) return;
        this.#process.unprovenBlocks += (await slot.sums?.countWithout(at, at + count)) ?? 0;
        // Not the sums alone: what a flush has failed to keep may read as if it were there.
        await writeBack(array, slot, at, count, addr);
      },
      onLost: async (at, count) => {
        this.#process.noteUnreadable(slot.index, at, count, true);
        await listLost(array, [{ slot, at }], count, addr);
      },
    });
  }

  async onProgress(offset: number): Promise<void> {
    if (!this.#isResum) return;
    const array = this.#array;
    const { consistency } = array;
    const end = offset === array.numBlocks ? Infinity : array.memberRange(0, offset).to;
    const now = array.registry.runtime.now();
    if (end !== Infinity && now - this.#markedAtMs < markMs) return;
    if (!consistency.isResyncDueBelow(end, this.#token)) return;
    const { lostFlushes } = array;
    this.#markedAtMs = now;
    for (const slot of array.slots) await flushMember(array, slot, 'a flush failed');
    // One that another flush has lost meanwhile, this one has not kept.
    if (array.lostFlushes === lostFlushes) consistency.resynced(end, this.#token);
  }

  finish(): Promise<void> {
    const { lostBlocks, unprovenBlocks } = this.#process;
    if (unprovenBlocks > 0)
      this.#array.log.warn(
        { ...this.#array.logFields(), blocks: unprovenBlocks },
        'what was being written when the array was not stopped cleanly has checksums of what is there now: nothing says that it is what was written',
      );
    if (lostBlocks > 0 && !this.#isResum) throw new Error(`${lostBlocks} blocks cannot be read, and there is no redundancy`);
    return Promise.resolve();
  }
}

import { IoType } from '@raidkit/bdev';
import type { ReplenishedPool } from '../level/replenished-pool.js';
import { RegionState } from '../bitmap/region-state.js';
import { flushMember, memberIo } from '../members/member-io.js';
import { writeBack } from '../members/rewrite.js';
import type { Slot } from '../members/slot.js';
import type { SyncHost } from './host.js';
import { listLost, salvage } from './salvage.js';
import type { Holds, ProcessStep, RunningProcess } from './task.js';

/** Milliseconds between making new checksums valid. Members are flushed for that. */
const markMs = 250;

/** Two buffers for reading the same blocks twice, and whether users' I/O waits. */
interface Reading {
  readonly addr: number;
  readonly again: number;
  readonly isHeld: boolean;
}

/**
 * The process for checksums of an array without redundancy. A `check` reads all members to find blocks that do not match, and
 * lists them. A `resum` reads blocks that have no valid checksums and gives them some: after a crash, the checksums of regions
 * that were being written are lost, even for flushed data, and an array whose checksums were just turned on has none. So the
 * present data is taken to be right and reported as unproven. Unstable data is also written back.
 */
export class SumsTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: ReplenishedPool;
  readonly #isResum: boolean;
  /** Token of the resync: it covers what was inconsistent when it began. */
  readonly #token: number;
  #markedAtMs: number;

  constructor(array: SyncHost, process: RunningProcess, pool: ReplenishedPool) {
    this.#array = array;
    this.#process = process;
    this.#pool = pool;
    this.#isResum = process.type === 'resum';
    this.#token = this.#isResum ? array.consistency.beginResync() : 0;
    this.#markedAtMs = array.registry.runtime.now();
  }

  /**
   * Users may write while blocks are verified or summed, but not while data is written back, which would replace newer data.
   */
  holds(start: number, end: number): Holds {
    const { from, to } = this.#array.memberRange(start, end);
    return this.#isResum && this.#array.consistency.isUnstable(from, to - from) ? 'all' : 'none';
  }

  isNeeded(start: number, end: number): boolean {
    const { bitmap } = this.#array;
    const { from, to } = this.#array.memberRange(start, end);
    if (from === to) return false;
    if (this.#isResum) return this.#isDue(from, to - from);
    return bitmap?.isAll(RegionState.Unwritten, from, to - from) !== true;
  }

  async run(start: number, end: number, holds: Holds): Promise<void> {
    const array = this.#array;
    if (this.#isResum) await this.#recordSums();
    const { from, to } = array.memberRange(start, end);
    const most = this.#pool.slotBytes / array.blockSize;
    const addr = this.#pool.get();
    const again = this.#pool.get();
    try {
      if (addr < 0 || again < 0) throw new Error('a process ran out of buffers');
      for (const slot of array.slots) {
        for (let at = from, count; at < Math.min(to, slot.dataSize); at += count) {
          this.#process.throwIfStopped();
          const limit = Math.min(most, Math.min(to, slot.dataSize) - at);
          count = array.bitmap?.withinRegion(at, limit) ?? limit;
          if (!this.#isResum && !this.#isUnwritten(at, count)) await this.#check(slot, at, count, addr);
          if (this.#isResum && this.#isDue(at, count))
            await this.#resum(slot, at, count, { addr, again, isHeld: holds === 'all' });
        }
      }
    } finally {
      if (addr >= 0) this.#pool.put(addr);
      if (again >= 0) this.#pool.put(again);
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

  /**
   * A region must not become clean before headers record the checksums. Otherwise an earlier array's checksums would be valid
   * after a crash.
   */
  async #recordSums(): Promise<void> {
    const { metadata, name, sums } = this.#array;
    const isRecorded = (): boolean => sums !== null && metadata.recordedSums === sums.header()?.salt;
    if (!isRecorded()) await metadata.update();
    if (!isRecorded()) throw new Error(`array ${name}: that it has checksums is not recorded`);
  }

  #check(slot: Slot, from: number, blocks: number, addr: number): Promise<void> {
    return salvage(this.#array, from, blocks, {
      read: (at, count) => memberIo(this.#array, slot, IoType.Read, at, count, addr),
      write: () => Promise.resolve(),
      onLost: (at, count) => this.#onLost(slot, at, count, addr),
    });
  }

  async #resum(slot: Slot, from: number, blocks: number, { addr, again, isHeld }: Reading): Promise<void> {
    const array = this.#array;
    const { sums } = slot;
    if (sums === null) throw new Error(`array ${array.name}: its checksums are turned off`);
    // Checksums of an earlier incarnation are not valid, whether or not the data can be read.
    await sums.wash([{ start: from, end: from + blocks }]);
    await salvage(array, from, blocks, {
      read: async (at, count) => {
        await memberIo(array, slot, IoType.Read, at, count, addr);
        const without = await sums.countWithout(at, at + count);
        slot.partBegan();
        await sums.sum(at, count, again, addr).finally(() => slot.partEnded());
        this.#process.unprovenBlocks += without;
      },
      write: async (at, count) => {
        // Checksums alone are not enough: data that a failed flush lost may still be readable.
        if (isHeld && array.consistency.isUnstable(at, count)) await this.#writeBack(slot, at, count, addr, again);
      },
      onLost: (at, count) => this.#onLost(slot, at, count, addr),
    });
  }

  /** Writes back only blocks that two reads returned alike, because one of two different reads must be wrong. */
  async #writeBack(slot: Slot, from: number, blocks: number, addr: number, again: number): Promise<void> {
    const { blockSize, blocksTogether, memory } = this.#array;
    const isSame = (at: number, count: number): boolean =>
      memory.equal(addr + (at - from) * blockSize, again + (at - from) * blockSize, count * blockSize);
    const end = from + blocks;
    const step = isSame(from, blocks) ? blocks : blocksTogether;
    for (let at = from; at < end; at += step) {
      const count = Math.min(step, end - at);
      if (isSame(at, count)) await writeBack(this.#array, slot, at, count, addr + (at - from) * blockSize);
    }
  }

  async #onLost(slot: Slot, at: number, count: number, addr: number): Promise<void> {
    this.#process.noteUnreadable(slot.index, at, count, true);
    await listLost(this.#array, [{ slot, at }], count, addr);
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
    // If a flush was lost meanwhile, this one does not make that data stable.
    if (array.lostFlushes === lostFlushes) consistency.resynced(end, this.#token);
  }

  finish(): Promise<void> {
    const { lostBlocks, unprovenBlocks } = this.#process;
    if (unprovenBlocks > 0)
      this.#array.log.warn(
        { ...this.#array.logFields(), blocks: unprovenBlocks },
        'blocks without valid checksums got checksums of their present contents, which are not verified',
      );
    if (lostBlocks > 0 && !this.#isResum) throw new Error(`${lostBlocks} blocks cannot be read, and there is no redundancy`);
    return Promise.resolve();
  }
}

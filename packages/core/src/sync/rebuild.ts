import { IoType } from '@raidkit/bdev';
import type { BufferPool } from '@raidkit/parity';
import type { SyncHost } from './host.js';
import { reconstructAll } from '../io/reconstruct.js';
import { memberIo } from '../members/member-io.js';
import type { ProcessStep, RunningProcess } from './task.js';
import { quiesced } from '../io/quiesce.js';
import { RegionState } from '../bitmap/region-state.js';
import { sourcesOf } from './places.js';
import { listLost, salvage } from './salvage.js';
import type { Slot } from '../members/slot.js';

/** Unreadable bytes of sources with which a rebuild still goes on: beyond that they fail, and are better copied by hand. */
const mostUnreadableBytes = 64 * 1024 * 1024;

/**
 * Gives members what they must hold, worked out from the others; of parity, what is read serves for all of them. Passed over:
 * what was never written, and what the members have not missed. Blocks that cannot be worked out, because a source cannot be
 * read or parity is in doubt, are tried again at the end; those that are still unknown then are bad on the target, and the
 * rebuild is complete without them. A target may leave or fail at any moment, and nothing is done with it from then on.
 */
export class RebuildTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: BufferPool;
  #unreadableBlocks = 0;
  #isSecondTry = false;

  constructor(array: SyncHost, process: RunningProcess, pool: BufferPool) {
    this.#array = array;
    this.#process = process;
    this.#pool = pool;
  }

  isNeeded(start: number, end: number): boolean {
    const { bitmap } = this.#array;
    if (bitmap === null) return true;
    const { from, to } = this.#array.memberRange(start, end);
    return bitmap.hasStale(from, to - from);
  }

  async run(start: number, end: number): Promise<void> {
    const { from, to } = this.#array.memberRange(start, end);
    await this.#fill(from, to, this.#process.targets);
    // Not later: what is behind the offset may be made clean, and an interrupted rebuild goes on without it.
    await this.#recordBad();
  }

  onProgress(): void {
    // What is copied may be made clean, so that an interrupted rebuild goes on from there.
    if (this.#array.bitmap?.count(RegionState.OutOfSync) !== 0) this.#array.bitmap?.arm();
  }

  async finish(): Promise<void> {
    const { badBlocks } = this.#array;
    for (const target of this.#process.targets) if (badBlocks.rangesOf(target.index).length > 0) await this.#tryAgain(target);
    await this.#onEach(this.#process.targets, async (target) => {
      // The record that it is current covers its checksums too.
      await target.sums?.writeAll();
      await memberIo(this.#array, target, IoType.Flush, 0, target.dataSize, -1);
    });
  }

  /** From here on the targets are members like the others, and every write goes to them. */
  complete(): void {
    const array = this.#array;
    const targets = this.#process.targets.filter(({ isRemoving }) => !isRemoving);
    const [leaving] = this.#process.targets;
    if (targets.length === 0) throw new Error(`the target ${String(leaving?.name)} left`);
    for (const target of targets) target.endRebuild();
    array.membershipChanged();
    // They were filled from what may not be on stable media of the others: they do not stand for one another there.
    array.consistency.doubtUnstable();
    for (const { index } of targets)
      for (const { start, end } of array.badBlocks.rangesOf(index))
        this.#process.noteUnreadable(index, start, end - start, true);
  }

  /** Blocks `[from, to)` of the targets' data areas; they are quiesced. */
  async #fill(from: number, to: number, targets: readonly Slot[]): Promise<void> {
    const array = this.#array;
    const { bitmap } = array;
    const most = this.#pool.slotBytes / array.blockSize;
    for (let at = from, count; at < to; at += count) {
      const atMost = Math.min(most, to - at);
      count = bitmap?.withinRegion(at, atMost) ?? atMost;
      if (bitmap?.has(RegionState.Unwritten, at, count) === true) continue;
      let known = targets;
      if (array.module.redundancy === 'parity' && array.isInconsistent(at, count)) {
        count = this.#sameTrust(at, count);
        known = [];
        for (const target of targets) {
          if (!this.#isUnknown(target, at)) known = [...known, target];
          else if (!this.#isSecondTry) this.#markBad(target, at, count);
        }
      }
      // What is read for one copy says nothing of copies that lie elsewhere.
      const together = array.module.redundancy === 'parity' ? [known] : known.map((target) => [target]);
      for (const group of together) if (group.length > 0) await this.#copy(at, count, group);
    }
  }

  async #copy(at: number, count: number, targets: readonly Slot[]): Promise<void> {
    const addrs = targets.map(() => this.#pool.get());
    try {
      if (addrs.includes(-1)) throw new Error('a rebuild ran out of buffers');
      await this.#salvage(at, count, targets, addrs);
    } finally {
      for (const addr of addrs) if (addr >= 0) this.#pool.put(addr);
    }
  }

  #salvage(at: number, count: number, targets: readonly Slot[], addrs: readonly number[]): Promise<void> {
    const array = this.#array;
    const indexes = targets.map(({ index }) => index);
    return salvage(array, at, count, {
      read: (offset, blocks) => reconstructAll(array, indexes, offset, blocks, addrs),
      write: (offset, blocks) =>
        this.#onEach(targets, (target, i) => memberIo(array, target, IoType.Write, offset, blocks, addrs[i] ?? -1)),
      onLost: async (offset, blocks) => {
        const [first, ...others] = targets;
        if (first === undefined) return;
        if (others.length === 0) await this.#onLost(first, offset, blocks, addrs[0] ?? -1);
        // What is not known of all of them may be of some.
        else for (const [i, target] of targets.entries()) await this.#salvage(offset, blocks, [target], [addrs[i] ?? -1]);
      },
    });
  }

  async #onLost(target: Slot, offset: number, blocks: number, addr: number): Promise<void> {
    const array = this.#array;
    this.#process.throwIfStopped();
    if (this.#isSecondTry) return;
    await listLost(array, sourcesOf(array, target.index, offset), blocks, addr);
    this.#unreadableBlocks += blocks;
    if (this.#unreadableBlocks * array.blockSize > mostUnreadableBytes) {
      throw new Error(`more than ${mostUnreadableBytes} bytes of the other members cannot be read`);
    }
    this.#markBad(target, offset, blocks);
  }

  /** Not of a device that has come into the slot of one that left. */
  #markBad(target: Slot, at: number, count: number): void {
    if (this.#process.isFilling(target.index)) this.#array.markBad(target.index, at, count);
  }

  /** Does something with all targets at once, but with those that have left. One with which it fails leaves. */
  async #onEach(targets: readonly Slot[], work: (target: Slot, index: number) => Promise<void>): Promise<void> {
    const results = await Promise.allSettled(
      targets.map(async (target, index) => {
        if (!this.#process.isFilling(target.index)) return;
        try {
          await work(target, index);
        } catch (error) {
          this.#process.failTarget(target, error);
        }
      }),
    );
    // Not before all are through with their buffers.
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** Blocks from `at` on, in one stripe, of which redundancy is in doubt, or of which it is not, as at `at`. */
  #sameTrust(at: number, most: number): number {
    const { memberBlocks } = this.#array.stripe();
    const limit = Math.min(most, (Math.floor(at / memberBlocks) + 1) * memberBlocks - at);
    const isInDoubt = this.#array.isInconsistent(at, 1);
    let count = 1;
    while (count < limit && this.#array.isInconsistent(at + count, 1) === isInDoubt) count++;
    return count;
  }

  /** The target's block would have to be worked out from parity that may be wrong. */
  #isUnknown({ index }: Slot, at: number): boolean {
    const array = this.#array;
    const stripe = Math.floor(at / array.stripe().memberBlocks);
    if (!array.isInconsistent(at, 1) || array.level?.redundantSlots?.(stripe).includes(index) === true) return false;
    // With redundancy left the level is asked: it knows what both parities say.
    return array.canLose <= 0;
  }

  /** What could not be read a while ago perhaps can be now. */
  async #tryAgain(target: Slot): Promise<void> {
    const array = this.#array;
    const { arrayBlocks, memberBlocks } = array.stripe();
    this.#isSecondTry = true;
    for (const { start, end } of [...array.badBlocks.rangesOf(target.index)]) {
      this.#process.throwIfStopped();
      if (!this.#process.isFilling(target.index)) break;
      const { bdev } = array;
      if (bdev === null) throw new Error(`array ${array.name} is not online`);
      const from = Math.floor(start / memberBlocks) * arrayBlocks;
      const to = Math.min(Math.ceil(end / memberBlocks) * arrayBlocks, bdev.numBlocks);
      const range = await quiesced(bdev, from, to - from);
      try {
        await array.bitmap?.whenZeroed(start, end - start);
        await this.#fill(start, end, [target]);
      } finally {
        bdev.unquiesce(range);
      }
    }
    this.#isSecondTry = false;
  }

  async #recordBad(): Promise<void> {
    const { badBlocks, metadata } = this.#array;
    if (!badBlocks.isRecorded) await metadata.update();
  }
}

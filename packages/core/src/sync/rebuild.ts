import { IoType } from '@raidkit/bdev';
import type { ReplenishedPool } from '../level/replenished-pool.js';
import type { SyncHost } from './host.js';
import { reconstructAll } from '../io/reconstruct.js';
import { memberIo } from '../members/member-io.js';
import type { ProcessStep, RunningProcess } from './task.js';
import { quiesced } from '../io/quiesce.js';
import { RegionState } from '../bitmap/region-state.js';
import { sourcesOf } from './places.js';
import { listLost, salvage } from './salvage.js';
import type { Slot } from '../members/slot.js';

/**
 * Most unreadable bytes of sources with which a rebuild continues. Members with more are failing, and are better copied by
 * other means.
 */
const mostUnreadableBytes = 64 * 1024 * 1024;

/**
 * Fills members with data reconstructed from the other members. With parity, what is read serves all targets. Regions that were
 * never written or that the targets have not missed are skipped. Blocks that cannot be reconstructed, because a source is
 * unreadable or parity is inconsistent, are tried again at the end. If they are still unknown, they become bad blocks of the
 * target, and the rebuild completes without them. A target may leave or fail at any time; then it gets no further I/O.
 */
export class RebuildTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: ReplenishedPool;
  #unreadableBlocks = 0;
  #isSecondTry = false;

  constructor(array: SyncHost, process: RunningProcess, pool: ReplenishedPool) {
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
    // Recorded now, because regions below the offset may become clean, and an interrupted rebuild continues without them.
    await this.#recordBad();
  }

  onProgress(): void {
    // Regions that are copied may become clean, so that an interrupted rebuild continues from there.
    if (this.#array.bitmap?.count(RegionState.OutOfSync) !== 0) this.#array.bitmap?.arm();
  }

  async finish(): Promise<void> {
    const { badBlocks } = this.#array;
    for (const target of this.#process.targets) if (badBlocks.rangesOf(target.index).length > 0) await this.#tryAgain(target);
    await this.#onEach(this.#process.targets, async (target) => {
      // The superblock that makes the target current must be true of its checksums too.
      await target.sums?.writeAll();
      await memberIo(this.#array, target, IoType.Flush, 0, target.dataSize, -1);
    });
  }

  /** Makes the targets members in sync, which get every write. */
  complete(): void {
    const array = this.#array;
    const targets = this.#process.targets.filter(({ isRemoving }) => !isRemoving);
    const [leaving] = this.#process.targets;
    if (targets.length === 0) throw new Error(`the rebuild target ${String(leaving?.name)} was removed`);
    for (const target of targets) target.endRebuild();
    array.membershipChanged();
    // Their data was read from members where it may not be stable, so members must not be reconstructed from one another there.
    array.consistency.doubtUnstable();
    for (const { index } of targets)
      for (const { start, end } of array.badBlocks.rangesOf(index))
        this.#process.noteUnreadable(index, start, end - start, true);
  }

  /** Fills blocks `[from, to)` of the targets' data areas, which are quiesced. */
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
      // With copies at different blocks, each target has other sources.
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
        // Blocks that cannot be reconstructed for all targets may be for some.
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

  /** Marks the blocks as bad, unless another device has taken the slot of the target. */
  #markBad(target: Slot, at: number, count: number): void {
    if (this.#process.isFilling(target.index)) this.#array.markBad(target.index, at, count);
  }

  /** Runs `work` for all targets at once that have not left. A target for which it fails is taken out. */
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
    // Wait until all have finished with their buffers.
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** Returns the number of blocks from `at` on, within one stripe, that are as consistent or inconsistent as the first one. */
  #sameTrust(at: number, most: number): number {
    const { memberBlocks } = this.#array.stripe();
    const limit = Math.min(most, (Math.floor(at / memberBlocks) + 1) * memberBlocks - at);
    const isInDoubt = this.#array.isInconsistent(at, 1);
    let count = 1;
    while (count < limit && this.#array.isInconsistent(at + count, 1) === isInDoubt) count++;
    return count;
  }

  /** Whether the target's block would have to be reconstructed from parity that may be wrong. */
  #isUnknown({ index }: Slot, at: number): boolean {
    const array = this.#array;
    const stripe = Math.floor(at / array.stripe().memberBlocks);
    if (!array.isInconsistent(at, 1) || array.redundantSlots(stripe).includes(index)) return false;
    // If more members could be lost, the level decides: it knows what both parities say.
    return array.canLose <= 0;
  }

  /** Tries again to fill the target's bad blocks, which may be readable by now. */
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

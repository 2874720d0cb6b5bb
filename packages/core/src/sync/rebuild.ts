import { IoType } from '@raidkit/bdev';
import type { BufferPool } from '@raidkit/parity';
import type { SyncHost } from './host.js';
import { reconstructInto } from '../io/reconstruct.js';
import { memberIo } from '../members/member-io.js';
import type { ProcessStep, RunningProcess } from './task.js';
import { quiesced } from '../io/quiesce.js';
import { RegionState } from '../bitmap/region-state.js';
import { sourcesOf } from './places.js';
import { findUnreadable, salvage } from './salvage.js';
import type { Slot } from '../members/slot.js';

/** Unreadable bytes of sources with which a rebuild still goes on: beyond that they fail, and are better copied by hand. */
const mostUnreadableBytes = 64 * 1024 * 1024;

/**
 * Gives a member what it must hold, worked out from the others. Passed over: what was never written, and what the member
 * has not missed. Blocks that cannot be worked out, because a source cannot be read or parity is in doubt, are tried again at
 * the end; those that are still unknown then are bad on the target, and the rebuild is complete without them.
 */
export class RebuildTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #target: Slot;
  readonly #pool: BufferPool;
  #unreadableBlocks = 0;
  #isSecondTry = false;

  constructor(array: SyncHost, process: RunningProcess, target: Slot, pool: BufferPool) {
    this.#array = array;
    this.#process = process;
    this.#target = target;
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
    await this.#fill(from, to);
    // Not later: what is behind the offset may be made clean, and an interrupted rebuild goes on without it.
    await this.#recordBad();
  }

  onProgress(): void {
    // What is copied may be made clean, so that an interrupted rebuild goes on from there.
    if (this.#array.bitmap?.count(RegionState.OutOfSync) !== 0) this.#array.bitmap?.arm();
  }

  async finish(): Promise<void> {
    const { badBlocks } = this.#array;
    if (badBlocks.rangesOf(this.#target.index).length > 0) await this.#tryAgain();
    await memberIo(this.#array, this.#target, IoType.Flush, 0, this.#target.dataSize, -1);
  }

  /** From here on the target is a member like the others, and every write goes to it. */
  complete(): void {
    const array = this.#array;
    if (this.#target.isRemoving) throw new Error(`the target ${String(this.#target.name)} left`);
    this.#target.endRebuild();
    array.membershipChanged();
    // It was filled from what may not be on stable media of the others: they do not stand for one another there.
    array.consistency.doubtUnstable();
    const { index } = this.#target;
    for (const { start, end } of array.badBlocks.rangesOf(index)) this.#process.noteUnreadable(index, start, end - start, true);
  }

  /** Blocks `[from, to)` of the target's data area; they are quiesced. */
  async #fill(from: number, to: number): Promise<void> {
    const array = this.#array;
    const { bitmap } = array;
    const most = this.#pool.slotBytes / array.blockSize;
    for (let at = from, count; at < to; at += count) {
      const atMost = Math.min(most, to - at);
      count = bitmap?.withinRegion(at, atMost) ?? atMost;
      if (bitmap?.has(RegionState.Unwritten, at, count) === true) continue;
      if (array.module.redundancy === 'parity' && array.isInconsistent(at, count)) {
        count = this.#sameTrust(at, count);
        if (this.#isUnknown(at)) {
          if (!this.#isSecondTry) array.markBad(this.#target.index, at, count);
          continue;
        }
      }
      const addr = this.#pool.get();
      if (addr < 0) throw new Error('a rebuild ran out of buffers');
      try {
        await this.#copy(at, count, addr);
      } finally {
        this.#pool.put(addr);
      }
    }
  }

  #copy(at: number, count: number, addr: number): Promise<void> {
    const array = this.#array;
    const { index } = this.#target;
    return salvage(array, at, count, {
      read: (offset, blocks) => reconstructInto(array, index, offset, blocks, addr),
      write: (offset, blocks) => memberIo(array, this.#target, IoType.Write, offset, blocks, addr),
      onLost: async (offset) => {
        this.#process.throwIfStopped();
        if (this.#isSecondTry) return;
        await findUnreadable(array, sourcesOf(array, index, offset), addr);
        if (++this.#unreadableBlocks * array.blockSize > mostUnreadableBytes) {
          throw new Error(`more than ${mostUnreadableBytes} bytes of the other members cannot be read`);
        }
        array.markBad(index, offset, 1);
      },
    });
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
  #isUnknown(at: number): boolean {
    const array = this.#array;
    const stripe = Math.floor(at / array.stripe().memberBlocks);
    if (!array.isInconsistent(at, 1) || array.level?.redundantSlots?.(stripe).includes(this.#target.index) === true)
      return false;
    // With redundancy left the level is asked: it knows what both parities say.
    return array.canLose <= 0;
  }

  /** What could not be read a while ago perhaps can be now. */
  async #tryAgain(): Promise<void> {
    const array = this.#array;
    const { arrayBlocks, memberBlocks } = array.stripe();
    this.#isSecondTry = true;
    for (const { start, end } of [...array.badBlocks.rangesOf(this.#target.index)]) {
      this.#process.throwIfStopped();
      const { bdev } = array;
      if (bdev === null) throw new Error(`array ${array.name} is not online`);
      const from = Math.floor(start / memberBlocks) * arrayBlocks;
      const to = Math.min(Math.ceil(end / memberBlocks) * arrayBlocks, bdev.numBlocks);
      const range = await quiesced(bdev, from, to - from);
      try {
        await array.bitmap?.whenZeroed(start, end - start);
        await this.#fill(start, end);
      } finally {
        bdev.unquiesce(range);
      }
    }
    this.#isSecondTry = false;
  }

  async #recordBad(): Promise<void> {
    const { badBlocks, metadata } = this.#array;
    if (badBlocks.rangesOf(this.#target.index).length > 0 && !badBlocks.isRecorded) await metadata.update();
  }
}

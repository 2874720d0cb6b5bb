import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { BufferPool } from '@raidkit/parity';
import type { RaidArray } from './array.js';
import { makeCopiesAgree } from './copy-vote.js';
import { memberIo, reconstructInto } from './member-io.js';
import type { ProcessStep, RaidProcess, SyncOptions } from './process.js';
import { RegionState } from './region-states.js';
import type { Slot } from './slot.js';

/** Places of disagreement that are listed; more are only counted. */
const mostListed = 64;
/** How often regions are marked as agreeing, in milliseconds: members are flushed for it, which costs more than a window does. */
const markMs = 250;

/** What became of one slot's blocks. */
const Outcome = {
  /** They could not be compared. */
  Failed: 0,
  /** They agree, or do now. */
  Compared: 1,
  /** One vote has settled all copies. */
  Settled: 2,
} as const;
type Outcome = (typeof Outcome)[keyof typeof Outcome];

/**
 * Compares what is worked out (parity, further copies) with what it is worked out from, and, unless it only checks, writes it
 * anew where it differs.
 */
export class SyncStep implements ProcessStep {
  readonly #array: RaidArray;
  readonly #process: RaidProcess;
  readonly #pool: BufferPool;
  readonly #mustWrite: boolean;
  readonly #isResync: boolean;
  readonly #options: SyncOptions;
  /** Says what was in doubt when it began. */
  readonly #token: number;
  #failed = 0;
  /** When regions were last marked as agreeing. */
  #markedAtMs: number;

  constructor(array: RaidArray, process: RaidProcess, pool: BufferPool, options: SyncOptions) {
    this.#array = array;
    this.#options = options;
    this.#process = process;
    this.#pool = pool;
    this.#isResync = process.type === 'resync';
    this.#mustWrite = process.type !== 'check';
    this.#token = this.#isResync ? array.consistency.beginResync() : 0;
    this.#markedAtMs = array.registry.runtime.now();
  }

  isNeeded(start: number, end: number): boolean {
    const { consistency, regions } = this.#array;
    // Without a map nobody knows what a crash has left, and a resync is everything.
    if (regions === null) return true;
    const { from, to } = this.#array.memberRange(start, end);
    if (this.#isResync) return consistency.isInconsistent(from, to - from);
    return !regions.isAll(RegionState.Unwritten, from, to - from);
  }

  async run(start: number, end: number): Promise<void> {
    const { memberBlocks } = this.#array.stripe();
    const { from, to } = this.#array.memberRange(start, end);
    const most = this.#pool.slotBytes / this.#array.blockSize;
    for (let at = from; at < to; ) {
      this.#process.throwIfStopped();
      if (this.#array.numCurrent < this.#array.numSlots && this.#array.minOperational !== 1) {
        throw new Error('a member left: there is nothing to compare any more');
      }
      // Which slots are worked out depends on the stripe, unless every member alone is a full copy.
      const limit = this.#array.minOperational === 1 ? to : (Math.floor(at / memberBlocks) + 1) * memberBlocks;
      const atMost = Math.min(most, limit - at);
      const count = this.#array.regions?.withinRegion(at, atMost) ?? atMost;
      if (this.#isUnwritten(at, count) || (await this.#sync(at, count))) at += count;
    }
  }

  async onProgress(offset: number): Promise<void> {
    const { consistency } = this.#array;
    if (!this.#isResync || this.#failed > 0) return;
    const end = offset === this.#array.numBlocks ? Infinity : this.#array.memberRange(0, offset).to;
    const now = this.#array.registry.runtime.now();
    if (end !== Infinity && now - this.#markedAtMs < markMs) return;
    if (!consistency.isResyncDueBelow(end, this.#token)) return;
    this.#markedAtMs = now;
    // What was written must not get lost once readers trust it.
    for (const slot of this.#array.slots) if (slot.isCurrent) await this.#flush(slot);
    consistency.resynced(end, this.#token);
  }

  async #flush(slot: Slot): Promise<void> {
    try {
      await memberIo(this.#array, slot, IoType.Flush, 0, slot.dataSize, -1);
    } catch (error) {
      if (!this.#array.failMember(slot.index, 'a flush failed')) throw error;
    }
  }

  #isUnwritten(at: number, count: number): boolean {
    return this.#array.regions?.isAll(RegionState.Unwritten, at, count) ?? false;
  }

  /** Blocks `[at, +count)` of every member. False if the members are others than at the start: to be done again. */
  async #sync(at: number, count: number): Promise<boolean> {
    const { level } = this.#array;
    const { memberBlocks } = this.#array.stripe();
    const derived = (level?.derivedSlots?.(Math.floor(at / memberBlocks)) ?? []).filter((slot) => this.#array.slots[slot]?.isCurrent === true);
    const wanted = this.#pool.get();
    const found = this.#pool.get();
    try {
      if (wanted < 0 || found < 0) throw new Error('a process ran out of buffers');
      const { membership } = this.#array;
      for (const index of derived) {
        const slot = this.#array.slots[index];
        if (slot === undefined) continue;
        const outcome = await this.#syncSlot(slot, derived, at, count, wanted, found);
        if (outcome === Outcome.Settled) return true;
        if (outcome === Outcome.Compared) continue;
        // A member that left may have been what the others were compared with: once more, with those that are there.
        if (this.#array.membership !== membership) return false;
        this.#failed++;
      }
      return true;
    } finally {
      if (wanted >= 0) this.#pool.put(wanted);
      if (found >= 0) this.#pool.put(found);
    }
  }

  async #syncSlot(slot: Slot, derived: readonly number[], at: number, count: number, wanted: number, found: number): Promise<Outcome> {
    const array = this.#array;
    const [source, read] = await Promise.allSettled([
      reconstructInto(array, slot.index, at, count, wanted, derived.filter((other) => other !== slot.index)),
      memberIo(array, slot, IoType.Read, at, count, found),
    ]);
    if (source.status === 'rejected' && !(await this.#trustAnotherCopy(slot, at, count, wanted, source.reason))) {
      array.log.error({ ...array.logFields(slot), block: at, blocks: count, err: source.reason as unknown }, 'blocks cannot be compared: their source is unreadable');
      return Outcome.Failed;
    }
    const isReadable = read.status === 'fulfilled';
    if (isReadable && array.memory.equal(wanted, found, count * array.blockSize)) return Outcome.Compared;
    if (!slot.isCurrent) return Outcome.Failed;
    if (isReadable) this.#noteDifferences(slot, at, count, wanted, found);
    else this.#note(slot, at, count);
    if (!this.#mustWrite) return Outcome.Compared;
    if (!this.#isResync && array.minOperational === 1) {
      await this.#settleCopies(at, count);
      return Outcome.Settled;
    }
    const { wrong = null } = this.#options;
    if (!this.#isResync && wrong !== null && wrong !== slot.index) {
      await this.#rewriteWrong(array.slotAt(wrong), at, count, wanted);
      return Outcome.Compared;
    }
    this.#report(slot, at, count);
    try {
      await memberIo(array, slot, IoType.Write, at, count, wanted);
    } catch (error) {
      if (!array.failMember(slot.index, 'it could not be made to agree')) throw error;
    }
    return Outcome.Compared;
  }

  /** A repair of copies: by majority, or as the named one. */
  async #settleCopies(at: number, count: number): Promise<void> {
    const array = this.#array;
    const { rewritten, undecided } = await makeCopiesAgree(array, at, count, this.#options.source ?? null);
    for (const [slot, offset, length] of rewritten) this.#report(array.slotAt(slot), offset, length);
    for (const [offset, length] of undecided) {
      this.#process.undecidedBlocks += length;
      array.log.error({ ...array.logFields(), block: offset, blocks: length }, 'copies differ, and none has the majority: left as they are; name the member that is right');
    }
  }

  /** A repair by parity in which a person says whose data is wrong. */
  async #rewriteWrong(wrong: Slot, at: number, count: number, addr: number): Promise<void> {
    await reconstructInto(this.#array, wrong.index, at, count, addr);
    this.#report(wrong, at, count);
    await memberIo(this.#array, wrong, IoType.Write, at, count, addr);
  }

  /** What a repair changes, it says. */
  #report(slot: Slot, at: number, count: number): void {
    if (this.#isResync) return;
    this.#process.repairedBlocks += count;
    this.#array.log.warn({ ...this.#array.logFields(slot), block: at, blocks: count }, 'blocks that disagreed are rewritten');
  }

  #noteDifferences(slot: Slot, at: number, count: number, wanted: number, found: number): void {
    const { blockSize, memory } = this.#array;
    let from = -1;
    for (let block = 0; block <= count; block++) {
      const isSame = block === count || memory.equal(wanted + block * blockSize, found + block * blockSize, blockSize);
      if (!isSame && from < 0) from = block;
      if (!isSame || from < 0) continue;
      this.#note(slot, at + from, block - from);
      from = -1;
    }
  }

  /** Copies of the same: if the first one cannot be read, this one is as good, and the first is given it. */
  async #trustAnotherCopy(slot: Slot, at: number, count: number, wanted: number, reason: unknown): Promise<boolean> {
    const array = this.#array;
    // A device that was given up may still fill the buffer: nothing else may be read into it.
    const mayStillFill = BdevError.is(reason) && reason.errno === (Status.TimedOut as number);
    if (array.minOperational !== 1 || mayStillFill) return false;
    try {
      await memberIo(array, slot, IoType.Read, at, count, wanted);
      const source = array.slots.find((other) => other.isCurrent);
      if (source !== undefined && source !== slot) await memberIo(array, source, IoType.Write, at, count, wanted);
      return true;
    } catch {
      return false;
    }
  }

  #note(slot: Slot, at: number, count: number): void {
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    const process = this.#process;
    process.mismatchBlocks += count;
    if (process.mismatches.length >= mostListed) return;
    const first = Math.floor(at / memberBlocks) * arrayBlocks;
    const last = Math.ceil((at + count) / memberBlocks) * arrayBlocks;
    process.mismatches.push({ offsetBlocks: first, numBlocks: last - first, slot: slot.index });
  }

  finish(): Promise<void> {
    const { undecidedBlocks } = this.#process;
    if (this.#failed > 0) return Promise.reject(new Error(`${this.#failed} ranges could not be compared`));
    if (undecidedBlocks > 0) return Promise.reject(new Error(`${undecidedBlocks} blocks differ, and no copy has the majority`));
    return Promise.resolve();
  }
}

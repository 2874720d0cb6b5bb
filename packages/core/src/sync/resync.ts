import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { ReplenishedPool } from '../level/replenished-pool.js';
import type { SyncHost } from './host.js';
import { apart, locateWrong, without } from './locate-wrong.js';
import type { Difference } from './locate-wrong.js';
import { repairByMajority } from './majority-repair.js';
import { statusOf } from '../errors.js';
import { reconstructAll, reconstructInto } from '../io/reconstruct.js';
import { listDamage } from '../metadata/damage.js';
import { flushMember, memberIo, writeSums } from '../members/member-io.js';
import { partOf, piecesOf } from './places.js';
import type { Piece, Place } from './places.js';
import { canCompare, mostListed } from './task.js';
import type { ProcessStep, RunningProcess, SyncOptions } from './task.js';
import { RegionState } from '../bitmap/region-state.js';
import { RewriteRefused, rewriteUnreadable } from '../io/read-repair.js';
import { isUnreadable, rewriteInPlace } from '../members/rewrite.js';
import { findUnreadable, halfOf } from './salvage.js';
import type { Slot } from '../members/slot.js';

/** Milliseconds between marking regions as consistent. Members are flushed for that, which costs more than a window. */
const markMs = 250;
/** How often to retry a comparison that found blocks unreadable which are then readable. */
const mostTries = 3;

/** Result for one slot's blocks. */
const Outcome = {
  /** The blocks could not be compared. */
  Failed: 0,
  /** The blocks agree, possibly after a repair. */
  Compared: 1,
  /** A majority vote has repaired all copies. */
  Settled: 2,
  /** Some of the blocks cannot be read. */
  Unreadable: 3,
} as const;
type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** Addresses of a slot's expected and actual data, and the differences found. */
interface Work {
  wanted: number;
  found: number;
  notes: Difference[];
  /** Whether differences are repaired. */
  mustWrite: boolean;
}

/**
 * Compares redundant blocks (parity, further copies) with what they should be, and rewrites those that differ unless the
 * process is a check. A resync also rewrites everything on every member that may not be on stable media, because data that a
 * failed flush lost can still be readable, and later flushes do not make it stable.
 */
export class ResyncTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: ReplenishedPool;
  readonly #mustWrite: boolean;
  readonly #isResync: boolean;
  readonly #options: SyncOptions;
  /** Token of the resync: it covers what was inconsistent when it began. */
  readonly #token: number;
  /** A member that is needed to compare is missing. Unstable blocks are rewritten, and nothing is compared. */
  readonly #isRewriteOnly: boolean;
  #failed = 0;
  /** Members to which writes have failed, and which are still members. */
  readonly #refusing = new Set<Slot>();
  /** It ends because a write has failed. No flush is to follow, which may fail too. */
  #isEnding = false;
  /** Time at which regions were last marked as consistent. */
  #markedAtMs: number;

  constructor(array: SyncHost, process: RunningProcess, pool: ReplenishedPool, options: SyncOptions) {
    this.#array = array;
    this.#options = options;
    this.#process = process;
    this.#pool = pool;
    this.#isResync = process.type === 'resync';
    this.#mustWrite = process.type === 'repair' || this.#isResync;
    this.#isRewriteOnly = this.#isResync && !canCompare(array);
    this.#token = this.#isResync ? array.consistency.beginResync() : 0;
    this.#markedAtMs = array.registry.runtime.now();
  }

  isNeeded(start: number, end: number): boolean {
    const { consistency, bitmap } = this.#array;
    // Without a map it is unknown what a crash left inconsistent, so a resync covers everything.
    if (bitmap === null) return true;
    const { from, to } = this.#array.memberRange(start, end);
    if (!this.#isRewriteOnly && this.#isResync && consistency.isInconsistent(from, to - from)) return true;
    if (this.#isResync) return consistency.isUnstable(from, to - from);
    return !bitmap.isAll(RegionState.Unwritten, from, to - from);
  }

  async run(start: number, end: number): Promise<void> {
    const { memberBlocks } = this.#array.stripe();
    const { from, to } = this.#array.memberRange(start, end);
    const most = this.#pool.slotBytes / this.#array.blockSize;
    for (let at = from; at < to;) {
      this.#process.throwIfStopped();
      if (!canCompare(this.#array) && !this.#isRewriteOnly) {
        throw new Error('a member was removed: there is nothing left to compare');
      }
      // The redundant slots depend on the stripe, unless the same groups of slots hold copies everywhere.
      const { copyGroups, copySets } = this.#array.level ?? {};
      const limit = copyGroups !== undefined ? to : (Math.floor(at / memberBlocks) + 1) * memberBlocks;
      const atMost = copySets !== undefined ? limit - at : Math.min(most, limit - at);
      const count = this.#array.bitmap?.withinRegion(at, atMost) ?? atMost;
      if (!this.#isUnwritten(at, count)) {
        const pieces = this.#isRewriteOnly ? [] : piecesOf(this.#array, at, count, most);
        for (const piece of pieces) await this.#syncReadable(piece);
        if (this.#mustRewrite(at, count)) await this.#rewrite(at, count);
      }
      at += count;
    }
    if (!this.#array.badBlocks.isRecorded) await this.#array.metadata.update();
  }

  /**
   * Repeats {@link #sync} until it succeeds. Unreadable blocks are located by halving, down to blocks that share a checksum.
   */
  async #syncReadable(piece: Piece): Promise<void> {
    const { count } = piece;
    for (let tries = 0; ; tries++) {
      this.#process.throwIfStopped();
      const { membership } = this.#array;
      const outcome = await this.#sync(piece);
      if (outcome === Outcome.Compared) return;
      if (outcome === Outcome.Unreadable && count > this.#array.blocksTogether) {
        const half = halfOf(this.#array, count);
        await this.#syncReadable(partOf(piece, 0, half));
        await this.#syncReadable(partOf(piece, half, count - half));
        return;
      }
      if (outcome === Outcome.Unreadable && (await this.#settleUnreadable(piece))) return;
      // The member that left may have been compared with. Try again with the remaining members.
      if (this.#array.membership !== membership) continue;
      if (outcome === Outcome.Unreadable && tries < mostTries) continue;
      this.#failed++;
      return;
    }
  }

  /** Unstable blocks must be rewritten, and blocks without valid checksums too, so that they get some. */
  #mustRewrite(at: number, count: number): boolean {
    const { consistency, hasIntegrity } = this.#array;
    return this.#isResync && (hasIntegrity || consistency.isUnstable(at, count));
  }

  /** Rewrites the blocks on all members, not only redundant ones, because any of them may not be stable. */
  async #rewrite(at: number, count: number): Promise<void> {
    const array = this.#array;
    for (const slot of array.slots) {
      if (!slot.isInSync) continue;
      try {
        await rewriteInPlace(array, slot, at, count);
      } catch (error) {
        // An error that is not a device's, such as a lack of memory, says nothing about the member.
        if (!BdevError.is(error)) throw error;
        this.#onNotWritten(slot, at, count, error, 'blocks that may not be on stable media could not be rewritten');
      }
    }
  }

  async onProgress(offset: number): Promise<void> {
    const { consistency } = this.#array;
    if (!this.#isResync || this.#failed > 0) return;
    if (this.#isEnding) return;
    const end = offset === this.#array.numBlocks ? Infinity : this.#array.memberRange(0, offset).to;
    const now = this.#array.registry.runtime.now();
    if (end !== Infinity && now - this.#markedAtMs < markMs) return;
    if (!consistency.isResyncDueBelow(end, this.#token)) return;
    const { lostFlushes } = this.#array;
    this.#markedAtMs = now;
    // Data must be on stable media before readers rely on redundancy.
    for (const slot of this.#array.slots) if (slot.isInSync) await flushMember(this.#array, slot, 'a flush failed');
    // If a flush was lost meanwhile, this one does not make that data stable.
    if (this.#array.lostFlushes !== lostFlushes) return;
    if (this.#isRewriteOnly) consistency.rewritten(end, this.#token);
    else consistency.resynced(end, this.#token);
  }

  /**
   * A write of these blocks to the slot's member has failed. If the member stays, the first resync ends here, because all writes
   * and flushes may be failing just now. One after it leaves these blocks as they are, and goes on.
   */
  #onNotWritten(slot: Slot, at: number, count: number, error: unknown, why: string, isParity = false): void {
    const array = this.#array;
    if (array.failUnlessInDoubt(slot.index, why)) return;
    const isFirst = slot.refusedResyncs === 0;
    // A member may refuse all writes: the first one of each resync is logged.
    if (!this.#refusing.has(slot)) {
      array.log.warn({ ...array.logFields(slot), block: at, blocks: count, err: error }, `the member stays, although ${why}`);
      slot.countWriteError();
      if (this.#isResync) slot.noteRefusedResync();
      this.#refusing.add(slot);
    }
    // What was written in part agrees with nothing. Data that was written back is what it was.
    if (isParity) array.consistency.markInconsistent(at, count);
    this.#isEnding ||= !this.#isResync || isFirst;
    if (this.#isEnding) throw error;
    array.consistency.passedOver(at, count);
  }

  #isUnwritten(at: number, count: number): boolean {
    return this.#array.bitmap?.isAll(RegionState.Unwritten, at, count) ?? false;
  }

  async #sync(piece: Piece): Promise<Outcome> {
    const unproven = this.#workedOutIn(piece);
    if (unproven.length > 0) return this.#prove(unproven, piece);
    const derived = this.#derivedIn(piece);
    const work: Work = { wanted: this.#pool.get(), found: this.#pool.get(), notes: [], mustWrite: false };
    let { notes } = work;
    try {
      if (work.wanted < 0 || work.found < 0) throw new Error('a process ran out of buffers');
      const mayLocate = this.#mayLocate(derived, piece);
      const { membership } = this.#array;
      work.mustWrite = this.#mustWrite && !mayLocate;
      let outcome = await this.#syncPlaces(derived, piece, work);
      if (mayLocate && outcome === Outcome.Compared && notes.length > 0) {
        const located = await this.#locate(notes, work, membership);
        if (!Array.isArray(located)) return located;
        const left: Work['notes'] = [];
        work.notes = left;
        work.mustWrite = true;
        // For the other differences parity is taken to be wrong. Located blocks have been repaired when it is written.
        if (this.#mustWrite) outcome = await this.#syncPlaces(derived, piece, work);
        else left.push(...without(notes, located));
        const { alone, together } = apart(this.#array, left);
        for (const [slot, from, blocks] of [...located, ...alone]) this.#note(slot, from, blocks, true);
        notes = together;
      } else if (mayLocate && this.#mustWrite) {
        // Nothing was repaired, so the differences will be found again.
        notes = [];
      }
      // If the comparison is repeated, differences will be found again unless they were repaired.
      if (outcome !== Outcome.Unreadable || this.#mustWrite)
        for (const [slot, from, blocks] of notes) this.#note(slot, from, blocks);
      return outcome === Outcome.Settled ? Outcome.Compared : outcome;
    } finally {
      if (work.wanted >= 0) this.#pool.put(work.wanted);
      if (work.found >= 0) this.#pool.put(work.found);
    }
  }

  /** A device that has not taken a write in time may still read the buffer, so what is compared next gets another one. */
  #renewAfter(error: unknown, work: Work): void {
    if (!BdevError.is(error) || error.errno !== Status.TimedOut) return;
    this.#pool.put(work.wanted);
    work.wanted = this.#pool.get();
    if (work.wanted < 0) throw new Error('a process ran out of buffers');
  }

  async #syncPlaces(derived: readonly Place[], piece: Piece, work: Work): Promise<Outcome> {
    let outcome: Outcome = Outcome.Compared;
    const settled: Slot[] = [];
    for (const place of derived) {
      if (settled.includes(place.slot)) continue;
      outcome = await this.#syncPlace(place, derived, piece, work);
      if (outcome === Outcome.Settled) settled.push(...copiesOf(piece, place).map(({ slot }) => slot));
      else if (outcome !== Outcome.Compared) break;
    }
    return outcome;
  }

  /**
   * Whether two or more parities may be used to locate wrong blocks: only if all members are present and nothing is
   * inconsistent. After a crash parity and data differ for another reason, and the located blocks may be the newest data.
   */
  #mayLocate(derived: readonly Place[], { at, count, sets }: Piece): boolean {
    const { consistency, numInSync, slots } = this.#array;
    if (this.#isResync || sets.length > 0 || derived.length < 2 || numInSync < slots.length) return false;
    return this.#options.wrong === undefined && !consistency.isInconsistent(at, count) && !consistency.isUnstable(at, count);
  }

  /**
   * Returns the blocks of data that all parities show to be wrong; a repair has rewritten them. Returns an outcome if the
   * comparison must be repeated.
   */
  async #locate(notes: Work['notes'], work: Work, membership: number): Promise<Work['notes'] | Outcome> {
    const array = this.#array;
    try {
      const located = await locateWrong(array, notes, work);
      for (const [slot, at, count] of located) {
        await reconstructInto(array, slot.index, at, count, work.wanted);
        // Data reconstructed from all members is invalid if one of them has left since.
        if (array.membership !== membership) return Outcome.Failed;
        if (this.#mustWrite) await this.#rewriteLocated(slot, at, count, work);
        else if (this.#process.mismatches.length < mostListed)
          array.log.warn(
            { ...array.logFields(slot), block: at, blocks: count },
            'the blocks do not match any parity: the member is wrong, and a repair rewrites them',
          );
      }
      return located;
    } catch (error) {
      if (!BdevError.is(error)) throw error;
      if (isUnreadable(error)) return Outcome.Unreadable;
      array.log.error({ ...array.logFields(), err: error }, 'blocks cannot be compared');
      return Outcome.Failed;
    }
  }

  async #rewriteLocated(slot: Slot, at: number, count: number, work: Work): Promise<void> {
    this.#report(slot, at, count);
    try {
      await memberIo(this.#array, slot, IoType.Write, at, count, work.wanted);
    } catch (error) {
      this.#onNotWritten(slot, at, count, error, 'it could not be made consistent');
      this.#renewAfter(error, work);
    }
  }

  /** Returns the redundant places of current members. */
  #derivedIn({ at, sets }: Piece): Place[] {
    if (sets.length > 0) return sets.flatMap((set) => current(set).slice(1));
    const { slots } = this.#array;
    const indexes = this.#array.redundantSlots(Math.floor(at / this.#array.stripe().memberBlocks));
    return slots.filter((slot) => slot.isInSync && indexes.includes(slot.index)).map((slot) => ({ slot, at }));
  }

  /**
   * Returns slots of absent members if some hold data there that would be reconstructed from inconsistent parity; else none. No
   * member can tell what that parity should be, but if there is more parity than needed, it may agree.
   */
  #workedOutIn({ at, count, sets }: Piece): number[] {
    const { consistency, slots } = this.#array;
    if (!this.#isResync || sets.length > 0 || !consistency.isInconsistent(at, count)) return [];
    const redundant = this.#array.redundantSlots(Math.floor(at / this.#array.stripe().memberBlocks));
    const absent = slots.filter((slot) => !slot.isInSync).map(({ index }) => index);
    return absent.some((index) => !redundant.includes(index)) ? absent : [];
  }

  /** For inconsistent blocks, a level returns only what redundancy proves. If it succeeds, redundancy is consistent there. */
  async #prove(absent: readonly number[], { at, count }: Piece): Promise<Outcome> {
    const addrs = absent.map(() => this.#pool.get());
    try {
      if (addrs.includes(-1)) throw new Error('a process ran out of buffers');
      await reconstructAll(this.#array, absent, at, count, addrs);
      return Outcome.Compared;
    } catch (error) {
      if (isUnreadable(error)) return Outcome.Unreadable;
      this.#array.log.error({ ...this.#array.logFields(), block: at, blocks: count, err: error }, 'blocks cannot be compared');
      return Outcome.Failed;
    } finally {
      for (const addr of addrs) if (addr >= 0) this.#pool.put(addr);
    }
  }

  /**
   * Returns other redundant slots that must not be read, so that each is reconstructed from data alone. While members are
   * absent, parity that is needed to reconstruct their data is not excluded.
   */
  #excludedFor(slot: Slot, derived: readonly Place[], { sets }: Piece): number[] {
    const others = derived.flatMap((other) => (other.slot === slot ? [] : [other.slot.index]));
    const isKnown = (): boolean => this.#array.canRunWith((one) => one.isInSync && one !== slot && !others.includes(one.index));
    while (sets.length === 0 && others.length > 0 && !isKnown()) others.pop();
    return others;
  }

  async #syncPlace(place: Place, derived: readonly Place[], piece: Piece, work: Work): Promise<Outcome> {
    const array = this.#array;
    const { wanted, found, notes, mustWrite } = work;
    const { at, slot } = place;
    const { count } = piece;
    const excluded = this.#excludedFor(slot, derived, piece);
    const [source, read] = await Promise.allSettled([
      reconstructInto(array, slot.index, at, count, wanted, excluded),
      memberIo(array, slot, IoType.Read, at, count, found),
    ]);
    const failures: unknown[] = [source, read].flatMap((result) =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    );
    if (failures.length > 0) {
      if (failures.every(isUnreadable)) return Outcome.Unreadable;
      array.log.error({ ...array.logFields(slot), block: at, blocks: count, err: failures[0] }, 'blocks cannot be compared');
      return Outcome.Failed;
    }
    if (array.memory.equal(wanted, found, count * array.blockSize)) return Outcome.Compared;
    if (!slot.isInSync) return Outcome.Failed;
    const known = notes.length;
    this.#findDifferences(slot, at, count, { wanted, found, notes });
    if (!mustWrite) return Outcome.Compared;
    if (!this.#isResync && piece.sets.length > 0) {
      await this.#settleCopies(copiesOf(piece, place), count);
      return Outcome.Settled;
    }
    const { wrong = null } = this.#options;
    // The data was reconstructed with other parity, which may be what is wrong.
    const isUndecided = wrong === null && derived.some((other) => other.slot !== slot && !excluded.includes(other.slot.index));
    if (isUndecided) return this.#leaveUndecided(slot, notes.slice(known));
    if (!this.#isResync && wrong !== null && wrong !== slot.index) {
      const parity = derived.map((other) => other.slot);
      const undecided = await this.#rewriteWrong(array.slotAt(wrong), notes.slice(known), parity, { wanted, found });
      return this.#leaveUndecided(slot, undecided);
    }
    this.#report(slot, at, count);
    try {
      await this.#write(slot, at, count, wanted, notes.slice(known));
    } catch (error) {
      this.#onNotWritten(slot, at, count, error, 'it could not be made consistent', piece.sets.length === 0);
      this.#renewAfter(error, work);
    }
    return Outcome.Compared;
  }

  #leaveUndecided(slot: Slot, differing: Work['notes']): Outcome {
    for (const [, offset, length] of differing) {
      this.#process.undecidedBlocks += length;
      this.#array.log.error(
        { ...this.#array.logFields(slot), block: offset, blocks: length },
        'parities disagree, and nothing determines which is right: left unchanged',
      );
    }
    return this.#isResync ? Outcome.Failed : Outcome.Compared;
  }

  /** Writes the differing blocks and those between them. */
  async #write(slot: Slot, at: number, count: number, wanted: number, differing: Work['notes']): Promise<void> {
    const array = this.#array;
    try {
      await memberIo(array, slot, IoType.Write, at, count, wanted);
    } catch (error) {
      if (statusOf(error) !== Status.NoSpace) throw error;
      // If the device lacks space, write only the differing blocks.
      for (const [, from, blocks] of differing)
        await memberIo(array, slot, IoType.Write, from, blocks, wanted + (from - at) * array.blockSize);
    }
  }

  /** Repairs copies by majority vote, or from the slot named in the options. */
  async #settleCopies(places: readonly Place[], count: number): Promise<void> {
    const array = this.#array;
    const { rewritten, undecided } = await repairByMajority(array, places, count, this.#options);
    for (const [slot, offset, length] of rewritten) this.#report(array.slotAt(slot), offset, length);
    for (const [offset, length] of undecided) {
      this.#process.undecidedBlocks += length;
      array.log.error(
        { ...array.logFields(), block: offset, blocks: length },
        'copies differ, and none has the majority: left unchanged; name the member that is right',
      );
    }
  }

  /**
   * Repairs data by parity if an operator has named the slot whose data is wrong. If there is more parity than needed, all of
   * it must agree; otherwise something else is wrong. Returns the blocks that are left unchanged.
   */
  async #rewriteWrong(
    wrong: Slot,
    differing: Work['notes'],
    parity: readonly Slot[],
    { wanted, found }: Pick<Work, 'wanted' | 'found'>,
  ): Promise<Work['notes']> {
    const array = this.#array;
    // Parity is computed from data, so it cannot show what other parity should be.
    if (parity.includes(wrong)) return differing;
    const spare = parity.filter((slot) => array.canRunWith((one) => one.isInSync && one !== wrong && one !== slot));
    const undecided: Work['notes'] = [];
    for (const [slot, from, blocks] of differing) {
      for (let at = from; at < from + blocks; at++) {
        await reconstructInto(array, wrong.index, at, 1, wanted);
        let doAgree = true;
        for (const { index } of spare) {
          await reconstructInto(array, wrong.index, at, 1, found, [index]);
          doAgree &&= array.memory.equal(wanted, found, array.blockSize);
        }
        if (!doAgree) {
          undecided.push([slot, at, 1]);
          continue;
        }
        this.#report(wrong, at, 1);
        await memberIo(array, wrong, IoType.Write, at, 1, wanted);
      }
    }
    return undecided;
  }

  /** Counts and logs what a repair changes. */
  #report(slot: Slot, at: number, count: number): void {
    if (this.#isResync) return;
    this.#process.repairedBlocks += count;
    this.#array.log.warn({ ...this.#array.logFields(slot), block: at, blocks: count }, 'mismatched blocks are rewritten');
  }

  #findDifferences(slot: Slot, at: number, count: number, { wanted, found, notes }: Omit<Work, 'mustWrite'>): void {
    const { blockSize, memory } = this.#array;
    let from = -1;
    for (let block = 0; block <= count; block++) {
      const isSame = block === count || memory.equal(wanted + block * blockSize, found + block * blockSize, blockSize);
      if (!isSame && from < 0) from = block;
      if (!isSame || from < 0) continue;
      notes.push([slot, at + from, block - from]);
      from = -1;
    }
  }

  /**
   * Rewrites blocks (which share a checksum) that some member cannot read, from redundancy, as a read does. Returns false if
   * all members can read them now. Blocks that redundancy cannot reconstruct are lost; a resync then makes sure that nothing
   * relies on their parity.
   */
  async #settleUnreadable({ at, count, sets }: Piece): Promise<boolean> {
    const array = this.#array;
    const addr = this.#pool.get();
    if (addr < 0) throw new Error('a process ran out of buffers');
    try {
      const places = sets.length > 0 ? sets.flat() : array.slots.map((slot) => ({ slot, at }));
      const unreadable = await findUnreadable(array, places, count, addr);
      if (unreadable.length === 0) return false;
      if (sets.length === 0) await this.#settleUnreadableStripe(at, count, unreadable);
      for (const set of sets) await this.#settleUnreadableCopies(current(set), count, unreadable, addr);
      for (const place of places) await listDamage(array, place.at, count);
      return true;
    } finally {
      this.#pool.put(addr);
    }
  }

  async #settleUnreadableCopies(copies: readonly Place[], count: number, all: readonly Slot[], addr: number): Promise<void> {
    const array = this.#array;
    const unreadable = copies.filter(({ slot }) => all.includes(slot));
    if (unreadable.length === 0) return;
    const readable = copies.filter(({ slot }) => slot.isInSync && !all.includes(slot));
    const [source] = readable;
    for (const { at, slot } of unreadable) this.#process.noteUnreadable(slot.index, at, count, source === undefined);
    if (source === undefined) return;
    if (!this.#isResync && !(await this.#doAgree(readable, count, addr))) {
      // A majority vote or an operator decides what the unreadable copy gets.
      for (const { at, slot } of readable.slice(1)) this.#note(slot, at, count);
      if (this.#mustWrite) await this.#settleCopies(copies, count);
      return;
    }
    await memberIo(array, source.slot, IoType.Read, source.at, count, addr);
    for (const place of this.#isResync ? copies : unreadable) {
      const { at, slot } = place;
      if (place === source || !slot.isInSync) continue;
      try {
        await memberIo(array, slot, IoType.Write, at, count, addr);
        if (unreadable.includes(place)) this.#noteRewritten(slot, at, count);
      } catch (error) {
        if (!array.failMember(slot.index, 'unreadable blocks could not be rewritten')) throw error;
      }
    }
  }

  async #doAgree(copies: readonly Place[], count: number, one: number): Promise<boolean> {
    const other = this.#pool.get();
    try {
      if (other < 0) throw new Error('a process ran out of buffers');
      for (const [index, { at, slot }] of copies.entries()) {
        await memberIo(this.#array, slot, IoType.Read, at, count, index === 0 ? one : other);
        if (index > 0 && !this.#array.memory.equal(one, other, count * this.#array.blockSize)) return false;
      }
      return true;
    } finally {
      if (other >= 0) this.#pool.put(other);
    }
  }

  async #settleUnreadableStripe(at: number, count: number, unreadable: readonly Slot[]): Promise<void> {
    const array = this.#array;
    let isLost = false;
    for (const slot of unreadable) {
      let isKnown = true;
      try {
        await rewriteUnreadable(array, slot, at, count);
        this.#process.repairedBlocks += this.#isResync ? 0 : count;
      } catch (error) {
        if (error instanceof RewriteRefused) {
          const isParity = array.redundantSlots(Math.floor(at / array.stripe().memberBlocks)).includes(slot.index);
          this.#onNotWritten(slot, at, count, error.cause, error.message, isParity);
        } else if (!isUnreadable(error)) throw error;
        isKnown = error instanceof RewriteRefused || !slot.isInSync;
        if (!isKnown)
          array.log.error(
            { ...array.logFields(slot), block: at, blocks: count, err: error },
            'the block cannot be read, and cannot be reconstructed from the other members',
          );
      }
      this.#process.noteUnreadable(slot.index, at, count, !isKnown);
      isLost ||= !isKnown;
    }
    if (!isLost || !this.#isResync) return;
    // Parity of the lost block is arbitrary, so no other block may be reconstructed from it.
    for (const { slot } of this.#derivedIn({ at, count, sets: [] }))
      if (!array.badBlocks.has(slot.index, at, count)) array.markBad(slot.index, at, count);
  }

  #noteRewritten(slot: Slot, at: number, count: number): void {
    slot.countRepaired(count);
    if (!this.#isResync) this.#process.repairedBlocks += count;
    this.#array.log.info(
      { ...this.#array.logFields(slot), block: slot.dataOffset + at, blocks: count },
      'unreadable blocks were rewritten from redundancy',
    );
  }

  #note(slot: Slot, at: number, count: number, isLocated = false): void {
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    const process = this.#process;
    process.mismatchBlocks += count;
    if (process.mismatches.length >= mostListed) return;
    const first = Math.floor(at / memberBlocks) * arrayBlocks;
    const last = Math.ceil((at + count) / memberBlocks) * arrayBlocks;
    process.mismatches.push({ offsetBlocks: first, numBlocks: last - first, slot: slot.index, isLocated });
  }

  async finish(): Promise<void> {
    const process = this.#process;
    const { lostBlocks, repairedBlocks, undecidedBlocks } = process;
    // A power failure must not bring back the wrong data: its regions are clean, so no resync would look there.
    if (repairedBlocks > 0) {
      for (const slot of this.#array.slots) if (slot.isInSync) await writeSums(this.#array, slot);
      for (const slot of this.#array.slots)
        if (slot.isInSync) await flushMember(this.#array, slot, 'a flush of repaired blocks failed');
    }
    if (this.#isResync) for (const slot of this.#array.slots) if (!this.#refusing.has(slot)) slot.noteTakenResync();
    if (this.#failed > 0) throw new Error(`${this.#failed} ranges could not be compared`);
    const refusing = [...this.#refusing].filter((slot) => slot.isInSync).map((slot) => `slot ${slot.index} (${slot.name})`);
    if (refusing.length > 0) throw new Error(`blocks could not be written to ${refusing.join(', ')}`);
    if (undecidedBlocks > 0) {
      const why =
        this.#array.module.redundancy === 'copies' ? 'no copy has the majority' : 'no parity is left to determine which';
      throw new Error(`${undecidedBlocks} blocks differ, and ${why}`);
    }
    if (lostBlocks > 0 && (process.type === 'check' || process.type === 'repair'))
      throw new Error(`${lostBlocks} blocks cannot be read or reconstructed`);
  }
}

/** Returns the places of current members. */
function current(places: readonly Place[]): Place[] {
  return places.filter(({ slot }) => slot.isInSync);
}

/** Returns the places of current members that hold the same data as this one. */
function copiesOf({ sets }: Piece, place: Place): Place[] {
  return current(sets.find((set) => set.includes(place)) ?? []);
}

import { BlockClient, IoType, Status } from '@raidkit/bdev';
import { noJournal } from './host.js';
import type { JournalPlan, MetadataHost, ProcessHeader } from './host.js';
import { RaidError, mayHaveLostWrites } from '../errors.js';
import { coversAbsence, journalInForce } from './journal-plan.js';
import { noteFailed } from '../members/member-io.js';
import type { Slot } from '../members/slot.js';
import { Generations } from '../format/newest-copy.js';
import { firstIncarnation, seqStep } from '../format/store.js';
import type { ArrayRecord, ExtensionHeader, ExtensionStore, SlotRecord, SuperblockStore } from '../format/store.js';

/** The order in which members are written to. */
interface WriteOrder {
  /** Members of the same rank are written to in parallel, the lowest rank first. */
  rankOf: (slot: Slot) => Rank;
  /** Called when the members of the lowest rank are done. Returns whether the others may be written to. */
  mayFollow: () => boolean;
}

type Rank = 0 | 1 | 2;

/** Sequence number and journal of an update, as headers record them. */
interface Round {
  seqNumber: number;
  plan: JournalPlan;
}

/**
 * Writes an array's record to its members, one update (round) at a time. A round writes one snapshot with one sequence number
 * to every current member in parallel, flushed; to members without superblock before the others, and to those that are being
 * filled after them. With an extension the headers go first, flushed too. Requests that arrive during a round are served by one
 * further round.
 */
export class SuperblockWriter {
  readonly #array: MetadataHost;
  readonly #store: SuperblockStore | null;
  seqNumber = 0;
  /** Sequence number of the last round that is known to have reached all members that it records as current. */
  completedSeqNumber = 0;
  /** Number of slots in that round if this process wrote it; else 0. */
  recordedSlots = 0;
  /**
   * Salt of the checksums in the last round that all members have; null if it had none, or if this process has written no such
   * round.
   */
  recordedSums: string | null = null;
  /** Number of blocks of each data area that have checksums, in that round. */
  recordedSummedBlocks = 0;
  /** Incarnation of the write-intent bitmap and the journal in headers. */
  incarnation = firstIncarnation;
  /** See `ExtensionHeader`; null until it is known or the first header is made. */
  #lineage: string | null = null;
  /** A process that a stop or crash interrupted, as recorded in headers. */
  #interrupted: ExtensionHeader['process'] = null;
  /** Generations of headers. */
  readonly #generations = new Generations();
  #plan: JournalPlan = noJournal;
  /** The journal in force was found at the start, and no round of this process has yet replaced it on all members. */
  #isJournalFound = false;
  /** The last round whose superblock all members have; null before the first one. */
  #settled: Round | null = null;
  /** The predecessor that the headers of the newest round name; null before the first one. */
  #before: Round | null = null;
  #round: Promise<void> | null = null;
  #nextRound: Promise<void> | null = null;
  /** See {@link skipNumbers}. */
  #skipped = 0;

  constructor(array: MetadataHost, store: SuperblockStore | null) {
    this.#array = array;
    this.#store = store;
  }

  get isEnabled(): boolean {
    return this.#store !== null && !this.#array.isReadOnly && this.#array.isRecordable;
  }

  /** Continues from the header that was found on the members. */
  adoptHeader(header: ExtensionHeader): void {
    this.incarnation = header.incarnation;
    this.#interrupted = header.process;
    this.#generations.note(header.generation);
    this.#plan = journalInForce(header, this.seqNumber);
    // After a crash some members may lack the newest superblock. Until all have a newer one, headers must belong to the older
    // one too.
    const oldest = Math.min(...this.#array.slots.filter((slot) => slot.isInSync).map((slot) => slot.foundSeqNumber));
    const settled = Math.max(header.previousSeqNumber, Math.min(oldest, this.seqNumber));
    this.#settled = { seqNumber: settled, plan: this.#plan };
    this.#isJournalFound = true;
  }

  /** A process of this type begins. Returns the seconds that it had run when a stop or crash interrupted it, else 0. */
  resumeProcess(type: ProcessHeader['type']): number {
    const interrupted = this.#interrupted;
    if (interrupted?.type !== type) return 0;
    this.#interrupted = null;
    return interrupted.elapsedSec;
  }

  /** Lineage in the headers that were found or are written. */
  get lineage(): string {
    return this.#lineage ?? this.incarnation;
  }

  /** Adopts the lineage of headers that were found. */
  adoptLineage(lineage: string): void {
    this.#lineage = lineage;
  }

  /** Adopts the sequence number of a superblock that was found. */
  adoptSeqNumber(seqNumber: number): void {
    this.seqNumber = seqNumber;
  }

  /** Adopts the {@link completedSeqNumber} of a header that was found. */
  adoptCompleted(seqNumber: number): void {
    this.completedSeqNumber = seqNumber;
  }

  /** A header of this generation exists, so the next one must have a higher generation, even if this one is not valid. */
  noteGeneration(generation: number): void {
    this.#generations.note(generation);
  }

  /** Devices that are absent may have the next `count` sequence numbers, from interrupted rounds. The next round leaves them out. */
  skipNumbers(count: number): void {
    this.#skipped = count;
  }

  /** The next header must not overwrite the place of this generation. */
  spareHeader(generation: number): void {
    this.#generations.keep(generation);
  }

  /** Begins a new incarnation of the map: pages and journal entries that members have become invalid. */
  beginIncarnation(): void {
    this.incarnation = Buffer.from(this.#array.registry.runtime.randomBytes(8)).toString('hex');
    // The journal found by an earlier start becomes invalid too. Without entries it would mean that all redundancy was
    // consistent.
    this.#plan = noJournal;
    this.#isJournalFound = false;
    if (this.#settled !== null) this.#settled = { seqNumber: this.#settled.seqNumber, plan: noJournal };
  }

  /** Epoch of the journal that belongs to the newest superblock, if it covers the absent members; 0 if there is none. */
  get journalEpoch(): number {
    return coversAbsence(this.#array.slots, this.#plan) ? this.#plan.epoch : 0;
  }

  /**
   * Records the array's state as of now or later. Resolves when it is on stable media of every member that is still current
   * then. A member that cannot be written to is failed; rejects if no member could be written, or if a needed one could not.
   */
  update(): Promise<void> {
    if (!this.isEnabled) return Promise.resolve();
    // The queued round takes its snapshot when it begins, which has not happened even if the round before it has just ended.
    if (this.#nextRound !== null) return this.#nextRound;
    if (this.#round === null) return this.#start();
    // The round in progress may have taken its snapshot already.
    this.#nextRound = this.#round.then(
      () => this.#startNext(),
      () => this.#startNext(),
    );
    return this.#nextRound;
  }

  /** No round is in progress or queued. */
  isIdle(): boolean {
    return this.#round === null && this.#nextRound === null;
  }

  /**
   * Resolves when the rounds in progress and queued have ended, successfully or not. Check {@link isIdle} again: there may be
   * new ones.
   */
  async whenIdle(): Promise<void> {
    await (this.#nextRound ?? this.#round)?.catch(() => undefined);
  }

  /**
   * Writes the headers again with what has changed since the last round. Failures are ignored, since the next round writes them
   * too.
   */
  async saveHeaders(): Promise<void> {
    const extension = this.#array.extension;
    const before = this.#before;
    if (extension === undefined || before === null || !this.isEnabled) return;
    if (this.#round !== null || this.#nextRound !== null) return;
    const saved = this.#writeHeaders(extension, { seqNumber: this.seqNumber, plan: this.#plan }, before).catch(() => undefined);
    // A round that is requested meanwhile must wait for this.
    this.#round = saved.finally(() => {
      this.#round = null;
    });
    await saved;
  }

  /**
   * Makes the members' headers belong to no superblock, so that nothing of the extension is valid until a new incarnation of
   * the map has its pages and journal. The facts that only headers record remain readable throughout, and so does the list of
   * bad blocks.
   */
  async giveUpRecord(): Promise<void> {
    const { extension } = this.#array;
    if (extension === undefined) return;
    await this.#writeBadBlocks(extension);
    const none = { seqNumber: 0, plan: noJournal };
    // The places are written one after the other, so that one of them is intact after a power failure.
    for (let place = 0; place < 2; place++) await this.#writeHeaders(extension, none, none);
  }

  /** Returns the record as it would be written now. */
  snapshot(): ArrayRecord {
    const array = this.#array;
    return {
      uuid: array.uuid,
      name: array.recordedName,
      level: array.module.code,
      blockSize: array.blockSize,
      stripSizeBlocks: array.stripSizeBlocks,
      numBlocks: array.numBlocks,
      seqNumber: this.seqNumber,
      slots: array.slots.map(slotRecord),
    };
  }

  /** Throws if the record of the next round could not be read back from the members. */
  check(): void {
    if (this.#store === null || this.#array.isReadOnly) return;
    this.#check({ ...this.snapshot(), seqNumber: this.#nextSeqNumber(this.#store) });
  }

  #check(record: ArrayRecord): void {
    this.#refusing(() => this.#store?.check(record));
  }

  /** A record that could not be read back is written to no member, and no member is failed for it. */
  #refusing(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const message = `array ${this.#array.name} cannot be recorded on its members: ${error.message}`;
      throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message, { cause: error });
    }
  }

  #nextSeqNumber(store: SuperblockStore): number {
    let next = nextSeqNumber(store, this.seqNumber);
    for (let left = this.#skipped; left > 0; left--) next = nextSeqNumber(store, next);
    return next;
  }

  #startNext(): Promise<void> {
    this.#nextRound = null;
    return this.#start();
  }

  #start(): Promise<void> {
    const round = this.#write().finally(() => {
      if (this.#round === round) this.#round = null;
    });
    this.#round = round;
    return round;
  }

  async #write(): Promise<void> {
    const store = this.#store;
    if (store === null) return;
    const array = this.#array;
    if (array.extension !== undefined) await this.#writeBadBlocks(array.extension);
    if (array.level === null) {
      // Only a started level knows the array's size. The next start records the members that left.
      throw new RaidError(
        'ERR_RAID_METADATA',
        Status.IoError,
        `array ${array.name}: it is not online, so nothing can be recorded`,
      );
    }
    while (array.journal?.mustSettle === true) await array.journal.settle();
    // The start that requested this may have failed meanwhile, and then the array's state is unknown.
    if (!this.isEnabled) return;
    if (!array.canRunWith((slot) => slot.isInSync)) {
      // A member that the array cannot do without is never recorded as out: with it, the other members are still the newest
      // state.
      throw new RaidError(
        'ERR_RAID_TOO_FEW_MEMBERS',
        Status.NoDevice,
        `array ${array.name}: a member that it needs was removed`,
      );
    }
    const { extension } = array;
    // The previous superblock that may have been written. Headers alone may have been written several times without one.
    const previous = this.seqNumber;
    const next = this.#nextSeqNumber(store);
    this.#check({ ...this.snapshot(), seqNumber: next });
    const plan = array.journal?.plan(next) ?? noJournal;
    // A member that waits to be filled gets this superblock too. Later it could not be told from a member that left with it.
    const knownByIt = array.slots.filter(isKnownByIt);
    for (const slot of array.slots) {
      // Until all members have the superblock, it may be that the one before counts, which names the slot's former member.
      const mayName = knownByIt.includes(slot) && (slot.isInSync || !slot.isSuccessor);
      if (slot.isOperational) slot.noteLastSeqNumber(mayName ? next : 0);
    }
    const record = { ...this.snapshot(), seqNumber: next };
    // Several rounds may have failed, each after reaching some members. The headers must belong to the superblocks of all of
    // them.
    const before = (this.#settled ??= { seqNumber: previous, plan: this.#plan });
    // A round that ends the journal ends it only when all members have this superblock. Until then every write is journaled, so
    // that a member lost meanwhile can be reconstructed. The same holds at a start: if it fails, the next one must find the
    // same journal.
    const found = this.#isJournalFound && coversAbsence(array.slots, this.#plan) ? this.#plan : null;
    const meanwhile = plan.epoch === 0 ? (array.journal?.inForce ?? found ?? plan) : plan;
    if (extension !== undefined) await this.#writeHeaders(extension, { seqNumber: next, plan: meanwhile }, before);
    this.seqNumber = next;
    this.#skipped = 0;
    this.#plan = meanwhile;
    this.#before = before;
    const writeTo = async (slot: Slot): Promise<void> => {
      if (slot.descriptor === null) throw new Error('the member was removed');
      await store.write(slot.descriptor, record);
      if (isStillIn(record, slot)) slot.noteSuperblock(record.seqNumber);
    };
    // Members without a superblock are written first: otherwise a crash could leave others that name such a member while the
    // member itself cannot be recognised. Members being filled are written last: they cannot replace those that hold the data,
    // so those must not know less.
    await this.#onWriters('superblock', writeTo, {
      rankOf: ({ foundSeqNumber, index }) => (record.slots[index]?.state !== 'configured' ? 2 : foundSeqNumber === 0 ? 0 : 1),
      mayFollow: () =>
        record.slots.every(({ state }, index) => state !== 'configured' || array.slotAt(index).foundSeqNumber > 0),
    });
    this.#settled = { seqNumber: next, plan: meanwhile };
    // A needed member that disappeared meanwhile does not have the superblock.
    const hasIt = (slot: Slot): boolean =>
      record.slots[slot.index]?.state !== 'configured' || (slot.isInSync && isStillIn(record, slot));
    if (array.slots.every(hasIt)) {
      this.completedSeqNumber = record.seqNumber;
      this.recordedSlots = record.slots.length;
      for (const slot of array.slots) {
        if (slot.isSuccessor && isStillIn(record, slot)) slot.noteRecorded(knownByIt.includes(slot) ? next : 0);
      }
      this.#plan = plan;
      this.#settled = { seqNumber: next, plan };
      // Written again to record that all members have the superblock, so that a member found with an older one was absent.
      const sums = array.sums?.header() ?? null;
      if (extension !== undefined) await this.#writeHeaders(extension, { seqNumber: next, plan }, before);
      this.recordedSums = sums?.salt ?? null;
      this.recordedSummedBlocks = sums?.summedBlocks ?? 0;
    } else if (meanwhile === found) {
      // A journal that was found gets no new entries: their ids would make them count as newer. The next round ends or replaces
      // it.
      return;
    }
    this.#isJournalFound = false;
    array.journal?.adopt(this.#plan);
  }

  /** Written in every round, because a new member may not have the list. */
  async #writeBadBlocks(extension: ExtensionStore): Promise<void> {
    const { badBlocks } = this.#array;
    if (badBlocks.size === 0 && badBlocks.isRecorded) return;
    const mustFlush = !badBlocks.isRecorded;
    // Blocks removed from the list were written before this flush. If a flush failed earlier, they may be bad again.
    const isStable = (): boolean => !this.#array.slots.some((slot) => slot.isInSync && slot.hasLostFlush);
    const flushed = badBlocks.snapshot(true, extension.mostBadRanges);
    if (mustFlush) await this.#onWriters('last data', flush);
    const { list, onRecorded } = isStable() ? flushed : badBlocks.snapshot(false, extension.mostBadRanges);
    await this.#onWriters('list of bad blocks', (slot) => {
      if (slot.descriptor === null) throw new Error('the member was removed');
      return extension.writeBadBlocks(slot.descriptor, this.#array, list);
    });
    onRecorded();
  }

  async #writeHeaders(extension: ExtensionStore, round: Round, before: Round): Promise<void> {
    const generation = this.#generations.next();
    this.#refusing(() => {
      for (const slot of this.#array.slots) if (slot.isConfigured) extension.check(this.#header(slot, round, before));
    });
    await this.#onWriters('header', (slot) => {
      if (slot.descriptor === null) throw new Error('the member was removed');
      return extension.writeHeader(slot.descriptor, this.#header(slot, round, before));
    });
    this.#generations.written(generation);
  }

  #header(slot: Slot, round: Round, before: Round): ExtensionHeader {
    const { badBlocks, options, outerUuid, process, bitmap, readPolicy, slots, sums, uuid, wantsIntegrity } = this.#array;
    this.#lineage ??= this.incarnation;
    return {
      generation: this.#generations.last,
      arrayUuid: uuid,
      memberUuid: slot.uuid,
      incarnation: this.incarnation,
      lineage: this.#lineage,
      outerUuid,
      seqNumber: round.seqNumber,
      previousSeqNumber: before.seqNumber,
      completedSeqNumber: this.completedSeqNumber,
      regionBlocks: bitmap?.regionBlocks ?? 0,
      numRegions: bitmap?.states.length ?? 0,
      journalEpoch: round.plan.epoch,
      journalSlots: round.plan.slots,
      previousJournalEpoch: before.plan.epoch,
      previousJournalSlots: before.plan.slots,
      process: process === null ? this.#interrupted : { type: process.type, elapsedSec: process.elapsedSec },
      badBlocks: badBlocks.header,
      sums: sums === null ? null : sums.header(),
      wantsIntegrity,
      levelOptions: JSON.stringify(options),
      readPolicy,
      slots: slots.map(({ formerSeqNumber, lastSeqNumber, pagesTaken, isRemovedByHand, readPreference, errors }) => ({
        lastSeqNumber,
        formerSeqNumber,
        // Members have no pages of a map that was given up or is not written yet. While a member's former superblock counts, its
        // pages do not.
        pagesTaken: bitmap === null || formerSeqNumber > 0 ? 0 : pagesTaken,
        isRemovedByHand,
        readPreference,
        readErrors: errors.read,
        writeErrors: errors.write,
        repairedBlocks: errors.repaired,
      })),
    };
  }

  /** Writes to members rank by rank, those of a rank in parallel. Later ranks are written only if earlier ones allow it. */
  async #onWriters(
    what: string,
    write: (slot: Slot) => Promise<void>,
    { rankOf, mayFollow }: WriteOrder = { rankOf: () => 0, mayFollow: () => true },
  ): Promise<void> {
    const array = this.#array;
    // Rebuild targets get the record too, which does not list them as members yet.
    const writers = array.slots.filter((slot) => slot.descriptor !== null && slot.isOperational);
    const failed: { slot: Slot; error: unknown }[] = [];
    let written = 0;
    let lastError: unknown;
    const writeTo = async (slot: Slot): Promise<void> => {
      try {
        await write(slot);
        if (slot.isInSync) written++;
      } catch (error) {
        lastError = error;
        failed.push({ slot, error });
        // Until the others have answered, nobody else is to be failed in its place.
        if (mayHaveLostWrites(error)) slot.noteLoss();
        array.log.error({ ...array.logFields(slot), err: error }, `the ${what} could not be written`);
      } finally {
        slot.partEnded();
      }
    };
    // All are counted from here on, so that no other member can take the slot of one that is written later.
    for (const slot of writers) slot.partBegan();
    const ofRank = (rank: Rank): Slot[] => writers.filter((slot) => rankOf(slot) === rank);
    const [first, then, last] = [ofRank(0), ofRank(1), ofRank(2)];
    await Promise.all(first.map(writeTo));
    const isCalledOff = first.length < writers.length && !mayFollow();
    if (isCalledOff) for (const slot of then) slot.partEnded();
    else await Promise.all(then.map(writeTo));
    // If no current member has the record, members being filled must not get it.
    if (isCalledOff || (first.length + then.length > 0 && written === 0)) for (const slot of last) slot.partEnded();
    else await Promise.all(last.map(writeTo));
    for (const { slot, error } of failed) if (mayHaveLostWrites(error)) slot.judgeLoss();
    if (written === 0 && !isCalledOff) {
      for (const { slot, error } of failed) if (slot.isInSync) noteFailed(array, slot, error);
      const message = `array ${array.name}: the ${what} could not be written to any member`;
      throw new RaidError('ERR_RAID_METADATA', Status.IoError, message, { cause: lastError });
    }
    // A member without the newest record would be stale at the next start, so it must be failed, or the update fails. A rebuild
    // target is failed too: what a failed flush lost, the next flush does not restore.
    for (const { slot, error } of failed) {
      if (!array.failMember(slot.index, `its ${what} could not be written`)) {
        noteFailed(array, slot, error);
        const message = `array ${array.name} slot ${slot.index}: the ${what} could not be written to ${String(slot.name)}, and the array cannot do without it`;
        throw new RaidError('ERR_RAID_METADATA', Status.IoError, message, { cause: lastError });
      }
    }
    if (isCalledOff) {
      const message = `array ${array.name}: a new member did not get its ${what}, so the others must not record it`;
      throw new RaidError('ERR_RAID_METADATA', Status.IoError, message, { cause: lastError });
    }
  }
}

/** Whether the slot's member is the one that the record has there. */
function isStillIn({ slots }: ArrayRecord, slot: Slot): boolean {
  return slots[slot.index]?.uuid === slot.recordedUuid;
}

/** Whether the superblock that is being written says what its member lacks. */
function isKnownByIt({ filling, isInSync, isOperational }: Slot): boolean {
  return isInSync || (isOperational && filling?.isOnMap === true);
}

function slotRecord(slot: Slot): SlotRecord {
  return {
    uuid: slot.recordedUuid,
    dataOffsetBlocks: slot.dataOffset,
    dataSizeBlocks: slot.dataSize,
    state: slot.isInSync ? 'configured' : slot.absence,
  };
}

async function flush({ descriptor }: Slot): Promise<void> {
  if (descriptor?.bdev.supports(IoType.Flush) === true) await new BlockClient(descriptor).flush();
}

function nextSeqNumber(store: SuperblockStore, previous: number): number {
  return store.extension === undefined ? previous + 1 : (Math.floor(previous / seqStep) + 1) * seqStep;
}

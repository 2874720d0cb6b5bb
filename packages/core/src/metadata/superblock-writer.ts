import { BlockClient, IoType } from '@raidkit/bdev';
import { noJournal } from './host.js';
import type { JournalPlan, MetadataHost, ProcessHeader } from './host.js';
import { RaidError } from '../errors.js';
import { coversAbsence, journalInForce } from './journal-plan.js';
import { noteFailed } from '../members/member-io.js';
import type { Slot } from '../members/slot.js';
import { Generations } from '../format/newest-copy.js';
import { firstIncarnation, seqStep } from '../format/store.js';
import type { ArrayRecord, ExtensionHeader, ExtensionStore, SlotRecord, SuperblockStore } from '../format/store.js';

/** In which order members are written to. */
interface WriteOrder {
  /** Those of the same rank at once, the lowest first. */
  rankOf: (slot: Slot) => Rank;
  /** Asked when those of the lowest rank are done: whether the others are written to. */
  mayFollow: () => boolean;
}

type Rank = 0 | 1 | 2;

/** What a header says of a round: its own, and the one before. */
interface Round {
  seqNumber: number;
  plan: JournalPlan;
}

/**
 * Writes an array's record to its members, one round at a time. A round writes one snapshot, with one sequence number, to
 * every current member in parallel, but to new ones before the others and to those that are being filled after them, each flushed; where there is an extension its header goes first, flushed too. Rounds
 * that are asked for while one is under way are one round together.
 */
export class SuperblockWriter {
  readonly #array: MetadataHost;
  readonly #store: SuperblockStore | null;
  seqNumber = 0;
  /** Sequence number of the last round that is known to have reached every member that it counts in. */
  completedSeqNumber = 0;
  /** How many slots the last round of this process said that is known so; 0 before there was one. */
  recordedSlots = 0;
  /** Salt of the checksums that the last round has said which all members have; null: of none, or there was no round yet. */
  recordedSums: string | null = null;
  /** How many blocks of each data area have checksums that count, as that round has said it. */
  recordedSummedBlocks = 0;
  /** The incarnation of the write-intent bitmap and the journal, as headers say it. */
  incarnation = firstIncarnation;
  /** See `ExtensionHeader`; null until it is known, or the first header is made. */
  #lineage: string | null = null;
  /** A process that a stop or crash cut short, as headers say it. */
  #interrupted: ExtensionHeader['process'] = null;
  /** Of headers. */
  readonly #generations = new Generations();
  #plan: JournalPlan = noJournal;
  /** The journal is the one that was found: this process has not yet told all members of another, or of none. */
  #isJournalFound = false;
  /** The last round whose superblock all members have; null before the first one. */
  #settled: Round | null = null;
  /** What headers of the newest round say came before it; null before the first one. */
  #before: Round | null = null;
  #round: Promise<void> | null = null;
  #nextRound: Promise<void> | null = null;
  /** See {@link skipNumber}. */
  #skips = false;

  constructor(array: MetadataHost, store: SuperblockStore | null) {
    this.#array = array;
    this.#store = store;
  }

  get isEnabled(): boolean {
    return this.#store !== null && !this.#array.isReadOnly && this.#array.isRecordable;
  }

  /** The header goes on from what was found on the members. */
  adoptHeader(header: ExtensionHeader): void {
    this.incarnation = header.incarnation;
    this.#interrupted = header.process;
    this.#generations.note(header.generation);
    this.#plan = journalInForce(header, this.seqNumber);
    // A crash may have kept the newest superblock from some: until all have a newer one, headers go with theirs too.
    const oldest = Math.min(...this.#array.slots.filter((slot) => slot.isInSync).map((slot) => slot.foundSeqNumber));
    const settled = Math.max(header.previousSeqNumber, Math.min(oldest, this.seqNumber));
    this.#settled = { seqNumber: settled, plan: this.#plan };
    this.#isJournalFound = true;
  }

  /** A process of this type begins. Returns for how many seconds it had run when a stop or crash cut it short. */
  resumeProcess(type: ProcessHeader['type']): number {
    const interrupted = this.#interrupted;
    if (interrupted?.type !== type) return 0;
    this.#interrupted = null;
    return interrupted.elapsedSec;
  }

  /** The lineage of the headers that are found, or written. */
  get lineage(): string {
    return this.#lineage ?? this.incarnation;
  }

  set lineage(lineage: string) {
    this.#lineage = lineage;
  }

  /** A header of this generation has been written: the next one is a later one, whatever this one is worth. */
  noteGeneration(generation: number): void {
    this.#generations.note(generation);
  }

  /** Members that are not there may have the next number, of a round that was cut short: the next round takes the one after it. */
  skipNumber(): void {
    this.#skips = true;
  }

  /** The next header goes to the other place than one of this generation has. */
  spareHeader(generation: number): void {
    this.#generations.keep(generation);
  }

  /** From now on a new life of the map: pages and journal entries that members have from before do not count. */
  beginIncarnation(): void {
    this.incarnation = Buffer.from(this.#array.registry.runtime.randomBytes(8)).toString('hex');
    // Nor does the journal that an earlier start has found: one without entries would say that all was in order.
    this.#plan = noJournal;
    this.#isJournalFound = false;
    if (this.#settled !== null) this.#settled = { seqNumber: this.#settled.seqNumber, plan: noJournal };
  }

  /** Epoch of the journal that goes with the newest superblock, and with the members that are there; 0 for none. */
  get journalEpoch(): number {
    return coversAbsence(this.#array.slots, this.#plan) ? this.#plan.epoch : 0;
  }

  /**
   * Resolves when the array's state, as it is now or later, is on stable media of every member that is still current then.
   * A member that cannot be written to is failed; rejects if not one could be written, or one that is needed could not.
   */
  update(): Promise<void> {
    if (!this.isEnabled) return Promise.resolve();
    // One that has been asked for takes its snapshot later, also in the turn in which the round before it has just ended.
    if (this.#nextRound !== null) return this.#nextRound;
    if (this.#round === null) return this.#start();
    // The round under way may have taken its snapshot already.
    this.#nextRound = this.#round.then(
      () => this.#startNext(),
      () => this.#startNext(),
    );
    return this.#nextRound;
  }

  /** No update is under way, and none is due. */
  isIdle(): boolean {
    return this.#round === null && this.#nextRound === null;
  }

  /** Resolves when what is under way or due now has ended, well or not. Ask {@link isIdle} again: others may have come. */
  async whenIdle(): Promise<void> {
    await (this.#nextRound ?? this.#round)?.catch(() => undefined);
  }

  /** Writes the headers once more, for what has changed in them since the last round. Best effort: the next round does it too. */
  async saveHeaders(): Promise<void> {
    const extension = this.#array.extension;
    const before = this.#before;
    if (extension === undefined || before === null || !this.isEnabled) return;
    if (this.#round !== null || this.#nextRound !== null) return;
    const saved = this.#writeHeaders(extension, { seqNumber: this.seqNumber, plan: this.#plan }, before).catch(() => undefined);
    // A round that is asked for meanwhile comes after it.
    this.#round = saved.finally(() => {
      this.#round = null;
    });
    await saved;
  }

  /**
   * From now on none of the headers on the members goes with their superblocks, so that nothing else counts that is kept beside them:
   * for a new life of the map, whose pages and journal are not there yet. What only headers say of the array they go on saying, at any
   * time, and the list of bad blocks goes on with the new life.
   */
  async giveUpRecord(): Promise<void> {
    const { extension } = this.#array;
    if (extension === undefined) return;
    await this.#writeBadBlocks(extension);
    const none = { seqNumber: 0, plan: noJournal };
    // One place after the other: if the power fails in between, one of them is whole.
    for (let place = 0; place < 2; place++) await this.#writeHeaders(extension, none, none);
  }

  /** The record as it would be written now. */
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

  /** Throws if the array, as it is now, could not be read again from its members once the next round had written it. */
  check(): void {
    if (this.#store === null || this.#array.isReadOnly) return;
    this.#check({ ...this.snapshot(), seqNumber: this.#nextSeqNumber(this.#store) });
  }

  #check(record: ArrayRecord): void {
    this.#refusing(() => this.#store?.check(record));
  }

  /** What could not be read again is not written, to no member: that is no member's fault. */
  #refusing(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const message = `array ${this.#array.name} cannot be recorded on its members: ${error.message}`;
      throw new RaidError('ERR_RAID_INVALID', 22, message, { cause: error });
    }
  }

  #nextSeqNumber(store: SuperblockStore): number {
    const next = nextSeqNumber(store, this.seqNumber);
    return this.#skips ? nextSeqNumber(store, next) : next;
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
      throw new RaidError('ERR_RAID_METADATA', 5, `array ${array.name}: it is not up, and nothing is recorded of it`);
    }
    while (array.journal?.mustSettle === true) await array.journal.settle();
    // The start that asked for this may have failed meanwhile: what the record would say is not known any more.
    if (!this.isEnabled) return;
    if (!array.canRunWith((slot) => slot.isInSync)) {
      // A member that the array cannot do without is never recorded as out: with it, the others are still the newest state.
      throw new RaidError('ERR_RAID_TOO_FEW_MEMBERS', 19, `array ${array.name}: a member is gone that it cannot do without`);
    }
    const { extension } = array;
    // Only what was, perhaps, written as a superblock counts: headers alone may be written several times in vain.
    const previous = this.seqNumber;
    const next = this.#nextSeqNumber(store);
    this.#check({ ...this.snapshot(), seqNumber: next });
    const plan = array.journal?.plan(next) ?? noJournal;
    // One that waits to be filled gets this superblock too, and could not be told from a member that left with it.
    for (const slot of array.slots) if (slot.isOperational) slot.lastSeqNumber = isKnownByIt(slot) ? next : 0;
    const record = { ...this.snapshot(), seqNumber: next };
    // Rounds may fail on all members one after the other, and each may have reached some: headers go with all that are possible.
    const before = (this.#settled ??= { seqNumber: previous, plan: this.#plan });
    // A round that ends the journal ends it when all members have this superblock: until then every write has its entry, and a
    // member that is lost meanwhile is made up for by them.
    // So does a start: if it fails, the next one has to find what it has found.
    const found = this.#isJournalFound && coversAbsence(array.slots, this.#plan) ? this.#plan : null;
    const meanwhile = plan.epoch === 0 ? (array.journal?.inForce ?? found ?? plan) : plan;
    if (extension !== undefined) await this.#writeHeaders(extension, { seqNumber: next, plan: meanwhile }, before);
    this.seqNumber = next;
    this.#skips = false;
    this.#plan = meanwhile;
    this.#before = before;
    const writeTo = async (slot: Slot): Promise<void> => {
      if (slot.descriptor === null) throw new Error('the member is gone');
      await store.write(slot.descriptor, record);
      if (isStillIn(record, slot)) slot.foundSeqNumber = record.seqNumber;
    };
    // A member that has none yet first: a crash must not leave others that name it, and itself with nothing to be known by. One
    // that is being filled last: it cannot stand in for those that hold the data, so they must not know less than it does.
    await this.#onWriters('superblock', writeTo, {
      rankOf: ({ foundSeqNumber, index }) => (record.slots[index]?.state !== 'configured' ? 2 : foundSeqNumber === 0 ? 0 : 1),
      mayFollow: () =>
        record.slots.every(({ state }, index) => state !== 'configured' || array.slotAt(index).foundSeqNumber > 0),
    });
    this.#settled = { seqNumber: next, plan: meanwhile };
    // A member that vanished meanwhile, and that the array cannot do without, has it not.
    const hasIt = (slot: Slot): boolean =>
      record.slots[slot.index]?.state !== 'configured' || (slot.isInSync && isStillIn(record, slot));
    if (array.slots.every(hasIt)) {
      this.completedSeqNumber = record.seqNumber;
      this.recordedSlots = record.slots.length;
      this.#plan = plan;
      this.#settled = { seqNumber: next, plan };
      // Once more: now all members have it, and one that is found with an older superblock was away.
      const sums = array.sums?.header() ?? null;
      if (extension !== undefined) await this.#writeHeaders(extension, { seqNumber: next, plan }, before);
      this.recordedSums = sums?.salt ?? null;
      this.recordedSummedBlocks = sums?.summedBlocks ?? 0;
    } else if (meanwhile === found) {
      // Nothing is added to it: what it says would count as newer, by its ids. The next round ends it, or begins another one.
      return;
    }
    this.#isJournalFound = false;
    array.journal?.adopt(this.#plan);
  }

  /** With every round, because a member may have come that does not have the list. */
  async #writeBadBlocks(extension: ExtensionStore): Promise<void> {
    const { badBlocks } = this.#array;
    if (badBlocks.size === 0 && badBlocks.isRecorded) return;
    const mustFlush = !badBlocks.isRecorded;
    // What is not bad any more was written before this flush; and where an earlier one failed, it may be bad again.
    const isStable = (): boolean => !this.#array.slots.some((slot) => slot.isInSync && slot.hasLostFlush);
    const flushed = badBlocks.snapshot(true, extension.mostBadRanges);
    if (mustFlush) await this.#onWriters('last data', flush);
    const { list, onRecorded } = isStable() ? flushed : badBlocks.snapshot(false, extension.mostBadRanges);
    await this.#onWriters('list of bad blocks', (slot) => {
      if (slot.descriptor === null) throw new Error('the member is gone');
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
      if (slot.descriptor === null) throw new Error('the member is gone');
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
      slots: slots.map(({ lastSeqNumber, pagesTaken, isRemovedByHand, readPreference, errors }) => ({
        lastSeqNumber,
        // No member has pages of a map that is gone, or is not there yet.
        pagesTaken: bitmap === null ? 0 : pagesTaken,
        isRemovedByHand,
        readPreference,
        readErrors: errors.read,
        writeErrors: errors.write,
        repairedBlocks: errors.repaired,
      })),
    };
  }

  /** Rank by rank; those of one rank all at once, when those before are done and if they still may be. */
  async #onWriters(
    what: string,
    write: (slot: Slot) => Promise<void>,
    { rankOf, mayFollow }: WriteOrder = { rankOf: () => 0, mayFollow: () => true },
  ): Promise<void> {
    const array = this.#array;
    // The target of a rebuild carries the record too, in which it is not a member yet.
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
        array.log.error({ ...array.logFields(slot), err: error }, `the ${what} could not be written`);
      } finally {
        slot.partEnded();
      }
    };
    // All from here on: no other member may get into the slot of one whose turn comes later.
    for (const slot of writers) slot.partsInFlight++;
    const ofRank = (rank: Rank): Slot[] => writers.filter((slot) => rankOf(slot) === rank);
    const [first, then, last] = [ofRank(0), ofRank(1), ofRank(2)];
    await Promise.all(first.map(writeTo));
    const isCalledOff = first.length < writers.length && !mayFollow();
    if (isCalledOff) for (const slot of then) slot.partEnded();
    else await Promise.all(then.map(writeTo));
    // What no member that holds the data has recorded, no other may record.
    if (isCalledOff || (first.length + then.length > 0 && written === 0)) for (const slot of last) slot.partEnded();
    else await Promise.all(last.map(writeTo));
    if (written === 0 && !isCalledOff) {
      for (const { slot, error } of failed) if (slot.isInSync) noteFailed(array, slot, error);
      const message = `array ${array.name}: the ${what} could not be written to any member`;
      throw new RaidError('ERR_RAID_METADATA', 5, message, { cause: lastError });
    }
    // A member that does not carry the newest record would be a stale one at the next start: it must go, or all fails. The
    // target of a rebuild goes too: what a failed flush has dropped, the next one does not bring back.
    for (const { slot, error } of failed) {
      if (!array.failMember(slot.index, `its ${what} could not be written`)) {
        noteFailed(array, slot, error);
        const message = `array ${array.name} slot ${slot.index}: the ${what} could not be written to ${String(slot.name)}, and the array cannot do without it`;
        throw new RaidError('ERR_RAID_METADATA', 5, message, { cause: lastError });
      }
    }
    if (isCalledOff) {
      const message = `array ${array.name}: a new member did not get its ${what}, and the others are not to name it`;
      throw new RaidError('ERR_RAID_METADATA', 5, message, { cause: lastError });
    }
  }
}

/** The slot's member is the one that the record has there. */
function isStillIn({ slots }: ArrayRecord, slot: Slot): boolean {
  return slots[slot.index]?.uuid === slot.recordedUuid;
}

/** True if the superblock that is being written says what its member lacks. */
function isKnownByIt({ filling, isInSync }: Slot): boolean {
  return isInSync || filling?.isOnMap === true;
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

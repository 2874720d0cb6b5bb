import { IoType } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import type { ProcessRecord, RaidArray } from '@raidkit/core';
import type { PlanItem } from '../plan-items.js';
import { placesOf, volumeBlockOf } from '../plain-places.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import type { Coverage } from '../coverage.js';
import type { VolumeModel } from '../model.js';
import type { SimPlan } from '../plan-items.js';
import type { Stack } from '../stack.js';
import type { VolumeClient } from '../volume-client.js';
import type { World } from '../world.js';
import type { Range } from './leniency.js';
import { makeRoom } from './make-room.js';
import { ViolationError } from './violation.js';

/** The parts of a run that are needed here. */
export interface LyingRun {
  readonly world: World;
  readonly plan: SimPlan;
  readonly model: VolumeModel;
  readonly coverage: Coverage;
  readonly leniency: { readonly ranges: readonly Range[]; forgive(start: number, end: number): void };
  readonly isTolerant: boolean;
  readonly isRedundant: boolean;
  readonly stack: Stack | null;
  readonly disks: readonly SimDisk[];
  readonly wasUnclean: boolean;
  array(): RaidArray | undefined;
  disk(index: number): SimDisk;
  up(): Promise<VolumeClient>;
  io(volume: VolumeClient, type: IoType, offset: number, numBlocks: number): Promise<void>;
  mark(what: string): void;
  inTime<T>(what: string, promise: Promise<T>): Promise<T>;
}

/** Bytes that one checksum covers, and number of checksums in a page. */
const summedBytes = 4096;
const sumsPerPage = 480;
/** Milliseconds after its last write at which a region that is clean in memory is certainly clean on stable media. */
const surelyCleanMs = 30_000;

/** A range that was corrupted silently. */
interface Lie {
  disk: SimDisk;
  /** Blocks `[from, to)` of every member's data area, and `[start, end)` of the volume. */
  from: number;
  to: number;
  start: number;
  end: number;
  /** Checksums cannot detect it. */
  isGivenUp: boolean;
  /**
   * `isFound`: a checksum has detected it. `isTold`: a user's request for it was answered since, so it must not depend on
   * checksums any more.
   */
  isFound: boolean;
  isTold: boolean;
}

/** A range to be recorded. */
type NewLie = Omit<Lie, 'isFound' | 'isGivenUp' | 'isTold'>;

/**
 * Tracks silent corruption of arrays with checksums. No wrong byte may be read, but errors are allowed until all of it is
 * healed, since any disk may be affected, also where others fail. Corruption that checksums cannot detect is given up when it
 * happens: that in a region that was being written when the array crashed, or that has not been resynced since.
 */
export class SumLies {
  readonly #run: LyingRun;
  readonly #lies: Lie[] = [];
  /** Units of the volume that have a checksum: without redundancy, what was never written is never verified. */
  readonly #summed = new Set<number>();
  /**
   * Those of them to which a write has completed: a write in flight sets the checksum of its own data, not of what is there.
   */
  readonly #written = new Set<number>();
  /** Only bits flip, no write is lost or misdirected. */
  #isCorrupting = false;
  /** Calls in progress that turn checksums off. */
  #endings = new Set<Promise<unknown>>();
  /** Disks that have lost or misdirected a write since the last rest. */
  readonly #losers = new Set<SimDisk>();
  /** When users last wrote to a region. */
  readonly #writtenAt = new Map<number, number>();

  constructor(run: LyingRun) {
    this.#run = run;
  }

  /** Corrupts a disk. */
  lie({ disk: index, how, place }: PlanItem & { kind: 'lie' }): void {
    const run = this.#run;
    const disk = run.disk(index);
    const array = run.array();
    const slot = array?.slots.find(({ name, isInSync }) => name === disk.name && isInSync);
    if (array?.state !== 'online' || slot === undefined) return;
    const perBlock = array.blockSize / sectorBytes;
    disk.onLie = (first, count) => {
      if (!this.#isCorrupting) this.#losers.add(disk);
      this.#lied(disk, first, count);
    };
    disk.dataSector = slot.dataOffset * perBlock;
    disk.dataEndSector = (slot.dataOffset + slot.dataSize) * perBlock;
    run.mark(`lie under checksums: ${how}`);
    run.world.trace(`== ${disk.name}: ${how}`);
    if (how === 'lost') {
      disk.faults.lostWrites++;
    } else if (how === 'misdirected') {
      disk.faults.misdirectedWrites++;
    } else {
      const touched = [...run.model.touched];
      const sector = touched[Math.floor(place * touched.length)];
      const limit = slot.dataSize * perBlock;
      this.#isCorrupting = true;
      if (sector !== undefined) disk.corrupt(disk.dataSector + (sector % limit), Math.floor(place * 4096));
      this.#isCorrupting = false;
    }
  }

  /**
   * Whether the disk has lost a write since the last rest. It may have been the write that was to heal a block: a member that
   * reads back something else than was rewritten is failed.
   */
  hasLostWrite(disk: SimDisk): boolean {
    return this.#losers.has(disk);
  }

  /** The latest corruption, unless it was healed. */
  get last(): Readonly<Lie> | null {
    return this.#lies[this.#lies.length - 1] ?? null;
  }

  /**
   * The array reports that these blocks of the member's data area do not match their checksums, which says nothing about other
   * members.
   */
  found(member: string, from: number, to: number): void {
    const array = this.#run.array();
    if (array === undefined || !this.#run.isRedundant) return;
    const { arrayBlocks, memberBlocks } = array.stripe();
    const part = (lie: Lie, first: number, end: number, isFound: boolean): Lie[] => {
      const start = Math.floor(first / memberBlocks) * arrayBlocks;
      const last = Math.ceil(end / memberBlocks) * arrayBlocks;
      return first < end ? [{ ...lie, from: first, to: end, start, end: last, isFound }] : [];
    };
    const lies = this.#lies.flatMap((lie) => {
      if (lie.isFound || lie.disk.name !== member || lie.from >= to || from >= lie.to) return [lie];
      if (from <= lie.from && lie.to <= to) lie.isFound = true;
      if (lie.isFound) return [lie];
      const [first, end] = [Math.max(from, lie.from), Math.min(to, lie.to)];
      return [...part(lie, lie.from, first, false), ...part(lie, end, lie.to, false), ...part(lie, first, end, true)];
    });
    this.#lies.splice(0, this.#lies.length, ...lies);
  }

  /** A request for these blocks has completed without an error. */
  answered(offset: number, count: number): void {
    if (this.#lies.length === 0 || !this.#run.isRedundant) return;
    for (const lie of this.#lies) {
      if (!lie.isFound || lie.isTold || lie.start >= offset + count || offset >= lie.end) continue;
      lie.isTold = true;
      this.#run.mark('a lie was read around');
    }
  }

  /** These sectors of the disk, in its data or behind it, were corrupted. `isLost`: they hold the old contents. */
  lied(disk: SimDisk, first: number, count: number, isLost: boolean): void {
    const array = this.#run.array();
    const slot = array?.slots.find(({ lastMember, name }) => name === disk.name || lastMember?.name === disk.name);
    if (array === undefined || slot === undefined) return;
    const perBlock = array.blockSize / sectorBytes;
    disk.dataSector = slot.dataOffset * perBlock;
    disk.dataEndSector = (slot.dataOffset + slot.dataSize) * perBlock;
    this.#lied(disk, first, count, isLost);
  }

  /** Users write or have written to these blocks of the volume. */
  noteWrite(offset: number, count: number): void {
    const array = this.#run.array();
    const bitmap = array?.bitmap ?? null;
    if (this.#run.plan.shape.integrity === undefined || array === undefined || bitmap === null) return;
    const isPlain = array.module.redundancy === 'none';
    const { regionBlocks } = bitmap;
    for (const { from, to } of isPlain
      ? placesOf(array, offset, Math.min(count, array.numBlocks - offset))
      : [array.memberRange(offset, offset + count)]) {
      for (let region = Math.floor(from / regionBlocks); region * regionBlocks < to; region++)
        this.#writtenAt.set(region, this.#run.world.now);
    }
  }

  /** Users are about to write: whole units have a checksum from then on. */
  writes(offset: number, count: number): void {
    const perSum = summedBytes / this.#run.plan.shape.blockSize;
    for (let unit = Math.ceil(offset / perSum); (unit + 1) * perSum <= offset + count; unit++) this.#summed.add(unit);
  }

  /** A write has ended; `isSummed`: it has succeeded. */
  wrote(offset: number, count: number, isSummed: boolean): void {
    const perSum = summedBytes / this.#run.plan.shape.blockSize;
    for (let unit = Math.floor(offset / perSum); unit * perSum < offset + count; unit++) {
      for (const units of [this.#summed, this.#written]) {
        if (isSummed) units.add(unit);
        else units.delete(unit);
      }
    }
    const array = this.#run.array();
    if (isSummed || this.#run.isRedundant || array === undefined) return;
    // It is unknown what a device has of a failed write, so its checksum cannot detect earlier corruption.
    for (const lie of this.#lies) if (lie.start < offset + count && offset < lie.end) this.#giveUp(lie, array);
  }

  /** Checksums are turned off, and with them goes what they detect. */
  forget(): void {
    const array = this.#run.array();
    if (array !== undefined) for (const lie of this.#lies) this.#giveUp(lie, array);
  }

  /** As {@link forget}, and again for what happens until `ending` settles. */
  forgetWhile(ending: Promise<unknown>): void {
    this.forget();
    const endings = this.#endings;
    endings.add(ending);
    const ended = (): boolean => endings.delete(ending);
    void ending.then(ended, ended);
  }

  /** The process has ended, and with it checksums that were only in memory. `isClean`: by an orderly stop. */
  ended(array: RaidArray | undefined, isClean: boolean): void {
    this.#endings = new Set();
    const bitmap = array?.bitmap ?? null;
    if (array === undefined || bitmap === null) return;
    const isSure = (region: number): boolean => {
      if (bitmap.states[region] === RegionState.Dirty) return false;
      return isClean || this.#run.world.now - (this.#writtenAt.get(region) ?? -Infinity) > surelyCleanMs;
    };
    for (const lie of this.#lies) {
      const first = Math.floor(lie.from / bitmap.regionBlocks);
      const last = Math.floor((lie.to - 1) / bitmap.regionBlocks);
      let areAll = true;
      for (let region = first; region <= last; region++) areAll &&= isSure(region);
      if (areAll) continue;
      if (!isClean && lie.isTold && !lie.isGivenUp)
        this.#run.coverage.mark('a lie was read around, and the array crashed before its region was clean');
      else this.#giveUp(lie, array);
    }
  }

  /**
   * At rest a check must find and heal all corruption. What redundancy does not cover is lost until users write it again. Where
   * checksums could not detect corruption, members may differ.
   */
  async settle(): Promise<void> {
    const run = this.#run;
    if (this.#lies.length === 0 || run.isTolerant) return;
    if (!run.isRedundant && run.array()?.hasIntegrity === false) {
      // There are no checksums any more, so nothing finds it.
      this.#lies.length = 0;
      return;
    }
    let record = await this.#check();
    if (record !== undefined && record.mismatchBlocks > 0 && this.#lies.some(({ isGivenUp }) => isGivenUp)) {
      run.coverage.mark('lies that checksums cannot know: written anew');
      await this.#writeAnew(this.#lies.filter(({ isGivenUp }) => isGivenUp));
      record = await this.#check();
    }
    const array = run.array();
    if (run.plan.shape.integrity?.mostBadRanges !== undefined && array !== undefined && array.badBlocks.size > 0) {
      // Blocks that do not fit on such a short list are known only by their checksums, and a rebuild would not fit them either:
      // the operator makes room.
      run.coverage.mark('a short list of bad blocks: what is on it is written anew');
      await makeRoom(run);
      await this.#writeAnew(run.leniency.ranges);
      record = await this.#check();
    }
    const listed = countListed(array);
    // If a part of a unit has been written since, a check still counts all of it as lost.
    const mostLost = (listed * summedBytes) / (array?.blockSize ?? summedBytes);
    if (record === undefined || record.mismatchBlocks > 0 || record.lostBlocks > mostLost) {
      throw new ViolationError(
        `G7: a check finds ${record?.lostBlocks ?? 0} blocks that are lost, ${listed} of them listed, ${record?.mismatchBlocks ?? 0} that disagree, and ${record?.error ?? 'no error'} where disks have lied under checksums`,
      );
    }
    run.coverage.mark(record.lostBlocks > 0 ? 'lies beyond redundancy: lost from now on' : 'lies under checksums are healed');
    // What was written over it may be in a cache: after a power failure without redundancy the corruption is back.
    const mayBeBack = ({ from, to }: Lie): boolean => array?.bitmap?.has(RegionState.Dirty, from, to - from) === true;
    const left = run.isRedundant ? [] : this.#lies.filter(mayBeBack);
    this.#lies.splice(0, this.#lies.length, ...left);
    this.#losers.clear();
  }

  async #check(): Promise<ProcessRecord | undefined> {
    const run = this.#run;
    const array = run.array();
    if (array === undefined) return undefined;
    run.stack?.arrays.startSync(array.name, 'check');
    await run.inTime('a check', array.processEnded);
    return array.history.find(({ type }, index) => index === 0 && type === 'check');
  }

  async #writeAnew(ranges: readonly Range[]): Promise<void> {
    const run = this.#run;
    const volume = await run.up();
    const stripe = run.array()?.currentGeometry?.stripe?.arrayBlocks ?? 1;
    const step = Math.max(1, Math.floor(volume.mostBlocks / stripe)) * stripe;
    for (const { start, end } of [...ranges]) {
      const last = Math.min(end, volume.numBlocks);
      for (let at = start; at < last; at += step)
        await run.io(volume, IoType.Write, at, Math.min(step, last - at, volume.mostBlocks));
    }
  }

  /** These sectors of the disk, in its data or its checksums, were corrupted. */
  #lied(disk: SimDisk, firstSector: number, numSectors: number, isLost = false): void {
    const run = this.#run;
    const array = run.array();
    if (array === undefined || array.level === null || (array.bitmap === null && run.isRedundant)) return;
    const perSum = summedBytes / sectorBytes;
    const first = Math.floor((firstSector - disk.dataSector) / perSum);
    const end = Math.ceil((firstSector + numSectors - disk.dataSector) / perSum);
    const { areaAt, movesTo } = this.#areas(array, (disk.dataEndSector - disk.dataSector) / perSum);
    for (const area of [areaAt, movesTo]) {
      if (end <= area) continue;
      // Checksums were overwritten; whole pages of them count.
      const from = Math.max(0, first - area) * sumsPerPage;
      const to = Math.min(areaAt, (end - area) * sumsPerPage);
      // The checksums are old, and so is data whose write was lost before: they match.
      if (isLost) this.#giveUpOf(array, disk, from, to);
      this.#note(array, from, to, disk);
    }
    // Before them there is data, or will be.
    if (first < areaAt) this.#note(array, first, Math.min(end, areaAt), disk);
  }

  /** Where pages of checksums begin on members, and where they move to, in units of a checksum. */
  #areas({ blockSize, module, sums }: RaidArray, dataEnd: number): { areaAt: number; movesTo: number } {
    // Without checksums the space behind the data may become data.
    if (sums === null) return { areaAt: Infinity, movesTo: Infinity };
    if (module.redundancy === 'none') return { areaAt: dataEnd, movesTo: Infinity };
    const perSum = summedBytes / blockSize;
    return { areaAt: sums.areaAt / perSum, movesTo: (sums.movesTo ?? Infinity) / perSum };
  }

  /** Records corrupted units. */
  #note(array: RaidArray, first: number, end: number, disk: SimDisk): void {
    if (first >= end) return;
    const perSum = summedBytes / array.blockSize;
    if (array.module.redundancy === 'none') {
      this.#notePlain(array, first, end, disk);
      return;
    }
    const { arrayBlocks, memberBlocks } = array.stripe();
    const from = first * perSum;
    const to = end * perSum;
    const start = Math.floor(from / memberBlocks) * arrayBlocks;
    this.#add(array, { from, to, start, end: Math.ceil(to / memberBlocks) * arrayBlocks, disk });
  }

  /** Without redundancy no other blocks depend on them. */
  #notePlain(array: RaidArray, first: number, end: number, disk: SimDisk): void {
    const perSum = summedBytes / array.blockSize;
    const slot = array.slots.find(({ name, lastMember }) => name === disk.name || lastMember?.name === disk.name);
    if (slot === undefined) return;
    const blocks = array.currentGeometry?.memberBlocks[slot.index] ?? 0;
    for (let from = first * perSum; from < Math.min(end * perSum, blocks); from += perSum) {
      const start = volumeBlockOf(array, slot.index, from);
      if (start < 0) continue;
      this.#add(array, { from, to: from + perSum, start, end: start + perSum, disk });
    }
  }

  #add(array: RaidArray, told: NewLie): void {
    const lie: Lie = { ...told, isGivenUp: false, isFound: false, isTold: false };
    const { disk, from, to } = lie;
    this.#run.world.trace(`== ${disk.name} has lied: blocks ${lie.start} to ${lie.end - 1}`);
    this.#run.leniency.forgive(lie.start, lie.end);
    this.#lies.push(lie);
    // A crash or a failed flush may have left it without a checksum until it is written again.
    const mayLack = this.#run.wasUnclean || this.#run.disks.some(({ lastWriteErrorAt }) => lastWriteErrorAt >= 0);
    const isDirty = array.bitmap?.has(RegionState.Dirty, from, to - from) === true;
    const summed = this.#isCorrupting ? this.#written : this.#summed;
    const hasNone = !this.#run.isRedundant && !summed.has(Math.floor(lie.start / (summedBytes / array.blockSize)));
    // Checksums are missing or incomplete, or it is not yet recorded that they are complete.
    const isPartly = array.sums?.isComplete !== true || array.sums.isEnding || array.process?.type === 'sum';
    const isGoing = isPartly || this.#endings.size > 0 || (!this.#run.isRedundant && array.isUnproven && isDirty);
    if (array.state !== 'online' || isGoing || (mayLack && isDirty) || hasNone) this.#giveUp(lie, array);
  }

  /** Gives up corruption in these units. */
  #giveUpOf(array: RaidArray, disk: SimDisk, first: number, end: number): void {
    const perSum = summedBytes / array.blockSize;
    for (const lie of this.#lies)
      if (lie.disk === disk && lie.from < end * perSum && first * perSum < lie.to) this.#giveUp(lie, array);
  }

  #giveUp(lie: Lie, array: RaidArray): void {
    const { end, start } = lie;
    lie.isGivenUp = true;
    const perBlock = array.blockSize / sectorBytes;
    this.#run.coverage.mark('a lie that checksums cannot know');
    this.#run.model.doubtValues(start * perBlock, (end - start) * perBlock);
  }
}

/** Number of members' blocks on the list of bad blocks. */
function countListed(array: RaidArray | undefined): number {
  return array?.slots.reduce((sum, { index }) => sum + array.badBlocks.countOf(index), 0) ?? 0;
}
